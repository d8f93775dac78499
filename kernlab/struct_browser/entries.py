"""What a struct browser shows in, a DataFrame out: the entries of a list, a tree or an array, or a struct's members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernlab import dataframes
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes.gather import gathered, spelt_out
from kernlab.dataframes.members import scalar_members
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import ArrayType, PointerType, StructType
from kernlab.errors import KernlabError
from kernlab.struct_browser import address_bar, element_types, list_heads
from kernlab.struct_browser.children import any_place, children, members_of, of_head, pointee
from kernlab.struct_browser.conventions import NAMED_BY
from kernlab.struct_browser.members import links_of
from kernlab.struct_browser.rows import VALUE, Location, rows

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame

#: Columns that every row has.
_OWN = ("key", "address")
#: Entries of one list that are read unless more are asked for.
MOST_ENTRIES = 100_000


class Entries:
    """`dump.entries(…)`: a list, tree or array of the kernel as a DataFrame, one row an entry."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(
        self,
        what: Any,
        columns: str | Sequence[str] | Mapping[str, str] | None = None,
        *,
        type: str = "",  # noqa: A002 - the word that the rest of the interface uses
        link: str = "",
        limit: int = MOST_ENTRIES,
    ) -> Frame:
        """The entries of the head, array or struct that an expression names: `dump.entries("init_task.children")`.

        Parameters: columns, members of the entries as C paths, with the values that `.kern.field` gives (one, a list,
        or a mapping of names to paths; otherwise what names them, and all that are plain values); type and link, what a
        list holds and through which member, where kernlab does not know (of a symbol whose type is not known the link
        tells that it is a list); limit, how many entries are read.
        Returns a DataFrame: key (the index in the list or tree), address, and the columns; of an array of pointers what
        they point to, of a struct without `columns` its members.
        Raises KernlabError for what cannot be found, for a list of which nobody knows what it holds, and for arguments
        that do not go with what was named.

        >>> dump.entries("init_task.children", ["pid", "comm"])
           key             address  pid      comm
        0    0  0xff4719e3811f4180    1      init
        1    1  0xff4719e3811f20c0    2  kthreadd
        """
        kernel = self._dump.kernel
        place = any_place(kernel, what)
        found: Frame = entries_frame(kernel, place, columns, type_name=type, link=link, limit=limit)
        return found


def entries_frame(
    kernel: Kernel,
    place: Location,
    columns: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    type_name: str = "",
    link: str = "",
    limit: int = MOST_ENTRIES,
) -> Any:
    """See Entries.__call__."""
    with kernel.scope("entries"):
        return _entries(kernel, place, columns, type_name, link, limit)


def _entries(
    kernel: Kernel,
    place: Location,
    columns: str | Sequence[str] | Mapping[str, str] | None,
    type_name: str,
    link: str,
    limit: int,
) -> Any:
    if link and not type_name:
        raise KernlabError(f"link={link!r} says by which member type= is linked: name the type, too")
    if place.many is not None:
        _refuse_type(place, type_name)
        return _frame(kernel, place.many[:limit], [f"[{i}]" for i in range(len(place.many[:limit]))], columns)
    if list_heads.is_head(place.kind) and not place.raw:
        return _of_head(kernel, place, columns, type_name, link, limit)
    target = pointee(kernel, place)
    if target is not place and list_heads.is_head(target.kind):
        return _of_head(kernel, target, columns, type_name, link, limit)
    if type_name and address_bar.is_untyped(target):
        return _of_head(kernel, _as_head(kernel, target, type_name, link), columns, type_name, link, limit)
    _refuse_type(target, type_name)
    kind = target.kind
    if isinstance(kind, StructType) and columns is not None:
        return _frame(kernel, StructArray(kernel, target.type, [target.address]), ["[0]"], columns)
    if isinstance(kind, ArrayType) and (columns is not None or isinstance(kind.element.strip(), StructType)):
        return _of_array(kernel, target, kind, columns, limit)
    if columns is not None:
        raise KernlabError(f"{target.name} is {target.type.c_name}, which has no members for columns=")
    return _members(kernel, target, limit)


def _refuse_type(place: Location, type_name: str) -> None:
    if type_name:
        raise KernlabError(
            f"{place.name} is {place.type.c_name}, not the head of a list or tree: type={type_name!r} does not apply. "
            f"To look at an address as another type, write '{type_name} @ 0x…'"
        )


def _as_head(kernel: Kernel, place: Location, type_name: str, link: str) -> Location:
    """A symbol of which no type is known as the head of the list or tree that such links hang on."""
    kind = kernel.find_type(_spelt(kernel, type_name)).strip()
    if not isinstance(kind, StructType):
        raise KernlabError(f"{type_name} is not a struct of this kernel that a list could hold")
    # A cached root begins with the plain one.
    head_of = {
        node: head
        for head, node in reversed(list_heads.HEADS.items())
        if node and head != "struct rb_root_cached"
    }
    if link:
        node = resolve(kind, link).type.c_name
        if node not in head_of:
            raise KernlabError(
                f"{link!r} of {kind.c_name} is {node}, not a link of a list or tree; those are {', '.join(head_of)}"
            )
    else:
        links = {node: found for node in head_of if (found := links_of(kind, node))}
        if len(links) != 1:
            listed = ", ".join(path for found in links.values() for path in found) or "none"
            raise KernlabError(
                f"what {place.name} is the head of is not known: say link=, through which member {kind.c_name} is "
                f"linked. It has: {listed}"
            )
        (node,) = links
    return replace(place, type=kernel.find_type(head_of[node]), note="")


