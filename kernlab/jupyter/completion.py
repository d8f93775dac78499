"""Where the cursor stands in a line of IPython in, what may follow out: member paths inside strings, types, symbols.

Nothing of the line is executed: the objects before the cursor are found by name, and only kernlab's own, pandas'
columns and tables that were built already are looked into.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernlab.core.kernel import Kernel
from kernlab.core.struct import Struct
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType, Type
from kernlab.dump import TABLES, Dump
from kernlab.errors import KernlabError
from kernlab.linux.slab_caches import caches_by_name, type_of_cache
from kernlab.struct_browser import complete

#: Suggestions at once, and the longest line that is looked at.
_MOST, _LONGEST = 100, 5000
#: An open string at the cursor: what stands before it, its quote, and what is in it so far.
_STRING = re.compile(r"""^(?P<before>.*[(\[,=:]\s*)(?P<quote>['"])(?P<typed>[^'"\n]*)$""", re.DOTALL)
_MAGIC = re.compile(r"^\s*%(?P<magic>struct|sym|dis|bt)\s+(?P<options>(?:--dump\s+\S+\s+)?)(?P<typed>.*)$")
#: Methods of `.kern` whose every string is a member path (or a formula of them).
_KERN_PATHS = {"field", "assign", "where", "follow", "owner"}
#: Methods of a table whose strings name columns, or are expressions of them.
_COLUMN_METHODS = {
    "drop",
    "drop_duplicates",
    "dropna",
    "eval",
    "filter",
    "groupby",
    "merge",
    "nlargest",
    "nsmallest",
    "pivot_table",
    "query",
    "reindex",
    "set_index",
    "sort_values",
    "value_counts",
}
_LAST_PATH = re.compile(r"[A-Za-z_][\w.\[\]]*(?:->[\w.\[\]]*)*$")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What may stand instead of the `replaced` last characters before the cursor, and what it is."""

    text: str
    kind: str
    replaced: int


def suggestions(line: str, namespace: Mapping[str, Any]) -> list[Suggestion]:
    """What may follow at the end of `line` (all before the cursor). Empty where kernlab has nothing to say."""
    line = line[-_LONGEST:]
    try:
        magic = _MAGIC.match(line)
        if magic is not None:
            return _of_magic(magic["magic"], magic["typed"], magic["options"], namespace)
        string = _STRING.match(line)
        return _of_string(string["before"], string["typed"], namespace) if string is not None else []
    except (KernlabError, RecursionError):
        return []


def _made(pairs: list[tuple[str, str]], typed: str) -> list[Suggestion]:
    return [Suggestion(text, kind, len(typed)) for text, kind in pairs[:_MOST]]


def _of_magic(magic: str, typed: str, options: str, namespace: Mapping[str, Any]) -> list[Suggestion]:
    dump = open_dump(namespace, options.replace("--dump", "").strip())
    if dump is None:
        return []
    kernel = dump.kernel
    if magic == "struct" and not re.search(
        r"\S\s+\S*$", typed.removeprefix("struct ").removeprefix("union ")
    ):
        return _made(complete.complete_type(kernel, typed), typed)
    word = re.search(r"\S*$", typed)
    last = word[0] if word else typed
    if magic == "bt":
        return _made(_threads(dump, last), last)
    if magic == "sym":
        return _made(complete.complete_symbol(kernel, last, _MOST), last)
    return _made([(text, kind) for text, kind in complete.complete_expression(kernel, last)], last)


def _threads(dump: Dump, typed: str) -> list[tuple[str, str]]:
    """Options of %bt, and the names of threads that no other has, from the table where it was built already."""
    options = [(option, "option") for option in ("-a", "-c") if typed and option.startswith(typed)]
    tasks = dump._built.get("tasks")
    if tasks is None:
        return options
    names = tasks["comm"].dropna().drop_duplicates(keep=False)
    return [
        *options,
        *((name, "thread") for name in names.tolist() if name.startswith(typed) and name.split() == [name]),
    ]


def _of_string(before: str, typed: str, namespace: Mapping[str, Any]) -> list[Suggestion]:
    # Of a list of columns, `tasks[["pid", "`, only what it is taken from matters.
    listed = re.sub(r"""\[\s*\[(?:\s*(?:'[^']*'|"[^"]*")\s*,)*\s*$""", "[", before)
    indexed = re.search(r"(?P<object>[\w.\[\]'\"(), -]+)\[\s*$", listed)
    if indexed is not None:
        found = _find(indexed["object"], namespace)
        if (columns := _columns(found)) is not None:
            return _of_columns(columns, typed)
        if isinstance(found, Struct | StructArray):
            kind = found.type_ if isinstance(found, Struct) else found.type
            return _made(complete.complete_path(kind, typed), typed)
        return []
    call = _open_call(before)
    if call is None:
        return []
    name, method, arguments = call
    found = _find(name, namespace)
    if isinstance(found, Dump):
        return _of_dump(found.kernel, method, arguments, typed)
    if isinstance(found, Struct | StructArray) and method in ("follow", "has", "first", "elements", "frame"):
        kind = found.type_ if isinstance(found, Struct) else found.type
        return _made(complete.complete_path(kind, typed), typed)
    if isinstance(found, _Rows) and method in _KERN_PATHS | {"on"}:
        return _of_rows(found, method, arguments, typed)
    columns = _columns(found)
    # Inside the quotes of a text that an expression compares with, no column is meant.
    if columns is not None and method in _COLUMN_METHODS and not _in_quotes(arguments):
        return _of_columns(columns, typed)
    return []


def _in_quotes(arguments: str) -> bool:
    return arguments.count("'") % 2 == 1 or arguments.count('"') % 2 == 1


def _columns(found: Any) -> list[str] | None:
    """The columns of a table, built or not; None for what is none."""
    if isinstance(found, _Table):
        return list(found.columns)
    if not _is_frame(found):
        return None
    from kernlab.display.html import is_ours

    return [str(name) for name in found.columns] if is_ours(found) else None


def _of_columns(columns: list[str], typed: str) -> list[Suggestion]:
    word = re.search(r"\w*$", typed)
    last = word[0] if word is not None else ""
    return _made([(name, "column") for name in columns if name.startswith(last)], last)


def _of_dump(kernel: Kernel, method: str, arguments: str, typed: str) -> list[Suggestion]:
    if method in ("struct", "structs"):
        return _made(complete.complete_type(kernel, typed), typed) if not arguments.strip() else []
    if method == "slab_objects":
        names = sorted(name for name in caches_by_name(kernel) if name.startswith(typed))
        return _made([(name, "slab cache") for name in names], typed)
    if method in ("symbol", "variable", "percpu", "disassemble", "owner"):
        return _made(complete.complete_symbol(kernel, typed, _MOST), typed) if not arguments.strip() else []
    if method in ("explore", "entries"):
        pairs = [(text, kind) for text, kind in complete.complete_expression(kernel, typed)]
        return _made(pairs, typed) if not arguments.strip() else []
    return []


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that was not built: what is known of it without that. `rows` is the C type of its rows, or ''."""

    kernel: Kernel
    columns: tuple[str, ...]
    rows: str


@dataclass(frozen=True, slots=True)
class _Rows:
    """`frame.kern` or `frame.kern.on("column")`: the structs behind the rows, and the columns of addresses."""

    kernel: Kernel
    rows: str
    addresses: tuple[str, ...] = ()
    accessor: Any = None


def _unbuilt(dump: Dump, name: str, given: list[Any]) -> _Table | None:
    if name not in TABLES:
        return None
    known = TABLES.load(name)
    rows = known.rows
    if name == "slab_objects" and len(given) == 1 and isinstance(given[0], str):
        addresses = caches_by_name(dump.kernel).get(given[0], [])
        cache = StructArray(dump.kernel, "struct kmem_cache", addresses[:1])
        size = cache["object_size"]
        rows = type_of_cache(dump.kernel, given[0], int(size.values[0])) if size.valid.any() else ""
    return _Table(dump.kernel, known.columns, rows)


def _behind(accessor: Any) -> _Rows:
    """What `.kern` of a built table knows."""
    addresses = tuple(str(name) for name, _ in accessor._candidates())
    try:
        return _Rows(accessor.dump.kernel, accessor.type, addresses, accessor)
    except KernlabError:
        # Which column is meant is still to be said.
        return _Rows(accessor.on(addresses[0]).dump.kernel, "", addresses, accessor)


def _of_rows(rows: _Rows, method: str, arguments: str, typed: str) -> list[Suggestion]:
    if method == "on" and not arguments.strip():
        return _made(
            [(name, "column of addresses") for name in rows.addresses if name.startswith(typed)], typed
        )
    kernel = rows.kernel
    if method == "owner" and not arguments.strip():
        return _made(complete.complete_type(kernel, typed), typed)
    first = re.match(r"\s*['\"]([^'\"]+)['\"]\s*,", arguments)
    kind: Type = kernel.find_type(first[1] if method == "owner" and first is not None else rows.rows)
    if method == "follow" and first is not None:
        # What comes after the pointer are members of what it points to.
        kind = StructArray(kernel, kind, []).follow(first[1]).type
    last = _LAST_PATH.search(typed)
    path = last[0] if last is not None else ""
    return _made(complete.complete_path(kind, path), path)


def _open_call(before: str) -> tuple[str, str, str] | None:
    """The call that is open at the end of a text: (object, method, arguments so far)."""
    depth = 0
    for at in range(len(before) - 1, -1, -1):
        character = before[at]
        if character in ")]":
            depth += 1
        elif character in "([":
            if depth == 0:
                if character == "[":
                    # A list of columns inside the call.
                    continue
                match = re.search(r"(?P<object>[A-Za-z_][\w.\[\]'\"()\s-]*)\.(?P<method>\w+)$", before[:at])
                return (match["object"], match["method"], before[at + 1 :]) if match is not None else None
            depth -= 1
    return None


def _find(text: str, namespace: Mapping[str, Any]) -> Any:
    """The object that a chain of names stands for, None where finding it would execute anything."""
    start = text
    # The text may begin in the middle of something: `print(dump.tasks` or `x = dump`.
    while start:
        try:
            node = ast.parse(start.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            _, found, start = _cut(start)
            if not found:
                return None
            continue
        return _resolve(node, namespace)
    return None


def _cut(text: str) -> tuple[str, str, str]:
    match = re.search(r"[(\[\s,=]", text)
    return (text[: match.start()], match[0], text[match.end() :]) if match is not None else (text, "", "")


def _resolve(node: ast.expr, namespace: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        return _attribute(_resolve(node.value, namespace), node.attr)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return _item(_resolve(node.value, namespace), node.slice.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords:
        given = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if len(given) == len(node.args):
            return _called(_resolve(node.func.value, namespace), node.func.attr, given)
    return None


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, Dump):
        # A table that was not built yet would be built: that is work that nobody asked for.
        built = owner._built.get(name)
        return built if built is not None else _unbuilt(owner, name, [])
    if isinstance(owner, _Table):
        return _Rows(owner.kernel, owner.rows) if name == "kern" and owner.rows else None
    if isinstance(owner, Struct):
        return _member(owner, name)
    if _is_frame(owner):
        if name == "kern":
            return _behind(owner.kern) if hasattr(owner, "kern") else None
        return None
    if isinstance(owner, _Rows) and name == "structs":
        if owner.accessor is not None:
            return owner.accessor.structs
        return StructArray(owner.kernel, owner.rows, [])
    return None


def _item(owner: Any, key: Any) -> Any:
    if isinstance(owner, Struct) and isinstance(key, str):
        return _member(owner, key)
    if isinstance(owner, StructArray) and isinstance(key, int):
        return owner[key] if -len(owner) <= key < len(owner) else None
    return None


def _member(owner: Struct, path: str) -> Any:
    """A member as a struct of its type: the address does not matter for what may follow."""
    if not isinstance(owner.type_, StructType):
        return None
    followed = StructArray(owner._kernel, owner.type_, [owner.address_]).follow(path)
    return Struct(owner._kernel, followed.type, int(followed.addresses[0]))


def _called(owner: Any, method: str, given: list[Any]) -> Any:
    if isinstance(owner, Dump) and method == "struct" and len(given) == 2 and isinstance(given[0], str):
        return Struct(owner.kernel, owner.kernel.find_type(given[0]), int(given[1]))
    if isinstance(owner, Dump):
        return _unbuilt(owner, method, given)
    if isinstance(owner, _Rows) and method == "on" and given and all(isinstance(item, str) for item in given):
        return _behind(owner.accessor.on(*given[:2])) if owner.accessor is not None else None
    if (
        (isinstance(owner, _Table) or _is_frame(owner))
        and method in ("head", "tail", "sample")
        and all(isinstance(n, int) for n in given)
    ):
        return owner
    return None


def _is_frame(thing: Any) -> bool:
    homes = {kind.__module__.partition(".")[0] for kind in type(thing).__mro__}
    return "pandas" in homes and hasattr(thing, "columns")


def open_dumps(namespace: Mapping[str, Any]) -> dict[str, Dump]:
    """The open dumps that variables hold, by the names of the variables."""
    return {
        name: value
        for name, value in sorted(namespace.items())
        if isinstance(value, Dump) and not name.startswith("_") and not value._closed
    }


def open_dump(namespace: Mapping[str, Any], name: str = "") -> Dump | None:
    """The dump that is meant: the one named, else `dump`, else the only one there is; None where that is not clear."""
    found = open_dumps(namespace)
    if name:
        return found.get(name)
    if "dump" in found:
        return found["dump"]
    distinct = list({id(dump): dump for dump in found.values()}.values())
    return distinct[0] if len(distinct) == 1 else None
