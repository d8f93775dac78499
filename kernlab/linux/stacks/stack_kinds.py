"""What a stack can be for, and runs of stacks that are alike."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


class StackKind(IntEnum):
    """Whose a stack is."""

    TASK = 0
    IRQ = 1
    EXCEPTION = 2
    NMI = 3
    ENTRY = 4


#: Some stacks: start, end, kind, owner of each, as `areas.Stacks` has them.
Part = tuple[U64, U64, U8, I64]


def part(start: U64, size: int, kind: StackKind, owner: I64) -> Part:
    """Stacks of one size and kind that begin at uint64[m]; `owner` int64[m]."""
    return start, start + np.uint64(size), np.full(len(start), kind, dtype=np.uint8), owner


def percpu_pointer(kernel: Kernel, numbers: I64, name: str) -> U64 | None:
    """A pointer of each CPU uint64[cpus]; None where there is no such variable. What cannot be read is 0, and told.

    It is a variable of its own, or a member of struct pcpu_hot (x86, v6.2 to v6.13).
    """
    symbol = kernel.symbols.get(name)
    if symbol is not None:
        return kernel.words(percpu(kernel, symbol, numbers), what=f"pointers {name}")[0]
    hot, kind = kernel.symbols.get("pcpu_hot"), kernel.type_or_none("struct pcpu_hot")
    if hot is None or kind is None:
        return None
    together = StructArray(kernel, kind, percpu(kernel, hot, numbers))
    return together[name].filled(0).astype(np.uint64) if together.has(name) else None


def size_of(kernel: Kernel, name: str) -> int:
    """Bytes of a type, 0 where there is none of that name."""
    kind = kernel.type_or_none(name)
    return kind.size if kind is not None else 0
