"""Locks that nobody will ever give back: their holders were killed by the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from verdict.asked import ENDS
from verdict.cases import made_case, verdict_of

from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.abandoned import killed_with_a_lock

_LOG = """\
[   33.000000] [    T{pid}] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   33.000000] [    T{pid}] Oops: Oops: 0000 [#1] PREEMPT SMP
[   33.000000] [    T{pid}] CPU: 1 UID: 0 PID: {pid} Comm: miller Tainted: G        W  OE      6.12.1-amd64 #1
[   33.000000] [    T{pid}] RIP: 0010:stone_weigh+0x10/0x20 [mill]
[   33.000000] [    T{pid}] Call Trace:
[   33.000000] [    T{pid}]  <TASK>
[   33.000000] [    T{pid}]  vfs_write+0xf8/0x440
[   33.000000] [    T{pid}]  </TASK>
[   33.000000] [    T{pid}] ---[ end trace 0000000000000000 ]---
"""
_HUNG = """\
[  180.000000] [     T30] INFO: task porter:181 blocked for more than 120 seconds.
[  180.000000] [     T30] task:porter          state:D stack:0     pid:181
[  180.000000] [     T30] Call Trace:
[  180.000000] [     T30]  <TASK>
[  180.000000] [     T30]  __schedule+0x505/0xbf0
[  180.000000] [     T30]  __mutex_lock+0x370/0x690
[  180.000000] [     T30]  belt_turn+0x10/0x20 [mill]
[  180.000000] [     T30]  </TASK>
[  180.000000] [     T30] Kernel panic - not syncing: hung_task: blocked tasks
"""
_EXITED = "its holder has exited without letting go of it"
_GONE = "its holder is gone: 0xffff888001234000 is not the task_struct of a task any more"


def _found(
    *,
    note: str,
    holder: int | None,
    killed: tuple[int, ...] = (171,),
    tasks: Mapping[int, str] = MappingProxyType({}),
    lost: Sequence[str] = (),
) -> list[Finding]:
    wait: dict[str, Any] = {
        "pid": 181,
        "comm": "porter",
        "state": "D",
        "type": "mutex",
        "name": "belt_lock [mill]",
    }
    wait |= {"since": "140s", "note": note}
    if holder is not None:
        wait |= {"holder_pid": holder, "holder_comm": "miller"}
    case = made_case(
        "".join(_LOG.format(pid=pid) for pid in killed) + _HUNG,
        waits=[wait],
        tasks=[{"pid": pid, "state": state} for pid, state in {181: "D", **tasks}.items()],
    )
    case.tasks.attrs["problems"] += lost
    return [each for each in verdict_of(case, *ENDS, killed_with_a_lock) if each.role == "cause"]


@pytest.mark.parametrize("tasks", [{171: "Z"}, {}])
def test_the_lock_of_a_thread_that_was_killed(tasks: dict[int, str]) -> None:
    """The trap is the cause of what hangs, minutes later."""
    (cause,) = _found(note=_EXITED, holder=171, tasks=tasks)
    assert (cause.finding, cause.subject, cause.function) == (
        "null dereference",
        "miller (171)",
        "stone_weigh",
    )
    assert cause.confidence >= 0.9
    assert (
        "porter (181) waits for the mutex belt_lock [mill], the longest for 2 min 20 s"
        in cause.evidence[2].says
    )


def test_a_holder_that_is_gone_may_have_been_the_only_one_killed() -> None:
    """Its task_struct is another's by now: said as what speaks against it."""
    (cause,) = _found(note=_GONE, holder=None)
    assert (cause.finding, bool(cause.against)) == ("null dereference", True)
    assert not _found(note=_GONE, holder=None, killed=(171, 172))


@pytest.mark.parametrize(
    ("note", "holder", "tasks"),
    [
        ("", 171, {171: "S"}),  # the holder lives: the trap was another's
        (_EXITED, 99, {}),  # another thread's, that exited by itself
        (_EXITED, 171, {171: "S"}),  # the pid is somebody else's by now
        ("", None, {}),  # nobody is said to have it
    ],
)
def test_other_locks_are_not_of_who_was_killed(note: str, holder: int | None, tasks: dict[int, str]) -> None:
    """A trap before a hang is no cause of it by itself."""
    assert not _found(note=note, holder=holder, tasks=tasks)


def test_a_damaged_list_of_tasks_tells_of_nobody_who_is_gone() -> None:
    """A holder that the list does not reach any more is no dead one."""
    assert not _found(note=_GONE, holder=None, lost=["the list of tasks is cut short"])
