"""Where kallsyms' tables lie when VMCOREINFO does not say (before v6.0): found by their shape in the kernel image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.kallsyms.names import MOST_SYMBOLS, Image, Tables, walk_names
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError

_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_ZERO = ord("0")
_CHUNK = 8 << 20
#: The tokens and their index lie within this of the digits; names and offsets within this before the tokens.
_TOKENS_NEAR = 1 << 15
_NAMES_BEFORE = 32 << 20

#: A marker stands for each 256 names, which take 2 to 128 bytes each.
_PER_MARKER = 256
_SMALLEST_STEP, _LARGEST_STEP = 2 * _PER_MARKER, 128 * _PER_MARKER
_MOST_MARKERS = MOST_SYMBOLS // _PER_MARKER

#: The digits occur once in an image, and few words before the names look like their number: more is not tried.
_MOST_PLACES, _MOST_CLAIMS = 64, 4096


def find_tables(image: Image, info: Vmcoreinfo) -> Tables:
    """Search the image from _stext on. Raises KernlabError where nothing there looks like kallsyms."""
    start = info.symbol("_stext")
    if start is None:
        raise KernlabError(
            "VMCOREINFO names neither kallsyms nor _stext, so the symbol table cannot be found"
        )
    start, most = start & ~(image.arch.page_size - 1), image.arch.image_bytes
    limit = start + min(info.number("KERNEL_IMAGE_SIZE") or most, most)
    places = 0
    for at in range(start, limit, _CHUNK):
        data, there = image.read_partial(at, min(_CHUNK + len(_DIGITS), limit - at))
        if not there.any():
            continue
        raw = data.tobytes()
        found = raw.find(_DIGITS)
        while found >= 0 and places < _MOST_PLACES:
            places += 1
            tables = _around(image, at + found, start)
            if tables is not None:
                return tables
            found = raw.find(_DIGITS, found + 1)
    raise KernlabError(
        f"no kallsyms was found in the kernel image from {start:#x} on: the dump lacks those pages, or this "
        "kernel was built without CONFIG_KALLSYMS"
    )


def _around(image: Image, digits: int, lowest: int) -> Tables | None:
    """The tables around the tokens "0" to "9", if they are tokens."""
    data, _ = image.read_partial(digits & ~7, _TOKENS_NEAR)
    words = data.view("<u2").astype(np.int64)
    # Tokens of one character lie two bytes apart, and the index says so for the ten digits.
    rows = np.arange(_ZERO, len(words) - (256 - _ZERO))
    fits = np.logical_and.reduce([words[rows + k] - words[rows] == 2 * k for k in range(1, 10)])
    for row in rows[fits & (words[rows - _ZERO] == 0)].tolist():
        index = words[row - _ZERO : row - _ZERO + 256]
        table = digits - int(index[_ZERO])
        if (np.diff(index) > 0).all() and lowest <= table:
            return _names_before(image, table, (digits & ~7) + 2 * (row - _ZERO), lowest)
    return None


def _names_before(image: Image, table: int, token_index: int, lowest: int) -> Tables | None:
    """num_syms and names, by the markers that lie between them and the tokens."""
    start = max(table - _NAMES_BEFORE, lowest) & ~7
    # The markers may end right where the tokens begin, which is aligned to 4 (7.2).
    data, _ = image.read_partial(start, (table - start) & ~3)
    # Linux commit 80ffbaa5b1bd ("kallsyms: reduce size a little on 64-bit") (in v4.20) halved markers and num_syms.
    for width in (4, 8):
        found = _names_by_markers(data, start, width, table, token_index)
        if found is not None:
            return found
    return None


def _names_by_markers(
    data: npt.NDArray[np.uint8], start: int, width: int, table: int, token_index: int
) -> Tables | None:
    """num_syms and names in bytes from `start` on, by markers of `width` bytes."""
    numbers = data[: len(data) // width * width].view(f"<u{width}")
    marks = _markers(numbers)
    if marks is None:
        return None
    first, count = marks
    markers = numbers[first : first + count].astype(np.int64)
    words, first = data.view("<u4"), first * width // 4
    fewest, most = _PER_MARKER * (count - 1) + 1, _PER_MARKER * count
    claims = np.flatnonzero((words[:first] >= fewest) & (words[:first] <= most))
    raw = data.data
    for claim in claims[: -_MOST_CLAIMS - 1 : -1].tolist():
        for gap in (4, 8):
            names = 4 * claim + gap
            number = int(words[claim])
            if _fits(raw[names : 4 * first], number, markers):
                num_syms = start + 4 * claim
                after_index = (token_index + 512 + 7) & ~7
                before = num_syms - 4 * number
                base_between = ((before - 8) & ~7, before - 8, before - 12)
                return Tables(
                    names=start + names,
                    num_syms=num_syms,
                    token_table=table,
                    token_index=token_index,
                    offsets=tuple(
                        dict.fromkeys((*base_between, after_index, token_index + 512, before & ~7))
                    ),
                    relative_base=num_syms - 8,
                    searched=True,
                )
    return None


def _markers(words: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]) -> tuple[int, int] | None:
    """(first word, number) of the longest run that begins with 0 and ascends as markers do."""
    # Unsigned: where the words descend, the step is larger than any of the markers'.
    good = np.zeros(len(words) + 1, dtype=bool)
    np.less_equal(
        words[1:] - words[:-1] - words.dtype.type(_SMALLEST_STEP),
        words.dtype.type(_LARGEST_STEP - _SMALLEST_STEP),
        out=good[1:-1],
    )
    edges = np.flatnonzero(good[1:] != good[:-1])
    begins, ends = edges[::2], edges[1::2]
    if not len(begins):
        return None
    zero = words[begins] == 0
    if not zero.any():
        return None
    begins, ends = begins[zero], ends[zero]
    longest = int((ends - begins).argmax())
    if ends[longest] - begins[longest] >= _MOST_MARKERS:
        return None
    return int(begins[longest]), int(ends[longest] - begins[longest]) + 1


def _fits(raw: memoryview, count: int, markers: npt.NDArray[np.int64]) -> bool:
    """Do `count` names begin at the start of `raw`, and each 256th where its marker says?"""
    # The first two blocks tell nearly everything apart before all names are walked.
    starts, _, _ = walk_names(
        raw[: int(markers[min(2, len(markers) - 1)]) + 1024], min(count, 2 * _PER_MARKER + 1)
    )
    seen = starts[::_PER_MARKER]
    if seen != markers[: len(seen)].tolist():
        return False
    starts, _, end = walk_names(raw, count)
    return end <= len(raw) and starts[::_PER_MARKER] == markers.tolist()
