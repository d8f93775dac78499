"""What every sleeping task waits for: the one wait of each, of all that the modules of this room find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.locks.completions import completions
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.futexes import futexes
from kernlab.linux.locks.holders import check_holders
from kernlab.linux.locks.journals import name_journals
from kernlab.linux.locks.live_stacks import LiveStacks, live_stacks
from kernlab.linux.locks.open_files import name_open_files
from kernlab.linux.locks.polls import name_epolls, polls
from kernlab.linux.locks.requests import name_tags
from kernlab.linux.locks.rt_mutexes import rt_mutexes
from kernlab.linux.locks.sleeping_locks import sleeping_locks
from kernlab.linux.locks.spinning import spinning
from kernlab.linux.locks.timers import timers
from kernlab.linux.locks.told import name_children, told_by_function
from kernlab.linux.locks.wait_queues import wait_queues
from kernlab.linux.whatis.threads import say_thread

Finder = Callable[[Kernel, LiveStacks], Found]

#: What shows by its shape; of a task that has several of these on its stack the innermost is what it waits for.
_BY_SHAPE: tuple[Finder, ...] = (sleeping_locks, rt_mutexes, futexes, completions, wait_queues, polls)
#: So many of those of whom nothing is known are named.
_NAMED = 5


@fact
def waiting(kernel: Kernel) -> Found:
    """One wait for each sleeping task of which it is known, by the task's row. What is not known of others is told.

    Raises KernlabError where no task is found.
    """
    stacks = live_stacks(kernel)
    shaped = _without_proxies(stacks, Found.of([_attempt(kernel, finder, stacks) for finder in _BY_SHAPE]))
    told = _attempt(kernel, told_by_function, stacks)
    # A thread without work may sleep until a time; one that waits for a signal may, too, and that is the lesser thing.
    late = np.isin(told.type, ("idle", "timer"))
    found = Found.nothing()
    for part in (shaped, told.pick(~late), _attempt(kernel, timers, stacks), told.pick(late)):
        found = Found.of([found, _innermost(part.pick(~np.isin(part.row, found.row)))])
    found = Found.of([found, _attempt(kernel, spinning, stacks)])
    found = found.pick(np.argsort(found.row, kind="stable"))
    for step in (
        name_epolls,
        name_open_files,
        name_journals,
        name_tags,
        name_children,
        name_on_stacks,
        check_holders,
    ):
        try:
            step(kernel, stacks, found)
        except KernlabError as error:
            kernel.lost(f"waits: {error}")
    _tell_rest(kernel, stacks, found)
    return found


def _without_proxies(stacks: LiveStacks, found: Found) -> Found:
    """A futex with priority inheritance is an rt_mutex, too, of which its own thread knows nothing."""
    futex = found.row[found.type == "futex"]
    inner = np.flatnonzero((found.type == "rtmutex") & np.isin(found.row, futex))
    names = stacks.function_at(found.row[inner], found.at[inner])
    proxy = np.array([name.startswith("futex_") for name in names.tolist()], dtype=bool)
    return found.pick(np.setdiff1d(np.arange(len(found)), inner[proxy]))


def name_on_stacks(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """What lies on somebody's stack is called by the function whose frame it is in."""
    at = np.searchsorted(stacks.address, found.object)
    inside = at < len(stacks.address)
    # A lock need not begin with a word of its own.
    inside[inside] = stacks.address[at[inside]] - found.object[inside] < np.uint64(8)
    for row in np.flatnonzero(inside & (found.name == None)).tolist():  # noqa: E711
        owner = stacks.row[at[row] : at[row] + 1]
        function = str(stacks.function_at(owner, found.object[row : row + 1])[0])
        task = stacks.task[owner]
        whose = (
            "its own"
            if owner[0] == found.row[row]
            else f"{say_thread(task['comm'][0] or '?', task['pid'][0] or '?')}'s"
        )
        found.name[row] = f"on {whose} stack" + (f", in {function}" if function else "")


def _attempt(kernel: Kernel, finder: Finder, stacks: LiveStacks) -> Found:
    try:
        return finder(kernel, stacks)
    except KernlabError as error:
        kernel.lost(f"waits: {(finder.__doc__ or finder.__name__).splitlines()[0]} {error}")
        return Found.nothing()


def _innermost(found: Found) -> Found:
    """Of each task the wait that lies lowest on its stack."""
    order = np.lexsort((found.at, found.row))
    row = found.row[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = row[1:] != row[:-1]
    return found.pick(order[first])


def _tell_rest(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    rest = np.setdiff1d(np.flatnonzero(stacks.asleep), found.row)
    if not len(rest):
        return
    task = stacks.task[rest[:_NAMED]]
    named = ", ".join(
        say_thread(comm or "?", pid if pid is not None else "?")
        for comm, pid in zip(task["comm"], task["pid"], strict=True)
    )
    more = f" and {len(rest) - _NAMED:,} more" if len(rest) > _NAMED else ""
    kernel.lost(
        f"what {len(rest):,} of {int(stacks.asleep.sum()):,} sleeping tasks wait for is not known: {named}{more}"
    )
