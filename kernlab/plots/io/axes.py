"""The axes and marks that plots of block traces share: time below, reads and writes told apart, legends beneath."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.plots import style
from kernlab.plots.io import words
from kernlab.plots.io.requests import F64, I64, KINDS, NEVER, Requests, thinned
from kernlab.plots.time_axis import name_seconds, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How reads, writes and others are drawn, so that colour is not all that tells.
MARKERS = ("o", "x", "s")
#: Requests of a window up to which each has a line from its issue to its completion.
_SINGLE = 400


def io_axes(ax: Axes | None, theme: style.Theme, height: float) -> Axes:
    """The house style's axes, with lines across at what the y axis names."""
    ax = style.axes(ax, theme, height=height)
    ax.grid(axis="y", color=theme.grid, linewidth=0.8)
    ax.tick_params(labelcolor=theme.soft, labelsize="small")
    return ax


def fills_of(theme: style.Theme) -> tuple[str, ...]:
    """The colours of reads, writes and others."""
    return theme.blue, theme.orange, theme.pink


def dots(ax: Axes, x: F64, y: F64, colour: str, kind: int, alpha: float = 0.9, size: float = 1.0) -> None:
    """Requests of one kind: reads are dots, writes crosses, so that colour is not all that tells."""
    if not len(x):
        return
    marker = MARKERS[kind]
    # Where there are many, small ones still show where there are more.
    is_many = len(x) >= 20_000
    shrink = size * (0.35 if is_many else 1.0)
    ax.plot(
        x,
        y,
        linestyle="none",
        marker=marker,
        markersize=shrink * (4.2 if marker == "x" else 3.4),
        markeredgewidth=shrink * 1.1 if marker == "x" else 0,
        color=colour,
        alpha=alpha * (0.5 if is_many else 1.0),
        rasterized=len(x) > 5000,
    )


def hollow(ax: Axes, theme: style.Theme, ns: I64, y: F64) -> None:
    """Rings around what never came back; thin ones where there are many."""
    size = 8.0 if len(ns) < 20 else 6.0 if len(ns) < 100 else 4.0
    ax.plot(
        seconds(ns),
        y,
        linestyle="none",
        marker="o",
        markersize=size,
        markerfacecolor="none",
        markeredgecolor=theme.vermilion,
        markeredgewidth=size / 5,
        zorder=4,
        clip_on=False,
    )


