"""Memory by file: the page cache, one row per inode, with the path that leads there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, nullable, table
from kernlab.linux.files import inode_paths
from kernlab.linux.mounts import of_mounts
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.tables.processes.maps import devices
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

    >>> dump.memory_by_file[["path", "bytes", "mapped_bytes", "kind"]].head(3)
                path     bytes  mapped_bytes   kind
    0  /boot/vmlinuz  14188544             0  shmem
    1      /tmp/blob   8388608             0  shmem
    2   /boot/initrd   5255168             0  shmem
    """
    mapping, counts = _count(kernel)
    space = StructArray(kernel, "struct address_space", mapping)
    inode = space.follow("host")
    # What can be read and does not lead back (i_mapping is the inode's own, or that of its block device) is none.
    back, number = inode["i_mapping"], inode["i_ino"]
    good = inode.valid & number.valid & (back == mapping).true
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
    fs = c_strings(kernel, block.follow("s_type")["name"], 64)
    is_device = (fs == "bdev").true
    kind = np.where(counts["shmem"] > 0, "shmem", np.where(is_device, "block device", "file")).astype(object)
    dev = block["s_dev"].int64
    device = inode["i_rdev"].int64.filled(0) if inode.has("i_rdev") else np.zeros(len(inode), dtype=np.int64)
    shown = Column.of(np.where(is_device, device, dev.values), dev.valid & good)
    byte = np.int64(kernel.page_size)
    path, mounts = inode_paths(kernel, inode, is_device)
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
