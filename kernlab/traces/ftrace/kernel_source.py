"""A dump's kernel as the source of its traces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import EnumType, IntType, StructType
from kernlab.errors import KernlabError
from kernlab.traces.ftrace.buffers import MAIN, Instance, Ring
from kernlab.traces.ftrace.comms import Comms, KernelComms
from kernlab.traces.ftrace.kernel_formats import KernelFormats
from kernlab.traces.ftrace.load import Trace, load
from kernlab.traces.ftrace.pages import commits
from kernlab.traces.ftrace.rings import find_instances
from kernlab.traces.ftrace.settings import read_clocks
from kernlab.traces.ftrace.source import NATIVE, Pages
from kernlab.util.losses import Scope
from kernlab.util.progress import progress
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: Sub-buffers read at a time, in bytes.
_CHUNK = 64 << 20

_MOST_PRINTK = 1 << 20

#: Variables that macros in print formats look at.
_VARIABLES = (
    *("jiffies", "tick_nsec", "vmemmap_base", "page_offset_base", "phys_base"),
    # arm64's
    *("memstart_addr", "kimage_voffset", "vabits_actual"),
)

_TYPES = {"bool": (1, False), "size_t": (8, False), "ssize_t": (8, True), "loff_t": (8, True)}


@fact
def instances_of(kernel: Kernel) -> list[Instance]:
    """`find_instances`, once."""
    return find_instances(kernel)


@fact
def main_trace(kernel: Kernel) -> Trace:
    """What is in the main buffers of all instances: `dump.ftrace` and what joins traces share it."""
    source = KernelSource(kernel)
    return load(source, [ring for one in source.instances for ring in one.rings if ring.buffer == MAIN])


class KernelSource:
    """See `source.Source`."""

    machine = NATIVE

    def __init__(self, kernel: Kernel):
        self.kernel = self._kernel = kernel
        self.token, self.source = kernel.token, kernel.source

    @property
    def problems(self) -> list[str]:
        """See Source.problems."""
        return self._kernel.problems

    @property
    def changes(self) -> bool:
        """Is it a running machine's, whose memory changes while it is read?"""
        return self._kernel.changes

    @property
    def window(self) -> dict[str, Any]:
        """When its memory was read (`Kernel.window`)."""
        return self._kernel.window

    def check_open(self) -> None:
        """See Source.check_open."""
        self._kernel.check_open()

    def lost(self, *what: str, mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> None:
        """See Source.lost."""
        self._kernel.lost(*what, mask=mask, why=why)

    def scope(self, name: str) -> AbstractContextManager[Scope]:
        """See Source.scope."""
        return self._kernel.scope(name)

    @cached_property
    def formats(self) -> KernelFormats:
        """See Source.formats."""
        return KernelFormats(self._kernel)

    def formats_anew(self) -> KernelFormats:
        """See Source.formats_anew."""
        return KernelFormats(self._kernel)

    @cached_property
    def comms(self) -> Comms:
        """See Source.comms."""
        return KernelComms(self._kernel)

    @property
    def instances(self) -> list[Instance]:
        """See Source.instances."""
        return instances_of(self._kernel)

    def main_trace(self) -> Trace:
        """See Source.main_trace."""
        return main_trace(self._kernel)

    @cached_property
    def clocks(self) -> list[tuple[str, bool]]:
        """See Source.clocks."""
        return read_clocks(self._kernel)

    @property
    def release(self) -> str:
        """See Source.release."""
        return self._kernel.vmcoreinfo.release or ""

    @property
    def records_strings(self) -> bool:
        """See Source.records_strings."""
        return self._kernel.types.has_member("struct syscall_metadata", "user_mask")

    @cached_property
    def smallest(self) -> int:
        """See Source.smallest."""
        # By 7.2 (format_decode was rewritten for v6.15) what is smaller than an int is packed as one.
        return 1 if self._kernel.types.enumerator_or_none("FORMAT_TYPE_BYTE") is not None else 4

    def subbufs(self, rings: Sequence[Ring]) -> tuple[list[Pages], I64]:
        """See Source.subbufs."""
        unreadable = np.zeros(len(rings), dtype=np.int64)
        sizes = sorted({ring.subbuf_size for ring in rings})
        return [_read_size(self._kernel, rings, size, unreadable) for size in sizes], unreadable

    def times(self, rings: Sequence[Ring], ring: I64, time: U64) -> U64:
        """See Source.times."""
        return time

    def symbolize(self, addresses: U64) -> list[str | None]:
        """See Source.symbolize."""
        return self._kernel.symbolize(addresses)

    def string(self, address: int) -> str | None:
        """See Source.string."""
        found: str | None = c_strings(self._kernel, np.array([address], dtype=np.uint64))[0]
        return found

    def trace_flag(self, name: str) -> int | None:
        """See Source.trace_flag."""
        return self._kernel.types.enumerator_or_none(name)

    def address_of(self, name: str) -> int | None:
        """See Source.address_of."""
        return self._kernel.symbols.get(name)

    def constant(self, name: str) -> int | None:
        """See Source.constant."""
        number = self._kernel.types.enumerator_or_none(name)
        if number is None and name in _VARIABLES and name in self._kernel.symbols:
            try:
                return self._kernel.word(name)
            except KernlabError:
                return None
        return number

    def size_of(self, name: str) -> tuple[int, bool] | None:
        """See Source.size_of."""
        if name in _TYPES:
            return _TYPES[name]
        try:
            found = self._kernel.types.get(_spelt(name))
            kind = found.strip() if found is not None else None
        except KernlabError:
            return None
        if isinstance(kind, IntType | EnumType):
            return kind.size, kind.signed
        if isinstance(kind, StructType):
            return kind.size, False
        return None

    def kallsyms(self) -> str:
        """See Source.kallsyms."""
        kernel = self._kernel
        kernel.with_modules()
        known = kernel.symbols
        letters = known.types.astype(np.uint8).tobytes().decode("latin-1")
        return "".join(
            f"{address:016x} {letter} {name}{f'	[{module}]' if module else ''}\n"
            for address, letter, name, module in zip(
                known.addresses.tolist(), letters, known.names(), known.modules(), strict=True
            )
        )

    def printk_formats(self) -> str:
        """See Source.printk_formats: of the kernel's own image (a section of it), and of modules."""
        kernel = self._kernel
        pointers = np.zeros(0, dtype=np.uint64)
        start = kernel.symbols.get("__start___trace_bprintk_fmt")
        stop = kernel.symbols.get("__stop___trace_bprintk_fmt")
        if start is not None and stop is not None and start < stop <= start + 8 * _MOST_PRINTK:
            found, read = kernel.words(
                np.arange(start, stop, 8, dtype=np.uint64), what="pointers to formats of trace_printk"
            )
            pointers = found[read]
        head = kernel.symbols.get("trace_bprintk_fmt_list")
        if head is not None and kernel.types.get("struct trace_bprintk_fmt") is not None:
            _, held = list_entries(
                kernel,
                [head],
                "struct trace_bprintk_fmt",
                "list",
                what="trace_printk formats of modules",
            )
            pointers = np.concatenate([pointers, held["fmt"].values])
        strings = c_strings(kernel, pointers)
        return "".join(
            f'0x{pointer:x} : "{_escaped(value)}"\n'
            for pointer, value in zip(pointers.tolist(), strings, strict=True)
            if value is not None
        )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace('"', '\\"')


def _spelt(name: str) -> str:
    """A C integer type as the types' own names have it: `unsigned` is `unsigned int`, `long` is `long int`."""
    words = set(name.split())
    if not words or not words <= {"unsigned", "signed", "long", "int", "short", "char"}:
        return name
    if "char" in words:
        return "unsigned char" if "unsigned" in words else "char"
    size = "long" if "long" in words else "short" if "short" in words else ""
    return " ".join(filter(None, [size, "unsigned" if "unsigned" in words else "", "int"]))


def _read_size(kernel: Kernel, rings: Sequence[Ring], size: int, unreadable: I64) -> Pages:
    """All sub-buffers of one size that hold something, in the order of their rings and of reading."""
    chosen = [number for number, ring in enumerate(rings) if ring.subbuf_size == size and len(ring.pages)]
    if not chosen:
        none = np.zeros(0, dtype=np.int64)
        return Pages(none, np.zeros((0, size), dtype=np.uint8), none)
    where = np.concatenate([rings[number].pages for number in chosen])
    owner = np.concatenate([np.full(len(rings[number].pages), number) for number in chosen])
    skip = np.zeros(len(where), dtype=np.int64)
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    skip[first] = [rings[number].consumed for number in chosen]
    headers, status = kernel.gather(where, NATIVE.header, "")
    np.add.at(unreadable, owner[status != 0], 1)
    # An empty sub-buffer has nothing to tell; most of a buffer that has not filled yet are.
    used = np.flatnonzero((status == 0) & (commits(headers) > 0))
    where, owner, skip = where[used], owner[used], skip[used]
    held = kernel.budget.count(len(where), size, "sub-buffers of ftrace")
    np.add.at(unreadable, owner[held:], 1)
    where, owner, skip = where[:held], owner[:held], skip[:held]
    data = np.zeros((len(where), size), dtype=np.uint8)
    good = np.ones(len(where), dtype=bool)
    step = max(_CHUNK // size, 1)
    with progress("Reading ftrace's buffers", data.size, "B") as bar:
        for begin in range(0, len(where), step):
            part = slice(begin, begin + step)
            data[part], status = kernel.gather(where[part], size, "")
            good[part] = status == 0
            bar.advance(data[part].size)
    if not good.all():
        np.add.at(unreadable, owner[~good], 1)
        data, owner, skip = data[good], owner[good], skip[good]
    return Pages(owner, data, skip)
