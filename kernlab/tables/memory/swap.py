"""Swap areas, as /proc/swaps lists them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.mounts import of_mounts
from kernlab.linux.paths import paths, root_of_init
from kernlab.linux.swap import SWP_DISCARDABLE, SWP_WRITEOK, has_swap, pages_in_use, swap_areas

_BLOCK_DEVICE, _FORMAT = 0o060000, 0o170000


@table(rows="struct swap_info_struct")
def swap(kernel: Kernel) -> pd.DataFrame:
    """One row per swap area in use.

    Columns: path, mount_namespace (that the path is of, by its number), type ("partition" or "file"), size_bytes,
    used_bytes, priority, active (False while swapoff empties it), discard, address.

    >>> len(dump.swap)  # this machine had none
    0
    """
    if not has_swap(kernel):
        numbers = dict.fromkeys(("size_bytes", "used_bytes", "priority"), "Int64")
        flags_ = dict.fromkeys(("active", "discard"), "bool")
        texts = {"path": "str", "mount_namespace": "Int64", "type": "str"}
        return empty(kernel, "swap", **texts, **numbers, **flags_, address="struct swap_info_struct")
    area = swap_areas(kernel)
    mode = area["swap_file->f_inode->i_mode"]
    device = mode & _FORMAT == _BLOCK_DEVICE
    flags = area["flags"]
    path = paths(kernel, area.follow("swap_file").follow("f_path"), root_of_init(kernel))
    return frame(
        kernel,
        "swap",
        path=path,
        mount_namespace=nullable(of_mounts(kernel, area["swap_file->f_path.mnt"].filled(0))),
        type=Column.of(np.where(device.values, "partition", "file"), device.valid),
        size_bytes=nullable(area["pages"] * kernel.page_size),
        used_bytes=nullable(pages_in_use(area) * kernel.page_size),
        priority=nullable(area["prio"]),
        active=flags.has(SWP_WRITEOK),
        discard=flags.has(SWP_DISCARDABLE),
        address=area,
    )
