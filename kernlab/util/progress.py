"""A bar for work that takes long, in a terminal or a notebook; nothing where nobody looks, or where it is soon done."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from kernlab.escape import escape_terminal
from kernlab.util import frontend

#: Work that is done by then shows no bar, in seconds; the library that draws bars is not even imported.
_DELAY = 0.5


class Progress:
    """A bar, as a context manager; `advance` moves it. An interrupt passes through, and takes the bar away."""

    def __init__(self, what: str, total: int | None, unit: str, wanted: bool):
        self._what, self._total, self._unit = what, total, unit
        self._wanted = wanted
        self._done = 0
        self._next = time.monotonic() + _DELAY if wanted else float("inf")
        self._bar: Any = None

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""
        self._done += amount
        if self._wanted and time.monotonic() >= self._next:
            self._show()

    def _show(self) -> None:
        if self._bar is None:
            draw = _bar_class()
            if draw is None:
                self._wanted = False
                return
            self._bar = draw(
                desc=escape_terminal(self._what),
                total=self._total,
                unit=self._unit,
                unit_scale=True,
                unit_divisor=1024 if self._unit == "B" else 1000,
                leave=False,
                mininterval=0,  # `_next` sees to that
                file=None if _in_notebook() else sys.stderr,
            )
        self._bar.update(self._done - self._bar.n)
        self._next = time.monotonic() + 0.1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is None:
            return
        self._bar.update(self._done - self._bar.n)
        # A bar that stands below its total is kept, in red: what ended early, or was too large a guess, is over too.
        self._bar.total = self._bar.n
        self._bar.close()


def progress(what: str, total: int | None = None, unit: str = "") -> Progress:
    """A bar for `total` units ("B" for bytes) of work, shown if it takes longer than half a second.

    `with progress("Reading pages", len(pages)) as bar: … bar.advance()`. KERNLAB_PROGRESS=0 turns bars off, 1 on
    where standard error is not a terminal.
    """
    return Progress(what, total, unit, wanted())


def wanted() -> bool:
    """Is there somebody who would see a bar?"""
    choice = os.environ.get("KERNLAB_PROGRESS", "")
    if choice in ("0", "1"):
        return choice == "1"
    if _in_notebook():
        return frontend.is_watched()
    stream = sys.stderr
    return stream is not None and stream.isatty()


def _in_notebook() -> bool:
    return frontend.kernel_shell() is not None


def _bar_class() -> Any:
    """tqdm's bar for where we are; None without tqdm."""
    try:
        if _in_notebook() and importlib.util.find_spec("ipywidgets") is not None:
            from tqdm.notebook import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
