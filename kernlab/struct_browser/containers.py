"""An address in, the structs out that it may be a part of: container_of without knowing the container."""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import DEEPEST, ArrayType, StructType, Type
from kernlab.struct_browser.children import struct_place
from kernlab.struct_browser.identify import identify, type_of
from kernlab.struct_browser.members import path_at
from kernlab.struct_browser.rows import Location


@dataclass(frozen=True)
class Container:
    """A struct that an address lies in: at `path` of it ('' at its start)."""

    place: Location
    path: str
    label: str


def containers(kernel: Kernel, place: Location) -> list[Container]:
    """What a place lies in, outermost first: its slab object or global, and the structs embedded in that."""
    (answer,) = identify(kernel, [place.address])
    kind = type_of(kernel, answer)
    if kind is None:
        return []
    made = []
    for inner, start in _around(kind, answer.offset):
        if start == answer.offset and inner.c_name == place.kind.c_name:
            continue
        outer = struct_place(inner, answer.start + start)
        made.append(Container(outer, path_at(inner, answer.offset - start), f"in {answer.label}"))
    return made


def _around(kind: Type, offset: int) -> list[tuple[Type, int]]:
    """The structs with names that cover a byte of a type, outermost first, each with where it begins."""
    found: list[tuple[Type, int]] = []
    current, start = kind.strip(), 0
    for _ in range(DEEPEST):
        if isinstance(current, StructType):
            if current.name and not current.is_union:
                found.append((current, start))
            inside = [
                member
                for member in map(current.member, current.member_names())
                if start + member.offset <= offset < start + member.offset + member.type.size
            ]
            if not inside:
                break
            current, start = inside[0].type.strip(), start + inside[0].offset
        elif isinstance(current, ArrayType) and current.element.size:
            start += (offset - start) // current.element.size * current.element.size
            current = current.element.strip()
        else:
            break
    return found
