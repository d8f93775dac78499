"""Lines that were found before, in the disk cache: a few entries for each debug file, each with what one call added."""

from __future__ import annotations

import json
from typing import Any

from kernlab.errors import CacheFullError
from kernlab.util.cache import Writer, cached

#: (function, file, line, inlined, path) of each frame, by address.
Kept = dict[int, list[tuple[str, str, int, bool, str]]]

#: With what is kept or how it is found this changes.
_FORM = 1
#: So often is something added; then what is new stays in memory only.
_MOST_ENTRIES, _LARGEST_ENTRY = 64, 64 << 20
_TYPES = (str, str, int, bool, str)


class _AbsentError(Exception):
    """There is no entry of that name."""


def kept(file: str) -> Kept:
    """All that is known of a debug file (its build id, and what tells this copy of it)."""
    found: Kept = {}
    for number in range(_MOST_ENTRIES):
        more = _entry(file, number)
        if more is None:
            break
        found.update(more)
    return found


def keep(file: str, new: Kept) -> None:
    """Add to what is known of a file. Where the cache has no room nothing is kept."""
    text = json.dumps({f"{address:x}": frames for address, frames in new.items()}).encode()
    for number in range(_MOST_ENTRIES):
        is_new = False

        def fill(writer: Writer) -> dict[str, Any]:
            nonlocal is_new
            is_new = True
            writer.write(text)
            return {}

        try:
            stream, _ = cached(_name(file, number), fill)
        except CacheFullError:
            return
        stream.close()
        if is_new:
            return


def _entry(file: str, number: int) -> Kept | None:
    def absent(writer: Writer) -> dict[str, Any]:
        raise _AbsentError

    try:
        stream, _ = cached(_name(file, number), absent)
    except (_AbsentError, CacheFullError):
        return None
    with stream:
        text = stream.read(_LARGEST_ENTRY + 1)
    try:
        found = json.loads(text if len(text) <= _LARGEST_ENTRY else b"{}")
        return {int(address, 16): [_frame(raw) for raw in frames] for address, frames in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        # It was written by somebody else: as good as none.
        return {}


def _frame(raw: list[Any]) -> tuple[str, str, int, bool, str]:
    if not all(type(value) is kind for value, kind in zip(raw, _TYPES, strict=True)):
        raise TypeError
    function, file, line, inlined, path = raw
    return function, file, line, inlined, path


def _name(file: str, number: int) -> str:
    return f"source lines {_FORM} {file} {number}"
