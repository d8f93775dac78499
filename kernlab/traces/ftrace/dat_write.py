"""A trace in, a trace.dat (version 6 or 7) out: the file of trace-cmd, KernelShark and LISA.

Header, formats of the buffer and of events, symbols, formats of trace_printk, names of tasks, options, and each CPU's
sub-buffers as they lay in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from kernlab.errors import KernlabError
from kernlab.traces.ftrace.buffers import Instance, Ring
from kernlab.traces.ftrace.comms import IDLE, Comms
from kernlab.traces.ftrace.dat_layout import MAGIC, PACKED, PACKINGS, SECTION, Option, pack
from kernlab.traces.ftrace.load import Tally, Trace
from kernlab.traces.ftrace.pages import commits, decode
from kernlab.traces.ftrace.source import Machine, Source
from kernlab.util.files import whole_file
from kernlab.util.text import few

#: Sub-buffers that are packed together.
_TOGETHER = 10


class _Writer:
    """What all parts need: the source, the trace, and how numbers are written."""

    def __init__(self, source: Source, trace: Trace, rings: Sequence[Ring]):
        self.source, self.trace, self.rings = source, trace, rings
        self.machine = source.machine
        self.instances = list({id(ring.instance): ring.instance for ring in rings}.values())
        self.instances.sort(key=lambda instance: instance.name != "")
        self.cpus = max(ring.cpu for ring in rings) + 1
        self.clocks = self._clocks(self.instances[0])
        self.tallies = {id(ring): tally for ring, tally in zip(trace.rings, trace.tallies, strict=True)}

    def _clocks(self, instance: Instance) -> str:
        """The file trace_clock of tracefs: all clocks, the one in use in brackets."""
        known = self.source.clocks
        return " ".join(
            f"[{name}]" if number == instance.clock_id else name
            for number, (name, _) in enumerate(known)
            if name
        )

    def clock(self, instance: Instance) -> str:
        """The clock of an instance, '' where it is not known."""
        return self._clocks(instance).partition("[")[2].partition("]")[0]

    def number(self, kind: str, *values: int) -> bytes:
        """Numbers as the traced machine writes them."""
        return struct.pack(self.machine.mark + kind, *values)

    def sized(self, data: str | bytes, kind: str) -> bytes:
        """Bytes behind their length."""
        raw = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
        return self.number(kind, len(raw)) + raw

    def start(self, version: int, size: int) -> bytes:
        """How every file begins."""
        return (
            MAGIC
            + f"{version}\0".encode()
            + bytes([self.machine.big, self.machine.word])
            + self.number("I", size)
        )

    def headers(self, size: int) -> bytes:
        """What a sub-buffer and an event begin with."""
        page = self.sized(_header_page(size, self.machine), "Q")
        return b"header_page\0" + page + b"header_event\0" + self.sized(_HEADER_EVENT, "Q")

    def formats(self) -> tuple[bytes, bytes]:
        """The formats of ftrace's own events, and those of the other systems that the trace holds."""
        formats = self.source.formats
        own = [number for number, (_, system) in formats.names.items() if system == "ftrace"]
        held = set(np.unique(self.trace.type).tolist())
        if any(system == "syscalls" for number, (_, system) in formats.names.items() if number in held):
            # Whether system calls record strings shows in the format of one that takes a path.
            held |= set(formats.ids("sys_enter_openat"))
        systems: dict[str, list[bytes]] = {"ftrace": []}
        for form in formats.get([*own, *sorted(held)]).values():
            systems.setdefault(form.system, []).append(self.sized(form.text(formats.common), "Q"))
        ftrace = systems.pop("ftrace")
        others = [self.number("I", len(systems))]
        for system, events in systems.items():
            others += [_name(system), self.number("I", len(events)), *events]
        return self.number("I", len(ftrace)) + b"".join(ftrace), b"".join(others)

    def common_options(self) -> list[tuple[int, bytes]]:
        """Options of both versions: the clocks, the machine, and what each CPU's buffer counted."""
        options: list[tuple[int, bytes]] = [(Option.TRACECLOCK, _name(self.clocks))] if self.clocks else []
        if self.source.release:
            options.append((Option.UNAME, _name(f"Linux {self.source.release}")))
        for instance in self.instances:
            if instance.name:
                options.append((Option.CPUSTAT, _name(f"\nBuffer: {instance.name}\n\n")))
            options += [
                (Option.CPUSTAT, _name(_stats(ring, self.tallies[id(ring)])))
                for ring in self.rings
                if ring.instance is instance and id(ring) in self.tallies
            ]
        return options

    def subbufs(self, ring: Ring) -> npt.NDArray[np.uint8]:
        """A ring's sub-buffers as uint8[n, size]: empty ones left out, of the first what was read already."""
        pages, _ = self.source.subbufs([ring])
        machine, size = self.machine, ring.subbuf_size
        if not pages:
            return np.zeros((0, size), dtype=np.uint8)
        skip, length = pages[0].skip, commits(pages[0].data, machine).clip(max=size - machine.header)
        used = length > skip
        kept: npt.NDArray[np.uint8] = pages[0].data[used]
        skip, length = skip[used], length[used]
        for row in np.flatnonzero(skip).tolist():
            events = decode(kept[row : row + 1], skip[row : row + 1], machine)
            rest = kept[row, machine.header + skip[row] : machine.header + length[row]].tobytes()
            long = "Q" if machine.word == 8 else "I"
            head = self.number("Q", int(events.resume[0])) + self.number(long, len(rest))
            kept[row] = np.frombuffer((head + rest).ljust(size, b"\0"), dtype=np.uint8)
        return kept


