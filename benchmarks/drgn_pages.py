"""drgn's side of the pages benchmark: flags, refcount and mapcount of every page struct.

python benchmarks/drgn_pages.py DUMP VMLINUX [--figures]
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import for_each_page, page_to_pfn
from drgn_program import main
from figures import page_figures


def pages(prog: drgn.Program) -> pd.DataFrame:
    rows = []
    first = None
    for page in for_each_page(prog):
        if first is None:
            first = page_to_pfn(page).value_()
        try:
            row = (page.flags.value_(), page._refcount.counter.value_(), page._mapcount.counter.value_())
        except drgn.FaultError:
            # A hole: there is no page struct.
            row = None
        rows.append(row)
    found = [(first + index, *row) for index, row in enumerate(rows) if row is not None]
    frame = pd.DataFrame(found, columns=["pfn", "flags", "refcount", "mapcount"])
    # _mapcount is stored one less; below that it is a page's type.
    frame["mapcount"] = (frame["mapcount"] + 1).where(frame["mapcount"] >= -1, 0)
    return frame


if __name__ == "__main__":
    main(pages, page_figures)
