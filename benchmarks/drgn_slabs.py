"""drgn's side of the slabs benchmark: one row per cache, counts by drgn's slab_cache_usage.

python benchmarks/drgn_slabs.py DUMP VMLINUX [--figures]

slab_cache_usage counts as /proc/slabinfo does: what lies free on per-CPU freelists is active there.
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import (
    for_each_slab_cache,
    slab_cache_objects_per_slab,
    slab_cache_pages_per_slab,
    slab_cache_usage,
)
from drgn_program import main
from figures import slab_figures


def slabs(prog: drgn.Program) -> pd.DataFrame:
    page_size = prog["PAGE_SIZE"].value_()
    rows = []
    for cache in for_each_slab_cache(prog):
        usage = slab_cache_usage(cache)
        pages = slab_cache_pages_per_slab(cache)
        size = cache.size.value_()
        active = usage.num_objs - usage.free_objs
        rows.append(
            {
                "address": cache.value_(),
                "name": cache.name.string_().decode("utf-8", "backslashreplace"),
                "object_size": cache.object_size.value_(),
                "size": size,
                "objects_per_slab": slab_cache_objects_per_slab(cache),
                "pages_per_slab": pages,
                "slabs": usage.num_slabs,
                "objects": usage.num_objs,
                "active": active,
                "bytes": usage.num_slabs * pages * page_size,
                "used_bytes": active * size,
                "flags": cache.flags.value_(),
            }
        )
    return pd.DataFrame(rows).astype({"address": "uint64"})


if __name__ == "__main__":
    main(slabs, slab_figures)
