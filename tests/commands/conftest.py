"""Commands that run in a test's own process find the bundled dump open, with what those before had built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLES

import kernlab


@pytest.fixture(scope="package")
def opened_once() -> Iterator[Callable[..., Any]]:
    """`kernlab.open`, which opens debian-6.1 once where nothing more is asked of it than to be opened."""
    real, dump = kernlab.open, None
    bundled = (SAMPLES / "debian-6.1" / "vmcore").resolve()

    def open_once(path: Any, **more: Any) -> Any:
        nonlocal dump
        plain = isinstance(path, (str, Path)) and all(value in (None, "none") for value in more.values())
        if not plain or Path(path).resolve() != bundled:
            return real(path, **more)
        # `kernlab table vmcore close` is refused, and closes it.
        if dump is None or dump._closed:
            dump = real(path, **more)
        return contextlib.nullcontext(dump)

    yield open_once
    if dump is not None:
        dump.close()


@pytest.fixture(autouse=True)
def _open(monkeypatch: pytest.MonkeyPatch, opened_once: Callable[..., Any]) -> None:
    monkeypatch.setattr(kernlab, "open", opened_once)
