"""The struct browser as a second widget below another one, with a button that closes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

if TYPE_CHECKING:
    from kernlab.dump import Dump


def browser_below(dump: Dump, type: str, address: Any, close: Callable[[], None]) -> Any:  # noqa: A002
    """A browser of one struct; its button calls `close`. Raises what `dump.struct` does."""
    browser = dump.explore(dump.struct(type, address))
    away = ipywidgets.Button(description="Close the struct browser", icon="times")
    away.layout.width = "max-content"
    away.on_click(lambda _: close())
    return ipywidgets.VBox([browser, away])
