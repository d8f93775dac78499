"""A dump as a kernel of another configuration would have left it: symbols, types, members and enumerators are hidden.

    tables = Absence(symbols=("modules",), types=("struct module",)).of(opened("debian-6.1"))

What is hidden keeps its place in memory, only its name is gone: members that remain are read where they were. Nothing
of kernlab's own reader of type information is used to hide them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from weakref import WeakKeyDictionary

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

_VARIABLE = "variable "
_TAGS = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _ENUM64: "enum ", _VAR: _VARIABLE}

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
        symbols = with_told(self.symbol_table(below.kernel.symbols), info, memory.arch)
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
        blob = _blobs.get(below.kernel.types)
        if blob is None:
            start, stop = (below.kernel.symbols.address(f"__{name}_BTF") for name in ("start", "stop"))
            blob = _blobs[below.kernel.types] = _Blob(below.read(start, stop - start))
        return Btf(blob.without(self))

    def symbol_table(self, table: SymbolTable) -> SymbolTable:
        """The kernel's own symbols without those that are hidden; their rows go, as if never there."""
        own = _own.get(table)
        if own is None:
            own = _own[table] = _Own(_kernels_own(table))
        return own.without(self)


class _Own:
    """A kernel's own symbols, taken apart once for all that is hidden of them."""

    def __init__(self, table: SymbolTable):
        self.table = table
        self.names = table._blob.split(b"\0")[1:-1]
        self.lengths = np.array([len(name) + 1 for name in self.names], dtype=np.int64)

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, name in enumerate(self.table.names()):
            found.setdefault(name, []).append(row)
        return found

    def without(self, absence: Absence) -> SymbolTable:
        table = self.table
        keep = np.ones(len(table), dtype=bool)
        for name in (*absence.symbols, *absence.moved):
            keep[self.rows.get(name, [])] = False
        if absence.functions_only:
            # scripts/kallsyms.c, symbol_valid: what lies in the text sections, whatever its letter.
            ranges = (("_stext", "_etext"), ("_sinittext", "_einittext"))
            bounds = [tuple(np.uint64(table.address(name)) for name in pair) for pair in ranges]
            keep &= np.any(
                [(table.addresses >= low) & (table.addresses < high) for low, high in bounds], axis=0
            )
        more = [name.encode() for name in absence.moved]
        kept = [*compress(self.names, keep.tolist()), *more]
        lengths = np.concatenate(
            [self.lengths[keep], np.array([len(name) + 1 for name in more], dtype=np.int64)]
        )
        moved = np.array(list(absence.moved.values()), dtype=np.uint64)
        letters = np.full(len(moved), ord("D"), dtype=np.uint8)
        return SymbolTable(
            b"\0".join([b"", *kept, b""]),
            1 + np.cumsum(lengths) - lengths,
            np.concatenate([table.addresses[keep], moved]),
            np.concatenate([table.types[keep], letters]),
            table.kernel_start,
        )


class _Blob:
    """A BTF blob, of which copies are made whose names are changed in place."""

    def __init__(self, raw: bytes):
        self.raw = bytearray(raw)
        _, _, _, length, types, size, strings, strings_size = struct.unpack_from("<HBBIIIII", raw)
        self.types = length + types, length + types + size
        self.strings = bytes(raw[length + strings : length + strings + strings_size])
        self.never = self.strings.index(_NEVER_ASKED) + 1
        self.records = list(self._records())

    def name(self, at: int) -> str:
        offset = struct.unpack_from("<I", self.raw, at)[0]
        return self.strings[offset : self.strings.index(b"\0", offset)].decode()

    def _records(self) -> Iterator[tuple[int, int, int]]:
        """(byte of the type, kind, number of parts) of each type."""
        at, end = self.types
        while at < end:
            info = struct.unpack_from("<I", self.raw, at + 4)[0]
            kind, parts = info >> 24 & 31, info & 0xFFFF
            yield at, kind, parts
            at += 12 + 4 * (_FIXED.get(kind, 0) + parts * _EACH.get(kind, 0))

    @cached_property
    def named(self) -> dict[str, list[tuple[int, int, int]]]:
        """The records of each type's tag and name, and of each variable."""
        found: dict[str, list[tuple[int, int, int]]] = {}
        for record in self.records:
            if (tag := _TAGS.get(record[1])) is not None:
                found.setdefault(tag + self.name(record[0]), []).append(record)
        return found

    @cached_property
    def enumerators(self) -> dict[str, list[int]]:
        """Where each enumerator's name stands."""
        found: dict[str, list[int]] = {}
        for at, kind, parts in self.records:
            if kind in (_ENUM, _ENUM64):
                for place in range(at + 12, at + 12 + 4 * _EACH[kind] * parts, 4 * _EACH[kind]):
                    found.setdefault(self.name(place), []).append(place)
        return found

    def without(self, absence: Absence) -> bytes:
        places = [at for name in absence.types for at, _, _ in self.named.get(name, [])]
        places += [at for name in absence.symbols for at, _, _ in self.named.get(_VARIABLE + name, [])]
        places += [at for name in absence.enumerators for at in self.enumerators.get(name, [])]
        by_owner: dict[str, set[str]] = {}
        for path in absence.members:
            owner, _, member = path.rpartition(".")
            by_owner.setdefault(owner, set()).add(member)
        for owner, gone in by_owner.items():
            for at, kind, parts in self.named.get(owner, []):
                if kind in (_STRUCT, _UNION):
                    places += self._members(at, parts, gone)
        raw = self.raw.copy()
        for at in places:
            struct.pack_into("<I", raw, at, self.never)
        return bytes(raw)

    def _members(self, at: int, parts: int, gone: set[str]) -> list[int]:
        """Where the names of members of a struct stand, and of what has no name in it."""
        found = []
        for place in range(at + 12, at + 12 + 12 * parts, 12):
            if name := self.name(place):
                found += [place] * (name in gone)
                continue
            inner, kind, inside = self.records[struct.unpack_from("<I", self.raw, place + 4)[0] - 1]
            if kind in (_STRUCT, _UNION):
                found += self._members(inner, inside, gone)
        return found


#: Of each kernel that something was hidden of; they go with it.
_own: WeakKeyDictionary[SymbolTable, _Own] = WeakKeyDictionary()
_blobs: WeakKeyDictionary[Btf, _Blob] = WeakKeyDictionary()
