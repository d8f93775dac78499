"""Who holds a file, a folder, a device or a file system: crash's fuser, and what the kernel itself holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, nullable, table
from kernlab.errors import KernlabError
from kernlab.linux.uses import Uses, uses

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_DELETED = " (deleted)"


@table
def holders(kernel: Kernel, what: Any, *, below: bool = False) -> pd.DataFrame:
    """One row for each way in which something is held, by process.

    `what`: a path, as `files` and `mounts` show it; the address of an inode, dentry, struct file, super_block or
    vfsmount; an inode's number (of any file system); what else `files` calls one ("socket:[12]"), or the source of a
    mount. A path means its inode: who opened it by another name, in another namespace, or before it was deleted is
    there, too. `below` takes all that lies in a folder as well.

    Columns: pid (missing for the kernel's own), comm, usage ("fd", "map" of its memory, "cwd", "root", "exe"; "mount"
    of a device or of a part of a file system, "mount point", "swap", "loop"), fd, detail (the mode of a descriptor, how
    many maps there are, where it is mounted or what is mounted there, the loop device), path (of this use), inode (its
    number), task, address (of what holds it: struct file, VMA, fs_struct, mount, swap_info_struct, loop_device).

    Kernel threads, whose folders are all /, are left out. Not known are files on their way through a socket, and what
    io_uring has registered. Mirrors crash's fuser. Raises KernlabError for what is none of these.

    >>> dump.holders("/busybox")[["pid", "comm", "usage", "fd", "detail"]].head(3)
       pid    comm usage    fd                              detail
    0  115  app<0>    fd     3                                   r
    1  115  app<0>   map  <NA>  1 map, the first at 0x7fdc8f8a5000
    2  116  app<1>    fd     3                                   r
    """
    groups = uses(kernel)
    chosen = _chosen(kernel, groups, what, below)
    parts = [(group, np.flatnonzero(keep[group.place])) for group, keep in zip(groups, chosen, strict=True)]
    task = StructArray(
        kernel, "struct task_struct", _joined([group.task[rows] for group, rows in parts], np.uint64)
    )
    pid = task["tgid"]
    order = np.lexsort((pid.filled(0), ~pid.valid))
    number = _joined([group.number[rows] for group, rows in parts], np.int64)
    is_fd = _joined([np.full(len(rows), group.usage == "fd") for group, rows in parts], np.bool_)
    inode = _joined([group.inode[group.place[rows]] for group, rows in parts], np.uint64)
    unique, of = np.unique(inode, return_inverse=True)
    what_holds = _joined([group.what[rows] for group, rows in parts], np.uint64)
    usage = _joined([np.full(len(rows), group.usage, dtype=object) for group, rows in parts], object)
    return frame(
        kernel,
        "holders",
        pid=nullable(pid[order]),
        comm=task["group_leader->comm"][order],
        usage=Column.of(usage[order], kind="text"),
        fd=nullable(number[order], is_fd[order]),
        detail=_column([group.detail[rows] for group, rows in parts])[order],
        path=_column([group.path[group.place[rows]] for group, rows in parts])[order],
        inode=nullable(StructArray(kernel, "struct inode", unique)["i_ino"][of.reshape(-1)][order]),
        task=task[order],
        address=addresses(kernel, what_holds[order]),
    )


def _chosen(kernel: Kernel, groups: tuple[Uses, ...], what: Any, below: bool) -> list[Mask]:
    """Which places of each kind of use are meant."""
    if isinstance(what, str) and what.startswith("/"):
        # A folder's slash at its end says nothing.
        named = what.rstrip("/") or "/"
        exact = [_named(group.path, named, below) for group in groups]
        for group, keep in zip(groups, exact, strict=True):
            if group.part is not None:
                keep |= _named(group.part, named, below)
        inodes = np.unique(_joined([group.inode[keep] for group, keep in zip(groups, exact, strict=True)
            if group.usage != "mount"], np.uint64))  # fmt: skip
        inodes = inodes[inodes != 0]
        return [keep | np.isin(group.inode, inodes) for group, keep in zip(groups, exact, strict=True)]
    if isinstance(what, str) and what.isdecimal():
        what = int(what)
    if isinstance(what, str) and "/" not in what and not what.startswith("0x"):
        # "socket:[1234]", "anon_inode:[eventfd]", or the source of a mount
        same = [_named(group.path, what, below=False) for group in groups]
        if ":" not in what and not any(keep.any() for keep in same):
            raise KernlabError(
                f"nothing is called {what!r}: a path begins with /, an inode is meant by its number"
            )
        return same
    given = kernel.addresses(what)
    if not given.single:
        raise KernlabError("holders are asked for of one thing at a time")
    number = np.uint64(given.values[0])
    if number < np.uint64(1 << 47):
        every = [StructArray(kernel, "struct inode", group.inode)["i_ino"] for group in groups]
        return [(column == int(number)).true for column in every]
    return [
        np.any([column == number for column in (group.inode, group.block, *group.also)], axis=0)
        for group in groups
    ]


def _named(path: Column, name: str, below: bool) -> Mask:
    """Which paths are this one, deleted or not, or lie below it."""
    text = path.values.astype(str)
    keep: Mask = (text == name) | (text == name + _DELETED)
    if below:
        keep |= np.char.startswith(text, name.rstrip("/") + "/")
    return keep & path.valid


def _joined(parts: list[Any], dtype: Any) -> Any:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype)


def _column(parts: list[Column]) -> Column:
    values = _joined([part.values for part in parts], object)
    return Column.of(values, _joined([part.valid for part in parts], np.bool_))
