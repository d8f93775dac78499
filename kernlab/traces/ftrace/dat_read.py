"""A trace.dat (version 6 or 7) in, its parts out: formats, symbols, names, options, and where each CPU's bytes lie.

What a file claims is held against its size. A part that is damaged or cut off is told and left out; what other parts
say stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.source import Source as Bytes
from kernlab.traces.ftrace.dat_layout import MAGIC, PACKED, PACKINGS, SECTION, Option, unpack
from kernlab.traces.ftrace.dat_reader import Cut, Reader, inside, text_of
from kernlab.traces.ftrace.source import Machine

U8 = npt.NDArray[np.uint8]

#: More instances, CPUs, or sections of options than these are damage.
_MOST_BUFFERS, _MOST_CPUS, _MOST_OPTIONS = 1 << 12, 1 << 14, 1 << 10

#: What packed parts may unpack to: so many bytes for each of the file, and no less than the second.
_UNPACKED_PER_BYTE, _LEAST_UNPACKED = 64, 1 << 28


@dataclass
class Stream:
    """One CPU's sub-buffers: where they lie in the file, packed or not."""

    cpu: int
    offset: int
    size: int


@dataclass
class Buffer:
    """The buffers of one instance; `text` holds what a latency tracer's file has instead."""

    name: str
    clock: str
    page_size: int
    packed: bool = False
    streams: list[Stream] = field(default_factory=list)
    text: str | None = None


@dataclass
class TraceDat:
    """What a trace.dat holds."""

    path: Path
    version: int
    machine: Machine
    page_size: int
    packing: str = "none"
    #: (system, text of `format`).
    formats: list[tuple[str, str]] = field(default_factory=list)
    header_page: str = ""
    kallsyms: bytes = b""
    printk: str = ""
    comms: str = ""
    options: list[tuple[int, bytes]] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    #: The file trace_clock of tracefs, where a part of its own holds it.
    clocks: str = ""
    problems: list[str] = field(default_factory=list)


def is_trace_dat(start: bytes) -> bool:
    """Does a file that begins so hold a trace.dat?"""
    return start.startswith(MAGIC)


def read_trace_dat(data: Bytes) -> TraceDat:
    """All but the events. Raises DumpFormatError where not even the header can be read."""
    return _Parts(data).read()


