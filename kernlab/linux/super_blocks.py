"""File systems that are there: all super_blocks, and the mounts that show them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

# include/linux/kdev_t.h
_MINOR_BITS = 20


@fact
def super_blocks(kernel: Kernel) -> StructArray:
    """Every super_block, mounted or the kernel's own, in the kernel's order (fs/super.c, super_blocks)."""
    head = kernel.symbol("super_blocks")
    return list_entries(kernel, [head], "struct super_block", "s_list", what="the file systems")[1]


def type_names(kernel: Kernel, block: StructArray) -> Column:
    """The type of each as mountinfo shows it: "ext4", "fuse.sshfs" (fs/proc_namespace.c, show_type)."""
    kind = block["s_type"]
    unique, of = np.unique(kind.filled(0), return_inverse=True)
    names = c_strings(kernel, StructArray(kernel, "struct file_system_type", unique)["name"], 64)[of]
    sub = c_strings(kernel, block["s_subtype"], 256)
    text = np.where(sub.true, names.values + "." + sub.values, names.values)
    return Column.of(text, names.valid & kind.valid)


def device_numbers(number: Column) -> Column:
    """Device numbers (dev_t) as "major:minor", as mountinfo prints them."""
    unique, of = np.unique(number.filled(0).astype(np.int64), return_inverse=True)
    least = (1 << _MINOR_BITS) - 1
    texts = Column.of([f"{value >> _MINOR_BITS}:{value & least}" for value in unique.tolist()], kind="text")
    return texts[of].where(number.valid)


def mounts_of_each(kernel: Kernel, block: StructArray) -> tuple[I64, StructArray]:
    """The mounts of each super_block, in whatever namespace: (its row int64[m], StructArray of mount)."""
    if block.has("s_mounts.next"):
        heads = np.where(block.valid, block.follow("s_mounts").addresses, np.uint64(0))
        rows = np.flatnonzero(heads)
        what = "the mounts of file systems"
        owner, mount = list_entries(kernel, heads[rows], "struct mount", "mnt_instance", what=what)
        return rows[owner], mount
    # Linux 6.18 chained the mounts of a file system by mnt_next_for_sb.
    kind = kernel.find_type("struct mount")
    owner, chained = chain_nodes(
        kernel,
        block["s_mounts"].filled(0),
        what="the mounts of file systems",
        link=resolve(kind, "mnt_next_for_sb").hops[-1],
    )
    return owner, StructArray(kernel, kind, chained)
