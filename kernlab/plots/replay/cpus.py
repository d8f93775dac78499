"""Lanes of CPUs: who ran on each, in the colours of the processes, and how many threads wanted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.escape import show_short
from kernlab.plots import style
from kernlab.plots.io.axes import figure
from kernlab.plots.replay.marks import at_right, breaks_of, headline, ink_on, name_of, unknown
from kernlab.plots.replay.scene import F64, I64, Scene, floats, nanoseconds
from kernlab.plots.replay.thin import few_rows, ran_most, stretches
from kernlab.plots.time_axis import seconds
from kernlab.util.text import percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Intervals that are drawn as they are, where half of them are wider than two pixels.
_SINGLE = 4000
#: Of a pixel, from which share on a colour in it is seen: who is nowhere seen has no name beside the lane.
_SEEN = 0.05
#: Less than this share of the time of all CPUs is too little for a lane.
_TOO_LITTLE = 0.02
#: Hatched stretches of one CPU, at most; shorter ones give way.
_MOST_UNKNOWN = 200
#: Of a CPU's row, what its intervals fill.
_FILL = 0.82
#: Points of a letter, of a name within an interval.
_LETTER = 4.3


def cpus(ax: Axes, scene: Scene) -> None:
    """A row for each CPU: who ran, by the colour of its process; an idle CPU's row is empty, an unknown one's hatched.

    Where an interval is too short to be seen, each pixel has the colour of who ran most in it, as high as it was busy.
    """
    table = scene.frames.running
    start, end = nanoseconds(table["start"]), nanoseconds(table["end"])
    kept = (start < scene.last) & (end > scene.first)
    rows, start, end = table[kept], start[kept], end[kept]
    numbers = np.unique(table["cpu"].dropna().to_numpy(dtype=np.int64))
    cpu = np.searchsorted(numbers, rows["cpu"].to_numpy(dtype=np.int64))
    idle = rows["pid"].fillna(-1).to_numpy(dtype=np.int64) == 0
    names = scene.names(rows)
    colours = scene.people.colours
    who = np.where(idle, len(colours), scene.people.codes(names))
    begin, stop = np.maximum(start, scene.first), np.minimum(end, scene.last)
    share = ran_most(
        start, end, cpu, who, scene.first, scene.last, scene.cells, len(numbers), len(colours) + 1
    )
    busy = ~idle
    cell = (scene.last - scene.first) / scene.cells
    is_few = busy.sum() <= _SINGLE and (not busy.any() or np.median((stop - begin)[busy]) >= 2 * cell)
    if is_few:
        _single(ax, scene, begin[busy], stop[busy], cpu[busy], who[busy], names[busy])
    else:
        _by_pixel(ax, scene, share)
    ax.set_ylim(max(len(numbers), 1), 0)
    every = max(-(-len(numbers) // 16), 1)
    ax.set_yticks(np.arange(0, len(numbers), every) + 0.5, [f"CPU {number}" for number in numbers[::every]])
    ax.grid(visible=False, axis="y")
    # Without idle threads' intervals nobody can tell an idle CPU from one that is not known.
    if (table["pid"].fillna(-1) == 0).any():
        _not_known(ax, scene, share.sum(axis=2))
    weights = (stop - begin).astype(np.float64)
    took: F64 = np.bincount(who, weights=weights, minlength=len(colours) + 1).astype(np.float64)
    seen = np.unique(share.argmax(axis=2)[share[:, :, : len(colours)].sum(axis=2) >= _SEEN])
    _name(ax, scene, np.where(np.isin(np.arange(len(colours) + 1), seen), took, 0.0))
    _say(ax, scene, took, numbers)


def little_known(table: pd.DataFrame, first: int, last: int) -> bool:
    """Is it known of next to none of a window's time who ran? Only where the table tells of idle CPUs."""
    start, end = nanoseconds(table["start"]), nanoseconds(table["end"])
    known = np.maximum(np.minimum(end, last) - np.maximum(start, first), 0).astype(np.float64).sum()
    whole = max(int(table["cpu"].nunique()), 1) * float(last - first)
    return bool((table["pid"].fillna(-1) == 0).any()) and known < _TOO_LITTLE * whole


