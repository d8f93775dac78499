"""Offsets in a struct in, the members that lie there out; and which link of which struct an address inside it is."""

from __future__ import annotations

from kernlab.debuginfo.types import DEEPEST, ArrayType, StructType, Type


def path_at(kind: Type, offset: int) -> str:
    """The member (as deep as it goes) that covers a byte of a type, as a C path; '' for none: padding, or a scalar."""
    path, current, rest = "", kind.strip(), offset
    for _ in range(DEEPEST):
        if isinstance(current, StructType):
            covering = [
                (name, member)
                for name in current.member_names()
                if (member := current.member(name)).offset <= rest < member.offset + max(member.type.size, 1)
            ]
            if not covering:
                return path
            # Of a union's members the first one is shown.
            name, member = covering[0]
            path, current, rest = (
                f"{path}.{name}" if path else name,
                member.type.strip(),
                rest - member.offset,
            )
        elif isinstance(current, ArrayType) and current.element.size:
            index, rest = divmod(rest, current.element.size)
            path, current = f"{path}[{index}]", current.element.strip()
        else:
            return path
    return path


def link_at(kind: Type, offset: int, link: str) -> tuple[str, str] | None:
    """Which member of type `link` lies exactly at `offset`: (the struct around it that has a name, path in it).

    The path goes through nameless structs, unions with a name (`d_u.d_alias`) and arrays (`pid_links[1]`).
    """
    owner, path, current, rest = kind.strip(), "", kind.strip(), offset
    for _ in range(DEEPEST):
        if current.c_name == link and rest == 0 and path:
            return owner.c_name, path
        if isinstance(current, StructType):
            for name in current.member_names():
                member = current.member(name)
                inner = member.type.strip()
                if member.offset <= rest < member.offset + inner.size and _may_hold(
                    inner, rest - member.offset, link
                ):
                    break
            else:
                return None
            rest -= member.offset
            if isinstance(inner, StructType) and inner.name and inner.c_name != link and not inner.is_union:
                owner, path = inner, ""
            else:
                path = f"{path}.{name}" if path else name
            current = inner
        elif isinstance(current, ArrayType) and current.element.size:
            index, rest = divmod(rest, current.element.size)
            current = current.element.strip()
            if isinstance(current, StructType) and current.name and current.c_name != link:
                owner, path = current, ""
            else:
                path = f"{path}[{index}]"
        else:
            return None
    return None


def _may_hold(kind: Type, offset: int, link: str, depth: int = 0) -> bool:
    """Does a type have a `link` exactly at `offset`, however deep?"""
    if kind.c_name == link and offset == 0:
        return True
    if depth >= DEEPEST:
        return False
    if isinstance(kind, ArrayType) and kind.element.size:
        return _may_hold(kind.element.strip(), offset % kind.element.size, link, depth + 1)
    if isinstance(kind, StructType):
        return any(
            _may_hold(member.type.strip(), offset - member.offset, link, depth + 1)
            for member in map(kind.member, kind.member_names())
            if member.offset <= offset < member.offset + member.type.size
        )
    return False


def links_of(kind: Type, link: str) -> list[str]:
    """The paths of all links of a type that lie in a struct itself, arrays among them (`pid_links[0]`)."""
    found = []
    current = kind.strip()
    if not isinstance(current, StructType):
        return []
    for name in current.member_names():
        inner = current.member(name).type.strip()
        if inner.c_name == link:
            found.append(name)
        elif isinstance(inner, ArrayType) and inner.element.strip().c_name == link:
            found += [f"{name}[{i}]" for i in range(min(inner.count, 8))]
        elif isinstance(inner, StructType) and inner.is_union:
            found += [f"{name}.{path}" for path in links_of(inner, link)]
    return found
