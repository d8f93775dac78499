"""What somebody has typed so far in, what it may become out: member paths, types, symbols, expressions."""

from __future__ import annotations

import re

from kernlab.core.kernel import Kernel
from kernlab.debuginfo import global_variables
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import ArrayType, PointerType, StructType, Type
from kernlab.errors import KernlabError
from kernlab.struct_browser.address_bar import find

#: Suggestions at once.
MOST = 60
_LAST_STEP = re.compile(r"^(?P<head>.*?)(?P<sep>->|\.)?\s*(?P<name>[A-Za-z_]\w*)?$", re.DOTALL)
_TYPED = re.compile(r"^(?P<before>.*?)(?P<word>struct|union)\s+(?P<name>\w*)$", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][\w.]*$")


def complete_path(start: Type, typed: str) -> list[tuple[str, str]]:
    """What a member path such as "mm->tot" may become: (whole path, type of the member it ends in).

    Empty where no member fits; never raises.
    """
    match = _LAST_STEP.match(typed)
    if match is None:
        return []
    head, sep, name = match["head"], match["sep"] or "", match["name"] or ""
    try:
        inner = _with_members(resolve(start, head).type if head.strip() else start)
    except KernlabError:
        return []
    if inner is None or (head.strip() and not sep):
        return []
    kept = typed[: len(typed) - len(name)]
    return [
        (f"{kept}{member}", inner.member(member).type.c_name)
        for member in inner.member_names()
        if member.startswith(name)
    ]


def _with_members(kind: Type) -> StructType | None:
    current = kind.strip()
    if isinstance(current, PointerType):
        current = current.target.strip()
    elif isinstance(current, ArrayType):
        current = current.element.strip()
    return current if isinstance(current, StructType) else None


def complete_type(kernel: Kernel, typed: str) -> list[tuple[str, str]]:
    """What a type's name may become, with or without "struct" before it: (name, what it is)."""
    word, _, name = typed.rpartition(" ")
    kinds = (word.strip(),) if word.strip() in ("struct", "union", "enum") else ("struct", "union", "typedef")
    if not word.strip() and not name:
        return []
    found = {
        f"{word} {known}" if word else known: kind
        for kind in kinds
        for known in kernel.types.names(kind)
        if known.startswith(name)
    }
    return sorted(found.items(), key=lambda pair: (len(pair[0]), pair[0]))


def complete_symbol(kernel: Kernel, typed: str, most: int = MOST) -> list[tuple[str, str]]:
    """What a symbol's name may become: (name, its type where that is known); typed globals come first."""
    if not typed:
        return [(name, kind) for name, kind in global_variables.TYPES.items() if name in kernel.symbols][
            :most
        ]
    known = [
        (name, kind)
        for name, kind in global_variables.TYPES.items()
        if name.startswith(typed) and name in kernel.symbols
    ]
    per_cpu = [
        (name, f"{kind}, per CPU")
        for name, kind in global_variables.PERCPU_TYPES.items()
        if name.startswith(typed) and name in kernel.symbols
    ]
    others = [(name, "symbol") for name in kernel.symbols.prefix(typed)[: 4 * most]]
    others.sort(key=lambda pair: (len(pair[0]), pair[0]))
    merged: dict[str, str] = {}
    for name, kind in [*known, *per_cpu, *others]:
        merged.setdefault(name, kind)
    return list(merged.items())[:most]


def complete_expression(kernel: Kernel, typed: str) -> list[list[str]]:
    """What the address bar may hold: [whole text, what it is] for what was typed so far. Never raises."""
    try:
        return [list(pair) for pair in _expression(kernel, typed[:1000])[:MOST]]
    except KernlabError:
        return []


def _expression(kernel: Kernel, typed: str) -> list[tuple[str, str]]:
    match = _TYPED.match(typed)
    if match is not None:
        before = match["before"]
        inside = before.endswith("(")
        return [
            (f"{before}{name}{' *)' if inside else ' @ '}", kind)
            for name, kind in complete_type(kernel, f"{match['word']} {match['name']}")
        ]
    match = _LAST_STEP.match(typed)
    if match is not None and match["sep"] and match["head"].strip():
        inner = _with_members(
            find(
                kernel, match["head"].lstrip("*&( ") if match["head"].count("(") == 0 else match["head"]
            ).type
        )
        if inner is None:
            return []
        name = match["name"] or ""
        kept = typed[: len(typed) - len(name)]
        return [
            (f"{kept}{member}", inner.member(member).type.c_name)
            for member in inner.member_names()
            if member.startswith(name)
        ]
    word = _WORD.search(typed)
    name = word[0] if word else ""
    kept = typed[: len(typed) - len(name)]
    if not name and kept.strip():
        return []
    found = [(f"{kept}{symbol}", kind) for symbol, kind in complete_symbol(kernel, name)]
    if name and not kept:
        found += [
            (f"struct {known} @ ", kind) for known, kind in complete_type(kernel, f"struct {name}")[:20]
        ]
    return found
