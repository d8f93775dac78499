"""Many stacks while they are unwound: each one's frame of this round, and how it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.areas import StackKind, Stacks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass
class Frames:
    """N stacks at one frame each. ip, sp, bp uint64[n]; regs uint64[n]: where registers were saved that the frame
    begins with (0: none), and `full` bool[n] whether all of them; `exact` bool[n]: ip is an instruction yet to be done.

    `thread` int64[n] is the row in `find_tasks` whose stack may be used, `cpu` int64[n] the CPU whose stacks may be,
    too (-1: none). `running` bool[n]: not at its end yet; `user` bool[n]: came to user mode; `why` says of a failed
    one what failed.
    """

    kernel: Kernel
    stacks: Stacks
    thread: I64
    cpu: I64
    ip: U64
    sp: U64
    bp: U64
    exact: Mask
    regs: U64 = field(init=False)
    full: Mask = field(init=False)
    running: Mask = field(init=False)
    user: Mask = field(init=False)
    stack: I64 = field(init=False)
    why: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.ip)
        self.regs = np.zeros(count, dtype=np.uint64)
        self.full = np.zeros(count, dtype=bool)
        self.user = np.zeros(count, dtype=bool)
        self.stack = self.on_stack(np.arange(count), self.sp)
        self.running = self.stack >= 0
        self.fail(np.flatnonzero(~self.running), "its stack pointer is on no stack of its own")

    def on_stack(self, rows: I64, addresses: U64) -> I64:
        """The stack (row of `stacks`) on which an address of each row lies, -1 where that is not one it may use."""
        at = self.stacks.find(addresses)
        owner = self.stacks.owner[at]
        mine = np.where(
            self.stacks.kind[at] == StackKind.TASK, owner == self.thread[rows], owner == self.cpu[rows]
        )
        return np.where((at >= 0) & mine, at, -1)

    def read(self, rows: I64, addresses: U64) -> tuple[U64, Mask]:
        """The word at an address of each row's own stacks: (uint64[k], bool[k])."""
        allowed = self.on_stack(rows, addresses) >= 0
        value, read = self.kernel.words(np.where(allowed, addresses, np.uint64(0)), what="")
        return value, read & allowed

    def finish(self, rows: I64) -> None:
        """These came to their end."""
        self.running[rows] = False

    def fail(self, rows: I64, why: str) -> None:
        """These cannot be followed further."""
        self.running[rows] = False
        self.why.update(dict.fromkeys(rows.tolist(), why))

    def advance(self, rows: I64, ip: U64, sp: U64, bp: U64, exact: Mask, ok: Mask) -> None:
        """The next frames of some rows; those not `ok` could not be read, and those on the same stack have to go up."""
        stack = self.on_stack(rows, sp)
        # The end of a stack is the address behind it.
        stack = np.where(stack < 0, self.on_stack(rows, sp - np.uint64(8)), stack)
        user = self.user[rows]
        self.finish(rows[user & ok])
        self.fail(rows[~ok], "its frame cannot be read")
        ok = ok & ~user
        lost = ok & (stack < 0)
        self.fail(rows[lost], "the caller's stack pointer is on no stack of its own")
        back = ok & ~lost & (stack == self.stack[rows]) & (sp <= self.sp[rows])
        self.fail(rows[back], "the caller's frame does not lie above it")
        ok &= ~lost & ~back
        self.ip[rows[ok]], self.sp[rows[ok]], self.bp[rows[ok]] = ip[ok], sp[ok], bp[ok]
        self.exact[rows[ok]], self.stack[rows[ok]] = exact[ok], stack[ok]
