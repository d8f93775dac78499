"""The widget: a packed recording in, something to play out. Its view is the scripts beside it, its colours player.css.

A small recording travels in the widget's state, so that a saved notebook plays it without a kernel; a large one is
asked for when it is shown, and a saved notebook shows its figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import pandas as pd
import traitlets

from kernlab.display import ELEMENTS
from kernlab.display.stacks.lines import stack_lines
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.player.pack import Packed
from kernlab.player.palette import palettes
from kernlab.player.still import Still
from kernlab.struct_browser.below import browser_below
from kernlab.util.text import shorten
from kernlab.util.threads import beside

if TYPE_CHECKING:
    from kernlab.dump import Dump

_HERE = Path(__file__).parent
_PARTS = ("words", "recording", "paint", "lanes", "timeline", "panel", "gestures", "player", "widget")
#: One ES module: there is no build that would put its parts together.
SCRIPT = "\n".join(
    script.read_text("utf-8") for script in (ELEMENTS, *(_HERE / f"{name}.js" for name in _PARTS))
)
STYLE = _HERE / "player.css"
#: What a saved notebook keeps.
_MOST_KEPT_BYTES = 600_000


class Stage(anywidget.AnyWidget):
    """The front end's half: what it draws, and the messages that it sends."""

    _esm = SCRIPT
    _css = STYLE

    meta = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes(b"").tag(sync=True)
    palettes = traitlets.Dict().tag(sync=True)
    lanes: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    #: Where the reader is, {"ticks", "range"}, and where Python wants them to be, {"ticks", "n"}.
    cursor = traitlets.Dict().tag(sync=True)
    wanted = traitlets.Dict().tag(sync=True)
    #: The figure and the marks, for a saved notebook without a kernel.
    still = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        return "<player's stage>"


class Player(ipywidgets.VBox):  # type: ignore[misc]
    """A replay to play; made by `dump.player()`."""

    def __init__(
        self,
        packed: Packed,
        still: Still,
        *,
        dump: Dump | None = None,
        moment: Callable[[pd.Timedelta], Any] | None = None,
        instant: Callable[[Any], int] | None = None,
        lanes: Sequence[str] = (),
    ):
        self._packed, self._still, self._dump = packed, still, dump
        self._moment, self._instant = moment, instant
        fits = len(packed.data) <= _MOST_KEPT_BYTES
        self.stage = Stage(
            meta=packed.meta if fits else {},
            data=packed.data if fits else b"",
            palettes=palettes(),
            lanes=list(lanes),
        )
        #: Opens a struct by its type and address; the explorer has a place of its own for that.
        self.browse: Callable[[str, int], Any] = self._browse
        self.stage.on_msg(self._heard)
        super().__init__([self.stage])

    # -- what Python sees of the reader, and does to them

    @property
    def time(self) -> pd.Timedelta:
        """The instant at the cursor, since boot."""
        return self._time(self.stage.cursor.get("ticks", self._packed.meta["end"]))

    @property
    def range(self) -> tuple[pd.Timedelta, pd.Timedelta] | None:
        """The range that was chosen, since boot; None where none is."""
        chosen = self.stage.cursor.get("range")
        return None if not chosen else (self._time(chosen[0]), self._time(chosen[1]))

    @property
    def moment(self) -> Any:
        """Everything of the instant at the cursor, as `dump.replay().at(t)` tells it."""
        if self._moment is None:
            raise KernlabError("this player has no replay behind it")
        return self._moment(self.time)

    @property
    def lanes(self) -> list[str]:
        """The lanes that are shown; all where it is empty."""
        return list(self.stage.lanes)

    @lanes.setter
    def lanes(self, wanted: Sequence[str]) -> None:
        self.stage.lanes = list(wanted)

    def seek(self, time: Any) -> None:
        """Move the cursor: seconds since boot, negative ones before the crash, or what else `since=` takes."""
        meta = self._packed.meta
        if self._instant is None:
            raise KernlabError("this player knows no clock")
        ticks = (self._instant(time) - meta["origin_ns"]) / meta["tick_ns"]
        ticks = min(max(ticks, 0), meta["end"])
        self.stage.cursor = {**self.stage.cursor, "ticks": ticks}
        self.stage.wanted = {"ticks": ticks, "n": int(self.stage.wanted.get("n", 0)) + 1}

    def _time(self, ticks: float) -> pd.Timedelta:
        meta = self._packed.meta
        return pd.Timedelta(meta["origin_ns"] + round(ticks * meta["tick_ns"]), "ns")

    # -- questions of the front end

    def _heard(self, _: Any, content: Any, __: Any) -> None:
        """One message; unwinding takes time, and is answered from a thread of its own."""
        if not isinstance(content, dict) or "id" not in content:
            return
        if content.get("op") == "stack":
            beside(self._answer, content)
        else:
            self._answer(content)

    def _answer(self, content: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"id": content["id"]}
        buffers: list[bytes] = []
        try:
            operation = content.get("op")
            if operation == "data":
                reply["answer"], buffers = self._packed.meta, [self._packed.data]
            elif operation == "stack":
                reply["answer"] = self._stack(int(content["task"]))
            elif operation == "struct":
                self.browse("struct task_struct", self._task(int(content["task"])))
                reply["answer"] = {"opened": True}
            else:
                raise KernlabError(f"the player does not know {operation!r}")
        except Exception as error:
            # The reader has no cell where a traceback could appear.
            said = str(error) if isinstance(error, KernlabError) else f"{type(error).__name__}: {error}"
            reply["error"] = show_controls(shorten(said, 800))
        self.stage.send(reply, buffers)

    def _task(self, number: int) -> int:
        addresses = self._packed.tasks
        address = addresses[number] if 0 <= number < len(addresses) else 0
        if not address or self._dump is None:
            raise KernlabError("this task's task_struct is not in the dump: it had ended")
        return address

    def _stack(self, number: int) -> dict[str, Any]:
        address, dump = self._task(number), self._dump
        assert dump is not None
        told = stack_lines(lambda: dump.stack(address))
        if told["failed"]:
            raise KernlabError(told["failed"])
        return told

    def _browse(self, type: str, address: int) -> None:  # noqa: A002
        """Open the struct browser below the player, with a button that closes it."""
        assert self._dump is not None
        below = browser_below(self._dump, type, address, lambda: setattr(self, "children", (self.stage,)))
        self.children = (self.stage, below)

    # -- where no widget can be shown

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if not self.stage.data and not self.stage.still:
            self.stage.still = self._still.state()
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data:
            data["text/plain"] = repr(self)
            data["text/html"] = self._still.html()
        return bundle

    def __repr__(self) -> str:
        return repr(self._still)
