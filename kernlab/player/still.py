"""The player without a widget: the figure of the replay with its tables, and how far it is trusted; escaped HTML."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.escape import NO_MATH, escape_html, show_controls
from kernlab.plots.both_themes import picture
from kernlab.plots.replay import figure_of, static
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay

_MOST_MARKS = 40
#: Kinds of marks, those first that tell most; of the others there may be thousands.
_FIRST = ("peak", "oom", "log", "break")
_LONGEST = 500


class Still:
    """A replay that nobody plays; `since` and `until` are those of the frames. It is drawn when it is first shown."""

    def __init__(self, frames: Replay, since: Any = None, until: Any = None):
        self._frames, self._since, self._until = frames, since, until

    @cached_property
    def _figure(self) -> str:
        return static(self._frames, self._since, self._until)

    @property
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
        png = picture(figure_of(self._frames, self._since, self._until))[0]["image/png"]
        crash = pd.Timedelta(self._frames.crash)
        return {
            "png": base64.b64encode(png).decode("ascii"),
            "alt": "The replay as a figure; the table below has what there is to jump to",
            "marks": [
                [f"{(crash - row['time']).total_seconds():.6f} s", _said(row["kind"]), _said(row["text"])]
                for row in self.marks.to_dict("records")
            ],
        }

    def html(self, why: str = "run the cell again with a kernel to play it") -> str:
        """Figure, tables, how far it is trusted, and `why` it is no player: one element without scripts."""
        parts = [self._figure]
        trusted = self._frames.trusted_from
        if not pd.isna(trusted):
            since = pd.Timedelta(trusted).total_seconds()
            reason = escape_html(shorten(str(self._frames.trusted_reason), _LONGEST))
            parts.append(f"<p>Memory is to be trusted from {since:.6f} s since boot on: {reason}</p>")
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
    return show_controls(shorten(str(value), _LONGEST))
