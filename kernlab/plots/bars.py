"""Who holds how much: tables of caches, processes and map_usage in, horizontal bars by size out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import escape_plot, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.plots import style
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST_LABEL = 32


def bars(parts: pd.DataFrame, colours: list[str], ax: Axes | None, theme: style.Theme, top: int) -> Axes:
    """Stacked horizontal bars, largest first.

    Parameters: parts, bytes: one row a bar (its index the label), one column a segment, named as the legend shows it;
    top: how many rows are drawn, the others become one last bar. Returns the axes.
    """
    if top < 1:
        raise KernlabError(f"top must be at least 1, not {top}")
    sizes = parts.astype("float64").fillna(0.0)
    sizes = sizes.loc[:, [name for name in sizes.columns if sizes[name].sum() or len(sizes.columns) == 1]]
    colours = [colour for name, colour in zip(parts.columns, colours, strict=True) if name in sizes.columns]
    order = sizes.sum(axis=1).to_numpy().argsort(kind="stable")[::-1]
    sizes = sizes.iloc[order]
    rest = sizes.iloc[top:]
    sizes = sizes.iloc[:top]
    labels = [escape_plot(str(label), _LONGEST_LABEL) for label in sizes.index]
    if len(rest):
        sizes = pd.concat([sizes, rest.sum().to_frame().T])
        labels.append(f"{len(rest):,} others")
    ax = style.axes(ax, theme, len(labels))
    places = range(len(labels))
    left = pd.Series(0.0, index=places)
    for name, colour in zip(sizes.columns, colours, strict=True):
        width = pd.Series(sizes[name].to_numpy(), index=places)
        ax.barh(places, width, left=left, color=colour, label=str(name), height=0.7, linewidth=0)
        left = left + width
    for place in places:
        ax.annotate(
            human_bytes(int(left[place])),
            (left[place], place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=theme.ink,
        )
    ax.set_yticks(places, labels)
    if len(rest):
        ax.get_yticklabels()[-1].set_color(theme.soft)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    largest = float(left.max()) if len(left) else 0.0
    ax.set_xlim(0, (largest or 1.0) * 1.14)
    style.in_bytes(ax, theme)
    if len(sizes.columns) > 1:
        # Under the axis: the bar of all others may be the longest of them.
        style.legend(
            ax,
            theme,
            loc="upper left",
            bbox_to_anchor=(0, -0.75 / (len(labels) + 1)),
            ncols=len(sizes.columns),
            borderaxespad=0,
        )
    return ax


def slabs(slabs: pd.DataFrame, ax: Axes | None, top: int, theme: str | None) -> Axes:
    """Slab caches by the memory they hold: objects in use, and what is allocated but free."""
    colours = style.theme_of(theme, ax)
    whole, used = slabs["bytes"].astype("float64").fillna(0.0), slabs["used_bytes"].astype("float64")
    known = used.notna()
    parts = pd.DataFrame(
        {
            "objects in use": used.where(known, 0.0),
            "free in its slabs": (whole - used).where(known, 0.0),
            "use unknown": whole.where(~known, 0.0),
        }
    )
    parts.index = pd.Index(slabs["name"].fillna("?").astype(object))
    ax = bars(parts, [colours.orange, colours.mute, colours.unknown], ax, colours, top)
    reclaimable = slabs["flags"].str.contains("SLAB_RECLAIM_ACCOUNT", na=False)
    style.title(
        ax,
        colours,
        f"Slab memory: {human_bytes(int(whole.sum()))} in {len(slabs):,} caches",
        f"{human_bytes(int(whole[reclaimable].sum()))} of it in caches that the kernel can shrink",
    )
    return style.say(ax, _alt("Slab caches by memory", parts))


def processes(table: pd.DataFrame, ax: Axes | None, top: int, theme: str | None) -> Axes:
    """Processes by memory: what is theirs alone, their fair share of what they share, and what is swapped out."""
    colours = style.theme_of(theme, ax)
    parts = pd.DataFrame(
        {
            "private": table["uss_bytes"],
            "fair share of shared": table["pss_bytes"].astype("float64")
            - table["uss_bytes"].astype("float64"),
            "page tables": table["page_tables_bytes"],
            "swapped out": table["swap_bytes"],
        }
    )
    held = int(parts.drop(columns="swapped out").astype("float64").fillna(0.0).sum().sum())
    pids = zip(table["comm"].fillna("?"), table["pid"], strict=True)
    parts.index = pd.Index([say_thread(comm, pid) for comm, pid in pids])
    fills = [colours.blue, colours.sky, colours.vermilion, colours.mute]
    ax = bars(parts, fills, ax, colours, top)
    style.title(
        ax,
        colours,
        f"Memory of {len(table):,} processes: {human_bytes(held)}",
        "shared pages are divided among those that map them, so bars add up",
    )
    return style.say(ax, _alt("Processes by memory", parts))


def maps_of(maps: pd.DataFrame, pid: int, comm: str, ax: Axes | None, top: int, theme: str | None) -> Axes:
    """One process' mappings by what they hold in memory, those of one file together."""
    colours = style.theme_of(theme, ax)
    mine = maps[maps["pid"] == pid]
    if mine.empty:
        raise KernlabError(
            f"process {pid} has no memory maps (kernel threads have none; dump.tasks lists all)"
        )
    path = mine["path"].fillna("?")
    writable = mine["perms"].str.contains("w", na=False)
    name = path.mask(path == "", "anonymous").where(~(writable & path.str.startswith("/")), path + " (data)")
    # Floats, in which no sum of a dump's numbers wraps round.
    pss, rss, swap, size = (
        mine[f"{part}_bytes"].astype("float64").fillna(0.0) for part in ("pss", "rss", "swap", "size")
    )
    parts = pd.DataFrame(
        {"its share": pss, "shared with others": rss - pss, "swapped out": swap, "name": name}
    )
    parts = parts.groupby("name", sort=False).sum()
    parts.index = pd.Index([_end(str(label)) for label in parts.index])
    held = parts.sum(axis=1) > 0
    ax = bars(
        parts[held] if held.any() else parts, [colours.blue, colours.sky, colours.mute], ax, colours, top
    )
    style.title(
        ax,
        colours,
        f"Memory of {escape_plot(comm, 20)} ({pid}): {human_bytes(int(rss.sum()))} resident",
        f"{human_bytes(int(size.sum()))} mapped in {len(mine):,} areas; "
        f"its share is {human_bytes(int(pss.sum()))}",
    )
    return style.say(ax, _alt(f"Mappings of process {pid} by resident memory", parts))


