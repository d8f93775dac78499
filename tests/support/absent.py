"""A dump as a kernel of another configuration would have left it: symbols, types, members and enumerators are hidden.

    tables = Absence(symbols=("modules",), types=("struct module",)).of(opened("debian-6.1"))

What is hidden keeps its place in memory, only its name is gone: members that remain are read where they were. Nothing
of kernlab's own reader of type information is used to hide them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from support.overlay import Overlay, _kernels_own

from kernlab.core.kernel import Kernel
from kernlab.core.regions import complete_layout, first_layout
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.kallsyms.read import with_told
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.dump import Dump
from kernlab.memory import AddressSpace

# include/uapi/linux/btf.h: words behind a type's three, fixed and for each of its parts.
_STRUCT, _UNION, _ENUM, _ENUM64, _VAR = 4, 5, 6, 19, 14
_FIXED = {1: 1, 3: 3, _VAR: 1, 17: 1}
_EACH = {_STRUCT: 3, _UNION: 3, _ENUM: 2, 13: 2, 15: 3, _ENUM64: 3}

#: What is hidden gets a name that nobody asks for: it must be one of the blob's own, or modules' strings would move.
_NEVER_ASKED = b"\0__kernel_ulong_t\0"


@dataclass(frozen=True)
class Absence:
    """What a kernel lacks. Members are "struct page.memcg_data", wherever in the struct's nameless parts they lie;
    a symbol's per-CPU variable in the type information goes with it; `vmcoreinfo` are keys of the note."""

    symbols: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    enumerators: tuple[str, ...] = ()
    vmcoreinfo: tuple[str, ...] = ()
    #: Only functions have symbols (CONFIG_KALLSYMS_ALL=n).
    functions_only: bool = False
    #: Symbols that such a kernel has elsewhere: name -> address.
    moved: Mapping[str, int] = field(default_factory=dict)

    def __or__(self, other: Absence) -> Absence:
        return Absence(
            self.symbols + other.symbols,
            self.types + other.types,
            self.members + other.members,
            self.enumerators + other.enumerators,
            self.vmcoreinfo + other.vmcoreinfo,
            self.functions_only or other.functions_only,
            {**self.moved, **other.moved},
        )

    def of(self, below: Dump, overlay: Overlay | None = None) -> Dump:
        """The dump without it; `overlay` are changes of its memory."""
        changes = overlay or Overlay(below)
        note = below.kernel.file.vmcoreinfo
        assert note is not None
        for key in self.vmcoreinfo:
            note = b"\n".join(line for line in note.split(b"\n") if line.split(b"=")[0] != key.encode())
        file, info = changes.file(), Vmcoreinfo.parse(note)
        memory = AddressSpace(file, first_layout(file, info))
        symbols = with_told(self.symbol_table(_kernels_own(below.kernel.symbols)), info, memory.arch)
        # The direct map is found by the symbols that are left.
        complete_layout(memory, symbols)
        layout = memory.layout
        assert layout is not None
        layout.direct_end = max(layout.direct_end, layout.direct_start + file.max_pfn * 4096)
        return Dump(Kernel(memory, symbols, info, types=None if self.functions_only else self.btf(below)))

    def btf(self, below: Dump) -> Btf:
        """The kernel's types, without what is hidden."""
        if not (self.types or self.members or self.enumerators or self.symbols):
            types = below.kernel.types
            assert isinstance(types, Btf)
            return types
        start, stop = (below.kernel.symbols.address(f"__{name}_BTF") for name in ("start", "stop"))
        blob = _Blob(below.read(start, stop - start))
        blob.hide(self)
        return Btf(bytes(blob.raw))

    def symbol_table(self, table: SymbolTable) -> SymbolTable:
        """The symbols without those that are hidden; their rows go, as they would have never been there."""
        names = table.names()
        keep = ~np.isin(np.array(names, dtype=object), [*self.symbols, *self.moved])
        if self.functions_only:
            # scripts/kallsyms.c, symbol_valid: what lies in the text sections, whatever its letter.
            ranges = (("_stext", "_etext"), ("_sinittext", "_einittext"))
            bounds = [tuple(np.uint64(table.address(name)) for name in pair) for pair in ranges]
            keep &= np.any(
                [(table.addresses >= low) & (table.addresses < high) for low, high in bounds], axis=0
            )
        kept = [name.encode() for name, good in zip(names, keep.tolist(), strict=True) if good]
        kept += [name.encode() for name in self.moved]
        lengths = np.array([len(name) + 1 for name in kept], dtype=np.int64)
        blob = b"\0" + b"".join(name + b"\0" for name in kept)
        starts = 1 + np.cumsum(lengths) - lengths
        moved = np.array(list(self.moved.values()), dtype=np.uint64)
        letters = np.full(len(moved), ord("D"), dtype=np.uint8)
        return SymbolTable(
            blob,
            starts,
            np.concatenate([table.addresses[keep], moved]),
            np.concatenate([table.types[keep], letters]),
            table.kernel_start,
        )


class _Blob:
    """A BTF blob whose names are changed in place."""

    def __init__(self, raw: bytes):
        self.raw = bytearray(raw)
        _, _, _, length, types, size, strings, strings_size = struct.unpack_from("<HBBIIIII", raw)
        self.types = length + types, length + types + size
        self.strings = bytes(raw[length + strings : length + strings + strings_size])
        self.never = self.strings.index(_NEVER_ASKED) + 1

    def name(self, at: int) -> str:
        offset = struct.unpack_from("<I", self.raw, at)[0]
        return self.strings[offset : self.strings.index(b"\0", offset)].decode()

    def records(self) -> Iterator[tuple[int, int, int]]:
        """(byte of the type, kind, number of parts) of each type."""
        at, end = self.types
        while at < end:
            info = struct.unpack_from("<I", self.raw, at + 4)[0]
            kind, parts = info >> 24 & 31, info & 0xFFFF
            yield at, kind, parts
            at += 12 + 4 * (_FIXED.get(kind, 0) + parts * _EACH.get(kind, 0))

    def hide(self, absence: Absence) -> None:
        records = list(self.records())
        by_owner: dict[str, set[str]] = {}
        for path in absence.members:
            owner, _, member = path.rpartition(".")
            by_owner.setdefault(owner, set()).add(member)
        gone, tags = (
            set(absence.enumerators),
            {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _ENUM64: "enum "},
        )
        for at, kind, parts in records:
            name = tags.get(kind, "") + self.name(at)
            if kind in (_STRUCT, _UNION) and name in by_owner:
                self._members(records, at, parts, by_owner[name])
            elif kind in (_ENUM, _ENUM64) and gone:
                for part in range(parts):
                    place = at + 12 + 4 * _EACH[kind] * part
                    if self.name(place) in gone:
                        self._rename(place)
            if (kind in tags and name in absence.types) or (kind == _VAR and name in absence.symbols):
                self._rename(at)

    def _members(self, records: list[tuple[int, int, int]], at: int, parts: int, gone: set[str]) -> None:
        """Members of a struct, and of what has no name in it."""
        for part in range(parts):
            place = at + 12 + 12 * part
            if self.name(place) in gone:
                self._rename(place)
            elif not self.name(place):
                number = struct.unpack_from("<I", self.raw, place + 4)[0]
                inner, kind, inside = records[number - 1]
                if kind in (_STRUCT, _UNION):
                    self._members(records, inner, inside, gone)

    def _rename(self, at: int) -> None:
        struct.pack_into("<I", self.raw, at, self.never)
