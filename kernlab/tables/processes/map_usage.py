"""What each memory map really holds: the columns of `maps`, and the bytes that its process' page tables tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import nullable, table, widen
from kernlab.linux.map_usage import PSS_SHIFT, usage
from kernlab.tables.processes.maps import find_maps, maps


@table(rows="struct vm_area_struct", widens=maps)
def map_usage(kernel: Kernel) -> pd.DataFrame:
    """The rows and columns of `maps`, and what each VMA holds, in bytes, as /proc/PID/smaps has it.

    rss_bytes: resident; pss_bytes: each of these pages divided among those that map it; swap_bytes: swapped out, of the
    shared memory that it maps, too. Missing where page tables are lost (swap_bytes, too, where what is swapped out of
    the file is not known); `problems` say so. All page tables are walked, once for this table and `memory_by_process`.
    Mirrors fs/proc/task_mmu.c (show_smap).

    >>> dump.map_usage.query("pid == 1").nlargest(2, "rss_bytes")[["path", "size_bytes", "rss_bytes", "pss_bytes"]]
               path  size_bytes  rss_bytes  pss_bytes
    1  /bin/busybox     1589248    1392640     533503
    2  /bin/busybox      352256     352256     100254
    """
    mapped, found = find_maps(kernel), usage(kernel)
    row, here = found.of_vmas(mapped["address"].to_numpy(dtype=np.uint64, na_value=0))

    def of(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        result = np.zeros(len(here), dtype=values.dtype)
        result[here] = values[row[here]]
        return result

    known, swapped = of(found.known), found.sums["swap"] + found.sums["shmem_swap"]
    return widen(
        kernel,
        "map_usage",
        mapped,
        rss_bytes=nullable(of(found.sums["rss"]), known),
        pss_bytes=nullable(of(found.sums["pss"]) >> PSS_SHIFT, known),
        swap_bytes=nullable(of(swapped), known & of(found.swap_known)),
    )
