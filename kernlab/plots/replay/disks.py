"""Lanes of a disk: where it was asked to read and write and by whom, how much at a time, how long it took."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.escape import escape_plot, show_short
from kernlab.plots import style
from kernlab.plots.io.axes import (
    bytes_axis,
    dots,
    duration,
    edge_marks,
    figure,
    hollow,
    lasting,
    latency_axis,
)
from kernlab.plots.io.figures import envelope
from kernlab.plots.io.requests import NEVER, OTHER, READ, WRITE, Requests, quantiles, steps, thinned
from kernlab.plots.io.words import counted
from kernlab.plots.replay.marks import at_right, breaks_of, headline, name_of, unknown
from kernlab.plots.replay.scene import I64, Frames, Scene, nanoseconds, window
from kernlab.plots.time_axis import seconds
from kernlab.util.integers import apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The last part of the window, to which the latency of all of it is compared.
_LATE = 0.1
#: Lines of text beside a lane.
_MOST_SIGNS = 7


def disks_of(table: pd.DataFrame, first: int, last: int) -> dict[str, tuple[int, int]]:
    """The disks with requests in a window, the busiest first: how many, and how many of these never came back."""
    start, end = nanoseconds(table["start"]), nanoseconds(table["end"])
    begun = np.where(start == NEVER, end, start)
    kept = (begun <= last) & ((end == NEVER) | (end >= first))
    names = table["disk"][kept].astype("str")
    never = names[end[kept] == NEVER].value_counts()
    return {str(name): (int(count), int(never.get(name, 0))) for name, count in names.value_counts().items()}


def requests_of(scene: Scene, disk: str) -> tuple[Requests, I64]:
    """One disk's requests of the window, in the order of their begin, and the code of who asked for each."""
    found, table = requests_between(scene.frames, disk, scene.first, scene.last)
    return found, scene.people.codes(scene.names(table))


def requests_between(frames: Frames, disk: str, first: int, last: int) -> tuple[Requests, pd.DataFrame]:
    """One disk's requests from `first` to `last` (ns), in the order of their begin, and their rows of the replay."""
    table = frames.requests
    table = table[(table["disk"].astype("str") == disk).to_numpy()]
    start, end = nanoseconds(table["start"]), nanoseconds(table["end"])
    begun = np.where(start == NEVER, end, start)
    order = np.argsort(begun, kind="stable")
    order = order[(begun[order] <= last) & ((end[order] == NEVER) | (end[order] >= first))]
    table, start, end = table.iloc[order], start[order], end[order]
    op = table["op"].astype("str").str.lower().str[:1].to_numpy()
    kind = np.select([op == "r", op == "w"], [READ, WRITE], OTHER).astype(np.int8)
    # Where nobody says what told of the requests, it was a trace of the disks.
    sources = set(table["source"].astype("str")) if "source" in table else set()
    own = breaks_of(frames, lambda source: source in sources if sources else "blk" in source)
    gaps = [(int(since), int(until)) for since, until in own if until > since]
    found = Requests(
        disk,
        start,
        end,
        table["sector"].fillna(0).to_numpy(dtype=np.uint64),
        table["bytes"].fillna(0).to_numpy(dtype=np.int64),
        kind,
        table["flush"].fillna(False).to_numpy(dtype=bool),
        first,
        last,
        first,
        bool(gaps),
        tuple(sorted(gaps)),
        cut=True,
    )
    return found, table


def alone(frames: Frames, disk: str) -> Requests:
    """One disk's requests of all that was replayed, for figures of it alone (`latency_of`, `depth_of` of plots.io): the
    same requests and the same window as the lanes have."""
    first, last, _ = window(frames, None, None)
    found, _ = requests_between(frames, disk, first, last)
    return replace(found, device=escape_plot(disk, 60), time="since boot, up to the crash")


