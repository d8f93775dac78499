"""What something is part of, as people say it: `inventory_lock [module]`, `i_rwsem of inode 12 of /var/log`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.linux.whatis.answers import SYMBOL
from kernlab.linux.whatis.engine import what_lies_at
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
Texts = npt.NDArray[np.object_]

#: Members of members are named no deeper.
_DEEPEST = 6


def object_names(kernel: Kernel, addresses: U64) -> Texts:
    """What each address uint64[n] is, by its symbol, else by the object that it lies in; None where nothing tells.

    Of objects whose type is known also the member: `i_rwsem of inode 1234 of /var/log`, `s_umount of ext4 on vda1`.
    """
    # Of the kinds of pages the quick ones are enough, but whose an object is is asked for.
    answers = replace(what_lies_at(kernel, addresses, quick=True), quick=False)
    names = np.full(len(addresses), None, dtype=object)
    holders = answers.holder
    numbers: list[tuple[int, str, int, str | None]] = []
    for row in range(len(answers)):
        kind, name, offset = answers.kind[row], answers.name[row], int(answers.offset[row])
        if kind is None or not addresses[row]:
            continue
        whole = holders[row] if holders[row] not in (None, name) else None
        if kind == SYMBOL:
            # A variable of the name of a struct is one (rcu_state).
            member = (
                member_at(kernel, str(answers.type[row]) or f"struct {name}", offset).member if offset else ""
            )
            names[row] = _of(member, name) if member else _plus(name, offset)
        elif name is None:
            names[row] = str(kind)
        else:
            place = member_at(kernel, str(answers.type[row]), offset)
            if place.struct == "inode":
                numbers.append((row, place.member, int(answers.place[row]) - place.offset, whole))
            else:
                names[row] = _of(place.member, f"{place.struct} {whole}".strip() if whole else str(name))
    inode = StructArray(kernel, "struct inode", np.array([number[2] for number in numbers], dtype=np.uint64))
    fs = c_strings(kernel, inode.follow("i_sb").follow("s_type")["name"], 64)
    for (row, member, _, path), number, kind in zip(numbers, inode["i_ino"], fs, strict=True):
        called = "an inode" if number is None else f"inode {number}"
        names[row] = _of(member, f"{called} of {path or kind or 'a file system'}")
    return names


def _of(member: str, whole: str) -> str:
    return f"{member} of {whole}" if member else whole


def _plus(name: str, offset: int) -> str:
    head, bracket, module = name.partition(" [")
    return f"{head}{f'+{offset:#x}' if offset else ''}{bracket}{module}"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a struct: the `member` that it is part of ('' for none), of the `struct` that people know, and how
    far into that it lies."""

    member: str
    struct: str
    offset: int


def member_at(kernel: Kernel, type_name: str, offset: int) -> Place:
    """The member at an offset into a struct, of the innermost struct that people know: (`i_rwsem`, `inode`)."""
    if not type_name.startswith("struct "):
        return Place("", "", offset)
    try:
        whole = kernel.type_anywhere(type_name)
    except KernlabError:
        whole = None
    if whole is None:
        return Place("", "", offset)
    struct = whole.strip()
    place = Place("", type_name.removeprefix("struct "), offset)
    for _ in range(_DEEPEST):
        if not isinstance(struct, StructType):
            break
        found = next((one for one in struct.members if 0 <= offset - one.offset < one.type.size), None)
        if found is None:
            break
        offset -= found.offset
        struct = found.type.strip()
        if isinstance(struct, StructType) and struct.name in _KNOWN:
            place = Place("", struct.name, offset)
        elif found.name and not place.member:
            place = Place(found.name, place.struct, place.offset)
    return place


#: Structs within others that are better known than these.
_KNOWN = ("inode", "super_block", "request_queue", "gendisk", "block_device", "sock", "mm_struct")
