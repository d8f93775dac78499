"""`dump.explore(x)`: anything that can be browsed in, the struct browser out, or a tree where there are no widgets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.struct_browser import snapshot
from kernlab.struct_browser.conventions import STARTING_POINTS
from kernlab.struct_browser.session import Session
from kernlab.util import frontend

_HINT = 'pip install "kernlab[jupyter]" brings the browser that opens more of it'


class Explore:
    """`dump.explore(…)`: the struct browser."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(self, what: Any = None, *, opened: Sequence[str] = ()) -> Any:
        """Browse a struct, an address, an expression ("init_task", "struct task_struct @ 0x…"), or rows of a table.

        Parameters: what, None begins with init_task; opened, member paths ("mm", "mm.mm_mt") that are opened from
        the start: a saved or exported page shows these even without JavaScript.
        Returns a widget, or a tree of what was opened where anywidget is not installed and where a notebook is executed
        without a reader (nbconvert); both show themselves.
        Raises KernlabError for what cannot be found.

        >>> browser = dump.explore("init_task")
        """
        session = Session(self._dump.kernel)
        view = session.open(_browsable(self._dump, _start(self._dump) if what is None else what))
        captured: dict[str, Any] = {}
        for path in opened:
            _open(session, view, captured, path)
        if frontend.is_executed_alone():
            return Snapshot(view, captured, session=session)
        try:
            from kernlab.struct_browser.widget import StructBrowser
        except ImportError:
            return Snapshot(view, captured, _HINT)
        return StructBrowser(session, view, captured)


def _start(dump: Any) -> str:
    return next((name for name in STARTING_POINTS if name in dump.kernel.symbols), STARTING_POINTS[0])


def _browsable(dump: Any, what: Any) -> Any:
    """A table, a column or a row of one as the structs behind it; the rest as it is."""
    if isinstance(what, StructArray) or not hasattr(
        what, "dtype" if not hasattr(what, "columns") else "columns"
    ):
        return what
    if hasattr(what, "columns"):
        return what.kern.structs
    target = getattr(what.dtype, "target", "")
    if target:
        return StructArray(dump.kernel, target, np.asarray(what.array.fillna(0).to_numpy(dtype=np.uint64)))
    if hasattr(what, "index") and "address" in getattr(what, "index", ()):
        # A row of a table; the type went with the column.
        return int(what["address"])
    return what


def _open(session: Session, view: dict[str, Any], captured: dict[str, Any], path: str) -> None:
    """Open the rows on a member path. Raises KernlabError naming the step that is not there."""
    page = view["page"]
    for step in filter(None, re.split(r"\.|->|(?=\[)", path)):
        row = next((row for row in page["rows"] if row["name"] == step), None)
        while row is None and page["next"] is not None:
            more = session.answer({"op": "children", "id": view["root"]["id"], "offset": page["next"]})
            if "error" in more or page is not view["page"]:
                break
            page["rows"] += more["rows"]
            page["next"] = more["next"]
            row = next((row for row in page["rows"] if row["name"] == step), None)
        if row is None:
            raise KernlabError(f"{path!r} cannot be opened: there is no {step!r} among what is shown")
        if str(row["id"]) not in captured:
            opened = session.answer({"op": "children", "id": row["id"]})
            if "error" in opened:
                raise KernlabError(f"{path!r} cannot be opened: {opened['error']}")
            captured[str(row["id"])] = opened
        page = captured[str(row["id"])]


class Snapshot:
    """What was opened of a struct, as a tree that shows itself in a notebook and in a terminal."""

    def __init__(
        self, view: dict[str, Any], captured: dict[str, Any], why: str = "", session: Session | None = None
    ):
        self.view, self.captured, self._why, self._session = view, captured, why, session

    @property
    def frame(self) -> Any:
        """As the browser has it, where somebody may have made a DataFrame: None."""
        return None if self._session is None else self._session.frame

    def to_html(self) -> str:
        """The tree as HTML."""
        return self._repr_html_()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            snapshot.MIME: snapshot.as_data(self.view, self.captured),
            "text/html": self._repr_html_(),
            "text/plain": repr(self),
        }

    def _repr_html_(self) -> str:
        return snapshot.as_html(self.view, self.captured, why=self._why)

    def __repr__(self) -> str:
        return snapshot.as_text(self.view, self.captured)
