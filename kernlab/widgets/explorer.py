"""`dump.explorer()`: a dump in one dashboard: summary, tables, log, plots, and whatever belongs to what was chosen.

The widget asks and the kernel answers, one message each; every answer is small, and true for as long as the dump is.
So a notebook that was saved shows, without a kernel, what was looked at before; where no widget can be shown at all
(an untrusted notebook, a page without JavaScript) there is a plain page of HTML instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab import text
from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.summary import summary
from kernlab.widgets import explorer_views as views
from kernlab.widgets.explorer_html import page
from kernlab.widgets.explorer_tables import Pages

try:
    import anywidget
    import ipywidgets
    import traitlets
except ImportError as error:
    raise MissingDependencyError(
        f"the explorer needs {error.name}: pip install 'kernlab[lab]'; tables and plots work without"
    ) from error

if TYPE_CHECKING:
    from kernlab.dump import Dump

_HERE = Path(__file__).parent
_HEIGHT = "680px"


def view(dump: Dump) -> Callable[..., Explorer]:
    """What `dump.explorer` is: called, it makes an explorer of that dump."""

    def explorer(table: str = "", search: str = "", height: str = _HEIGHT) -> Explorer:
        """The dump in one dashboard, at its overview or at `table`, with `search` typed into the filter already.

        `explorer.frame` is the table as it is shown, `explorer.selected` the chosen row. Raises KernlabError when
        there is no such table.
        """
        made = Explorer(dump, height=height)
        if table:
            made.show(table, search)
        return made

    return explorer


class Dashboard(anywidget.AnyWidget):
    """The front end's half: what it draws, and the messages that it sends."""

    _esm = "\n".join((_HERE / name).read_text("utf-8") for name in ("explorer_grid.js", "explorer.js"))
    _css = _HERE / "explorer.css"

    summary = traitlets.Dict().tag(sync=True)
    tables: Any = traitlets.List().tag(sync=True)
    plots: Any = traitlets.List().tag(sync=True)
    structs = traitlets.Bool(False).tag(sync=True)
    height = traitlets.Unicode(_HEIGHT).tag(sync=True)
    #: Where Python wants the reader: {"view": …, "search": …, "n": a number that grows}.
    wanted = traitlets.Dict().tag(sync=True)
    #: Answers given so far, by question; the front end keeps them for a time without a kernel.
    captured = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        return f"Dashboard({self.summary.get('title', '')!r})"


class Explorer(ipywidgets.VBox):  # type: ignore[misc]
    """A dump in one dashboard; made by `dump.explorer()`."""

    def __init__(self, dump: Dump, *, height: str = _HEIGHT):
        self._dump = dump
        self._pages = Pages(dump)
        self._state = threading.Lock()
        self._shown: dict[str, Any] = {}
        self._chosen: tuple[str, int] | None = None
        told = summary(dump)
        self._board = Dashboard(
            summary={
                "title": _visible(told.title),
                "why": _visible(told.why),
                "rows": [[name, _visible(value)] for name, value in told.rows],
                "problems": [_visible(problem) for problem in told.problems[:50]],
            },
            tables=self._pages.names(),
            plots=views.plots(dump),
            structs=_has_structs(dump),
            height=height,
        )
        self._operations: dict[str, Callable[..., Any]] = {
            "page": self._page,
            "running": lambda: views.running(dump, self._pages),
            "words": lambda: views.last_words(dump, self._pages),
            "largest": lambda: views.largest(dump, self._pages),
            "chosen": self._choose,
            "plot": lambda name, dark=False: views.picture(dump, str(name), bool(dark)),
            "struct": self._struct,
        }
        self._board.on_msg(self._asked)
        super().__init__([self._board])
        self.add_class("kernlab-explorer-box")

    @property
    def frame(self) -> pd.DataFrame:
        """The table that is shown, filtered and sorted as it is shown. Raises KernlabError when none is."""
        with self._state:
            shown = dict(self._shown)
        if not shown:
            raise KernlabError("no table is shown yet: choose one on the left, or call show('tasks')")
        return self._pages.chosen(**shown)

    @property
    def selected(self) -> pd.Series[Any] | None:
        """The chosen row; None where none is."""
        with self._state:
            chosen = self._chosen
        return None if chosen is None else self._pages.row(*chosen)

    def show(self, table: str, search: str = "") -> None:
        """Bring the reader to a table, with `search` as its filter. Raises KernlabError when there is none."""
        self._pages.chosen(table, search)
        with self._state:
            self._shown = {"name": table, "search": search}
        count = int(self._board.wanted.get("n", 0)) + 1
        self._board.tables = self._pages.names()
        self._board.wanted = {"view": table, "search": search, "n": count}

    def _asked(self, _: Any, content: Any, __: Any) -> None:
        """One question of the front end: {"id": …, "op": …, "args": {…}}; it is always answered."""
        if not isinstance(content, dict) or "id" not in content:
            return
        reply: dict[str, Any] = {"id": content["id"]}
        try:
            operation = self._operations.get(str(content.get("op")))
            if operation is None:
                raise KernlabError(f"the explorer knows no {content.get('op')!r}")
            reply["answer"] = operation(**content.get("args", {}))
        except KernlabError as error:
            reply["error"] = _visible(str(error))
        except Exception as error:
            # The reader has a page, and no cell where a traceback could appear.
            reply["error"] = _visible(f"{type(error).__name__}: {error}")
        self._board.send(reply)

    def _page(self, *, main: bool = False, **wanted: Any) -> dict[str, Any]:
        given = self._pages.page(**wanted)
        if main:
            with self._state:
                self._shown = {key: value for key, value in wanted.items() if key not in ("offset", "count")}
        given["tables"] = {
            entry["name"]: entry["rows"] for entry in self._pages.names() if entry["rows"] is not None
        }
        return given

    def _choose(self, name: str, place: int) -> dict[str, Any]:
        given = views.chosen(self._dump, self._pages, str(name), int(place))
        with self._state:
            self._chosen = (str(name), int(place))
        return given

    def _struct(self, type: str, address: str) -> dict[str, Any]:  # noqa: A002
        """Open the struct browser below the dashboard, with a button that closes it."""
        browser = self._dump.explore(self._dump.struct(type, address))
        away = ipywidgets.Button(description="Close the struct browser", icon="times")
        away.layout.width = "max-content"
        away.on_click(lambda _: setattr(self, "children", (self._board,)))
        self.children = (self._board, ipywidgets.VBox([browser, away]))
        return {"opened": True}

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data:
            data["text/plain"] = repr(self)
            data["text/html"] = page(self._dump, self._pages)
        return bundle

    def __repr__(self) -> str:
        return f"<explorer of {self._dump!r}>"


def _visible(said: str) -> str:
    return text.shorten(text.show_controls(said), 800)


def _has_structs(dump: Dump) -> bool:
    try:
        return callable(dump.explore)
    except (AttributeError, KernlabError, ImportError):
        return False
