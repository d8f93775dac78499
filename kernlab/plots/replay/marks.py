"""What all lanes draw alike: the lane's axes and title, names at the right, what is not known, the crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.escape import escape_plot
from kernlab.plots import style
from kernlab.plots.replay.scene import Frames, Scene, nanoseconds
from kernlab.plots.replay.thin import spread
from kernlab.plots.time_axis import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points of all text in a lane but its title.
SIZE = 7.5
#: Points from one name at the right to the next.
_LINE = 10.5
_LONGEST_NAME = 16


def prepare(ax: Axes, scene: Scene) -> None:
    """The house style, and the axis of time."""
    style.axes(ax, scene.theme)
    ax.set_facecolor(scene.theme.background)
    ax.set_xlim(*scene.limits)
    ax.tick_params(axis="y", labelcolor=scene.theme.soft, labelsize=SIZE)
    ax.grid(axis="both", color=scene.theme.grid, linewidth=0.6)
    if scene.crash <= scene.last:
        ax.axvline(
            float(seconds(scene.crash)), color=scene.theme.vermilion, linewidth=2, zorder=6, clip_on=False
        )


def headline(ax: Axes, scene: Scene, text: str, more: str = "") -> None:
    """A lane's title: what is found, and in a quieter voice what is drawn; both escaped by the caller."""
    title = ax.set_title(text, loc="left", color=scene.theme.ink, fontweight="bold", fontsize=9, pad=5)
    if more:
        ax.annotate(
            more,
            (1, 0),
            (6, 0),
            xycoords=title,
            textcoords="offset points",
            va="bottom",
            color=scene.theme.soft,
            fontsize=SIZE,
        )


def name_of(text: str) -> str:
    """A process' name where there is little room."""
    return escape_plot(text, _LONGEST_NAME)


def at_right(
    ax: Axes, scene: Scene, entries: list[tuple[float, str, str]], signs: str = "\N{BLACK SQUARE}"
) -> None:
    """Names beside a lane, (height in data, escaped text, colour) each, none upon another.

    `signs` is what stands before them in the colour: one for all, or one for each.
    """
    if not entries:
        return
    low, high = ax.get_ylim()
    points = ax.get_position().height * float(ax.figure.get_figheight()) * 72  # type: ignore[union-attr]
    flat = [(ax.transData.transform((0, y))[1], text, colour) for y, text, colour in entries]
    bottom, top = (ax.transData.transform((0, y))[1] for y in (low, high))
    scale = points / (top - bottom)
    heights = spread([(y - bottom) * scale for y, _, _ in flat], _LINE, 3.0, points - 3.0)
    signs = signs if len(signs) > 1 else signs * len(flat)
    for height, (_, text, colour), sign in zip(heights, flat, signs, strict=True):
        place: dict[str, Any] = {
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        ax.annotate(
            sign, (1, 0), (10, height), ha="center", va="center", color=colour, fontsize=SIZE + 1, **place
        )
        ax.annotate(text, (1, 0), (16, height), va="center", color=scene.theme.ink, fontsize=SIZE, **place)


def unknown(
    ax: Axes,
    scene: Scene,
    since: int,
    until: int,
    low: float = 0.0,
    high: float = 1.0,
    *,
    in_data: bool = False,
    is_clear: bool = False,
) -> None:
    """Hatch what is not known, from since to until (ns), over all of the lane or a part of its height.

    With `is_clear` what is known all the same is seen through it.
    """
    since, until = max(since, scene.first), min(until, scene.last)
    if until <= since:
        return
    # What is shorter than two pixels can be seen, too.
    least = 2 * (scene.last - scene.first) // scene.cells
    if until - since < least:
        until = min(since + least, scene.last)
        since = until - least
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle(
            (float(seconds(since)), low),
            (until - since) / 1e9,
            high - low,
            transform=ax.transData if in_data else ax.get_xaxis_transform(),
            facecolor="none" if is_clear else scene.theme.background,
            edgecolor=scene.theme.mute,
            hatch="/////",
            linewidth=0,
            zorder=3,
            label="_not known",
        )
    )


def breaks_of(frames: Frames, is_own: Callable[[str], bool]) -> npt.NDArray[np.int64]:
    """(since, until) ns of each break of the sources of which `is_own` says so.

    Until is when something was known again, `since` where nobody says.
    """
    table = frames.breaks
    if not len(table):
        return np.zeros((0, 2), dtype=np.int64)
    at = nanoseconds(table["time"])
    end = nanoseconds(table["until"]) if "until" in table else at
    kept = np.array([is_own(str(name)) for name in table["source"]], dtype=bool)
    return np.stack([at[kept], np.maximum(end[kept], at[kept])], axis=1)


def steps(at: Any, *columns: Any) -> list[Any]:
    """Corners of a line or an area that keeps its value until the next row; NaN where a row is a break."""
    x = np.repeat(np.asarray(at, dtype=np.float64), 2)[1:]
    return [x, *(np.repeat(np.asarray(column, dtype=np.float64), 2)[:-1] for column in columns)]


def ink_on(fill: str) -> str:
    """The colour of text on a fill: white on what is dark, else dark."""
    from matplotlib.colors import to_rgb

    red, green, blue = (part**2.2 for part in to_rgb(fill))
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.22 else style.LIGHT.ink
