"""A struct's type in, the paths of those members out that make one column of a DataFrame each."""

from __future__ import annotations

from kernlab.core.members import is_char
from kernlab.debuginfo.types import ArrayType, StructType, Type

#: Structs in structs are unwrapped so deep where they hold one number (refcount_t, kuid_t).
_DEEPEST = 6


def scalar_members(kind: Type) -> list[str]:
    """Numbers, pointers and text, and what structs of one member wrap (`usage.refs.counter`); bitfields too."""
    struct = kind.strip()
    if not isinstance(struct, StructType):
        return []
    found = []
    for name in struct.member_names():
        path = _plain(struct.member(name).type, name)
        if path is not None:
            found.append(path)
    return found


def _plain(kind: Type, path: str) -> str | None:
    current = kind.strip()
    for _ in range(_DEEPEST):
        if isinstance(current, ArrayType):
            return path if current.count and is_char(current.element.strip()) else None
        if not isinstance(current, StructType):
            return path if current.size in (1, 2, 4, 8) else None
        if current.is_union or len(current.members) != 1 or not current.members[0].name:
            return None
        (member,) = current.members
        path, current = f"{path}.{member.name}", member.type.strip()
    return None
