"""Kernel images with kallsyms of every generation, written as scripts/kallsyms.c does; shares no code with kernlab."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import FaultError
from kernlab.memory.arch.x86_64 import X86_64

BASE = 0xFFFFFFFF81000000
PAGE = 4096
GENERATIONS = ("percpu", "unsigned", "relative", "absolute")


class Image:
    """A kernel image at BASE; what lies on `holes` (numbers of pages) or beyond its end is not there."""

    def __init__(self, data: bytes, holes: frozenset[int] = frozenset()) -> None:
        self.data, self.holes, self.arch = data, holes, X86_64()

    def read_partial(self, address: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        out, there = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=bool)
        start, stop = max(address, BASE), min(address + size, BASE + len(self.data))
        if start < stop:
            out[start - address : stop - address] = np.frombuffer(
                self.data[start - BASE : stop - BASE], np.uint8
            )
            there[start - address : stop - address] = True
        for page in self.holes:
            hole = BASE + page * PAGE - address
            out[max(hole, 0) : max(hole + PAGE, 0)] = 0
            there[max(hole, 0) : max(hole + PAGE, 0)] = False
        return out, there

    def read(self, address: int, size: int) -> bytes:
        data, there = self.read_partial(address, size)
        if not there.all():
            raise FaultError(f"no {size:,} bytes at {address:#x}", address)
        return data.tobytes()


@dataclass
class Kallsyms:
    """Symbols (address, letter, name) to store; where each table came to lie is in `places` after `build`."""

    symbols: list[tuple[int, str, str]]
    generation: str = "percpu"
    tokens: dict[int, bytes] = field(default_factory=dict)
    tables_after_index: bool = False
    align: int = 8
    #: Bytes of a marker and of the number of symbols: 8 before Linux 4.20.
    width: int = 4
    places: dict[str, int] = field(default_factory=dict)

    def token_of(self) -> dict[int, bytes]:
        # As in a kernel: printable characters stand for themselves, the rest for pairs that occur often.
        used = sorted({ord(letter) for _, kind, name in self.symbols for letter in kind + name})
        table = {code: bytes([code]) for code in {*used, *range(ord("0"), ord("9") + 1)}}
        free = [code for code in range(256) if code not in table]
        for code in free:
            table[code] = self.tokens.get(code, b"t%03d_" % code)
        return table

    def encode(self, text: str, table: dict[int, list[tuple[int, bytes]]]) -> bytes:
        """Greedy: the longest token that fits, so that multi-character tokens occur."""
        raw, out = text.encode("latin-1"), bytearray()
        at = 0
        while at < len(raw):
            code, token = next(pair for pair in table[raw[at]] if raw.startswith(pair[1], at))
            out.append(code)
            at += len(token)
        return bytes(out)

    def build(self, gap: int = 3 * PAGE, tail: int = PAGE) -> bytes:
        table = self.token_of()
        # By their first byte, the longest first.
        tokens_of: dict[int, list[tuple[int, bytes]]] = {}
        for pair in sorted(table.items(), key=lambda item: -len(item[1])):
            tokens_of.setdefault(pair[1][0], []).append(pair)
        names, markers = bytearray(), []
        for row, (_, kind, name) in enumerate(self.symbols):
            if row % 256 == 0:
                markers.append(len(names))
            codes = self.encode(kind + name, tokens_of)
            size = len(codes)
            names += (bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])) + codes
        image = bytearray(b"\xcc" * gap)

        def put(key: str, data: bytes, align: int = 8) -> None:
            image.extend(bytes(-len(image) % align))
            self.places[key] = BASE + len(image)
            image.extend(data)

        def offsets() -> None:
            relative = min(address for address, _, _ in self.symbols if address >= 1 << 63)
            image.extend(bytes(-len(image) % 8))
            start = BASE + len(image)
            values = []
            for row, (address, _, _) in enumerate(self.symbols):
                if self.generation == "percpu":
                    values.append(relative - 1 - address if address >= 1 << 63 else address)
                elif self.generation == "unsigned":
                    values.append(address - relative)
                elif self.generation == "relative":
                    values.append(address - (start + 4 * row))
            if self.generation == "absolute":
                put("addresses", b"".join(struct.pack("<Q", address) for address, _, _ in self.symbols))
                return
            put("offsets", b"".join(struct.pack("<I", value & 0xFFFFFFFF) for value in values))
            if self.generation != "relative":
                put("relative_base", struct.pack("<Q", relative))

        if not self.tables_after_index:
            offsets()
        number = {4: "<I", 8: "<Q"}[self.width]
        put("num_syms", struct.pack(number, len(self.symbols)))
        put("names", bytes(names), self.align)
        put("markers", b"".join(struct.pack(number, marker) for marker in markers), self.align)
        index, tokens = [], b""
        for code in range(256):
            index.append(len(tokens))
            tokens += table[code] + b"\0"
        put("token_table", tokens, self.align)
        put("token_index", b"".join(struct.pack("<H", at) for at in index), self.align)
        if self.tables_after_index:
            offsets()
        image.extend(bytes(-len(image) % PAGE) + bytes(tail))
        return bytes(image)

    def vmcoreinfo(self, tables: bool = True) -> Vmcoreinfo:
        """What a kernel says of itself: the witnesses, and since 6.0 where the tables are."""
        wanted = ("_stext", "init_uts_ns", "swapper_pg_dir")
        lines = [f"SYMBOL({name})={address:x}" for address, _, name in self.symbols if name in wanted]
        lines.append(f"NUMBER(KERNEL_IMAGE_SIZE)={16 << 20}")
        if tables:
            lines += [
                f"SYMBOL(kallsyms_{key})={address:x}"
                for key, address in self.places.items()
                if key != "markers"
            ]
        return Vmcoreinfo.parse("\n".join(lines).encode())


def kernel_symbols(count: int, percpu: int = 0) -> list[tuple[int, str, str]]:
    """`percpu` absolute symbols from 0 on, then `count` in the image, ascending, with aliases and repeated names."""
    found = [(16 * row, "A", f"percpu_{row}") for row in range(percpu)]
    found += [(BASE, "T", "_stext"), (BASE, "t", "_alias_of_stext")]
    for row in range(count):
        name = "cleanup" if row % 50 == 7 else f"func_{row}_{'abcdefghij'[row % 10] * (row % 23)}"
        found.append((BASE + 32 + 16 * row + row % 3, "tTdDbBrR"[row % 8], name))
    last = found[-1][0]
    found += [
        (last + 64, "D", "init_uts_ns"),
        (last + 512, "D", "swapper_pg_dir"),
        (last + 4096, "B", "_end"),
    ]
    return found
