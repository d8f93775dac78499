"""Mounts of every mount namespace, as /proc/PID/mountinfo shows them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.mount_options import mount_options, sources
from kernlab.linux.mounts import all_mounts, mount_namespaces
from kernlab.linux.paths import in_file_systems, paths_at
from kernlab.linux.propagation import propagation
from kernlab.linux.super_blocks import device_numbers, type_names

Mask = npt.NDArray[np.bool_]


@table(rows="struct mount")
def mounts(kernel: Kernel) -> pd.DataFrame:
    """One row per mount of each mount namespace, pid 1's first, in the order of mountinfo.

    Columns: namespace (its number, as in readlink /proc/PID/ns/mnt; missing for what no process can see yet), id,
    parent_id, source (a device, or what was given for one), target (where it is mounted, from the root of the
    namespace), fstype, options (as the fourth field of /proc/PID/mounts, escapes included), root (what of the file
    system it shows), dev ("major:minor"), mount_options and super_options (as mountinfo has them apart), propagation
    (its optional fields: "shared:6", "master:2 propagate_from:1", "unbindable"), super_block, address.

    A process whose root directory is another than its namespace's sees the targets below it, without that. Of file
    systems whose own options are not known, problems say so. Mirrors fs/proc_namespace.c.

    >>> dump.mounts[["id", "target", "fstype", "options"]].iloc[5:8]
       id               target   fstype                          options
    5  26  /sys/kernel/tracing  tracefs                      rw,relatime
    6  28                 /tmp    tmpfs  rw,relatime,size=65536k,inode64
    7  29                 /mnt     ext4                      ro,relatime
    """
    found = all_mounts(kernel)
    spaces, mount = mount_namespaces(kernel), found.mount
    number = spaces["ns.inum"]
    block, root = mount.follow("mnt.mnt_sb"), mount["mnt.mnt_root"]
    fstype = type_names(kernel, block)
    options = mount_options(kernel, mount)
    _tell(kernel, fstype, options.told)
    return frame(
        kernel,
        "mounts",
        namespace=nullable(number.where(number.true).int64[found.space]),
        id=nullable(mount["mnt_id"]),
        parent_id=nullable(mount["mnt_parent->mnt_id"]),
        source=sources(kernel, mount),
        target=paths_at(kernel, mount.follow("mnt").addresses, root.values, root.valid, None, places=True),
        fstype=fstype,
        options=options.whole,
        root=in_file_systems(kernel, root.filled(0)),
        dev=device_numbers(block["s_dev"]),
        mount_options=options.mount,
        super_options=options.file_system,
        propagation=propagation(kernel, found.space, mount),
        super_block=StructArray(kernel, block.type, block.addresses, block.valid),
        address=mount,
    )


def _tell(kernel: Kernel, fstype: Column, told: Mask) -> None:
    """Which file systems show options that are not known."""
    for name in np.unique(fstype.values[~told & fstype.valid].astype(str)).tolist():
        of = (fstype == name).true
        kernel.lost(f"mounts of {name} lack the options that it shows of itself", mask=(~told)[of])
