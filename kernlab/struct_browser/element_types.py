"""The head of a list or tree in, the type of what hangs on it out: known, given once and kept, or seen from slabs.

C says of a `list_head` neither what it holds nor through which member; this module does.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import StructType, Type
from kernlab.errors import KernlabError
from kernlab.linux.whatis.answers import SLAB_OBJECT, Answer
from kernlab.struct_browser.conventions import ELEMENT_TYPES
from kernlab.struct_browser.identify import identify, type_of
from kernlab.struct_browser.list_heads import HEADS
from kernlab.struct_browser.members import link_at, links_of

#: Entries that are links_seen at to find out what a head holds.
_LOOKED_AT = 12

_remembered: dict[tuple[str, str], tuple[str, str]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class ElementType:
    """What a head holds: structs of `type`, linked by the member at `offset` (0 where it holds pointers to them).

    `how` says how that is known: "known", "told", "seen" (most entries lie in slab objects of that type).
    """

    type: Type
    link: str
    offset: int
    how: str


def remember(struct: str, member: str, type_name: str, link: str = "") -> None:
    """Tell what the head `member` of `struct` ('' for a global) holds: structs `type_name`, linked by `link`.

    Kept until this process ends, for all dumps; it goes before what kernlab knows and sees.
    """
    with _lock:
        _remembered[struct, member] = (type_name, link)


def remembered() -> dict[tuple[str, str], tuple[str, str]]:
    """All that was remembered."""
    with _lock:
        return dict(_remembered)


def element_type_of(
    kernel: Kernel, head: Type, owner: tuple[str, str], index: int, links: Sequence[int]
) -> ElementType | None:
    """What a head of type `head` holds, None where nobody knows.

    `owner` is the (struct, member) that the head is, `index` its place in an array of heads; `links` are the
    addresses of some entries' links (of the entries themselves where the tree holds pointers).
    """
    for how, table in (("told", remembered()), ("known", ELEMENT_TYPES)):
        if owner in table and (element := _named(kernel, head, *table[owner], index, how)) is not None:
            return element
    return _seen(kernel, HEADS[head.strip().c_name], links)


def check(kernel: Kernel, head: Type, type_name: str, link: str) -> ElementType:
    """What a person says that a head holds. Raises KernlabError (naming the links that fit) where that cannot be."""
    kind = kernel.find_type(type_name).strip()
    link_type = HEADS[head.strip().c_name]
    if not isinstance(kind, StructType) or not kind.size:
        raise KernlabError(f"{type_name} is not a struct of this kernel that a list could hold")
    if not link_type:
        return ElementType(kind, "", 0, "told")
    if not link:
        fitting = links_of(kind, link_type)
        if len(fitting) == 1:
            link = fitting[0]
        else:
            listed = ", ".join(fitting) or "none"
            raise KernlabError(
                f"through which member are they linked? {kind.c_name} has of {link_type}: {listed}"
            )
    access = resolve(kind, link)
    if len(access.hops) > 1 or access.type.c_name != link_type:
        fitting = links_of(kind, link_type)
        raise KernlabError(
            f"{link!r} of {kind.c_name} is {access.type.c_name}, and this head needs {link_type}: "
            f"{', '.join(fitting) or 'it has none'}"
        )
    return ElementType(kind, link, access.hops[0], "told")


def _named(kernel: Kernel, head: Type, type_name: str, link: str, index: int, how: str) -> ElementType | None:
    try:
        element = check(kernel, head, type_name, link.replace("{i}", str(index)))
    except KernlabError:
        # Another kernel's layout: the next source may know.
        return None
    return ElementType(element.type, element.link, element.offset, how)


def _seen(kernel: Kernel, link: str, links: Sequence[int]) -> ElementType | None:
    """By the slab objects (or typed globals) in which the links lie: what most of them are."""
    links_seen = [address for address in links[:_LOOKED_AT] if address >= kernel.arch.kernel_start]
    votes: Counter[tuple[str, str]] = Counter()
    for answer in identify(kernel, links_seen):
        kind = type_of(kernel, answer)
        if kind is None:
            continue
        if not link:
            if not answer.offset:
                votes[kind.c_name, ""] += 1
            continue
        place = link_at(kind, answer.offset, link)
        if place is not None:
            votes[place] += 1
    if not votes:
        return None
    (type_name, path), count = votes.most_common(1)[0]
    if 2 * count <= len(links_seen):
        return None
    try:
        kind = kernel.find_type(type_name).strip()
        return ElementType(kind, path, resolve(kind, path).hops[0] if path else 0, "seen")
    except KernlabError:
        return None


def fits(kernel: Kernel, head: Type, element: ElementType, links: Sequence[int]) -> list[Answer | None]:
    """For each link: None where it may well be one of them, else what it lies in instead.

    A walk that begins at an entry (`sibling`) meets the true head of its ring, which lies in another place.
    """
    link_type = HEADS[head.strip().c_name]
    stranger: list[Answer | None] = []
    for answer in identify(kernel, links):
        kind = type_of(kernel, answer)
        if kind is None:
            # Others lie in caches of their own type; this one does not.
            stranger.append(answer if answer.kind == SLAB_OBJECT and not answer.unread else None)
        elif link_type:
            place = link_at(kind, answer.offset, link_type)
            stranger.append(None if place == (element.type.c_name, element.link) else answer)
        else:
            stranger.append(answer if answer.offset else None)
    return stranger
