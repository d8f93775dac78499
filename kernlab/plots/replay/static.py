"""What was replayed in, HTML without a script out: the figure in the page's theme, and a table of what it shows.

It is what a saved notebook, an exported page or a reader without a mouse has of the player.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.escape import NO_MATH, escape_html
from kernlab.plots import both_themes, style
from kernlab.plots.replay.figure import replay
from kernlab.plots.replay.memory import KINDS
from kernlab.plots.replay.scene import Frames, floats, nanoseconds, window
from kernlab.plots.time_axis import moment
from kernlab.util.text import human_bytes, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kernlab.traces.clock.window import Instant

#: How tables look wherever the page has no style for them.
_TABLE = '<table style="border-collapse:collapse;margin:0.8em 0">'
_CAPTION = '<caption style="text-align:left;font-weight:bold;padding-bottom:0.3em">'
_CELL, _TEXT = (
    f'style="padding:0.1em 0.8em 0.1em 0;text-align:{side};white-space:nowrap"' for side in ("right", "left")
)
#: Rows of the table of instants, the latest; letters of their texts.
_MOST_MARKS, _LONGEST = 40, 160


def static(
    frames: Frames,
    since: Instant | None = None,
    until: Instant | None = None,
    lanes: Iterable[str] | None = None,
    top: int = 5,
    *,
    processes: Mapping[int, str] | None = None,
    as_svg: bool = False,
) -> str:
    """One element: the figure of `replay` as a PNG (or an SVG) for light pages and dark ones, and two tables.

    The tables are where memory was at the window's begin, at its fullest and at its end, and the instants worth a look
    (`frames.marks`). Nothing in it runs; all text of the dump is escaped.
    """
    drawn = figure_of(frames, since, until, lanes, top, processes=processes)
    picture = _svg(drawn) if as_svg else str(both_themes.picture(drawn)[0]["text/html"])
    first, last, crash = window(frames, since, until)
    return (
        f'<figure class="{NO_MATH}" style="margin:0">{picture}'
        f"<figcaption>{_sizes(frames, first, last, crash)}{_marks(frames, first, last, crash)}</figcaption></figure>"
    )


def figure_of(
    frames: Frames,
    since: Instant | None = None,
    until: Instant | None = None,
    lanes: Iterable[str] | None = None,
    top: int = 5,
    *,
    processes: Mapping[int, str] | None = None,
    theme: str = "light",
) -> Figure:
    """The figure of `replay`, of which pyplot does not know: no notebook shows it by itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = Figure(dpi=100)
    FigureCanvasAgg(found)
    replay(frames, since, until, lanes, top, processes=processes, theme=theme, figure=found)
    return found


def _svg(figure: Figure) -> str:
    """Both themes as vectors; what has very many marks is a raster within."""
    own = _drawn(figure)
    with both_themes.turned(figure, style.LIGHT, style.DARK):
        other = _drawn(figure)
    return both_themes.swapped(own, other, both_themes.alternative(figure), "image/svg+xml")


def _drawn(figure: Figure) -> bytes:
    from matplotlib import rc_context

    file = io.BytesIO()
    # Text as text can be searched for; no date, for what is alike shall be alike.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kernlab"}):
        figure.savefig(file, format="svg", facecolor=figure.get_facecolor(), metadata={"Date": None})
    return file.getvalue()


def _sizes(frames: Frames, first: int, last: int, crash: int) -> str:
    """Memory by kind at the begin, at its fullest and at the end of the window."""
    table = frames.memory
    at, free = nanoseconds(table["time"]), floats(table["free_bytes"])
    rows = np.flatnonzero((at >= first) & (at <= last) & ~np.isnan(free))
    if not len(rows):
        return ""
    fullest = int(rows[free[rows].argmin()])
    chosen = (("at the begin", int(rows[0])), ("at its fullest", fullest), ("at the end", int(rows[-1])))
    span = (last - first) / 1e9
    heads = "".join(
        f'<th scope="col" {_CELL}>{name}<br>{moment(int(at[row]) / 1e9, span)}, {_ago(crash - int(at[row]), span)}</th>'
        for name, row in chosen
    )
    body = "".join(
        f'<tr><th scope="row" {_TEXT}>{name}</th>'
        + "".join(f"<td {_CELL}>{_size(table[column].iloc[row])}</td>" for _, row in chosen)
        + "</tr>"
        for column, name, _ in (*KINDS, ("swap_bytes", "swapped out", ""))
    )
    return f"{_TABLE}{_CAPTION}Memory by kind</caption><tr><td></td>{heads}</tr>{body}</table>"


def _marks(frames: Frames, first: int, last: int, crash: int) -> str:
    """The instants worth a look, where the frames have them."""
    table = getattr(frames, "marks", None)
    if table is None or not len(table):
        return ""
    at = nanoseconds(table["time"])
    kept = table[(at >= first) & (at <= last)]
    left = len(kept) - _MOST_MARKS
    kept, at = kept.iloc[-_MOST_MARKS:], at[(at >= first) & (at <= last)][-_MOST_MARKS:]
    span = (last - first) / 1e9
    body = "".join(
        f"<tr><td {_CELL}>{moment(ns / 1e9, span)}</td><td {_CELL}>{_ago(crash - ns, span)}</td>"
        f"<td {_TEXT}>{escape_html(str(kind))}</td>"
        f'<td style="text-align:left">{escape_html(shorten(str(text), _LONGEST))}</td></tr>'
        for ns, kind, text in zip(at.tolist(), kept["kind"], kept["text"], strict=True)
    )
    more = f", the latest {_MOST_MARKS} of {left + _MOST_MARKS:,}" if left > 0 else ""
    heads = "".join(
        f'<th scope="col" {_TEXT}>{name}</th>' for name in ("since boot", "before the crash", "what", "text")
    )
    return f"{_TABLE}{_CAPTION}Instants worth a look{more}</caption><tr>{heads}</tr>{body}</table>"


def _ago(ns: int, span: float) -> str:
    return "the crash" if ns <= 0 else f"{moment(ns / 1e9, span)} before"


def _size(value: Any) -> str:
    return "" if pd.isna(value) else human_bytes(int(value))
