"""Inodes by the paths that lead there: dentries, the mounts of their file systems, block devices by name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.linux.mounts import in_namespace, of_mounts
from kernlab.linux.paths import paths, paths_at, root_of_init
from kernlab.linux.super_blocks import mounts_of_each
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def mapping_paths(kernel: Kernel, mappings: U64) -> Column:
    """The path of the file behind each address_space uint64[n], as `memory_by_file` has it, in one text: that of
    another mount namespace than pid 1's says so."""
    unique, of = np.unique(mappings, return_inverse=True)
    inode = StructArray(kernel, "struct address_space", unique).follow("host")
    back = inode["i_mapping"]
    good = inode.valid & (back == unique).true
    return inode_names(kernel, StructArray(kernel, inode.type, inode.addresses, good))[of]


def inode_names(kernel: Kernel, inode: StructArray) -> Column:
    """The path of each inode in one text: that of another mount namespace than pid 1's says so."""
    fs = c_strings(kernel, inode.follow("i_sb").follow("s_type")["name"], 64)
    return _with_namespace(kernel, *inode_paths(kernel, inode, (fs == "bdev").true))


def dentry_names(kernel: Kernel, dentry: StructArray) -> Column:
    """The path of each dentry, through a mount of its file system, in one text as of `inode_names`."""
    block = dentry["d_sb"]
    there = dentry.valid & block.true
    return _with_namespace(kernel, *through_mounts(kernel, dentry.addresses, block.filled(0), there))


def file_names(kernel: Kernel, file: StructArray) -> Column:
    """The path of each `struct file`, as it was opened, in one text as of `inode_names`."""
    path = paths(kernel, file.follow("f_path"), root_of_init(kernel))
    return _with_namespace(kernel, path, file["f_path.mnt"].filled(0))


def _with_namespace(kernel: Kernel, path: Column, mounts: U64) -> Column:
    """Paths, and behind each whose vfsmount is in another mount namespace than pid 1's the number of that."""
    home = of_mounts(kernel, np.array([_root_mount(kernel)], dtype=np.uint64))
    number = of_mounts(kernel, mounts)
    foreign = path.valid & home.valid[0] & (number != int(home.values[0])).true
    text = path.values.copy()
    for row in np.flatnonzero(foreign).tolist():
        text[row] = f"{text[row]} (mount namespace {number.values[row]})"
    return Column.of(text, path.valid)


def _root_mount(kernel: Kernel) -> int:
    """The vfsmount that pid 1's root directory lies on, 0 where it cannot be read."""
    root = root_of_init(kernel)
    return root[0] if root else 0


def inode_paths(kernel: Kernel, inode: StructArray, is_device: Mask) -> tuple[Column, U64]:
    """A path to each inode, through its first dentry and a mount of its file system; and that vfsmount, 0 for none."""
    head = inode["i_dentry.first"]
    # In 7.x the union that d_alias is part of lost its name, d_u.
    link = "d_u.d_alias" if kernel.types.has_member("struct dentry", "d_u") else "d_alias"
    dentry = container(kernel, "struct dentry", link, head.filled(0))
    there = head.valid & (dentry.addresses != 0)
    path, mounts = through_mounts(kernel, dentry.addresses, inode["i_sb"].filled(0), there)
    text, valid = path.values.copy(), path.valid.copy()
    names = device_names(kernel, inode[is_device])
    text[is_device], valid[is_device] = names.values, names.valid
    return Column.of(text, valid), np.where(is_device, np.uint64(0), mounts)


def through_mounts(kernel: Kernel, dentries: U64, blocks: U64, there: Mask) -> tuple[Column, U64]:
    """The path of each dentry of a super_block, uint64[n] each, and the vfsmount that it leads through, 0 for none."""
    unique, of = np.unique(blocks, return_inverse=True)
    mounts = mounts_of(kernel, unique)[of]
    usable = there & (mounts != 0)
    path = paths_at(kernel, mounts, np.where(usable, dentries, np.uint64(0)), usable, root_of_init(kernel))
    return path, np.where(usable, mounts, np.uint64(0))


def mounts_of(kernel: Kernel, blocks: U64) -> U64:
    """For each super_block uint64[n] the vfsmount that shows all of it, 0 where it is mounted nowhere."""
    best = np.zeros(len(blocks), dtype=np.uint64)
    rank = np.zeros(len(blocks), dtype=np.int64)
    block = StructArray(kernel, "struct super_block", blocks)
    owner, mount = mounts_of_each(kernel, block)
    whole = mount["mnt.mnt_root"].values == block["s_root"].values[owner]
    space = mount["mnt_ns"]
    seen = in_namespace(space)
    # What pid 1 sees comes before other namespaces: kdevtmpfs has /dev at its own root.
    home = container(kernel, "struct mount", "mnt", [_root_mount(kernel)])["mnt_ns"]
    own = seen & home.valid[0] & (space == int(home.values[0])).true
    score = 1 + seen.astype(np.int64) * 2 + own.astype(np.int64) * 4 + whole.astype(np.int64) * 8
    address = mount.follow("mnt").addresses
    for row in np.argsort(-score, kind="stable").tolist():
        if rank[owner[row]] < score[row]:
            rank[owner[row]], best[owner[row]] = score[row], address[row]
    return best


def device_names(kernel: Kernel, inode: StructArray) -> Column:
    """The block device behind each inode of bdev: `vda`, `vda1`, `nvme0n1p2`."""
    if not len(inode) or kernel.types.get("struct bdev_inode") is None:
        return Column.of(np.full(len(inode), "", dtype=object), np.zeros(len(inode), dtype=bool))
    return block_device_names(inode.container("struct bdev_inode", "vfs_inode").follow("bdev"))


def block_device_names(device: StructArray) -> Column:
    """The file in /dev of each struct block_device, as the kernel itself names it: `/dev/vda1`, `/dev/nvme0n1p2`."""
    values = np.full(len(device), "", dtype=object)
    if not device.valid.any():
        return Column.of(values, device.valid)
    disk = device["bd_disk->disk_name"]
    # Linux commit 1116b9fa15c0 ("bdev: infrastructure for flags") (in v6.10) packed the number with the flags.
    packed = not device.has("bd_partno")
    number = device["__bd_flags.counter"] if packed else device["bd_partno"]
    for row, (name, part) in enumerate(zip(disk.values.tolist(), number.values.tolist(), strict=True)):
        part = int(part) & 0xFF
        values[row] = f"/dev/{name}{'p' if name[-1:].isdigit() and part else ''}{part or ''}"
    return Column.of(values, disk.valid & number.valid)
