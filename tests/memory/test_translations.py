"""What is kept of walked pages: the same as a walk gives, walked once, for one layout, and never too much of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from kernlab.memory import translations
from kernlab.memory.translations import MOST_AT_ONCE, Translations

Numbers = npt.NDArray[np.uint64]
#: What each of some pages is mapped to, by two layouts; pages that no table maps have a status.
UNMAPPED = 4


class Tables:
    """Page tables that map each page so far away, but for every fifth; they count what they are asked for."""

    def __init__(self, away: int):
        self.away, self.walked = np.uint64(away), 0

    def __call__(self, pages: Numbers) -> tuple[Numbers, npt.NDArray[np.uint8]]:
        self.walked += len(pages)
        status = np.where(pages // np.uint64(4096) % np.uint64(5) == 0, UNMAPPED, 0).astype(np.uint8)
        return np.where(status == 0, pages + self.away, np.uint64(0)), status


def pages(first: int, count: int) -> Numbers:
    return (np.arange(first, first + count, dtype=np.uint64) | np.uint64(1 << 51)) * np.uint64(4096)


def same(kept: Translations, layout: object, wanted: Numbers, tables: Tables) -> None:
    physical, status = kept.lookup(layout, wanted, tables)
    told, why = Tables(int(tables.away))(wanted)
    assert (physical.dtype, status.dtype) == (np.uint64, np.uint8)
    assert physical.tolist() == told.tolist()
    assert status.tolist() == why.tolist()


def test_what_was_walked_is_not_walked_again() -> None:
    kept, tables, layout = Translations(), Tables(1 << 20), object()
    for wanted in (pages(0, 7), pages(3, 7), pages(0, 10)[::-1], pages(2, 1), pages(0, 0)):
        same(kept, layout, wanted, tables)
    assert tables.walked == 10


def test_another_layout_maps_pages_elsewhere() -> None:
    kept, one, other = Translations(), Tables(1 << 20), Tables(1 << 30)
    first, second = object(), object()
    same(kept, first, pages(0, 8), one)
    same(kept, second, pages(4, 8), other)
    same(kept, first, pages(0, 8), one)
    assert (one.walked, other.walked) == (16, 8)


def test_many_pages_at_once_are_not_kept() -> None:
    kept, tables, layout = Translations(), Tables(1 << 20), object()
    for _ in range(2):
        same(kept, layout, pages(0, MOST_AT_ONCE + 1), tables)
    assert tables.walked == 2 * (MOST_AT_ONCE + 1)


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translations, "MOST_KEPT", 20)
    kept, tables, layout = Translations(), Tables(1 << 20), object()
    for first in (0, 8, 16, 4, 0):
        same(kept, layout, pages(first, 12), tables)
        assert len(kept._known) <= 20


def test_a_walk_that_is_ended_leaves_nothing_half_known() -> None:
    kept, tables, layout = Translations(), Tables(1 << 20), object()
    same(kept, layout, pages(0, 4), tables)

    def ended(_: Numbers) -> tuple[Numbers, npt.NDArray[np.uint8]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.lookup(layout, pages(0, 8), ended)
    same(kept, layout, pages(0, 8), tables)