def write(
    path: Path,
    source: Source,
    trace: Trace,
    rings: Sequence[Ring],
    version: int = 6,
    packing: str = "none",
) -> Path:
    """Write these rings of a trace. Raises KernlabError where no trace.dat can hold them, OSError."""
    if not rings:
        raise KernlabError("there are no ftrace buffers, so there is nothing to save")
    if version not in (6, 7):
        raise KernlabError(f"a trace.dat is of version 6 or 7, not {version!r}")
    if packing not in PACKINGS:
        raise KernlabError(f"compression is one of {', '.join(PACKINGS)}, not {packing!r}")
    if packing != "none" and version == 6:
        raise KernlabError("a trace.dat of version 6 is never compressed: save it with version=7")
    sizes = sorted({ring.subbuf_size for ring in rings})
    if len(sizes) != 1 and version == 6:
        raise KernlabError(
            "the trace instances have sub-buffers of different sizes "
            f"({few([f'{size:,}' for size in sizes])} bytes), which one trace.dat of version 6 cannot hold: "
            "name one of them, instance=…, or save it with version=7"
        )
    writer = _Writer(source, trace, rings)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        if version == 6:
            _write_6(file, writer, sizes[0])
        else:
            _write_7(file, writer, sizes[0], packing)
    return path


def _write_6(file: BinaryIO, writer: _Writer, size: int) -> None:
    """One part after the other; where each CPU's sub-buffers lie is written once all sizes are known."""
    number = writer.number
    file.write(writer.start(6, size) + writer.headers(size) + b"".join(writer.formats()))
    file.write(writer.sized(writer.source.kallsyms(), "I"))
    file.write(writer.sized(writer.source.printk_formats(), "I"))
    file.write(writer.sized(_names(writer.source.comms), "Q") + number("I", writer.cpus))
    options = writer.common_options()
    top, others = writer.instances[0], writer.instances[1:]
    # "flyrecord", and a table of all CPUs; behind the first one the clocks, which are a part of their own.
    clock = writer.sized(_name(writer.clocks), "Q") if writer.clocks else b""
    table = 10 + 16 * writer.cpus
    length = sum(6 + len(body) for _, body in options) + sum(14 + len(_name(i.name)) for i in others)
    sections = file.tell() + 10 + length + 2
    for row, instance in enumerate(others, 1):
        at = number("Q", sections + row * table + len(clock))
        options.append((Option.BUFFER, at + _name(instance.name)))
    file.write(b"options  \0")
    for kind, body in options:
        file.write(number("HI", kind, len(body)) + body)
    file.write(number("H", Option.DONE))
    place = -(-(sections + table * len(writer.instances) + len(clock)) // size) * size
    pieces: list[npt.NDArray[np.uint8]] = []
    for instance in (top, *others):
        file.write(b"flyrecord\0")
        held = {ring.cpu: ring for ring in writer.rings if ring.instance is instance}
        for cpu in range(writer.cpus):
            pages = writer.subbufs(held[cpu]) if cpu in held else np.zeros((0, size), dtype=np.uint8)
            file.write(number("QQ", place, pages.size))
            pieces.append(pages.reshape(-1))
            place += pages.size
        if instance is top:
            file.write(clock)
    file.write(b"\0" * (-file.tell() % size))
    for piece in pieces:
        file.write(piece.data)


def _write_7(file: BinaryIO, writer: _Writer, size: int, packing: str) -> None:
    """Sections, and options that say where each lies; the first options' place stands in the header."""
    number, source = writer.number, writer.source
    file.write(writer.start(7, size) + _name(packing) + _name(PACKINGS[packing]))
    here = file.tell()
    file.write(number("Q", 0))
    strings: dict[str, int] = {}
    end = 0

    def section(kind: int, said: str, body: bytes) -> int:
        nonlocal end
        if said not in strings:
            strings[said], end = end, end + len(_name(said))
        at, packed = file.tell(), packing != "none" and kind != Option.STRINGS
        if packed:
            inner = pack(body, packing)
            body = number("II", len(inner), len(body)) + inner
        file.write(number(SECTION, kind, PACKED if packed else 0, strings[said], len(body)) + body)
        return at

    ftrace, events = writer.formats()
    parts = (
        (Option.HEADER_INFO, "headers", writer.headers(size)),
        (Option.FTRACE_EVENTS, "ftrace events", ftrace),
        (Option.EVENT_FORMATS, "events format", events),
        (Option.KALLSYMS, "kallsyms", writer.sized(source.kallsyms(), "I")),
        (Option.PRINTK, "printk", writer.sized(source.printk_formats(), "I")),
        (Option.CMDLINES, "command lines", writer.sized(_names(source.comms), "Q")),
    )
    options = [(int(kind), number("Q", section(kind, said, body))) for kind, said, body in parts]
    options += writer.common_options()
    for instance in writer.instances:
        options.append((Option.BUFFER, _write_buffer(file, writer, instance, packing, strings)))
    strings.setdefault("options", end)
    options.append((Option.CPUCOUNT, number("I", writer.cpus)))
    names = b"".join(_name(said) for said in strings)
    options.append((Option.STRINGS, number("Q", section(Option.STRINGS, "options", names))))
    options.append((Option.DONE, number("Q", 0)))
    first = section(
        Option.DONE, "options", b"".join(number("HI", kind, len(body)) + body for kind, body in options)
    )
    file.seek(here)
    file.write(number("Q", first))


def _write_buffer(
    file: BinaryIO, writer: _Writer, instance: Instance, packing: str, strings: dict[str, int]
) -> bytes:
    """The sub-buffers of an instance as a section; the option that describes it."""
    number = writer.number
    rings = [ring for ring in writer.rings if ring.instance is instance]
    size, at = rings[0].subbuf_size, file.tell()
    head = struct.calcsize("<" + SECTION)
    file.seek(-(-(at + head) // size) * size)
    table = []
    for ring in rings:
        place, pages = file.tell(), writer.subbufs(ring)
        if packing == "none":
            file.write(pages.reshape(-1).data)
        elif len(pages):
            chunks = [pages[row : row + _TOGETHER].tobytes() for row in range(0, len(pages), _TOGETHER)]
            file.write(number("I", len(chunks)))
            for chunk in chunks:
                inner = pack(chunk, packing)
                file.write(number("II", len(inner), len(chunk)) + inner)
        # As trace-cmd has it: the chunks, without the count before them.
        table.append(
            number("IQQ", ring.cpu, place, max(file.tell() - place - (0 if packing == "none" else 4), 0))
        )
    end = file.tell()
    flags = PACKED if packing != "none" else 0
    file.seek(at)
    file.write(number(SECTION, Option.BUFFER, flags, strings["headers"], end - at - head))
    file.seek(end)
    named = number("Q", at) + _name(instance.name) + _name(writer.clock(instance))
    return named + number("II", size, len(table)) + b"".join(table)


_HEADER_EVENT = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)


def _header_page(size: int, machine: Machine) -> str:
    word, header = machine.word, machine.header
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        f"\tfield: local_t commit;\toffset:8;\tsize:{word};\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{header};\tsize:{size - header};\tsigned:1;\n"
    )


def _stats(ring: Ring, tally: Tally) -> str:
    """per_cpu/cpuN/stats of tracefs after everything was read into the file, as trace-cmd leaves it."""
    counted = {
        "entries": 0 if tally.missing is not None else None,
        "overrun": ring.counters.get("overrun"),
        "commit overrun": ring.counters.get("commit_overrun"),
        "dropped events": ring.counters.get("dropped_events"),
        "read events": None if tally.missing is None else tally.decoded + tally.missing,
    }
    known = "".join(f"{name}: {value}\n" for name, value in counted.items() if value is not None)
    return f"CPU: {ring.cpu}\n{known}"


def _name(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace").replace(b"\0", b"") + b"\0"


def _names(comms: Comms) -> str:
    # One line a task: what would break it is left out.
    return "".join(
        f"{pid} {''.join(c for c in name if c.isprintable())}\n"
        for pid, name in comms.saved().items()
        if name != IDLE
    )
