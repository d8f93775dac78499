"""The bytes of one file, as its page cache has them: frames, pages that were swapped out, holes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.frames import read_frames
from kernlab.linux.page_cache import PageCache, PageState
from kernlab.linux.swapped import Swapped

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

#: Pages that are read together.
_BATCH = 1024

#: A run of bytes [start, end) of a file that cannot be read, and why.
Hole = tuple[int, int, PageState]


class CachedFile:
    """One file by the address of its `struct address_space`; `cache` says where its pages are."""

    def __init__(self, kernel: Kernel, mapping: int):
        self.kernel = kernel
        with kernel.watched() as losses:
            self.cache = PageCache(kernel, mapping)
        self._lost = losses.losses

    @cached_property
    def swapped(self) -> Swapped:
        """What reads its pages that were swapped out."""
        return Swapped(self.kernel)

    @property
    def problems(self) -> list[str]:
        """What could not be read, and why."""
        return [*self._lost, *self.swapped.problems]

    def _fetch(self, state: U8, where: U64) -> tuple[U8, U8]:
        rows = np.zeros((len(state), self.kernel.page_size), dtype=np.uint8)
        state = state.copy()
        here = np.flatnonzero(state == PageState.HERE)
        rows[here], state[here] = read_frames(self.kernel, where[here])
        away = np.flatnonzero(state == PageState.SWAPPED)
        if len(away):
            rows[away], state[away] = self.swapped.read(where[away])
        return rows, state

    def blocks(self, first: int, last: int) -> Iterator[tuple[U64, U8, U8]]:
        """Its pages from `first` to before `last`, in pieces: (index uint64[n], uint8[n, page size], PageState)."""
        for start in range(first, last, _BATCH):
            index = np.arange(start, min(start + _BATCH, last), dtype=np.uint64)
            yield index, *self._fetch(*self.cache.find(index))

    def cached(self) -> Iterator[tuple[U64, U8, U8]]:
        """As `blocks`, those that the page cache has."""
        for start in range(0, len(self.cache.index), _BATCH):
            rows = slice(start, start + _BATCH)
            yield self.cache.index[rows], *self._fetch(self.cache.state[rows], self.cache.frame[rows])

    def states(self) -> U8:
        """What became of the pages that the page cache has: PageState uint8[n], by `cache.index`."""
        found = [state for _, _, state in self.cached()]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.uint8)

    def holes(self) -> list[Hole]:
        """What cannot be read, in runs by offset."""
        cache, page = self.cache, self.kernel.page_size
        size = cache.size_bytes or 0
        inside = cache.index < np.uint64(cache.pages)
        index, state = cache.index[inside].astype(np.int64), self.states()[inside]
        good = (state == PageState.HERE) | (state == PageState.ZERO)
        found: list[Hole] = []

        def add(first: int, last: int, why: PageState) -> None:
            start, end = first * page, min(last * page, size)
            if end <= start:
                return
            if found and found[-1][1:] == (start, why):
                start = found.pop()[0]
            found.append((start, end, why))

        at = 0
        if cache.default == PageState.ZERO:
            index, state = index[~good], state[~good]
            for number, why in zip(index.tolist(), state.tolist(), strict=True):
                add(number, number + 1, PageState(why))
            return found
        # Where runs begin: a step of more than one page, or another state.
        edges = np.flatnonzero((np.diff(index) != 1) | (np.diff(state.astype(np.int64)) != 0)) + 1
        starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(index)]
        for low, high in zip(starts, ends, strict=True) if len(index) else ():
            add(at, int(index[low]), cache.default)
            at = int(index[high - 1]) + 1
            if not good[low]:
                add(int(index[low]), at, PageState(int(state[low])))
        add(at, cache.pages, cache.default)
        return found
