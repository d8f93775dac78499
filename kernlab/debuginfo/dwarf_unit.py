"""One unit of a debug file: its functions, and what was inlined into each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from elftools.dwarf.die import DIE

from kernlab.debuginfo.dwarf import Dwarf, Ranges, code_of, number, text
from kernlab.debuginfo.line_table import LineTable, directories, line_table

_CODE = ("DW_AT_low_pc", "DW_AT_ranges")
#: What may hold what is looked for: at the top functions, within one inlined calls.
_HOLD_FUNCTIONS = frozenset(("DW_TAG_namespace",))
_HOLD_CALLS = frozenset(("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"))
_CALL = "DW_TAG_inlined_subroutine"
#: So often does an entry lead to another that has its name.
_MOST_ORIGINS = 16


@dataclass(frozen=True, slots=True)
class Call:
    """An inlined call: its code, the function's name, where it was called (file -1, line 0: not told), and the call it
    lies in (-1: the function itself)."""

    code: Ranges
    function: str
    file: int
    line: int
    within: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function with code: its name, and where its entry lies in .debug_info."""

    name: str
    entry: int


class Unit:
    """The unit at a byte of .debug_info. Its methods raise what damaged bytes lead pyelftools into (see `damage`)."""

    def __init__(self, dwarf: Dwarf, offset: int):
        self._dwarf = dwarf
        dwarf.begin(0)
        self._unit = dwarf.check(dwarf.info().get_CU_at(offset))
        self._own = self._unit.get_top_DIE()
        #: Where it was compiled.
        self.directory = text(self._own, "DW_AT_comp_dir")
        self._calls: dict[int, list[Call]] = {}

    def begin(self) -> None:
        """Let be spent what the unit may take: before each call of what follows."""
        self._dwarf.begin(self._unit.size)

    def function(self, address: int) -> Function | None:
        """The function whose code an address is in; of several (damage) the one that begins last."""
        place = bisect_right(self._pieces, (address, 1 << 64, 0)) - 1
        if place < 0 or address >= self._pieces[place][1]:
            return None
        entry = self._pieces[place][2]
        return Function(self._name(self._unit.get_DIE_from_refaddr(entry)), entry)

    @cached_property
    def _pieces(self) -> list[tuple[int, int, int]]:
        """(start, end, entry) of all code of functions, by start."""
        return sorted(
            (start, end, entry.offset)
            for entry, _ in self._walk(self._own, _HOLD_FUNCTIONS)
            if entry.tag == "DW_TAG_subprogram" and any(name in entry.attributes for name in _CODE)
            for start, end in code_of(self._dwarf, self._unit, entry)
        )

    def calls(self, function: Function, address: int) -> list[Call]:
        """The inlined calls that an address of a function is in, the outermost first."""
        known = self._calls.get(function.entry)
        if known is None:
            known = self._calls[function.entry] = list(self._inlined(function))
        # What a call lies in need not say so: DWARF 2 cannot tell of code in pieces.
        chains = [
            _chain(known, row)
            for row, call in enumerate(known)
            if any(start <= address < end for start, end in call.code)
        ]
        return max(chains, key=len, default=[])

    def _inlined(self, function: Function) -> Iterator[Call]:
        #: The number of the call that each level of the tree lies in.
        within = {0: -1}
        count = 0
        for entry, depth in self._walk(self._unit.get_DIE_from_refaddr(function.entry), _HOLD_CALLS):
            parent = within[depth] = within.get(depth - 1, -1)
            if entry.tag != _CALL or not any(name in entry.attributes for name in _CODE):
                continue
            within[depth] = count
            count += 1
            file, line = number(entry, "DW_AT_call_file"), number(entry, "DW_AT_call_line")
            yield Call(
                code_of(self._dwarf, self._unit, entry),
                self._name(entry),
                file if file is not None else -1,
                line or 0,
                parent,
            )

    def _walk(self, top: DIE, inside: frozenset[str]) -> Iterator[tuple[DIE, int]]:
        """(entry, depth from 1) of the entries below one; only of those in `inside` the ones below, as far as can be
        helped. pyelftools' own walk follows a damaged sibling back for ever."""
        if not top.has_children:
            return
        at, end, depth = top.offset + top.size, self._unit.cu_offset + self._unit.size, 1
        #: Below this depth nothing is told: what leads there could not be passed over at once.
        silent = end
        while at < end and depth:
            entry = DIE(self._unit, top.stream, at)
            at += entry.size
            if entry.is_null():
                depth -= 1
                silent = end if depth <= silent else silent
                continue
            if depth <= silent:
                yield entry, depth
            if not entry.has_children:
                continue
            sibling = number(entry, "DW_AT_sibling")
            if sibling is not None and entry.tag not in inside:
                if entry.attributes["DW_AT_sibling"].form != "DW_FORM_ref_addr":
                    sibling += self._unit.cu_offset
                if sibling <= at:
                    raise ValueError(f"the entry at byte {entry.offset:,} is followed by one before it")
                at = sibling
                continue
            if depth <= silent and entry.tag not in inside:
                silent = depth
            depth += 1

    def _name(self, entry: DIE) -> str:
        """The name of an entry: its own, or that of the one which it is an instance of; "" where that is elsewhere."""
        for _ in range(_MOST_ORIGINS):
            name = text(entry, "DW_AT_name")
            origins = [
                one for one in ("DW_AT_abstract_origin", "DW_AT_specification") if one in entry.attributes
            ]
            if name or not origins:
                return name
            try:
                entry = entry.get_DIE_from_attribute(origins[0])
            except NotImplementedError:
                # It leads into a file that nobody gave.
                return ""
        return ""

    @cached_property
    def table(self) -> LineTable | None:
        """Its line table, None where it has none."""
        return line_table(self._dwarf, self._unit)

    @property
    def directories(self) -> list[str]:
        """The directories of its files as paths, by number; none where it has no line table."""
        return directories(self._unit)


def _chain(known: list[Call], row: int) -> list[Call]:
    """A call and those that it lies in, the outermost first."""
    chain: list[Call] = []
    while row >= 0:
        chain.append(known[row])
        row = known[row].within
    return chain[::-1]
