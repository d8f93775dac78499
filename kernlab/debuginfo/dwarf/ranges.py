"""Lists of address ranges: .debug_rnglists (DWARF 5), .debug_ranges before."""

from __future__ import annotations

from kernlab.debuginfo.dwarf.reading import uleb, unsigned
from kernlab.debuginfo.dwarf.units import Attributes, Unit

#: No function is in more pieces; a unit with -ffunction-sections may have one for each function.
_MOST_RANGES = 1 << 16

# DW_RLE_*
_END, _BASE_X, _START_X_END_X, _START_X_LENGTH, _PAIR, _BASE, _START_END, _START_LENGTH = range(8)


def code_of(unit: Unit, attributes: Attributes) -> list[tuple[int, int]]:
    """[start, end) of an entry's code; none for what has no code."""
    if "ranges" in attributes:
        where = attributes["ranges"]
        if isinstance(where, tuple) and where[0] == "rnglistx":
            data, size, base = (
                unit.sections(".debug_rnglists"),
                unit.header.offset_size,
                unit.start_of("rnglists_base"),
            )
            return listed(unit, base + unsigned(data, base + where[1] * size, size))
        if not isinstance(where, int):
            raise ValueError(f"{where!r} stands where ranges do")
        return listed(unit, where)
    low, high = attributes.get("low_pc"), attributes.get("high_pc")
    if low is None or high is None:
        return []
    start = unit.address(low)
    # Since DWARF 4 it may be a length.
    end = start + high if isinstance(high, int) else unit.address(high)
    return [(start, end)] if start < end <= 1 << 64 else []


def listed(unit: Unit, at: int) -> list[tuple[int, int]]:
    """[start, end) of a list; empty ones are left out. Raises IndexError, ValueError for a damaged one."""
    found = _new(unit, at) if unit.header.version >= 5 else _old(unit, at)
    return [(start, end) for start, end in found if start < end <= 1 << 64]


def _old(unit: Unit, at: int) -> list[tuple[int, int]]:
    data, size, base = unit.sections(".debug_ranges"), unit.header.address_size, unit.base
    last = (1 << 8 * size) - 1
    found: list[tuple[int, int]] = []
    for place in range(at, at + 2 * size * _MOST_RANGES, 2 * size):
        start, end = unsigned(data, place, size), unsigned(data, place + size, size)
        if start == end == 0:
            return found
        if start == last:
            base = end
        else:
            found.append((base + start, base + end))
    raise ValueError(f"the ranges at byte {at:,} do not end")


def _new(unit: Unit, at: int) -> list[tuple[int, int]]:
    data, size, base = unit.sections(".debug_rnglists"), unit.header.address_size, unit.base
    found: list[tuple[int, int]] = []
    for _ in range(_MOST_RANGES):
        kind = unsigned(data, at, 1)
        at += 1
        if kind == _END:
            return found
        if kind == _BASE_X:
            index, at = uleb(data, at)
            base = unit.indexed(index)
        elif kind == _BASE:
            base, at = unsigned(data, at, size), at + size
        elif kind == _PAIR:
            start, at = uleb(data, at)
            end, at = uleb(data, at)
            found.append((base + start, base + end))
        elif kind in (_START_X_END_X, _START_X_LENGTH):
            index, at = uleb(data, at)
            other, at = uleb(data, at)
            start = unit.indexed(index)
            found.append((start, unit.indexed(other) if kind == _START_X_END_X else start + other))
        elif kind == _START_END:
            found.append((unsigned(data, at, size), unsigned(data, at + size, size)))
            at += 2 * size
        elif kind == _START_LENGTH:
            start, at = unsigned(data, at, size), at + size
            length, at = uleb(data, at)
            found.append((start, start + length))
        else:
            raise ValueError(f"a range of kind {kind} at byte {at - 1:,}")
    raise ValueError(f"the ranges at byte {at:,} do not end")
