"""C member paths (`mm->total_vm`, `se.sum_exec_runtime`, `rlim[3].rlim_cur`) to offsets and pointer hops."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernlab.debuginfo.types import ArrayType, PointerType, StructType, Type
from kernlab.errors import KernlabError, MemberNotFoundError

_TOKEN = re.compile(
    r"\s*(?:(?P<arrow>->)|(?P<dot>\.)|\[\s*(?P<index>0[xX][0-9a-fA-F]+|\d+)\s*\]|(?P<name>[A-Za-z_]\w*))"
)

#: A path longer than this is not one that a person writes.
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a member from the start of a struct.

    `hops` are byte offsets: at every one but the last a pointer is read, which gives the base of the next. `type` is
    what lies at the end; `bit_offset` (from the byte at the end) and `bit_size` are those of a bitfield, else 0.
    """

    hops: tuple[int, ...]
    type: Type
    bit_offset: int = 0
    bit_size: int = 0


def resolve(start: Type, path: str) -> Access:
    """Resolve a C member path against a type.

    `.` and `->` follow a pointer alike (what is meant is never in doubt); members of nameless structs and unions are
    found as if they were the outer struct's own; `[n]` indexes arrays (a flexible array has no length, and any index)
    and pointers.
    Raises MemberNotFoundError (naming the nearest members) and KernlabError for what is not a path.
    """
    if not isinstance(path, str):
        raise MemberNotFoundError(f"{start.strip().c_name} is not an array: it has no element {path!r}")
    if len(path) > _LONGEST:
        raise KernlabError(f"a member path of {len(path):,} characters is too long; the limit is {_LONGEST}")
    hops = [0]
    current = start.strip()
    bits = (0, 0)
    position, expects_name, seen = 0, True, False
    while position < len(path.rstrip()):
        token = _TOKEN.match(path, position)
        if token is None:
            raise KernlabError(f"cannot parse the member path {path!r} at {path[position:]!r}")
        position = token.end()
        if token["name"]:
            if not expects_name:
                raise KernlabError(f"the member path {path!r} lacks a '.' or '->' before {token['name']!r}")
            if isinstance(current, PointerType):
                current = _pointee(current, path)
                hops.append(0)
            if not isinstance(current, StructType):
                raise MemberNotFoundError(
                    f"{current.c_name} has no members, so no {token['name']!r} in {path!r}"
                )
            member = current.member(token["name"])
            byte, bit = divmod(member.bit_offset, 8)
            hops[-1] += byte
            bits = (bit, member.bit_size) if member.bit_size else (0, 0)
            current = member.type.strip()
            expects_name, seen = False, True
        elif token["index"] is not None:
            if expects_name and seen:
                raise KernlabError(f"the member path {path!r} has an index where a name is expected")
            if isinstance(current, ArrayType):
                element = current.element.strip()
                _check_index(current, int(token["index"], 0), path)
            elif isinstance(current, PointerType):
                element = _pointee(current, path)
                hops.append(0)
            else:
                raise MemberNotFoundError(f"{current.c_name} is not an array, so {path!r} cannot index it")
            hops[-1] += int(token["index"], 0) * element.size
            if hops[-1] >= 1 << 63:
                raise KernlabError(f"the index [{token['index']}] in {path!r} leads out of the address space")
            current = element
            expects_name, seen = False, True
        else:
            if expects_name and seen:
                raise KernlabError(f"the member path {path!r} has two separators in a row")
            expects_name = True
    if not seen or expects_name:
        raise KernlabError(f"the member path {path!r} does not end in a member")
    return Access(tuple(hops), current, *bits)


def _check_index(array: ArrayType, index: int, path: str) -> None:
    """What lies behind an array is another member, or another object."""
    if array.count and index >= array.count:
        raise MemberNotFoundError(
            f"index {index:,} in {path!r} is past the end of {array.c_name}, whose {array.count:,} "
            f"{'elements are' if array.count > 1 else 'element is'} counted from 0. Where an array is declared shorter "
            "than it is, dump.structs(…).elements(path, count) reads on"
        )


def _pointee(pointer: PointerType, path: str) -> Type:
    target = pointer.target.strip()
    if isinstance(target, StructType | ArrayType | PointerType) or target.size:
        return target
    raise MemberNotFoundError(f"{pointer.c_name} in {path!r} points to nothing that has members")
