"""File systems that are there: all super_blocks, and the mounts that show them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

# include/linux/kdev_t.h
_MINOR_BITS = 20


@fact
def super_blocks(kernel: Kernel) -> StructArray:
    """Every super_block, mounted or the kernel's own, in the kernel's order (fs/super.c, super_blocks).

    Where that list is damaged those that the types of file systems list (file_systems, fs_supers) are behind it.
    """
    with kernel.watched() as losses:
        head = kernel.symbol("super_blocks")
        _, listed = list_entries(kernel, [head], "struct super_block", "s_list", what="the file systems")
    with kernel.quiet():
        # Where the list breaks, its last node is none.
        listed = listed[listed["s_type"].valid] if losses.losses else listed
    if not losses.losses:
        return listed
    more = _by_type(kernel)
    more = more[~np.isin(more, listed.addresses)]
    return StructArray(kernel, listed.type, np.concatenate([listed.addresses, more]))


def _by_type(kernel: Kernel) -> npt.NDArray[np.uint64]:
    """The super_blocks that types of file systems list (fs/filesystems.c)."""
    kind = kernel.find_type("struct file_system_type")
    first, _ = kernel.words([kernel.symbol("file_systems")], what="")
    what = "the types of file systems"
    if kernel.types.has_member("struct file_system_type", "list"):
        # Linux 7.1 made an hlist of them.
        types = container(kernel, "struct file_system_type", "list", chain_nodes(kernel, first, what=what)[1])
    else:
        link = resolve(kind, "next").hops[-1]
        types = StructArray(kernel, kind, chain_nodes(kernel, first, what=what, link=link)[1])
    heads = types["fs_supers.first"].filled(0)
    _, nodes = chain_nodes(kernel, heads, what="the file systems of each type")
    block = container(kernel, "struct super_block", "s_instances", nodes)
    with kernel.quiet():
        found: npt.NDArray[np.uint64] = np.unique(block.addresses[block["s_type"].true])
    return found


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
