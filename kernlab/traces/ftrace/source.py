"""What a trace is read from: a dump's kernel, or a file. `Ftrace` is a view over any of them.

A source says what events there are (`formats`), who ran (`comms`), which instances and rings (`instances`), gives the
rings' sub-buffers as bytes, and answers what texts ask: symbols, strings, constants, sizes of types.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kernlab.traces.ftrace.buffers import Instance, Ring
    from kernlab.traces.ftrace.comms import Comms
    from kernlab.traces.ftrace.formats import Formats
    from kernlab.traces.ftrace.load import Trace
    from kernlab.util.losses import Scope

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Machine:
    """How the traced machine lays out numbers: bytes of a long, and which end comes first."""

    word: int = 8
    big: bool = False

    @property
    def order(self) -> Literal["little", "big"]:
        """The byte order as `int.from_bytes` takes it."""
        return "big" if self.big else "little"

    @property
    def mark(self) -> str:
        """The byte order as NumPy and struct write it."""
        return ">" if self.big else "<"

    @property
    def header(self) -> int:
        """Bytes before the events of a sub-buffer (struct buffer_data_page): a time, and a long."""
        return 8 + self.word


#: The machines that kernlab reads dumps of.
NATIVE = Machine()


@dataclass
class Pages:
    """Sub-buffers of one size, uint8[n, size]: the number of the ring of each, and how much of it was read before."""

    ring: I64
    data: U8
    skip: I64


class Source(Protocol):
    """See the module. `token`, `source`, `problems` and `check_open` are what frames ask."""

    token: str
    source: str
    machine: Machine

    @property
    def problems(self) -> list[str]:
        """What the source itself lacks."""
        ...

    @property
    def formats(self) -> Formats:
        """The events by number."""
        ...

    @property
    def comms(self) -> Comms:
        """Names of tasks."""
        ...

    @property
    def instances(self) -> list[Instance]:
        """The trace instances with their rings, the global one first."""
        ...

    @property
    def clocks(self) -> list[tuple[str, bool]]:
        """(name, whether it counts nanoseconds) of every trace clock by its number."""
        ...

    @property
    def release(self) -> str:
        """The kernel's release, '' where it is not known."""
        ...

    @property
    def records_strings(self) -> bool:
        """Whether events of system calls hold what pointers to user memory point to."""
        ...

    @property
    def smallest(self) -> int:
        """How many bytes a number of trace_printk takes at least (see `printf.unpack`)."""
        ...

    def check_open(self) -> None:
        """Raise KernlabError once it is closed."""
        ...

    def lost(self, *what: str, mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> None:
        """Tell the scope that is open what was lost."""
        ...

    def scope(self, name: str) -> AbstractContextManager[Scope]:
        """Open a scope of losses."""
        ...

    def formats_anew(self) -> Formats:
        """The formats, read once more: what is lost in them is told again."""
        ...

    def main_trace(self) -> Trace:
        """What is in the main buffers of all instances, decoded."""
        ...

    def subbufs(self, rings: Sequence[Ring]) -> tuple[list[Pages], I64]:
        """The sub-buffers of rings that hold something, by size, and how many of each ring cannot be read.

        They come in the order of their rings (by index) and of reading.
        """
        ...

    def times(self, rings: Sequence[Ring], ring: I64, time: U64) -> U64:
        """Times of events in the units that users see; `ring` is each one's index."""
        ...

    def symbolize(self, addresses: U64) -> list[str | None]:
        """`name+0x1f/0x80 [module]` of each address."""
        ...

    def string(self, address: int) -> str | None:
        """A string of the kernel, None where it is not known."""
        ...

    def address_of(self, name: str) -> int | None:
        """The address of a symbol, None where there is none."""
        ...

    def constant(self, name: str) -> int | None:
        """An enumerator, or what a variable held that macros in print formats look at."""
        ...

    def size_of(self, name: str) -> tuple[int, bool] | None:
        """(bytes, signed) of a C type."""
        ...

    def trace_flag(self, name: str) -> int | None:
        """An enumerator TRACE_FLAG_…, None where this kernel does not have it."""
        ...

    def kallsyms(self) -> str:
        """All symbols, as /proc/kallsyms has them."""
        ...

    def printk_formats(self) -> str:
        """Strings by their addresses, as tracefs' printk_formats has them."""
        ...
