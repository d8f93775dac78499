"""Counted page frames in; where the memory went, kind by kind and zone by zone, out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernlab.linux.page.classifier import KIND_NAMES
from kernlab.plots import style
from kernlab.plots.page_counts import GROUPS, Frames, colour
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def memory(frames: Frames, ax: Axes | None, theme: str | None) -> Axes:
    """Every kind of memory as a bar, in groups with their sums; the bars add up to the machine's memory."""
    colours = style.theme_of(theme, ax)
    kinds = frames.kinds.sum(axis=0) * frames.page_size
    whole = int(kinds.sum())
    rows: list[tuple[str, int, int, bool]] = []  # label, bytes, group, is it a group's head
    for index, (group, _, members) in enumerate(GROUPS):
        present = sorted((kind for kind in members if kinds[kind]), key=lambda kind: -kinds[kind])
        if not present:
            continue
        total = int(sum(kinds[kind] for kind in present))
        only = len(present) == 1
        kind = KIND_NAMES[present[0]]
        # One kind alone is named beside its group, unless both say the same.
        label = f"{group} ({kind})" if only and kind not in (group, group.removesuffix("s")) else group
        rows.append((label, total, index, True))
        if not only:
            rows += [(KIND_NAMES[kind], int(kinds[kind]), index, False) for kind in present]
    ax = style.axes(ax, colours, height=1.25 + 0.27 * len(rows))
    largest = max((size for _, size, _, _ in rows), default=1)
    for place, (_, size, index, head) in enumerate(rows):
        ax.barh(
            place,
            size,
            height=0.74 if head else 0.42,
            color=colour(colours, index),
            alpha=1 if head else 0.65,
        )
        text = f"{human_bytes(size)}  {size / max(whole, 1):.1%}" if head else human_bytes(size)
        ax.annotate(
            text,
            (size, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=colours.ink if head else colours.soft,
            fontsize="medium" if head else "small",
            fontweight="bold" if head else "normal",
        )
    ax.set_yticks(range(len(rows)), [label for label, *_ in rows])
    for tick, (_, _, _, head) in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_color(colours.ink if head else colours.soft)
        tick.set_fontweight("bold" if head else "normal")
        tick.set_fontsize("medium" if head else "small")
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, largest * 1.3)
    style.in_bytes(ax, colours)
    nodes = f" on {len(frames.nodes)} NUMA nodes" if len(frames.nodes) > 1 else ""
    style.title(
        ax,
        colours,
        f"Where the memory is: {human_bytes(whole)}",
        f"{whole // frames.page_size:,} page frames{nodes}, each counted once",
    )
    parts = ", ".join(f"{label} {human_bytes(size)}" for label, size, _, head in rows if head)
    return style.say(ax, f"Bar chart of the machine's memory, {human_bytes(whole)}: {parts}.")


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
