"""Stacks in, a flame graph out: which functions how many threads were in, those that called them below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kernlab.errors import KernlabError
from kernlab.escape import escape_plot
from kernlab.linux.whatis.threads import say_thread
from kernlab.plots import style
from kernlab.util.text import few

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Functions on one another that are drawn; what is deeper (a recursion) is cut.
_DEEPEST = 120
#: Boxes that are drawn, the widest of them.
_MOST_BOXES = 4000
#: Threads that a box names.
_NAMED = 6
#: Points of a box' text, and of one of its letters.
_SIZE, _LETTER = 7.5, 4.2

#: What a box is part of, by its place in `colours_of`.
ROOT, KERNEL, MODULE, BETWEEN, GUESS = range(5)
KINDS = ("all threads", "kernel", "module", "interrupt or exception", "a guess")
_OWN = ("task", "idle")


@dataclass(slots=True)
class Box:
    """A function with the same callers, in `count` threads; `start` is how many lie left of it, `depth` 0 the root.

    `name` is the dump's, to be escaped where it is shown.
    """

    name: str
    kind: int
    depth: int
    count: int = 0
    start: int = 0
    threads: list[str] = field(default_factory=list)
    above: dict[tuple[str, int], Box] = field(default_factory=dict)


def colours_of(theme: style.Theme) -> tuple[str, ...]:
    """The colours of boxes by their kinds."""
    # A grey of the plots that names can be read on, in both themes.
    return (theme.quiet, theme.sky, theme.orange, theme.pink, style.DARK.soft)


@dataclass(frozen=True, slots=True)
class Flames:
    """All boxes, the root first and what stands on a box after it; `cut` says what is not drawn, '' for nothing."""

    boxes: list[Box]
    threads: int
    cut: str

    @property
    def depth(self) -> int:
        """Boxes on one another, the root among them."""
        return max(box.depth for box in self.boxes) + 1


def flames(rows: pd.DataFrame) -> Flames:
    """The boxes of some rows of `stacks`. Raises KernlabError where there are none, or columns are missing."""
    needed = ("task", "pid", "comm", "frame", "symbol", "kind", "reliable")
    missing = [name for name in needed if name not in rows]
    if missing:
        raise KernlabError(f"these rows are not of dump.stacks: they lack {', '.join(missing)}")
    if not len(rows):
        raise KernlabError("these rows hold no frame: there is no stack to draw")
    ordered = rows.sort_values(["pid", "task", "frame"], ascending=[True, True, False], kind="stable")
    task = ordered["task"].to_numpy(dtype=np.uint64)
    symbol = ordered["symbol"].astype(object)
    known = {one: _function(str(one)) for one in symbol.unique()}
    root, box = Box("all", ROOT, 0), Box("", ROOT, 0)
    columns = (ordered[name].tolist() for name in ("pid", "comm", "kind", "reliable"))
    last = None
    for at, name, pid, comm, kind, reliable in zip(task.tolist(), symbol, *columns, strict=True):
        if at != last:
            last, box, thread = at, root, say_thread(str(comm), "?" if pid != pid else pid)
            _count(root, thread)
        if box.depth >= _DEEPEST:
            continue
        function, module = known[name]
        which = GUESS if not reliable else BETWEEN if kind not in _OWN else MODULE if module else KERNEL
        box = box.above.setdefault((function, which), Box(function, which, box.depth + 1))
        _count(box, thread)
    boxes, deepest = list(_placed(root)), int(np.unique(task, return_counts=True)[1].max())
    cut = []
    if deepest > _DEEPEST:
        cut.append(f"stacks are cut after {_DEEPEST} of {deepest:,} frames")
    if len(boxes) > _MOST_BOXES:
        least = sorted((box.count for box in boxes), reverse=True)[_MOST_BOXES]
        boxes = [box for box in boxes if box.count > least]
        few_threads = "1 thread" if least == 1 else f"{least:,} threads or fewer"
        cut.append(f"functions of {few_threads} are left out")
    return Flames(boxes, root.count, "; ".join(cut))


def _function(symbol: str) -> tuple[str, bool]:
    """`name [module]` of `name+0x1f/0x80 [module]`, and whether it is a module's."""
    name, _, module = symbol.partition(" [")
    function = name.rpartition("+0x")[0] or name
    return (f"{function} [{module}" if module else function), bool(module)


