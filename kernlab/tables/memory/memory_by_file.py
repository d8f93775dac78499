"""Memory by file: the page cache, one row per inode, with the path that leads there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.dataframes import addresses, frame, nullable, table
from kernlab.linux.mounts import in_namespace, of_mounts
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.paths import paths_at, root_of_init
from kernlab.tables.processes.maps import devices
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_CACHED = (Kind.FILE, Kind.SHMEM)
_COUNTS = ("all", "dirty", "writeback", "mapped", "shmem")


@table(rows="struct inode")
def memory_by_file(kernel: Kernel) -> pd.DataFrame:
    """One row per inode with pages in memory, the largest first: files, block devices (Buffers of meminfo), and shared
    memory (tmpfs, memfd, SysV, shared anonymous mappings).

    bytes: in memory; mapped_bytes: of them in some page table; dirty_bytes, writeback_bytes: not on disk yet; kind:
    "file", "block device" or "shmem"; path: as the kernel prints it, ` (deleted)` included, seen from pid 1's root
    where that can see it, missing where no dentry is left (then fs, dev and inode say what it was); mount_namespace:
    the one that the path is of, by its number as in /proc/PID/ns/mnt, missing for block devices and for files of the
    kernel's own mounts, such as memfd and SysV segments; size_bytes: the file's; links: names on disk, 0 for a file
    that was deleted; address: the inode; mapping: its address_space.
    """
    mapping, counts = _count(kernel)
    space = StructArray(kernel, "struct address_space", mapping)
    inode = space.follow("host")
    # What can be read and does not lead back (i_mapping is the inode's own, or that of its block device) is no inode.
    back, number = inode["i_mapping"], inode["i_ino"]
    good = inode.valid & back.valid & number.valid & (back.values == mapping)
    if not good.all():
        kernel.lost(
            f"{int(counts['all'][~good].sum()):,} pages of the page cache belong to {int((~good).sum()):,} mappings "
            "whose inode cannot be read"
        )
    pages = counts["all"]
    order = np.argsort(-pages, kind="stable")
    space, inode, good = (
        space[order],
        StructArray(kernel, inode.type, inode.addresses[order], good[order]),
        good[order],
    )
    counts = {name: values[order] for name, values in counts.items()}
    block = inode.follow("i_sb")
    fs = c_strings(kernel, _known(block.follow("s_type")["name"]), 64)
    is_device = fs.values.astype(object) == "bdev"
    kind = np.where(counts["shmem"] > 0, "shmem", np.where(is_device, "block device", "file")).astype(object)
    device = (
        inode["i_rdev"].values.astype(np.int64)
        if inode.has("i_rdev")
        else np.zeros(len(inode), dtype=np.int64)
    )
    dev = block["s_dev"]
    shown = Column(np.where(is_device, device, dev.values.astype(np.int64)), dev.valid & good, "int")
    byte = np.int64(kernel.page_size)
    path, mounts = _paths(kernel, inode, is_device)
    return frame(
        kernel,
        "memory_by_file",
        path=path,
        mount_namespace=nullable(of_mounts(kernel, mounts)),
        bytes=counts["all"] * byte,
        mapped_bytes=counts["mapped"] * byte,
        dirty_bytes=counts["dirty"] * byte,
        writeback_bytes=counts["writeback"] * byte,
        kind=pd.Categorical(kind, categories=["file", "block device", "shmem"]),
        size_bytes=nullable(inode["i_size"]),
        links=nullable(inode["i_nlink"]),
        fs=fs,
        dev=devices(shown, good, np.ones(len(good), dtype=bool)),
        inode=nullable(inode["i_ino"]),
        address=inode,
        mapping=addresses(kernel, space.addresses, target="struct address_space"),
    )


def mapping_paths(kernel: Kernel, mappings: U64) -> Column:
    """The path of the file behind each address_space uint64[n], as `memory_by_file` has it, in one text: that of
    another mount namespace than pid 1's says so."""
    unique, of = np.unique(mappings, return_inverse=True)
    inode = StructArray(kernel, "struct address_space", unique).follow("host")
    back = inode["i_mapping"]
    good = inode.valid & back.valid & (back.values == unique)
    inode = StructArray(kernel, inode.type, inode.addresses, good)
    fs = c_strings(kernel, _known(inode.follow("i_sb").follow("s_type")["name"]), 64)
    path, mounts = _paths(kernel, inode, fs.values.astype(object) == "bdev")
    home, number = (
        of_mounts(kernel, np.array([_root_mount(kernel)], dtype=np.uint64)),
        of_mounts(kernel, mounts),
    )
    foreign = path.valid & number.valid & home.valid[0] & (number.values != home.values[0])
    text = path.values.copy()
    for row in np.flatnonzero(foreign).tolist():
        text[row] = f"{text[row]} (mount namespace {number.values[row]})"
    return Column(text[of], path.valid[of], "text")


def _root_mount(kernel: Kernel) -> int:
    """The vfsmount that pid 1's root directory lies on, 0 where it cannot be read."""
    root = root_of_init(kernel)
    return root[0] if root else 0


def _known(column: Column) -> U64:
    return np.where(column.valid, column.values, np.uint64(0))


