"""What virtio devices were given to write to: the descriptors of their queues that are theirs to fill.

Mirrors drivers/virtio/virtio_ring.c: `desc_state[i].data` is set from when a buffer is put up until the driver takes it
back, and descriptors chain from i on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import StructType
from kernlab.linux.block.registered import registered
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: include/uapi/linux/virtio_ring.h, VRING_DESC_F_*.
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
#: enum vq_layout (drivers/virtio/virtio_ring.c): those of the split form.
_SPLIT = ("VQ_LAYOUT_SPLIT", "VQ_LAYOUT_SPLIT_IN_ORDER")
_LONGEST_NAME = 64
#: include/uapi/linux/virtio_config.h: queues have at most so many descriptors; a chain is no longer.
_MOST_DESCRIPTORS = 1 << 15


@dataclass(frozen=True, slots=True)
class Writable:
    """Ranges of memory, n of them: `start` uint64[n], physical; `length` int64[n] in bytes; `queue` int64[n], an index
    into `names` ("virtio1 input.0")."""

    start: U64
    length: I64
    queue: I64
    names: list[str]


def writable(kernel: Kernel) -> Writable:
    """What all virtio devices may write to. What is not known of any is told.

    Raises SymbolNotFoundError where the symbol table does not say where buses are.
    """
    none = np.zeros(0, dtype=np.int64)
    nothing = Writable(none.astype(np.uint64), none, none, [])
    device = registered(kernel, "bus", "virtio")
    if not len(device):
        return nothing
    for kind in ("struct virtio_device", "struct virtqueue", "struct vring_virtqueue"):
        if not isinstance(kernel.type_anywhere(kind), StructType):
            kernel.lost(
                f"what {len(device):,} virtio devices may still have written to is not known: this kernel's types do "
                f"not say what a {kind} is"
            )
            return nothing
    bus = device.container("struct virtio_device", "dev")
    owner, queue = list_entries(
        kernel, bus.follow("vqs").addresses, "struct virtqueue", "list", what="the queues of virtio devices"
    )
    ring = queue.container("struct vring_virtqueue", "vq")
    good = _readable(kernel, ring, bus[owner])
    ring, owner, queue = ring[good], owner[good], queue[good]
    device_names = c_strings(kernel, device["kobj.name"], _LONGEST_NAME).tolist()
    names = [
        f"{device_names[of] or 'a virtio device'} {name or 'queue'}"
        for of, name in zip(
            owner.tolist(), c_strings(kernel, queue["name"], _LONGEST_NAME).tolist(), strict=True
        )
    ]
    start, length, of = _descriptors(kernel, ring)
    return Writable(start, length, of, names)


def _readable(kernel: Kernel, ring: StructArray, bus: StructArray) -> npt.NDArray[np.bool_]:
    """Which queues have descriptors of the split form, with addresses that are the machine's own; others are told."""
    if ring.has("layout"):
        known = [kernel.types.enumerator_or_none(name) for name in _SPLIT]
        split = np.isin(
            ring["layout"].int64.filled(-1), [0 if number is None else number for number in known]
        )
    elif ring.has("packed_ring"):
        split = (ring["packed_ring"] == 0).true
    else:
        # Linux commit 1ce9e6055fa0 ("virtio_ring: introduce packed ring support") (in v5.0).
        split = np.ones(len(ring), dtype=bool)
    kernel.lost("queues of virtio devices have packed rings, which are not read", mask=~split)
    # Linux commit bee8c7c24b73 ("virtio: introduce map ops in virtio core") (in v6.18).
    api = next((name for name in ("use_map_api", "use_dma_api") if ring.has(name)), None)
    mapped = np.ones(len(ring), dtype=bool) if api is None else ring[api].true
    parent = bus.follow("dev.parent")
    translated = np.zeros(len(ring), dtype=bool)
    for member in ("dma_iommu", "dma_ops"):
        if parent.has(member):
            translated |= mapped & parent[member].true
    kernel.lost(
        "queues of virtio devices have addresses of an IOMMU, which are not followed", mask=translated
    )
    return split & ~translated


