"""Waiters by their shape: a struct on a task's own stack that names the task and hangs on a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import MemberNotFoundError
from kernlab.linux.locks.live_stacks import LiveStacks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

#: So many words of a stack are tried as pointers to a lock at once.
_MOST_TRIED = 1 << 21


@dataclass(frozen=True, slots=True)
class Candidates:
    """K places on stacks that may be a waiter: `at` uint64[k], the task's `row` int64[k], `function` object[k]: in
    whose frame each lies."""

    row: I64
    at: U64
    function: Texts

    def pick(self, which: Mask | I64) -> Candidates:
        """Some of them."""
        return Candidates(self.row[which], self.at[which], self.function[which])


def member_offset(kernel: Kernel, type_name: str, member: str) -> int | None:
    """Where a member lies in a struct; None where this kernel has no such."""
    kind = kernel.type_or_none(type_name)
    if kind is None:
        return None
    try:
        return resolve(kind, member).hops[0]
    except MemberNotFoundError:
        return None


def first_offset(kernel: Kernel, type_name: str, *members: str) -> int | None:
    """Where the first of several members lies that this kernel's struct has."""
    for member in members:
        offset = member_offset(kernel, type_name, member)
        if offset is not None:
            return offset
    return None


def named_on_stacks(kernel: Kernel, stacks: LiveStacks, type_name: str, member: str) -> Candidates:
    """Where on each sleeping task's stack a struct may lie whose `member` points to that task."""
    offset = member_offset(kernel, type_name, member)
    if offset is None:
        return Candidates(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, object))
    hit = (stacks.word == stacks.task.addresses[stacks.row]) & stacks.asleep[stacks.row]
    row, at = stacks.row[hit], stacks.address[hit] - np.uint64(offset)
    # What would begin below the saved stack pointer lies on no live stack.
    own = stacks.holds(at)
    row, at = row[own], at[own]
    return Candidates(row, at, stacks.function_at(row, at))


def first_row(values: U64, wanted: U64) -> I64:
    """The first row of values uint64[m] that is each of the wanted ones uint64[n], -1 where none is: int64[n]."""
    if not len(values):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    row = order[np.minimum(np.searchsorted(values, wanted, sorter=order), len(values) - 1)]
    return np.where(values[row] == wanted, row, -1)


def members(owner: I64, count: int) -> list[I64]:
    """The rows of each of `count` owners, by the owner int64[n] of every row (-1: none), in their order."""
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(count + 1))
    return np.split(order, bounds)[1:-1]


def word_at(kernel: Kernel, addresses: U64, offset: int | None) -> U64:
    """The word at an offset from each address, 0 where it cannot be read or there is no such."""
    if offset is None:
        return np.zeros(len(addresses), dtype=np.uint64)
    value, read = kernel.words(addresses + np.uint64(offset), what="")
    return np.where(read, value, np.uint64(0))


def pointed_to(
    kernel: Kernel, stacks: LiveStacks, rows: I64, test: Callable[[I64, U64], Mask]
) -> dict[int, int]:
    """What a word on the stack of each task (or a register that was saved there) points to and `test` holds of:
    `test(rows, addresses)` is asked of all words. By the task's row; the innermost such word counts.
    """
    address, word, row = stacks.words_of(rows)
    keep = kernel.arch.is_kernel(word) & (word % np.uint64(8) == 0)
    address, word, row = address[keep][:_MOST_TRIED], word[keep][:_MOST_TRIED], row[keep][:_MOST_TRIED]
    found: dict[int, int] = {}
    if len(word):
        hit = test(row, word)
        order = np.argsort(address[hit], kind="stable")
        for one, pointer in zip(row[hit][order].tolist(), word[hit][order].tolist(), strict=True):
            found.setdefault(one, pointer)
    return found
