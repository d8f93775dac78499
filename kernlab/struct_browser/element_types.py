"""The head of a list or tree in, the type of what hangs on it out: known, told once and remembered, or seen from slabs.

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
from kernlab.struct_browser.conventions import HOLDS
from kernlab.struct_browser.identify import Found, identify
from kernlab.struct_browser.list_heads import HEADS
from kernlab.struct_browser.members import link_at, links_of

#: Entries that are looked at to find out what a head holds.
_LOOKED_AT = 12

_told: dict[tuple[str, str], tuple[str, str]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Held:
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
        _told[struct, member] = (type_name, link)


def told() -> dict[tuple[str, str], tuple[str, str]]:
    """All that was remembered."""
    with _lock:
        return dict(_told)


def held_by(
    kernel: Kernel, head: Type, owner: tuple[str, str], index: int, links: Sequence[int]
) -> Held | None:
    """What a head of type `head` holds, None where nobody knows.

    `owner` is the (struct, member) that the head is, `index` its place in an array of heads; `links` are the
    addresses of some entries' links (of the entries themselves where the tree holds pointers).
    """
    for how, table in (("told", told()), ("known", HOLDS)):
        if owner in table and (held := _named(kernel, head, *table[owner], index, how)) is not None:
            return held
    return _seen(kernel, HEADS[head.strip().c_name], links)


def check(kernel: Kernel, head: Type, type_name: str, link: str) -> Held:
    """What a person says that a head holds. Raises KernlabError (naming the links that fit) where that cannot be."""
    kind = kernel.find_type(type_name).strip()
    wanted = HEADS[head.strip().c_name]
    if not isinstance(kind, StructType) or not kind.size:
        raise KernlabError(f"{type_name} is no struct of this kernel that a list could hold")
    if not wanted:
        return Held(kind, "", 0, "told")
    if not link:
        fitting = links_of(kind, wanted)
        if len(fitting) == 1:
            link = fitting[0]
        else:
            listed = ", ".join(fitting) or "none"
            raise KernlabError(
                f"through which member are they linked? {kind.c_name} has of {wanted}: {listed}"
            )
    access = resolve(kind, link)
    if len(access.hops) > 1 or access.type.c_name != wanted:
        fitting = links_of(kind, wanted)
        raise KernlabError(
            f"{link!r} of {kind.c_name} is {access.type.c_name}, and this head needs {wanted}: "
            f"{', '.join(fitting) or 'it has none'}"
        )
    return Held(kind, link, access.hops[0], "told")


def _named(kernel: Kernel, head: Type, type_name: str, link: str, index: int, how: str) -> Held | None:
    try:
        held = check(kernel, head, type_name, link.replace("{i}", str(index)))
    except KernlabError:
        # Another kernel's layout: the next source may know.
        return None
    return Held(held.type, held.link, held.offset, how)


def _seen(kernel: Kernel, link: str, links: Sequence[int]) -> Held | None:
    """By the slab objects (or typed globals) in which the links lie: what most of them are."""
    looked = [address for address in links[:_LOOKED_AT] if address >= kernel.arch.kernel_start]
    votes: Counter[tuple[str, str]] = Counter()
    for address, found in zip(looked, identify(kernel, looked), strict=True):
        kind = found.type if found is not None else None
        if found is None or kind is None:
            continue
        if not link:
            if found.start == address:
                votes[kind.c_name, ""] += 1
            continue
        place = link_at(kind, address - found.start, link)
        if place is not None:
            votes[place] += 1
    if not votes:
        return None
    (type_name, path), count = votes.most_common(1)[0]
    if 2 * count <= len(looked):
        return None
    try:
        kind = kernel.find_type(type_name).strip()
        return Held(kind, path, resolve(kind, path).hops[0] if path else 0, "seen")
    except KernlabError:
        return None


def fits(kernel: Kernel, head: Type, held: Held, links: Sequence[int]) -> list[Found | None]:
    """For each link: None where it may well be one of what is held, else what it lies in instead.

    A walk that begins at an entry (`sibling`) meets the true head of its ring, which lies in another place.
    """
    wanted = HEADS[head.strip().c_name]
    stranger: list[Found | None] = []
    for address, found in zip(links, identify(kernel, links), strict=True):
        kind = found.type if found is not None else None
        if found is None or (kind is None and found.kind == "symbol"):
            stranger.append(None)
        elif kind is None:
            # Others lie in caches of their own type; this one does not.
            stranger.append(found)
        elif wanted:
            place = link_at(kind, address - found.start, wanted)
            stranger.append(None if place == (held.type.c_name, held.link) else found)
        else:
            stranger.append(None if found.start == address else found)
    return stranger
