"""kallsyms, the symbol table that a kernel carries in itself: the kernel image in, a `SymbolTable` out.

How addresses are stored has changed three times; which way a kernel does it is read off the data: that one is right by
which the symbols that VMCOREINFO names come out at the addresses it gives (scripts/kallsyms.c, kernel/kallsyms.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.kallsyms_search import Tables, find_tables
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError

U64 = npt.NDArray[np.uint64]

#: No kernel has more symbols, and no name more bytes (KSYM_NAME_LEN is 512, with its letter).
_MOST_SYMBOLS = 1 << 23
_LONGEST_NAME = 0x3FFF
#: The 256 tokens together (each at most a name's length; in truth about 1 KiB).
_TOKENS = 256
_LARGEST_TOKEN_TABLE = 1 << 16

#: Symbols of VMCOREINFO that tell right addresses from wrong ones.
_WITNESSES = (
    "_stext",
    "init_uts_ns",
    "swapper_pg_dir",
    "init_top_pgt",
    "prb",
    "node_online_map",
    "clear_seq",
)


class Image(Protocol):
    """The kernel image's bytes, by virtual address."""

    def read(self, address: int, size: int) -> bytes:
        """All of them, or FaultError or PageExcluded."""

    def read_partial(self, address: int, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """What is there of them; gaps are zero and False."""


@dataclass(frozen=True)
class Names:
    """All names, NUL before and after each, where each begins, and the letter of each."""

    blob: bytes
    starts: npt.NDArray[np.int64]
    letters: npt.NDArray[np.uint8]


def read_kallsyms(image: Image, info: Vmcoreinfo) -> SymbolTable:
    """The kernel's own symbols.

    Raises KernlabError where the tables cannot be found, are damaged, or contradict VMCOREINFO; FaultError and
    PageExcluded where the dump lacks them.
    """
    tables = _tables_of(info) or find_tables(image, info)
    count = (
        tables.count if tables.count is not None else int.from_bytes(image.read(tables.num_syms, 4), "little")
    )
    if not 0 < count <= _MOST_SYMBOLS:
        raise KernlabError(
            f"kallsyms of this dump is damaged: it claims {count:,} symbols at {tables.num_syms:#x}"
        )
    names = decode_names(image, tables, count)
    addresses = _addresses(image, info, tables, names, count)
    return SymbolTable(names.blob, names.starts, addresses, names.letters)


def _tables_of(info: Vmcoreinfo) -> Tables | None:
    """Where VMCOREINFO says that the tables are (since v6.0, commit f09bddbd8661)."""
    found = {
        key: info.symbol(f"kallsyms_{key}")
        for key in ("names", "num_syms", "token_table", "token_index", "offsets")
    }
    if any(value is None for key, value in found.items() if key != "offsets"):
        return None
    base, offsets, absolute = (
        info.symbol(f"kallsyms_{key}") for key in ("relative_base", "offsets", "addresses")
    )
    names, num_syms, table, index = (
        found[key] for key in ("names", "num_syms", "token_table", "token_index")
    )
    assert names is not None and num_syms is not None and table is not None and index is not None
    return Tables(
        names=names,
        num_syms=num_syms,
        token_table=table,
        token_index=index,
        offsets=() if offsets is None else (offsets,),
        relative_base=base,
        absolute=absolute,
    )


def decode_names(image: Image, tables: Tables, count: int) -> Names:
    """Decode all names at once: a length byte, then that many tokens each."""
    tokens, lengths = _tokens(image, tables)
    raw, places = _name_places(image, tables.names, count)
    codes = raw[: places.end].astype(np.int64)
    # A name's length becomes a token of its own that stands for the NUL before the name.
    codes[places.starts] = _TOKENS
    codes = codes[~places.second_length] if places.second_length is not None else codes
    size = lengths[codes]
    ends = np.cumsum(size)
    source = np.repeat(tokens.starts[codes] - (ends - size), size) + np.arange(int(ends[-1]))
    flat = tokens.bytes[source]
    separators = np.flatnonzero(flat == 0)
    if (
        len(separators) != count
        or (separators[1:] - separators[:-1] < 2).any()
        or separators[-1] + 2 > len(flat)
    ):
        raise KernlabError(
            f"kallsyms of this dump is damaged: its {count:,} names at {tables.names:#x} do not decode"
        )
    letters = flat[separators + 1]
    keep = np.ones(len(flat), dtype=bool)
    keep[separators + 1] = False
    blob = flat[keep].tobytes() + b"\0"
    starts = separators - np.arange(count) + 1
    return Names(blob, starts, letters)


@dataclass(frozen=True)
class _Tokens:
    bytes: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]


def _tokens(image: Image, tables: Tables) -> tuple[_Tokens, npt.NDArray[np.int64]]:
    """The token table's bytes, where each token begins in it and how long it is; the 257th stands for NUL."""
    index = np.frombuffer(image.read(tables.token_index, 2 * _TOKENS), dtype="<u2").astype(np.int64)
    if (np.diff(index) <= 0).any() or index[0] != 0:
        raise KernlabError(
            f"kallsyms of this dump is damaged: its token index at {tables.token_index:#x} does not ascend"
        )
    data, there = image.read_partial(
        tables.token_table, min(int(index[-1]) + _LONGEST_NAME, _LARGEST_TOKEN_TABLE)
    )
    zeros = np.flatnonzero(data == 0)
    ends = zeros[np.minimum(np.searchsorted(zeros, index), len(zeros) - 1)] if len(zeros) else index
    if (
        not len(zeros)
        or (ends[:-1] != index[1:] - 1).any()
        or ends[-1] < index[-1]
        or not there[: ends[-1]].all()
    ):
        raise KernlabError(
            f"kallsyms of this dump is damaged: its tokens at {tables.token_table:#x} do not fit their index"
        )
    starts = np.append(index, zeros[0])
    return _Tokens(data, starts), np.append(ends - index, 1)


