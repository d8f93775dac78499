"""Pools of huge pages (hugetlbfs), one row per size, as /sys/kernel/mm/hugepages shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, spread, table
from kernlab.linux import zones
from kernlab.linux.hugetlb import default_hstate, hstates, huge_sizes


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
    total, size = state["nr_huge_pages"], huge_sizes(kernel, state)
    index = default_hstate(kernel, len(state))
    per_node: list[tuple[str, Any]] = []
    whole = {member: state[member] for member in ("nr_huge_pages", "free_huge_pages", "surplus_huge_pages")}
    parts = {member: column * 0 for member, column in whole.items()}
    for node in zones.nodes(kernel).numbers.tolist():
        for name, member in (
            ("total", "nr_huge_pages"),
            ("free", "free_huge_pages"),
            ("surplus", "surplus_huge_pages"),
        ):
            column = state[f"{member}_node[{node}]"]
            parts[member] += column
            per_node.append((f"{name}_node{node}", nullable(column)))
    for member, column in whole.items():
        kernel.lost(
            f"sizes of huge pages contradict themselves: {member} is not what their nodes sum up to",
            mask=(column != parts[member]).true,
        )
    return frame(
        kernel,
        "hugepages",
        size_bytes=nullable(size),
        total=nullable(total.int64),
        free=nullable(state["free_huge_pages"].int64),
        reserved=nullable(state["resv_huge_pages"].int64),
        surplus=nullable(state["surplus_huge_pages"].int64),
        wanted=nullable(state["max_huge_pages"].int64),
        overcommit=nullable(state["nr_overcommit_huge_pages"].int64),
        bytes=nullable(total * size),
        default=nullable(np.arange(len(state)) == index, np.full(len(state), index is not None)),
        nodes=spread(per_node),
        address=state,
    )
