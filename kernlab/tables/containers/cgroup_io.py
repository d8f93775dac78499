"""What control groups read and wrote, device by device, and what they may."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.containers.cgroups import find_cgroups, has_cgroups
from kernlab.linux.containers.io_stat import COUNTS, LIMITS, io_stat


@table(rows="struct blkcg_gq")
def cgroup_io(kernel: Kernel) -> pd.DataFrame:
    """One row per cgroup and block device that it has used or has a limit for, in the order of `cgroups`.

    hierarchy, path: as in `cgroups`; dev: "major:minor"; disk: its name; read_bytes, written_bytes, discarded_bytes,
    reads, writes, discards: io.stat, with what is below the cgroup; of the root what the disk counts itself; of
    version 1 blkio.throttle.io_service_bytes and io_serviced, of the cgroup alone; read_bps, write_bps, read_iops,
    write_iops: its limits per second (io.max), missing where there is none; address: struct blkcg_gq. What CPUs had
    not handed up is added, as reading the file does it. Mirrors block/blk-cgroup.c, block/blk-throttle.c.

    >>> dump.cgroup_io[["path", "dev", "disk", "read_bytes", "reads"]].head(2)
      path    dev    disk  read_bytes  reads
    0    /  252:0   zram0           0      0
    1    /  253:0  nullb0        4096      1
    """
    why = ""
    if not has_cgroups(kernel):
        why = "control groups are off in this kernel (CONFIG_CGROUPS)"
    elif kernel.types.get("struct blkcg_gq") is None:
        why = "control groups of block devices are off in this kernel (CONFIG_BLK_CGROUP)"
    if why:
        kernel.lost(why)
        dtypes = dict.fromkeys(("hierarchy", "path", "dev", "disk"), "str")
        dtypes |= dict.fromkeys((*COUNTS, *LIMITS), "Int64")
        return empty(kernel, "cgroup_io", **dtypes, address="struct blkcg_gq")
    cgroups = find_cgroups(kernel)
    found = io_stat(kernel, cgroups)
    return frame(
        kernel,
        "cgroup_io",
        hierarchy=cgroups.hierarchy[found.row],
        path=cgroups.path[found.row],
        dev=found.device,
        disk=found.disk,
        **{name: nullable(column) for name, column in (found.counts | found.limits).items()},
        address=found.group,
    )
