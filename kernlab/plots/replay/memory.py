"""Lanes of memory: by kind, stacked up to all of it, and by process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.escape import show_short
from kernlab.plots import style
from kernlab.plots.io.axes import bytes_axis
from kernlab.plots.replay.marks import at_right, headline, name_of, steps, unknown
from kernlab.plots.replay.scene import F64, I64, Scene, common, floats, nanoseconds
from kernlab.plots.replay.thin import few_rows
from kernlab.plots.time_axis import moment, seconds
from kernlab.util.text import human_bytes, human_time, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: From the bottom up, in the colours that `dump.plot.memory` has for them: column, name, the theme's colour.
KINDS = (
    ("anon_bytes", "processes", "blue"),
    ("shmem_bytes", "shared memory", "sky"),
    ("file_bytes", "page cache", "green"),
    ("slab_bytes", "slab", "orange"),
    ("page_tables_bytes", "page tables", "vermilion"),
    ("kernel_stacks_bytes", "kernel stacks", "mute"),
    ("other_bytes", "other kernel", "pink"),
    ("free_bytes", "free", "quiet"),
)
#: Lines of processes that have no colour of their own, and the signs that stand for them.
_DASHES: tuple[tuple[Any, str], ...] = (
    ((0, (5, 2)), "\N{BOX DRAWINGS HEAVY DOUBLE DASH HORIZONTAL}"),
    ((0, (1.3, 1.3)), "\N{BOX DRAWINGS HEAVY QUADRUPLE DASH HORIZONTAL}"),
    ((0, (6, 1.5, 1.3, 1.5)), "\N{MIDDLE DOT}"),
)
#: Less than this share of the lane has no name at the right.
_NAMED = 0.015
#: Memory filled where the free part fell below this share of it, by at least that share.
_FULL, _FELL = 0.1, 0.2


def memory(ax: Axes, scene: Scene) -> None:
    """Every kind upon the other; they add up to the managed memory. What no source tells of that is dotted."""
    rows, at = scene.during(scene.frames.memory, lead=True)
    free, total = floats(rows["free_bytes"]), floats(rows["total_bytes"])
    is_break = np.isnan(total) | rows["source"].astype("str").eq("break").to_numpy()
    kept = few_rows(at, np.where(is_break, np.nan, free), scene.first, scene.last, scene.cells)
    kinds = np.stack([floats(rows[column]) for column, _, _ in KINDS])
    whole = float(np.nanmax(total, initial=0.0))
    x, *heights = _until_end(scene, at[kept], is_break[kept], kinds[:, kept], total[kept])
    below = np.zeros(len(x))
    names = []
    told = ~np.isnan(heights[-1])
    for (_, name, colour), height in zip(KINDS, heights, strict=False):
        part = np.nan_to_num(height)
        if not part.any():
            continue
        fill = str(getattr(scene.theme, colour))
        ax.fill_between(x, below, below + part, where=told, color=fill, linewidth=0, label=f"_{name}")
        last = np.flatnonzero(told)[-1]
        if part[last] >= _NAMED * whole:
            middle = float(below[last] + part[last] / 2)
            names.append((middle, f"{name} {human_bytes(int(part[last]))}", fill))
        below = below + part
    rest = np.where(told, np.nan_to_num(heights[-1]) - below, 0)
    if (rest > 0.002 * whole).any():
        ax.fill_between(
            x, below, below + rest, where=told & (rest > 0), facecolor=scene.theme.background,
            edgecolor=scene.theme.mute, hatch="....", linewidth=0, label="_not told",
        )  # fmt: skip
    bytes_axis(ax, scene.theme, 0, whole or 1.0)
    ax.set_ylim(0, whole or 1.0)
    _hatch(ax, scene, at, is_break)
    _trusted(ax, scene)
    at_right(ax, scene, names)
    headline(ax, scene, *found_in(scene, at, free, total))
    style.say(ax, _told(scene, rows, is_break))


def processes(ax: Axes, scene: Scene, top: int) -> None:
    """Resident memory of the largest processes; a line ends where the process did."""
    table = scene.frames.memory_by_process
    at = nanoseconds(table["time"])
    order = np.argsort(at, kind="stable")
    # What a process had when the window begins was told at some time before, and is told again if it lives on.
    rows, at = table.iloc[order], at[order]
    rss = floats(rows["rss_bytes"])
    pid = rows["pid"].fillna(-1).to_numpy(dtype=np.int64)
    begun = nanoseconds(rows["start_time"])
    # A pid may be given again: a process is a pid since a moment.
    of_pid, pids = pd.factorize(pid)
    of_begin, begins = pd.factorize(begun)
    codes, pairs = pd.factorize(of_pid * len(begins) + of_begin)
    keys = pids[pairs // max(len(begins), 1)].tolist()
    most, final = np.zeros(len(keys)), np.full(len(keys), -1)
    np.maximum.at(final, codes, at)
    held = _held(at, codes, final, scene)
    np.maximum.at(most, codes[held], np.nan_to_num(rss[held]))
    is_named = np.array([key >= 0 for key in keys], dtype=bool)
    largest = [
        int(code) for code in np.argsort(-most, kind="stable")[:top] if is_named[code] and most[code] > 0
    ]
    everyone = at[(pid < 0) & (at <= scene.last)]
    names, high, said, signs = [], 1.0, [], ""
    dashes = iter(_DASHES)
    for code in reversed(largest):
        own = np.flatnonzero(held & (codes == code))
        comm = _comm(rows, own)
        fill, style_of, sign = scene.people.colour(common(comm)), "-", "\N{BLACK SQUARE}"
        if common(comm) not in scene.people.names:
            # Without a colour of its own: told from others of these by its dashes.
            fill, (style_of, sign) = scene.theme.soft, next(dashes, _DASHES[-1])
        when, size = at[own], rss[own]
        if len(everyone):
            when, size = np.append(when, everyone), np.append(size, np.full(len(everyone), np.nan))
            order = np.argsort(when, kind="stable")
            when, size = when[order], size[order]
        if final[code] > scene.last and len(when):
            when, size = np.append(when, scene.last), np.append(size, size[-1])
        kept = few_rows(when, size, scene.first, scene.last, scene.cells)
        x, y = steps(seconds(np.maximum(when[kept], scene.first)), size[kept])
        # Nothing resident is a process that is not there: its line does not go on.
        y[1::2][size[kept][:-1] == 0] = np.nan
        ax.plot(
            x, y, color=fill, linestyle=style_of, linewidth=1.6, label=f"_{code}", solid_capstyle="butt",
            dash_capstyle="butt", zorder=2.5,
        )  # fmt: skip
        known = size[~np.isnan(size)]
        high = max(high, float(known.max(initial=0)))
        last = float(known[-1]) if len(known) else 0.0
        ended = "" if last else "ended"
        number = keys[code]
        signs += sign
        names.append((last, f"{name_of(comm)} {human_bytes(int(last)) if last else ended}", fill))
        said.append(f"{show_short(comm, 60)} ({number}) {human_bytes(int(most[code]))} at most")
    bytes_axis(ax, scene.theme, 0, high)
    ax.set_ylim(0, high * 1.06)
    _hatch(ax, scene, at, rows["source"].astype("str").eq("break").to_numpy())
    _trusted(ax, scene)
    at_right(ax, scene, names, signs)
    if largest:
        first = _comm(rows, np.flatnonzero(held & (codes == largest[0])))
        text = f"{name_of(first)} had {human_bytes(int(most[largest[0]]))} at most"
        headline(ax, scene, text, f"resident memory of the {len(largest)} largest processes")
    else:
        headline(ax, scene, "No process' memory is known")
    style.say(
        ax, f"Lines of the resident memory of processes: {'; '.join(reversed(said)) or 'none is known'}."
    )


def _held(at: I64, codes: I64, final: I64, scene: Scene) -> npt.NDArray[np.bool_]:
    """Which rows are of the window, or the last before it of a process that lived on; `final` is when each ends."""
    before = np.flatnonzero(at < scene.first)
    lead = np.full(len(final), -1)
    np.maximum.at(lead, codes[before], before)
    held = (at >= scene.first) & (at <= scene.last)
    held[lead[(lead >= 0) & (final >= scene.first)]] = True
    return held


def filled(at: I64, free: F64, total: F64) -> tuple[int, int] | None:
    """(since, until) ns in which most of the free memory went, if it went: the last time that it was near its most, to
    the first time that it was near its least."""
    known = np.flatnonzero(~np.isnan(free) & ~np.isnan(total))
    if len(known) < 2:
        return None
    at, free, total = at[known], free[known], total[known]
    least = int(free.argmin())
    most = float(free[: least + 1].max())
    fell = most - float(free[least])
    if free[least] > _FULL * total[least] or fell < _FELL * total[least]:
        return None
    end = int(np.flatnonzero(free[: least + 1] <= free[least] + 0.05 * fell)[0])
    begin = int(np.flatnonzero(free[: end + 1] >= most - 0.05 * fell)[-1])
    return int(at[begin]), int(at[end])


def took(scene: Scene, since: int, until: int) -> tuple[str, int] | None:
    """(name, bytes) of the process that grew most between two moments, by what was known of it at each.

    What can be read again from a file is not counted, where that is known.
    """
    table = scene.frames.memory_by_process
    at, own = nanoseconds(table["time"]), floats(table["anon_bytes"]) + floats(table["shmem_bytes"])
    rss = np.where(np.isnan(own), floats(table["rss_bytes"]), own)
    kept = (at <= until) & ~np.isnan(rss)
    table, at, rss = table[kept], at[kept], rss[kept]
    order = np.argsort(at, kind="stable")
    table, at, rss = table.iloc[order], at[order], rss[order]
    grown = pd.DataFrame(
        {"pid": table["pid"], "start": table["start_time"], "rss": rss, "comm": table["comm"]}
    )
    keys = ["pid", "start"]
    now = grown.groupby(keys, observed=True).last()
    before = grown[at <= since].groupby(keys, observed=True)["rss"].last()
    growth = (now["rss"] - before.reindex(now.index).fillna(0)).dropna()
    if growth.empty or growth.max() <= 0:
        return None
    most = int(growth.to_numpy().argmax())
    return str(now.loc[growth.index[[most]], "comm"].iloc[0]), int(growth.iloc[most])


def found_in(scene: Scene, at: I64, free: F64, total: F64) -> tuple[str, str]:
    """The lane's title, and what is drawn."""
    below = "memory by kind"
    span = filled(at, free, total)
    if span is not None:
        who = took(scene, *span)
        until = moment(float(seconds(span[1])), scene.span)
        text = f"Memory filled in the {_lasting(span[1] - span[0])} up to {until}"
        return (f"{text}: {name_of(who[0])} took {human_bytes(who[1])} of it" if who else text), below
    known = np.flatnonzero(~np.isnan(free) & ~np.isnan(total))
    if not len(known):
        return "Memory: nothing tells where it was", below
    share = percent(float(free[known[-1]] / total[known[-1]]))
    when = "at the crash" if scene.crash <= scene.last else "at the end"
    return f"Memory: {share} of {human_bytes(int(total[known[-1]]))} free {when}", below


