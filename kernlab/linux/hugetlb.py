"""Pools of huge pages: the kernel's array of struct hstate (mm/hugetlb.c)."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError

#: HUGE_MAX_HSTATE is 2 to 4; more than this is damage.
_MOST_SIZES = 16

#: No huge page is larger: 2^40 bytes.
_LARGEST = 40

#: hstate.name (mm/hugetlb.c, hugetlb_add_hstate).
_NAME = re.compile(r"hugepages-(\d{1,12})kB")


def hstates(kernel: Kernel) -> StructArray:
    """The `struct hstate` of every size of huge pages (mm/hugetlb.c); none without CONFIG_HUGETLB_PAGE.

    hugetlb_max_hstate says how many there are, and each that is one says its size more than once.
    """
    first, count = kernel.find_symbol("hstates"), kernel.find_symbol("hugetlb_max_hstate")
    kind = kernel.types.get("struct hstate")
    if first is None or count is None or kind is None:
        return StructArray(kernel, "struct page", np.zeros(0, dtype=np.uint64))
    room = min(kernel.symbols.room(first) // kind.size, _MOST_SIZES)
    every = StructArray(
        kernel, kind, np.uint64(first) + np.arange(room, dtype=np.uint64) * np.uint64(kind.size)
    )
    with kernel.quiet():
        votes = _votes(kernel, every)
        unread = ~every["order"].valid
    made = np.array([bool(sizes) and sizes.most_common(1)[0][1] > 1 for sizes in votes], dtype=bool)
    try:
        told: int | None = kernel.word("hugetlb_max_hstate", 4)
        why = f"it says {told:,}"
    except KernlabError as error:
        told, why = None, str(error)
    # One that cannot be read may be one.
    if told is not None and told <= room and not made[told:].any() and (made | unread)[:told].all():
        return every[:told]
    found = int(np.flatnonzero(made).max(initial=-1)) + 1
    kernel.lost(
        f"how many sizes of huge pages there are hugetlb_max_hstate does not tell ({why}): {found:,} were found"
    )
    return every[:found]


def default_hstate(kernel: Kernel, count: int) -> int | None:
    """Which of `count` pools is the default one's; None, and told, where that is not known."""
    try:
        index = kernel.word("default_hstate_idx", 4)
    except KernlabError as error:
        kernel.lost(f"which size of huge pages is the default is not known: {error}")
        return None
    if index >= count:
        kernel.lost(f"which size of huge pages is the default is not known: number {index:,} of {count:,}")
        return None
    return index


def huge_sizes(kernel: Kernel, state: StructArray) -> Column:
    """Bytes of each pool's pages, as its order says, or where its name and its mask say otherwise, these."""
    votes = _votes(kernel, state)
    kernel.lost(
        "sizes of huge pages are not what their order says; their name and mask do",
        mask=np.array([len(sizes) > 1 for sizes in votes], dtype=bool),
    )
    found = np.array([sizes.most_common(1)[0][0] if sizes else 0 for sizes in votes], dtype=np.int64)
    return Column.of(found, found > 0)


def _votes(kernel: Kernel, state: StructArray) -> list[Counter[int]]:
    """How often each pool says which size of its pages: by its order, its name and its mask."""
    page = kernel.page_size
    found = []
    for order, name, mask in zip(state["order"], state["name"].text, state["mask"], strict=True):
        sizes = []
        if order is not None and 0 < order <= _LARGEST:
            sizes.append(page << order)
        if name is not None and (number := _NAME.fullmatch(name)):
            sizes.append(int(number[1]) * 1024)
        if mask:
            sizes.append((1 << 64) - mask)
        # A power of two, and larger than a page.
        found.append(
            Counter(size for size in sizes if page < size <= 1 << _LARGEST and not size & (size - 1))
        )
    return found
