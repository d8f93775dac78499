"""drgn's side of the search benchmark: where pointers to the first task stand in memory, and in which slab cache.

Its own Program.search_memory_u64 ends with an error at the first page that a dump level left out, so pages are read one
by one, and looked through with NumPy.

python benchmarks/drgn_search.py DUMP VMLINUX [--figures]
"""

from __future__ import annotations

import drgn
import numpy as np
import pandas as pd
from drgn.helpers.linux import slab_object_info
from drgn_program import main
from figures import search_figures

PAGE = 4096


def search(prog: drgn.Program) -> pd.DataFrame:
    wanted = np.uint64(prog["init_task"].address_of_().value_())
    direct_map = prog["page_offset_base"].value_()
    rows = []
    for pfn in range(prog["max_pfn"].value_()):
        try:
            page = prog.read(pfn * PAGE, PAGE, physical=True)
        except drgn.FaultError:
            continue
        for word in np.flatnonzero(np.frombuffer(page, dtype="<u8") == wanted).tolist():
            address = direct_map + pfn * PAGE + word * 8
            found = slab_object_info(prog, address)
            rows.append((address, found.slab_cache.name.string_().decode() if found else None))
    return pd.DataFrame(rows, columns=["address", "cache"])


if __name__ == "__main__":
    main(search, search_figures)
