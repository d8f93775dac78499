"""Mount namespaces: all of them, the mounts of each, and whose paths are whose: where a mount or a task belongs.

A path begins at the root of the namespace in which its mount is: `/tmp/x` of a container is not pid 1's `/tmp/x`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.linux.super_blocks import mounts_of_each, super_blocks
from kernlab.linux.tasks import find_tasks
from kernlab.walk.lists import list_entries
from kernlab.walk.rbtree import rbtree_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: A reader of /proc/PID/mounts leaves its place in the list (fs/mount.h, MNT_CURSOR; Linux 5.8 to 6.7).
_CURSOR = 0x10000000

#: Pointers above this are errors (include/linux/err.h): the kernel's own mounts have one for it (MNT_NS_INTERNAL).
_ERRORS = np.uint64((1 << 64) - 4096)


def of_mounts(kernel: Kernel, mounts: U64) -> Column:
    """The number of the mount namespace that each `struct vfsmount` uint64[n] is in, as readlink /proc/PID/ns/mnt has
    it; missing for NULL, for what is mounted nowhere (any more) and for the kernel's own mounts.
    """
    return _numbers(kernel, container(kernel, "struct mount", "mnt", mounts)["mnt_ns"])


def of_tasks(kernel: Kernel, task: StructArray) -> Column:
    """The number of the mount namespace that each task lives in; missing for those that have ended."""
    return _numbers(kernel, task["nsproxy->mnt_ns"])


def in_namespace(pointer: Column) -> npt.NDArray[np.bool_]:
    """Which of these `struct mnt_namespace *` are those of a namespace, bool[n]."""
    there: npt.NDArray[np.bool_] = pointer.true & (pointer < _ERRORS).true
    return there


def _numbers(kernel: Kernel, pointer: Column) -> Column:
    there = in_namespace(pointer)
    unique, of = np.unique(pointer.where(there).filled(0), return_inverse=True)
    number = StructArray(kernel, "struct mnt_namespace", unique)["ns.inum"]
    # Mounts that no process can see yet (fsmount) are in a namespace without a number.
    return number.where(number.true).int64[of].where(there)


@fact
def mount_namespaces(kernel: Kernel) -> StructArray:
    """Every struct mnt_namespace, that of pid 1 first and then by number; those that only a descriptor or a mount
    holds, too.

    A namespace has a mount at least, and every mount is one of its file system's: so none is missing that no task
    lives in. Mounts that no process can see yet (fsmount, open_tree) have one of their own, whose number is 0.
    """
    _, mount = mounts_of_each(kernel, super_blocks(kernel))
    pointers = [mount["mnt_ns"], find_tasks(kernel)["nsproxy->mnt_ns"]]
    found = np.unique(np.concatenate([pointer.values[in_namespace(pointer)] for pointer in pointers]))
    space = StructArray(kernel, "struct mnt_namespace", found)
    init = StructArray(kernel, "struct pid_namespace", [kernel.symbol("init_pid_ns")])
    own = init["child_reaper->nsproxy->mnt_ns"].filled(0)[0]
    return space[np.lexsort((found, space["ns.inum"].filled(0), found != own))]


@dataclass(frozen=True, slots=True)
class Mounts:
    """All mounts, of equal lengths n, by namespace in the order of /proc/PID/mountinfo.

    `space` is the row of `mount_namespaces` that each is in, `mount` the struct mount.
    """

    space: I64
    mount: StructArray

    def __len__(self) -> int:
        return len(self.space)


@fact
def all_mounts(kernel: Kernel) -> Mounts:
    """The mounts of every namespace (fs/namespace.c), each once; not the kernel's own.

    What a namespace's list or tree lacks and file systems know is behind it, and told.
    """
    spaces = mount_namespaces(kernel)
    what = "the mounts of namespaces"
    if spaces.has("list"):
        owner, mount = list_entries(
            kernel, spaces.follow("list").addresses, "struct mount", "mnt_list", what=what
        )
        real = ~mount["mnt.mnt_flags"].has(_CURSOR).true
        owner, mount = owner[real], mount[real]
    else:
        # Linux commit 2eea9ce4310d ("mounts: keep list of mounts in an rbtree") (in v6.8).
        owner, mount = rbtree_entries(
            kernel, spaces.follow("mounts").addresses, "struct mount", "mnt_node", what=what
        )
    _, every = mounts_of_each(kernel, super_blocks(kernel))
    pointer = every["mnt_ns"]
    more = in_namespace(pointer) & ~np.isin(every.addresses, mount.addresses)
    kernel.lost(
        "mounts are not in the list of their namespace, and were found through their file systems", mask=more
    )
    row = np.argsort(spaces.addresses)
    place = row[np.searchsorted(spaces.addresses[row], pointer.values[more])]
    space = np.concatenate([owner, place])
    addresses = np.concatenate([mount.addresses, every.addresses[more]])
    order = np.argsort(space, kind="stable")
    return Mounts(space[order], StructArray(kernel, "struct mount", addresses[order]))