@dataclass(frozen=True)
class _Places:
    """Where the names' length bytes are, which bytes are second length bytes, and where the names end."""

    starts: npt.NDArray[np.int64]
    second_length: npt.NDArray[np.bool_] | None
    end: int


def _name_places(image: Image, address: int, count: int) -> tuple[npt.NDArray[np.uint8], _Places]:
    """Hop over all names: each one's length tells where the next begins."""
    # Names take about 10 bytes each; more is read only where a kernel needs it.
    size = 16 * count + _LONGEST_NAME
    data, there = image.read_partial(address, size)
    raw = data.tobytes()
    while True:
        starts, long, end = walk_names(raw, count)
        if end <= len(raw) or size >= 64 * count + _LONGEST_NAME:
            break
        size *= 2
        data, there = image.read_partial(address, size)
        raw = data.tobytes()
    if end > len(raw) or not there[:end].all():
        image.read(address, min(end, size))  # says which page is missing
        raise KernlabError(f"kallsyms of this dump is damaged: {count:,} names at {address:#x} do not end")
    second = None
    if long:
        second = np.zeros(end, dtype=bool)
        second[np.array(long) + 1] = True
    return data, _Places(np.array(starts, dtype=np.int64), second, end)


def walk_names(raw: bytes, count: int) -> tuple[list[int], list[int], int]:
    """(where each name's length stands, which of these take two bytes, where the last name ends)."""
    starts: list[int] = []
    long: list[int] = []
    at, end = 0, len(raw)
    try:
        for _ in range(count):
            starts.append(at)
            length = raw[at]
            # Linux commit 73bbb94466fd ("kallsyms: support "big" kernel symbols") (in v6.1): ULEB128 of two bytes.
            if length & 0x80:
                long.append(at)
                length = (length & 0x7F | raw[at + 1] << 7) + 1
            at += length + 1
    except IndexError:
        return starts, long, end + 1
    return starts, long, at


def _addresses(image: Image, info: Vmcoreinfo, tables: Tables, names: Names, count: int) -> U64:
    """Every symbol's address: each way of storing them is tried, and that one taken which the witnesses confirm."""
    table = SymbolTable(names.blob, names.starts, np.zeros(count, dtype=np.uint64), names.letters)
    witnesses = [
        (row, value) for name in _WITNESSES if (value := info.symbol(name)) and (row := table.index(name))
    ]
    tried = 0
    best: tuple[int, U64] | None = None
    for candidate in _candidates(image, tables, count):
        tried += 1
        right = sum(int(candidate[row]) == value for row, value in witnesses)
        if witnesses and right == len(witnesses):
            return candidate
        if not witnesses and best is None and _ascending(candidate):
            return candidate
        if best is None or right > best[0]:
            best = (right, candidate)
    raise KernlabError(
        f"kallsyms of this dump contradicts its VMCOREINFO: of {len(witnesses)} symbols that both name, "
        f"{best[0] if best else 0} have the same address ({tried} ways to read the addresses were tried)"
    )


def _candidates(image: Image, tables: Tables, count: int) -> list[U64]:
    """The addresses as each generation of kernels stores them, newest first."""
    found = []
    for where in tables.offsets:
        data, there = image.read_partial(where, 4 * count)
        if not there.all():
            image.read(where, 4 * count)
        unsigned = data.view("<u4")
        signed = unsigned.view("<i4").astype(np.int64).view(np.uint64)
        # Since 7.x each offset counts from where it stands itself, and there is no base.
        if tables.relative_base is None or tables.searched:
            found.append(np.uint64(where) + np.arange(count, dtype=np.uint64) * np.uint64(4) + signed)
        bases = (tables.relative_base,) if tables.relative_base is not None else ()
        for at in (*bases, *((where + 4 * count + 7 & ~7, tables.num_syms - 8) if tables.searched else ())):
            base_bytes, known = image.read_partial(at, 8)
            if not known.all():
                continue
            base = np.uint64(int(base_bytes.view("<u8")[0]))
            # Without CONFIG_KALLSYMS_ABSOLUTE_PERCPU (gone in 6.15) all offsets are unsigned …
            found.append(base + unsigned.astype(np.uint64))
            # … with it, negative ones count down from the base, and the others are absolute.
            below = unsigned.view("<i4") < 0
            found.append(np.where(below, base - np.uint64(1) - signed, unsigned.astype(np.uint64)))
    if tables.absolute is not None:
        found.append(np.frombuffer(image.read(tables.absolute, 8 * count), dtype="<u8").astype(np.uint64))
    return found


def _ascending(addresses: U64) -> bool:
    """kallsyms is sorted by address (absolute symbols apart)."""
    upper = addresses[addresses >= np.uint64(1 << 63)]
    return len(upper) > len(addresses) // 2 and bool((upper[1:] >= upper[:-1]).mean() > 0.999)
