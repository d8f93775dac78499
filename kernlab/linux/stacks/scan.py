"""The last resort: what on the rest of a stack may be a return address, where no unwinder goes on.

Stale ones are among them, of calls that returned long ago: the kernel's own traces mark such with a question mark.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.linux.stacks.code import behind_call, kernel_code
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.machines.arm64 import without_signatures
from kernlab.linux.stacks.stack_kinds import StackKind, size_of

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
#: (row, ip, sp) of what was found.
Found = tuple[I64, U64, U64]

_WORD = np.uint64(8)
#: So many pages of stacks are looked at together.
_PAGES = 1 << 12
#: A stack leads to the one that it came from, a few times at most: exception, interrupt, task.
_MOST_STACKS = 4


def scan(frames: Frames, rows: I64) -> Found:
    """What may be return addresses above the stack pointers of some rows: (row int64[m], ip uint64[m], sp uint64[m]).

    In the order in which they lie, of each row from the innermost on; `sp` is the address behind the word. A row whose
    stack pointer is on none of its stacks is looked for on all of its thread's. Where the dump has the code, a call
    has to stand before the address. What the dump lacks of a stack is passed over.
    """
    stack, start = frames.stack[rows].copy(), frames.sp[rows].copy()
    _begin_at_own(frames, rows, stack, start)
    found = []
    seen = np.full((len(rows), _MOST_STACKS), -1, dtype=np.int64)
    for turn in range(_MOST_STACKS):
        going = np.flatnonzero((stack >= 0) & ~(seen == stack[:, None]).any(axis=1))
        if not len(going):
            break
        seen[going, turn] = stack[going]
        part = _on_stacks(frames, rows[going], stack[going], start[going])
        found.append((*part, np.full(len(part[0]), turn)))
        start_of = np.zeros(len(rows), dtype=np.uint64)
        start_of[going] = _left_at(frames, rows[going], stack[going])
        start = start_of
        stack = np.where(start != 0, frames.on_stack(rows, start), -1)
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64)
    row, ip, sp, turns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((sp, turns, row))
    return row[order], ip[order], sp[order]


def _begin_at_own(frames: Frames, rows: I64, stack: I64, start: U64) -> None:
    """Have those that are on no stack begin at the lowest word of their thread's own."""
    stacks = frames.stacks
    of_tasks = np.flatnonzero(stacks.kind == StackKind.TASK)
    owner = stacks.owner[of_tasks]
    order = np.argsort(owner, kind="stable")
    nowhere = np.flatnonzero(stack < 0)
    if not len(order) or not len(nowhere):
        return
    at = np.minimum(np.searchsorted(owner[order], frames.thread[rows[nowhere]]), len(order) - 1)
    own = of_tasks[order[at]]
    has = stacks.owner[own] == frames.thread[rows[nowhere]]
    stack[nowhere[has]], start[nowhere[has]] = own[has], stacks.start[own[has]]


def _on_stacks(frames: Frames, rows: I64, stack: I64, start: U64) -> Found:
    """What is found on one stack of each row, from `start` on."""
    kernel, size, thread = frames.kernel, np.uint64(frames.kernel.page_size), frames.thread[rows]
    # A task's registers of user mode are no kernel's.
    own = frames.stacks.kind[stack] == StackKind.TASK
    above = np.where(own, np.uint64(size_of(kernel, "struct pt_regs")), np.uint64(0))
    end = np.maximum(frames.stacks.end[stack] - above, frames.stacks.start[stack])
    start = (start + _WORD - np.uint64(1)) & ~(_WORD - np.uint64(1))
    first = start & ~(size - np.uint64(1))
    count = np.where(start < end, (end - first + size - np.uint64(1)) // size, np.uint64(0)).astype(np.int64)
    owner = np.repeat(np.arange(len(rows)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    page = first[owner] + number.astype(np.uint64) * size
    parts = []
    for begin in range(0, len(page), _PAGES):
        part = slice(begin, begin + _PAGES)
        parts.append(_on_pages(frames, thread, owner[part], page[part], start, end))
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64)
    which, ip, sp = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows[which], ip, sp


def _on_pages(frames: Frames, thread: I64, owner: I64, page: U64, start: U64, end: U64) -> Found:
    """What is found on pages, each of one stack [start, end) of `owner`, which is that of `thread`."""
    kernel = frames.kernel
    code = kernel_code(kernel)
    data, status = kernel.gather(page, kernel.page_size, "pages of stacks")
    words = without_signatures(data.view("<u8"), machine_of(kernel).signature_bits(kernel))
    where = page[:, None] + np.arange(words.shape[1], dtype=np.uint64) * _WORD
    looked = (where >= start[owner][:, None]) & (where < end[owner][:, None]) & (status == 0)[:, None]
    low, high = (code.start[0], code.end[-1]) if len(code.start) else (np.uint64(1), np.uint64(0))
    at, column = np.nonzero(looked & (words > low) & (words < high))
    value = words[at, column]
    taken = np.flatnonzero(frames.trampolines.begin(value))
    if len(taken):
        lies = where[at[taken], column[taken]]
        # On arm64 the caller's frame pointer lies below it.
        below, _ = kernel.words(lies - _WORD, what="")
        place = frames.trampolines.place(lies, below)
        value[taken], _ = frames.trampolines.true_callers(thread[owner[at[taken]]], value[taken], place)
    # The address behind a function's last call may be that of the next, which is not code of the same stretch.
    held = code.holds(value - np.uint64(1))
    at, column, value = at[held], column[held], value[held]
    distinct, back = np.unique(value, return_inverse=True)
    called, known = behind_call(kernel, distinct)
    good = (called | ~known)[back]
    at, column, value = at[good], column[good], value[good]
    return owner[at], value, where[at, column] + _WORD


def _left_at(frames: Frames, rows: I64, stack: I64) -> U64:
    """Where each stack was come to from, by what lies at its end: uint64[n], 0 where nothing says it."""
    kernel = frames.kernel
    where = machine_of(kernel).left_at(kernel, frames.stacks.kind[stack], frames.stacks.end[stack])
    at = np.flatnonzero(where)
    result = np.zeros(len(rows), dtype=np.uint64)
    value, read = frames.read(rows[at], where[at])
    result[at] = np.where(read, value, np.uint64(0))
    return result
