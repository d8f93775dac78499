"""The colours that a recording is drawn in, light and dark: the house style's, so that player and plots look alike."""

from __future__ import annotations

from typing import Any

from kernlab.plots.replay.memory import KINDS
from kernlab.plots.style import DARK, LIGHT, Theme

#: Further hues for tasks, told apart from the style's own by colour-blind readers, too; the last is what others share.
_MORE = {LIGHT: ("#7A5FB5", "#8A7A12", "#9C5A3C"), DARK: ("#A792E0", "#C2B04A", "#C98B6B")}


def palettes() -> dict[str, dict[str, Any]]:
    """`light` and `dark`: colours by what they stand for, as CSS."""
    return {"light": _palette(LIGHT), "dark": _palette(DARK)}


def _palette(theme: Theme) -> dict[str, Any]:
    purple, olive, brown = _MORE[theme]
    tasks = [theme.blue, theme.orange, theme.green, theme.pink, theme.sky, purple, olive, brown, theme.mute]
    on_dark = "#FFFFFF" if theme is LIGHT else "#10151B"
    return {
        "tasks": tasks,
        "onTask": [
            "#10151B" if colour in (theme.orange, theme.pink, theme.sky) else on_dark for colour in tasks
        ],
        "kinds": {column.removesuffix("_bytes"): getattr(theme, colour) for column, _, colour in KINDS},
        "requests": [theme.blue, theme.orange, theme.mute, theme.pink],
        "pressure": {"some": theme.sky, "full": theme.vermilion},
        "depth": theme.sky,
        "runnable": theme.green,
        "overview": theme.mute,
        "lost": theme.vermilion,
        "warned": theme.orange,
        "said": theme.mute,
        "peak": theme.blue,
        "hatch": theme.mute,
        "soft": theme.soft,
        "line": theme.grid,
        "track": "#F1F3F5" if theme is LIGHT else "#22272E",
    }
