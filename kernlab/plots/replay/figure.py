"""Lanes upon each other on one axis of time: which there are, how high each is, what stands above and below them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import escape_plot
from kernlab.plots import style
from kernlab.plots.replay import cpus, disks, memory, told
from kernlab.plots.replay.marks import SIZE, prepare
from kernlab.plots.replay.scene import Frames, Scene, nanoseconds, people, window
from kernlab.plots.time_axis import before, moment, name_seconds, seconds
from kernlab.util.text import few, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kernlab.traces.clock.window import Instant

#: All lanes, from the top down.
LANES = ("memory", "processes", "pressure", "cpus", "runnable", "offsets", "depth", "latency", "log")
_OF_DISKS = ("offsets", "depth", "latency")
#: Of which frame each one is.
_FRAME = {
    "memory": "memory",
    "processes": "memory_by_process",
    "cpus": "running",
    "offsets": "requests",
    "depth": "requests",
    "latency": "requests",
}
#: What is hatched where events of ftrace are missing.
_OF_FTRACE = {"memory", "processes", "cpus", "runnable"}
#: Disks that have lanes unless named: so many that did not answer, or had this share of the busiest one's requests.
_MOST_DISKS, _BUSY = 2, 0.25
#: Inches: beside the lanes, above the first, between two, below the last, of a line of notes.
_LEFT, _RIGHT, _TOP, _BETWEEN, _BOTTOM, _NOTE = 0.78, 1.52, 1.08, 0.36, 0.36, 0.16
#: Lines of notes, and points of a letter in them.
_MOST_NOTES, _LETTER = 5, 4.2


@dataclass(frozen=True, slots=True)
class Lane:
    """One of the axes: what draws it, and its height in inches."""

    name: str
    height: float
    draw: Callable[[Axes, Scene], None]


def replay(
    frames: Frames,
    since: Instant | None = None,
    until: Instant | None = None,
    lanes: Iterable[str] | None = None,
    top: int = 5,
    *,
    ax: Any = None,
    figsize: tuple[float, float] | None = None,
    theme: str | None = None,
    processes: Mapping[int, str] | None = None,
    figure: Figure | None = None,
) -> Any:
    """Draw what was replayed; returns the array of axes, one a lane, from the top down.

    frames: what `dump.replay()` gives. lanes: some of `LANES`; without them all for which there is anything in the
    window; those of a disk are of the busiest, and of what did not answer, unless it is named: "offsets vdb".
    top: processes that have a colour and, as the largest, a line. ax: axes to draw on, as many as lanes. processes:
    names of processes by the pids of their threads. figure: an empty figure to draw into (otherwise pyplot's new one).
    Raises KernlabError for a lane that is none, an empty window, and axes that are not as many.
    """
    first, last, crash = window(frames, since, until)
    given = None if ax is None else np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    colours = style.theme_of(theme, None if given is None or not len(given) else given[0])
    named = dict(processes or {})
    wanted = _lanes(frames, first, last, lanes, max(int(top), 1))
    drawn = {lane.name.partition(" ")[0] for lane in wanted}
    turns = (
        ("m", {"processes", "memory"}),
        ("c", {"cpus"}),
        ("m", {"processes"}),
        ("d", {"offsets", "latency"}),
    )
    kinds = "".join(turn for turn, lanes_of in turns if drawn & lanes_of)
    whose = people(frames, first, last, colours, named, max(int(top), 1), kinds)
    if given is not None and len(given) != len(wanted):
        raise KernlabError(
            f"{len(wanted)} lanes ({few([lane.name for lane in wanted])}) need as many axes, not {len(given)}"
        )
    notes = _notes(frames, first, last, wanted)
    size = figsize or (style.WIDTH, 0.0)
    notes = [line for note in notes for line in wrap(note, int((size[0] - 0.3) * 72 / _LETTER))][:_MOST_NOTES]
    fixed = _TOP + _BETWEEN * (len(wanted) - 1) + _BOTTOM + _NOTE * len(notes)
    size = size[0], size[1] or fixed + sum(lane.height for lane in wanted)
    if given is None:
        given = _axes(wanted, size, fixed, colours, figure)
        width = (size[0] - _LEFT - _RIGHT) * 100
    else:
        width = float(given[0].get_window_extent().width)
    scene = Scene(frames, first, last, crash, colours, max(int(width), 50), whose, named)
    for lane, one in zip(wanted, given, strict=True):
        prepare(one, scene)
        lane.draw(one, scene)
        # Patches and rasters set limits of their own.
        one.set_xlim(*scene.limits)
    _time(given, scene, alone=ax is not None)
    if ax is None:
        _frame(given, scene, notes)
    return given


def _lanes(frames: Frames, first: int, last: int, wanted: Iterable[str] | None, top: int) -> list[Lane]:
    """The lanes to draw. Raises KernlabError for names that are none, and where nothing is there to draw."""
    if isinstance(wanted, str):
        wanted = [wanted]
    names = list(LANES if wanted is None else wanted)
    for name in names:
        if str(name).partition(" ")[0] not in LANES:
            raise KernlabError(
                f"there is no lane {name!r}{nearest(str(name), LANES) or ': ' + few(LANES, 12)}"
            )
    if wanted is None:
        names = [name for name in names if _is_told(getattr(frames, _FRAME.get(name, name)), first, last)]
        if len(names) > 1 and cpus.little_known(frames.running, first, last):
            names = [name for name in names if name != "cpus"]
        if not names:
            raise KernlabError(
                "nothing of this machine's last seconds was recorded: there is nothing to draw"
            )
    shown = _disks(frames, first, last)
    found: list[tuple[str, str]] = []
    for name in names:
        kind, _, disk = str(name).partition(" ")
        if kind not in _OF_DISKS:
            found.append((kind, ""))
        elif disk or wanted is not None:
            # What was asked for by name is there even if it is empty.
            found += [(kind, one) for one in ([disk] if disk else shown or ["no disk"])]
        elif kind == _OF_DISKS[0]:
            # All of a disk together.
            found += [(each, one) for one in shown for each in _OF_DISKS]
    count = int(frames.running["cpu"].nunique())
    lines, bands = told.log_lines(frames.log, first, last), len(told.pressures(frames.pressure))
    return [_lane(kind, disk, cpu_count=count, top=top, log_lines=lines, bands=bands) for kind, disk in found]


def _is_told(frame: pd.DataFrame, first: int, last: int) -> bool:
    """Does a frame tell of a window? The end alone, as every dump has it, is no time to draw."""
    if "start" in frame:
        start, end = nanoseconds(frame["start"]), nanoseconds(frame["end"])
        return bool(((start <= last) & ((end >= first) | (end < 0))).any())
    if "source" in frame:
        frame = frame[frame["source"].astype("str").ne("break").to_numpy()]
    at = nanoseconds(frame["time"])
    if "level" in frame:
        return bool(((at >= first) & (at <= last)).any())
    # A share of time is of the time before it; what else is told holds until it is told anew.
    if "share" in frame:
        return bool((at >= first).any())
    at = at[at <= last]
    return bool(len(at)) and bool(at.min() < at.max())


def _disks(frames: Frames, first: int, last: int) -> list[str]:
    """The disks whose lanes are worth their room."""
    seen = disks.disks_of(frames.requests, first, last)
    most = max((count for count, _ in seen.values()), default=0)
    return [disk for disk, (count, never) in seen.items() if never or count >= _BUSY * most][:_MOST_DISKS]


def _lane(name: str, disk: str, *, cpu_count: int, top: int, log_lines: int, bands: int) -> Lane:
    """What draws a lane, and how high it is."""
    if name == "memory":
        return Lane(name, 1.55, memory.memory)
    if name == "processes":
        return Lane(name, 1.15, lambda ax, scene: memory.processes(ax, scene, top))
    if name == "pressure":
        return Lane(name, 0.36 * max(bands, 1) + 0.04, told.pressure)
    if name == "cpus":
        return Lane(name, float(np.clip(0.22 * cpu_count, 0.95, 3.6)), cpus.cpus)
    if name == "runnable":
        return Lane(name, 0.5, cpus.runnable)
    if name == "log":
        return Lane(name, 0.26 + 0.14 * log_lines, lambda ax, scene: told.log(ax, scene, log_lines))
    draw, height = {
        "offsets": (disks.offsets, 1.05),
        "depth": (disks.depth, 0.5),
        "latency": (disks.latency, 0.8),
    }[name]
    return Lane(f"{name} {disk}", height, lambda ax, scene: draw(ax, scene, disk))


def _axes(
    lanes: Sequence[Lane],
    size: tuple[float, float],
    fixed: float,
    theme: style.Theme,
    figure: Figure | None,
) -> Any:
    """New axes below each other, their left and right ends alike; they share the axis of time.

    `fixed` is the height of the figure that no lane has.
    """
    if figure is None:
        # As pandas' own plots do: notebooks then show the figure by themselves.
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, dpi=100)
    else:
        figure.set_size_inches(*size)
    figure.set_facecolor(theme.background)
    width, height = size
    scale = max(height - fixed, 0.2 * len(lanes)) / sum(lane.height for lane in lanes)
    found: list[Any] = []
    top = height - _TOP
    for lane in lanes:
        inches = lane.height * scale
        top -= inches
        box = (_LEFT / width, top / height, (width - _LEFT - _RIGHT) / width, inches / height)
        found.append(figure.add_axes(box, sharex=found[0] if found else None))
        top -= _BETWEEN
    axes = np.empty(len(found), dtype=object)
    axes[:] = found
    return axes


def _time(axes: Any, scene: Scene, *, alone: bool) -> None:
    """Seconds since boot below the last lane."""
    for one in axes:
        name_seconds(one, *scene.limits)
        one.tick_params(axis="x", labelsize=SIZE, labelcolor=scene.theme.soft, labelbottom=alone)
    axes[-1].tick_params(axis="x", labelbottom=True)


def _frame(axes: Any, scene: Scene, notes: Sequence[str]) -> None:
    """Above: what this is, and the time before the crash. Below: what is hatched and dashed, and why."""
    figure = axes[0].figure
    theme, (low, high) = scene.theme, scene.limits
    crash = float(seconds(scene.crash))
    top = axes[0].secondary_xaxis("top", functions=(lambda x: x - crash, lambda x: x + crash))
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    locator = MaxNLocator(6, steps=[1, 2, 5, 10])
    ticks = locator.tick_values(low - crash, high - crash)
    step = float(ticks[1] - ticks[0]) if len(ticks) > 1 else scene.span
    top.xaxis.set_major_locator(locator)
    top.xaxis.set_major_formatter(FuncFormatter(lambda value, _: before(value, step, crash - low)))
    top.tick_params(length=0, labelsize=SIZE, labelcolor=theme.soft, pad=4)
    top.spines["top"].set_visible(False)
    height = float(figure.get_figheight())
    width = float(figure.get_figwidth())
    is_end = scene.crash <= scene.last
    text = (
        f"The last {_lasting(scene.span)} before the crash"
        if is_end
        else f"{_lasting(scene.span)} before the crash"
    )
    if not is_end:
        text = f"{_lasting(scene.span)}, up to {_lasting((scene.crash - scene.last) / 1e9)} before the crash"
    figure.text(
        _LEFT / width, 1 - 0.24 / height, text, va="center", color=theme.ink, fontweight="bold", fontsize=12
    )
    span = scene.span
    below = (
        f"below: since boot, {moment(low, span)[:-2]} to {moment(high, span)}; above: before the crash "
        f"({moment(crash, span)})"
    )
    figure.text(_LEFT / width, 1 - 0.46 / height, below, va="center", color=theme.soft, fontsize="small")
    for place, note in enumerate(notes):
        figure.text(
            0.12 / width,
            (_NOTE * (len(notes) - 1 - place) + 0.1) / height,
            escape_plot(note),
            va="center",
            color=theme.soft,
            fontsize=SIZE,
        )


def _notes(frames: Frames, first: int, last: int, lanes: Sequence[Lane]) -> list[str]:
    """What a reader has to know of the hatched and the dashed."""
    found = []
    since = frames.trusted_from
    if (
        since is not None
        and since is not pd.NaT
        and any(lane.name in ("memory", "processes") for lane in lanes)
    ):
        ns = int(pd.Timedelta(since).as_unit("ns").value)
        when = moment(float(seconds(ns)), (last - first) / 1e9)
        if first < ns < last:
            found.append(f"Dashed: memory is known from {when} on: {frames.trusted_reason}")
        elif ns >= last:
            found.append(f"Memory is known from {when} on only: {frames.trusted_reason}")
    disk_lanes = {lane.name.partition(" ")[2] for lane in lanes if lane.name.partition(" ")[0] in _OF_DISKS}
    left = [
        f"{disk} ({count:,} request{'s' if count != 1 else ''})"
        for disk, (count, _) in disks.disks_of(frames.requests, first, last).items()
        if disk_lanes and disk not in disk_lanes
    ]
    if left:
        name = left[0].rpartition(" (")[0]
        found.append(f'Not drawn: {few(left, 4)}; lanes=["offsets {name}"] draws one.')
    drawn = {lane.name for lane in lanes}
    if len(lanes) > 1 and "cpus" not in drawn and _is_told(frames.running, first, last):
        begin, end = nanoseconds(frames.running["start"]), nanoseconds(frames.running["end"])
        since, until = (moment(float(seconds(ns)), (last - first) / 1e9) for ns in (begin.min(), end.max()))
        if cpus.little_known(frames.running, first, last):
            found.append(f"Not drawn: who ran on the CPUs; that is known from {since} to {until} only.")
    table = frames.breaks
    if len(table):
        at = table["time"].to_numpy().astype("m8[ns]").view(np.int64)
        own = table[(at >= first) & (at <= last)]
        if not drawn & _OF_FTRACE:
            own = own[~own["source"].astype("str").str.startswith("ftrace").to_numpy()]
        reasons = {
            f"{source}: {reason}": sorted({int(cpu) for cpu in part["cpu"].dropna()})
            for (source, reason), part in own.groupby(["source", "reason"], sort=False, observed=True)
        }
        said = [
            reason
            + (f" (CPU {', '.join(map(str, cpus[:8]))}{' …' if len(cpus) > 8 else ''})" if cpus else "")
            for reason, cpus in reasons.items()
        ]
        if said:
            found.append(f"Hatched: not known. {few(said, 3, between='; ')}")
    return found


def _lasting(span: float) -> str:
    from kernlab.plots.io.axes import duration
    from kernlab.util.text import human_time

    return human_time(span) if span >= 100 else duration(span * 1e9)


__all__ = ["LANES", "replay"]
