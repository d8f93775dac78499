"""The kernel's log, whichever way it keeps it: records, oldest first, and their texts on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.printk import Ring, log_type
from kernlab.linux.printk_log import RecordBuffer

_CALLER_IS_CPU = 0x80000000


@dataclass(frozen=True)
class Log:
    """All records, oldest first.

    `infos`: their structs, of which all kernels have ts_nsec, text_len, facility and level, and some caller_id;
    `sequence` uint64[n]: their numbers; `texts()`: their texts, missing where they are lost, which is told then.
    """

    infos: StructArray
    sequence: npt.NDArray[np.uint64]
    texts: Callable[[], Column]


def read_log(kernel: Kernel) -> Log:
    """The log of the kernel. Raises KernlabError where it keeps none, or the log's own frame is damaged."""
    # The lockless ring is Linux 5.10's; before there were records in log_buf, which both have. Where a symbol table
    # names functions only VMCOREINFO tells either.
    if kernel.symbols.get("prb") is None and kernel.symbols.get("log_next_idx") is not None:
        buffer = RecordBuffer.read(kernel, log_type(kernel, "struct printk_log"))
        headers, numbers = buffer.records()
        return Log(headers, numbers, lambda: buffer.texts(headers))
    ring = Ring.read(kernel)
    records = ring.records()
    return Log(records.infos, records.sequence, lambda: ring.texts(records))


def callers(infos: StructArray) -> Column:
    """`T12` or `C0` per record, '' where the kernel was built without CONFIG_PRINTK_CALLER (print_caller)."""
    if not infos.has("caller_id"):
        return Column.texts([""] * len(infos))
    number = infos["caller_id"]
    found, which = np.unique(number.filled(0), return_inverse=True)
    names = np.array([_caller(each) for each in found.tolist()], dtype=object)[which]
    names[~number.valid] = ""
    return Column(names, number.valid, "text")


def _caller(number: int) -> str:
    return f"C{number & ~_CALLER_IS_CPU}" if number & _CALLER_IS_CPU else f"T{number}"
