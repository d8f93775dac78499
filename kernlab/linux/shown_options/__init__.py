"""What file systems themselves show among the options of their mounts: one function for each show_options."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import BudgetError, KernlabError
from kernlab.linux.shown_options import disks, kernels_own, layers, shared_memory
from kernlab.linux.shown_options.texts import Teller

U64 = npt.NDArray[np.uint64]

#: By the function that the kernel calls for it (struct super_operations).
_TELLERS: dict[str, Teller] = {
    "shmem_show_options": shared_memory.shmem,
    "ramfs_show_options": shared_memory.ramfs,
    "hugetlbfs_show_options": shared_memory.hugetlbfs,
    "proc_show_options": kernels_own.proc,
    "debugfs_show_options": kernels_own.debugfs,
    "tracefs_show_options": kernels_own.tracefs,
    "devpts_show_options": kernels_own.devpts,
    "bpf_show_options": kernels_own.bpf,
    "pstore_show_options": kernels_own.pstore,
    "autofs_show_options": kernels_own.autofs,
    "kernfs_sop_show_options": kernels_own.kernfs,
    "ext4_show_options": disks.ext4,
    "xfs_fs_show_options": disks.xfs,
    "btrfs_show_options": disks.btrfs,
    "ovl_show_options": layers.overlay,
    "fuse_show_options": layers.fuse,
}


def shown_options(kernel: Kernel, block: StructArray, root: Column) -> Column:
    """What each super_block shows of a mount with that root dentry, with a comma before each option.

    '' for those that show nothing; missing where it cannot be read, or the file system's options are not known here.
    """
    # A super_block with many mounts is asked once for each root.
    pair = np.stack([block.addresses, root.filled(0)], axis=1)
    unique, of = np.unique(pair, axis=0, return_inverse=True)
    own = StructArray(kernel, block.type, unique[:, 0])
    dentry = StructArray(kernel, "struct dentry", unique[:, 1])
    function = own["s_op->show_options"]
    values = np.full(len(own), "", dtype=object)
    valid = function.valid & (function == 0).true
    found = np.unique(function.values[function.true])
    for address, name in zip(found.tolist(), kernel.symbolize(found), strict=True):
        tell = _TELLERS.get(str(name).partition("+")[0])
        if tell is None:
            continue
        rows = np.flatnonzero((function == address).true)
        try:
            texts = tell(kernel, own[rows], dentry[rows])
        except BudgetError:
            raise
        except KernlabError as error:
            # A module without types (before Linux 5.11), or a layout that is another.
            kernel.lost(f"what {str(name).partition('+')[0]} shows is not known: {error}")
            continue
        for row, text in zip(rows.tolist(), texts, strict=True):
            if text is not None:
                values[row], valid[row] = text, True
    return Column.of(values, valid)[of.reshape(-1)]
