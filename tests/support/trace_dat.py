"""trace.dat files of any machine, made from what is known: events as they were meant, bytes as the documents say.

Shares no code with kernlab: sub-buffers as kernel/trace/ring_buffer.c fills them, parts as trace-cmd.dat.v6(5) and
trace-cmd.dat.v7(5) list them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HEADER_EVENT = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)

COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
)


@dataclass
class Machine:
    """Byte order and bytes of a long."""

    big: bool = False
    word: int = 8

    def pack(self, kind: str, *values: int) -> bytes:
        """Numbers; L is a long."""
        return struct.pack(
            (">" if self.big else "<") + kind.replace("L", "Q" if self.word == 8 else "I"), *values
        )

    def head(self, kind: int, delta: int) -> bytes:
        """An event's first word: two bit fields, which compilers lay out by the byte order."""
        return self.pack("I", kind << 27 | delta if self.big else delta << 5 | kind)


@dataclass
class Subbuf:
    """A sub-buffer while it is filled."""

    machine: Machine
    start: int
    size: int = 4096
    body: bytearray = field(default_factory=bytearray)
    now: int = 0

    def __post_init__(self) -> None:
        self.now = self.start

    def room(self, payload: bytes) -> bool:
        """Is there room for an event and a time before it?"""
        return 8 + self.machine.word + len(self.body) + len(payload) + 24 <= self.size

    def event(self, time: int, payload: bytes) -> None:
        """Write an event, after a time that is further away than fits into its head."""
        delta = time - self.now
        if delta >= 1 << 27:
            self.body += self.machine.head(30, delta & (1 << 27) - 1) + self.machine.pack("I", delta >> 27)
            delta = 0
        self.now = time
        payload += bytes(-len(payload) % 4)
        if len(payload) > 28 * 4 or not payload:
            self.body += self.machine.head(0, delta) + self.machine.pack("I", len(payload) + 4)
        else:
            self.body += self.machine.head(len(payload) // 4, delta)
        self.body += payload

    def bytes(self, missed: int = 0) -> bytes:
        """The sub-buffer; `missed` events were lost before it (-1: nobody counted)."""
        marks = (1 << 31 if missed else 0) | (1 << 30 if missed > 0 else 0)
        raw = self.machine.pack("QL", self.start, len(self.body) | marks) + bytes(self.body)
        if missed > 0:
            raw += self.machine.pack("L", missed)
        return raw.ljust(self.size, b"\0")


@dataclass
class Instance:
    """An instance's sub-buffers by CPU, and what its buffer counted."""

    name: str = ""
    cpus: dict[int, list[bytes]] = field(default_factory=dict)
    clock: str = "local"


@dataclass
class Dat:
    """What a file is to hold."""

    machine: Machine = field(default_factory=Machine)
    page_size: int = 4096
    instances: list[Instance] = field(default_factory=lambda: [Instance()])
    ftrace: list[str] = field(default_factory=list)
    events: dict[str, list[str]] = field(default_factory=dict)
    kallsyms: str = ""
    printk: str = ""
    comms: str = ""
    options: list[tuple[int, bytes]] = field(default_factory=list)

    def _sized(self, text: str | bytes, kind: str) -> bytes:
        raw = text.encode() if isinstance(text, str) else text
        return self.machine.pack(kind, len(raw)) + raw

    def _start(self, version: int) -> bytes:
        machine = self.machine
        return (
            b"\x17\x08\x44tracing%d\0" % version
            + bytes([machine.big, machine.word])
            + machine.pack("I", self.page_size)
        )

    def _headers(self) -> bytes:
        word = self.machine.word
        page = (
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
            f"\tfield: local_t commit;\toffset:8;\tsize:{word};\tsigned:1;\n"
            "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
            f"\tfield: char data;\toffset:{8 + word};\tsize:{self.page_size - 8 - word};\tsigned:1;\n"
        )
        return b"header_page\0" + self._sized(page, "Q") + b"header_event\0" + self._sized(HEADER_EVENT, "Q")

    def _formats(self) -> tuple[bytes, bytes]:
        pack = self.machine.pack
        own = pack("I", len(self.ftrace)) + b"".join(self._sized(text, "Q") for text in self.ftrace)
        others = pack("I", len(self.events))
        for system, texts in self.events.items():
            others += system.encode() + b"\0" + pack("I", len(texts))
            others += b"".join(self._sized(text, "Q") for text in texts)
        return own, others

    def version6(self) -> bytes:
        """The file in version 6."""
        pack = self.machine.pack
        out = self._start(6) + self._headers() + b"".join(self._formats())
        out += self._sized(self.kallsyms, "I") + self._sized(self.printk, "I") + self._sized(self.comms, "Q")
        cpus = 1 + max(cpu for instance in self.instances for cpu in instance.cpus)
        out += pack("I", cpus) + b"options  \0"
        out += b"".join(pack("HI", kind, len(body)) + body for kind, body in self.options)
        top, others = self.instances[0], self.instances[1:]
        table = 10 + 16 * cpus
        tables = len(out) + sum(14 + len(one.name) + 1 for one in others) + 2
        for row, one in enumerate(others, 1):
            body = pack("Q", tables + row * table) + one.name.encode() + b"\0"
            out += pack("HI", 3, len(body)) + body
        out += pack("H", 0)
        assert len(out) == tables
        place = -(-(tables + table * len(self.instances)) // self.page_size) * self.page_size
        data = b""
        for one in (top, *others):
            out += b"flyrecord\0"
            for cpu in range(cpus):
                pages = b"".join(one.cpus.get(cpu, []))
                out += pack("QQ", place + len(data), len(pages))
                data += pages
        return out.ljust(place, b"\0") + data

    def version7(self, compression: str = "none") -> bytes:
        """The file in version 7; compression "none", "zlib" or "zstd"."""
        pack = self.machine.pack
        squeeze = _squeeze(compression)
        out = bytearray(self._start(7) + compression.encode() + b"\0" + b"1\0" + pack("Q", 0))
        here = len(out) - 8

        def section(kind: int, body: bytes, packed: bool = compression != "none") -> bytes:
            at = len(out)
            if packed:
                inner = squeeze(body)
                body = pack("II", len(inner), len(body)) + inner
            out.extend(pack("HHIQ", kind, int(packed), 0, len(body)) + body)
            return pack("Q", at)

        own, others = self._formats()
        parts = (
            (16, self._headers()),
            (17, own),
            (18, others),
            (19, self._sized(self.kallsyms, "I")),
            (20, self._sized(self.printk, "I")),
            (21, self._sized(self.comms, "Q")),
        )
        options = [(kind, section(kind, body)) for kind, body in parts] + self.options
        for one in self.instances:
            at = len(out)
            out.extend(bytes(16))
            rows = b""
            for cpu, pages in one.cpus.items():
                out.extend(bytes(-len(out) % self.page_size))
                place, whole = len(out), b"".join(pages)
                if compression == "none":
                    out.extend(whole)
                    size = len(whole)
                else:
                    inner = squeeze(whole)
                    chunk = pack("II", len(inner), len(whole)) + inner
                    out.extend(pack("I", 1) + chunk)
                    size = len(chunk)
                rows += pack("IQQ", cpu, place, size)
            out[at : at + 16] = pack("HHIQ", 3, int(compression != "none"), 0, len(out) - at - 16)
            named = pack("Q", at) + one.name.encode() + b"\0" + one.clock.encode() + b"\0"
            options.append((3, named + pack("II", self.page_size, len(one.cpus)) + rows))
        options.append((0, pack("Q", 0)))
        first = section(
            0, b"".join(pack("HI", kind, len(body)) + body for kind, body in options), packed=False
        )
        out[here : here + 8] = first
        return bytes(out)


def _squeeze(compression: str) -> Callable[[bytes], bytes]:
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress
    return zlib.compress


def form(name: str, number: int, fields: Sequence[tuple[str, int, int, int]], text: str) -> str:
    """An event's format; fields are (declaration, offset, size, signed)."""
    own = "".join(
        f"\tfield:{said};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"
        for said, offset, size, signed in fields
    )
    return f"name: {name}\nID: {number}\nformat:\n{COMMON}{own}\nprint fmt: {text}\n"