def _lasting(ns: int) -> str:
    return human_time(ns / 1e9) if ns >= 10e9 else f"{ns / 1e9:.2g} s" if ns >= 1e9 else f"{ns / 1e6:.3g} ms"


def _comm(rows: pd.DataFrame, own: npt.NDArray[Any]) -> str:
    comms = rows["comm"].iloc[own].dropna()
    return str(comms.iloc[-1]) if len(comms) else "?"


def _until_end(scene: Scene, at: I64, is_break: npt.NDArray[Any], kinds: F64, total: F64) -> list[F64]:
    """Corners in seconds, each kind, and the total, which is NaN within breaks; the last value holds up to the end.

    Only what the dump itself tells is known to hold up to the crash; a reading holds until the next.
    """
    total = np.where(is_break, np.nan, total)
    if len(at) and at[-1] < scene.last and not is_break[-1]:
        at = np.append(at, scene.last)
        kinds, total = np.append(kinds, kinds[:, -1:], axis=1), np.append(total, total[-1])
    found: list[F64] = steps(seconds(np.maximum(at, scene.first)), *kinds, total)
    return found


def _hatch(ax: Axes, scene: Scene, at: I64, is_break: npt.NDArray[Any]) -> None:
    """From each break to the next row that tells something; and before the first row."""
    known = at[~is_break]
    unknown(ax, scene, scene.first, int(known[0]) if len(known) else scene.last)
    for since in np.unique(at[is_break]).tolist():
        after = known[known > since] if len(known) else known
        unknown(ax, scene, since, int(after[0]) if len(after) else scene.last)


