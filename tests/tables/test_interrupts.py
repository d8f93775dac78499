"""irqs, softirqs and ioports against /proc/interrupts, /proc/softirqs and /proc/ioports of the guests.

Names, actions, chips and numbers cannot move: exact. Counts only grow until the crash; those of this file's guests
stand still but for the disk that the dump goes to, and the machine's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import SAMPLES, DumpFiles
from support import devices_truth
from support.overlay import Overlay
from support.truth import Truth

import kernlab

#: NET_RX and RCU.
RAISED = 1 << 3 | 1 << 9
#: Nothing happens to them between the guest's last word and the crash, on any of the dumps.
STILL = ("0", "1", "8", "9", "12")


@pytest.fixture(scope="module", params=["panic", "oops"])
def sample(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Truth]]:
    """Samples of 6.1 and 7.2, whose guests told of softirqs and ports, too."""
    with kernlab.open(kernlab.sample(request.param)) as dump:
        yield dump, Truth(SAMPLES / request.param / "truth.tar.xz")


def check_irqs(dump: Any, truth: Truth) -> None:
    cpus, lines = devices_truth.interrupts(truth)
    ours = dump.irqs.set_index("name")
    assert ours.attrs["problems"] == []
    # An interrupt without action has a line once it came: ours may have come since.
    shown = ours.index[ours["irq"].isna() | (ours["actions"] != "")].tolist()
    assert [name for name in lines if name in set(shown)] == shown
    for name, line in lines.items():
        row = ours.loc[name]
        if name.isdigit():
            chip, hwirq, flow, actions = line.parts
            assert (row["chip"], row["hwirq"], row["flow"], row["actions"]) == (chip, hwirq, flow, actions)
            assert row["irq"] == int(name)
        else:
            assert row["actions"] == line.rest
            assert ours.isna().loc[name, "irq"]
        if len(line.counts) < len(cpus):
            assert row["count"] >= line.counts[0]
            continue
        grown = [row[cpu] - count for cpu, count in zip(cpus, line.counts, strict=True)]
        assert min(grown) >= 0, name
        assert row["count"] == sum(row[cpu] for cpu in cpus)
        assert not any(grown) or name not in STILL, name


def test_irqs_are_those_of_the_guest(dump: Any, whole_dump: DumpFiles) -> None:
    check_irqs(dump, whole_dump.truth)


def test_samples(sample: tuple[Any, Truth]) -> None:
    dump, truth = sample
    check_irqs(dump, truth)
    counted = devices_truth.softirqs(truth)
    ours = dump.softirqs
    assert ours["name"].tolist() == list(counted)
    for _, row in ours.iterrows():
        for cpu, before in enumerate(counted[row["name"]]):
            # Some hundreds a second at most, and the crash came within one.
            assert 0 <= row[f"cpu{cpu}"] - before < 500, row["name"]
    assert ours.set_index("name")["handler"]["TASKLET"] in ("tasklet_action", "ksoftirqd")
    ports = dump.ioports
    found = zip(*(ports[name].tolist() for name in ("start", "end", "depth", "name")), strict=True)
    assert [(int(start), int(end), depth, name) for start, end, depth, name in found] == devices_truth.ports(
        truth
    )


def test_details_of_each(sample: tuple[Any, Truth]) -> None:
    ours = sample[0].irqs.set_index("name")
    # Only the interrupts that somebody asked for are enabled.
    asked = ours["irq"].notna() & (ours["actions"] != "")
    assert (ours.loc[asked, "depth"] == 0).all()
    assert ours.loc["2", "state"] == "disabled, masked"
    assert ours.loc["9", ["flow", "type", "handlers"]].tolist() == ["fasteoi", "level", "acpi_irq"]
    assert ours.loc["0", ["affinity", "effective_affinity"]].tolist() == ["0-1", "0"]
    # Linux commit 7a36b901a6eb ("ACPI: OSL: Use a threaded interrupt handler for SCI") (in v6.8).
    threaded = asked[asked].index[ours.loc[asked, "threaded"].astype(bool)].tolist()
    assert threaded in ([], ["9"])
    assert not ours.loc[asked, "spurious"].any()


def test_pending_and_spurious(opened: Any) -> None:
    """What no guest shows: a softirq that was raised, an interrupt that the kernel gave up on."""
    dump = opened("debian-6.1")
    kernel, address = dump.kernel, int(dump.irqs.set_index("name").loc["12", "address"])
    overlay = Overlay(dump)
    overlay.set("struct irq_desc", address, "core_internal_state__do_not_mess_with_it", 0x202)
    overlay.set("struct irq_desc", address, "irqs_unhandled", 99_901)
    where = (kernel.symbol("irq_stat") + int(kernel.percpu_offsets[1])) % (1 << 64)
    overlay.set("irq_cpustat_t", where, "__softirq_pending", RAISED)
    with overlay.dump() as broken:
        row = broken.irqs.set_index("name").loc["12"]
        assert (row["state"], row["spurious"], row["unhandled"]) == ("pending", True, 99_901)
        pending = broken.softirqs.set_index("name")["pending_on"]
        assert pending[pending != ""].to_dict() == {"NET_RX": "1", "RCU": "1"}


def test_pending_where_it_lies_now(opened: Any) -> None:
    """The same of 6.12, where it lies beside the current task, and of 7.2, where it is a variable."""
    for name in ("debian-6.12", "debian-7.2"):
        dump = opened(name)
        kernel, overlay = dump.kernel, Overlay(dump)
        offset = int(kernel.percpu_offsets[1])
        if (alone := kernel.find_symbol("__softirq_pending")) is not None:
            overlay.word((alone + offset) % (1 << 64), RAISED, 2)
        else:
            place = (kernel.symbol("pcpu_hot") + offset) % (1 << 64)
            overlay.set("struct pcpu_hot", place, "softirq_pending", RAISED)
        with overlay.dump() as broken:
            pending = broken.softirqs.set_index("name")["pending_on"]
            assert pending[pending != ""].to_dict() == {"NET_RX": "1", "RCU": "1"}


def test_lost_descriptor(opened: Any) -> None:
    """What lies on a page that the dump lacks is missing, told, and costs nothing else."""
    dump = opened("debian-6.1")
    whole = dump.irqs
    lost = int(whole.set_index("name").loc["26", "address"])
    overlay = Overlay(dump)
    overlay.exclude(lost)
    with overlay.dump() as broken:
        ours = broken.irqs
        assert ours["name"].tolist() == whole["name"].tolist()
        gone = ours.set_index("name").loc["26"]
        assert gone[["actions", "chip", "count", "depth", "spurious"]].isna().all()
        assert any("irq_desc" in problem for problem in ours.attrs["problems"])
        page = (whole["address"].fillna(0).astype("uint64") // 4096).eq(lost // 4096) & whole["irq"].notna()
        assert ours.loc[~page, "count"].tolist() == whole.loc[~page, "count"].tolist()
