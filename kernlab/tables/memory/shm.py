"""System V shared memory segments, as /proc/sysvipc/shm lists them, of every IPC namespace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.ipc import SEGMENTS, has_ipc, ipc_objects, octal, pid_numbers
from kernlab.linux.shmem import has_shmem


@table(rows="struct shmid_kernel")
def shm(kernel: Kernel) -> pd.DataFrame:
    """One row per segment.

    Columns: namespace (its inode number, as in /proc/PID/ns/ipc), key, shmid, perms (the mode's permission bits, in
    octal as ipcs prints them: "600"), uid, gid, cuid, cgid (in the initial user namespace), size_bytes, attached (how
    many attach it), cpid, lpid (who made it and who used it last, in the initial namespace; 0 for none), rss_bytes and
    swap_bytes (in memory and swapped out), atime, dtime, ctime (UTC; missing for never), destroyed (marked for
    removal), address.

    >>> len(dump.shm)  # nobody made one
    0
    """
    if not has_ipc(kernel):
        return _nothing(kernel)
    namespace, segment = ipc_objects(kernel, SEGMENTS)
    mode = segment["shm_perm.mode"]
    return frame(
        kernel,
        "shm",
        namespace=nullable(namespace),
        key=nullable(segment["shm_perm.key"]),
        shmid=nullable(segment["shm_perm.id"]),
        perms=octal(mode),
        uid=nullable(segment["shm_perm.uid.val"]),
        gid=nullable(segment["shm_perm.gid.val"]),
        cuid=nullable(segment["shm_perm.cuid.val"]),
        cgid=nullable(segment["shm_perm.cgid.val"]),
        size_bytes=nullable(segment["shm_segsz"].int64),
        attached=nullable(segment["shm_nattch"].int64),
        cpid=nullable(pid_numbers(segment, "shm_cprid")),
        lpid=nullable(pid_numbers(segment, "shm_lprid")),
        rss_bytes=nullable(_resident(kernel, segment)),
        swap_bytes=nullable(_swapped(kernel, segment)),
        atime=_time(segment["shm_atim"]),
        dtime=_time(segment["shm_dtim"]),
        ctime=_time(segment["shm_ctim"]),
        # SHM_DEST in the mode, include/linux/shm.h.
        destroyed=nullable(mode.has(0o1000)),
        address=segment,
    )


def _nothing(kernel: Kernel) -> pd.DataFrame:
    """The table of a kernel without CONFIG_SYSVIPC."""
    numbers = "uid gid cuid cgid size_bytes attached cpid lpid rss_bytes swap_bytes"
    return empty(
        kernel,
        "shm",
        **dict.fromkeys(("namespace", "key", "shmid"), "Int64"),
        perms="str",
        **dict.fromkeys(numbers.split(), "Int64"),
        **dict.fromkeys(("atime", "dtime", "ctime"), "datetime64[ns, UTC]"),
        destroyed="boolean",
        address="struct shmid_kernel",
    )


def _is_huge(kernel: Kernel, segment: StructArray) -> Column:
    """Which segments are made of huge pages (SHM_HUGETLB)."""
    return segment["shm_file->f_op"] == (kernel.find_symbol("hugetlbfs_file_operations") or 1)


def _resident(kernel: Kernel, segment: StructArray) -> Column:
    """Bytes in memory by the mapping's count of pages (ipc/shm.c, shm_add_rss_swap).

    Of hugetlbfs it counts huge pages in older kernels and small ones in newer, and nothing in the dump says which:
    there it is not known.
    """
    pages = segment["shm_file->f_mapping->nrpages"]
    huge = _is_huge(kernel, segment)
    lost = int(huge.true.sum())
    if lost:
        kernel.lost(f"shm: how much of {lost:,} segments of huge pages is in memory is not known")
    return (pages * kernel.page_size).where((~huge).true)


def _swapped(kernel: Kernel, segment: StructArray) -> Column:
    """Bytes swapped out, from the shmem_inode_info around the inode; hugetlbfs has none, nor has ramfs, which stands
    in for tmpfs without CONFIG_SHMEM."""
    if not has_shmem(kernel):
        return Column.of(np.zeros(len(segment), dtype=np.int64), segment.valid)
    huge = _is_huge(kernel, segment)
    inode = segment["shm_file->f_inode"].where((~huge).true)
    swapped = container(kernel, "struct shmem_inode_info", "vfs_inode", inode.filled(0))["swapped"]
    pages = swapped * kernel.page_size
    return Column.of(np.where(huge.true, 0, pages.values), huge.true | pages.valid)


def _time(column: Column) -> Any:
    return pd.Series(column.where(column.true).datetime).dt.tz_localize("UTC")
