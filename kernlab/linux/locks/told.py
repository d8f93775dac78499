"""Waits that no lock or queue tells of but what a task does: signals, children, a debugger, threads without work."""

from __future__ import annotations

import re

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.holders import task_rows
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, members, word_at
from kernlab.linux.locks.workqueues import find_workers

# include/linux/sched.h; macros, so no type information has them.
_PF_KTHREAD = 0x00200000
_STOPPED, _TRACED, _UNINTERRUPTIBLE, _NOLOAD = 0x4, 0x8, 0x2, 0x400

#: How a system call's function is called since v4.17: by which of its wrappers it became one with is the compiler's
#: choice (include/linux/syscalls.h, arch/*/include/asm/syscall_wrapper.h).
_WRAPPED = re.compile(r"^__(x64|ia32|arm64|se|do)_(compat_)?sys_")

#: By the function that sleeps: the type, and what is waited for.
_BY_FUNCTION = {
    "sys_pause": ("signal", "a signal"),
    "sigsuspend": ("signal", "a signal"),
    "do_sigtimedwait": ("signal", "a signal"),
    "__refrigerator": ("frozen", "to be thawed"),
    "do_freezer_trap": ("frozen", "to be thawed"),
    "ptrace_stop": ("ptrace", "its tracer"),
    "do_signal_stop": ("stopped", "SIGCONT"),
    "do_semtimedop": ("ipc", "System V semaphores"),
    "do_msgrcv": ("ipc", "a System V message"),
    "do_msgsnd": ("ipc", "room for a System V message"),
    "do_mq_timedreceive": ("ipc", "a POSIX message"),
    "wq_sleep": ("ipc", "a POSIX message queue"),
    "futex_wait_queue": ("futex", None),
    "futex_wait_queue_me": ("futex", None),
    "futex_wait_multiple": ("futex", "several futexes"),
    "do_nanosleep": ("timer", "a time"),
    "do_exit": ("exit", "the end"),
    "coredump_task_exit": ("exit", "the core dump of its process"),
    "zap_threads": ("exit", "other threads"),
    "do_epoll_wait": ("epoll", None),
    "ep_poll": ("epoll", None),
    "do_sys_poll": ("poll", None),
    "do_select": ("select", None),
    "io_schedule": ("request", None),
    "blk_io_schedule": ("request", None),
    "rcu_barrier": ("rcu", "RCU callbacks"),
    "synchronize_rcu_expedited": ("rcu", "an RCU grace period"),
}  # fmt: skip


def told_by_function(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks of which state and functions tell."""
    names = stacks.functions()
    task = stacks.task
    state = task.first("__state", "state").filled(0)
    kernel_thread = task["flags"].has(_PF_KTHREAD).true
    sure = ~stacks.guessed(np.arange(len(task)))
    picked: list[int] = []
    kinds: list[str] = []
    called: list[str | None] = []
    for row in np.flatnonzero(stacks.asleep).tolist():
        functions = names.get(row, [])
        told = _told(int(state[row]), functions)
        if told is None and kernel_thread[row] and not _in_need(int(state[row])):
            told = ("idle", _main_function(functions if sure[row] else []))
        if told is not None:
            picked.append(row)
            kinds.append(told[0])
            called.append(told[1])
    rows = np.array(picked, dtype=np.int64)
    zero = np.zeros(len(rows), dtype=np.uint64)
    found = Found(rows, zero, np.array(kinds, dtype=object), zero.copy())
    found.name[:] = called
    found.say(
        stacks.guessed(rows) & (found.type != "ptrace") & (found.type != "stopped"),
        "told by a guess at its stack",
    )
    _tracers(kernel, stacks, found)
    _idle(kernel, stacks, found)
    return found


def _told(state: int, functions: list[str]) -> tuple[str, str | None] | None:
    if state & _TRACED:
        return "ptrace", "its tracer"
    if state & _STOPPED:
        return "stopped", "SIGCONT"
    for name in functions:
        name = _WRAPPED.sub("sys_", name)
        if name in _BY_FUNCTION:
            return _BY_FUNCTION[name]
    # do_freezer_trap is part of it where the compiler put it there.
    if "get_signal" in functions and functions.index("get_signal") <= 2:
        return "frozen", "to be thawed"
    return None


def _in_need(state: int) -> bool:
    """Asleep in a way that counts as load: no thread does so for want of work."""
    return bool(state & _UNINTERRUPTIBLE) and not state & _NOLOAD


def _main_function(functions: list[str]) -> str | None:
    """What to call the work of a kernel thread: its main function, the last before `kthread`."""
    for end in ("kthread", "ret_from_fork"):
        if end in functions and functions.index(end):
            return f"something to do ({functions[functions.index(end) - 1]})"
    return "something to do"


def _tracers(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Who is being traced has its tracer for a parent."""
    rows = np.flatnonzero(found.type == "ptrace")
    if len(rows):
        found.holder[rows] = stacks.task[found.row[rows]]["parent"].filled(0).astype(np.uint64)


def _idle(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Workers, and whose they are."""
    rows = np.flatnonzero(found.type == "idle")
    try:
        workers = find_workers(kernel)
    except KernlabError as error:
        kernel.lost(f"workqueues: {error}")
        return
    order = np.argsort(workers.task, kind="stable")
    task = workers.task[order]
    pool, rescues = workers.worker["pool"], workers.worker["rescue_wq"]
    cpu = workers.worker.follow("pool")["cpu"]
    for row in rows.tolist():
        address = stacks.task.addresses[found.row[row]]
        at = int(np.searchsorted(task, address))
        if at >= len(task) or task[at] != address:
            continue
        one = int(order[at])
        if rescues[one]:
            found.object[row] = rescues[one]
            found.name[row] = f"work to rescue of workqueue {workers.name_of(rescues[one])}"
        elif pool[one]:
            found.object[row] = pool[one]
            where = cpu[one]
            found.name[row] = "work of any CPU" if where is None or where < 0 else f"work of CPU {where}"


def name_children(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """wait4 and waitid: which child, where it is a certain one or there is only one."""
    offset, entry = (
        member_offset(kernel, "struct wait_opts", "wo_pid"),
        member_offset(kernel, "struct wait_opts", "child_wait"),
    )
    rows = np.flatnonzero(found.type == "child")
    if offset is None or entry is None or not len(rows):
        return
    start = found.at[rows] - np.uint64(entry)
    pid = word_at(kernel, start, offset)
    task = stacks.task
    own, parent = (
        task["thread_pid"].filled(0).astype(np.uint64),
        task["real_parent"].filled(0).astype(np.uint64),
    )
    leader = task["group_leader"].filled(0).astype(np.uint64)
    process = task_rows(stacks, leader)
    lives = (leader == task.addresses) & (task["exit_state"].filled(0) == 0)
    above = task_rows(stacks, parent)
    # A thread's child is its whole process's.
    children = members(np.where(lives & (above >= 0), process[above], -1), len(task))
    for row, wanted in zip(rows.tolist(), pid.tolist(), strict=True):
        mine = children[process[found.row[row]]] if process[found.row[row]] >= 0 else process[:0]
        if wanted:
            mine = mine[own[mine] == np.uint64(wanted)]
        if len(mine) == 1:
            found.holder[row] = task.addresses[mine[0]]
            found.name[row] = "the end of its child"
        else:
            found.name[row] = (
                f"the end of one of its {len(mine):,} children" if len(mine) else "the end of a child"
            )
