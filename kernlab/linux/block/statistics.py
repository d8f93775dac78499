"""What disks and partitions count: requests, sectors and times by kind, each CPU's part added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu_many, possible_cpus

#: enum stat_group (include/linux/blk_types.h), in its order.
GROUPS = ("reads", "writes", "discards", "flushes")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of each disk or partition: ios, merges, sectors and nanoseconds by the name of a group; io_ticks, in jiffies;
    in_flight, those that bio-based drivers have not ended, (reads, writes)."""

    ios: dict[str, Column]
    merges: dict[str, Column]
    sectors: dict[str, Column]
    nanoseconds: dict[str, Column]
    io_ticks: Column
    in_flight: tuple[Column, Column]


def statistics(kernel: Kernel, part: StructArray) -> Statistics:
    """The statistics of some struct block_device or hd_struct. Mirrors block/genhd.c, part_stat_read_all."""
    pointer = part.first("bd_stats", "dkstats")
    numbers = possible_cpus(kernel)
    there = pointer.true
    each = percpu_many(kernel, pointer.filled(0).astype(np.uint64), numbers)
    copies = StructArray(
        kernel, "struct disk_stats", each.reshape(-1), np.repeat(there, len(numbers))
    ).prefetch("nsecs", "sectors", "ios", "merges", "io_ticks", "in_flight[0].a.counter")
    owner = np.repeat(np.arange(len(part)), len(numbers))

    def groups(member: str) -> dict[str, Column]:
        counters = copies[member]
        width = counters.values.shape[1] if counters.values.ndim == 2 else 0
        return {
            name: Column.of(counters.values[:, at], counters.valid).added_by(owner, len(part)).where(there)
            if at < width
            else Column.missing(len(part), "int")
            for at, name in enumerate(GROUPS)
        }

    def signed(index: int) -> Column:
        # Linux commit 1226b8dd0e91 ("block: switch to per-cpu in-flight counters") (in v5.0).
        if not copies.has("in_flight"):
            return part[f"in_flight[{index}].counter"].int64.where(there).clip(0)
        # A request may be counted on one CPU when it starts and on another when it ends.
        one = copies[f"in_flight[{index}].a.counter"]
        return one.added_by(owner, len(part)).where(there).clip(0)

    return Statistics(
        ios=groups("ios"),
        merges=groups("merges"),
        sectors=groups("sectors"),
        nanoseconds=groups("nsecs"),
        io_ticks=copies["io_ticks"].added_by(owner, len(part)).where(there),
        in_flight=(signed(0), signed(1)),
    )
