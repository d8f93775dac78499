"""Disks and partitions: what they are, and what they counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.errors import KernlabError
from kernlab.linux.block import attributes
from kernlab.linux.block.disks import Disks
from kernlab.linux.block.disks import disks as find_disks
from kernlab.linux.block.hardware import hardware
from kernlab.linux.block.requests import Requests, counted, requests
from kernlab.linux.block.statistics import GROUPS, Statistics, statistics
from kernlab.linux.timekeeping import tick

I64 = npt.NDArray[np.int64]

#: include/linux/blk_types.h, SECTOR_SHIFT, and include/linux/kdev_t.h, MINORBITS.
_SECTOR, _MINOR_BITS = 512, 20
#: What the table calls the sectors and times of each group that /proc/diskstats has.
_WORDS = {"reads": "read", "writes": "write", "discards": "discard", "flushes": "flush"}
_SECTORS = {"reads": "sectors_read", "writes": "sectors_written", "discards": "sectors_discarded"}


@table(rows="struct block_device")
def disks(kernel: Kernel) -> pd.DataFrame:
    """One row per disk and partition, in the order of /proc/diskstats.

    Columns: name; dev ("major:minor"); parent (the disk that a partition is of); size_bytes and sectors (of 512 bytes);
    start_sector (of a partition); block_bytes (what the disk reads and writes at once); readonly, removable,
    rotational; driver (of the device behind it, else the module of its operations); operations (the symbol of its
    block_device_operations, which tells its kind: virtblk_fops, lo_fops, dm_blk_dops); scheduler ("none" where
    requests go straight to the driver; missing where the driver takes bios, not requests); queue_depth (requests that
    a hardware queue may have), hw_queues; holders (disks made of it, joined by commas); opens.
    Of nvme and SCSI: vendor (SCSI's), model, serial, firmware, and state of the controller ("live", "resetting",
    "connecting", "dead", …) or SCSI device ("running", "blocked", "offline", …), missing of a disk with several paths.

    Statistics as in /proc/diskstats: reads, reads_merged, sectors_read, read_time, and the same of writes and discards;
    flushes, flush_time; io_time (how long anything was on its way), all since boot. reads_in_flight, writes_in_flight:
    what the driver has not ended, as /sys/block/NAME/inflight counts it; `dump.inflight` lists it.

    disk, queue: the struct gendisk and request_queue; address: the struct block_device (before Linux 5.11, hd_struct).
    Mirrors block/genhd.c (diskstats_show, part_inflight_show).

    >>> dump.disks[["name", "dev", "size_bytes", "scheduler", "reads", "sectors_read", "writes"]].head(2)
      name     dev  size_bytes scheduler  reads  sectors_read  writes
    0  vda   254:0    67108864      none    109         23264     102
    1  vdb  254:16   536870912      none     10            82      24
    """
    if kernel.find_symbol("block_class") is None:
        return _none(kernel)
    every = find_disks(kernel)
    device = hardware(kernel, every)
    part, queue = every.part, every.queue
    names = every.names()
    number = part["bd_dev"] if part.has("bd_dev") else every.device["devt"]
    sectors = _sectors(part)
    stats = statistics(kernel, part)
    reads, writes = _in_flight(kernel, every, stats)
    return frame(
        kernel,
        "disks",
        name=names,
        dev=Column.texts(
            [
                None if dev is None else f"{dev >> _MINOR_BITS}:{dev & ((1 << _MINOR_BITS) - 1)}"
                for dev in number
            ]
        ),
        parent=_parents(every, names),
        size_bytes=nullable(sectors * _SECTOR),
        sectors=nullable(sectors),
        start_sector=nullable(part.first("bd_start_sect", "start_sect").int64),
        block_bytes=nullable(queue["limits.logical_block_size"]),
        readonly=nullable(attributes.read_only(every)),
        removable=nullable(attributes.removable(every)),
        rotational=nullable(attributes.rotational(every)),
        driver=attributes.drivers(kernel, every),
        operations=_symbols(kernel, every.disk["fops"]),
        scheduler=attributes.schedulers(every),
        queue_depth=nullable(queue["nr_requests"].int64.where(queue["mq_ops"].true)),
        hw_queues=nullable(queue["nr_hw_queues"].int64.where(queue["mq_ops"].true)),
        holders=attributes.holders(kernel, every),
        opens=nullable(_opens(part)),
        vendor=device.vendor,
        model=device.model,
        serial=device.serial,
        firmware=device.firmware,
        state=device.state,
        **_statistics(stats),
        io_time=_busy(kernel, stats.io_ticks).timedelta,
        reads_in_flight=nullable(reads),
        writes_in_flight=nullable(writes),
        disk=every.disk,
        queue=queue,
        address=part,
    )


def _none(kernel: Kernel) -> pd.DataFrame:
    kernel.lost("this kernel has no block layer (CONFIG_BLOCK is off)")
    texts = ("name", "dev", "parent", "driver", "operations", "scheduler", "holders")
    numbers = ("size_bytes", "sectors", "start_sector", "block_bytes")
    flags = ("readonly", "removable", "rotational")
    queue = ("queue_depth", "hw_queues", "opens")
    counted = [
        *("reads", "reads_merged", "sectors_read", "read_time"),
        *("writes", "writes_merged", "sectors_written", "write_time"),
        *("discards", "discards_merged", "sectors_discarded", "discard_time"),
        *("flushes", "flush_time", "io_time", "reads_in_flight", "writes_in_flight"),
    ]
    dtypes = {
        **dict.fromkeys(texts[:3], "str"),
        **dict.fromkeys(numbers, "Int64"),
        **dict.fromkeys(flags, "boolean"),
        **dict.fromkeys(texts[3:6], "str"),
        **dict.fromkeys(queue[:2], "Int64"),
        "holders": "str",
        "opens": "Int64",
        **dict.fromkeys(("vendor", "model", "serial", "firmware", "state"), "str"),
        **{name: "timedelta64[ns]" if name.endswith("_time") else "Int64" for name in counted},
        "disk": "struct gendisk",
        "queue": "struct request_queue",
        "address": "struct block_device",
    }
    return empty(kernel, "disks", **dtypes)


def _sectors(part: StructArray) -> Column:
    """The size in sectors."""
    # In Linux 5.11 to 5.15 the inode alone has it; later bd_nr_sectors, too.
    if part.has("bd_nr_sectors") or part.has("nr_sects"):
        return part.first("bd_nr_sectors", "nr_sects").int64
    return part["bd_inode->i_size"].int64 // _SECTOR


def _parents(every: Disks, names: Column) -> Column:
    """The name of the disk that each partition is of."""
    known = every.number.true & (every.whole >= 0)
    parent = np.where(known, every.whole, 0)
    return Column.of(
        names.values[parent] if len(every) else names.values, known & names.valid[parent], "text"
    )


def _opens(part: StructArray) -> Column:
    """How often each is open."""
    for path in ("bd_openers.counter", "bd_openers"):
        if part.has(path):
            return part[path].int64
    # A partition of Linux before 5.11 has no block_device of its own but while it is open.
    return Column.missing(len(part), "int")


def _statistics(stats: Statistics) -> dict[str, object]:
    found: dict[str, object] = {}
    for group in GROUPS:
        found[group] = nullable(stats.ios[group])
        if group in _SECTORS:
            found[f"{group}_merged"] = nullable(stats.merges[group])
            found[_SECTORS[group]] = nullable(stats.sectors[group])
        found[f"{_WORDS[group]}_time"] = stats.nanoseconds[group].timedelta
    return found


def _busy(kernel: Kernel, ticks: Column) -> Column:
    """How long anything was on its way, in ns, from ticks of the kernel's clock."""
    try:
        return ticks * tick(kernel)
    except KernlabError as error:
        kernel.lost(f"how long disks were busy is not known: {error}")
        return Column.missing(len(ticks), "int")