def _single(
    ax: Axes, scene: Scene, begin: I64, stop: I64, cpu: npt.NDArray[Any], who: I64, names: pd.Series[str]
) -> None:
    """Every interval, with its name where there is room."""
    from matplotlib.collections import PolyCollection

    left, right = seconds(begin), seconds(stop)
    low = cpu + (1 - _FILL) / 2
    corners = np.stack(
        [np.stack([x, y], axis=1) for x, y in ((left, low), (right, low), (right, low + _FILL), (left, low + _FILL))],
        axis=1,
    )  # fmt: skip
    fills = np.array(scene.people.colours, dtype=object)[who].tolist()
    edge = scene.theme.background if len(begin) < 400 else "none"
    ax.add_collection(
        PolyCollection(
            list(corners), facecolors=fills, edgecolors=edge, linewidths=0.4 if len(begin) < 400 else 0,
            label="_running",
        )
    )  # fmt: skip
    width = scene.cells * 72 / ax.figure.dpi
    room = ((stop - begin) / (scene.last - scene.first) * width / _LETTER).astype(np.int64) - 1
    for at in np.flatnonzero(room >= 3)[:150].tolist():
        name = str(names.iloc[at])
        if len(name) <= room[at] + 2:
            ax.text(
                (left[at] + right[at]) / 2, cpu[at] + 0.52, name_of(name), ha="center", va="center",
                fontsize=6.5, color=ink_on(fills[at]), clip_on=True,
            )  # fmt: skip


def _by_pixel(ax: Axes, scene: Scene, share: F64) -> None:
    """A raster: for each CPU and pixel who ran most, as high as the CPU was busy."""
    from matplotlib.colors import ListedColormap

    colours = scene.people.colours
    own = share[:, :, : len(colours)]
    busy = np.minimum(own.sum(axis=2), 1)
    most = own.argmax(axis=2) + 1
    points = ax.get_position().height * float(ax.figure.get_figheight()) * ax.figure.dpi  # type: ignore[union-attr]
    height = int(np.clip(points / max(len(share), 1), 1, 24))
    margin = round(height * (1 - _FILL) / 2)
    levels = max(height - 2 * margin, 1)
    # One row of it is as little as can be seen.
    filled = np.where(busy > 0, np.maximum(np.round(busy * levels), 1), 0).astype(np.int64)
    image = np.zeros((len(share), height, share.shape[1]), dtype=np.uint8)
    level = np.arange(levels, 0, -1)
    image[:, margin : margin + levels] = np.where(
        level[None, :, None] <= filled[:, None, :], most[:, None, :], 0
    )
    ax.imshow(
        image.reshape(-1, share.shape[1]),
        cmap=ListedColormap([scene.theme.background, *colours]),
        vmin=-0.5,
        vmax=len(colours) + 0.5,
        aspect="auto",
        interpolation="nearest",
        extent=(*scene.limits, len(share), 0),
        zorder=1,
        label="_running",
    )
    ax.grid(visible=False)


def _not_known(ax: Axes, scene: Scene, known: F64) -> None:
    """Hatch where no interval of a CPU lies, not even its idle thread's."""
    width = (scene.last - scene.first) / scene.cells
    for cpu, row in enumerate(known):
        found = sorted(stretches(row < 0.5), key=lambda one: one[0] - one[1])[:_MOST_UNKNOWN]
        for begin, end in found:
            since, until = scene.first + round(begin * width), scene.first + round(end * width)
            low = cpu + (1 - _FILL) / 2
            unknown(ax, scene, since, until, low, low + _FILL, in_data=True)


