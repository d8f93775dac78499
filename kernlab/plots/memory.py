"""Counted page frames in; where the memory went, kind by kind and zone by zone, out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernlab.linux.page.classifier import KIND_NAMES
from kernlab.plots import style
from kernlab.plots.page_counts import GROUPS, Frames, colour
from kernlab.util.text import human_bytes, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Groups that are no part of what the kernel manages, or of which nothing is known: no share is told of them.
_APART = ("not usable", "unknown")
#: Kinds that are called as their group is, or by a word of the kernel's source.
_PARTS = {
    ("other kernel", "other kernel"): "everything else",
    ("free", "free"): "for any CPU",
    ("free", "pcp"): "kept for one CPU (pcp)",
}


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar: from `left` on `size` bytes, of a group of `GROUPS`; that of the group itself has its share."""

    label: str
    left: int
    size: int
    group: int
    is_head: bool = False
    share: str = ""


def memory(frames: Frames, ax: Axes | None, theme: str | None) -> Axes:
    """Every use of memory as a bar, its kinds below it; shares are of what the kernel manages, all but "not usable".

    A kind's bar begins where the one before ends, so that those of a group are seen to add up to it.
    """
    colours = style.theme_of(theme, ax)
    kinds = frames.kinds.sum(axis=0) * frames.page_size
    managed = int(sum(kinds[kind] for name, _, members in GROUPS if name not in _APART for kind in members))
    rows: list[_Bar] = []
    for index, (group, _, members) in enumerate(GROUPS):
        present = sorted((kind for kind in members if kinds[kind]), key=lambda kind: -kinds[kind])
        if not present:
            continue
        total = int(sum(kinds[kind] for kind in present))
        # One kind alone is named beside its group, unless both say the same.
        kind = KIND_NAMES[present[0]]
        is_alone = len(present) == 1 and kind not in (group, group.removesuffix("s"))
        share = "" if group in _APART or not managed else percent(total / managed)
        rows.append(
            _Bar(f"{group} ({kind})" if is_alone else group, 0, total, index, is_head=True, share=share)
        )
        below = 0
        for number in present if len(present) > 1 else ():
            size = int(kinds[number])
            rows.append(_Bar(_part_of(group, KIND_NAMES[number]), below, size, index))
            below += size
    ax = style.axes(ax, colours, height=1.25 + 0.27 * len(rows))
    _draw(ax, colours, rows)
    apart = [
        f"{human_bytes(bar.size)} {GROUPS[bar.group][0]}"
        for bar in rows
        if bar.is_head and GROUPS[bar.group][0] in _APART
    ]
    nodes = f" on {len(frames.nodes)} NUMA nodes" if len(frames.nodes) > 1 else ""
    beside = f"; beside them {' and '.join(apart)}" if apart else ""
    style.title(
        ax,
        colours,
        f"Where the memory is: {human_bytes(managed)}",
        f"{managed // frames.page_size:,} page frames{nodes} that the kernel manages{beside}",
    )
    parts = ", ".join(f"{bar.label} {human_bytes(bar.size)}" for bar in rows if bar.is_head)
    return style.say(
        ax, f"Bar chart of the machine's memory, {human_bytes(managed)} that the kernel manages: {parts}."
    )


def _part_of(group: str, kind: str) -> str:
    """What a kind is called below its group: never as the group itself."""
    return _PARTS.get((group, kind), kind)


def _draw(ax: Axes, colours: style.Theme, rows: list[_Bar]) -> None:
    """The bars, each with its size, in bold those of groups."""
    for place, bar in enumerate(rows):
        ax.barh(
            place,
            bar.size,
            left=bar.left,
            height=0.74 if bar.is_head else 0.42,
            color=colour(colours, bar.group),
            alpha=1 if bar.is_head else 0.65,
        )
        ax.annotate(
            f"{human_bytes(bar.size)}  {bar.share}".rstrip(),
            (bar.left + bar.size, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=colours.ink if bar.is_head else colours.soft,
            fontsize="medium" if bar.is_head else "small",
            fontweight="bold" if bar.is_head else "normal",
        )
    ax.set_yticks(range(len(rows)), [bar.label for bar in rows])
    for tick, bar in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_color(colours.ink if bar.is_head else colours.soft)
        tick.set_fontweight("bold" if bar.is_head else "normal")
        tick.set_fontsize("medium" if bar.is_head else "small")
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, max((bar.size for bar in rows), default=1) * 1.3)
    style.in_bytes(ax, colours)


def zones(frames: Frames, ax: Axes | None, theme: str | None) -> Axes:
    """Each zone's memory by use, as a share of the zone, and how its free pages stand to its watermarks."""
    colours = style.theme_of(theme, ax)
    shown = [row for row in range(len(frames.zone_names)) if frames.zones[row].sum()]
    ax = style.axes(ax, colours, height=1.75 + 0.68 * max(len(shown), 1))
    order = [index for index in range(len(GROUPS)) if GROUPS[index][0] != "free"]
    free = next(index for index in range(len(GROUPS)) if GROUPS[index][0] == "free")
    told = []
    used = set()
    for place, row in enumerate(shown):
        counts = frames.zones[row]
        total = int(counts.sum())
        left = 0.0
        for index in [*order, free]:
            share = counts[index] / total
            if share:
                ax.barh(place, share, left=left, height=0.5, color=colour(colours, index), linewidth=0)
                used.add(index)
            left += share
        low = 1 - frames.watermarks[row, :3] / total
        for mark in low:
            ax.plot(
                [mark, mark],
                [place - 0.31, place + 0.31],
                color=colours.ink,
                linewidth=1.3,
                solid_capstyle="butt",
            )
        pages = int(frames.free[row])
        state = _state(pages, frames.watermarks[row], frames.page_size)
        name, size = frames.zone_names[row], human_bytes(total * frames.page_size)
        told.append(f"{name} {size}, {human_bytes(pages * frames.page_size)} free, {state}")
        ax.annotate(
            f"{human_bytes(pages * frames.page_size)} free, {state}",
            (1, place + 0.3),
            (0, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            color=colours.vermilion if state.startswith("below") else colours.soft,
            fontsize="small",
        )
    ax.set_yticks(
        range(len(shown)),
        [
            f"{frames.zone_names[row]}\n{human_bytes(int(frames.zones[row].sum()) * frames.page_size)}"
            for row in shown
        ],
    )
    ax.set_ylim(len(shown) - 0.2, -0.5)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.tick_params(axis="x", labelcolor=colours.soft, labelsize="small")
    ax.grid(axis="x", color=colours.grid, linewidth=0.8)
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colour(colours, index), label=GROUPS[index][0])
        for index in [*order, free]
        if index in used
    ]
    style.legend(
        ax,
        colours,
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.01, -0.14),
        borderaxespad=0,
        ncols=min(len(handles), 7),
    )
    style.title(
        ax,
        colours,
        "Zones by use",
        "lines: where the watermarks high, low and min would leave the free memory",
    )
    return style.say(ax, f"Stacked bars of {len(shown)} memory zones: {'; '.join(told)}.")


def _state(free: int, marks: np.ndarray, page_size: int) -> str:
    """How many free pages there are, in words, by the zone's watermarks min, low and high."""
    for name, mark in zip(("min", "low", "high"), marks[:3].tolist(), strict=True):
        if free < mark:
            return f"below its {name} watermark ({human_bytes(mark * page_size)})"
    return "above its watermarks"
