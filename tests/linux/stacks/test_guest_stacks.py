"""Stacks against what the guest's own kernel said of them: /proc/PID/stack, wchan, and the log's trace of the panic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import FOLDERS, SAMPLES
from support.stack_truth import (
    StackDump,
    frames_of,
    logged_trace,
    sleeping_threads,
    stack_dumps,
    stacks_without_scheduler,
    without_last_calls,
)

import kernlab
from kernlab.linux.stacks.unwind import FrameKind, unwound

DUMPS = list(stack_dumps(SAMPLES, FOLDERS["server"]))
#: What part of a stack's frames is, by the log's marks of stacks.
MARKED = {
    "IRQ": {FrameKind.IRQ, FrameKind.SOFTIRQ},
    "SOFTIRQ": {FrameKind.SOFTIRQ},
    "NMI": {FrameKind.NMI},
    "ENTRY": {FrameKind.ENTRY},
    "#DF": {FrameKind.EXCEPTION},
}


@pytest.fixture(scope="module", params=DUMPS, ids=lambda dump: dump.name)
def guest(request: pytest.FixtureRequest) -> Iterator[tuple[StackDump, kernlab.Dump]]:
    with kernlab.open(request.param.vmcore) as dump:
        yield request.param, dump


def test_every_thread_that_slept_on_has_the_stack_that_its_kernel_told(guest):
    """Who was not switched from since has not run: its stack is the same to the last frame."""
    told, known = sleeping_threads(guest[0].truth), stacks_without_scheduler(guest[1])
    asleep = [pid for pid in told.keys() & known.keys() if known[pid][0] == told[pid][0]]
    assert len(asleep) > 0.4 * len(told)
    wrong = {pid: (told[pid][1], known[pid][1]) for pid in asleep if told[pid][1] != known[pid][1]}
    assert not wrong


def test_what_a_thread_waits_in_is_its_wchan(guest):
    release = guest[0].truth.release()
    if release.startswith("5."):
        pytest.skip(f"{release} finds wchan by frame pointers, which it does not have")
    told, known = sleeping_threads(guest[0].truth), stacks_without_scheduler(guest[1])
    asleep = [
        pid for pid in told.keys() & known.keys() if known[pid][0] == told[pid][0] and told[pid][2] != "0"
    ]
    assert asleep
    first = {pid: (known[pid][1] or [""])[0].partition("+")[0] for pid in asleep}
    assert {pid: name for pid, name in first.items() if name != told[pid][2]} == {}


def test_the_thread_that_panicked_has_the_stack_that_the_log_tells(guest):
    dump = guest[1]
    trace = logged_trace(dump.log)
    if dump.info["panic_cpu"] is None:
        pytest.skip("this guest was stopped, it did not panic")
    assert trace
    found, rows, names = frames_of(dump, dump.info["panic_pid"])
    mine = [found.cpu[row] == dump.info["panic_cpu"] for row in rows]
    rows, names = ([each for each, here in zip(of, mine, strict=True) if here] for of in (rows, names))
    assert found.reliable[rows].all()
    expected = without_last_calls([name for _, name in trace])
    assert without_last_calls(names) == expected
    sections = [section for section, _ in trace][-len(expected) :]
    for row, section in zip(rows[-len(expected) :], sections, strict=True):
        assert section not in MARKED or found.kind[row] in MARKED[section]


def test_every_stack_comes_to_its_end(guest):
    found = unwound(guest[1].kernel)
    assert not found.why
    assert found.reliable.all()
