"""Pages of kernel memory in, the frames that the page tables map them to out: what was walked once is kept.

Modules, stacks and per-CPU memory lie outside of the direct map, and most tables read the same few pages of them again:
a walk takes as many reads as the page tables have levels, each as long as the read that it is for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
#: Walks pages uint64[n]: (physical address uint64[n], status uint8[n]).
Walk = Callable[[U64], tuple[U64, U8]]

#: Pages that are kept at most, some 3 MB; more at once than this are walked anew, which costs little for each.
MOST_KEPT, MOST_AT_ONCE = 1 << 14, 1 << 8


class Translations:
    """What the page tables of one layout say of pages. A dump does not change, so neither does this; its user locks."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}
        self._of: object = None

    def lookup(self, layout: object, pages: U64, walk: Walk) -> tuple[U64, U8]:
        """(physical address, status) of distinct pages, by `walk` where they are not known for this layout."""
        if len(pages) > MOST_AT_ONCE:
            return walk(pages)
        wanted, known = pages.tolist(), self._known
        missing = [page for page in wanted if page not in known]
        if self._of is not layout or len(known) + len(missing) > MOST_KEPT:
            self._of, missing = layout, wanted
            known = self._known = {}
        if missing:
            physical, status = walk(np.array(missing, dtype=np.uint64))
            known.update(zip(missing, zip(physical.tolist(), status.tolist(), strict=True), strict=True))
        found = [known[page] for page in wanted]
        return (
            np.array([physical for physical, _ in found], dtype=np.uint64),
            np.array([status for _, status in found], dtype=np.uint8),
        )