def maps(maps: pd.DataFrame, tasks: pd.DataFrame, ax: Axes | None, top: int, theme: str | None) -> Axes:
    """Processes by the address space they mapped: anonymous, heap and stacks, files, shared."""
    colours = style.theme_of(theme, ax)
    path = maps["path"].fillna("")
    shared = maps["perms"].str.endswith("s", na=False)
    stack = path.isin(["[heap]", "[stack]"]) & ~shared
    file = (path != "") & ~path.str.startswith("[", na=False) & ~shared
    kind = pd.Series("anonymous", index=maps.index)
    kind = kind.mask(stack, "heap, stack").mask(file, "files").mask(shared, "shared")
    order = ["anonymous", "heap, stack", "files", "shared"]
    sizes = pd.DataFrame({"pid": maps["pid"], "kind": kind, "size": maps["size_bytes"].astype("float64")})
    parts = sizes.pivot_table(index="pid", columns="kind", values="size", aggfunc="sum").reindex(
        columns=order
    )
    comm = tasks.drop_duplicates("tgid").set_index("tgid")["comm"]
    parts.index = pd.Index([say_thread(comm.get(pid, "?"), pid) for pid in parts.index])
    fills = [colours.blue, colours.sky, colours.green, colours.orange]
    ax = bars(parts, fills, ax, colours, top)
    style.title(
        ax,
        colours,
        f"Mapped address space: {len(maps):,} mappings of {len(parts):,} processes",
        "mapped is not resident: see dump.plot.processes() for memory in use",
    )
    return style.say(ax, _alt("Processes by mapped address space", parts))


def _end(path: str) -> str:
    """A long path by its end, which tells more."""
    return path if len(path) <= _LONGEST_LABEL else "…" + path[-_LONGEST_LABEL + 1 :]


def _alt(what: str, parts: pd.DataFrame) -> str:
    sums = parts.astype("float64").fillna(0.0).sum(axis=1).sort_values(ascending=False)
    largest = ", ".join(
        f"{show_short(str(name), _LONGEST_LABEL)} {human_bytes(int(size))}"
        for name, size in sums.head(5).items()
    )
    return f"Bar chart. {what}, {len(sums):,} in all, {human_bytes(int(sums.sum()))}; the largest: {largest}."