def _name(ax: Axes, scene: Scene, took: F64) -> None:
    people = scene.people
    rows = len(ax.get_yticks()) or 1
    high = ax.get_ylim()[0]
    order = [at for at in np.argsort(-took[: len(people.names)], kind="stable").tolist() if took[at] > 0]
    entries = [(name_of(people.names[at]), people.fills[at]) for at in order]
    if took[len(people.names)] > 0:
        entries.append(("all others", people.others))
    step = high / max(len(entries), rows, 1)
    at_right(ax, scene, [(step * (at + 0.5), name, fill) for at, (name, fill) in enumerate(entries)])


def _say(ax: Axes, scene: Scene, took: F64, numbers: I64) -> None:
    people = scene.people
    whole, ran = float(took.sum()), float(took[:-1].sum())
    if not whole:
        headline(ax, scene, "CPUs: nothing tells who ran")
        style.say(ax, f"Who ran on {len(numbers)} CPUs: nothing tells.")
        return
    first = int(took[: len(people.names)].argmax()) if people.names else 0
    text = f"CPUs {percent(ran / whole)} busy"
    if people.names and took[first]:
        text += f": {name_of(people.names[first])} had {percent(float(took[first]) / whole)} of their time"
    headline(ax, scene, text, "who ran; empty: idle")
    parts = [
        f"{show_short(name, 60)} {percent(float(took[at]) / whole)}"
        for at, name in enumerate(people.names)
        if took[at]
    ]
    style.say(
        ax,
        f"Who ran on {len(numbers)} CPUs: {percent(ran / whole)} of the time that is known somebody did; "
        f"{', '.join(parts)}, all others {percent(float(took[len(people.names)]) / whole)}.",
    )


def runnable(ax: Axes, scene: Scene) -> None:
    """How many threads ran or wanted to, on all CPUs together."""
    rows, at = scene.during(scene.frames.runnable, lead=True)
    at, count = _together(rows, at)
    kept = few_rows(at, count, scene.first, scene.last, scene.cells)
    when, height = np.maximum(at[kept], scene.first), count[kept]
    if len(when):
        when, height = np.append(when, scene.last), np.append(height, height[-1])
        ax.fill_between(
            seconds(when), 0, height, step="post", color=scene.theme.sky, linewidth=0, label="_runnable"
        )
    from matplotlib.ticker import MaxNLocator

    most = float(np.nanmax(count, initial=0.0))
    ax.set_ylim(0, max(most, 1) * 1.15)
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for since, until in breaks_of(scene.frames, lambda source: "ftrace" in source):
        if until > since:
            unknown(ax, scene, since, until)
    if not len(when):
        headline(ax, scene, "Run queues: nothing tells how long they were")
        style.say(ax, "Threads that ran or wanted to: nothing tells.")
        return
    took = np.diff(when).astype(np.float64)
    mean = float(np.nansum(took * height[:-1]) / max(took[~np.isnan(height[:-1])].sum(), 1))
    headline(
        ax,
        scene,
        f"{figure(mean)} threads wanted a CPU on average, {figure(most)} at most",
        "run queues together",
    )
    style.say(
        ax, f"Area of the threads that ran or wanted to: {figure(mean)} on average, {figure(most)} at most."
    )


def _together(rows: pd.DataFrame, at: I64) -> tuple[I64, F64]:
    """(ns, threads): of the whole machine, or the sum of what each CPU last said."""
    cpu = rows["cpu"].fillna(-1).to_numpy(dtype=np.int64)
    count = floats(rows["count"])
    whole = cpu < 0
    if whole.any():
        return at[whole], count[whole]
    order = np.argsort(cpu, kind="stable")
    change = np.zeros(len(count))
    ordered, same = count[order], np.append(False, cpu[order][1:] == cpu[order][:-1])[: len(cpu)]
    change[order] = ordered - np.where(same, np.append(0.0, ordered[:-1])[: len(cpu)], 0.0)
    total = np.cumsum(change)
    # Several CPUs may speak at one instant: what all of them said counts.
    last = np.append(at[1:] != at[:-1], True)[: len(at)]
    return at[last], total[last]
