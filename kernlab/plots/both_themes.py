"""A figure in the house style in, its picture for a notebook out: in its own colours, and in those of the other theme.

A notebook keeps pictures, and its page may turn dark or light long after they were drawn.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.escape import NO_MATH, escape_attribute, show_controls
from kernlab.plots.style import DARK, LIGHT, Theme
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Colours = npt.NDArray[np.float64]
Turn = Callable[[Any], Any]
#: What sets a colour, the one that it had, and the one of the other theme.
Change = tuple[Callable[[Any], Any], Any, Any]

#: What has a colour, by the names of what gets and sets it.
_COLOURS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")

_LONGEST_ALT = 1000


def picture(figure: Figure) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figure as a notebook's output: data and metadata.

    image/png is what it was drawn in. Where that is one of our themes, text/html shows this, and in a page of the other
    theme its counterpart. Both have the axes' labels as alternative text.
    """
    alt = alternative(figure)
    own = _drawn(figure)
    data: dict[str, Any] = {"image/png": own}
    themes = _themes(figure)
    if themes is not None:
        with turned(figure, *themes):
            other = _drawn(figure)
        data["text/html"] = swapped(own, other, alt, is_light=themes[0] is LIGHT)
    return data, {"image/png": {"alt": alt}}


def alternative(figure: Figure) -> str:
    """The labels of all axes: what somebody who cannot see the figure is told."""
    return shorten(show_controls("; ".join(filter(None, map(_label, figure.axes)))), _LONGEST_ALT)


def _label(ax: Any) -> str:
    label = str(ax.get_label())
    return label if label and label[0] != "_" and label != "<colorbar>" else str(ax.get_title(loc="left"))


def _drawn(figure: Figure) -> bytes:
    from IPython.core.pylabtools import print_figure

    image: bytes = print_figure(  # type: ignore[no-untyped-call]
        figure, "png", bbox_inches=None, facecolor=figure.get_facecolor()
    )
    return image


def swapped(own: bytes, other: bytes, alt: str, kind: str = "image/png", *, is_light: bool = True) -> str:
    """An element that shows one of two images, by its page's theme; `is_light` says which theme the first is for."""
    # One element, whatever a page's filter takes away: without the style it shows the picture in its own colours.
    name = f"kernlab-plot-{secrets.token_hex(6)}"
    first, second = (base64.b64encode(image).decode("ascii") for image in (own, other))
    to, dark = ("false", "dark") if is_light else ("true", "light")
    swap = f'content:url("data:{kind};base64,{second}")'
    return (
        f'<div class="{NO_MATH}"><style>[data-jp-theme-light="{to}"] #{name},.vscode-{dark} #{name}{{{swap}}}</style>'
        f'<img id="{name}" alt="{escape_attribute(alt)}" src="data:{kind};base64,{first}"></div>'
    )


def _themes(figure: Figure) -> tuple[Theme, Theme] | None:
    """The theme that a figure is drawn in, and the other one; None where it is neither."""
    from matplotlib.colors import same_color

    for own, other in ((LIGHT, DARK), (DARK, LIGHT)):
        if same_color(figure.get_facecolor(), own.background):
            return own, other
    return None


@contextmanager
def turned(figure: Figure, own: Theme, other: Theme) -> Iterator[None]:
    """The figure in the colours of the other theme, for as long as this lasts. What is in no theme's colour stays."""
    from matplotlib.text import Text

    turn = _turning(own, other)
    # All is read before anything is set: a figure and its patch are two names of one colour.
    changes: list[Change] = []
    # Boxes behind texts are no children of theirs.
    boxes = [box for text in figure.findobj(Text) if (box := text.get_bbox_patch()) is not None]
    for artist in [*figure.findobj(), *boxes]:
        changes += filter(None, (_change(artist, name, turn) for name in _COLOURS))
        changes += filter(None, (_image_change(artist, turn),))
    # A layout that is found anew moves by a hair; the two pictures take each other's place.
    layout = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        for put, _, after in changes:
            put(after)
        yield
    finally:
        figure.set_layout_engine(layout)
        for put, before, _ in reversed(changes):
            put(before)


def _turning(own: Theme, other: Theme) -> Turn:
    from matplotlib.colors import to_rgba, to_rgba_array

    # What a notebook draws itself beside a plot of ours is black on light ground, and white on dark.
    plain = ("black", other.ink) if own is LIGHT else ("white", other.ink)
    pairs = [*zip(astuple(own), astuple(other), strict=True), plain]
    source = np.array([to_rgba(one)[:3] for one, _ in pairs])
    target = np.array([to_rgba(two)[:3] for _, two in pairs])

    def turn(colour: Any) -> Any:
        """The counterpart of a colour, or of an array of them; None where it has none."""
        if colour is None or (isinstance(colour, str) and colour in ("none", "auto", "inherit")):
            return None
        try:
            rgba: Colours = to_rgba_array(colour).astype(np.float64)
        except (ValueError, TypeError):
            return None
        if not len(rgba):
            return None
        distance = np.abs(rgba[:, None, :3] - source[None]).max(axis=2)
        nearest = distance.argmin(axis=1)
        # What is clear stays so: an artist's own alpha would make it visible.
        known = (distance.min(axis=1) < 0.5 / 255) & (rgba[:, 3] > 0)
        if not known.any():
            return None
        rgba[known, :3] = target[nearest[known]]
        single = np.ndim(colour) < 2 and len(rgba) == 1
        return tuple(rgba[0].tolist()) if single else rgba

    return turn


def _change(artist: Any, name: str, turn: Turn) -> Change | None:
    get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
    # A patch's or a collection's colour is set by its parts.
    if get is None or put is None or (name == "color" and hasattr(artist, "set_facecolor")):
        return None
    before = get()
    after = turn(before)
    return None if after is None else (put, before, after)


def _image_change(artist: Any, turn: Turn) -> Change | None:
    """The colours of a raster, where they are listed."""
    from matplotlib.colors import ListedColormap

    cmap = getattr(artist, "cmap", None)
    if not isinstance(cmap, ListedColormap) or not hasattr(artist, "set_cmap"):
        return None
    colours = turn(cmap.colors)
    return None if colours is None else (artist.set_cmap, cmap, ListedColormap(np.atleast_2d(colours)))