def offsets(ax: Axes, scene: Scene, disk: str) -> None:
    """Where each process asked for something, at its first byte; flushes below the axis, a ring at what never came
    back."""
    requests, who = requests_of(scene, disk)
    placed = np.flatnonzero((requests.bytes > 0) & (requests.issued >= scene.first))
    x, y = seconds(requests.issued), requests.sector.astype(np.float64) * 512
    kept = placed[thinned(x[placed], y[placed], who[placed], requests.kind[placed], cells=(scene.cells, 200))]
    # Who has a colour lies on top.
    for code in [len(scene.people.names), *reversed(range(len(scene.people.names)))]:
        for kind in (READ, WRITE, OTHER):
            rows = kept[(who[kept] == code) & (requests.kind[kept] == kind)]
            dots(ax, x[rows], y[rows], scene.people.colours[code], kind, size=_size(kept))
    out = np.flatnonzero(requests.bytes > 0)
    fills = np.array(scene.people.colours, dtype=object)[who]
    lasting(ax, scene.theme, requests, out, y, fills)
    never = out[requests.pending[out]]
    hollow(ax, scene.theme, requests.begun[never], y[never])
    edge_marks(ax, scene.theme, requests, requests.pending & (requests.bytes == 0))
    bytes_axis(ax, scene.theme, 0.0, float((y[out] + requests.bytes[out]).max(initial=1.0)), ticks=4)
    _hatch(ax, scene, requests)
    total = np.bincount(who, minlength=len(scene.people.names) + 1)
    busiest = np.argsort(-total, kind="stable")
    _legend(ax, scene, requests, busiest[total[busiest] > 0])
    pending = int(requests.pending.sum())
    name, count = escape_plot(disk, 60), len(requests.issued)
    text = f"{name}: {counted(count, 'request')}"
    headline(
        ax,
        scene,
        f"{text}, {pending:,} {_not_back(requests)}" if pending else text,
        "where on the disk, by whom",
    )
    by = ", ".join(
        f"{show_short(one, 60)} {total[at]:,}"
        for at, one in enumerate([*scene.people.names, "all others"])
        if total[at]
    )
    style.say(
        ax,
        f"Scatter plot of {counted(count, 'request')} to {show_short(disk, 60)} by time and offset: {by}; "
        f"{counted(int(requests.flush.sum()), 'flush')}; {pending:,} {_not_back(requests)}.",
    )


def depth(ax: Axes, scene: Scene, disk: str) -> None:
    """How many requests the disk worked on."""
    requests, _ = requests_of(scene, disk)
    moments, count = requests.changes()
    moments, count = np.append(moments, requests.last), np.append(count, count[-1])
    x, low, high = envelope(moments, count, requests, scene.cells)
    ax.fill_between(x, 0, low, step="post", color=scene.theme.blue, linewidth=0)
    ax.fill_between(x, low, high, step="post", color=scene.theme.sky, linewidth=0)
    from matplotlib.ticker import MaxNLocator

    most = int(count.max(initial=0))
    ax.set_ylim(0, max(most, 1) * 1.16)
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    edge_marks(ax, scene.theme, requests, requests.pending)
    _hatch(ax, scene, requests)
    mean = float((np.diff(moments).astype(np.float64) * count[:-1]).sum()) / requests.span
    when = "at the crash" if scene.crash <= scene.last else "at the end"
    text = f"{escape_plot(disk, 60)}: {int(count[-1]):,} under way {when}, {most:,} at most"
    headline(ax, scene, text, f"queue depth; {figure(mean)} on average")
    style.say(
        ax,
        f"Area of the requests that {show_short(disk, 60)} was working on: {figure(mean)} on average, "
        f"{most:,} at most, {int(count[-1]):,} {when}.",
    )


