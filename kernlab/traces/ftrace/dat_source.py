"""A trace.dat as the source of its traces: the file and its parts in, what `Ftrace` asks out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.symbols import SymbolTable
from kernlab.errors import DumpFormatError
from kernlab.formats.source import Source as Bytes
from kernlab.traces.ftrace.buffers import MAIN, Instance, Ring
from kernlab.traces.ftrace.comms import Comms
from kernlab.traces.ftrace.dat_layout import unpack
from kernlab.traces.ftrace.dat_options import IN_NS, Options, adjusted, clocks_of, read_options
from kernlab.traces.ftrace.dat_read import (
    Buffer,
    Stream,
    TraceDat,
    read_trace_dat,
    unpacked_bound,
    unpacked_chunks,
)
from kernlab.traces.ftrace.format_text import TextFormats, parse_comms, parse_strings, parse_symbols
from kernlab.traces.ftrace.load import Trace, load
from kernlab.traces.ftrace.pages import commits
from kernlab.traces.ftrace.source import Pages
from kernlab.util import losses
from kernlab.util.losses import Scope

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

#: The kernel's largest sub-buffer (buffer_subbuf_size_kb), and the smallest page.
_LARGEST_SUBBUF, _SMALLEST_SUBBUF = 1 << 26, 64

#: include/linux/trace_events.h, enum trace_flag_type. They have never been given other meanings, but for 0x02, which
#: only machines that cannot say whether interrupts are off set before v6.13 made it NEED_RESCHED_LAZY.
_FLAGS = {
    "TRACE_FLAG_IRQS_OFF": 0x01,
    "TRACE_FLAG_NEED_RESCHED_LAZY": 0x02,
    "TRACE_FLAG_NEED_RESCHED": 0x04,
    "TRACE_FLAG_HARDIRQ": 0x08,
    "TRACE_FLAG_SOFTIRQ": 0x10,
    "TRACE_FLAG_PREEMPT_RESCHED": 0x20,
    "TRACE_FLAG_NMI": 0x40,
    "TRACE_FLAG_BH_OFF": 0x80,
}

#: Sizes of C types by their names; those of a long apart.
_SIZES = {
    "bool": (1, False),
    "char": (1, True),
    "unsigned char": (1, False),
    "short": (2, True),
    "unsigned short": (2, False),
    "int": (4, True),
    "unsigned int": (4, False),
    "unsigned": (4, False),
    "long long": (8, True),
    "unsigned long long": (8, False),
    "loff_t": (8, True),
    "pid_t": (4, True),
    "dev_t": (4, False),
    "gfp_t": (4, False),
    "sector_t": (8, False),
} | {
    f"{under}{letter}{bits}{tail}": (bits // 8, signed)
    for bits in (8, 16, 32, 64)
    for under, letter, tail, signed in (
        ("", "u", "", False),
        ("", "s", "", True),
        ("__", "u", "", False),
        ("__", "s", "", True),
        ("", "uint", "_t", False),
        ("", "int", "_t", True),
        ("__", "le", "", False),
        ("__", "be", "", False),
    )
}
_LONGS = {
    "long": True,
    "unsigned long": False,
    "size_t": False,
    "ssize_t": True,
    "uintptr_t": False,
    "long int": True,
    "unsigned long int": False,
}


class DatSource:
    """See `source.Source`. `dat` are the file's parts, read from it or given, `options` what it says of itself."""

    token = ""

    def __init__(self, data: Bytes, dat: TraceDat | None = None):
        self._data = data
        self.source = str(data.path)
        self.dat = dat or read_trace_dat(data)
        self.machine = self.dat.machine
        self.options: Options = read_options(self.dat.options, self.machine)
        self._own = [*data.problems, *self.dat.problems, *self.options.problems]
        self._streams: dict[int, tuple[Buffer, Stream]] = {}
        self._closed = False
        # No byte of a file belongs to two CPUs.
        self._left, self._left_unpacked = data.size, 0
        self.formats = TextFormats(self.dat.formats, self.machine, self._own.append)
        self._clock_numbers: list[int | None] = []
        self.clocks = self._read_clocks()
        self.instances = self._read_instances()

    @property
    def problems(self) -> list[str]:
        """See Source.problems: of a file each table tells `told`, sentence by sentence."""
        return []

    @property
    def told(self) -> list[str]:
        """What the file lacks, and what was found damaged so far."""
        return [*self._own, *self._data.since_opened()]

    def check_open(self) -> None:
        """See Source.check_open."""
        if self._closed:
            raise self._data.closed()

    def close(self) -> None:
        """Let go of the file."""
        self._closed = True
        self._data.close()

    def lost(self, *what: str, mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> None:
        """See Source.lost."""
        if not losses.lost(*what, mask=mask, why=why):
            self._own += losses.sentences(what, mask, why)

    def scope(self, name: str) -> AbstractContextManager[Scope]:
        """See Source.scope."""
        return losses.scope(name)

    def formats_anew(self) -> TextFormats:
        """See Source.formats_anew."""
        return TextFormats(self.dat.formats, self.machine, self.lost)

    @cached_property
    def comms(self) -> Comms:
        """See Source.comms."""
        return Comms(parse_comms(self.dat.comms))

    @property
    def release(self) -> str:
        """See Source.release."""
        return self.options.release

    @cached_property
    def records_strings(self) -> bool:
        """See Source.records_strings: such kernels describe fields for them (v7.0)."""
        return any(system == "syscalls" and "_val;" in text for system, text in self.dat.formats)

    @property
    def smallest(self) -> int:
        """See Source.smallest: a file does not tell; trace-cmd takes an int for the least, too."""
        return 4

    def _read_clocks(self) -> list[tuple[str, bool]]:
        """The clocks of the file, and those of version 7's instances; which one each instance uses is kept."""
        names, used = clocks_of(self.dat.clocks or self.options.clock_line)
        for buffer in self.dat.buffers:
            own = buffer.clock
            if own and own not in names:
                names.append(own)
            self._clock_numbers.append(names.index(own) if own else used)
        counts = self.options.tsc2nsec is not None and self.options.tsc2nsec[0] != 0
        return [(name, counts or name in IN_NS) for name in names]

    def _read_instances(self) -> list[Instance]:
        found: list[Instance] = []
        for buffer, clock in zip(self.dat.buffers, self._clock_numbers, strict=True):
            instance = Instance(buffer.name, 0, None, clock, snapshot=None, range_start=None)
            size = buffer.page_size
            if buffer.text is not None:
                self._own.append(
                    f"instance {buffer.name!r} holds the text of a latency tracer, not events: it is left out"
                )
            elif not _SMALLEST_SUBBUF <= size <= _LARGEST_SUBBUF or size % 4:
                self._own.append(
                    f"instance {buffer.name!r} claims sub-buffers of {size:,} bytes: it is left out"
                )
            else:
                instance.buffers[MAIN] = (0, size)
                instance.rings = [self._ring(instance, buffer, stream, size) for stream in buffer.streams]
            found.append(instance)
        return found

    def _ring(self, instance: Instance, buffer: Buffer, stream: Stream, size: int) -> Ring:
        ring = Ring(instance, MAIN, stream.cpu, 0, size)
        there = max(min(stream.size, self._data.size - stream.offset), 0)
        if there < stream.size:
            self._own.append(
                f"{self._label(ring)}: {stream.size - there:,} of {stream.size:,} bytes lie behind the file's end at "
                f"{self._data.size:,}: copy the file again if it was cut short"
            )
        if there > self._left:
            self._own.append(
                f"{self._label(ring)}: its bytes are those of other CPUs, too: they are left out"
            )
            stream, there = Stream(stream.cpu, stream.offset, 0), 0
        self._left -= there
        counters = self.options.counters.get((instance.name, stream.cpu), {})
        if {"left", "overrun", "read"} <= counters.keys():
            # What was read of the buffer is what the file should hold: nothing of it was read by others.
            ring.counters["entries"] = counters["left"] + counters["overrun"] + counters["read"]
            ring.counters["read"] = counters["left"]
        for name in ("overrun", "commit_overrun", "dropped_events"):
            if name in counters:
                ring.counters[name] = counters[name]
        self._streams[id(ring)] = buffer, stream
        if not buffer.packed:
            ring.pages = np.arange(stream.offset, stream.offset + there, size, dtype=np.uint64)[
                : there // size
            ]
        return ring

    def _label(self, ring: Ring) -> str:
        which = f"instance {ring.instance.name!r}, " if ring.instance.name else ""
        return f"ftrace, {which}CPU {ring.cpu}"

    def main_trace(self) -> Trace:
        """See Source.main_trace."""
        return load(self, [ring for one in self.instances for ring in one.rings])

    def subbufs(self, rings: Sequence[Ring]) -> tuple[list[Pages], I64]:
        """See Source.subbufs."""
        self.check_open()
        self._left_unpacked = unpacked_bound(self._data.size)
        unreadable = np.zeros(len(rings), dtype=np.int64)
        groups = []
        for size in sorted({ring.subbuf_size for ring in rings}):
            data, owner = [], []
            for number, ring in enumerate(rings):
                if ring.subbuf_size != size:
                    continue
                pages = self._pages(ring)
                used = commits(pages, self.machine) > 0 if len(pages) else np.ones(0, dtype=bool)
                data.append(pages if used.all() else pages[used])
                owner.append(np.full(len(data[-1]), number, dtype=np.int64))
            which = np.concatenate(owner)
            whole = data[0] if len(data) == 1 else np.concatenate(data)
            groups.append(Pages(which, whole, np.zeros(len(which), dtype=np.int64)))
        return groups, unreadable

    def _pages(self, ring: Ring) -> U8:
        """The sub-buffers of a ring as far as the file holds them; a part of one counts as one that is damaged."""
        buffer, stream = self._streams[id(ring)]
        # trace-cmd counts the chunks, but not the count before them.
        claimed = stream.size + (4 if buffer.packed and stream.size else 0)
        there = max(min(claimed, self._data.size - stream.offset), 0)
        raw = np.zeros(there, dtype=np.uint8)
        if there and not self._data.copy(stream.offset, raw.data):
            self.lost(f"{self._label(ring)}: its bytes cannot be read")
            raw = raw[:0]
        if buffer.packed and len(raw):
            inside, damage = unpacked_chunks(raw.tobytes(), self.machine, self._unpacked)
            if damage:
                self.lost(f"{self._label(ring)}: its events end early: {damage}")
            raw = np.frombuffer(inside, dtype=np.uint8)
            ring.pages = np.arange(len(raw) // ring.subbuf_size, dtype=np.uint64)
        whole = len(raw) // ring.subbuf_size
        if len(raw) % ring.subbuf_size:
            self.lost(
                f"{self._label(ring)}: its last sub-buffer is cut off after {len(raw) % ring.subbuf_size:,} bytes"
            )
        return raw[: whole * ring.subbuf_size].reshape(whole, ring.subbuf_size)

    def _unpacked(self, data: bytes, size: int) -> bytes:
        # trace-cmd packs ten sub-buffers at a time, and no byte of them into more than a thousand.
        if size > min(_LARGEST_SUBBUF, self._left_unpacked):
            raise DumpFormatError(f"a chunk claims to unpack to {size:,} bytes")
        self._left_unpacked -= size
        return unpack(data, size, self.dat.packing)

    def times(self, rings: Sequence[Ring], ring: I64, time: U64) -> U64:
        """See Source.times."""
        cpus = np.array([one.cpu for one in rings] or [0], dtype=np.int64)
        return adjusted(self.options, cpus[ring] if len(rings) else ring, time)

    @cached_property
    def _symbols(self) -> SymbolTable:
        return parse_symbols(self.dat.kallsyms)

    def symbolize(self, addresses: U64) -> list[str | None]:
        """See Source.symbolize."""
        return self._symbols.symbolize(addresses)

    @cached_property
    def _strings(self) -> dict[int, str]:
        return parse_strings(self.dat.printk)

    def string(self, address: int) -> str | None:
        """See Source.string: of those that tracefs lists."""
        return self._strings.get(address)

    def address_of(self, name: str) -> int | None:
        """See Source.address_of."""
        return self._symbols.get(name)

    def constant(self, name: str) -> int | None:
        """See Source.constant: a file has none."""
        return None

    def size_of(self, name: str) -> tuple[int, bool] | None:
        """See Source.size_of: C's own types and the kernel's names of them."""
        if name in _LONGS:
            return self.machine.word, _LONGS[name]
        return _SIZES.get(name)

    def trace_flag(self, name: str) -> int | None:
        """See Source.trace_flag."""
        # Linux v5.13 brought both the event func_repeats and, in preempt_count's upper half, what migration is disabled
        # by, which text.py tells by TRACE_FLAG_BH_OFF.
        if name == "TRACE_FLAG_BH_OFF" and not self.formats.ids("ftrace:func_repeats"):
            return None
        return _FLAGS.get(name)

    def kallsyms(self) -> str:
        """See Source.kallsyms."""
        return self.dat.kallsyms.decode("utf-8", "backslashreplace")

    def printk_formats(self) -> str:
        """See Source.printk_formats."""
        return self.dat.printk
