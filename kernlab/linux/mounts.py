"""Whose paths are whose: the mount namespace that a mount belongs to, and that a task lives in.

A path begins at the root of the namespace in which its mount is: `/tmp/x` of a container is not pid 1's `/tmp/x`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container

U64 = npt.NDArray[np.uint64]

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
