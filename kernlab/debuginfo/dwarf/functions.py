"""The functions of a unit, and what was inlined into each: found by passing over everything else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from kernlab.debuginfo.dwarf.abbreviations import (
    BLOCK,
    INLINED,
    NAMESPACE,
    STEP_BLOCK,
    STEP_INDIRECT,
    STEP_LEB128,
    STEP_STRING,
    SUBPROGRAM,
    Abbreviation,
)
from kernlab.debuginfo.dwarf.ranges import code_of
from kernlab.debuginfo.dwarf.reading import direct, skip_form, text_end, uleb, unsigned
from kernlab.debuginfo.dwarf.units import Unit

#: What may hold what is looked for: at the top functions, within one inlined calls.
_HOLD_FUNCTIONS = frozenset((NAMESPACE,))
_HOLD_CALLS = frozenset((BLOCK, INLINED))

Ranges = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Call:
    """An inlined call: its code, the entry of what was inlined, where it was called (file -1, line 0: not told), and
    the call it lies in (-1: the function itself)."""

    code: Ranges
    origin: int
    file: int
    line: int
    within: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function with code: where its entry lies in .debug_info, and all pieces of its code."""

    entry: int
    code: Ranges


class Functions:
    """The functions of one unit, by address."""

    def __init__(self, unit: Unit):
        self._unit = unit
        self._starts: list[int] = []
        self._pieces: list[tuple[int, int, Function]] = []
        self._calls: dict[int, list[Call]] = {}
        own = unit.header.first - unit.header.offset
        for at, kind, _ in _walk(unit, own, _HOLD_FUNCTIONS):
            if kind.tag == SUBPROGRAM and kind.has_code:
                code = code_of(unit, unit.entry(at)[1])
                function = Function(unit.header.offset + at, code)
                self._pieces += [(start, end, function) for start, end in code]
        self._pieces.sort(key=lambda piece: piece[:2])
        self._starts = [start for start, _, _ in self._pieces]

    def at(self, address: int) -> Function | None:
        """The function whose code an address is in; of several (damage) the one that begins last."""
        place = bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._pieces[place][1]:
            return None
        return self._pieces[place][2]

    def calls(self, function: Function, address: int) -> list[Call]:
        """The inlined calls that an address of a function is in, the outermost first."""
        known = self._calls.get(function.entry)
        if known is None:
            known = self._calls[function.entry] = list(self._inlined(function))
        # What a call lies in need not say so: DWARF 2 cannot tell of code in pieces.
        chains = [
            self._chain(known, number)
            for number, call in enumerate(known)
            if any(start <= address < end for start, end in call.code)
        ]
        return max(chains, key=len, default=[])

    @staticmethod
    def _chain(known: list[Call], number: int) -> list[Call]:
        """A call and those that it lies in, the outermost first."""
        chain: list[Call] = []
        while number >= 0:
            chain.append(known[number])
            number = known[number].within
        return chain[::-1]

    def _inlined(self, function: Function) -> Iterator[Call]:
        unit = self._unit
        #: The number of the call that each level of the tree lies in.
        within = {0: -1}
        number = 0
        for at, kind, depth in _walk(unit, function.entry - unit.header.offset, _HOLD_CALLS):
            parent = within.get(depth - 1, -1)
            within[depth] = parent
            if kind.tag != INLINED or not kind.has_code:
                continue
            attributes = unit.entry(at)[1]
            origin = attributes.get("abstract_origin")
            file, line = attributes.get("call_file"), attributes.get("call_line")
            within[depth] = number
            number += 1
            yield Call(
                code_of(unit, attributes),
                origin[1] if isinstance(origin, tuple) and origin[0] == "entry" else -1,
                file if isinstance(file, int) else -1,
                line if isinstance(line, int) else 0,
                parent,
            )


def _walk(unit: Unit, at: int, inside: frozenset[int]) -> Iterator[tuple[int, Abbreviation, int]]:
    """(place, kind, depth from 1) of the entries below the one at a byte of the unit; only of those in `inside` the
    ones below, as far as can be helped."""
    data, kinds, end = unit.data, unit.kinds, len(unit.data)
    address_size, offset_size = unit.header.address_size, unit.header.offset_size
    kind, _, at = unit.entry(at)
    if kind is None or not kind.has_children:
        return
    depth = 1
    #: Below this depth nothing is told: what leads there could not be passed over at once.
    silent = end
    while at < end:
        place = at
        code = data[at]
        at += 1
        if code > 0x7F:
            code, at = uleb(data, place)
        if not code:
            depth -= 1
            if not depth:
                return
            if depth <= silent:
                silent = end
            continue
        kind = kinds[code]
        if depth <= silent:
            yield place, kind, depth
        if kind.has_children and kind.sibling >= 0 and kind.tag not in inside:
            at = _sibling(data, at + kind.sibling, kind.sibling_bytes, at)
            continue
        for step in kind.steps:
            if step >= 0:
                at += step
            elif step == STEP_LEB128:
                while data[at] > 0x7F:
                    at += 1
                at += 1
            elif step == STEP_STRING:
                at = text_end(data, at)
            elif step == STEP_INDIRECT:
                number, at = uleb(data, at)
                at = skip_form(data, at, direct(number), address_size, offset_size)
            else:
                width = STEP_BLOCK - step
                length, at = (unsigned(data, at, width), at + width) if width else uleb(data, at)
                at += length
        if kind.has_children:
            if depth <= silent and kind.tag not in inside:
                silent = depth
            depth += 1


def _sibling(data: bytes, at: int, size: int, after: int) -> int:
    """Where the next entry beside one begins. Raises ValueError where that leads back."""
    found = unsigned(data, at, size)
    if found <= after:
        raise ValueError(f"the entry at byte {at:,} is followed by one before it")
    return found
