"""Stacks that overflowed, and what filled them."""

from __future__ import annotations

import pytest
from support.captures import captures
from verdict.asked import ENDS
from verdict.cases import verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.overflow import overflowed, overwritten_canary

_GUARD = """\
[   24.26] [  C1] BUG: TASK stack guard page was hit at ff509a1a0046ffe8 (stack is ff509a1a00470000..ff509a1a00474000)
[   24.265901] [      C1] Oops: stack guard page: 0000 [#1] PREEMPT SMP NOPTI
[   24.269527] [      C1] CPU: 1 UID: 0 PID: 174 Comm: miller Not tainted 6.12.1-amd64 #1
[   24.269993] [      C1] RIP: 0010:sieve_pass+0xb4/0xd0 [mill]
[   24.270993] [      C1] RSP: 0018:ff509a1a00470000 EFLAGS: 00000206
[   24.280000] [      C1] Call Trace:
[   24.280000] [      C1]  <TASK>
{frames}[   24.280000] [      C1]  vfs_write+0xf8/0x440
[   24.280000] [      C1]  </TASK>
[   24.280000] [      C1] ---[ end trace 0000000000000000 ]---
[   24.280000] [      C1] Kernel panic - not syncing: Fatal exception in interrupt
"""
_CANARY = """\
[   24.26] [T174] Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: till_read+0x9a/0xa0 [till]
[   24.265901] [    T174] CPU: 1 UID: 0 PID: 174 Comm: till Not tainted 6.12.1-amd64 #1
[   24.265901] [    T174] Call Trace:
[   24.265901] [    T174]  <TASK>
[   24.265901] [    T174]  dump_stack_lvl+0x5d/0x80
[   24.265901] [    T174]  panic+0x118/0x2ed
[   24.265901] [    T174]  __stack_chk_fail+0x10/0x10
[   24.265901] [    T174]  till_read+0x9a/0xa0 [till]
[   24.265901] [    T174]  vfs_read+0xf8/0x440
[   24.265901] [    T174]  </TASK>
"""


def _found(log: str) -> list[Finding]:
    return verdict_of(Case(None, log), *ENDS, overflowed, overwritten_canary)


@pytest.mark.parametrize(("times", "says"), [(20, "sieve_pass is 21 of the 22 frames on it"), (3, None)])
def test_recursion_is_counted(times: int, says: str | None) -> None:
    """The same function again and again; three times is no recursion that fills a stack."""
    frame = "[   24.280000] [      C1]  sieve_pass+0xb9/0xd0 [mill]\n"
    (only,) = _found(_GUARD.format(frames=frame * times))
    assert (only.finding, only.function, only.module, only.role) == (
        "stack overflow",
        "sieve_pass",
        "mill",
        "end",
    )
    said = " ".join(each.says for each in only.evidence)
    assert "24 bytes below the stack, which has 16 KiB" in said
    assert ("calls itself" in said) == (says is not None)
    assert says is None or says in said


def test_a_canary_is_no_overflow_of_the_stack() -> None:
    """The kernel found the frame of one function overwritten: a variable's end was passed."""
    (end,) = _found(_CANARY)
    assert (end.finding, end.function, end.module) == ("out of bounds", "till_read", "till")
    assert (end.subject, end.role, end.confidence >= 0.8) == ("a variable on the stack", "end", True)


def test_a_capture() -> None:
    """The guest's recursion, of a hundred frames."""
    folders = captures("fault-stack-*")
    if not folders:
        pytest.skip("no capture of fault-stack: KERNLAB_LAB_CAPTURES")
    with kernlab.open(folders[0] / "vmcore") as dump:
        first, *_ = verdict_of(Case(dump.kernel), *ENDS, overflowed)
    assert (first.finding, first.function, first.pid is None) == ("stack overflow", "sieve_pass", False)
    assert "it calls itself" in " ".join(each.says for each in first.evidence)


def test_a_function_that_is_often_on_a_long_stack_does_not_fill_it() -> None:
    """Ten of fifty frames."""
    own = "[   24.280000] [      C1]  sieve_pass+0xb9/0xd0 [mill]\n" * 10
    others = "".join(
        f"[   24.280000] [      C1]  step_{chr(97 + place % 26) * (place + 1)}+0x1/0x2\n"
        for place in range(40)
    )
    (only,) = _found(_GUARD.format(frames=own + others))
    assert "calls itself" not in " ".join(each.says for each in only.evidence)


def test_a_double_fault_is_no_overflow_by_itself() -> None:
    """Only the guard page shows that one."""
    log = _GUARD.format(frames="").splitlines(keepends=True)
    log[0] = "[   24.265900] [      C1] traps: PANIC: double fault, error_code: 0x0\n"
    log[1] = "[   24.265901] [      C1] double fault: 0000 [#1] PREEMPT SMP NOPTI\n"
    assert [each.finding for each in _found("".join(log))] == ["double fault"]
