"""Pools of huge pages: the kernel's array of struct hstate (mm/hugetlb.c)."""

from __future__ import annotations

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray

#: HUGE_MAX_HSTATE is 2 to 4; more than this is damage.
_MOST_SIZES = 16


def hstates(kernel: Kernel) -> StructArray:
    """The `struct hstate` of every size of huge pages (mm/hugetlb.c); none without CONFIG_HUGETLB_PAGE.

    Raises KernlabError where it is not known how many there are.
    """
    first, count = kernel.find_symbol("hstates"), kernel.find_symbol("hugetlb_max_hstate")
    kind = kernel.types.get("struct hstate")
    if first is None or count is None or kind is None:
        return StructArray(kernel, "struct page", np.zeros(0, dtype=np.uint64))
    sizes = min(kernel.word("hugetlb_max_hstate", 4), _MOST_SIZES)
    return StructArray(
        kernel, kind, np.uint64(first) + np.arange(sizes, dtype=np.uint64) * np.uint64(kind.size)
    )
