"""What sysfs shows of disks: their drivers, what holds them, whether they turn or can be written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.block.disks import Disks
from kernlab.linux.kernfs import names_within
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]

#: Devices above a disk's that are looked at for a driver: a partition, a namespace, a target have none themselves.
_MOST_ABOVE = 6
_LONGEST_NAME = 64

#: include/linux/blkdev.h, QUEUE_FLAG_NONROT, until Linux 6.11 made BLK_FEAT_ROTATIONAL of it.
_NOT_ROTATIONAL = 1 << 6
_ROTATIONAL = 1 << 2
#: include/linux/blkdev.h, GENHD_FL_REMOVABLE and GD_READ_ONLY (a bit of gendisk.state); blk_types.h, BD_READ_ONLY.
_REMOVABLE = 1
_DISK_READ_ONLY = 1 << 1
_READ_ONLY = 1 << 8


def read_only(every: Disks) -> Column:
    """Which cannot be written to (block/bdev.c, bdev_read_only; a "bool" column)."""
    part = every.part
    if part.has("policy"):
        return part["policy"] != 0
    # Linux commit 01e198f01d55 ("bdev: move ->bd_read_only to ->__bd_flags") (in v6.10).
    own = (
        part["bd_read_only"] != 0 if part.has("bd_read_only") else part["__bd_flags.counter"].has(_READ_ONLY)
    )
    # Linux commit 52f019d43c22 ("block: add a hard-readonly flag to struct gendisk") (in v5.12).
    return own | every.disk["state"].has(_DISK_READ_ONLY)


def removable(every: Disks) -> Column:
    """Which are removable media."""
    return every.disk["flags"].has(_REMOVABLE)


def rotational(every: Disks) -> Column:
    """Which turn, as far as their drivers say."""
    # Linux commit bd4a633b6f7c ("block: move the nonrot flag to queue_limits") (in v6.11).
    if every.queue.has("limits.features"):
        return every.queue["limits.features"].has(_ROTATIONAL)
    return ~every.queue["queue_flags"].has(_NOT_ROTATIONAL)


def schedulers(every: Disks) -> Column:
    """The I/O scheduler of each; "none" where requests go straight to the driver, missing where there are none."""
    queue = every.queue
    kind = queue.follow("elevator").follow("type")
    # Up to v4.19 the name stands in the struct, later it is pointed to.
    own = kind["elevator_name"]
    name = (own.text if own.kind == "text" else c_strings(queue.kernel, own, _LONGEST_NAME)).values.copy()
    scheduled = queue["elevator"]
    name[(scheduled == 0).true] = "none"
    good = scheduled.valid & (name != "") & queue["mq_ops"].true
    return Column.of(name, good)


def drivers(kernel: Kernel, every: Disks) -> Column:
    """The driver of each disk: that of the device that it is of, or else the module that its operations are in.

    Missing where neither is known: a driver of virtual disks that is built in has no name.
    """
    above = every.device.follow("parent")
    name = Column.missing(len(every))
    for _ in range(_MOST_ABOVE):
        here = c_strings(kernel, above.follow("driver")["name"], _LONGEST_NAME)
        name = Column.of(np.where(name.valid, name.values, here.values), name.valid | here.valid, "text")
        above = above.follow("parent")
        if not above.valid.any():
            break
    owner = every.disk.follow("fops")["owner->name"].text
    return Column.of(np.where(name.valid, name.values, owner.values), name.valid | owner.true, "text")


def holders(kernel: Kernel, every: Disks) -> Column:
    """The disks made of each (dm, md), by name and joined by commas, as /sys/block/NAME/holders lists them."""
    folder = every.part.first("bd_holder_dir", "holder_dir")
    directory = StructArray(kernel, "struct kobject", folder.filled(0)).follow("sd")
    found = names_within(kernel, directory, what="the holders of disks")
    return Column.of([",".join(sorted(some)) for some in found], folder.valid, "text")