def _descriptors(kernel: Kernel, ring: StructArray) -> tuple[U64, I64, I64]:
    """What the descriptors of some rings that are put up may be written by the device: start, length, whose."""
    # Linux commit e593bf975171 ("virtio_ring: put split ring fields in a sub struct") (in v5.0): before, the states
    # stand at the end of the struct itself.
    split = ring.has("split")
    count = ring.first("split.vring.num", "vring.num").clip(0, _MOST_DESCRIPTORS).filled(0)
    state_kind, kind = (
        kernel.find_type("struct vring_desc_state_split" if split else "struct vring_desc_state"),
        kernel.find_type("struct vring_desc"),
    )
    count = kernel.budget.counts(count, state_kind.size, "descriptors of virtio devices")
    of = np.repeat(np.arange(len(ring)), count)
    base = np.cumsum(count) - count
    index = (np.arange(len(of)) - base[of]).astype(np.uint64)
    if split:
        states = ring["split.desc_state"].filled(0).astype(np.uint64)
    else:
        states = ring.addresses + np.uint64(resolve(ring.type, "desc_state").hops[-1])
    state = StructArray(kernel, state_kind, states[of] + index * np.uint64(state_kind.size))
    table = ring.first("split.vring.desc", "vring.desc").filled(0).astype(np.uint64)
    # All of each ring at once: chains are followed in what was read.
    every = StructArray(kernel, kind, table[of] + index * np.uint64(kind.size))
    flags, following = every["flags"], every["next"].int64
    used = state["data"].true
    indirect = flags.has(_INDIRECT).true
    tables = state["indir_desc"].filled(0).astype(np.uint64)
    rows = np.flatnonzero(used & indirect)
    # The device was given the address of the table that the driver keeps.
    physical, status = kernel.memory.translate(tables[rows])
    same = (status == 0) & (physical == every["addr"].filled(0).astype(np.uint64)[rows])
    kernel.lost("tables of descriptors of virtio devices are not where the device was told", mask=~same)
    rows = rows[same]
    found = [_of_tables(kernel, tables[rows], every["len"][rows], of[rows])]
    # What a chain passes is its own alone: one that meets another, or itself, is damage.
    passed = np.zeros(len(of), dtype=bool)
    row, met, more = np.flatnonzero(used), 0, flags.has(_NEXT).true & following.valid
    while len(row):
        met += int(passed[row].sum())
        row = np.unique(row[~passed[row]])
        passed[row] = True
        going = row[more[row]]
        ahead = following.values[going]
        row = (base[of[going]] + ahead)[ahead < count[of[going]]]
    if met:
        kernel.lost(
            f"descriptors of virtio devices: {met:,} links lead to what was met before, and were not followed"
        )
    rows = np.flatnonzero(passed)
    found.append(_written(every[rows], ~indirect[rows], of[rows]))
    start, length, whose = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return start, length, whose


def _of_tables(kernel: Kernel, tables: U64, size: Column, of: I64) -> tuple[U64, I64, I64]:
    """What tables of descriptors, which one descriptor each leads to, may be written by the device."""
    kind = kernel.find_type("struct vring_desc")
    count = np.minimum(size.int64.filled(0) // kind.size, _MOST_DESCRIPTORS)
    count = kernel.budget.counts(count, kind.size, "descriptors of virtio devices")
    whose = np.repeat(np.arange(len(tables)), count)
    index = (np.arange(len(whose)) - np.repeat(np.cumsum(count) - count, count)).astype(np.uint64)
    descriptor = StructArray(kernel, kind, tables[whose] + index * np.uint64(kind.size))
    return _written(descriptor, np.ones(len(descriptor), dtype=bool), of[whose])


def _written(descriptor: StructArray, wanted: npt.NDArray[np.bool_], of: I64) -> tuple[U64, I64, I64]:
    start, length, flags = descriptor["addr"], descriptor["len"], descriptor["flags"]
    rows = np.flatnonzero(wanted & flags.has(_WRITE).true & start.valid & length.true)
    return start.values.astype(np.uint64)[rows], length.values.astype(np.int64)[rows], of[rows]
