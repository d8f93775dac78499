"""What a struct browser shows in, a DataFrame out: the entries of a list, a tree or an array, or a struct's members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kernlab import frames
from kernlab.browse import heads, holds
from kernlab.browse.children import any_place, children, members_of, of_head, pointee
from kernlab.browse.known import NAMED_BY
from kernlab.browse.rows import VALUE, Place, rows
from kernlab.debuginfo.types import ArrayType, PointerType, StructType
from kernlab.errors import KernlabError
from kernlab.frames.members import plain_paths
from kernlab.kernel import Kernel
from kernlab.structs import StructArray, array, is_char
from kernlab.walk.strings import c_strings

#: Entries of one list that are read unless more are asked for.
MOST_ENTRIES = 100_000


class Entries:
    """`dump.entries(…)`: a list, tree or array of the kernel as a DataFrame, one row an entry."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(
        self,
        what: Any,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        *,
        type: str = "",  # noqa: A002 - the word that the rest of the interface uses
        link: str = "",
        limit: int = MOST_ENTRIES,
    ) -> Any:
        """The entries of the head, array or struct that an expression names: `dump.entries("init_task.children")`.

        Parameters: columns, members of the entries as C paths (a list, or a mapping of names to paths; otherwise
        what names them, and all that are plain values); type and link, what a list holds and through which member,
        where kernlab does not know; limit, how many entries are read.
        Returns a DataFrame: key (the index in the list or tree), address, and the columns; of a struct its members.
        Raises KernlabError for what cannot be found, or for a list of which nobody knows what it holds.
        """
        kernel = self._dump.kernel
        place = any_place(kernel, what)
        return entries_frame(kernel, place, columns, type_name=type, link=link, limit=limit)


def entries_frame(
    kernel: Kernel,
    place: Place,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    *,
    type_name: str = "",
    link: str = "",
    limit: int = MOST_ENTRIES,
) -> Any:
    """See Entries.__call__."""
    if place.many is not None:
        return _frame(kernel, place.many, [f"[{i}]" for i in range(len(place.many))], columns, [])
    if heads.is_head(place.kind) and not place.raw:
        return _of_head(kernel, place, columns, type_name, link, limit)
    target = pointee(kernel, place)
    if target is not place and heads.is_head(target.kind):
        return _of_head(kernel, target, columns, type_name, link, limit)
    kind = target.kind
    if isinstance(kind, ArrayType) and isinstance(kind.element.strip(), StructType):
        found = children(kernel, target).take(0, limit)
        problems = [] if len(found) < limit else [f"only the first {limit:,} elements were read"]
        at = array(kernel, kind.element, [item.address for item in found])
        return _frame(kernel, at, [item.name for item in found], columns, problems)
    return _members(kernel, target, limit)


def _of_head(kernel: Kernel, place: Place, columns: Any, type_name: str, link: str, limit: int) -> Any:
    walk = heads.entries(kernel, place.kind, place.address)
    if type_name:
        opened = of_head(
            kernel, place, walk, holds.check(kernel, place.kind, _spelt(kernel, type_name), link)
        )
    else:
        opened = children(kernel, place)
    if opened.question:
        raise KernlabError(
            f"what {place.name} holds is not known: say type= (and link=, its member of {opened.question})"
        )
    found = opened.take(0, limit + 1)
    problems = [problem] if (problem := opened.problem()) else []
    if len(found) > limit:
        problems.append(f"only the first {limit:,} entries were read: limit= reads more")
    kept = [item for item in found[:limit] if item.type is not VALUE]
    if len(kept) < min(len(found), limit):
        problems.append(f"{min(len(found), limit) - len(kept):,} slots hold numbers, no pointers")
    if not kept and opened.held is None:
        return frames.frame(
            kernel, place.name, problems=problems, key=[], address=frames.addresses(kernel, [])
        )
    held = kept[0].type if kept else opened.held.type if opened.held else place.type
    at = array(kernel, held, [item.address for item in kept])
    return _frame(kernel, at, [item.name for item in kept], columns, problems)


def _spelt(kernel: Kernel, name: str) -> str:
    return f"struct {name}" if kernel.types.get(f"struct {name}") is not None else name


def _frame(kernel: Kernel, at: StructArray, keys: list[str], columns: Any, problems: list[str]) -> Any:
    """One row a struct: its key, address, what names it, and its plain members or those that were asked for."""
    made: dict[str, Any] = {}
    if columns is None:
        named = naming_paths(at)
        # unsigned char is text where it names something, as in struct qstr; elsewhere it is data.
        made |= {name: _text(kernel, at[path], any_char=True) for name, path in named.items()}
        made |= {path: _text(kernel, at[path]) for path in plain_paths(at.type) if path not in named.values()}
    else:
        paths = dict(columns) if isinstance(columns, Mapping) else {path: path for path in columns}
        made |= {name: _text(kernel, at[path]) for name, path in paths.items()}
    made = {name: column for name, column in made.items() if name not in ("key", "address")}
    bare = [key.strip("[]") for key in keys]
    numbered = all(key.isdigit() for key in bare)
    return frames.frame(
        kernel,
        at.type.c_name,
        problems=problems,
        key=np.array([int(key) for key in bare], dtype=np.int64) if numbered else bare,
        address=at,
        **made,
    )


def _text(kernel: Kernel, column: Any, *, any_char: bool = False) -> Any:
    """What a column of pointers to characters says, for a name is what it says; other columns as they are."""
    kind = column.type.strip() if column.type is not None else None
    target = kind.target.strip() if isinstance(kind, PointerType) else None
    if target is not None and (is_char(target) or (any_char and target.size == 1)):
        return c_strings(kernel, np.where(column.valid, column.values, 0).astype(np.uint64))
    return column


def naming_paths(at: StructArray) -> dict[str, str]:
    """The members that name a struct to a person, as {column: path}; those of a plain value only."""
    found = {}
    for spec in NAMED_BY.get(at.type.c_name, ()):
        label, _, path = spec.rpartition("=")
        path = path.partition(":")[0]
        if at.has(path):
            found[label or path] = path
    return found


def _members(kernel: Kernel, place: Place, limit: int) -> Any:
    """A struct's members (or an array's elements) as text, as the browser shows them."""
    found = (
        members_of(place) if isinstance(place.kind, StructType) else children(kernel, place).take(0, limit)
    )
    if not found:
        found = [replace(place, name=place.name or "value")]
    shown = rows(kernel, found)
    return frames.frame(
        kernel,
        place.type.c_name,
        problems=[f"{row.place.name}: {row.why}" for row in shown if row.why],
        member=[row.place.name for row in shown],
        type=[row.place.type.c_name for row in shown],
        offset=[row.place.offset for row in shown],
        size_bytes=[row.place.kind.size for row in shown],
        value=[" ".join(filter(None, (row.value, row.summary))) for row in shown],
        address=frames.addresses(kernel, [row.place.address for row in shown]),
    )
