"""What an explorer knows and answers, whatever shows it: questions of its front end in, plain JSON out."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.dashboard import findings, stack_views, views
from kernlab.dashboard.export import Exports
from kernlab.dashboard.lead_cells import PlotCell
from kernlab.dashboard.table_view import CELLS, Pages
from kernlab.display.summary import summary
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.player.player import is_worth_playing
from kernlab.util import text

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Questions that take seconds on a large dump: answered beside the others, which go on meanwhile.
SLOW = frozenset({"verdict", "suspects", "traces", "lead", "stack", "stacks", "replayable", "replay"})


class Board:
    """The state of one explorer: the table that is shown, the chosen row, and the answers to its questions."""

    def __init__(self, dump: Dump):
        self.dump = dump
        self.pages = Pages(dump)
        self._exports = Exports()
        self._state = threading.Lock()
        self._shown: dict[str, Any] = {}
        self._chosen: tuple[str, int] | None = None
        self.operations: dict[str, Callable[..., Any]] = {
            "page": self._page,
            "running": lambda: views.running(dump, self.pages),
            "words": lambda: views.last_words(dump, self.pages),
            "largest": lambda: views.largest(dump, self.pages),
            "verdict": lambda: findings.verdict(dump, self.pages),
            "suspects": lambda: findings.suspects(dump, self.pages),
            "traces": lambda: views.traces(dump, self.pages),
            "replayable": lambda: {"there": is_worth_playing(dump)},
            "stacks": lambda: stack_views.overview(dump, self.pages),
            "stack": lambda place: stack_views.stack(dump, self.pages, int(place)),
            "chosen": self._choose,
            "lead": self._lead,
            "plot": self._plot,
            "export": self._export,
            "piece": lambda file, piece: self._exports.piece(int(file), int(piece)),
        }

    def summary(self) -> dict[str, Any]:
        """What the dump says of itself."""
        told = summary(self.dump)
        return {
            "title": visible(told.title),
            "why": visible(told.why),
            "told": [visible(sentence) for sentence in told.told],
            "rows": [[name, visible(value)] for name, value in told.rows],
            "problems": [visible(problem) for problem in told.problems[:50]],
        }

    @property
    def frame(self) -> pd.DataFrame:
        """The table that is shown, filtered and sorted as it is shown. Raises KernlabError when none is."""
        with self._state:
            shown = dict(self._shown)
        if not shown:
            raise KernlabError("no table is shown yet: choose one on the left, or call show('tasks')")
        return self.pages.chosen(**shown)

    @property
    def selected(self) -> pd.Series[Any] | None:
        """The chosen row; None where none is."""
        with self._state:
            chosen = self._chosen
        return None if chosen is None else self.pages.row(*chosen)

    def show(self, table: str, search: str = "") -> None:
        """Make a table the one that is shown. Raises KernlabError when there is none."""
        self.pages.chosen(table, search)
        with self._state:
            self._shown = {"name": table, "search": search}

    def answer(self, content: Any) -> tuple[dict[str, Any], list[bytes]] | None:
        """The reply to one question, {"id": …, "op": …, "args": {…}}, and what goes with it as bytes.

        Every question is answered; None for what is not a question.
        """
        if not isinstance(content, dict) or "id" not in content:
            return None
        reply: dict[str, Any] = {"id": content["id"]}
        try:
            operation = self.operations.get(str(content.get("op")))
            if operation is None:
                raise KernlabError(f"the explorer does not know {content.get('op')!r}")
            answer = operation(**content.get("args", {}))
            if isinstance(answer, bytes):
                return {**reply, "answer": {"bytes": len(answer)}}, [answer]
            reply["answer"] = answer
        except KernlabError as error:
            reply["error"] = visible(str(error))
        except Exception as error:
            # The reader has a page, and no cell where a traceback could appear.
            reply["error"] = visible(f"{type(error).__name__}: {error}")
        return reply, []

    def _page(self, *, main: bool = False, **wanted: Any) -> dict[str, Any]:
        given = self.pages.page(**wanted)
        if main:
            with self._state:
                self._shown = {key: value for key, value in wanted.items() if key not in ("offset", "count")}
        given["tables"] = {
            entry["name"]: entry["rows"] for entry in self.pages.names() if entry["rows"] is not None
        }
        return given

    def _choose(self, name: str, place: int) -> dict[str, Any]:
        given = views.chosen(self.dump, self.pages, str(name), int(place))
        with self._state:
            self._chosen = (str(name), int(place))
        return given

    def _lead(self, place: int, of: str = "lead") -> dict[str, Any]:
        """Run the cell of a lead or a finding, by its row: what comes from the front end is a number, and no code."""
        code, shown = self.pages.cell(str(of), int(place))
        kind = "plot" if isinstance(shown, PlotCell) else "table"
        return {"kind": kind, "code": visible(code), "view": f"{of}:{int(place)}"}

    def _plot(self, name: str, dark: bool = False) -> dict[str, Any]:
        kind, _, place = str(name).partition(":")
        if kind in CELLS and place.isdecimal():
            _, cell = self.pages.cell(kind, int(place))
            if not isinstance(cell, PlotCell):
                raise KernlabError("this cell shows a table, and no plot")
            return views.picture(self.dump, cell.name, bool(dark), cell)
        return views.picture(self.dump, str(name), bool(dark))

    def _export(self, kind: str, **wanted: Any) -> dict[str, Any]:
        table = self.pages.chosen(**wanted)
        # A channel's name is the dump's; a file's may hold less.
        name = re.sub(r"[^\w.-]+", "-", str(wanted.get("name", "")), flags=re.ASCII)
        return self._exports.make(name, table, str(kind))


def visible(said: str) -> str:
    """A string of the dump as a page may have it."""
    return text.shorten(show_controls(said), 800)