def _of_array(kernel: Kernel, place: Location, kind: ArrayType, columns: Any, limit: int) -> Any:
    """Structs in an array, or behind an array of pointers."""
    found = children(kernel, place).take(0, limit + 1)
    if len(found) > limit:
        kernel.lost(f"only the first {limit:,} elements were read: limit= reads more")
    found = found[:limit]
    addresses = np.array([item.address for item in found], dtype=np.uint64)
    element = kind.element.strip()
    if isinstance(element, StructType):
        at = StructArray(kernel, kind.element, addresses)
    else:
        target = element.target.strip() if isinstance(element, PointerType) else None
        if not isinstance(target, StructType) or not target.size:
            raise KernlabError(
                f"{place.name} is {place.type.c_name}, whose elements have no members for columns="
            )
        pointers, read = kernel.words(addresses, what="pointers")
        at = StructArray(kernel, target, np.where(read, pointers, 0).astype(np.uint64), read)
    return _frame(kernel, at, [item.name for item in found], columns)


def _of_head(kernel: Kernel, place: Location, columns: Any, type_name: str, link: str, limit: int) -> Any:
    walk = list_heads.entries(kernel, place.kind, place.address)
    if type_name:
        opened = of_head(
            kernel, place, walk, element_types.check(kernel, place.kind, _spelt(kernel, type_name), link)
        )
    else:
        opened = children(kernel, place)
    if opened.question:
        raise KernlabError(
            f"what {place.name} holds is not known: say type= (and link=, its member of {opened.question})"
        )
    found = opened.take(0, limit + 1)
    if problem := opened.problem():
        kernel.lost(problem)
    if len(found) > limit:
        kernel.lost(f"only the first {limit:,} entries were read: limit= reads more")
    kept = [item for item in found[:limit] if item.type is not VALUE]
    if len(kept) < min(len(found), limit):
        kernel.lost(f"{min(len(found), limit) - len(kept):,} slots hold numbers, not pointers")
    if not kept and opened.element is None:
        return dataframes.frame(kernel, place.name, key=[], address=dataframes.addresses(kernel, []))
    element = kept[0].type if kept else opened.element.type if opened.element else place.type
    at = StructArray(kernel, element, [item.address for item in kept])
    return _frame(kernel, at, [item.name for item in kept], columns)


def _spelt(kernel: Kernel, name: str) -> str:
    return f"struct {name}" if kernel.types.get(f"struct {name}") is not None else name


def _frame(kernel: Kernel, at: StructArray, keys: list[str], columns: Any) -> Any:
    """One row a struct: its key, address, what names it, and its plain members or those that were asked for."""
    if columns is None:
        named = naming_paths(at)
        # unsigned char is text where it names something, as in struct qstr; elsewhere it is data.
        made = [(name, spelt_out(at, at[path], any_byte=True)) for name, path in named.items()]
        plain = (path for path in scalar_members(at.type) if path not in named.values())
        made += [(path, spelt_out(at, at[path])) for path in plain]
    else:
        made = [(name, gathered(kernel.token, at, path)) for name, path in _paths(columns).items()]
    bare = [key.strip("[]") for key in keys]
    numbered = all(key.isdigit() for key in bare)
    return dataframes.frame(
        kernel,
        at.type.c_name,
        key=np.array([int(key) for key in bare], dtype=np.int64) if numbered else bare,
        address=at,
        members=dataframes.spread(made),
    )


def _paths(columns: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Columns that were asked for, as {name: path}."""
    if isinstance(columns, str):
        columns = [columns]
    paths = dict(columns) if isinstance(columns, Mapping) else {path: path for path in columns}
    for name in _OWN:
        if name in paths:
            raise KernlabError(
                f"every row has a column {name!r} of its own; give the member another name: columns={{'its_{name}': "
                f"{paths[name]!r}}}"
            )
    return paths


def naming_paths(at: StructArray) -> dict[str, str]:
    """The members that name a struct to a person, as {column: path}; those of a plain value only."""
    found = {}
    for spec in NAMED_BY.get(at.type.c_name, ()):
        label, _, path = spec.rpartition("=")
        path = path.partition(":")[0]
        if at.has(path):
            found[label or path] = path
    return found


def _members(kernel: Kernel, place: Location, limit: int) -> Any:
    """A struct's members (or an array's elements) as text, as the browser shows them."""
    found = (
        members_of(place) if isinstance(place.kind, StructType) else children(kernel, place).take(0, limit)
    )
    if not found:
        found = [replace(place, name=place.name or "value")]
    shown = rows(kernel, found)
    kernel.lost(*[f"{row.place.name}: {row.why}" for row in shown if row.why])
    return dataframes.frame(
        kernel,
        place.type.c_name,
        member=[row.place.name for row in shown],
        type=[row.place.type.c_name for row in shown],
        offset=[row.place.offset for row in shown],
        size_bytes=[row.place.kind.size for row in shown],
        value=[" ".join(filter(None, (row.value, row.summary))) for row in shown],
        address=dataframes.addresses(kernel, [row.place.address for row in shown]),
    )
