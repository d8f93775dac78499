"""The house style of all plots: colours that colour-blind readers tell apart, sizes in binary units, quiet axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours (Color Universal Design, 2008), strongest contrast first.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
QUIET = "#BBBBBB"

_WIDTH = 8.0  # inches; 800 pixels at the 100 dpi of a notebook
_ROW = 0.3


def axes(ax: Axes | None, rows: int = 8) -> Axes:
    """The axes to draw on: the caller's, or new ones as high as `rows` bars need."""
    if ax is None:
        # As pandas' own plots do: notebooks then show the figure by themselves.
        from matplotlib import pyplot

        size = (_WIDTH, 1.1 + _ROW * max(rows, 3))
        ax = pyplot.subplots(figsize=size, dpi=100, layout="constrained")[1]
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)
    ax.set_axisbelow(True)
    return ax


def in_bytes(ax: Axes) -> None:
    """Label the x axis in binary units, at round numbers of them."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    # Steps of 1, 2, 4 … bytes: every label is then a round number of its unit.
    step = 1.0
    while ax.get_xlim()[1] / step > 6:
        step *= 2
    ax.xaxis.set_major_locator(MultipleLocator(step))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(int(value)) if value else "0"))
    ax.grid(axis="x", color=QUIET, alpha=0.4, linewidth=0.8)
