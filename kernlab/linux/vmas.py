"""Address spaces in, all their VMAs out: through the maple tree or the rbtree that the kernel keeps them in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.maple_tree import maple_entries
from kernlab.walk.rbtree import rbtree_entries

I64 = npt.NDArray[np.int64]

#: What the tables of memory maps want to know of a VMA; of thousands of processes there are hundreds of thousands.
_MEMBERS = (
    "vm_start",
    "vm_end",
    "vm_mm",
    "vm_flags",
    "vm_pgoff",
    "vm_file",
    "vm_ops",
    "vm_private_data",
    "anon_name",
)


def find_vmas(kernel: Kernel, mm: StructArray) -> tuple[I64, StructArray]:
    """All VMAs of many mm_structs: (index into mm int64[m], StructArray of vm_area_struct).

    What can be read and names another mm as its own (`vm_mm`) is not a VMA of this one: it is left out and counted.
    """
    owner, vma = _entries(kernel, mm)
    vma = vma.prefetch(*_MEMBERS)
    home = vma["vm_mm"]
    wild = (home != mm.addresses[owner]).true
    if wild.any():
        kernel.lost(
            f"maps: {int(wild.sum()):,} entries of the trees of VMAs are not VMAs of their process "
            f"(the first at {int(vma.addresses[wild][0]):#018x})"
        )
        owner, vma = owner[~wild], vma[~wild]
    return owner, vma


def _entries(kernel: Kernel, mm: StructArray) -> tuple[I64, StructArray]:
    what = "the trees of VMAs"
    # Linux commit 524e00b36e8c ("mm: remove rb tree.") (in v6.1); mm_mt came in the same series.
    if mm.has("mm_mt"):
        owner, _, _, entries = maple_entries(kernel, mm.follow("mm_mt").addresses, what=what)
        return owner, StructArray(kernel, "struct vm_area_struct", entries)
    roots = mm.follow("mm_rb").addresses
    return rbtree_entries(kernel, roots, "struct vm_area_struct", "vm_rb", what=what)
