"""Block traces in, what iowatcher draws of them out: offsets by process, IOPS, throughput, latency, queue depth.

Each takes `BlkTrace.events` (of a dump, a running machine or saved files). All of one trace have the same time axis, so
that they can stand below each other: seconds since boot, from the device's first event to its last, or from `since` to
`until` (seconds since boot, below zero before the end of the trace or the crash, a Timedelta or text such as "-500ms").
Steps and cells are those of the window: in a short one every request can be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.escape import show_short
from kernlab.plots import style
from kernlab.plots.io import words
from kernlab.plots.io.axes import (
    MARKERS,
    bytes_axis,
    dots,
    duration,
    edge_marks,
    figure,
    fills_of,
    hollow,
    io_axes,
    lasting,
    latency_axis,
    legend_below,
    mark,
    stack,
    time_axis,
    told_below,
)
from kernlab.plots.io.requests import (
    F64,
    I64,
    KINDS,
    NEVER,
    Requests,
    issued_by,
    one_device,
    per_second,
    quantiles,
    steps,
    thinned,
)
from kernlab.plots.io.window import window_of
from kernlab.plots.time_axis import seconds
from kernlab.traces.clock.window import Instant
from kernlab.util.integers import apart
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["depth", "iops", "latency", "offsets", "throughput"]

#: Pieces of a depth that changes more often than can be drawn.
_CELLS = 720
#: Fewer requests have no line of medians.
_CROWD = 40


def offsets(
    events: pd.DataFrame,
    ax: Axes | None = None,
    top: int = 5,
    *,
    device: str | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    theme: str | None = None,
) -> Axes:
    """Where on the device each process read and wrote, over time; what never completed is marked.

    A dot is a request as it was queued (issued, where the trace has no Q), at its first byte. The `top` busiest
    processes, by name, have a colour each.
    """
    colours = style.theme_of(theme, ax)
    requests = window_of(events, device, since, until)
    mine, name = one_device(events, requests.device)
    asked = issued_by(mine)
    asked = asked[asked["time"].between(requests.first, requests.last)]
    x, y = seconds(asked["time"].to_numpy()), asked["sector"].to_numpy().astype(np.float64) * 512
    comm = asked["comm"].fillna("?").astype("str")
    counts = comm.value_counts()
    shown = counts.index[: max(top, 1)].tolist()
    fills = [colours.blue, colours.orange, colours.green, colours.pink, colours.sky]
    fills = [*(fills * (1 + len(shown) // len(fills)))[: len(shown)], colours.mute]
    place = {comm: index for index, comm in enumerate(shown)}
    owner = comm.map(lambda value: place.get(value, len(shown))).to_numpy(dtype=np.int64)
    kind = asked["kind"].to_numpy()
    ax = io_axes(ax, colours, 3.9)
    keep = thinned(x, y, owner, kind)
    # The busiest first: what few requests made lies on top.
    for number in [*range(len(shown)), len(shown)]:
        for what in range(len(KINDS)):
            rows = keep[(owner[keep] == number) & (kind[keep] == what)]
            dots(ax, x[rows], y[rows], fills[number], what)
    # A flush has no place on the device.
    placed = np.flatnonzero(requests.bytes > 0)
    place_of = requests.sector.astype(np.float64) * 512
    lasting(ax, colours, requests, placed, place_of)
    pending = placed[requests.pending[placed]]
    hollow(ax, colours, requests.begun[pending], place_of[pending])
    time_axis(ax, colours, requests)
    edge_marks(ax, colours, requests, requests.pending & (requests.bytes == 0))
    stops = np.append(y + asked["bytes"].to_numpy(), place_of[placed] + requests.bytes[placed])
    bytes_axis(ax, colours, float(y.min(initial=0)), float(stops.max(initial=1)))
    handles = [mark(fills[i], words.name(comm), "o") for i, comm in enumerate(shown)]
    if len(counts) > len(shown):
        handles.append(mark(colours.mute, words.others(len(counts) - len(shown)), "o"))
    marks = [mark(colours.soft, KINDS[what], MARKERS[what]) for what in np.unique(kind).tolist()]
    marks += told_below(colours, requests)
    legend_below(ax, colours, handles, marks)
    style.title(
        ax,
        colours,
        f"Who asked for what: {len(asked):,} requests, {human_bytes(int(asked['bytes'].sum()))}",
        words.below(requests, "offset on the device"),
    )
    parts = ", ".join(f"{show_short(str(comm), 60)} {count:,}" for comm, count in counts.head(top).items())
    return style.say(
        ax,
        f"Scatter plot of {len(asked):,} requests to {name} by time and offset, {words.span(requests)}; "
        f"by process: {parts}{words.and_others(len(counts) - len(shown))}. {words.at_the_end(requests)}.",
    )


def iops(
    events: pd.DataFrame,
    ax: Axes | None = None,
    *,
    device: str | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    theme: str | None = None,
) -> Axes:
    """Requests that the device completed, a second: reads and writes, stacked."""
    return iops_of(window_of(events, device, since, until), ax, theme)


def iops_of(requests: Requests, ax: Axes | None = None, theme: str | None = None) -> Axes:
    """`iops` of requests that were told apart already."""
    colours = style.theme_of(theme, ax)
    rates, edges = _rates(requests, None)
    ax = io_axes(ax, colours, 2.6)
    total = stack(ax, colours, rates, edges, told_below(colours, requests))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value == round(value) else f"{value:g}")
    mean = float(requests.counted.sum()) / requests.span * 1e9
    most = _most(total, edges, requests)
    style.title(
        ax,
        colours,
        f"IOPS: {figure(mean)} a second on average, {figure(most)} at most",
        words.below(requests, f"completed requests a second, in steps of {duration(edges[1] - edges[0])}"),
    )
    time_axis(ax, colours, requests)
    edge_marks(ax, colours, requests, requests.pending)
    return style.say(
        ax,
        f"Stacked area of completed requests a second of {requests.device}, {words.span(requests)}: "
        f"{figure(mean)} on average, {figure(most)} at most; {words.by_kind(requests)}.",
    )


def throughput(
    events: pd.DataFrame,
    ax: Axes | None = None,
    *,
    device: str | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    theme: str | None = None,
) -> Axes:
    """Megabytes that the device read and wrote, a second, stacked, when they were completed."""
    return throughput_of(window_of(events, device, since, until), ax, theme)


def throughput_of(requests: Requests, ax: Axes | None = None, theme: str | None = None) -> Axes:
    """`throughput` of requests that were told apart already."""
    colours = style.theme_of(theme, ax)
    rates, edges = _rates(requests, requests.bytes / 1e6)
    ax = io_axes(ax, colours, 2.6)
    total = stack(ax, colours, rates, edges, told_below(colours, requests))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    mean = requests.bytes[requests.counted].sum() / 1e6 / requests.span * 1e9
    most = _most(total, edges, requests)
    style.title(
        ax,
        colours,
        f"Throughput: {figure(mean)} MB/s on average, {figure(most)} at most",
        words.below(requests, f"MB/s of completed requests, in steps of {duration(edges[1] - edges[0])}"),
    )
    time_axis(ax, colours, requests)
    edge_marks(ax, colours, requests, requests.pending)
    return style.say(
        ax,
        f"Stacked area of megabytes a second of {requests.device}, {words.span(requests)}: {figure(mean)} on average, "
        f"{figure(most)} at most; {words.by_kind(requests, in_bytes=True)}.",
    )


def latency(
    events: pd.DataFrame,
    ax: Axes | None = None,
    *,
    device: str | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    theme: str | None = None,
) -> Axes:
    """How long the device took for each request, issue to completion (D2C), with the median of each moment.

    A request stands at the moment of its completion. Those that never completed stand at the end, as old as they were.
    """
    return latency_of(window_of(events, device, since, until), ax, theme)


def latency_of(requests: Requests, ax: Axes | None = None, theme: str | None = None) -> Axes:
    """`latency` of requests that were told apart already."""
    colours = style.theme_of(theme, ax)
    whole = np.flatnonzero((requests.issued != NEVER) & requests.ended)
    took = np.maximum(apart(requests.issued[whole], requests.completed[whole]), 1)
    pending = np.flatnonzero(requests.pending)
    age = np.maximum(apart(requests.issued[pending], np.full(len(pending), requests.last)), 1)
    x, y = seconds(requests.completed[whole]), took / 1e6
    ax = io_axes(ax, colours, 3.1)
    keep = thinned(x, np.log10(y), requests.kind[whole])
    kind = requests.kind[whole][keep]
    fills = fills_of(colours)
    for what in range(len(KINDS)):
        rows = keep[kind == what]
        dots(ax, x[rows], y[rows], fills[what], what, alpha=0.75)
    edges = steps(requests)
    median = quantiles(took, requests.completed[whole], edges, (0.5,))[0] / 1e6
    # On what it crosses, in a colour that nothing else has; where nothing completed, there is none. Few requests are
    # seen themselves.
    is_crowded = len(whole) >= _CROWD
    for colour, width in ((colours.background, 3.6), (colours.ink, 1.6)) if is_crowded else ():
        ax.stairs(median, seconds(edges), baseline=None, color=colour, linewidth=width, zorder=3)
    hollow(ax, colours, np.full(len(pending), requests.last), age / 1e6)
    latency_axis(ax, took, age)
    height = np.full(len(requests.issued), np.nan)
    height[whole], height[pending] = y, age / 1e6
    lasting(ax, colours, requests, np.append(whole, pending), height)
    handles = [
        mark(fills[what], KINDS[what], MARKERS[what]) for what in np.unique(requests.kind[whole]).tolist()
    ]
    from matplotlib.lines import Line2D

    if is_crowded:
        handles.append(Line2D([], [], color=colours.ink, linewidth=1.8, label="median"))
    if len(pending):
        handles.append(
            mark(colours.vermilion, f"{words.unanswered(requests)}, so old at the end", "o", hollow=True)
        )
    legend_below(ax, colours, handles)
    half, most = (
        np.quantile(took, share, method="inverted_cdf") if len(took) else 0 for share in (0.5, 0.99)
    )
    style.title(
        ax,
        colours,
        f"Latency: {duration(half)} median, {duration(most)} for the slowest hundredth"
        if len(took)
        else "Latency: no request both issued and completed",
        words.below(
            requests,
            f"from issue to completion of {words.counted(len(took), 'request')}"
            + (f", {len(pending):,} more not completed" if len(pending) else ""),
        ),
    )
    time_axis(ax, colours, requests)
    oldest = f", the oldest after {duration(age.max())}" if len(pending) else ""
    return style.say(
        ax,
        f"Scatter plot of the time from issue to completion of {words.counted(len(took), 'request')} of "
        f"{requests.device}, {words.span(requests)}: median {duration(half)}, 99th percentile {duration(most)}, "
        f"longest {duration(took.max(initial=0))}. {words.at_the_end(requests)}{oldest}.",
    )


def depth(
    events: pd.DataFrame,
    ax: Axes | None = None,
    *,
    device: str | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    theme: str | None = None,
) -> Axes:
    """How many requests the device worked on: issued and not yet completed."""
    return depth_of(window_of(events, device, since, until), ax, theme)


def depth_of(requests: Requests, ax: Axes | None = None, theme: str | None = None) -> Axes:
    """`depth` of requests that were told apart already."""
    colours = style.theme_of(theme, ax)
    moments, count = requests.changes()
    moments, count = np.append(moments, requests.last), np.append(count, count[-1])
    since = np.maximum(moments, requests.whole_from)
    mean = float((np.diff(since.astype(np.float64)) * count[:-1]).sum()) / requests.span
    x, low, high = envelope(moments, count, requests, _CELLS)
    ax = io_axes(ax, colours, 2.4)
    # Where the number changes faster than can be drawn, what lies between the least and the most is lighter.
    ax.fill_between(x, 0, low, step="post", color=colours.blue, linewidth=0)
    ax.fill_between(x, low, high, step="post", color=colours.sky, linewidth=0)
    ax.axhline(mean, color=colours.ink, linewidth=1.2, linestyle=(0, (4, 3)))
    ax.set_ylim(0, max(int(count.max(initial=0)), 1) * 1.16)
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    left = int(count[-1])
    legend_below(ax, colours, told_below(colours, requests))
    style.title(
        ax,
        colours,
        f"Queue depth: {figure(mean)} on average, {int(count.max(initial=0)):,} at most, {left:,} at the end",
        words.below(requests, "requests under way; dashed: the average"),
    )
    time_axis(ax, colours, requests)
    edge_marks(ax, colours, requests, requests.pending)
    return style.say(
        ax,
        f"Area of the requests that {requests.device} was working on, {words.span(requests)}: "
        f"{figure(mean)} on average, {int(count.max(initial=0)):,} at most, "
        f"{left:,} when {words.end(requests)} ended{words.doubt(requests)}.",
    )


def _rates(requests: Requests, weights: npt.NDArray[Any] | None) -> tuple[list[F64], F64]:
    edges = steps(requests)
    found = []
    for what in range(len(KINDS)):
        rows = (requests.kind == what) & requests.ended
        found.append(per_second(requests.completed[rows], edges, None if weights is None else weights[rows]))
    return found, edges


def _most(total: F64, edges: F64, requests: Requests) -> float:
    """The highest rate, of the steps in which no CPU's events are missing."""
    whole = total[edges[:-1] >= requests.whole_from]
    return float((whole if len(whole) else total).max(initial=0))


def envelope(moments: I64, count: I64, requests: Requests, cells: int) -> tuple[F64, I64, I64]:
    """(seconds, least, most) of a number that changes at moments: the shortest peak shows.

    Each change where all can be told apart, else the least and the most of each of `cells` pieces of the window.
    """
    first, span = requests.first, requests.last - requests.first
    if int(np.diff(moments[:-1]).min(initial=span)) * cells >= span:
        return seconds(moments), count, count
    edges = np.array([first + span * cell // cells for cell in range(cells + 1)], dtype=np.int64)
    # The value at an edge, and the changes up to the next. reduceat gives that of an empty piece as it should be.
    before = np.maximum(np.searchsorted(moments, edges, side="right") - 1, 0)
    least, most = np.minimum.reduceat(count, before), np.maximum.reduceat(count, before)
    return seconds(edges), least, most