def _trusted(ax: Axes, scene: Scene) -> None:
    """Where what is drawn begins to be exact."""
    since = scene.frames.trusted_from
    if since is None or since is pd.NaT:
        return
    ns = int(pd.Timedelta(since).as_unit("ns").value)
    if not scene.first < ns < scene.last:
        return
    x = float(seconds(ns))
    ax.axvspan(scene.limits[0], x, facecolor=scene.theme.background, alpha=0.45, linewidth=0, zorder=2.8)
    ax.axvline(x, color=scene.theme.ink, linewidth=1.1, linestyle=(0, (4, 3)), zorder=4, label="_trusted")


def _told(scene: Scene, rows: pd.DataFrame, is_break: npt.NDArray[Any]) -> str:
    known = rows[~is_break]
    if known.empty:
        return "Stacked areas of memory by kind: nothing is known in this time."

    def parts(row: pd.Series[Any]) -> str:
        sizes = [(name, row[column]) for column, name, _ in KINDS if not pd.isna(row[column])]
        return ", ".join(f"{name} {human_bytes(int(size))}" for name, size in sizes if size)

    begin, end = known.iloc[0], known.iloc[-1]
    count = len(np.unique(nanoseconds(rows["time"])[is_break]))
    broken = f"; not known after {count} break{'s' if count > 1 else ''}" if count else ""
    return (
        f"Stacked areas of memory by kind, {human_bytes(int(end['total_bytes']))}; at "
        f"{moment(float(seconds(scene.first)), scene.span)}: {parts(begin)}; at "
        f"{moment(float(seconds(scene.last)), scene.span)}: {parts(end)}{broken}."
    )
