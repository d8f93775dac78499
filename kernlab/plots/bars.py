"""Who holds how much: tables of tasks, caches and maps in, horizontal bars by size out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kernlab.plots import style
from kernlab.text import escape_plot, human_bytes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST_LABEL = 32


def bars(parts: pd.DataFrame, colours: list[str], ax: Axes | None, top: int) -> Axes:
    """Stacked horizontal bars, largest first.

    Parameters: parts, bytes: one row a bar (its index the label), one column a segment, named as the legend shows it;
    top: how many rows are drawn, the others become one last bar. Returns the axes.
    """
    sizes = parts.astype("float64").fillna(0.0)
    sizes = sizes.loc[sizes.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    rest = sizes.iloc[top:]
    sizes = sizes.iloc[:top]
    labels = [escape_plot(shorten(str(label), _LONGEST_LABEL)) for label in sizes.index]
    if len(rest):
        sizes = pd.concat([sizes, rest.sum().to_frame().T])
        labels.append(f"{len(rest):,} others")
    ax = style.axes(ax, len(labels))
    places = range(len(labels))
    left = pd.Series(0.0, index=places)
    for name, colour in zip(sizes.columns, colours, strict=True):
        width = pd.Series(sizes[name].to_numpy(), index=places)
        ax.barh(places, width, left=left, color=colour, label=str(name), height=0.72)
        left = left + width
    for place in places:
        ax.annotate(
            human_bytes(int(left[place])), (left[place], place), (4, 0), textcoords="offset points", va="center",
            fontsize="small",
        )  # fmt: skip
    ax.set_yticks(places, labels)
    ax.invert_yaxis()
    ax.set_xlim(0, (float(left.max()) if len(left) else 1.0) * 1.12)
    style.in_bytes(ax)
    if len(sizes.columns) > 1:
        ax.legend(frameon=False, loc="lower right")
    return ax


def slabs(slabs: pd.DataFrame, ax: Axes | None = None, top: int = 15) -> Axes:
    """Slab caches by the memory they hold: objects in use, and what is allocated but free."""
    known = slabs["used_bytes"].notna()
    used = slabs["used_bytes"].where(known, 0)
    free = (slabs["bytes"] - slabs["used_bytes"]).where(known, 0)
    unknown = slabs["bytes"].where(~known, 0)
    parts = pd.DataFrame({"in use": used, "allocated, free": free})
    colours = [style.BLUE, style.SKY]
    if unknown.fillna(0).sum():
        parts["use unknown"] = unknown
        colours.append(style.QUIET)
    parts.index = pd.Index(slabs["name"].fillna("?").astype(object))
    ax = bars(parts, colours, ax, top)
    whole = int(slabs["bytes"].fillna(0).sum())
    ax.set_title(f"Slab memory by cache: {human_bytes(whole)} in {len(slabs):,} caches", loc="left")
    return ax


def processes(tasks: pd.DataFrame, ax: Axes | None = None, top: int = 15) -> Axes:
    """Processes by resident memory; shared pages count in each process that maps them."""
    # A process is one bar, whichever of its threads is met first: they share one mm.
    owners = tasks[tasks["rss_bytes"].notna()].sort_values(["tgid", "pid"]).drop_duplicates("tgid")
    parts = pd.DataFrame({"resident": owners["rss_bytes"]})
    parts.index = pd.Index(
        [f"{comm} ({pid})" for comm, pid in zip(owners["comm"], owners["tgid"], strict=True)]
    )
    ax = bars(parts, [style.BLUE], ax, top)
    ax.set_title(f"Resident memory by process: {len(owners):,} processes, shared pages in each", loc="left")
    return ax


def maps(maps: pd.DataFrame, tasks: pd.DataFrame, ax: Axes | None = None, top: int = 15) -> Axes:
    """Processes by the address space they mapped: anonymous, heap and stacks, files, shared."""
    path = maps["path"].fillna("")
    shared = maps["perms"].str.endswith("s", na=False)
    stack = path.isin(["[heap]", "[stack]"]) & ~shared
    file = (path != "") & ~path.str.startswith("[", na=False) & ~shared
    kind = pd.Series("anonymous", index=maps.index)
    kind = kind.mask(stack, "heap, stack").mask(file, "files").mask(shared, "shared")
    order = ["anonymous", "heap, stack", "files", "shared"]
    parts = (
        maps.assign(kind=kind).pivot_table(index="pid", columns="kind", values="size_bytes", aggfunc="sum")
        .reindex(columns=order)
    )  # fmt: skip
    comm = tasks.drop_duplicates("tgid").set_index("tgid")["comm"]
    parts.index = pd.Index([f"{comm.get(pid, '?')} ({pid})" for pid in parts.index])
    ax = bars(parts, [style.BLUE, style.SKY, style.ORANGE, style.GREEN], ax, top)
    ax.set_title(f"Mapped address space by process: {len(maps):,} mappings", loc="left")
    return ax
