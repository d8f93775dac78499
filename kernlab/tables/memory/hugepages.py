"""Pools of huge pages (hugetlbfs), one row per size, as /sys/kernel/mm/hugepages shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux import vm_counters, zones
from kernlab.linux.hugetlb import hstates


@table(rows="struct hstate")
def hugepages(kernel: Kernel) -> pd.DataFrame:
    """One row per size of huge pages.

    Columns: size_bytes; total, free, reserved, surplus (in huge pages of this size, as HugePages_* in /proc/meminfo),
    wanted (nr_hugepages as it was set), overcommit; bytes (total × size); default (what /proc/meminfo shows);
    total_node0, free_node0, surplus_node0 … for every NUMA node; address.

    >>> dump.hugepages[["size_bytes", "total", "free", "default"]]
       size_bytes  total  free  default
    0  1073741824      0     0    False
    1     2097152      0     0     True
    """
    state = hstates(kernel)
    if not len(state):
        names = ("size_bytes", "total", "free", "reserved", "surplus", "wanted", "overcommit", "bytes")
        return empty(
            kernel,
            "hugepages",
            **dict.fromkeys(names, "Int64"),
            default="boolean",
            address="struct hstate",
        )
    order, total = state["order"], state["nr_huge_pages"]
    size = np.int64(kernel.page_size) << np.minimum(order.values.astype(np.int64), 40)
    index = vm_counters.global_word(kernel, "default_hstate_idx", 4)
    per_node: dict[str, Any] = {}
    for node in zones.nodes(kernel)["node_id"].values.tolist():
        for name, member in (
            ("total", "nr_huge_pages_node"),
            ("free", "free_huge_pages_node"),
            ("surplus", "surplus_huge_pages_node"),
        ):
            per_node[f"{name}_node{node}"] = nullable(state[f"{member}[{node}]"])
    both = order.valid & total.valid
    return frame(
        kernel,
        "hugepages",
        size_bytes=nullable(size, order.valid),
        total=nullable(_count(total)),
        free=nullable(_count(state["free_huge_pages"])),
        reserved=nullable(_count(state["resv_huge_pages"])),
        surplus=nullable(_count(state["surplus_huge_pages"])),
        wanted=nullable(_count(state["max_huge_pages"])),
        overcommit=nullable(_count(state["nr_overcommit_huge_pages"])),
        bytes=nullable(total.values.astype(np.int64) * size, both),
        default=nullable(np.arange(len(state)) == index, np.full(len(state), index is not None)),
        **per_node,
        address=state,
    )


def _count(column: Column) -> Column:
    return Column(column.values.astype(np.int64), column.valid, "int")
