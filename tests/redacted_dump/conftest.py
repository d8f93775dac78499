"""The memory of a real machine in other formats, as the tests of formats have it."""

from __future__ import annotations

from formats.conftest import real

__all__ = ["real"]
