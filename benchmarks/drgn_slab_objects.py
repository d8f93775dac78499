"""drgn's side of the slab objects benchmark: the address of every allocated object of every cache.

python benchmarks/drgn_slab_objects.py DUMP VMLINUX [--figures]
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import for_each_slab_cache, slab_cache_for_each_allocated_object
from drgn_program import main
from figures import object_figures


def slab_objects(prog: drgn.Program) -> pd.DataFrame:
    rows = []
    for cache in for_each_slab_cache(prog):
        name = cache.name.string_().decode("utf-8", "backslashreplace")
        rows += [(obj.value_(), name) for obj in slab_cache_for_each_allocated_object(cache, "char")]
    return pd.DataFrame(rows, columns=["address", "cache"]).astype({"address": "uint64"})


if __name__ == "__main__":
    main(slab_objects, object_figures)
