"""File systems that are there, one row per super_block: mounted ones, and the kernel's own."""

from __future__ import annotations

import uuid

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.files import block_device_names, mounts_of
from kernlab.linux.inodes import dirty, inodes
from kernlab.linux.mount_options import sources
from kernlab.linux.mounts import in_namespace, of_mounts
from kernlab.linux.paths import paths_at, root_of_init
from kernlab.linux.super_blocks import device_numbers, mounts_of_each, super_blocks, type_names
from kernlab.walk.lists import list_nodes

#: include/linux/fs.h, SB_*; macros, so no type information has them.
_FLAGS = {
    0: "RDONLY",
    1: "NOSUID",
    2: "NODEV",
    3: "NOEXEC",
    4: "SYNCHRONOUS",
    6: "MANDLOCK",
    7: "DIRSYNC",
    10: "NOATIME",
    11: "NODIRATIME",
    15: "SILENT",
    16: "POSIXACL",
    17: "INLINECRYPT",
    22: "KERNMOUNT",
    23: "I_VERSION",
    25: "LAZYTIME",
    26: "SUBMOUNT",
    27: "FORCE",
    28: "NOSEC",
    29: "BORN",
    30: "ACTIVE",
    31: "NOUSER",
}
#: include/linux/fs.h, SB_FREEZE_*: what a frozen file system holds up, up to which step it came.
_FROZEN = ("no", "write", "page fault", "internal", "complete")


@table(rows="struct super_block")
def filesystems(kernel: Kernel) -> pd.DataFrame:
    """One row per file system, in the kernel's order.

    Columns: type (as mountinfo shows it), name (what it calls itself: s_id), source (of the mount that shows it best),
    mount (where that is, seen from pid 1 where it can see it; missing where it is mounted nowhere), mount_namespace (of
    that path), mounts (how many there are in all namespaces), dev ("major:minor"), device ("/dev/vda1", of those on a
    block device), flags (SB_ names joined by commas), read_only, frozen (no; write, page fault, internal, complete: how
    far freezing it came), magic, block_size_bytes, max_file_bytes, uuid (missing for none), inodes (in memory),
    dirty_inodes (not written yet), writeback_inodes (being written; both missing where nothing is ever written, as in
    tmpfs), references (s_active), address.

    Mirrors fs/super.c, fs/inode.c and fs/fs-writeback.c.

    >>> dump.filesystems.query("mounts > 0")[["type", "mount", "read_only", "inodes", "dirty_inodes"]].tail(3)
           type           mount  read_only  inodes  dirty_inodes
    22    tmpfs            /tmp      False     842          <NA>
    23     ext4            /mnt       True      11             0
    24  cgroup2  /sys/fs/cgroup      False       1          <NA>
    """
    block = super_blocks(kernel)
    flags, frozen = block["s_flags"], block["s_writers.frozen"]
    owner, every = mounts_of_each(kernel, block)
    seen = in_namespace(every["mnt_ns"])
    best = mounts_of(kernel, block.addresses)
    mount = container(kernel, "struct mount", "mnt", best)
    shown = (best != 0) & in_namespace(mount["mnt_ns"])
    root = block["s_root"]
    found = inodes(kernel)
    # What has no device behind it marks inodes and never writes them.
    written = (block["s_bdi"] != (kernel.symbols.get("noop_backing_dev_info") or 0)).true
    steps = np.array(_FROZEN, dtype=object)
    level = frozen.int64.filled(0)
    return frame(
        kernel,
        "filesystems",
        type=type_names(kernel, block),
        name=block["s_id"],
        source=sources(kernel, mount).where(shown),
        mount=paths_at(kernel, best, root.values, shown & root.valid, root_of_init(kernel), places=True),
        mount_namespace=nullable(of_mounts(kernel, best)),
        mounts=np.bincount(owner[seen], minlength=len(block)),
        dev=device_numbers(block["s_dev"]),
        device=block_device_names(block.follow("s_bdev")),
        flags=_names(flags),
        read_only=nullable(flags.has(1)),
        frozen=Column.of(
            steps[level.clip(0, len(steps) - 1)], frozen.valid & (level >= 0) & (level < len(steps))
        ),
        magic=nullable(block["s_magic"]),
        block_size_bytes=nullable(block["s_blocksize"].int64),
        max_file_bytes=nullable(block["s_maxbytes"].int64),
        uuid=_uuids(kernel, block),
        inodes=nullable(found.count()),
        dirty_inodes=nullable(found.count(dirty(kernel, found.inode)).where(written)),
        writeback_inodes=nullable(_written(kernel, block).where(written)),
        references=nullable(block["s_active.counter"]),
        address=block,
    )


def _names(flags: Column) -> Column:
    texts = [
        ",".join(name for bit, name in _FLAGS.items() if value >> bit & 1)
        for value in flags.filled(0).astype(np.uint64).tolist()
    ]
    return Column.of(texts, flags.valid, "text")


def _uuids(kernel: Kernel, block: StructArray) -> Column:
    """As blkid prints them."""
    rows, status = kernel.gather(block.follow("s_uuid").addresses, 16, "UUIDs of file systems")
    return Column.texts(
        [
            None if lost or not row.any() else str(uuid.UUID(bytes=row.tobytes()))
            for row, lost in zip(rows, status.tolist(), strict=True)
        ]
    )


def _written(kernel: Kernel, block: StructArray) -> Column:
    """How many inodes of each are on their way to the disk (s_inodes_wb)."""
    head = block.follow("s_inodes_wb")
    owner, _ = list_nodes(kernel, head.addresses[head.valid], what="inodes that are written")
    rows = np.flatnonzero(head.valid)[owner]
    return Column.of(np.bincount(rows, minlength=len(block)), head.valid)
