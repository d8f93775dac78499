"""Many stacks while they are unwound: each one's frame of this round, and how it goes on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.areas import Stacks
from kernlab.linux.stacks.code import is_return_address, kernel_code
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.stack_kinds import StackKind
from kernlab.linux.stacks.starts import OTHERS, Starts
from kernlab.linux.stacks.trampolines import Trampolines

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: A task's own stack, that of interrupts, of entry, and each of the exceptions': no more are on one way up.
_MOST_STACKS = 12

#: Why a frame that leads nowhere was not followed.
NO_RETURN = "the return address of its frame is behind no call"
#: Why a frame is not followed whose caller's registers are none.
NO_REGISTERS = "it leads to what is not saved registers"


class Frames:
    """N stacks at one frame each. ip, sp, bp uint64[n]; regs uint64[n]: where registers were saved that the frame
    begins with (0: none), and `full` bool[n] whether all of them; those of before `before` uint64[n] has, while they
    still hold. `exact` bool[n]: ip is an instruction yet to be done; `stack` int64[n]: the stack that it is on.

    `thread` int64[n] is the row in `find_tasks` whose stack may be used, `cpu` int64[n] the CPU whose stacks may be,
    too (-1: none). `running` bool[n]: not at its end yet; `user` uint64[n]: where the registers of user mode lie, to
    which it came (0: it did not); `guessed` bool[n]: from here on nothing is sure; `why` says of a failed one what
    failed.
    """

    def __init__(self, kernel: Kernel, stacks: Stacks, starts: Starts):
        count = len(starts)
        self.kernel, self.stacks = kernel, stacks
        self.trampolines = Trampolines(kernel)
        self._machine = machine_of(kernel)
        self.thread, self.cpu = starts.thread, starts.cpu
        self.ip, self.sp, self.bp = starts.ip.copy(), starts.sp.copy(), starts.bp.copy()
        self.exact, self.full, self._given = starts.exact.copy(), starts.full.copy(), starts.others
        #: Whether a frame is its stack's innermost one, whose registers the CPU itself has.
        self._first = starts.full.copy()
        self.regs, self.before = np.zeros(count, dtype=np.uint64), np.zeros(count, dtype=np.uint64)
        self.user = np.zeros(count, dtype=np.uint64)
        self.guessed = np.zeros(count, dtype=bool)
        self.why = {row: why for row, why in starts.why.items() if why}
        self.running = np.ones(count, dtype=bool)
        self.running[list(starts.why)] = False
        self.stack = self._stack_of(np.arange(count), self.sp)
        self._seen = np.full((count, _MOST_STACKS), -1, dtype=np.int64)
        self._seen[:, 0] = self.stack
        self.fail(
            np.flatnonzero(self.running & (self.stack < 0)), "its stack pointer is on no stack of its own"
        )

    def on_stack(self, rows: I64, addresses: U64) -> I64:
        """The stack (row of `stacks`) on which an address of each row lies, -1 where that is not one it may use."""
        at = self.stacks.find(addresses)
        if not len(self.stacks.owner):
            return at
        owner = self.stacks.owner[at]
        mine = np.where(
            self.stacks.kind[at] == StackKind.TASK, owner == self.thread[rows], owner == self.cpu[rows]
        )
        return np.where((at >= 0) & mine, at, -1)

    def _stack_of(self, rows: I64, sp: U64) -> I64:
        """The stack that a stack pointer belongs to; the end of a stack, where it is empty, is behind it."""
        at = self.on_stack(rows, sp)
        return np.where(at < 0, self.on_stack(rows, sp - np.uint64(8)), at)

    def read(self, rows: I64, addresses: U64) -> tuple[U64, Mask]:
        """The word at an address of each row's own stacks: (uint64[k], bool[k])."""
        allowed = self.on_stack(rows, addresses) >= 0
        value, read = self.kernel.words(np.where(allowed, addresses, np.uint64(0)), what="")
        return value, read & allowed

    def saved(self, rows: I64) -> U64:
        """Where all registers that still hold were saved, 0 where that was not done on this stack: uint64[k]."""
        return np.where(self.full[rows], self.regs[rows], self.before[rows])

    def register(self, rows: I64, name: str, offset: int) -> tuple[U64, Mask]:
        """A register of the frames of some rows, where it is known (arch/x86/kernel/unwind_orc.c, get_reg).

        `offset` is its place in struct pt_regs.
        """
        where = self.saved(rows)
        value, read = self.read(rows, where + np.uint64(offset))
        known = read & (where != 0)
        first = self._first[rows] & self.full[rows]
        if first.any():
            value = np.where(first, self._given[rows, OTHERS.index(name)], value)
            known |= first
        return value, known

    def finish(self, rows: I64) -> None:
        """These came to their end."""
        self.running[rows] = False

    def fail(self, rows: I64, why: str) -> None:
        """These cannot be followed further; of several reasons the first one counts."""
        rows = rows[self.running[rows]]
        self.running[rows] = False
        self.why.update(dict.fromkeys(rows.tolist(), why))

    def advance(
        self,
        rows: I64,
        ip: U64,
        sp: U64,
        bp: U64,
        *,
        exact: Mask,
        regs: U64,
        full: Mask,
        ok: Mask,
        level: Mask | None = None,
    ) -> None:
        """The next frames of some rows; those not `ok` could not be read, and those on the same stack have to go up.

        Not so those that are `level` bool[k], of which the caller had stored nothing yet: they may stay where they are.

        regs uint64[k]: where registers were saved, 0 of calls; full bool[k]: all of them. Where a trampoline is to be
        returned to `ip` becomes the true caller, or the frame a guess. What no call can have left there ends the stack.
        """
        # It lies below what its frame has of the stack, also where a return had just led to what was interrupted.
        place = self.trampolines.place(sp - np.uint64(8), bp)
        caller, noted = self.trampolines.true_callers(self.thread[rows], ip, place)
        self.guessed[rows[~noted]] = True
        ip, exact = caller, exact & (caller == ip)
        self.fail(rows[~ok], "its frame cannot be read")
        user = ok & (self.user[rows] != 0)
        self.finish(rows[user])
        ok = ok & ~user
        returns = np.flatnonzero(ok & ~exact & (regs == 0) & noted)
        wrong = returns[~is_return_address(self.kernel, ip[returns])]
        self.fail(rows[wrong], NO_RETURN)
        ok[wrong] = False
        stack = self._stack_of(rows, sp)
        # What was interrupted was code, or what was called was none and there the fault is; else nothing is sure.
        saved = np.flatnonzero(ok & (regs != 0))
        wild = saved[~kernel_code(self.kernel).holds(ip[saved])]
        self.guessed[rows[wild[~self._machine.fetched(self.kernel, regs[wild])]]] = True
        lost = ok & (stack < 0)
        self.fail(rows[lost], "the caller's stack pointer is on no stack of its own")
        back = ok & ~lost & (stack == self.stack[rows]) & (sp <= self.sp[rows])
        if level is not None:
            back &= ~level | (sp < self.sp[rows])
        self.fail(rows[back], "the caller's frame does not lie above it")
        ok &= ~lost & ~back
        ok &= self._visit(rows, stack, ok)
        rows, regs, full = rows[ok], regs[ok], full[ok]
        # What was saved in part within a whole: the registers of before are still what they were.
        self.before[rows] = np.where((regs != 0) & ~full, self.saved(rows), np.uint64(0))
        self.regs[rows], self.full[rows] = regs, full
        self._first[rows] = False
        self.ip[rows], self.sp[rows], self.bp[rows] = ip[ok], sp[ok], bp[ok]
        self.exact[rows], self.stack[rows] = exact[ok], stack[ok]

    def _visit(self, rows: I64, stack: I64, ok: Mask) -> Mask:
        """Which of the next frames lie on the same stack, or on one where this way up has not been yet."""
        other = np.flatnonzero(ok & (stack != self.stack[rows]))
        if not len(other):
            return ok
        seen = self._seen[rows[other]]
        again = (seen == stack[other][:, None]).any(axis=1) | (seen[:, -1] >= 0)
        self.fail(rows[other[again]], "it leads back to a stack that it came from")
        new = other[~again]
        place = (self._seen[rows[new]] >= 0).sum(axis=1)
        self._seen[rows[new], place] = stack[new]
        good = ok.copy()
        good[other[again]] = False
        return good
