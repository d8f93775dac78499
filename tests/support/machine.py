"""A whole machine of nothing but types: a kernel's BTF, symbols and memory that the test makes, and no dump below.

    machine = Machine(Btf(blob))
    head = machine.variable("slab_caches", 16)
    cache = machine.new("struct kmem_cache", **{"size": 64})
    dump = machine.dump()            # a Dump: all tables read it

Its memory is laid out as an x86-64 kernel's with page tables of four levels, whatever machine the types are of: what
lies where in a struct is the types' own. Variables lie in the image, what is allocated in the direct map.
"""

from __future__ import annotations

import numpy as np
from support.heap import Room
from support.overlay import PAGE, MemoryFile

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.types import Types
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.dump import Dump
from kernlab.memory import AddressSpace
from kernlab.memory.arch import Layout
from kernlab.memory.arch.x86_64 import X86_64

IMAGE = 0xFFFFFFFF81000000
#: Frames of the image, from physical address 0 on; the heap lies behind them.
IMAGE_PAGES = 64
# Bits of entries (arch/x86/include/asm/pgtable_types.h): a table, a page.
TABLE, SMALL = 0x63, 0x163


class Machine(Room):
    """`pages` frames of zeros; what is written reaches each `dump()` that is taken after it."""

    def __init__(self, types: Types, pages: int = 1024):
        self.types, self.arch = types, X86_64(4)
        self.direct = self.arch.direct_map.fixed
        super().__init__(self.direct + IMAGE_PAGES * PAGE, pages - IMAGE_PAGES)
        self.image = bytearray(IMAGE_PAGES * PAGE)
        self.symbols: dict[str, int] = {"_text": IMAGE, "_stext": IMAGE}
        self._variables = PAGE
        self.top = self.alloc(PAGE, PAGE)
        self.pages = 0
        #: Frames that the dump does not have: number -> why.
        self.gone: dict[int, object] = {}

    def variable(self, name: str, size: int = 8, value: int | None = None) -> int:
        """A variable of the kernel's, zero or a number; its address, by which it has a symbol."""
        address = IMAGE + -(-self._variables // 64) * 64
        self._variables = address - IMAGE + size
        assert self._variables <= len(self.image), "the test needs a larger image"
        self.symbols[name] = address
        if value is not None:
            self.word(address, value, size)
        return address

    def put(self, address: int, data: bytes) -> None:
        area, start = self._place(address)
        assert start + len(data) <= len(area)
        area[start : start + len(data)] = data

    def new(self, type_name: str, /, **members: int) -> int:
        """A struct of zeros but for these members (paths are given as **{"se.vruntime": 1}); its address."""
        address = self.alloc(self.types.find(type_name).strip().size, 64)
        for path, value in members.items():
            self.member(type_name, address, path, value)
        return address

    def offset(self, type_name: str, path: str) -> int:
        """Of a member, in bytes."""
        return resolve(self.types.find(type_name), path).hops[-1]

    def where(self, type_name: str, address: int, path: str) -> tuple[int, int]:
        access = resolve(self.types.find(type_name), path)
        assert len(access.hops) == 1
        assert not access.bit_size
        return address + access.hops[0], access.type.size

    def physical(self, address: int) -> int:
        """Of an address in the image or the direct map."""
        return address - IMAGE if address >= IMAGE else address - self.direct

    def map(self, address: int, at: int, pages: int = 1) -> None:
        """Map pages at a kernel address to memory that was allocated at `at`."""
        for number in range(pages):
            table = self.top
            where = address + number * PAGE
            for level in self.arch.levels[:-1]:
                entry = table + 8 * (where >> level.shift & 511)
                below = int.from_bytes(self.read(entry, 8), "little")
                if not below:
                    below = self.physical(self.alloc(PAGE, PAGE)) | TABLE
                    self.word(entry, below)
                table = self.direct + (below & ~0xFFF)
            self.word(table + 8 * (where >> 12 & 511), self.physical(at) + number * PAGE | SMALL)

    def page_structs(self) -> None:
        """Page structs of zeros for all frames, mapped as an array, in one section of memory that is online."""
        size = self.types.find("struct page").strip().size
        frames = len(self.image) // PAGE + len(self.bytes) // PAGE
        self.pages = self.alloc(-(-frames * size // PAGE) * PAGE, PAGE)
        array = self.arch.vmemmap.fixed
        self.map(array, self.pages, -(-frames * size // PAGE))
        section = self.alloc(PAGE, PAGE)
        # include/linux/mmzone.h: present, has a memory map, is online; the map is as if frame 0 were its first.
        self.member("struct mem_section", section, "section_mem_map", array | 7)
        if self.types.has_member("struct mem_section", "pageblock_flags"):
            self.member("struct mem_section", section, "pageblock_flags", self.alloc(256))
        self.variable("mem_section", 8, self.words([section]))
        self.variable("max_pfn", 8, frames)

    def page(self, address: int) -> int:
        """The page struct of the frame that memory at an address lies in, in the array (`page_structs`)."""
        size = self.types.find("struct page").strip().size
        return self.arch.vmemmap.fixed + self.physical(address) // PAGE * size

    def read(self, address: int, size: int) -> bytes:
        """What was written there."""
        area, start = self._place(address)
        return bytes(area[start : start + size])

    def _place(self, address: int) -> tuple[bytearray, int]:
        if IMAGE <= address < IMAGE + len(self.image):
            return self.image, address - IMAGE
        array = self.arch.vmemmap.fixed
        start = (
            self.pages + address - array if array <= address < array + (1 << 30) else address
        ) - self.base
        assert 0 <= start < len(self.bytes)
        return self.bytes, start

    def dump(self, **vmcoreinfo: str) -> Dump:
        """The machine as it is now; `vmcoreinfo` are lines of the note beside those that every kernel has."""
        raw = bytes(self.image) + bytes(self.bytes)
        frames = {at // PAGE: raw[at : at + PAGE] for at in range(0, len(raw), PAGE)}
        note = {"OSRELEASE": "made", "PAGESIZE": str(PAGE), **vmcoreinfo}
        info = Vmcoreinfo(note)
        layout = Layout(
            self.arch,
            self.physical(self.top),
            IMAGE,
            IMAGE + len(self.image),
            -IMAGE,
            self.direct,
            self.direct + len(raw),
        )
        memory = AddressSpace(MemoryFile(frames | self.gone), layout)
        return Dump(Kernel(memory, self.symbol_table(), info, types=self.types))

    def symbol_table(self) -> SymbolTable:
        """As kallsyms has them, sorted by address; all are variables but for the image's own."""
        rows = sorted(self.symbols.items(), key=lambda row: row[1])
        names = [name.encode() for name, _ in rows]
        lengths = np.array([len(name) + 1 for name in names], dtype=np.int64)
        letters = [ord("T") if name in ("_text", "_stext") else ord("D") for name, _ in rows]
        return SymbolTable(
            b"\0".join([b"", *names, b""]),
            1 + np.cumsum(lengths) - lengths,
            np.array([address for _, address in rows], dtype=np.uint64),
            np.array(letters, dtype=np.uint8),
            self.arch.kernel_start,
        )
