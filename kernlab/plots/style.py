"""The house style of all plots: colours that colour-blind readers tell apart, light and dark, sizes in binary units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernlab.errors import KernlabError
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches of new axes, 800 pixels at the 100 dpi of a notebook.
WIDTH = 8.0
_ROW = 0.3


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one background: Okabe and Ito's hues (Color Universal Design, 2008), lighter on dark."""

    background: str
    ink: str  # text
    soft: str  # text that stands back
    grid: str
    blue: str
    sky: str
    green: str
    orange: str
    vermilion: str
    pink: str
    quiet: str  # what is not in use
    mute: str  # what cannot be used
    unknown: str


LIGHT = Theme(
    "#FFFFFF",
    "#1B1F24",
    "#5B636D",
    "#D9DDE2",
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#DDE1E6",
    "#8A929C",
    "#2B2B2B",
)
DARK = Theme(
    "#14181D",
    "#E8EAED",
    "#A3ABB5",
    "#343A42",
    "#3D94D1",
    "#8FD0F5",
    "#23B58A",
    "#F0B43C",
    "#EE7A38",
    "#DB94BF",
    "#3A414A",
    "#77808B",
    "#F5F5F5",
)


#: The colours on white, for plots that a notebook makes itself in this style.
BLUE, SKY, GREEN, ORANGE = LIGHT.blue, LIGHT.sky, LIGHT.green, LIGHT.orange
VERMILION, PINK, QUIET = LIGHT.vermilion, LIGHT.pink, LIGHT.quiet


def theme_of(wanted: str | None, ax: Axes | None) -> Theme:
    """The theme asked for, else the one that goes with the axes' background (or with what matplotlib is set to).

    Raises KernlabError for a name that is none.
    """
    if wanted is not None:
        if wanted not in ("light", "dark"):
            raise KernlabError(f"a plot's theme is 'light' or 'dark', not {wanted!r}")
        return LIGHT if wanted == "light" else DARK
    from matplotlib import colors, rcParams

    face: Any = ax.get_facecolor() if ax is not None else rcParams["figure.facecolor"]
    red, green, blue, alpha = colors.to_rgba(face)
    return DARK if alpha > 0.5 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.4 else LIGHT


def axes(
    ax: Axes | None = None, theme: Theme | None = None, rows: float = 8, height: float | None = None
) -> Axes:
    """The axes to draw on: the caller's, or new ones of the theme, as high as `rows` bars need (or `height` inches)."""
    theme = theme_of(None, ax) if theme is None else theme
    if ax is None:
        # As pandas' own plots do: notebooks then show the figure by themselves.
        from matplotlib import pyplot

        size = (WIDTH, height or 1.1 + _ROW * max(rows, 3))
        figure, ax = pyplot.subplots(figsize=size, dpi=100, layout="constrained", facecolor=theme.background)
        ax.set_facecolor(theme.background)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    _keep(ax.figure)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(theme.grid)
    ax.tick_params(length=0, colors=theme.ink, labelcolor=theme.ink)
    ax.set_axisbelow(True)
    return ax


def title(ax: Axes, theme: Theme, text: str, below: str = "") -> None:
    """A title at the left, and a line below it that explains what is drawn; both escaped by the caller."""
    ax.set_title(text, loc="left", color=theme.ink, fontweight="bold", pad=22 if below else 8)
    if below:
        ax.annotate(
            below,
            (0, 1),
            (0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            color=theme.soft,
            fontsize="small",
        )


def legend(ax: Axes, theme: Theme, **options: Any) -> None:
    """A legend without a frame, in the theme's ink."""
    spacing = {"handlelength": 1.0, "handletextpad": 0.5, "columnspacing": 1.2, **options}
    drawn = ax.legend(frameon=False, labelcolor=theme.ink, fontsize="small", **spacing)
    drawn.set_zorder(5)


def in_bytes(ax: Axes, theme: Theme) -> None:
    """Label the x axis in binary units, at round numbers of them."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    # Steps of 1, 2, 4 … bytes: every label is then a round number of its unit.
    step = 1.0
    while ax.get_xlim()[1] / step > 6:
        step *= 2
    ax.xaxis.set_major_locator(MultipleLocator(step))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: in_words(value)))
    ax.tick_params(axis="x", labelcolor=theme.soft, labelsize="small")
    ax.grid(axis="x", color=theme.grid, linewidth=0.8)


def in_words(value: float) -> str:
    """A round number of bytes: `64 MiB`, `1.25 GiB`."""
    if not value:
        return "0"
    _, unit = human_bytes(int(value)).split(" ")
    scale = 1 << 10 * max("BKMGTPE".index(unit[0]), 0)
    return f"{value / scale:.4g} {unit}"


def say(ax: Axes, text: str) -> Axes:
    """Give the plot its alternative text: `ax.get_label()`, and the alt text of its image in a notebook's output."""
    ax.set_label(text)
    return ax


def _keep(figure: Any) -> None:
    """A notebook shall show the figure in the colours of its page."""

    def bundle(include: Any = None, exclude: Any = None) -> Any:
        from kernlab.plots.both_themes import picture

        return picture(figure)

    figure._repr_mimebundle_ = bundle
