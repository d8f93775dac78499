"""A dump in, the names of its disks by their numbers out: `254:16` is `vdb`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.core.struct_array import StructArray
from kernlab.escape import show_controls
from kernlab.walk.lists import list_entries

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel

#: The low bits of a dev_t are the minor number (include/linux/kdev_t.h, MINORBITS).
_MINOR_BITS = 20


def disk_names(kernel: Kernel) -> dict[str, str]:
    """`vda` by `254:0`, of all whole disks that the kernel knows; {} for a kernel that does not tell.

    Raises KernlabError where the list of block devices cannot be read.
    """
    if kernel.find_symbol("blockdev_superblock") is None or kernel.type_anywhere("struct bdev_inode") is None:
        return {}
    block = StructArray(kernel, "struct super_block", [kernel.word("blockdev_superblock")])
    heads = block.follow("s_inodes").addresses
    _, inode = list_entries(kernel, heads, "struct inode", "i_sb_list", what="the block devices")
    device = inode.container("struct bdev_inode", "vfs_inode").follow("bdev")
    number, name = device["bd_dev"], device["bd_disk->disk_name"]
    # A partition has the name of its disk: the disk itself is the lowest number.
    found: dict[str, tuple[int, str]] = {}
    for at in (number.true & name.valid).nonzero()[0].tolist():
        value, text = int(number.values[at]), str(name.values[at])
        if text and (text not in found or value < found[text][0]):
            found[text] = (value, text)
    return {spelt(value): show_controls(text) for value, text in found.values()}


def spelt(device: int) -> str:
    """A dev_t as people write it: `254:0`."""
    return f"{device >> _MINOR_BITS}:{device & ((1 << _MINOR_BITS) - 1)}"
