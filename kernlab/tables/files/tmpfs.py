"""What lies in tmpfs, one row per file system: shared memory and /tmp are memory, too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.files import mounts_of
from kernlab.linux.mounts import in_namespace, of_mounts
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.paths import paths_at, root_of_init
from kernlab.linux.shmem import has_shmem, swapped_inodes, swapped_pages
from kernlab.linux.super_blocks import device_numbers, super_blocks
from kernlab.walk.percpu_counters import percpu_sums
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What tmpfs counts an inode's own memory as (mm/shmem.c, BOGO_INODE_SIZE).
_INODE_BYTES = 1024


@table(rows="struct super_block")
def tmpfs(kernel: Kernel) -> pd.DataFrame:
    """One row per file system that is made of shared memory: tmpfs, and with it rootfs, devtmpfs and the kernel's own.

    Columns: mount (where it is mounted, seen from pid 1 where that can see it; missing where nowhere: the kernel's own
    for SysV and memfd segments and shared anonymous memory), mount_namespace (that the path is of, by its number as in
    /proc/PID/ns/mnt), type (as the kernel names it), dev ("major:minor"), resident_bytes (what of it is in memory, from
    the page structs), swap_bytes (what of it is swapped out), size_bytes, used_bytes (the limit and what counts towards
    it, both in memory and swapped out, as df shows them; missing where it has no limit), inodes, inodes_free (missing
    where they have no limit), address (of the super_block). A compound page counts in whole, as the kernel counts it.

    >>> dump.tmpfs[["mount", "type", "resident_bytes", "size_bytes"]].head(3)
      mount      type  resident_bytes  size_bytes
    0   NaN     tmpfs          786432        <NA>
    1     /    rootfs        36921344   212258816
    2  /dev  devtmpfs               0   212258816
    """
    if not has_shmem(kernel):
        # Without CONFIG_SHMEM ramfs stands in for tmpfs, which has no limits and counts nothing.
        texts = dict.fromkeys(("type", "dev"), "str")
        names = ("resident_bytes", "swap_bytes", "size_bytes", "used_bytes", "inodes", "inodes_free")
        return empty(
            kernel,
            "tmpfs",
            mount="str",
            mount_namespace="Int64",
            **texts,
            **dict.fromkeys(names, "Int64"),
            address="struct super_block",
        )
    block = shared_memory(kernel)
    info = block.follow("s_fs_info", to="struct shmem_sb_info")
    size, limit = info["max_blocks"], info["max_inodes"]
    limited, counted = size.true, limit.true
    used = percpu_sums(kernel, info.follow("used_blocks")).clip(0)
    free = (
        info["free_inodes"].int64
        if info.has("free_inodes")
        # Linux commit e07c469e979d ("tmpfs: track free_ispace instead of free_inodes") (in v6.6).
        else info["free_ispace"] // _INODE_BYTES
    )
    mounts = mounts_of(kernel, block.addresses)
    space = container(kernel, "struct mount", "mnt", mounts)["mnt_ns"]
    seen = (mounts != 0) & in_namespace(space)
    root, name = block["s_root"], block.follow("s_type")["name"]
    return frame(
        kernel,
        "tmpfs",
        mount=paths_at(kernel, mounts, root.values, seen & root.valid, root_of_init(kernel)),
        mount_namespace=nullable(of_mounts(kernel, mounts)),
        type=c_strings(kernel, name, 64),
        dev=device_numbers(block["s_dev"]),
        resident_bytes=nullable(_resident(kernel, block)),
        swap_bytes=nullable(_swapped(kernel, block)),
        size_bytes=nullable((size * kernel.page_size).where(limited)),
        used_bytes=nullable((used * kernel.page_size).where(limited)),
        inodes=nullable(limit.int64.where(counted)),
        inodes_free=nullable(free.where(counted)),
        address=block,
    )


def shared_memory(kernel: Kernel) -> StructArray:
    """The super_blocks that shared memory is behind: those with tmpfs's operations.

    Not those of the type tmpfs: rootfs and devtmpfs are of types of their own.
    """
    block = super_blocks(kernel)
    return block[(block["s_op"] == kernel.symbol("shmem_ops")).true]


def _resident(kernel: Kernel, block: StructArray) -> Column:
    """Bytes of each file system that are in memory: all pages of shared memory by their inodes' super_block."""
    spaces, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for chunk in PageSurvey(kernel):
        for piece in chunk.pieces:
            rows = np.flatnonzero(chunk.kind[piece.rows] == Kind.SHMEM) + piece.rows.start
            space, number = np.unique(chunk.mapping_of(rows), return_counts=True)
            spaces.append(space)
            counts.append(number)
    every, index = np.unique(np.concatenate(spaces), return_inverse=True)
    pages = Column.of(np.concatenate(counts)).added_by(index, len(every))
    owner = StructArray(kernel, "struct address_space", every)["host->i_sb"]
    # With pages whose owner is unknown each sum may be too small.
    whole = _owned(block, owner, pages, "in memory")
    return _summed(block, owner, pages).where(np.full(len(block), whole)) * kernel.page_size


def _swapped(kernel: Kernel, block: StructArray) -> Column:
    """Bytes of each file system that are swapped out."""
    inode = swapped_inodes(kernel)
    if inode is None:
        return Column.missing(len(block), "int")
    pages, owner = swapped_pages(inode), inode["i_sb"]
    whole = _owned(block, owner, pages, "swapped out") and bool(pages.valid.all())
    return _summed(block, owner, pages).where(np.full(len(block), whole)) * kernel.page_size


def _owned(block: StructArray, owner: Column, pages: Column, what: str) -> bool:
    """Is it known of all pages which file system they are of? What is not is told."""
    some = pages.filled(1) > 0
    unread = some & ~owner.valid
    stray = some & owner.valid & ~np.isin(owner.values, block.addresses)
    for lost, why in ((unread, "cannot be read"), (stray, "are of no file system that is listed")):
        block.kernel.lost(f"inodes of shared memory that has pages {what} {why}", mask=lost)
    return not (unread | stray).any()


def _summed(block: StructArray, owner: Column, pages: Column) -> Column:
    """Pages by the super_block that each lot of them belongs to."""
    if not len(block):
        return Column.of(np.zeros(0, dtype=np.int64))
    order = np.argsort(block.addresses)
    place = order[np.searchsorted(block.addresses[order], owner.values).clip(max=len(block) - 1)]
    mine: Mask = (owner == block.addresses[place]).true
    return pages[mine].added_by(place[mine], len(block))
