"""The live parts of all stacks: every word between where a task that does not run was switched from and the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.stacks.areas import StackKind, find_stacks
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.unwind import unwound
from kernlab.linux.whatis.areas import bare

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

#: How much is read at once.
_LINE = 64
#: Bits of the state (include/linux/sched.h): interruptible, not, stopped, traced, parked, for a lock of PREEMPT_RT,
#: frozen; and that it was being woken.
_ASLEEP, _WAKING = 0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x1000 | 0x8000, 0x200
#: What compilers and the linker add to a function's name.
_MADE = (".constprop", ".isra", ".part", ".cold", ".llvm")


@dataclass(frozen=True)
class LiveStacks:
    """M words of the stacks of all tasks that do not run: `address` and `word` uint64[m], ascending by address; `row`
    int64[m], the task's in `task`. `asleep` bool[tasks]: neither running, nor ready to, nor dead.

    F frames: `frame_sp` uint64[f] ascending, `frame_row` int64[f], `frame_name` object[f], the bare function of each,
    `frame_symbol` its symbol as wchan has it, `frame_schedules` bool[f]: one of the scheduler's or of what locks;
    `frame_sure` bool[f], False of what is guessed.
    """

    task: StructArray
    asleep: Mask
    address: U64
    word: U64
    row: I64
    frame_sp: U64
    frame_row: I64
    frame_name: Texts
    frame_symbol: Texts
    frame_schedules: Mask
    frame_sure: Mask

    def holds(self, addresses: U64) -> Mask:
        """Which of the addresses uint64[n] are those of words of these stacks: bool[n]."""
        found = np.zeros(len(addresses), dtype=bool)
        if len(self.address):
            # Nearly nothing else lies between the first stack and the last one, so few are searched for.
            near = np.flatnonzero((addresses >= self.address[0]) & (addresses <= self.address[-1]))
            found[near] = self.address[np.searchsorted(self.address, addresses[near])] == addresses[near]
        return found

    def function_at(self, rows: I64, addresses: U64) -> Texts:
        """The function in whose frame on the stack of each task an address lies, '' where that is not known."""
        names = np.full(len(addresses), "", dtype=object)
        if len(self.frame_sp):
            at = np.searchsorted(self.frame_sp, addresses, side="right").astype(np.int64) - 1
            hit = (at >= 0) & (self.frame_row[at] == rows)
            names[hit] = self.frame_name[at[hit]]
        return names

    def functions(self) -> dict[int, list[str]]:
        """The functions on each stack by the task's row, the innermost first."""
        return self._functions

    @cached_property
    def _functions(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for row, name in zip(self.frame_row.tolist(), self.frame_name.tolist(), strict=True):
            found.setdefault(row, []).append(name)
        return found

    def sleeps_in(self) -> dict[int, str]:
        """By the task's row the innermost function that is none of the scheduler's (fs/proc/base.c, proc_pid_wchan)."""
        found: dict[int, str] = {}
        keep = ~self.frame_schedules & (self.frame_name != "") & self.frame_sure
        for row, name in zip(self.frame_row[keep].tolist(), self.frame_symbol[keep].tolist(), strict=True):
            found.setdefault(row, name)
        return found

    def guessed(self, rows: I64) -> Mask:
        """Which tasks have no frame that is sure."""
        guessed: Mask = ~np.isin(rows, self.frame_row[self.frame_sure])
        return guessed

    def words_of(self, rows: I64) -> tuple[U64, U64, I64]:
        """The words on the stacks of some tasks: their addresses, themselves, and the tasks' rows."""
        mine = np.isin(self.row, rows)
        return self.address[mine], self.word[mine], self.row[mine]


def function_name(symbol: str | None) -> str:
    """`__mutex_lock` of `__mutex_lock.constprop.0+0x1f/0x80`, '' of None."""
    name = _symbol(symbol)
    for made in _MADE:
        name = name.partition(made)[0]
    return name


def _symbol(symbol: str | None) -> str:
    """`__mutex_lock.constprop.0` of `__mutex_lock.constprop.0+0x1f/0x80 [module]`, '' of None."""
    return (bare(symbol) or "").partition(" ")[0]


@fact
def live_stacks(kernel: Kernel) -> LiveStacks:
    """The stacks of all tasks that did not run. Raises KernlabError where no task is found."""
    every = unwound(kernel)
    task = every.task
    stacks = find_stacks(kernel)
    running = task["on_cpu"] != 0 if task.has("on_cpu") else None
    off = np.ones(len(task), dtype=bool) if running is None else (~running).true
    # Linux commit 2f064a59a11f ("sched: Change task_struct::state") (in v5.14) renamed state to __state.
    state, gone = task.first("__state", "state"), task["exit_state"]
    asleep = off & state.has(_ASLEEP).true & (~state.has(_WAKING)).true & (gone == 0).true
    machine = machine_of(kernel)
    _, sp, _, known = machine.saved_context(kernel, task, (task["stack"] != 0).true)
    top = np.where(known, sp - np.uint64(machine.saved_bytes(kernel)), np.uint64(0))
    at = stacks.find(top)
    mine = off & (at >= 0)
    its = np.flatnonzero(mine)
    mine[its] = (stacks.kind[at[its]] == StackKind.TASK) & (stacks.owner[at[its]] == its)
    lost = asleep & ~mine
    if lost.any():
        kernel.lost("the saved stack pointers of sleeping tasks are on no stack of their own", mask=lost)
    rows = np.flatnonzero(mine)
    order = rows[np.argsort(top[rows], kind="stable")]
    address, word, row = stack_words(kernel, top[order], stacks.end[at[order]], order)
    frame_order = np.argsort(every.sp, kind="stable")
    unique, of = np.unique(every.ip, return_inverse=True)
    symbols = kernel.symbolize(unique)
    names = np.array([function_name(name) for name in symbols], dtype=object)
    return LiveStacks(
        task,
        asleep,
        address,
        word,
        row,
        every.sp[frame_order],
        every.thread[frame_order],
        names[of][frame_order],
        np.array([_symbol(name) for name in symbols], dtype=object)[of][frame_order],
        _schedules(kernel, every.ip)[frame_order],
        every.reliable[frame_order],
    )


def _schedules(kernel: Kernel, ip: U64) -> Mask:
    """Which addresses lie in the scheduler's code or that of spinlocks (kernel/sched/core.c, in_sched_functions)."""
    inside = np.zeros(len(ip), dtype=bool)
    for name in ("sched", "lock"):
        start, end = (kernel.symbols.get(f"__{name}_text_{side}") for side in ("start", "end"))
        if start is not None and end is not None:
            inside |= (ip >= np.uint64(start)) & (ip < np.uint64(end))
    return inside


def stack_words(kernel: Kernel, start: U64, end: U64, rows: I64) -> tuple[U64, U64, I64]:
    """The words of [start, end) of some stacks that can be read: (addresses, words, rows)."""
    first = start & ~np.uint64(_LINE - 1)
    count = ((end - first) // np.uint64(_LINE)).astype(np.int64)
    kernel.budget.room(int(count.sum()), 3 * _LINE, "the words of all stacks")
    of = np.repeat(np.arange(len(rows)), count)
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(count)[:-1]])
    line = first[of] + ((np.arange(len(of)) - before[of]) * _LINE).astype(np.uint64)
    block, status = kernel.gather(line, _LINE, "stacks")
    each = _LINE // 8
    word = block.view("<u8").reshape(-1)
    address = np.repeat(line, each) + np.tile(np.arange(each, dtype=np.uint64) * np.uint64(8), len(line))
    owner = np.repeat(of, each)
    good = np.repeat(status == 0, each) & (address >= start[owner])
    return address[good], word[good].astype(np.uint64, copy=False), rows[owner[good]]
