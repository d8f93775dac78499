"""Counted page frames in, a picture of physical memory out: a Hilbert curve keeps frames near that are near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.plots import style
from kernlab.plots.page_counts import GROUPS, Frames, colour
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

I64 = npt.NDArray[np.int64]

#: Cells along the side of one square of the raster.
_SIDE = 64


def hilbert(side: int) -> tuple[I64, I64]:
    """The curve through side × side cells (side a power of two): (x, y) int64[side²] in its order."""
    step = np.arange(side * side, dtype=np.int64)
    x, y = np.zeros_like(step), np.zeros_like(step)
    size = 1
    while size < side:
        right = (step >> 1) & 1
        up = (step ^ right) & 1
        turn = up == 0
        flip = turn & (right == 1)
        x[flip], y[flip] = size - 1 - x[flip], size - 1 - y[flip]
        x[turn], y[turn] = y[turn], x[turn].copy()
        x += size * right
        y += size * up
        step >>= 2
        size *= 2
    return x, y


def square_side(cells: int) -> int:
    """Cells along the side of a square: fewer where there is so little memory that it would not fill four squares."""
    side = _SIDE
    while side > 1 and side * side * 4 > cells:
        side //= 2
    return side


def raster(cells: I64) -> npt.NDArray[np.int64]:
    """Cells int64[n] as a picture int64[height, width], read like text: squares from left to right, row below row, and
    in each square a Hilbert curve from its upper left to its upper right corner. What is behind the last cell is -1.
    """
    side = square_side(len(cells))
    squares = -(-len(cells) // (side * side))
    rows = max(1, round((squares / 1.6) ** 0.5))
    columns = -(-squares // rows)
    picture = np.full((rows, columns, side, side), -1, dtype=np.int64)
    padded = np.full(rows * columns * side * side, -1, dtype=np.int64)
    padded[: len(cells)] = cells
    x, y = hilbert(side)
    picture[:, :, y, x] = padded.reshape(rows, columns, side * side)
    return picture.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)


def physical(frames: Frames, ax: Axes | None, theme: str | None) -> Axes:
    """All of physical memory as a raster: each cell has the colour of what most of its frames are used for."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    colours = style.theme_of(theme, ax)
    # What is in use shows in a cell that is mostly free: it is what the reader looks for.
    weight = frames.cells.copy()
    free = next(index for index, (name, _, _) in enumerate(GROUPS) if name == "free")
    weight[:, free] = np.where(weight.sum(axis=1) > weight[:, free], weight[:, free] // 2, weight[:, free])
    picture = raster(np.where(weight.sum(axis=1) > 0, np.argmax(weight, axis=1), -1))
    height, width = picture.shape
    ax = style.axes(ax, colours, height=1.4 + 7.1 * height / width)
    ax.spines["bottom"].set_visible(False)
    ax.imshow(
        np.ma.masked_less(picture, 0),
        cmap=ListedColormap([colour(colours, index) for index in range(len(GROUPS))]),
        vmin=-0.5,
        vmax=len(GROUPS) - 0.5,
        interpolation="nearest",
        origin="upper",
        extent=(0, width, height, 0),
    )
    ax.set_xticks([])
    side = square_side(len(frames.cells))
    starts = range(height // side)
    row_bytes = width * side * frames.per_cell * frames.page_size
    ax.set_yticks([row * side for row in starts], [style.in_words(row * row_bytes) for row in starts])
    ax.tick_params(axis="y", labelcolor=colours.soft, labelsize="small")
    for row in starts:
        if row:
            ax.axhline(row * side, color=colours.background, linewidth=1.2)
    sums = frames.cells.sum(axis=0) * frames.page_size
    present = [index for index in range(len(GROUPS)) if sums[index]]
    handles = [
        Patch(facecolor=colour(colours, index), label=f"{GROUPS[index][0]}  {human_bytes(int(sums[index]))}")
        for index in present
    ]
    style.legend(
        ax,
        colours,
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.005, -0.02),
        ncols=4,
        borderaxespad=0,
    )
    cell = human_bytes(frames.per_cell * frames.page_size)
    style.title(
        ax,
        colours,
        "Physical memory",
        f"read like text; one cell is {cell}, and along each row a Hilbert curve keeps neighbours together",
    )
    parts = ", ".join(f"{GROUPS[index][0]} {human_bytes(int(sums[index]))}" for index in present)
    return style.say(
        ax,
        f"Map of physical memory up to {human_bytes(frames.end * frames.page_size)}, {height} by {width} cells of "
        f"{cell} along a Hilbert curve: {parts}.",
    )
