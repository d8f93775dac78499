"""Whole page frames in, their bytes out; and which frames are the kernel's pages of zeros."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.vm_counters import global_word

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

_NO_FRAME = (1 << 64) - 1


def zero_frames(kernel: Kernel) -> U64:
    """The frames (of a huge one the first) that stand for memory nobody wrote to: uint64[k]."""
    return np.array(sorted(zero_pfns(kernel, [])), dtype=np.uint64)


def zero_pfns(kernel: Kernel, why: list[str]) -> set[int]:
    """As `zero_frames`; `why` is told what cannot be read."""
    # In 7.x zero_pfn became zero_page_pfn; without CONFIG_TRANSPARENT_HUGEPAGE there is no huge one.
    names = ("zero_page_pfn", "zero_pfn", "huge_zero_pfn")
    found = {global_word(kernel, name, why=why, absent=_NO_FRAME) for name in names}
    # Linux commit 3b77e8c8cde5 ("mm/thp: make is_huge_zero_pmd() safe and quicker") (in v5.13) brought huge_zero_pfn.
    if kernel.symbols.get("huge_zero_pfn") is None and kernel.symbols.get("huge_zero_page") is not None:
        page = global_word(kernel, "huge_zero_page", why=why)
        if page and page >= kernel.vmemmap:
            found.add((page - kernel.vmemmap) // kernel.find_type("struct page").size)
    return {one for one in found if one is not None and one != _NO_FRAME}


def read_frames(kernel: Kernel, pfns: U64) -> tuple[U8, U8]:
    """The bytes of frames uint64[n]: (uint8[n, page size], Status uint8[n]); rows that are not PRESENT are zero."""
    return kernel.memory.gather(pfns << np.uint64(kernel.arch.page_shift), kernel.page_size, physical=True)
