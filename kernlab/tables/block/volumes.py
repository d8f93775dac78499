"""Disks that are made of something else: a file, other disks, compressed memory."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, empty, frame, nullable, table
from kernlab.linux.block.disks import disks
from kernlab.linux.block.volumes import members
from kernlab.linux.block.volumes import volumes as find_volumes


@table(rows="struct gendisk")
def volumes(kernel: Kernel) -> pd.DataFrame:
    """One row per loop device, volume of device-mapper or md, and zram device, in the order of `disks`.

    Columns: disk; kind ("loop", "dm", "md", "zram"); name (that device-mapper knows it by: vg0-data); state (of loop
    devices "bound", "unbound" …; of dm "active", "suspended"; of zram "active", "unused"; of md as array_state:
    "clean", "active", "readonly", "inactive" …); target (what device-mapper does: "linear", "crypt", several joined by
    commas; of zram the compressor; of md the level: "raid1"); members (the disks that it is made of); path (the file
    behind a loop device), offset_bytes (where in it the disk begins); stored_bytes, compressed_bytes (what zram holds,
    and how large that is compressed).

    Of md: raid_disks (how many it should have); degraded (how many of these do not work); roles (members as in
    /proc/mdstat: "sda[0] sdb[1]", F faulty, S spare, J journal, R replacement, W mostly written); slots ("U_": which
    places work); sync_action ("idle", "resync", "recover", "check", "repair", "reshape", "frozen"), sync_done_bytes of
    sync_total_bytes of each member while that goes on. Stripes have no redundancy, and the last five but roles are
    missing.

    private: the driver's own struct (loop_device, mapped_device, mddev, zram); address: the struct gendisk.
    What the types of a driver's module tell is missing where a kernel does not have them, and said so.
    Mirrors drivers/block/loop.c, drivers/md/dm.c and dm-ioctl.c, drivers/md/md.c, drivers/block/zram/zram_drv.c.

    >>> dump.volumes[["disk", "kind", "state", "target", "stored_bytes", "compressed_bytes"]].tail(2)
        disk  kind    state   target  stored_bytes  compressed_bytes
    7  loop7  loop  unbound      NaN          <NA>              <NA>
    8  zram0  zram   unused  lzo-rle             0                 0
    """
    if kernel.find_symbol("block_class") is None:
        kernel.lost("this kernel has no block layer (CONFIG_BLOCK is off)")
        return _none(kernel)
    every = disks(kernel)
    found = find_volumes(kernel, every)
    disk = every.disk[found.row]
    private, array = disk["private_data"], found.array
    return frame(
        kernel,
        "volumes",
        disk=every.names()[found.row],
        kind=Column.of(found.kind, kind="text"),
        name=Column.texts(found.name),
        state=Column.texts(found.state),
        target=Column.texts(
            [level or other for level, other in zip(array["level"], found.target, strict=True)]
        ),
        members=members(kernel, disk),
        path=Column.texts(found.path),
        offset_bytes=nullable(Column.ints(found.offset)),
        stored_bytes=nullable(Column.ints(found.stored)),
        compressed_bytes=nullable(Column.ints(found.used)),
        raid_disks=nullable(Column.ints(array["disks"])),
        degraded=nullable(Column.ints(array["degraded"])),
        roles=Column.texts(array["roles"]),
        slots=Column.texts(array["slots"]),
        sync_action=Column.texts(array["action"]),
        sync_done_bytes=nullable(Column.ints(array["done"])),
        sync_total_bytes=nullable(Column.ints(array["total"])),
        private=addresses(kernel, private.filled(0), private.valid),
        address=disk,
    )


def _none(kernel: Kernel) -> pd.DataFrame:
    texts = ("disk", "kind", "name", "state", "target", "members", "path")
    numbers = ("offset_bytes", "stored_bytes", "compressed_bytes", "raid_disks", "degraded")
    more = ("sync_done_bytes", "sync_total_bytes")
    return empty(
        kernel,
        "volumes",
        **dict.fromkeys(texts, "str"),
        **dict.fromkeys(numbers, "Int64"),
        **dict.fromkeys(("roles", "slots", "sync_action"), "str"),
        **dict.fromkeys(more, "Int64"),
        private="address",
        address="struct gendisk",
    )
