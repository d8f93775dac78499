"""Disks and their partitions: what the class "block" lists, and what is the same of each by any kernel's layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.linux.block.registered import first_met, registered
from kernlab.linux.slab_pages import FREE, SlabPages, slab_heads
from kernlab.linux.slab_states import object_states

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Of packed flags the lowest byte is the partition's number (include/linux/blk_types.h, BD_PARTNO).
_PARTNO = 0xFF


@dataclass(frozen=True, slots=True)
class Disks:
    """All disks and partitions, each disk before its partitions, n of each.

    `part` is the `struct block_device`, before Linux 5.11 the `struct hd_struct`; `disk` its `struct gendisk`, `device`
    its `struct device`, `number` 0 for a whole disk, else the partition's, `whole` the row of its disk (int64[n], -1
    where that is not listed).
    """

    part: StructArray
    disk: StructArray
    device: StructArray
    number: Column
    whole: I64

    def __len__(self) -> int:
        return len(self.part)

    @property
    def queue(self) -> StructArray:
        """The `struct request_queue` of each."""
        return self.disk.follow("queue")

    def names(self) -> Column:
        """Names as the kernel prints them: vda, vda1, nvme0n1p2 (block/genhd.c, disk_name)."""
        return part_names(self.disk["disk_name"].text, self.number)


@fact
def disks(kernel: Kernel) -> Disks:
    """Every disk and partition, in the order of /proc/diskstats.

    Where the class's list is broken, the slabs of disks' inodes have more of them, in no order.
    Mirrors block/genhd.c, diskstats_show. Raises SymbolNotFoundError where no symbol leads there.
    """
    with kernel.watched() as lost:
        device = registered(kernel, "class", "block")
    part = of_devices(device)
    if lost:
        part = _with_inodes(kernel, part)
        device = part.follow("bd_device" if part.has("bd_device") else "__dev")
    number = partition_numbers(part)
    disk = disks_of(part, device, number)
    order = np.argsort(number.filled(0), kind="stable")
    if len(order):
        # A disk's place is that of its own device on the list.
        _, first = np.unique(disk.addresses[order], return_index=True)
        place = {int(disk.addresses[order[at]]): int(order[at]) for at in first.tolist()}
        group = np.array([place[address] for address in disk.addresses.tolist()], dtype=np.int64)
        order = np.lexsort((number.filled(0), group))
    part, disk, device, number = part[order], disk[order], device[order], number[order]
    wholes = {
        address: row
        for row, (address, own) in enumerate(zip(disk.addresses.tolist(), number.tolist(), strict=True))
        if own == 0
    }
    whole = np.array([wholes.get(address, -1) for address in disk.addresses.tolist()], dtype=np.int64)
    return Disks(part, disk, device, number, whole)


def _with_inodes(kernel: Kernel, part: StructArray) -> StructArray:
    """These, and what else has an inode: since Linux 5.11 each disk and partition is part of one (block/bdev.c)."""
    if not part.has("bd_device") or kernel.symbols.get("bdev_cachep") is None:
        return part
    cache, _ = kernel.words([kernel.symbol("bdev_cachep")], what="the slab cache of disks")
    slabs = SlabPages.read(kernel, slab_heads(kernel)).only(cache)
    inode = StructArray(kernel, "struct bdev_inode", slabs.addresses()[object_states(kernel, slabs) != FREE])
    own = inode.follow("bdev")
    with kernel.quiet():
        # What is not one of them any more has no device that is registered.
        good = own["bd_device.p"].true & own["bd_disk->disk_name"].text.true
    address = np.concatenate([part.addresses, own.addresses[good]])
    return StructArray(kernel, part.type, address[first_met(address)])


def of_devices(device: StructArray) -> StructArray:
    """The structs of the disks and partitions that some devices of the class "block" are part of."""
    kernel = device.kernel
    # Linux commit 0d02129e76ed ("block: merge struct block_device and struct hd_struct") (in v5.11).
    if kernel.types.has_member("struct block_device", "bd_device"):
        return device.container("struct block_device", "bd_device")
    return device.container("struct hd_struct", "__dev")


def partition_numbers(part: StructArray) -> Column:
    """The number of each partition, 0 of a whole disk, by its struct block_device or hd_struct."""
    # Linux commit 1116b9fa15c0 ("bdev: infrastructure for flags") (in v6.10).
    if part.has("__bd_flags"):
        return part["__bd_flags.counter"].int64 & _PARTNO
    return part.first("bd_partno", "partno").int64


def disks_of(part: StructArray, device: StructArray, number: Column) -> StructArray:
    """The gendisk of each disk or partition."""
    kernel = part.kernel
    if part.has("bd_disk"):
        return part.follow("bd_disk")
    # A partition's device has its disk's as its parent (block/genhd.c of 5.10, part_to_disk).
    above = device["parent"]
    address = np.where(number.filled(0) != 0, above.filled(0), device.addresses)
    own = container(kernel, "struct hd_struct", "__dev", address)
    return own.container("struct gendisk", "part0")


def part_names(disk: Column, number: Column) -> Column:
    """The names of partitions, by their disks' and their numbers; missing where either is."""
    known = disk.valid & number.valid
    return Column.texts(
        [
            f"{name}{'p' if name[-1:].isdigit() and part else ''}{part or ''}" if good else None
            for name, part, good in zip(
                disk.values.tolist(), number.values.tolist(), known.tolist(), strict=True
            )
        ]
    )