def latency(ax: Axes, scene: Scene, disk: str) -> None:
    """How long each request took, at its completion; what never came back is at the end, as old as it was."""
    requests, who = requests_of(scene, disk)
    whole = np.flatnonzero((requests.issued != NEVER) & requests.ended)
    took = np.maximum(apart(requests.issued[whole], requests.completed[whole]), 1)
    pending = np.flatnonzero(requests.pending)
    age = np.maximum(apart(requests.issued[pending], np.full(len(pending), requests.last)), 1)
    x, y = seconds(requests.completed[whole]), took / 1e6
    kept = thinned(x, np.log10(y), who[whole], requests.kind[whole], cells=(scene.cells, 200))
    for code in [len(scene.people.names), *reversed(range(len(scene.people.names)))]:
        for kind in (READ, WRITE, OTHER):
            rows = kept[(who[whole][kept] == code) & (requests.kind[whole][kept] == kind)]
            dots(ax, x[rows], y[rows], scene.people.colours[code], kind, alpha=0.75, size=_size(kept))
    if len(whole) >= 40:
        edges = steps(requests)
        median = quantiles(took, requests.completed[whole], edges, (0.5,))[0] / 1e6
        for colour, width in ((scene.theme.background, 3.2), (scene.theme.ink, 1.4)):
            ax.stairs(median, seconds(edges), baseline=None, color=colour, linewidth=width, zorder=3)
    hollow(ax, scene.theme, np.full(len(pending), requests.last), age / 1e6)
    latency_axis(ax, took, age)
    height = np.full(len(requests.issued), np.nan)
    height[whole], height[pending] = y, age / 1e6
    fills = np.array(scene.people.colours, dtype=object)[who]
    lasting(ax, scene.theme, requests, np.append(whole, pending), height, fills)
    _hatch(ax, scene, requests)
    name = escape_plot(disk, 60)
    if not len(took):
        headline(ax, scene, f"{name}: no request came back", "latency, issue to completion")
        style.say(ax, f"How long requests of {show_short(disk, 60)} took: none came back.")
        return
    half = float(np.quantile(took, 0.5, method="inverted_cdf"))
    late = took[requests.completed[whole] >= scene.last - _LATE * (scene.last - scene.first)]
    text = f"{name}: {duration(half)} median"
    if len(late) >= 5:
        text += (
            f", {duration(float(np.median(late)))} in the last {duration(_LATE * (scene.last - scene.first))}"
        )
    headline(ax, scene, text, "latency, issue to completion" + ("; line: median" if len(whole) >= 40 else ""))
    oldest = (
        f"; {len(pending):,} {_not_back(requests)}, the oldest after {duration(age.max())}"
        if len(pending)
        else ""
    )
    style.say(
        ax,
        f"Scatter plot of how long {len(took):,} requests of {show_short(disk, 60)} took: median {duration(half)}, "
        f"longest {duration(took.max())}{oldest}.",
    )


def _size(shown: npt.NDArray[Any]) -> float:
    """How large dots are, by how many there are in a lane."""
    return 1.0 if len(shown) < 300 else 0.7 if len(shown) < 2000 else 0.5


def _hatch(ax: Axes, scene: Scene, requests: Requests) -> None:
    for since, until in requests.missing:
        unknown(ax, scene, since, until, is_clear=True)


def _not_back(requests: Requests) -> str:
    """What is said of requests without a completion."""
    return "without a completion seen" if requests.unsure.any() else "not back at the end"


def _legend(ax: Axes, scene: Scene, requests: Requests, codes: I64) -> None:
    """What the colours and the shapes are, beside the lane; `codes` of who has a colour, the busiest first."""
    soft, low, high = scene.theme.soft, *ax.get_ylim()
    kinds = ((READ, "\N{BLACK CIRCLE}", "reads"), (WRITE, "\N{MULTIPLICATION SIGN}", "writes"))
    shown = [(sign, name, soft) for kind, sign, name in kinds if (requests.kind == kind).any()]
    if (requests.flush & ~requests.pending).any():
        shown.append(("|", "flushes", scene.theme.pink))
    if requests.pending.any():
        shown.append(("\N{WHITE CIRCLE}", _not_back(requests), scene.theme.vermilion))
    names = [*(name_of(name) for name in scene.people.names), "all others"]
    own = [("\N{BLACK SQUARE}", names[code], scene.people.colours[code]) for code in codes.tolist()]
    shown = [*own[: _MOST_SIGNS - len(shown)], *shown]
    step = (high - low) / max(len(shown), 4)
    entries = [(high - step * at, name, colour) for at, (_, name, colour) in enumerate(shown)]
    at_right(ax, scene, entries, "".join(sign for sign, _, _ in shown))