class _Parts:
    """Reads a file's parts into a TraceDat."""

    def __init__(self, data: Bytes):
        self._data = data
        start = data.read(0, 64)
        if not is_trace_dat(start):
            raise DumpFormatError(f"{data.path} is not a trace.dat: it begins with {start[:10]!r}")
        written = start[len(MAGIC) :].partition(b"\0")[0]
        if written not in (b"6", b"7"):
            raise DumpFormatError(
                f"{data.path} is a trace.dat of version {written.decode('latin-1')!r}; kernlab reads 6 and 7"
            )
        at = len(MAGIC) + 2
        if len(start) < at + 6:
            raise DumpFormatError(f"{data.path} ends at byte {data.size:,}, within its header: copy it again")
        big, word = start[at], start[at + 1]
        if big > 1 or word not in (4, 8):
            raise DumpFormatError(
                f"{data.path} says that its byte order is {big} and that a long has {word} bytes; "
                "0 or 1, and 4 or 8 are possible: the file is damaged"
            )
        machine = Machine(word, bool(big))
        head = self._reader(machine, "the header", at + 2)
        self.dat = TraceDat(Path(data.path), int(written), machine, head.number("I"))
        self._machine, self._head, self._left = machine, head, 0

    def _reader(self, machine: Machine, what: str, at: int, end: int | None = None) -> Reader:
        end = self._data.size if end is None else min(end, self._data.size)
        return Reader(machine, self._data.read, end, at, f"{self._data.path}: {what}")

    def read(self) -> TraceDat:
        """See `read_trace_dat`."""
        self._left = unpacked_bound(self._data.size)
        try:
            if self.dat.version == 6:
                self._read_6()
            else:
                self._read_7()
        except Cut as error:
            self._lost(f"{error}: what follows is lost; copy the file again if it was cut short")
        self._machine_of_kernel()
        return self.dat

    def _lost(self, what: str) -> None:
        self.dat.problems.append(what)

    def _machine_of_kernel(self) -> None:
        """The header's long is the one of who recorded; sub-buffers have the kernel's (trace-cmd.dat.v6(5))."""
        self.dat.machine = Machine(
            commit_bytes(self.dat.header_page) or self._machine.word, self._machine.big
        )

    # Version 6.

    def _read_6(self) -> None:
        head, dat = self._head, self.dat
        self._headers(head)
        self._ftrace_events(head)
        self._events(head)
        dat.kallsyms = head.sized("I")
        dat.printk = text_of(head.sized("I"))
        dat.comms = text_of(head.sized("Q"))
        cpus = head.number("I")
        if cpus > _MOST_CPUS:
            raise Cut(f"{self._data.path} claims {cpus:,} CPUs")
        kind = head.take(10)
        if kind.startswith(b"options"):
            dat.options = list(self._options(head))
            counts = [body for number, body in dat.options if number == Option.CPUCOUNT and len(body) >= 4]
            kind = head.take(10)
        else:
            counts = []
        if counts:
            cpus = min(int.from_bytes(counts[-1][:4], self._machine.order), _MOST_CPUS)
        top = Buffer("", "", dat.page_size)
        dat.buffers.append(top)
        self._data_of(head, kind, cpus, top)
        if any(number == Option.TRACECLOCK for number, _ in dat.options) and top.text is None:
            # A file that lacks this part was written by a release that lost it.
            try:
                dat.clocks = text_of(head.sized("Q"))
            except Cut:
                dat.clocks = ""
        for number, body in dat.options:
            if number == Option.BUFFER and len(dat.buffers) < _MOST_BUFFERS:
                self._instance_6(body, cpus)

    def _instance_6(self, body: bytes, cpus: int) -> None:
        option = inside(self._machine, body, "an instance")
        try:
            at = option.number("Q")
            buffer = Buffer(option.string(), "", self.dat.page_size)
            head = self._reader(self._machine, f"instance {buffer.name!r}", at)
            kind = head.take(10)
            self._data_of(head, kind, cpus, buffer)
        except Cut as error:
            self._lost(f"an instance is left out: {error}")
            return
        self.dat.buffers.append(buffer)

    def _data_of(self, head: Reader, kind: bytes, cpus: int, buffer: Buffer) -> None:
        if kind.startswith(b"latency"):
            buffer.text = text_of(self._data.read(head.at, self._data.size - head.at))
            return
        if not kind.startswith(b"flyrecord"):
            raise Cut(
                f"{self._data.path} has {kind!r} at {head.at - 10:,}, where the kind of its data should stand"
            )
        for cpu in range(cpus):
            offset, size = head.numbers("QQ")
            buffer.streams.append(Stream(cpu, offset, size))

    def _options(self, head: Reader) -> Iterator[tuple[int, bytes]]:
        while (number := head.number("H")) != Option.DONE:
            yield number, head.sized("I")

    # Version 7.

    def _read_7(self) -> None:
        head, dat = self._head, self.dat
        dat.packing = head.string()
        head.string()
        if dat.packing not in PACKINGS:
            raise DumpFormatError(
                f"{self._data.path} is compressed with {dat.packing!r}; kernlab reads {', '.join(PACKINGS)}: "
                "`trace-cmd convert --compression none` makes one that it reads"
            )
        sections: dict[int, int] = {}
        buffers: list[tuple[int, bytes]] = []
        seen: set[int] = set()
        at = head.number("Q")
        while at and at not in seen and len(seen) < _MOST_OPTIONS:
            seen.add(at)
            after = 0
            try:
                body = self._section(at, Option.DONE, "options")
                while after == 0 and body.at < body.end:
                    number, option = body.number("H"), body.sized("I")
                    if number == Option.DONE:
                        after = int.from_bytes(option[:8], self._machine.order)
                        break
                    if number in (Option.BUFFER, Option.BUFFER_TEXT):
                        buffers.append((number, option))
                    elif number in _SECTIONS and len(option) >= 8:
                        sections[number] = int.from_bytes(option[:8], self._machine.order)
                    else:
                        dat.options.append((number, option))
            except DumpFormatError as error:
                self._lost(f"options are left out: {error}")
            at = after
        for number, place in sections.items():
            self._part(number, place)
        for number, option in buffers[:_MOST_BUFFERS]:
            try:
                dat.buffers.append(self._buffer_7(number, option))
            except DumpFormatError as error:
                self._lost(f"an instance is left out: {error}")
        dat.buffers.sort(key=lambda buffer: buffer.name != "")

    def _part(self, number: int, place: int) -> None:
        dat = self.dat
        try:
            if number == Option.HEADER_INFO:
                self._headers(self._section(place, number, "headers"))
            elif number == Option.FTRACE_EVENTS:
                self._ftrace_events(self._section(place, number, "formats of ftrace's own events"))
            elif number == Option.EVENT_FORMATS:
                self._events(self._section(place, number, "formats of events"))
            elif number == Option.KALLSYMS:
                dat.kallsyms = self._section(place, number, "symbols").sized("I")
            elif number == Option.PRINTK:
                dat.printk = text_of(self._section(place, number, "formats of trace_printk").sized("I"))
            elif number == Option.CMDLINES:
                dat.comms = text_of(self._section(place, number, "names of tasks").sized("Q"))
        except DumpFormatError as error:
            self._lost(f"a part of the file is left out: {error}")

    def _section(self, at: int, number: int, what: str) -> Reader:
        """The inside of a section. Raises DumpFormatError."""
        head = self._reader(self._machine, what, at)
        found, flags, _, size = head.numbers(SECTION)
        if found != number:
            raise Cut(f"{self._data.path}: section {found} lies at {at:,}, where the {what} should")
        if not flags & PACKED:
            return self._reader(self._machine, what, head.at, head.at + size)
        packed, whole = head.numbers("II")
        return inside(self._machine, self.unpacked(head.take(packed), whole), what)

    def unpacked(self, data: bytes, size: int) -> bytes:
        """Bytes that were packed. Raises DumpFormatError for more than a file of this size can mean."""
        if size > self._left:
            raise DumpFormatError(f"{self._data.path} claims to unpack to {size:,} bytes more: it is damaged")
        self._left -= size
        return unpack(data, size, self.dat.packing)

    def _buffer_7(self, number: int, body: bytes) -> Buffer:
        option = inside(self._machine, body, "an instance")
        at, name, clock = option.number("Q"), option.string(), option.string()
        head = self._reader(self._machine, f"instance {name!r}", at)
        _, flags, _, size = head.numbers(SECTION)
        packed = bool(flags & PACKED)
        if number == Option.BUFFER_TEXT:
            raw = self._data.read(head.at, min(size, self._data.size - head.at))
            if packed:
                raw = self.chunks(raw)
            return Buffer(name, clock, 0, text=text_of(raw))
        buffer = Buffer(name, clock, option.number("I"), packed)
        for _ in range(min(option.number("I"), _MOST_CPUS)):
            buffer.streams.append(Stream(*option.numbers("IQQ")))
        return buffer

    def chunks(self, raw: bytes) -> bytes:
        """What was packed in chunks, as far as it can be unpacked."""
        return unpacked_chunks(raw, self._machine, self.unpacked)[0]

    # Parts that both versions have.

    def _headers(self, head: Reader) -> None:
        if head.take(12) != b"header_page\0":
            raise Cut(f"{self._data.path} lacks the format of its sub-buffers (header_page)")
        self.dat.header_page = text_of(head.sized("Q"))
        if head.take(13) != b"header_event\0":
            raise Cut(f"{self._data.path} lacks the format of its events' headers (header_event)")
        head.sized("Q")

    def _ftrace_events(self, head: Reader) -> None:
        for _ in range(head.number("I")):
            self.dat.formats.append(("ftrace", text_of(head.sized("Q"))))

    def _events(self, head: Reader) -> None:
        for _ in range(head.number("I")):
            system = head.string()
            for _ in range(head.number("I")):
                self.dat.formats.append((system, text_of(head.sized("Q"))))


