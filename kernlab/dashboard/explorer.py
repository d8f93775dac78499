"""`dump.explorer()`: a dump in one dashboard: summary, tables, log, plots, and whatever belongs to what was chosen.

The widget asks and the kernel answers, one message each; every answer is small, and true for as long as the dump is.
So a notebook that was saved shows, without a kernel, what was looked at before; where no widget can be shown at all
(an untrusted notebook, a page without JavaScript) there is a plain page of HTML instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.dashboard import views
from kernlab.dashboard.board import SLOW, Board
from kernlab.dashboard.html import StillExplorer, page
from kernlab.display import ELEMENTS
from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.struct_browser.below import browser_below
from kernlab.util import frontend
from kernlab.util.threads import beside

try:
    import anywidget
    import ipywidgets
    import traitlets
except ImportError as error:
    raise MissingDependencyError(
        f"the explorer needs {error.name}: pip install 'kernlab[jupyter]'; tables and plots work without"
    ) from error

if TYPE_CHECKING:
    from kernlab.dump import Dump

_HERE = Path(__file__).parent
_SCRIPTS = (ELEMENTS, _HERE / "grid.js", _HERE / "explorer.js")
_HEIGHT = "680px"


class OpenExplorer:
    """`dump.explorer()`: the dump in one dashboard."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def __call__(self, table: str = "", search: str = "", height: str = _HEIGHT) -> Explorer | StillExplorer:
        """The dump in one dashboard, at its overview or at `table`, with `search` typed into the filter already.

        `explorer.frame` is the table as it is shown, `explorer.selected` the chosen row. Raises KernlabError when
        there is no such table. Where a notebook is executed without a reader (nbconvert) it is a page without a widget.

        >>> explorer = dump.explorer()
        """
        board = Board(self._dump)
        made = StillExplorer(board) if frontend.is_executed_alone() else Explorer(board, height=height)
        if table:
            made.show(table, search)
        return made


class Dashboard(anywidget.AnyWidget):
    """The front end's half: what it draws, and the messages that it sends."""

    _esm = "\n".join(script.read_text("utf-8") for script in _SCRIPTS)
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

    def __init__(self, board: Board, *, height: str = _HEIGHT):
        self._answers = board
        self._board = Dashboard(
            summary=board.summary(),
            tables=board.pages.names(),
            plots=views.plots(board.dump),
            structs=_has_structs(board.dump),
            height=height,
        )
        board.operations["struct"] = self._struct
        board.operations["replay"] = self._replay
        #: The player of the tab "Replay", once somebody looked at it.
        self.player: Any = None
        self._board.on_msg(self._heard)
        super().__init__([self._board])
        self.add_class("kernlab-explorer-box")

    @property
    def frame(self) -> pd.DataFrame:
        """The table that is shown, filtered and sorted as it is shown. Raises KernlabError when none is."""
        return self._answers.frame

    @property
    def selected(self) -> pd.Series[Any] | None:
        """The chosen row; None where none is."""
        return self._answers.selected

    def show(self, table: str, search: str = "") -> None:
        """Bring the reader to a table, with `search` as its filter. Raises KernlabError when there is none."""
        self._answers.show(table, search)
        count = int(self._board.wanted.get("n", 0)) + 1
        self._board.tables = self._answers.pages.names()
        self._board.wanted = {"view": table, "search": search, "n": count}

    def _heard(self, _: Any, content: Any, buffers: Any) -> None:
        """One message of the front end; what takes long is answered from a thread of its own."""
        if isinstance(content, dict) and content.get("op") in SLOW:
            beside(self._asked, _, content, buffers)
        else:
            self._asked(_, content, buffers)

    def _asked(self, _: Any, content: Any, __: Any) -> None:
        answered = self._answers.answer(content)
        if answered is not None:
            reply, buffers = answered
            self._board.send(reply, buffers)

    def _struct(self, type: str, address: str) -> dict[str, Any]:  # noqa: A002
        """Open the struct browser below the dashboard, with a button that closes it."""
        below = browser_below(
            self._answers.dump, type, address, lambda: setattr(self, "children", (self._board,))
        )
        self.children = (self._board, below)
        return {"opened": True}

    def _replay(self) -> dict[str, Any]:
        """The player, made when its tab is first opened; its structs are opened where this explorer's are."""
        if self.player is None:
            self.player = self._answers.dump.player()
            self.player.browse = lambda kind, address: self._struct(kind, f"{address:#x}")
        return {"widget": f"anywidget:{self.player.stage.model_id}"}

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data:
            data["text/plain"] = repr(self)
            data["text/html"] = page(self._answers)
        return bundle

    def __repr__(self) -> str:
        return f"<explorer of {self._answers.dump!r}>"


def _has_structs(dump: Dump) -> bool:
    try:
        return callable(dump.explore)
    except (AttributeError, KernlabError, ImportError):
        return False
