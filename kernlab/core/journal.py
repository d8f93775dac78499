"""What was read of which structs while a table of a running machine was made: members and links, to be looked at again.

**A row is torn** if it mixes moments: if, at a second look, the struct that it stands for is not surely the one that
was read. That is so where a member that says what the struct is, or where it leads, has changed: a pointer, text, or a
number of a type that names things (`pid_t`, `dev_t` …). Numbers that count (times, sizes, references) and states
change always; they tear nothing. And where the link of a list that led to the struct leads elsewhere now, and neither
does the entry that came between: the struct was taken off its list, and its memory may be another's.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.core.members import is_char
from kernlab.debuginfo.member_path import Access, resolve
from kernlab.debuginfo.types import DEEPEST, AliasType, ArrayType, IntType, PointerType, StructType, Type
from kernlab.memory.second_look import SecondLook

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
#: Offset and size of a member.
Place = tuple[int, int]

#: Numbers of these types name something (include/linux/types.h).
_NAMES = frozenset({"pid_t", "__kernel_pid_t", "uid_t", "gid_t", "dev_t", "ino_t", "key_serial_t", "key_t"})
#: What hangs structs on lists and trees, and what these hang on (include/linux/types.h, rbtree_types.h, list_nulls.h).
_LINKS = frozenset(
    {
        "list_head",
        "hlist_head",
        "hlist_node",
        "hlist_bl_head",
        "hlist_bl_node",
        "hlist_nulls_head",
        "hlist_nulls_node",
    }
    | {
        "llist_head",
        "llist_node",
        "rb_root",
        "rb_root_cached",
        "rb_node",
        "plist_head",
        "plist_node",
        "callback_head",
    }
    | {"xarray", "maple_tree", "rhash_head", "timerqueue_node", "timerqueue_linked_node", "radix_tree_root"}
)
_PLAIN = re.compile(r"[A-Za-z_]\w*")


@dataclass
class Journal:
    """Notes of what was read; threads that work for one table share it."""

    _places: dict[str, set[Place]] = field(default_factory=dict)
    _links: list[tuple[U64, U64, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def member(self, of: Type, path: str, access: Access) -> None:
        """A member of structs was read; noted if it says what they are, or where they lead."""
        place = _place(of, path, access)
        if place is not None:
            with self._lock:
                self._places.setdefault(of.c_name, set()).add(place)

    def links(self, where: U64, led_to: U64, link: int) -> None:
        """Links of lists were followed: from addresses uint64[n] to nodes uint64[n], whose own lies at byte `link`."""
        with self._lock:
            self._links.append((where, led_to, link))

    def torn(self, look: SecondLook, type_name: str, size: int, addresses: U64) -> tuple[Mask, Mask]:
        """Which structs of a type at addresses uint64[n] were torn: bool[n], and of which that is known: bool[n]."""
        torn = np.zeros(len(addresses), dtype=bool)
        known = np.ones(len(addresses), dtype=bool)
        places = self._places.get(type_name, set())
        for offset, width in sorted(places):
            before, after, there = look.bytes(addresses + np.uint64(offset), width)
            torn |= there & (before != after).any(axis=1)
            known &= there
        torn |= _holding(self._taken_off(look), addresses, size)
        return torn, (known & bool(places)) | torn

    def _taken_off(self, look: SecondLook) -> U64:
        """Nodes that no link leads to now of those that were followed, nor the entry that came before them; sorted."""
        if not self._links:
            return np.zeros(0, dtype=np.uint64)
        # All at once: of one long list each link was followed by itself.
        where, led_to = (np.concatenate([part[which] for part in self._links]) for which in (0, 1))
        link = np.repeat([part[2] for part in self._links], [len(part[0]) for part in self._links])
        _, now, known = look.bytes(where, 8)
        leads = now.view("<u8")[:, 0]
        other = np.flatnonzero(known & (leads != led_to))
        # What was put in between leads on to it.
        onward, read = look.words(leads[other] + link[other].astype(np.uint64))
        gone = led_to[other[~(read & (onward == led_to[other]))]]
        answer: U64 = np.setdiff1d(gone, leads[known])
        return answer


def _place(of: Type, path: str, access: Access) -> Place | None:
    """Where a struct has a member that says what it is, or where it leads; None for all others."""
    first = int(access.hops[0])
    if _is_link(of, path.partition("->")[0]):
        return None
    if len(access.hops) > 1 or isinstance(access.type, PointerType):
        return first, 8
    if access.bit_size:
        return None
    if isinstance(access.type, ArrayType):
        return (
            (first, access.type.size) if is_char(access.type.element.strip()) and access.type.count else None
        )
    if isinstance(access.type, IntType) and isinstance(of, StructType) and _PLAIN.fullmatch(path):
        kind = of.member(path).type
        for _ in range(DEEPEST):
            if not isinstance(kind, AliasType):
                break
            if kind.name in _NAMES:
                return first, access.type.size
            kind = kind.target
    return None


def _is_link(of: Type, path: str) -> bool:
    """Is this the link to a neighbour on a list or in a tree, which others change as they come and go?"""
    holder = path.rpartition(".")[0]
    return bool(holder) and resolve(of, holder).type.name in _LINKS


def _holding(nodes: U64, addresses: U64, size: int) -> Mask:
    """Which of the structs of `size` bytes at addresses uint64[n] hold one of `nodes`, sorted."""
    if not len(nodes):
        return np.zeros(len(addresses), dtype=bool)
    at = np.searchsorted(nodes, addresses)
    near = nodes[np.minimum(at, len(nodes) - 1)]
    inside: Mask = (at < len(nodes)) & (near - addresses < np.uint64(size))
    return inside
