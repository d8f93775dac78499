"""`suspects` of threads: stacks near their end, and CPUs that nobody else gets, made in the memory of a real dump."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from conftest import SAMPLES
from support.captures import captures, dumps_in, told
from support.overlay import Overlay
from support.truth import Truth

import kernlab
from kernlab.util.text import human_time
from kernlab.walk.cpus import percpu, possible_cpus

SIZE = 16384
SECOND = 10**9


@pytest.fixture
def sample(opened):
    return opened("debian-6.1")


def leads(overlay, *kinds):
    with overlay.dump() as broken:
        found = broken.suspects
        return [row for row in found.to_dict("records") if row["lead"] in kinds]


def stack_of(sample, pid):
    return int(sample.tasks.query("pid == @pid").kern.field("stack").iloc[0])


def test_a_stack_whose_last_word_was_overwritten(sample):
    overlay = Overlay(sample).word(stack_of(sample, 117), 0x4141414141414141)
    (lead,) = leads(overlay, "stack overflow", "stack nearly full")
    assert (lead["lead"], lead["subject"], lead["cell"]) == (
        "stack overflow",
        "app<2> (117)",
        "dump.stack(117)",
    )
    assert "0x4141414141414141" in lead["evidence"]
    assert "16,384 bytes" in lead["evidence"]


def test_a_stack_that_was_used_nearly_whole(sample):
    start = stack_of(sample, 117)
    (lead,) = leads(Overlay(sample).word(start + 1000 // 8 * 8, 1), "stack overflow", "stack nearly full")
    assert (lead["lead"], lead["subject"]) == ("stack nearly full", "app<2> (117)")
    assert "left 1,000 of the 16,384 bytes" in lead["evidence"]
    assert leads(Overlay(sample).word(start + SIZE // 8 + 8, 1), "stack nearly full") == []
    # What a kernel that erases its stacks leaves there was not used.
    assert leads(Overlay(sample).word(start + 1000, (1 << 64) - 0xBEEF), "stack nearly full") == []


def test_a_kernel_that_marks_no_stack_has_no_overflow(sample):
    overlay = Overlay(sample)
    for address in sample.tasks.kern.field("stack"):
        overlay.word(int(address), 0)
    assert leads(overlay, "stack overflow") == []


def held(sample, *, seconds, others=0, behind=0.0):
    """A machine whose CPU 1, where init runs, was not given to anybody else for so long."""
    kernel = sample.kernel
    queues = [int(address) for address in percpu(kernel, kernel.symbol("runqueues"), possible_cpus(kernel))]
    task = int(sample.struct("rq", queues[1]).curr)
    now = int(sample.struct("rq", queues[0]).clock)
    overlay = Overlay(sample)
    overlay.set("struct task_struct", task, "sched_info.last_arrival", now - int(seconds * SECOND))
    overlay.set("struct rq", queues[1], "nr_running", 1 + others)
    overlay.set("struct rq", queues[1], "clock", now - int(behind * SECOND))
    return overlay


def test_a_cpu_that_others_waited_for(sample):
    (lead,) = leads(held(sample, seconds=24, others=3), "CPU held")
    assert (lead["subject"], lead["cell"]) == ("init (1)", "dump.stack(cpu=1)")
    assert lead["evidence"] == "It ran on CPU 1 for 24 s without giving way; 3 others waited to run there."


def test_a_cpu_whose_clock_stood_still(sample):
    (lead,) = leads(held(sample, seconds=24, behind=23), "CPU held")
    assert "clock had not gone on for 23 s" in lead["evidence"]


def test_whom_a_softirq_interrupted_holds_no_cpu(sample, monkeypatch):
    """Nor whom an interrupt did, beneath the NMI that the machine died in: what runs on top of a thread is not it."""
    for kinds, subject in (
        (("softirq", "task"), "a softirq on CPU 1"),
        (("nmi", "nmi", "irq", "task"), "an interrupt on CPU 1"),
        (("nmi", "task"), "init (1)"),
        (("irq", "task"), "init (1)"),
        ((), "init (1)"),
    ):
        stack = pd.DataFrame({"cpu": [1] * len(kinds), "kind": list(kinds)})
        stack.attrs["problems"] = []
        monkeypatch.setattr("kernlab.tables.suspects.evidence.stacks", lambda kernel, stack=stack: stack)
        (lead,) = leads(held(sample, seconds=24, others=3), "CPU held")
        assert lead["subject"] == subject
        assert lead["evidence"].startswith("It runs on top of init (1), which") == (subject != "init (1)")


def test_who_works_alone_or_briefly_holds_nothing(sample):
    assert leads(held(sample, seconds=300), "CPU held") == []
    assert leads(held(sample, seconds=5, others=3), "CPU held") == []


@pytest.mark.parametrize("folder", told(SAMPLES, "lockup"), ids=lambda folder: folder.name)
def test_the_lockup_of_the_lab(folder):
    """Its story: till holds till_lock on CPU 1 with interrupts off; receipt-1 and receipt-2 spin for it on 2 and 3."""
    lines = Truth(folder / "truth.tar.xz").lines("story.txt")
    pid = {line.split()[1]: line.split()[2] for line in lines if "(" in line}
    till, first, second = (f"{name} {pid[name]}" for name in ("till", "receipt-1", "receipt-2"))
    with kernlab.open(dumps_in(folder)[0]) as dump:
        found = dump.suspects
        found = found[found["lead"] == "CPU held"]
        assert found["subject"].tolist() == [till, first, second]
        assert found["cell"].tolist() == [f"dump.stack(cpu={cpu})" for cpu in (1, 2, 3)]
        held, *spun = found["evidence"]
        assert held.endswith(f"{first} and {second} spin for till_lock [kernlab_shop], which it holds.")
        for evidence in spun:
            assert evidence.endswith(f"it spins for till_lock [kernlab_shop], which {till} holds.")
        assert dump.stack(cpu=1).frames["comm"].iloc[0] == "till"


#: What the rules of threads and waits say.
OURS = {
    "deadlock", "hung tasks", "hung task", "lock convoy", "stack overflow", "stack nearly full", "CPU held"
}  # fmt: skip
HEALTHY = [
    folder for story in ("panic", "trace", "probes", "cgroups", "irq") for folder in captures(f"{story}-*")
]


def one_dump(folder):
    names = ("vmcore", "vmcore.zlib", "vmcore.qemu-elf", "vmcore.elf")
    return next(folder / name for name in names if (folder / name).is_file())


@pytest.mark.parametrize("folder", HEALTHY or [None], ids=lambda folder: getattr(folder, "name", ""))
def test_no_machine_that_was_well_is_accused(folder):
    """The guests of other stories: nobody of them holds a lock or a CPU for ever, until the kernel dies."""
    if folder is None:
        pytest.skip("no captures of the lab are here (KERNLAB_LAB_CAPTURES names a folder of them)")
    with kernlab.open(one_dump(folder)) as dump:
        assert OURS.isdisjoint(dump.suspects["lead"])


@pytest.mark.parametrize(
    "folder", captures("deadlock-*") or [None], ids=lambda folder: getattr(folder, "name", "")
)
def test_the_deadlocks_of_the_lab_come_first(folder):
    if folder is None:
        pytest.skip(
            "no capture of the lab's scenario deadlock is here (KERNLAB_LAB_CAPTURES names a folder of them)"
        )
    with kernlab.open(folder / "vmcore") as dump:
        found = dump.suspects
        assert found["lead"].tolist()[:2] == ["deadlock", "deadlock"]
        for subject, names in zip(
            found["subject"], (("checkout", "refund"), ("import", "reprice")), strict=False
        ):
            assert all(f"{name} (" in subject for name in names)
        evidence = found["evidence"].iloc[0]
        assert re.fullmatch(
            r"2 threads wait for each other, for (\d+ min )?\d+ s by now, and none will ever go on. "
            r"3 more threads wait for them.",
            evidence,
        )


def test_spans_of_time_are_said_as_people_say_them():
    for seconds, said in (
        (0.4, "0 s"),
        (17, "17 s"),
        (84.9, "1 min 24 s"),
        (3600, "1 h 0 s"),
        (90061, "1 d 1 h 1 min"),
        (400 * 86400, "400 d"),
    ):
        assert human_time(seconds) == said


def test_no_evidence_has_a_time_as_pandas_prints_it():
    for name in ("hung", "deadlock"):
        with kernlab.open(kernlab.sample(name)) as dump:
            assert not dump.suspects["evidence"].str.contains(r"\d days|\d:\d").any()
            assert dump.suspects["evidence"].str.contains(r"the longest \d+ s").any()
