"""Lanes of what the kernel said itself: the pressure that it measured, and its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.escape import escape_plot, show_controls, show_short
from kernlab.plots import style
from kernlab.plots.io.words import counted
from kernlab.plots.replay.marks import SIZE, at_right, headline
from kernlab.plots.replay.scene import F64, I64, Scene, floats, nanoseconds
from kernlab.plots.time_axis import moment, seconds
from kernlab.util.text import few, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Resources in the order of their bands, and how these are named; from one band's 0 to the next, in heights of a band.
RESOURCES = ("memory", "io", "cpu")
_SPELT = {"memory": "memory", "io": "I/O", "cpu": "CPUs"}
_WHOSE = {"some": "some", "full": "all"}
_PACE = 1.18
#: KERN_ERR, KERN_WARNING (include/linux/kern_levels.h).
ERROR, WARNING = 3, 4
#: Lines of text in the lane of the log; letters of one; its lines that are tried.
ROWS, _LONGEST, _TRIED = 8, 72, 200
#: Letters that are left of a line at least.
_SHORTEST = 14
#: Points of a letter.
_LETTER = 4.15
#: Nanoseconds of silence before a warning that has room for its text: what follows at once is the rest of a report.
_SILENCE = 100_000_000


def pressures(frame: pd.DataFrame) -> list[str]:
    """The resources of whose pressure something is told, in the order of their bands from the top down."""
    told = set(frame.loc[frame["share"].notna().to_numpy(), "resource"].astype("str"))
    return [name for name in RESOURCES if name in told]


def pressure(ax: Axes, scene: Scene) -> None:
    """A band for each resource: which share of the time some tasks waited for it, and in it when all did.

    The height of a band is the same share in each; its tick is at 0.
    """
    rows, at = scene.during(scene.frames.pressure, follow=True)
    share = floats(rows["share"])
    resource, kind = rows["resource"].astype("str").to_numpy(), rows["kind"].astype("str").to_numpy()
    length = nanoseconds(rows["window"]) if "window" in rows else None
    shown = pressures(rows)
    lines: dict[tuple[str, str], tuple[F64, F64]] = {}
    for name in shown:
        for which in ("some", "full"):
            own = (resource == name) & (kind == which) & ~np.isnan(share)
            # Of all tasks of a machine the kernel does not measure it (Documentation/accounting/psi.rst).
            if own.any() and (name, which) != ("cpu", "full"):
                lines[name, which] = _of_time_before(
                    at[own], share[own], None if length is None else length[own]
                )
    if not lines:
        ax.set_yticks([])
        headline(ax, scene, "Pressure: nothing tells")
        style.say(ax, "Pressure (PSI): nothing tells.")
        return
    most = {key: float(np.nanmax(y)) for key, (_, y) in lines.items()}
    top = next((step for step in (0.05, 0.1, 0.25, 0.5, 1.0) if max(most.values()) <= step), 1.0)
    pace = top * _PACE
    theme = scene.theme
    # The line is what tells the light area from the ground.
    fills = {"some": (theme.sky, theme.blue, 0.7), "full": (theme.blue, theme.blue, 0.0)}
    places = {name: (len(shown) - 1 - row) * pace for row, name in enumerate(shown)}
    names = []
    for (name, which), (x, y) in lines.items():
        fill, edge, width = fills[which]
        low = places[name]
        ax.fill_between(x, low, low + y, color=fill, linewidth=0, zorder=2.2)
        ax.plot(x, low + y, color=edge, linewidth=width, label=f"_{name} {which}", zorder=2.3)
        height = low + top * (0.78 if which == "some" else 0.3)
        names.append((height, f"{_WHOSE[which]}: {percent(most[name, which])} at most", fill))
    ax.set_ylim(-0.04 * top, (len(shown) - 1) * pace + 1.04 * top)
    ax.set_yticks(list(places.values()), [_SPELT[name] for name in places], va="bottom")
    at_right(ax, scene, names)
    what = max(most, key=lambda key: (most[key], key[1] == "full"))
    text = f"Pressure: {_WHOSE[what[1]]} tasks waited for {_SPELT[what[0]]} {percent(most[what])} of the time at most"
    headline(ax, scene, text, f"each band up to {percent(top)}")
    parts = ", ".join(
        f"{_SPELT[name]}: {_WHOSE[which]} {percent(share)}" for (name, which), share in most.items()
    )
    style.say(ax, f"Areas of the shares of time that some tasks or all waited (PSI), at most: {parts}.")


def _of_time_before(at: I64, share: F64, length: I64 | None) -> tuple[F64, F64]:
    """Corners of lines: each share is of the time up to its moment, `length` ns or since the one before; NaN between.

    Of several of one moment the one of the shortest time is drawn.
    """
    length = np.diff(at, prepend=at[0]) if length is None else length
    order = np.lexsort((length, at))
    order = order[np.append(True, np.diff(at[order]) > 0)]
    at, share, length = at[order], share[order], length[order]
    # Marks are not quite as far apart as they say.
    begin = np.maximum(at - length, np.append(at[0] - length[0], at[:-1]))
    begin[1:] = np.where(begin[1:] - at[:-1] < length[1:] // 50, at[:-1], begin[1:])
    is_gap = np.append(begin[1:] > at[:-1], False)
    end = np.where(is_gap, np.nan, at.astype(np.float64))
    x = np.stack([begin, at, end], axis=1).ravel() / 1e9
    return x, np.stack([share, share, np.where(is_gap, np.nan, share)], axis=1).ravel()


def log_lines(frame: pd.DataFrame, first: int, last: int) -> int:
    """How many lines of text the lane of the log has use for."""
    at = nanoseconds(frame["time"])
    inside = (at >= first) & (at <= last)
    level = frame["level"].fillna(6).to_numpy(dtype=np.int64)[inside]
    return int(np.clip(_written(at[inside], level).sum(), 2, ROWS))


def _written(at: I64, level: I64) -> npt.NDArray[np.bool_]:
    """Whose text is worth its room: errors, and warnings that nothing came just before."""
    is_first = np.diff(at, prepend=-_SILENCE) >= _SILENCE
    return np.asarray((level <= ERROR) | ((level == WARNING) & is_first))


def log(ax: Axes, scene: Scene, lines: int = ROWS) -> None:
    """A tick for each line of the log, errors marked, with their text where there is room; `lines` are of text."""
    rows, at = scene.during(scene.frames.log)
    level = rows["level"].fillna(6).to_numpy(dtype=np.int64)
    x = seconds(at)
    for low, high, colour, height, width in (
        (WARNING + 1, 99, scene.theme.mute, 0.35, 0.8),
        (WARNING, WARNING, scene.theme.orange, 0.55, 1.0),
        (-1, ERROR, scene.theme.vermilion, 0.9, 1.4),
    ):
        own = (level >= low) & (level <= high)
        if own.any():
            ax.vlines(x[own], 0, height, color=colour, linewidth=width, label=f"_level {low}", zorder=2)
    ax.set_ylim(0, lines + 1)
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    texts = [text.partition("\n")[0] for text in rows["text"].astype("str")]
    _write(ax, scene, at, level, texts, lines)
    errors = np.flatnonzero(level <= ERROR)
    count = counted(len(rows), "line")
    if len(errors):
        headline(ax, scene, f"Log: {counted(len(errors), 'error')} in {count}")
    else:
        headline(ax, scene, f"Log: {count}, no error")
    shown = [
        f"{moment(float(x[row]), scene.span)} {show_short(texts[row], 300)}" for row in errors.tolist()[-8:]
    ]
    said = f"{counted(len(errors), 'error')}: {few(shown, between='; ')}" if shown else "no error"
    style.say(ax, f"Marks of {count} of the log, {said}.")


def _write(ax: Axes, scene: Scene, at: I64, level: I64, texts: list[str], lines: int) -> None:
    """The text of errors and warnings beside their ticks: the worst and latest first, none over another."""
    width = scene.cells * 72 / ax.figure.dpi / _LETTER  # letters of the lane
    low, high = scene.limits
    x = seconds(at)
    taken: list[list[tuple[float, float]]] = [[] for _ in range(lines)]
    wanted = np.flatnonzero(_written(at, level))
    wanted = wanted[np.lexsort((-wanted, level[wanted] > ERROR))][:_TRIED]
    seen: set[str] = set()
    for row in wanted.tolist():
        text = show_controls(texts[row])
        if text in seen:
            continue
        place = (float(x[row]) - low) / (high - low) * width
        found = _room(taken, place, min(len(text), _LONGEST), width)
        if found is None:
            continue
        seen.add(text)
        line, room, leftwards = found
        letters = min(len(text), room)
        taken[line].append(
            (place - letters - 1, place + 0.5) if leftwards else (place - 0.5, place + letters + 1.5)
        )
        is_error = level[row] <= ERROR
        colour = scene.theme.vermilion if is_error else scene.theme.orange
        height = lines - line + 0.4
        ax.vlines([x[row]], 0, height + 0.3, color=colour, linewidth=0.8, zorder=1.5, label="_text")
        ax.annotate(
            escape_plot(text, letters),
            (float(x[row]), height),
            (-3 if leftwards else 3, 0),
            textcoords="offset points",
            ha="right" if leftwards else "left",
            va="center",
            color=scene.theme.ink if is_error else scene.theme.soft,
            fontsize=SIZE,
            annotation_clip=False,
            # The lines of texts above go on behind this one.
            bbox={"facecolor": scene.theme.background, "edgecolor": "none", "pad": 0.4},
        )


def _room(
    taken: list[list[tuple[float, float]]], at: float, wanted: int, width: float
) -> tuple[int, int, bool] | None:
    """(line, letters, does it end at the tick) of the place with the most room beside a tick, if any has room."""
    best: tuple[int, int, bool] | None = None
    for line, spans in enumerate(taken):
        if any(begin <= at <= end for begin, end in spans):
            continue
        right = min((begin for begin, _ in spans if begin > at), default=width) - at - 1
        left = at - max((end for _, end in spans if end < at), default=0.0) - 1
        for room, leftwards in ((right, False), (left, True)):
            letters = min(int(room), wanted)
            if letters >= min(_SHORTEST, wanted) and (best is None or letters > best[1]):
                best = line, letters, leftwards
    return best
