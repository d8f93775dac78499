"""Symbols: names, addresses and kallsyms' letters in arrays; look-ups both ways, without a dict of 100,000 names."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo import asking
from kernlab.errors import SymbolNotFoundError

U64 = npt.NDArray[np.uint64]

#: A symbol that ends nowhere is taken to be no longer than this (the last of a module, say).
_LONGEST = 1 << 20
#: In a table of functions only, what follows a function may be data, which covers nothing: no function is longer.
_LONGEST_FUNCTION = 1 << 16

#: No name has so many bytes (KSYM_NAME_LEN is 512): what has is none, and not looked for.
_LONGEST_NAME = 0xFFFF

#: So few names are compared one by one.
_FEW_NAMES = 16

#: kallsyms' letters of what is not a function: data, read-only data, bss (a module's small ones too).
_DATA_LETTERS = np.frombuffer(b"bBdDrRgGsS", dtype=np.uint8)
#: A whole table has more of them than this share: a third of all.
_FEWEST_DATA = 0.02
#: nm's letter for a symbol of unknown type, and what such a one covers.
_UNTOLD_LETTER, _UNTOLD_BYTES = ord("?"), 8
_MARK = ord("$")


@dataclass(frozen=True, slots=True)
class MoreSymbols:
    """Symbols beside the kernel's own: names, addresses uint64[n], kallsyms' letters uint8[n].

    `module` is what kallsyms prints in brackets; `sizes` uint64[n] where the kernel keeps them, else one ends where
    the next begins; `gone` where the code was freed, and something else may lie there by now.
    """

    module: str
    names: list[str]
    addresses: U64
    letters: npt.NDArray[np.uint8]
    sizes: U64 | None = None
    gone: bool = False


class SymbolTable:
    """Symbols in the order of kallsyms: those of the kernel, then each module's.

    `blob` holds all names, each after a NUL byte, and `starts` where each begins in it (int64[n]); `addresses` is
    uint64[n], `types` the letters uint8[n] (as nm(1) prints them), `sizes` uint64[n] in bytes, 0 where nothing says it;
    `gone` bool[n], whose code was freed. Below `kernel_start`, where the kernel's half begins, lie absolute symbols and
    offsets of per-CPU variables, which are not addresses.
    """

    def __init__(
        self,
        blob: bytes,
        starts: npt.NDArray[np.int64],
        addresses: U64,
        types: npt.NDArray[np.uint8],
        kernel_start: int,
        module_of: npt.NDArray[np.int32] | None = None,
        module_names: tuple[str, ...] = ("",),
        sizes: U64 | None = None,
        gone: npt.NDArray[np.bool_] | None = None,
    ):
        self._blob = blob
        self._starts = starts
        self.addresses = addresses
        self.types = types
        self.kernel_start = kernel_start
        self._module_of = np.zeros(len(addresses), dtype=np.int32) if module_of is None else module_of
        self._module_names = module_names
        self._sizes = np.zeros(len(addresses), dtype=np.uint64) if sizes is None else sizes
        self._gone = np.zeros(len(addresses), dtype=bool) if gone is None else gone
        self._found: dict[str, int | None] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.addresses)

    def __contains__(self, name: str) -> bool:
        return self.index(name) is not None

    def index(self, name: str) -> int | None:
        """Row of the first symbol of that name."""
        with self._lock:
            if name not in self._found:
                rows = self._rows(name, first=True)
                self._found[name] = rows[0] if rows else None
            row = self._found[name]
        if asking.notes is not None:
            asking.note("symbol", name, row is not None, soft=True)
        return row

    @cached_property
    def functions_only(self) -> bool:
        """Does the kernel's own table name no variables (CONFIG_KALLSYMS_ALL is off)? Then a name that is not in it may
        well be one of the kernel's variables."""
        own = self.types[self._module_of == 0]
        # What is chosen is what lies among the functions: that may be a variable or two (7.2).
        return bool(len(own)) and bool(np.isin(own, _DATA_LETTERS).mean() < _FEWEST_DATA)

    def _rows(self, name: str, *, first: bool = False) -> list[int]:
        raw = name.encode("utf-8", "replace")
        rows = self._of_length(len(raw))
        letters = np.frombuffer(self._blob, dtype=np.uint8)
        # Of names of one length the last letters tell most apart.
        for place in range(len(raw) - 1, -1, -1):
            if len(rows) <= _FEW_NAMES:
                break
            rows = rows[letters[self._starts[rows] + place] == raw[place]]
        found = [row for row in rows.tolist() if self._blob.startswith(raw, int(self._starts[row]))]
        return found[:1] if first else found

    def _of_length(self, length: int) -> npt.NDArray[np.int64]:
        """Rows of the names that have so many bytes, in order: a search through all takes ten times as long."""
        rows, ends = self._by_length
        if not 0 < length < min(len(ends), _LONGEST_NAME):
            return np.zeros(0, dtype=np.int64)
        return rows[ends[length - 1] : ends[length]]

    @cached_property
    def _by_length(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """All rows, those of shorter names first, and where those of each length end among them."""
        # Numbers of 16 bits sort forty times as fast.
        lengths = (np.diff(self._starts, append=len(self._blob)) - 1).clip(0, _LONGEST_NAME).astype(np.uint16)
        return np.argsort(lengths, kind="stable"), np.cumsum(np.bincount(lengths))

    def get(self, name: str, default: int | None = None) -> int | None:
        """Address of the first symbol of that name, or `default`."""
        row = self.index(name)
        return default if row is None else int(self.addresses[row])

    def address(self, name: str) -> int:
        """Address of the first symbol of that name. Raises SymbolNotFoundError, naming symbols spelt alike."""
        if asking.notes is not None:
            asking.insist("symbol", name)
        row = self.index(name)
        if row is None:
            if self.functions_only:
                raise SymbolNotFoundError(
                    f"where {name!r} lies is not known: this kernel's symbol table names functions only "
                    "(CONFIG_KALLSYMS_ALL is off). The kernel's System.map as symbols= (--symbols), or its vmlinux as "
                    "vmlinux=, has it"
                )
            near = difflib.get_close_matches(name, self.names(), 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise SymbolNotFoundError(f"this kernel has no symbol {name!r}{hint}")
        return int(self.addresses[row])

    def all(self, name: str) -> list[int]:
        """Addresses of every symbol of that name: static functions of different files share names."""
        return [int(self.addresses[row]) for row in self._rows(name)]

    @cached_property
    def _names(self) -> list[str]:
        return self._blob.decode("utf-8", "backslashreplace").split("\0")[1:-1]

    def names(self) -> list[str]:
        """All names, in order."""
        return self._names

    def prefix(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, in order, each once."""
        return list(dict.fromkeys(name for name in self._names if name.startswith(prefix)))

    def modules(self) -> list[str]:
        """The module of each symbol, '' for the kernel's own."""
        return [self._module_names[number] for number in self._module_of.tolist()]

    def told(self, names: list[str], addresses: list[int]) -> SymbolTable:
        """A new table with symbols of the kernel after these of which something else says no more than the address."""
        count = len(names)
        letters = np.full(count, _UNTOLD_LETTER, dtype=np.uint8)
        sizes = np.full(count, _UNTOLD_BYTES, dtype=np.uint64)
        return self.with_own(MoreSymbols("", names, np.array(addresses, dtype=np.uint64), letters, sizes))

    def with_own(self, more: MoreSymbols) -> SymbolTable:
        """A new table with more symbols of the kernel itself after these."""
        whole = self.extended([more])
        whole._module_of[len(self) :] = 0
        return whole

    def extended(self, parts: Sequence[MoreSymbols]) -> SymbolTable:
        """A new table with the symbols of modules after these."""
        raw = [
            name.replace("\0", "").encode("utf-8", "replace") + b"\0" for part in parts for name in part.names
        ]
        lengths = np.array([len(name) for name in raw], dtype=np.int64)
        counts = [len(part.names) for part in parts]
        numbers = np.arange(len(parts), dtype=np.int32) + np.int32(len(self._module_names))
        zeros = np.zeros(max(counts, default=0), dtype=np.uint64)
        sizes = [zeros[: len(part.names)] if part.sizes is None else part.sizes for part in parts]
        return SymbolTable(
            b"".join([self._blob, *raw]),
            np.concatenate([self._starts, len(self._blob) + np.cumsum(lengths) - lengths]),
            np.concatenate([self.addresses, *(part.addresses for part in parts)]),
            np.concatenate([self.types, *(part.letters for part in parts)]),
            self.kernel_start,
            np.concatenate([self._module_of, np.repeat(numbers, counts)]),
            (*self._module_names, *(part.module for part in parts)),
            np.concatenate([self._sizes, *sizes]),
            np.concatenate([self._gone, np.repeat([part.gone for part in parts], counts).astype(bool)]),
        )

    @cached_property
    def _sorted(self) -> tuple[U64, npt.NDArray[np.int64], U64]:
        """Distinct addresses ascending, the row of each, and where each symbol ends."""
        kernel_end = self.get("_end")
        usable = self.addresses >= np.uint64(self.kernel_start)
        if kernel_end is not None:
            # What the linker script places behind the image (__init_scratch_begin) covers nothing of it.
            usable &= (self._module_of != 0) | (self.addresses <= np.uint64(kernel_end))
        # What arm's linkers mark in modules ($x code, $d data) names nothing (kernel/module/kallsyms.c).
        others = np.flatnonzero(self._module_of)
        usable[others] &= np.frombuffer(self._blob, dtype=np.uint8)[self._starts[others]] != _MARK
        rows = np.flatnonzero(usable & ~self._gone)
        gone = np.flatnonzero(usable & self._gone)
        if len(gone) and len(rows):
            rows = np.sort(np.concatenate([rows, self._where_nothing_else_is(gone, rows)]))
        # Among aliases kallsyms_lookup takes the first of its table.
        distinct, first = np.unique(self.addresses[rows], return_index=True)
        rows = rows[first]
        ends = np.empty(len(distinct), dtype=np.uint64)
        ends[:-1] = distinct[1:]
        # Nothing ends behind the end of all addresses.
        room = ~distinct
        longest = distinct + np.minimum(room, np.uint64(_LONGEST))
        ends[-1:] = longest[-1:]
        if self.functions_only:
            own = self._module_of[rows] == 0
            ends[own] = np.minimum(ends, distinct + np.minimum(room, np.uint64(_LONGEST_FUNCTION)))[own]
        # Nothing lies between the kernel's end and the first module, nor in the gap after a module.
        other = np.ones(len(distinct), dtype=bool)
        other[:-1] = self._module_of[rows[1:]] != self._module_of[rows[:-1]]
        ends = np.where(other, np.minimum(ends, longest), ends)
        if kernel_end is not None:
            ends[distinct == np.uint64(kernel_end)] = np.uint64(kernel_end)
        known = self._sizes[rows] != 0
        ends[known] = np.minimum(ends, distinct + np.minimum(room, self._sizes[rows]))[known]
        return distinct, rows, ends

    def _where_nothing_else_is(
        self, gone: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The rows of freed code that do not lie among the symbols `rows` of one module by now."""
        ordered = rows[np.argsort(self.addresses[rows], kind="stable")]
        after = np.searchsorted(self.addresses[ordered], self.addresses[gone], side="right")
        before, after = np.maximum(after - 1, 0), np.minimum(after, len(ordered) - 1)
        found: npt.NDArray[np.int64] = gone[
            self._module_of[ordered[before]] != self._module_of[ordered[after]]
        ]
        return found

    def lookup(self, addresses: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], U64, U64]:
        """The symbol that covers each address uint64[n].

        Returns (row int64[n], -1 where none does; offset into it uint64[n]; its size uint64[n]).
        """
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        distinct, rows, ends = self._sorted
        at = np.searchsorted(distinct, wanted, side="right") - 1
        inside = (at >= 0) & (wanted < ends[at]) if len(distinct) else np.zeros(len(wanted), dtype=bool)
        at = np.where(inside, at, 0)
        if not len(distinct):
            zeros = np.zeros(len(wanted), dtype=np.uint64)
            return np.full(len(wanted), -1), zeros, zeros
        offset = np.where(inside, wanted - distinct[at], np.uint64(0))
        return np.where(inside, rows[at], -1), offset, np.where(inside, ends[at] - distinct[at], np.uint64(0))

    def room(self, address: int) -> int:
        """Bytes from a symbol's address to where it ends, as `lookup` has it, without bringing all into their order."""
        here = np.flatnonzero(self.addresses == np.uint64(address))
        size = int(self._sizes[here[0]]) if len(here) else 0
        if size:
            return size
        behind = self.addresses[(self.addresses > np.uint64(address)) & ~self._gone]
        room = min(int(behind.min()) - address if len(behind) else _LONGEST, _LONGEST)
        return min(room, _LONGEST_FUNCTION) if room > _LONGEST_FUNCTION and self.functions_only else room

    def symbolize(
        self, addresses: npt.ArrayLike, behind: npt.NDArray[np.bool_] | None = None
    ) -> list[str | None]:
        """Each address as `name+0x1f/0x80 [module]`, as the kernel's %pS prints it; None where no symbol covers it.

        `behind` bool[n] marks what lies behind a call: the symbol is the one that made it, as %pB has it, where a
        function that does not return was called last thing.
        """
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        back = np.uint64(0) if behind is None else behind.astype(np.uint64)
        rows, offsets, sizes = self.lookup(wanted - back)
        offsets = offsets + back
        named: list[str | None] = []
        for row, offset, size in zip(rows.tolist(), offsets.tolist(), sizes.tolist(), strict=True):
            if row < 0:
                named.append(None)
                continue
            start = int(self._starts[row])
            name = self._blob[start : self._blob.index(b"\0", start)].decode("utf-8", "backslashreplace")
            module = self._module_names[self._module_of[row]]
            named.append(f"{name}+{offset:#x}/{size:#x}{f' [{module}]' if module else ''}")
        return named
