"""What a machine says of its stacks, its code and its registers; everything else of `stacks` asks it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.formats.register_sets import RegisterSet
from kernlab.linux.stacks.stack_kinds import Part

if TYPE_CHECKING:
    from kernlab.linux.stacks.code import Code

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class StackMachine(ABC):
    """One machine's stacks. It holds nothing of a kernel: each method is given the one that it is asked of."""

    registers: ClassVar[RegisterSet]
    #: Bytes of the longest instruction that calls.
    call_bytes: ClassVar[int]
    #: Functions besides the scheduler's in which a task can be left when it is switched from.
    switches: ClassVar[tuple[str, ...]] = ()
    #: How functions begin that interrupts enter by, and NMIs; all other entries are exceptions'.
    irq_entries: ClassVar[tuple[str, ...]]
    nmi_entries: ClassVar[tuple[str, ...]]
    #: Do tracers know a return address by the caller's frame pointer, not by where it lies?
    traced_by_frame: ClassVar[bool] = False
    #: Where a function's first argument is, then where compilers keep it: the likelier first.
    holders: ClassVar[tuple[str, ...]]
    #: Bytes of the general registers, with which struct pt_regs and the registers of a CPU's note begin.
    general_bytes: ClassVar[int]
    #: What of a set of saved registers points to no data: where the code was and its mode.
    not_data: ClassVar[tuple[str, ...]]

    @abstractmethod
    def calls(self, kernel: Kernel, code: Code, rows: U8, addresses: U64) -> tuple[Mask, Mask]:
        """Which of uint8[n, call_bytes], that lie before the addresses, end in a call; which may have been one.

        The second are those that a probe or ftrace may have patched. Both bool[n].
        """

    def signature_bits(self, kernel: Kernel) -> int:
        """The bits that the signature of an address of code may take; 0: there are no signatures."""
        return 0

    @abstractmethod
    def saved_context(self, kernel: Kernel, task: StructArray, there: Mask) -> tuple[U64, U64, U64, Mask]:
        """(ip, sp, fp, known) of threads that do not run, by what they saved when they were switched from.

        there bool[n]: which of them have a stack. sp is that of the frame which ip is in.
        """

    @abstractmethod
    def saved_bytes(self, kernel: Kernel) -> int:
        """How many bytes below that sp still hold what was saved."""

    @abstractmethod
    def cpu_stacks(self, kernel: Kernel, numbers: I64) -> list[Part]:
        """The stacks of CPUs int64[c] for interrupts, exceptions and the entry from user mode."""

    @abstractmethod
    def left_at(self, kernel: Kernel, kind: U8, end: U64) -> U64:
        """Of stacks uint8[n] (`StackKind`) that end at uint64[n] where each keeps the stack pointer of before, or 0."""

    def fetched(self, kernel: Kernel, regs: U64) -> Mask:
        """Which of n saved registers uint64[n] say that there was no code to go on with: a fault at fetching it."""
        return np.zeros(len(regs), dtype=bool)

    @abstractmethod
    def interrupted(self, kernel: Kernel, address: int, *, whole: bool = True) -> dict[str, int]:
        """The registers at a struct pt_regs by their names, without those that cannot be read.

        Not `whole`: only what the CPU itself saved, as the code that saves the others had only begun.
        """

    @abstractmethod
    def switched_from(self, kernel: Kernel, task: int) -> dict[str, int]:
        """The registers that a task which does not run saved when it was switched from, by their names; {} of none."""

    @abstractmethod
    def interrupts_off(self, registers: Mapping[str, int]) -> bool | None:
        """Does this CPU take no interrupts? None where its registers do not say it."""

    @abstractmethod
    def spelt(self, name: str) -> str:
        """A register as the kernel prints its name."""

    @abstractmethod
    def headline(self, registers: Mapping[str, int], symbol: str) -> str:
        """Where code was interrupted, as the kernel's reports begin to say it."""

    @abstractmethod
    def report(self, registers: Mapping[str, int]) -> Iterator[str]:
        """The registers in the lines of the kernel's reports, those that are known."""

    @abstractmethod
    def uses(self, code: bytes, start: int, address: int) -> list[int]:
        """Behind which bytes of code that begins at `start` an address is known that it means, ascending."""

    @abstractmethod
    def called(self, code: bytes, start: int) -> U64:
        """Where the calls by distance in code that begins at `start` lead, uint64[m]; data may look like one."""
