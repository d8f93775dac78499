"""What a reader does in a struct browser in, plain JSON for a view out. No widget, no IPython: anything can ask it.

Addresses and other numbers that may be large go out as text: a view's numbers are doubles. Everything that a dump
holds goes out as text whose control characters are visible already, and is not markup.
"""

from __future__ import annotations

import difflib
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import ArrayType, PointerType, StructType
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.struct_browser import containers, element_types, hexdump, search
from kernlab.struct_browser.children import Children, any_place, candidates, children, pointee
from kernlab.struct_browser.complete import complete_expression
from kernlab.struct_browser.entries import entries_frame
from kernlab.struct_browser.pahole import layout
from kernlab.struct_browser.rows import Location, NodeRow, rows
from kernlab.util import text

#: Rows of one page, unless a view asks for another number; and the most that it gets.
PAGE, MOST_ROWS = 200, 1000
#: Places that are remembered for a view; the oldest are forgotten first.
_MOST_NODES = 200_000
#: Suggestions of what a list may hold.
_MOST_CANDIDATES = 2000
#: Cells of a preview of a DataFrame.
_PREVIEW_ROWS, _PREVIEW_COLUMNS = 30, 12

Json = dict[str, Any]


class Session:
    """One reader's walk through one kernel.

    `answer(request)` takes {"op": …, …} and gives JSON; it never raises: an error is {"error": text}. One request at
    a time, whatever thread it comes from. `frame` is the last DataFrame that was asked for.
    """

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.frame: Any = None
        self._nodes: dict[int, Location] = {}
        self._children: dict[int, Children] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._operations: dict[str, Callable[[Json], Json]] = {
            "go": self._go,
            "enter": self._enter,
            "children": self._page,
            "hold": self._hold,
            "members": self._raw,
            "layout": self._layout,
            "bytes": self._bytes,
            "up": self._up,
            "search": self._search,
            "complete": self._complete,
            "candidates": self._candidates,
            "frame": self._frame,
        }

    def answer(self, request: Any) -> Json:
        """The answer to one request. Never raises for what the request or the dump holds."""
        operation = self._operations.get(request.get("op", "")) if isinstance(request, dict) else None
        if operation is None:
            return {"error": "the struct browser does not know this request"}
        try:
            with self._lock:
                return operation(request)
        except KernlabError as error:
            return {"error": show_controls(str(error), keep="\n")}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"the request cannot be understood: {type(error).__name__}: {error}"}

    def open(self, what: Any) -> Json:
        """The view of anything that can be looked at: an expression, an address, a Struct, a StructArray, a Location.

        Raises KernlabError for what is none of these, or cannot be found.
        """
        with self._lock:
            return self._view(self._add(self._place(what)))

    def _place(self, what: Any) -> Location:
        found = any_place(self.kernel, what)
        return self._behind(found) if isinstance(what, str) and isinstance(found.kind, PointerType) else found

    def _behind(self, place: Location) -> Location:
        """What a pointer that was named leads to, still under that name; NULL and wild pointers as they are."""
        try:
            target = pointee(self.kernel, place)
        except KernlabError:
            return place
        code = place.code if not place.code.startswith("dump.read") else target.code
        return place if target is place else replace(target, expression=place.expression, code=code)

    def _add(self, place: Location) -> int:
        number = next(self._numbers)
        self._nodes[number] = place
        if len(self._nodes) > _MOST_NODES:
            for old in list(itertools.islice(self._nodes, _MOST_NODES // 10)):
                self._nodes.pop(old)
                self._children.pop(old, None)
        return number

    def _node(self, request: Json) -> tuple[int, Location]:
        number = int(request["id"])
        if number not in self._nodes:
            raise KernlabError("this row was opened too long ago: open the row above it again")
        return number, self._nodes[number]

    # Requests

    def _go(self, request: Json) -> Json:
        return self._view(self._add(self._place(str(request["text"]))))

    def _enter(self, request: Json) -> Json:
        """A node as the root of a view of its own."""
        number, place = self._node(request)
        target = pointee(self.kernel, place)
        return self._view(number if target is place else self._add(target))

    def _view(self, number: int) -> Json:
        place = self._nodes[number]
        (row,) = rows(self.kernel, [place])
        root = self._row(number, row)
        return {
            "root": root,
            "title": place.type.c_name if place.many is None else place.name,
            "address": f"{place.address:#018x}" if place.many is None else "",
            "expression": place.expression or (f"{place.address:#x}" if place.many is None else ""),
            "note": show_controls(place.note),
            "page": self._page({"id": number})
            if row.opens or row.why
            else {"rows": [], "next": None, "note": ""},
        }

    def _page(self, request: Json) -> Json:
        number, place = self._node(request)
        first = max(int(request.get("offset", 0)), 0)
        count = min(max(int(request.get("count", PAGE)), 1), MOST_ROWS)
        if number not in self._children:
            self._children[number] = children(self.kernel, place)
        opened = self._children[number]
        # One more than is shown tells whether there are more.
        places = opened.take(first, count + 1)
        shown = rows(self.kernel, places[:count])
        more = len(places) > count
        page: Json = {
            "rows": [self._row(self._add(row.place), row) for row in shown],
            "next": first + count if more else None,
            "total": opened.total if opened.total is not None else None if more else first + len(shown),
            "note": show_controls(opened.note),
            "problem": "" if more else show_controls(opened.problem()),
        }
        if opened.question:
            page["question"] = {"link": opened.question, "owner": ".".join(filter(None, place.owner))}
        return page

    def _hold(self, request: Json) -> Json:
        """Somebody says what a head holds."""
        number, place = self._node(request)
        type_name, link = str(request["type"]).strip(), str(request.get("link", "")).strip()
        if not type_name.startswith(("struct ", "union ")) and self.kernel.types.get(f"struct {type_name}"):
            type_name = f"struct {type_name}"
        element = element_types.check(self.kernel, place.type, type_name, link)
        if any(place.owner):
            element_types.remember(*place.owner, element.type.c_name, element.link)
        # Each head of an array has a link of its own, which its index names.
        self._children.pop(number, None)
        return self._page({"id": number})

    def _raw(self, request: Json) -> Json:
        """A head's own members, for somebody who wants to see `next` and `prev`."""
        number, place = self._node(request)
        self._nodes[number] = replace(place, raw=not place.raw)
        self._children.pop(number, None)
        return self._page({"id": number})

    def _layout(self, request: Json) -> Json:
        _, place = self._node(request)
        kind = place.kind
        if isinstance(kind, PointerType):
            kind = kind.target.strip()
        if isinstance(kind, ArrayType):
            kind = kind.element.strip()
        made = layout(kind, self.kernel.arch.cache_line)
        return {
            "name": made.name,
            "summary": made.summary(),
            "lines": [
                {
                    "kind": line.kind,
                    "depth": line.depth,
                    "text": show_controls(line.text),
                    "offset": f"{line.offset:#x}"
                    + (f":{line.bit}-{line.bit + line.bits - 1}" if line.bits else ""),
                    "size": f"{line.size:,}",
                }
                for line in made.lines
            ],
            "code": str(made),
        }

    def _bytes(self, request: Json) -> Json:
        _, place = self._node(request)
        if isinstance(place.kind, PointerType) and request.get("follow", True):
            place = pointee(self.kernel, place)
        return hexdump.dumped(self.kernel, place, int(request.get("offset", 0)))

    def _up(self, request: Json) -> Json:
        """What a node lies in, each as a row that can be entered."""
        _, place = self._node(request)
        found = containers.containers(self.kernel, place)
        shown = rows(self.kernel, [container.place for container in found])
        listed = [
            {**self._row(self._add(row.place), row), "path": container.path, "label": container.label}
            for row, container in zip(shown, found, strict=True)
        ]
        return {"rows": listed, "typed": f"container_of({place.address:#x}, struct , )"}

    def _search(self, request: Json) -> Json:
        _, place = self._node(request)
        target = pointee(self.kernel, place)
        found, more = search.search(self.kernel, target, str(request["text"]))
        return {"rows": [self._row(self._add(row.place), row) for row in found], "more": more}

    def _complete(self, request: Json) -> Json:
        return {"items": complete_expression(self.kernel, str(request["text"]))}

    def _candidates(self, request: Json) -> Json:
        _, place = self._node(request)
        typed = str(request.get("text", "")).strip().removeprefix("struct ")
        found = candidates(self.kernel, place.type)
        kept = [pair for pair in found if typed in pair[0]] if typed else found
        kept.sort(
            key=lambda pair: -difflib.SequenceMatcher(None, typed, pair[0][7:]).quick_ratio() if typed else 0
        )
        return {"items": [list(pair) for pair in kept[:_MOST_CANDIDATES]]}

    def _frame(self, request: Json) -> Json:
        _, place = self._node(request)
        self.frame = entries_frame(self.kernel, pointee(self.kernel, place))
        return {**preview(self.frame), "code": _frame_code(place)}

    def _row(self, number: int, row: NodeRow) -> Json:
        place = row.place
        offset = "" if place.offset < 0 else f"{place.offset:#x}"
        if place.bit_size:
            last = place.bit_offset + place.bit_size - 1
            offset += f":{place.bit_offset}" + (f"-{last}" if place.bit_size > 1 else "")
        kind = place.kind
        size = 0 if isinstance(kind, StructType) and not kind.size else kind.size
        return {
            "id": number,
            "name": show_controls(place.name),
            "type": place.type.c_name + (f" : {place.bit_size}" if place.bit_size else ""),
            "kind": row.kind,
            "value": show_controls(row.value),
            "summary": show_controls(row.summary),
            "why": show_controls(row.why),
            "note": show_controls(place.note),
            "offset": offset,
            "size": f"{size:,}",
            "address": f"{place.address:#018x}",
            "target": f"{row.target:#018x}" if row.target else "",
            "opens": row.opens,
            "code": place.code,
            "expression": place.expression,
        }


def _frame_code(place: Location) -> str:
    return f"dump.entries({place.expression!r})" if place.expression else ""


def preview(frame: Any) -> Json:
    """The first rows of a DataFrame as text."""
    shown = frame.iloc[:_PREVIEW_ROWS, :_PREVIEW_COLUMNS]
    return {
        "columns": [show_controls(str(name)) for name in shown.columns],
        "rows": [
            [show_controls(text.shorten("" if v is None or v != v else str(v), 120)) for v in row]
            for row in shown.astype(object).where(shown.notna(), None).itertuples(index=False, name=None)
        ],
        "shape": f"{len(frame):,} rows × {len(frame.columns):,} columns",
        "problems": [show_controls(p) for p in frame.attrs.get("problems", [])[:5]],
    }