def _in_flight(kernel: Kernel, every: Disks, stats: Statistics) -> tuple[Column, Column]:
    """What the drivers have not ended: (reads, writes)."""
    found: Requests = requests(kernel)
    request = found.request[counted(found)]
    by_queue, by_part = request["q"].filled(0), request["part"].filled(0)
    # include/linux/blk_types.h, op_is_write.
    writes = request["cmd_flags"].has(1).true
    whole = every.number == 0
    own = np.where(whole.true, every.queue.addresses, every.part.addresses)
    takes_requests = every.queue["mq_ops"]
    result = []
    for kind, bios in ((~writes, stats.in_flight[0]), (writes, stats.in_flight[1])):
        count = _times(own, by_queue[kind]) + _times(own, by_part[kind])
        mine = takes_requests.true
        values = np.where(mine, count, bios.values)
        result.append(Column.of(values, takes_requests.valid & (mine | bios.valid)))
    return result[0], result[1]


def _times(keys: npt.NDArray[np.uint64], values: npt.NDArray[np.uint64]) -> I64:
    """How often each of some addresses is among others."""
    ordered = np.sort(values.astype(np.uint64))
    found: I64 = np.searchsorted(ordered, keys, side="right") - np.searchsorted(ordered, keys, side="left")
    return found


def _symbols(kernel: Kernel, pointers: Column) -> Column:
    """The symbols that some pointers lead to."""
    named = kernel.symbolize(pointers.filled(0).astype(np.uint64))
    return Column.texts([name.split(" ")[0].split("+")[0] if name else None for name in named]).where(
        pointers.valid
    )
