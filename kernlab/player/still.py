"""The player without a widget: the figure of the replay, and what there was to jump to as a table; escaped HTML."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.display.html import to_html
from kernlab.escape import NO_MATH, escape_html, show_controls
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay

_MOST_MARKS = 40
#: Kinds of marks, those first that tell most; of the others there may be thousands.
_FIRST = ("peak", "oom", "log", "break")


class Still:
    """A replay that nobody plays.

    draw: makes the figure as a notebook's output ({MIME type: text}); it is drawn once, when it is first shown.
    """

    def __init__(self, frames: Replay, draw: Callable[[], dict[str, Any]] | None = None):
        self._frames, self._draw = frames, draw

    @cached_property
    def figure(self) -> dict[str, Any]:
        """The figure by MIME type; empty where there is none."""
        return {} if self._draw is None else self._draw()

    @cached_property
    def marks(self) -> pd.DataFrame:
        """What there is to jump to, in the order of time: of too many, those that tell most."""
        marks = self._frames.marks
        kind = marks["kind"].astype(str)
        rank = pd.Series(len(_FIRST), index=marks.index)
        for place, first in reversed(list(enumerate(_FIRST))):
            rank = rank.mask(kind.str.startswith(first), place)
        chosen = marks.loc[rank.sort_values(kind="stable").index[:_MOST_MARKS]]
        ordered: pd.DataFrame = chosen.sort_values("time", kind="stable").reset_index(drop=True)
        return ordered

    def state(self) -> dict[str, Any]:
        """What a saved notebook keeps of a recording that is too large for it: the figure, and the marks as text."""
        png = self.figure.get("image/png")
        told: dict[str, Any] = {
            "marks": [
                [_said(row["time"]), _said(row["kind"]), _said(row["text"])]
                for row in self.marks.to_dict("records")
            ]
        }
        if png is not None:
            told["png"] = png
            told["alt"] = "The replay as a figure; the table below has what there is to jump to"
        return told

    def html(self, why: str = "run the cell again with a kernel to play it") -> str:
        """Figure, how far it is trusted, marks: one element without scripts."""
        parts = [str(self.figure["text/html"])] if "text/html" in self.figure else []
        if not parts and "image/png" in self.figure:
            parts.append(f'<img alt="The replay" src="data:image/png;base64,{self.state()["png"]}">')
        trusted = self._frames.trusted_from
        if not pd.isna(trusted):
            since = pd.Timedelta(trusted).total_seconds()
            why = escape_html(shorten(str(self._frames.trusted_reason), 500))
            parts.append(f"<p>Trusted from {since:.6f} s since boot on: {why}</p>")
        parts.append(to_html(self.marks, max_rows=_MOST_MARKS, title="marks"))
        if len(self._frames.breaks):
            parts.append(to_html(self._frames.breaks, max_rows=20, title="breaks"))
        if why:
            parts.append(f"<p><em>This is the replay as a figure: {escape_html(why)}.</em></p>")
        return f'<div class="kernlab-player {NO_MATH}">{"".join(parts)}</div>'

    def __repr__(self) -> str:
        frames = self._frames
        counts = len(frames.running), len(frames.requests), len(frames.memory)
        return "<player: {:,} intervals, {:,} requests, {:,} readings of memory>".format(*counts)


class StillPlayer:
    """What `dump.player()` gives where no widget can be shown."""

    def __init__(self, still: Still, why: str = ""):
        self._still, self._why = still, why

    def _repr_html_(self) -> str:
        return self._still.html(self._why)

    def __repr__(self) -> str:
        return repr(self._still)


def _said(value: Any) -> str:
    if isinstance(value, pd.Timedelta):
        return f"{value.total_seconds():.6f} s"
    return show_controls(shorten(str(value), 300))
