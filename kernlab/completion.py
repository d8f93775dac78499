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

from kernlab.browse import complete
from kernlab.debuginfo.types import StructType, Type
from kernlab.dump import Dump
from kernlab.errors import KernlabError
from kernlab.kernel import Kernel
from kernlab.structs import Struct, StructArray

#: Suggestions at once, and the longest line that is looked at.
_MOST, _LONGEST = 100, 5000
#: An open string at the cursor: what stands before it, its quote, and what is in it so far.
_STRING = re.compile(r"""^(?P<before>.*[(\[,=:]\s*)(?P<quote>['"])(?P<typed>[^'"\n]*)$""", re.DOTALL)
_MAGIC = re.compile(r"^\s*%(?P<magic>struct|sym|dis)\s+(?P<options>(?:--dump\s+\S+\s+)?)(?P<typed>.*)$")
#: Methods of `.kern` whose every string is a member path (or a formula of them).
_KERN_PATHS = {"field", "assign", "where", "follow", "owner"}
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
    if magic == "sym":
        return _made(complete.complete_symbol(kernel, last, _MOST), last)
    return _made([(text, kind) for text, kind in complete.complete_expression(kernel, last)], last)


def _of_string(before: str, typed: str, namespace: Mapping[str, Any]) -> list[Suggestion]:
    indexed = re.search(r"(?P<object>[\w.\[\]'\"(), -]+)\[\s*$", before)
    if indexed is not None:
        found = _find(indexed["object"], namespace)
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
    return []


def _of_dump(kernel: Kernel, method: str, arguments: str, typed: str) -> list[Suggestion]:
    if method in ("struct", "structs"):
        return _made(complete.complete_type(kernel, typed), typed) if not arguments.strip() else []
    if method in ("symbol", "variable", "percpu", "disassemble"):
        return _made(complete.complete_symbol(kernel, typed, _MOST), typed) if not arguments.strip() else []
    if method in ("explore", "entries"):
        pairs = [(text, kind) for text, kind in complete.complete_expression(kernel, typed)]
        return _made(pairs, typed) if not arguments.strip() else []
    return []


@dataclass(frozen=True, slots=True)
class _Rows:
    """`frame.kern` or `frame.kern.on("column")`."""

    accessor: Any


def _of_rows(rows: _Rows, method: str, arguments: str, typed: str) -> list[Suggestion]:
    accessor = rows.accessor
    if method == "on" and not arguments.strip():
        names = [str(name) for name in accessor._candidates() if str(name).startswith(typed)]
        return _made([(name, "column of addresses") for name in names], typed)
    kernel = accessor.dump.kernel
    if method == "owner" and not arguments.strip():
        return _made(complete.complete_type(kernel, typed), typed)
    kind: Type = kernel.find_type(accessor.type)
    first = re.match(r"\s*['\"]([^'\"]+)['\"]\s*,", arguments)
    if method == "owner" and first is not None:
        kind = kernel.find_type(first[1])
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
        return owner._built.get(name)
    if isinstance(owner, Struct):
        return _member(owner, name)
    if _is_frame(owner):
        if name == "kern":
            return _Rows(owner.kern) if hasattr(owner, "kern") else None
        return None
    if isinstance(owner, _Rows) and name == "structs":
        return owner.accessor.structs
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
    if isinstance(owner, _Rows) and method == "on" and given and all(isinstance(item, str) for item in given):
        return _Rows(owner.accessor.on(*given[:2]))
    if _is_frame(owner) and method in ("head", "tail", "sample") and all(isinstance(n, int) for n in given):
        return owner
    return None


def _is_frame(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] == "pandas" and hasattr(thing, "columns")


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
