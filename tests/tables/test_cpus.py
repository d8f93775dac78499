"""CPUs against /proc/cpuinfo, exactly, and /proc/stat; their ticks against a CPU that took none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

LINES = {
    "vendor": "vendor_id",
    "family": "cpu family",
    "model": "model",
    "model_name": "model name",
    "stepping": "stepping",
    "package": "physical id",
    "core": "core id",
    "flags": "flags",
    "bugs": "bugs",
}
TICK = pd.Timedelta(milliseconds=10)


def cpuinfo(truth) -> dict[int, dict[str, str]]:
    found = {}
    for block in truth.text("cpuinfo").strip().split("\n\n"):
        fields = {
            key.strip(): value.strip()
            for key, _, value in (line.partition(":") for line in block.split("\n"))
        }
        found[int(fields["processor"])] = fields
    return found


def test_cpus_are_those_of_cpuinfo(machine_or_server):
    rows, theirs = machine_or_server.dump.cpus, cpuinfo(machine_or_server.truth)
    assert rows["cpu"][rows["online"]].tolist() == list(theirs)
    for row in rows[rows["online"]].to_dict("records"):
        said = theirs[row["cpu"]]
        if "CPU implementer" in said:
            arm64_cpu_is_that_of_cpuinfo(row, said)
            continue
        assert {name: str(row[name]) for name in LINES} == {name: said[line] for name, line in LINES.items()}
        assert hex(row["microcode"]) == said["microcode"]
        assert f"{row['khz'] // 1000}.{row['khz'] % 1000:03d}" == said["cpu MHz"]
        assert f"{row['cache_bytes'] // 1024} KB" == said["cache size"]
        assert row["siblings"] == str(row["cpu"])
    assert rows["present"].all()


def arm64_cpu_is_that_of_cpuinfo(row, said) -> None:
    """As arch/arm64/kernel/cpuinfo.c prints it: numbers where x86-64 has names."""
    lines = {
        "family": "CPU architecture",
        "model": "CPU part",
        "variant": "CPU variant",
        "stepping": "CPU revision",
    }
    assert {name: row[name] for name in lines} == {name: int(said[line], 0) for name, line in lines.items()}
    assert row["flags"] == said["Features"]
    if row["vendor"].startswith("0x"):
        assert int(row["vendor"], 0) == int(said["CPU implementer"], 0)
    assert pd.isna(row["microcode"])


def test_threads_of_a_core(server):
    """As thread_siblings_list: cores 0 and 1 have two CPUs each, which are two apart."""
    overlay = Overlay(server)
    for cpu, address in enumerate(server.cpus["address"].astype("uint64").tolist()):
        overlay.set("struct cpuinfo_x86", address, "topo.core_id", cpu % 2)
    with overlay.dump() as dump:
        assert dump.cpus["siblings"].tolist() == ["0,2", "1,3", "0,2", "1,3"]
    for address in server.cpus["address"].astype("uint64").tolist()[:3]:
        overlay.set("struct cpuinfo_x86", address, "topo.core_id", 5)
    with overlay.dump() as dump:
        assert dump.cpus["siblings"].tolist() == ["0-2"] * 3 + ["3"]


def test_nodes(server):
    """node0/cpulist and node1/cpulist of the guest are 0,2 and 1,3."""
    assert server.cpus["node"].tolist() == [0, 1, 0, 1]


def test_times_are_those_of_stat(machine_of):
    """In hundredths of a second, rounded down, seconds before: less then, and by no more than the time that passed."""
    for name in ("io", "oom", "server", "panic"):
        machine = machine_of(name)
        rows = machine.dump.cpus.set_index("cpu")
        lines = [line.split() for line in machine.truth.lines("stat") if line[:3] == "cpu" and line[3] != " "]
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
        for cpu, *values in lines:
            row = rows.loc[int(cpu[3:])]
            for kind, value in zip(names, values, strict=True):
                passed = row[kind] / TICK - int(value)
                # Of a CPU that slept, the file counted its sleep up to then, and the kernel only up to its begin.
                least = -1000 if kind in ("idle", "iowait") else 0
                assert least <= passed < 2500, (name, cpu, kind)


def test_a_cpu_that_takes_no_ticks():
    """The till's CPU has had interrupts off since the log says that it is stuck; the panicking one was in its tick."""
    import kernlab

    with kernlab.open(kernlab.sample("lockup")) as dump:
        rows = dump.cpus.set_index("cpu")
        seconds = rows["since_tick"] / pd.Timedelta(seconds=1)
        assert seconds[1] == pytest.approx(13.0, abs=0.1)
        assert (seconds[[0, 2, 3]] < 0.1).all()
        assert rows["idle_for"].notna().tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
def test_a_tick_that_is_stopped(opened, name):
    below = opened(name)
    address = int(below.percpu("tick_cpu_sched", "struct tick_sched").addresses[0])
    overlay = Overlay(below)
    if below.percpu("tick_cpu_sched", "struct tick_sched").has("flags"):
        overlay.set("struct tick_sched", address, "flags", 3)
    else:
        overlay.word(address + overlay_offset(below, "tick_stopped"), 3, 1)
    with overlay.dump() as dump:
        rows = dump.cpus
        assert bool(rows["tick_stopped"][0])
        assert pd.isna(rows["since_tick"][0])
        assert rows["idle_for"].notna()[0]


def overlay_offset(dump, member: str) -> int:
    """The byte of struct tick_sched in which its bits inidle and tick_stopped begin."""
    from kernlab.debuginfo.member_path import resolve

    access = resolve(dump.kernel.find_type("struct tick_sched"), member)
    return access.hops[-1] + access.bit_offset // 8


def test_a_cpu_that_was_never_started(opened):
    """Its model is not known, which is not that of the machine."""
    below = opened("debian-6.1")
    overlay = Overlay(below)
    address = int(below.cpus["address"][1])
    overlay.write(address, bytes(64)).set("struct cpuinfo_x86", address, "x86_vendor_id[0]", 0)
    with overlay.dump() as dump:
        rows = dump.cpus
        assert rows["vendor"].isna().tolist() == [False, True]
        missing = [
            "family",
            "model",
            "model_name",
            "microcode",
            "package",
            "core",
            "siblings",
            "flags",
            "bugs",
        ]
        assert rows[missing].iloc[1].isna().all()
        assert rows["siblings"][0] == "0"
        assert np.array_equal(rows["user"], below.cpus["user"])
