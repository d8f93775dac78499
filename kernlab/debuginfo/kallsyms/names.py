"""kallsyms' names, which are stored as tokens: the kernel image and where its tables are in, all names at once out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernlab.errors import KernlabError
from kernlab.memory.arch import Architecture

#: No kernel has more symbols, and all names together take less, stored or decoded (today's: 5 MB).
MOST_SYMBOLS = 1 << 22
_MOST_BYTES = 64 << 20
_LONGEST_NAME = 0x3FFF
#: The 256 tokens together (each at most a name's length; in truth about 1 KiB).
_TOKENS = 256
_LARGEST_TOKEN_TABLE = 1 << 16


class Image(Protocol):
    """The kernel image's bytes, by virtual address."""

    @property
    def arch(self) -> Architecture:
        """The machine that it runs on."""

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


@dataclass(frozen=True)
class Tables:
    """Addresses of kallsyms' tables; `offsets` are candidates, `searched` when only their shape vouches for them."""

    names: int
    num_syms: int
    token_table: int
    token_index: int
    offsets: tuple[int, ...]
    relative_base: int | None
    absolute: int | None = None
    searched: bool = False


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
    if ends[-1] > _MOST_BYTES:
        raise KernlabError(
            f"kallsyms of this dump is damaged: its {count:,} names at {tables.names:#x} would take {int(ends[-1]):,} "
            f"bytes, more than the {_MOST_BYTES:,} that kernlab accepts"
        )
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
        or not there[: ends[-1] + 1].all()
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
    size = min(16 * count + _LONGEST_NAME, _MOST_BYTES)
    while True:
        data, there = image.read_partial(address, size)
        raw = data.tobytes()
        starts, long, end = walk_names(raw, count)
        if end <= size or size >= min(64 * count, _MOST_BYTES):
            break
        size = min(2 * size, _MOST_BYTES)
    if end > len(raw) or not there[:end].all():
        image.read(address, min(end, size))  # says which page is missing
        raise KernlabError(f"kallsyms of this dump is damaged: {count:,} names at {address:#x} do not end")
    second = None
    if long:
        second = np.zeros(end, dtype=bool)
        second[np.array(long) + 1] = True
    return data, _Places(np.array(starts, dtype=np.int64), second, end)


def walk_names(raw: bytes | memoryview, count: int) -> tuple[list[int], list[int], int]:
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
