"""A processor that only calls and is interrupted: it leaves stacks behind whose every frame is known.

    machine = Machine(opened("debian-6.12").kernel)
    machine.enter()                    # a system call; machine.begin_thread() for a kernel thread
    machine.call(address)              # as the code before `address` does
    machine.interrupt(address)         # while the instruction at `address` was to be done
    frames = machine.frames()          # linux/stacks/frames.py, at the innermost frame
    machine.expected                   # (ip, sp, regs) of every frame, the innermost first

Functions keep frame pointers (x86-64, CONFIG_FRAME_POINTER). Its stacks lie behind the memory of the kernel below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.areas import StackKind, Stacks
from kernlab.linux.stacks.code import behind_call
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.starts import OTHERS, Starts

BASE = 0xFFFFC90000F00000
STACK = 16384
ALL = (StackKind.TASK, StackKind.IRQ, StackKind.EXCEPTION, StackKind.NMI, StackKind.TASK)
#: Whose stacks those are: the last one is another thread's.
THREAD, CPU, OTHER_THREAD = 7, 3, 8
REGS = 168


class PatchedKernel:
    """A kernel with some more memory."""

    def __init__(self, below: Kernel, memory: np.ndarray):
        self._below, self._memory = below, memory
        self.arch, self.types, self.symbols, self.page_size = (
            below.arch,
            below.types,
            below.symbols,
            below.page_size,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def gather(self, addresses: Any, size: int, what: str = "") -> tuple[np.ndarray, np.ndarray]:
        where = np.ascontiguousarray(addresses, dtype=np.uint64)
        offset = where - np.uint64(BASE)
        inside = offset <= np.uint64(len(self._memory) - size)
        rows, status = self._below.gather(np.where(inside, np.uint64(0), where), size, "")
        rows, status = rows.copy(), status.copy()
        at = np.flatnonzero(inside)
        rows[at] = self._memory[offset[at].astype(np.int64)[:, None] + np.arange(size)]
        status[at] = 0
        return rows, status

    def words(self, addresses: Any, size: int = 8, what: str = "") -> tuple[np.ndarray, np.ndarray]:
        rows, status = self.gather(addresses, size)
        return rows.view(f"<u{size}")[:, 0].astype(np.uint64), status == 0


class Machine:
    """One thread, and the stacks of the CPU that it runs on."""

    def __init__(self, kernel: Kernel):
        self.memory = np.zeros(len(ALL) * 2 * STACK, dtype=np.uint8)
        self.kernel = PatchedKernel(kernel, self.memory)
        #: Each stack has a hole behind it.
        start = np.array([BASE + number * 2 * STACK for number in range(len(ALL))], dtype=np.uint64)
        self.ends = [int(one) + STACK for one in start]
        owner = np.array([THREAD, CPU, CPU, CPU, OTHER_THREAD], dtype=np.int64)
        kinds = np.array(ALL, dtype=np.uint8)
        self.stacks = Stacks(start, start + np.uint64(STACK), kinds, owner)
        self.top = self.ends[0] - REGS
        self.sp, self.bp, self.exact_ip = self.top, 0, 0
        self._left: list[tuple[int, int, int]] = []

    def store(self, address: int, word: int) -> None:
        at = address - BASE
        self.memory[at : at + 8] = np.frombuffer((word % (1 << 64)).to_bytes(8, "little"), dtype=np.uint8)

    def load(self, address: int) -> int:
        return int.from_bytes(self.memory[address - BASE :][:8].tobytes(), "little")

    def push(self, word: int) -> None:
        self.sp -= 8
        self.store(self.sp, word)

    def _registers(self, at: int, ip: int, sp: int, bp: int, cs: int) -> None:
        for offset, value in (
            (4, bp),
            (16, ip),
            (17, cs),
            (18, 0x246),
            (19, sp),
            (20, 0x18 if cs == 0x10 else 0x2B),
        ):
            self.store(at + 8 * offset, value)

    def enter(self) -> Machine:
        """A system call of a program."""
        self._registers(self.top, 0x7F0000001234, 0x7FFD00000000, 0x1111, 0x33)
        return self

    def call(self, back: int, locals_: int = 0) -> Machine:
        """Call a function that returns to `back`, and has so many words of its own."""
        self._left.append((back, self.sp, 0))
        self.push(back)
        self.push(self.bp)
        self.bp = self.sp
        for number in range(locals_):
            self.push(0xAA0000 + number)
        return self

    def interrupt(self, ip: int, on: int | None = None) -> Machine:
        """Be interrupted at `ip`: the registers are saved on the stack, or on the one of the number `on`."""
        before = self.sp
        self.sp = (self.sp if on is None else self.ends[on]) & ~15
        if on is None:
            self.sp -= 8
        self.sp -= REGS
        self._registers(self.sp, ip, before, self.bp, 0x10)
        self._left.append((ip, before, self.sp))
        self.bp = self.sp | 1
        return self

    def to_stack(self, number: int) -> Machine:
        """Go on on another stack, whose first word says where it came from (arch/x86/include/asm/irq_stack.h)."""
        self.store(self.ends[number] - 8, self.sp)
        self.sp = self.ends[number] - 8
        return self

    @property
    def expected(self) -> list[tuple[int, int, int]]:
        """All frames: ip, sp, and where the registers of interrupted ones lie."""
        innermost = [(self.exact_ip, self.sp, 0)] if self.exact_ip else []
        return [*innermost, *reversed(self._left)]

    def frames(self, *, on_cpu: bool = True) -> Frames:
        """The innermost frame: of what called last, or of what runs at `exact_ip`."""
        ip, sp, bp = self.exact_ip, self.sp, self.bp
        if not ip:
            (ip, sp, regs), bp = self._left[-1], self.load(self.bp)
            assert not regs, "what was interrupted last has to call something"
        return self.frames_at(ip, sp, bp, exact=bool(self.exact_ip), on_cpu=on_cpu)

    def frames_at(self, ip: int, sp: int, bp: int, *, exact: bool = False, on_cpu: bool = True) -> Frames:
        """One stack at a frame."""
        word = [np.array([value % (1 << 64)], dtype=np.uint64) for value in (ip, sp, bp)]
        starts = Starts(
            np.array([THREAD]),
            np.array([CPU if on_cpu else -1]),
            *word,
            np.array([exact]),
            np.array([exact]),
            np.zeros((1, len(OTHERS)), dtype=np.uint64),
        )
        return Frames(self.kernel, self.stacks, starts)  # type: ignore[arg-type]


def steps(unwinder: Any, frames: Frames, most: int = 10_000) -> list[tuple[int, int, int]]:
    """Every frame that an unwinder finds: ip, sp, regs."""
    found = []
    while frames.running[0]:
        found.append((int(frames.ip[0]), int(frames.sp[0]), int(frames.regs[0])))
        unwinder.step(frames)
        assert len(found) <= most, "it does not end"
    return found


def return_addresses(kernel: Kernel, count: int = 64) -> list[int]:
    """Addresses behind calls, within functions; what follows is neither a return nor a jump."""
    start = kernel.symbol("schedule")
    every = np.arange(start, start + 100_000, dtype=np.uint64)
    code = np.frombuffer(kernel.read(start, len(every)), dtype=np.uint8)
    _, offset, size = kernel.symbols.lookup(every)
    inner = (offset > 32) & (offset < size) & ~np.isin(code, (0xC3, 0xE9))
    return every[behind_call(kernel, every)[0] & inner][:count].tolist()
