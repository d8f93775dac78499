"""Rows of `stacks` in, one thread's frames out, each with what is known of its registers for certain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.source_lines import SourceFrame
from kernlab.errors import KernlabError
from kernlab.linux.source_lines import lines_of
from kernlab.linux.stacks.machines import X86_64, StackMachine, machine_of
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.stacks.unwind import unwound
from kernlab.linux.whatis.engine import what_lies_at

if TYPE_CHECKING:
    import pandas as pd

#: What the kernel calls the parts of a stack (arch/x86/kernel/dumpstack_64.c, stack_type_name); an idle thread has its
#: own stack, as every task.
_MARKS = {"idle": "TASK", "task": "TASK"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its strings are the dump's, to be escaped where they are shown.

    `registers` are those that are known exactly in it, by name; `known` those of them that point to something that
    `dump.owner` recognises: (name, value, what lies there).
    """

    number: int
    address: int
    symbol: str
    sp: int
    kind: str
    reliable: bool
    #: Whether it was interrupted: `address` is an instruction yet to be done, and the registers are its own.
    interrupted: bool
    registers: dict[str, int] = field(default_factory=dict)
    known: tuple[tuple[str, int, str], ...] = ()
    #: Whose registers those are.
    machine: StackMachine = X86_64
    #: Where it is in the source, what was inlined there first; () where no debug file tells.
    lines: tuple[SourceFrame, ...] = ()

    @property
    def mark(self) -> str:
        """What the kernel calls this part of the stack: TASK, IRQ, NMI …"""
        return _MARKS.get(self.kind, self.kind.upper())

    @property
    def headline(self) -> str:
        """Of one that was interrupted: where, as the kernel's reports say it."""
        return self.machine.headline(self.registers, f"{'' if self.reliable else '? '}{self.symbol}")


def frames_of(kernel: Kernel, rows: pd.DataFrame, thread: int) -> list[Frame]:
    """The frames of one thread, innermost first; it is row `thread` of `find_tasks`.

    Where it came from user mode, what it was doing there is the last one.
    """
    found: list[Frame] = []
    machine = machine_of(kernel)
    columns = ("frame", "address", "symbol", "sp", "kind", "reliable", "regs", "task", "cpu")
    below = 0
    for number, address, symbol, sp, kind, reliable, regs, task, cpu in rows[list(columns)].itertuples(
        index=False
    ):
        registers: dict[str, int] = {}
        where = _number(regs)
        if where:
            # Where the code that was interrupted had not saved them yet, they would begin below its own frame.
            registers = machine.interrupted(kernel, where, whole=where >= below)
        elif not found and _number(cpu) is not None:
            registers = _of_cpu(kernel, thread)
        elif not found and _number(task):
            registers = machine.switched_from(kernel, _number(task) or 0)
        below = int(sp)
        found.append(
            Frame(
                int(number),
                int(address),
                str(symbol),
                int(sp),
                str(kind),
                bool(reliable),
                bool(where) or (bool(registers) and _number(cpu) is not None and not found),
                registers,
                tuple(_recognised(kernel, registers)),
                machine,
            )
        )
    user = unwound(kernel).user.get(thread)
    if user:
        registers = machine.interrupted(kernel, user)
        ip, sp = (registers.get(name, 0) for name in (machine.registers.ip, machine.registers.sp))
        found.append(Frame(len(found), ip, f"{ip:#x}", sp, "task", True, True, registers, machine=machine))
    return _with_lines(kernel, found)


def _of_cpu(kernel: Kernel, thread: int) -> dict[str, int]:
    """The registers of the CPU that a thread ran on, by their names in struct pt_regs; {} where nobody tells them."""
    cpus = cpu_registers(kernel)
    row = np.flatnonzero((cpus.thread == thread) & cpus.told)
    names = cpus.values if len(row) else ()
    return {name: int(cpus.values[name][row[0]]) for name in names if cpus.known[name][row[0]]}


def _with_lines(kernel: Kernel, frames: list[Frame]) -> list[Frame]:
    """Each with its source lines; where it was interrupted, or has not begun, no call lies before its address."""
    where = np.array([frame.address for frame in frames], dtype=np.uint64)
    exact = np.array([frame.interrupted or "+0x0/" in frame.symbol for frame in frames], dtype=bool)
    # What is wrong with a debug file is no loss of the dump's: `Stack.problems` tells it.
    with kernel.scope("source lines"):
        found = lines_of(kernel, where, exact)
    return [replace(frame, lines=lines) for frame, lines in zip(frames, found, strict=True)]


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | np.integer) else None


def _recognised(kernel: Kernel, registers: dict[str, int]) -> Iterator[tuple[str, int, str]]:
    """The registers that point to something with a name. What is no address of the kernel's is a number."""
    without = machine_of(kernel).not_data
    named = [
        (name, value)
        for name, value in registers.items()
        if value >= kernel.arch.kernel_start and name not in without
    ]
    if not named:
        return
    try:
        with kernel.scope("registers"):
            values = np.array([value for _, value in named], dtype=np.uint64)
            labels = [answer.label for answer in what_lies_at(kernel, values, quick=True)]
    except KernlabError:
        return
    yield from ((name, value, label) for (name, value), label in zip(named, labels, strict=True) if label)