_SECTIONS = frozenset(
    (
        Option.STRINGS,
        Option.HEADER_INFO,
        Option.FTRACE_EVENTS,
        Option.EVENT_FORMATS,
        Option.KALLSYMS,
        Option.PRINTK,
        Option.CMDLINES,
        Option.BTF_FILE,
        Option.MODULES_FILE,
    )
)


def unpacked_bound(size: int) -> int:
    """Bytes that the packed parts of a file of this size may unpack to, all together."""
    return max(_UNPACKED_PER_BYTE * size, _LEAST_UNPACKED)


def commit_bytes(header_page: str) -> int | None:
    """Bytes of a long of the kernel, by the format of its sub-buffers (events/header_page)."""
    for line in header_page.splitlines():
        if "local_t commit" in line:
            return next((word for word in (4, 8) if f"size:{word};" in line.replace(" ", "")), None)
    return None


def unpacked_chunks(
    raw: bytes, machine: Machine, unpacked: Callable[[bytes, int], bytes]
) -> tuple[bytes, str]:
    """A count, and so many chunks (sizes packed and unpacked, bytes): what they hold, and what stopped that."""
    found: list[bytes] = []
    reader = inside(machine, raw, "its chunks")
    try:
        for _ in range(reader.number("I")):
            packed, whole = reader.numbers("II")
            piece = unpacked(reader.take(packed), whole)
            found.append(piece)
            if len(piece) < whole:
                return b"".join(found), f"a chunk unpacks to {len(piece):,} bytes, not to {whole:,}"
    except DumpFormatError as error:
        return b"".join(found), str(error)
    return b"".join(found), ""