def lasting(
    ax: Axes,
    theme: style.Theme,
    requests: Requests,
    rows: npt.NDArray[Any],
    y: F64,
    colours: npt.NDArray[np.object_] | None = None,
) -> None:
    """Lines from issue to completion at the heights `y`, in `colours` (of all requests), where they are few.

    What never came back has one to the end in any case that so many can be told apart.
    """
    answered, pending = rows[~requests.pending[rows]], rows[requests.pending[rows]]
    for which, colour, most in ((answered, theme.mute, _SINGLE), (pending, theme.vermilion, _SINGLE // 4)):
        if 0 < len(which) <= most:
            own = colour if colours is None or colour is theme.vermilion else colours[which].tolist()
            ends = np.where(requests.pending[which], requests.last, requests.completed[which])
            ax.hlines(
                y[which],
                seconds(requests.begun[which]),
                seconds(np.minimum(ends, requests.last)),
                colors=own,
                linewidth=1.2,
                zorder=1.5,
            )


def edge_marks(ax: Axes, theme: style.Theme, requests: Requests, never: npt.NDArray[np.bool_]) -> None:
    """Below the axis: a tick for each flush, a ring for each request of `never` that did not come back, at its issue.

    To be called when the x axis is set.
    """
    along = ax.get_xaxis_transform()
    below: list[tuple[npt.NDArray[np.bool_], dict[str, Any]]] = [
        (requests.flush & ~requests.pending, {"marker": "|", "markersize": 5, "color": theme.pink}),
        (
            never,
            {
                "marker": "o",
                "markersize": 5,
                "markerfacecolor": "none",
                "markeredgecolor": theme.vermilion,
                "markeredgewidth": 1.3,
            },
        ),
    ]
    from matplotlib.transforms import ScaledTranslation

    shift = ScaledTranslation(0, -4 / 72, ax.figure.dpi_scale_trans)
    for which, how in below:
        x = seconds(np.unique(np.where(requests.issued == NEVER, requests.completed, requests.begun)[which]))
        if len(x):
            x = x[thinned(x, np.zeros(len(x)))]
            ax.plot(
                x, np.zeros(len(x)), linestyle="none", transform=along + shift, clip_on=False, zorder=4, **how
            )
            ax.tick_params(axis="x", pad=8)


def told_below(theme: style.Theme, requests: Requests) -> list[Any]:
    """A legend's entries for flushes and for what never came back."""
    found = []
    if (requests.flush & ~requests.pending).any():
        found.append(mark(theme.pink, "flushes", "|"))
    if requests.pending.any():
        found.append(mark(theme.vermilion, words.unanswered(requests), "o", hollow=True))
    return found


def mark(colour: str, label: str, marker: str, *, hollow: bool = False) -> Any:
    """A legend's entry for dots."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=8 if hollow else 6,
        markerfacecolor="none" if hollow else colour,
        markeredgecolor=colour,
        markeredgewidth=1.6,
        label=label,
    )


def legend_below(ax: Axes, theme: style.Theme, *rows: list[Any]) -> None:
    """Legends below the axes, one a row: as far below as the ticks need, however high the axes are."""
    inches = ax.get_position().height * float(ax.figure.get_figheight())  # type: ignore[union-attr]
    for row, handles in enumerate(filter(None, rows)):
        if row:
            ax.add_artist(ax.get_legend())  # type: ignore[arg-type]
        style.legend(
            ax,
            theme,
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(-0.01, -(0.33 + 0.22 * row) / inches),
            borderaxespad=0,
            ncols=len(handles),
        )


def time_axis(ax: Axes, theme: style.Theme, requests: Requests) -> None:
    """From the device's first event to its last (or over the window), and the times shaded in which some CPUs' events
    are missing."""
    first, last = seconds(requests.first), seconds(requests.last)
    span = max(last - first, 1e-6)
    # What lies at an end is whole.
    ax.set_xlim(first - 0.006 * span, first + 1.006 * span)
    name_seconds(ax, first, last)
    before = [(requests.first, requests.whole_from)] if requests.whole_from > requests.first else []
    margin = 0.006 * span
    for since, until in [*before, *requests.missing]:
        since, until = max(since, requests.first), min(until, requests.last)
        if since > until:
            continue
        left = seconds(since) - (margin if since == requests.first else 0)
        right = seconds(until) + (margin if until == requests.last else 0)
        ax.axvspan(left, right, color=theme.quiet, alpha=0.55, linewidth=0, zorder=0)
        # Inside where there is room, else beside it.
        inside = right - left > 0.3 * span
        leftwards = inside or seconds(until) > first + 0.5 * span
        at = right if inside else left if leftwards else right
        ax.annotate(
            "some CPUs' events are missing",
            (at, 1),
            (-5 if leftwards else 5, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if leftwards else "left",
            va="top",
            color=theme.soft,
            fontsize="small",
            annotation_clip=False,
            bbox={"facecolor": theme.background, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )


def bytes_axis(ax: Axes, theme: style.Theme, low: float, high: float, ticks: int = 6) -> None:
    """Offsets from low to high, at round numbers of binary units, `ticks` at most."""
    from matplotlib.ticker import MultipleLocator

    step = 512.0
    while (high - low) / step > ticks:
        step *= 2
    margin = (high - low) * 0.02
    ax.set_ylim(max(low - margin, 0 if low >= 0 else low), high + margin)
    ax.yaxis.set_major_locator(MultipleLocator(step))
    ax.yaxis.set_major_formatter(lambda value, _: style.in_words(value))


def stack(ax: Axes, theme: style.Theme, rates: list[F64], edges: F64, more: list[Any]) -> F64:
    """Draw rates (by kind) upon each other, with a legend of them and of `more`; returns their sum."""
    x = seconds(edges)
    below = np.zeros(len(edges) - 1)
    handles = []
    from matplotlib.patches import Patch

    for what, rate in enumerate(rates):
        if not rate.any():
            continue
        above = below + rate
        ax.stairs(above, x, baseline=below, fill=True, color=fills_of(theme)[what], linewidth=0)
        handles.append(Patch(color=fills_of(theme)[what], label=KINDS[what]))
        below = above
    ax.set_ylim(0, (below.max(initial=0) or 1) * 1.06)
    legend_below(ax, theme, handles + more)
    return below


def latency_axis(ax: Axes, took: I64, age: I64) -> None:
    """From 0 where latencies are alike, else logarithmic; what is younger than all of them lies at the lower edge."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    values = took if len(took) else age
    low = float(values.min(initial=1 << 62)) / 1e6
    high = max(float(values.max(initial=1)), float(age.max(initial=1))) / 1e6
    if high < 10 * np.median(values) / 1e6 if len(values) else True:
        ax.set_ylim(0, high * 1.08)
        ax.yaxis.set_major_locator(MaxNLocator(5))
    else:
        ax.set_yscale("log")
        low, high = low / 1.3, high * 1.3
        ax.set_ylim(low, high)
        subs = (1.0,) if high / low > 1e3 else (1.0, 3.0)
        ax.yaxis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
        for line in ax.get_lines():
            if not line.get_clip_on():
                line.set_ydata(np.maximum(np.asarray(line.get_ydata(), dtype=float), low))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda value, _: duration(value * 1e6) if value > 0 else "0")


def figure(value: float) -> str:
    """A number with as many digits as say something: "1,234", "5.5", "0.34", "less than 0.01"."""
    if 0 < value < 0.01:
        return "less than 0.01"
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def duration(ns: float) -> str:
    """Nanoseconds in words: "38.8 ms"."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size * 0.9995:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"
