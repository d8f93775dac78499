"""`suspects` of threads: stacks near their end, and CPUs that nobody else gets, made in the memory of a real dump."""

from __future__ import annotations

import pytest
from support.overlay import Overlay

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
    assert lead["evidence"] == "It ran on CPU 1 for 24.0 s without giving way; 3 others waited to run there."


def test_a_cpu_whose_clock_stood_still(sample):
    (lead,) = leads(held(sample, seconds=24, behind=23), "CPU held")
    assert "clock had not gone on for 23.0 s" in lead["evidence"]


def test_who_works_alone_or_briefly_holds_nothing(sample):
    assert leads(held(sample, seconds=300), "CPU held") == []
    assert leads(held(sample, seconds=5, others=3), "CPU held") == []