def _count(box: Box, thread: str) -> None:
    box.count += 1
    if len(box.threads) <= _NAMED:
        box.threads.append(thread)


def _placed(root: Box) -> Iterator[Box]:
    """Every box with its place: on its caller, of those on one caller the widest at the left."""
    waiting = [root]
    while waiting:
        box = waiting.pop()
        yield box
        start = box.start
        above = sorted(box.above.values(), key=lambda one: (-one.count, one.name))
        for one in above:
            one.start = start
            start += one.count
        waiting += reversed(above)


def told(box: Box, threads: int) -> str:
    """What a box says when it is pointed at; its names are the dump's."""
    names = few(box.threads[:_NAMED]) + (f" and {box.count - _NAMED:,} more" if box.count > _NAMED else "")
    return f"{box.name}: {box.count:,} of {threads:,} threads ({box.count / threads:.1%}): {names}"


def stacks(rows: pd.DataFrame, ax: Axes | None, theme: str | None) -> Axes:
    """A flame graph of some rows of `stacks`, by threads: the root at the bottom, innermost functions on top."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    colours = style.theme_of(theme, ax)
    found = flames(rows)
    fills = colours_of(colours)
    own = ax is None
    ax = style.axes(ax, colours, height=1.5 + 0.19 * found.depth)
    ax.spines["bottom"].set_visible(False)
    corners = [_corners(box) for box in found.boxes]
    drawn = PolyCollection(
        corners,
        facecolors=[fills[box.kind] for box in found.boxes],
        edgecolors=colours.background,
        linewidths=0.7,
    )
    ax.add_collection(drawn)
    ax.set_xlim(0, found.threads)
    ax.set_ylim(0, found.depth)
    ax.set_xticks([])
    ax.set_yticks([])
    # New axes have their width only when they are drawn.
    width = style.WIDTH * 72 * 0.96 if own else ax.get_window_extent().width * 72 / ax.figure.dpi
    letters = width / found.threads / _LETTER
    for box in found.boxes:
        room = int(box.count * letters) - 1
        if room >= 3:
            ax.text(
                box.start + found.threads * 0.004,
                box.depth + 0.46,
                escape_plot(box.name, room),
                va="center",
                fontsize=_SIZE,
                color=ink_of(colours, box.kind),
                clip_on=True,
            )
    used = sorted({box.kind for box in found.boxes} - {ROOT})
    handles: Any = [Patch(facecolor=fills[kind], label=KINDS[kind]) for kind in used]
    style.legend(
        ax,
        colours,
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.005, -0.01),
        ncols=4,
        borderaxespad=0,
    )
    head, below = captions(found)
    style.title(ax, colours, head, below)
    if own:
        _interactive(ax.figure, found)
    return style.say(ax, described(found))


def described(found: Flames) -> str:
    """What somebody who cannot see it is told: the widest functions. Its names are the dump's."""
    widest = sorted((box for box in found.boxes if box.kind != ROOT), key=lambda box: (-box.count, box.depth))
    named = ", ".join(f"{box.name} {box.count:,}" for box in widest[:8])
    return f"Flame graph of the stacks of {_threads(found.threads)}, by function: {named}."


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count:,} threads"


def captions(found: Flames) -> tuple[str, str]:
    """The title, and the line below it: what is counted."""
    cut = f"; {found.cut}" if found.cut else ""
    return (
        f"What everybody was doing: {_threads(found.threads)}",
        f"width: threads, each counted once, idle ones too; callers below, innermost functions on top{cut}",
    )


def ink_of(theme: style.Theme, kind: int) -> str:
    """The colour of a box' text: dark on all hues of both themes, and the theme's own on the root's grey."""
    return theme.ink if kind == ROOT else style.LIGHT.ink


def _corners(box: Box) -> list[tuple[float, float]]:
    left, right, low, high = box.start, box.start + box.count, box.depth, box.depth + 0.96
    return [(left, low), (right, low), (right, high), (left, high)]


def _interactive(figure: Any, found: Flames) -> None:
    """A notebook shows the picture that can be pointed at; what takes none has the PNG."""

    def bundle(include: Any = None, exclude: Any = None) -> Any:
        from kernlab.plots.both_themes import picture
        from kernlab.plots.flame_html import flame_html

        data, metadata = picture(figure)
        data["text/html"] = flame_html(found)
        return data, metadata

    figure._repr_mimebundle_ = bundle
