"""A place in, the places inside it or behind it out, one page at a time: members, elements, what a pointer leads to,
what a list or tree holds.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kernlab.core.kernel import Kernel
from kernlab.core.struct import Struct
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import ArrayType, ForwardType, PointerType, StructType, Type, VoidType
from kernlab.errors import AddressError, KernlabError
from kernlab.struct_browser import element_types, list_heads, values
from kernlab.struct_browser.address_bar import at_address, find
from kernlab.struct_browser.members import links_of
from kernlab.struct_browser.page_reader import PageReader
from kernlab.struct_browser.rows import VALUE, Location, points_to_text

#: An array without a length (a flexible one) shows so many elements: what lies behind is not known.
_FLEXIBLE = 64
#: Entries of a list that are looked at when its type is not known.
_LOOKED_AT = 12
_INDEX = re.compile(r"\[(\d+)\]$")
_TAKEN = frozenset(name for name in dir(Struct) if not name.startswith("__"))


@dataclass
class Children:
    """What opening a place shows. `take(first, count)` gives places, fewer than `count` where there are no more.

    `total` is how many there are in all, None where that is not known before the end. `note` says how they were
    found. `question` is set where only a person can say what a head holds: the links that its entries may be.
    """

    take: Callable[[int, int], list[Location]]
    total: int | None = None
    note: str = ""
    #: What went wrong after the last place, '' as long as nothing did.
    problem: Callable[[], str] = lambda: ""
    #: For a head whose content nobody knows: the type of its links.
    question: str = ""
    #: What a head holds.
    element: element_types.ElementType | None = None


def children(kernel: Kernel, place: Location) -> Children:
    """What lies inside a place or behind it. Raises KernlabError where that cannot be read."""
    kind = place.kind
    if place.many is not None:
        return _many(place.many)
    if list_heads.is_head(kind) and not place.raw:
        return _head(kernel, place)
    if isinstance(kind, PointerType):
        return _pointer(kernel, place, kind)
    if isinstance(kind, ArrayType):
        return _array(place, kind)
    if isinstance(kind, StructType):
        return _fixed(members_of(place))
    return _fixed([])


def _fixed(places: list[Location], note: str = "") -> Children:
    return Children(lambda first, count: places[first : first + count], len(places), note)


def members_of(place: Location) -> list[Location]:
    """The members of a struct that lies at a place, those of nameless structs and unions among them."""
    kind = place.kind
    if not isinstance(kind, StructType):
        return []
    found = []
    for name in kind.member_names():
        member = kind.member(name)
        found.append(
            Location(
                name,
                member.type,
                (place.address + member.offset) % (1 << 64),
                (kind.c_name, name),
                member.bit_offset % 8,
                member.bit_size,
                member.offset,
                code=_attribute(place.code, name),
                expression=f"{_in_parentheses(place.expression)}.{name}" if place.expression else "",
            )
        )
    return found


def _attribute(code: str, name: str) -> str:
    if not code:
        return ""
    if keyword.iskeyword(name) or name in _TAKEN or (name.startswith("__") and name.endswith("__")):
        return f"{code}[{name!r}]"
    return f"{code}.{name}"


def _in_parentheses(expression: str) -> str:
    return f"({expression})" if "@" in expression or expression.startswith(("*", "&", "(")) else expression


def any_place(kernel: Kernel, what: Any) -> Location:
    """The place of anything that can be looked at: an expression, an address, a Struct, a StructArray, a Location.

    Raises KernlabError for what is none of these, or cannot be found.
    """
    if isinstance(what, Location):
        return what
    if isinstance(what, str):
        return replace(find(kernel, what), expression=what.strip())
    if isinstance(what, Struct):
        return struct_place(what.type_, what.address_)
    if isinstance(what, StructArray):
        return Location(f"{len(what):,} × {what.type.c_name}", what.type, 0, many=what)
    try:
        address = kernel.address(what)
    except AddressError as error:
        raise KernlabError(
            f"a {type(what).__name__} cannot be browsed: {error}, or an expression such as 'init_task.mm' or "
            "'struct task_struct @ 0x…'"
        ) from error
    return replace(at_address(kernel, address, f"{address:#018x}"), expression=f"{address:#x}")


def struct_place(kind: Type, address: int, name: str = "", note: str = "") -> Location:
    """A struct at an address, on no way to anywhere."""
    spelt = kind.c_name
    struct = isinstance(kind.strip(), StructType) and "{" not in spelt
    return Location(
        name or f"{spelt} @ {address:#018x}",
        kind,
        address,
        code=f"dump.struct({spelt!r}, {address:#x})"
        if struct
        else f"dump.read({address:#x}, {max(kind.size, 1)})",
        expression=f"{spelt} @ {address:#x}"
        if struct
        else f"{address:#x}"
        if "{" in spelt
        else f"*({spelt} *){address:#x}",
        note=note,
    )


def _pointer(kernel: Kernel, place: Location, kind: PointerType) -> Children:
    address = PageReader(kernel).word(place.address)
    if not address:
        return _fixed([], "NULL")
    target = kind.target
    stripped = target.strip()
    if isinstance(stripped, VoidType | ForwardType) or not stripped.size:
        found = at_address(kernel, address)
        note = f"{kind.c_name}: {found.note}" if found.note else ""
        if isinstance(found.kind, StructType):
            known = struct_place(found.type, found.address)
            return _fixed(members_of(known), f"shown as {found.type.c_name} ({found.note})")
        return replace(children(kernel, replace(found, name="")), note=note)
    if isinstance(stripped, StructType) and not list_heads.is_head(stripped):
        aimed = struct_place(target, address)
        # The way that was gone is the better name: dump.struct(…).mm.total_vm.
        if place.code and not place.code.startswith("dump.read"):
            aimed = replace(aimed, code=place.code)
        if place.expression:
            aimed = replace(aimed, expression=place.expression)
        return _fixed(members_of(aimed))
    pointee = replace(
        struct_place(target, address, f"*{place.name}"),
        owner=("", ""),
        expression=f"*{_in_parentheses(place.expression)}"
        if place.expression
        else f"*({kind.c_name}){address:#x}",
    )
    return _fixed([pointee])


def _array(place: Location, kind: ArrayType) -> Children:
    element, size = kind.element, kind.element.size
    count = kind.count or _FLEXIBLE
    note = "" if kind.count else f"an array without a length: the first {_FLEXIBLE} places are shown"
    if not size:
        return _fixed([], "elements of no size")
    struct = isinstance(element.strip(), StructType)

    def take(first: int, wanted: int) -> list[Location]:
        return [
            Location(
                f"[{i}]",
                element,
                (place.address + i * size) % (1 << 64),
                place.owner,
                offset=i * size,
                code=f"dump.struct({element.c_name!r}, {place.address + i * size:#x})"
                if struct and "{" not in element.c_name
                else f"{place.code}[{i}]"
                if place.code
                else "",
                expression=f"{_in_parentheses(place.expression)}[{i}]" if place.expression else "",
            )
            for i in range(first, min(first + wanted, count))
        ]

    return Children(take, count, note)


def _head(kernel: Kernel, place: Location) -> Children:
    kind = place.kind
    entries = list_heads.entries(kernel, kind, place.address)
    looked = [address for _, address in entries.upto(_LOOKED_AT)]
    index = _INDEX.search(place.name)
    element = element_types.element_type_of(kernel, kind, place.owner, int(index[1]) if index else 0, looked)
    if not looked:
        if entries.problem:
            return Children(lambda first, count: [], None, problem=lambda: entries.problem, element=element)
        return _fixed([], "empty")
    if element is None:
        wanted = list_heads.HEADS[kind.c_name]
        return Children(
            lambda first, count: [], None, question=wanted or "pointers", problem=lambda: entries.problem
        )
    return of_head(kernel, place, entries, element)


def of_head(
    kernel: Kernel, place: Location, entries: list_heads.Entries, element: element_types.ElementType
) -> Children:
    """The entries of a head, as what it holds."""

    # A list that is walked from one of its own entries meets its head on the way round.
    checked = element.how == "seen" or place.owner == (element.type.c_name, element.link)

    def take(first: int, count: int) -> list[Location]:
        found = entries.upto(first + count)[first:]
        return _entry_places(kernel, place, element, found, checked)

    said = f"{element.type.c_name}, linked by {element.link}" if element.link else element.type.c_name
    how = {"seen": " (seen from the slab caches of the entries)", "told": " (as you said)"}.get(
        element.how, ""
    )
    return Children(take, None, said + how, lambda: entries.problem, element=element)


def _entry_places(
    kernel: Kernel,
    head: Location,
    element: element_types.ElementType,
    found: list[tuple[str, int]],
    checked: bool,
) -> list[Location]:
    places = []
    links = [address for _, address in found]
    strangers = element_types.fits(kernel, head.type, element, links) if checked else [None] * len(links)
    for (key, address), stranger in zip(found, strangers, strict=True):
        if not element.link and address & 3:
            # lib/xarray.c: a value entry, no pointer.
            places.append(Location(key, VALUE, address))
        elif stranger is not None:
            what = f"no {element.type.c_name}, but in {stranger.label}: the head of this list, or damage"
            kind = kernel.find_type(list_heads.HEADS[head.kind.c_name]) if element.link else element.type
            places.append(replace(struct_place(kind, address, key, what), raw=True))
        else:
            places.append(struct_place(element.type, (address - element.offset) % (1 << 64), key))
    return places


def candidates(kernel: Kernel, head: Type) -> list[tuple[str, str]]:
    """(struct, link) that a head could hold: all structs of this kernel that have the link, by name."""
    wanted = list_heads.HEADS[head.strip().c_name]
    found = []
    if not wanted:
        return []
    for name in kernel.types.names("struct"):
        kind = kernel.types.get(f"struct {name}")
        if kind is not None and isinstance(kind.strip(), StructType):
            found += [(f"struct {name}", link) for link in links_of(kind, wanted)]
    return found


def pointee(kernel: Kernel, place: Location) -> Location:
    """What a place leads to when one goes there: what a pointer points to, else the place itself.

    Raises KernlabError for a pointer that leads nowhere.
    """
    kind = place.kind
    if not isinstance(kind, PointerType) or values.is_function(kind) or points_to_text(place):
        return place
    address = PageReader(kernel).word(place.address)
    if not address:
        raise KernlabError(f"{place.name} is NULL")
    target = kind.target
    if not target.strip().size:
        found = at_address(kernel, address)
        if isinstance(found.kind, StructType):
            return struct_place(found.type, found.address, note=found.note)
        return replace(found, name=f"{address:#018x}", expression=f"{address:#x}")
    return struct_place(target, address)


def _many(array: StructArray) -> Children:
    def take(first: int, count: int) -> list[Location]:
        return [
            struct_place(array.type, address, f"[{first + i}]")
            for i, address in enumerate(array.addresses[first : first + count].tolist())
        ]

    return Children(take, len(array), f"{len(array):,} × {array.type.c_name}")
