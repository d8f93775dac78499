"""A struct and a few letters in, its members out (embedded structs' too) whose name, type or value has them."""

from __future__ import annotations

from dataclasses import replace

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.struct_browser.children import members_of
from kernlab.struct_browser.list_heads import is_head
from kernlab.struct_browser.rows import Location, NodeRow, rows

#: Members of one struct that are looked through, and how deep; and matches that are shown.
_MOST_PLACES, _DEEPEST, MOST_MATCHES = 6000, 10, 300


def search(kernel: Kernel, place: Location, wanted: str) -> tuple[list[NodeRow], bool]:
    """The members that match, each named by its path, and whether there are more. No pointer is followed.

    Letters of either case match; a search for `0x…` finds addresses, too.
    """
    lowered = wanted.strip().lower()
    if not lowered:
        raise KernlabError("type a part of a member's name, of its type, or of its value")
    found = [
        row
        for row in rows(kernel, _all_members(place))
        if lowered in row.place.name.lower()
        or lowered in row.place.type.c_name.lower()
        or lowered in row.value.lower()
        or lowered in row.summary.lower()
    ]
    # A name says more than a type does, and a shorter path more than a longer one.
    found.sort(
        key=lambda row: (lowered not in row.place.name.rpartition(".")[2].lower(), row.place.name.count("."))
    )
    return found[:MOST_MATCHES], len(found) > MOST_MATCHES


def _all_members(place: Location) -> list[Location]:
    found: list[Location] = []
    waiting = [(place, "", 0, 0)]
    while waiting and len(found) < _MOST_PLACES:
        current, path, start, depth = waiting.pop(0)
        for member in members_of(current):
            named = replace(member, name=f"{path}{member.name}", offset=start + member.offset)
            found.append(named)
            if isinstance(member.kind, StructType) and not is_head(member.kind) and depth < _DEEPEST:
                waiting.append((member, f"{path}{member.name}.", start + member.offset, depth + 1))
    return found[:_MOST_PLACES]