def _count(kernel: Kernel) -> tuple[U64, dict[str, I64]]:
    """Pages in the page cache by address_space: (uint64[n], ascending; counts int64[n] of each of _COUNTS)."""
    survey = PageSurvey(kernel)
    dirty, writeback = survey.layout.bit("PG_dirty"), survey.layout.bit("PG_writeback")
    found: list[U64] = []
    tallies: dict[str, list[I64]] = {name: [] for name in _COUNTS}
    for chunk in survey:
        rows = np.concatenate([np.arange(piece.rows.start, piece.rows.stop) for piece in chunk.pieces])
        rows = rows[np.isin(chunk.kind[rows], _CACHED)]
        space, index = np.unique(chunk.mapping_of(rows), return_inverse=True)
        # A compound page is dirty as its head is.
        flags = chunk.flags[chunk.head_row[rows].astype(np.int64)]
        facts = {
            "all": np.ones(len(rows), dtype=bool),
            "dirty": (flags & dirty) != 0,
            "writeback": (flags & writeback) != 0,
            "mapped": chunk.mapcount[rows] > 0,
            "shmem": chunk.kind[rows] == Kind.SHMEM,
        }
        found.append(space)
        for name, fact in facts.items():
            tallies[name].append(np.bincount(index[fact], minlength=len(space)).astype(np.int64))
    if not found:
        return np.zeros(0, dtype=np.uint64), {name: np.zeros(0, dtype=np.int64) for name in _COUNTS}
    every, index = np.unique(np.concatenate(found), return_inverse=True)
    sums = {name: np.zeros(len(every), dtype=np.int64) for name in _COUNTS}
    for name, parts in tallies.items():
        np.add.at(sums[name], index, np.concatenate(parts))
    return every, sums


def _paths(kernel: Kernel, inode: StructArray, is_device: Mask) -> tuple[Column, U64]:
    """A path to each inode, through its first dentry and a mount of its file system; and that vfsmount, 0 for none."""
    head = inode["i_dentry.first"]
    # In 7.x the union that d_alias is part of lost its name, d_u.
    link = "d_u.d_alias" if kernel.types.has_member("struct dentry", "d_u") else "d_alias"
    dentry = container(kernel, "struct dentry", link, _known(head))
    blocks, of = np.unique(_known(inode["i_sb"]), return_inverse=True)
    mounts = _mounts(kernel, blocks)[of]
    root = root_of_init(kernel)
    usable = head.valid & (dentry.addresses != 0) & (mounts != 0)
    path = paths_at(kernel, mounts, np.where(usable, dentry.addresses, np.uint64(0)), usable, root)
    text, valid = path.values.copy(), path.valid.copy()
    names = _device_names(kernel, inode[is_device])
    text[is_device], valid[is_device] = names.values, names.valid
    return Column(text, valid, "text"), np.where(usable & ~is_device, mounts, np.uint64(0))


def _mounts(kernel: Kernel, blocks: U64) -> U64:
    """For each super_block uint64[n] the vfsmount that shows all of it, 0 where it is mounted nowhere."""
    best = np.zeros(len(blocks), dtype=np.uint64)
    rank = np.zeros(len(blocks), dtype=np.int64)
    block = StructArray(kernel, "struct super_block", blocks)
    if block.has("s_mounts.next"):
        heads = np.where(block.valid, block.follow("s_mounts").addresses, np.uint64(0))
        rows = np.flatnonzero(heads)
        owner, mount = list_entries(
            kernel,
            heads[rows],
            "struct mount",
            "mnt_instance",
            what="the mounts of file systems",
        )
        owner = rows[owner]
    else:
        # Linux 6.18 chained the mounts of a file system by mnt_next_for_sb.
        owner, mount = _chained_mounts(kernel, block)
    whole = mount["mnt.mnt_root"].values == block["s_root"].values[owner]
    space = mount["mnt_ns"]
    seen = in_namespace(space)
    # What pid 1 sees comes before other namespaces: kdevtmpfs has /dev at its own root.
    home = container(kernel, "struct mount", "mnt", [_root_mount(kernel)])["mnt_ns"]
    own = seen & home.valid[0] & (space.values == home.values[0])
    score = 1 + seen.astype(np.int64) * 2 + own.astype(np.int64) * 4 + whole.astype(np.int64) * 8
    address = mount.follow("mnt").addresses
    for row in np.argsort(-score, kind="stable").tolist():
        if rank[owner[row]] < score[row]:
            rank[owner[row]], best[owner[row]] = score[row], address[row]
    return best


def _chained_mounts(kernel: Kernel, block: StructArray) -> tuple[I64, StructArray]:
    found: list[U64] = []
    owners: list[I64] = []
    first = block["s_mounts"]
    owner = np.flatnonzero(first.valid & (first.values != 0))
    mount = first.values[owner]
    kind = kernel.find_type("struct mount")
    for _ in range(1 << 12):
        if not len(owner):
            break
        owners.append(owner)
        found.append(mount)
        following = StructArray(kernel, kind, mount)["mnt_next_for_sb"]
        going = following.valid & (following.values != 0)
        owner, mount = owner[going], following.values[going]
    if not found:
        return owner, StructArray(kernel, kind, mount)
    return np.concatenate(owners), StructArray(kernel, kind, np.concatenate(found))


def _device_names(kernel: Kernel, inode: StructArray) -> Column:
    """The block device behind each inode of bdev: `vda`, `vda1`, `nvme0n1p2`."""
    values = np.full(len(inode), "", dtype=object)
    valid = np.zeros(len(inode), dtype=bool)
    if not len(inode) or kernel.types.get("struct bdev_inode") is None:
        return Column(values, valid, "text")
    device = inode.container("struct bdev_inode", "vfs_inode").follow("bdev")
    disk = device["bd_disk->disk_name"]
    # Linux commit 1116b9fa15c0 ("bdev: infrastructure for flags") (in v6.10) packed the number with the flags.
    packed = not device.has("bd_partno")
    number = device["__bd_flags.counter"] if packed else device["bd_partno"]
    for row, (name, part) in enumerate(zip(disk.values.tolist(), number.values.tolist(), strict=True)):
        part = int(part) & 0xFF
        values[row] = f"/dev/{name}{'p' if name[-1:].isdigit() and part else ''}{part or ''}"
    return Column(values, disk.valid & number.valid, "text")
