"""Stacks against what the guest's own kernel said of them: /proc/PID/stack, wchan, and the log's trace of the panic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import FOLDERS, SAMPLES
from support.stack_truth import (
    Slept,
    StackDump,
    frames_of,
    logged_registers,
    logged_trace,
    registers_in,
    return_address,
    sleeping_threads,
    stack_dumps,
    stacks_without_scheduler,
    trampolines,
    until_trampoline,
    with_records,
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


def slept_on(guest: tuple[StackDump, kernlab.Dump]) -> list[tuple[int, list[str], str, Slept]]:
    """Who was not switched from since its truth was taken, and so has not run: pid, frames and wchan that its kernel
    told, and what the dump has."""
    told, known = sleeping_threads(guest[0].truth), stacks_without_scheduler(guest[1])
    found = [
        (pid, *told[pid][1:], known[pid])
        for pid in told.keys() & known.keys()
        if known[pid].switches == told[pid][0]
    ]
    assert len(found) > 0.4 * len(told)
    return found


def test_every_thread_that_slept_on_has_the_stack_that_its_kernel_told(guest):
    """It is the same to the last frame, or to the one where the kernel stopped at a trampoline."""
    wrong = {}
    for pid, frames, _, slept in slept_on(guest):
        stops = until_trampoline(guest[1], frames)
        if stops is None:
            if frames != slept.names:
                wrong[pid] = (frames, slept.names)
            continue
        assert frames[:stops] == slept.names[:stops]
        # It stopped where a return address was taken, and the trampoline was the last that it told.
        assert len(frames) == stops + 1 < len(slept.names)
        assert slept.lay[stops] in trampolines(guest[1])
    assert not wrong


def test_what_a_thread_waits_in_is_its_wchan(guest):
    release = guest[0].truth.release()
    if release.startswith("5."):
        pytest.skip(f"{release} finds wchan by frame pointers, which it does not have")
    told = {pid: (wchan, slept) for pid, _, wchan, slept in slept_on(guest) if wchan != "0"}
    assert told
    first = {pid: (slept.names or [""])[0].partition("+")[0] for pid, (_, slept) in told.items()}
    assert {pid: name for pid, name in first.items() if name != told[pid][0]} == {}


def test_the_thread_that_panicked_has_the_stack_that_the_log_tells(guest):
    dump = guest[1]
    if dump.info["panic_cpu"] is None:
        pytest.skip("this guest was stopped, it did not panic")
    trace = logged_trace(dump)
    assert trace
    found, rows, names = frames_of(dump, dump.info["panic_pid"])
    mine = [found.cpu[row] == dump.info["panic_cpu"] for row in rows]
    rows, names = ([each for each, here in zip(of, mine, strict=True) if here] for of in (rows, names))
    if dump.info["machine"] == "aarch64":
        told = with_records(found, rows)
        # Its log names what lies at the address itself (%pSb): behind the last call of a function that is the next one.
        rows, names = told, dump.kernel.symbolize(found.ip[told])
    assert found.reliable[rows].all()
    expected = without_last_calls([name for _, name in trace])
    sections = [section for section, _ in trace][-len(expected) :]
    names = without_last_calls(names)
    rows = rows[-len(names) :]
    stops = until_trampoline(dump, expected)
    if stops is not None:
        assert len(expected) == stops + 1 < len(names)
        assert return_address(dump, found, rows[stops]) in trampolines(dump)
        expected, names, rows = expected[:stops], names[:stops], rows[:stops]
    assert names == expected
    for row, section in zip(rows, sections[: len(rows)], strict=True):
        assert section not in MARKED or found.kind[row] in MARKED[section]


def test_registers_of_who_was_interrupted_are_those_that_the_log_tells(guest):
    """Those of every interrupt and fault down to the user's instruction, behind those that the panic itself kept."""
    dump = guest[1]
    told = [] if dump.info["panic_cpu"] is None else logged_registers(dump)
    if not told:
        pytest.skip("the log tells no registers of a panic")
    known = registers_in(repr(dump.stack.of_panic()).split("\n"))
    assert known[-len(told) :] == told
    assert all("__crash_kexec" in each["RIP"] for each in known[: -len(told)])
    assert len(known) <= len(told) + 1


def test_every_stack_comes_to_its_end(guest):
    found = unwound(guest[1].kernel)
    silent = {
        row
        for row, why in found.why.items()
        # Without NMIs (arm64) no CPU is stopped that takes no interrupts.
        if guest[1].info["machine"] == "aarch64" and why.endswith("whose registers are not known")
    }
    assert found.why.keys() == silent
    assert found.reliable[~np.isin(found.thread, list(silent))].all()
