"""Disks that are made of something else: loop devices, device-mapper's and md's volumes, zram; disks in, columns out.

What a driver knows stands in structs of its module, whose types not every kernel has (before Linux 5.11 none): then
that is told, and missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.linux.block.arrays import Arrays, arrays
from kernlab.linux.block.disks import Disks
from kernlab.linux.files import file_names
from kernlab.linux.kernfs import names_within
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

#: The operations of each kind of disk.
_OPERATIONS = {
    "lo_fops": "loop",
    "dm_blk_dops": "dm",
    "dm_rq_blk_dops": "dm",
    "md_fops": "md",
    "zram_devops": "zram",
    "zram_wb_devops": "zram",
}
_LONGEST_NAME = 128
#: drivers/block/loop.c: Lo_unbound and those that follow.
_LOOP_STATES = ("unbound", "bound", "rundown", "deleting")
#: drivers/md/dm.h: DMF_SUSPENDED is bit 1 of mapped_device.flags.
_SUSPENDED = 1 << 1
#: Tables of volumes have few targets; of more the first are looked at.
_MOST_TARGETS = 1 << 16


@dataclass
class Volumes:
    """N such disks: `row` int64[n] in `Disks`, and `kind`; name, state, target, path str or None; offset, stored and
    used in bytes, or None; `array` by the names of `arrays.Arrays`, n each."""

    row: I64
    kind: list[str]
    name: list[str | None] = field(default_factory=list)
    state: list[str | None] = field(default_factory=list)
    target: list[str | None] = field(default_factory=list)
    path: list[str | None] = field(default_factory=list)
    offset: list[int | None] = field(default_factory=list)
    stored: list[int | None] = field(default_factory=list)
    used: list[int | None] = field(default_factory=list)
    array: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for texts in (self.name, self.state, self.target, self.path, self.offset, self.stored, self.used):
            texts.extend([None] * len(self.row))
        self.array = {word.name: [None] * len(self.row) for word in fields(Arrays)}


def volumes(kernel: Kernel, every: Disks) -> Volumes:
    """What is known of each disk that is made of something else."""
    kernel.with_modules()
    kinds = {
        address: kind
        for name, kind in _OPERATIONS.items()
        if (address := kernel.symbols.get(name)) is not None
    }
    of = [kinds.get(operations or 0) for operations in every.disk["fops"].tolist()]
    number = every.number.filled(-1).tolist()
    rows = [row for row, kind in enumerate(of) if kind is not None and number[row] == 0]
    found = Volumes(np.array(rows, dtype=np.int64), [of[row] or "" for row in rows])
    for kind, (struct, fill) in _FILL.items():
        mine = np.flatnonzero(np.array(found.kind, dtype=object) == kind)
        if not len(mine):
            continue
        if not isinstance(kernel.type_anywhere(struct), StructType):
            kernel.lost(
                f"what {len(mine):,} {kind} devices are made of is not known: this kernel's types do not say what a "
                f"{struct} is"
            )
            continue
        own = every.disk[found.row[mine]].follow("private_data", to=struct)
        fill(kernel, own, found, mine.tolist())
    return found


def members(kernel: Kernel, disk: StructArray) -> Column:
    """The disks that each is made of, by name and joined by commas, as /sys/block/NAME/slaves lists them."""
    directory = disk.follow("slave_dir").follow("sd")
    found = names_within(kernel, directory, what="what disks are made of")
    return Column.of([",".join(sorted(names)) for names in found], disk["slave_dir"].valid, "text")


def _loop(kernel: Kernel, own: StructArray, found: Volumes, rows: list[int]) -> None:
    file = own.follow("lo_backing_file")
    path, number, offset = file_names(kernel, file).where(file.valid), own["lo_state"], own["lo_offset"]
    for row, where, state, start, bound in zip(rows, path, number, offset, file.valid.tolist(), strict=True):
        known = state is not None and 0 <= state < len(_LOOP_STATES)
        found.state[row] = _LOOP_STATES[state] if known else None
        found.path[row] = where
        found.offset[row] = start if bound else None


def _device_mapper(kernel: Kernel, own: StructArray, found: Volumes, rows: list[int]) -> None:
    flags = own["flags"]
    if isinstance(kernel.type_anywhere("struct hash_cell"), StructType):
        cell = own.follow("interface_ptr", to="struct hash_cell")
        for row, name in zip(rows, c_strings(kernel, cell["name"], _LONGEST_NAME), strict=True):
            found.name[row] = name
    for row, value in zip(rows, flags, strict=True):
        found.state[row] = None if value is None else "suspended" if value & _SUSPENDED else "active"
    table = own.follow("map", to="struct dm_table")
    count = np.minimum(table["num_targets"].int64.filled(0), _MOST_TARGETS)
    kind = kernel.type_anywhere("struct dm_target")
    if not isinstance(kind, StructType):
        return
    count = kernel.budget.counts(count, kind.size, "targets of volumes")
    of = np.repeat(np.arange(len(own)), count)
    step = (np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)).astype(np.uint64)
    first = table["targets"].filled(0).astype(np.uint64)
    target = StructArray(kernel, kind, first[of] + step * np.uint64(kind.size))
    names: list[dict[str, None]] = [{} for _ in rows]
    for place, name in zip(of.tolist(), c_strings(kernel, target["type->name"], _LONGEST_NAME), strict=True):
        if name:
            names[place][name] = None
    for row, some in zip(rows, names, strict=True):
        found.target[row] = ",".join(some) or None


def _zram(kernel: Kernel, own: StructArray, found: Volumes, rows: list[int]) -> None:
    # Linux commit 001d92735701 ("zram: add recompression algorithm sysfs knob") (in v6.2).
    several = own.has("comp_algs")
    name = c_strings(kernel, own["comp_algs[0]"], _LONGEST_NAME) if several else own["compressor"].text
    size, stored, used = (
        own["disksize"],
        own["stats.pages_stored.counter"],
        own["stats.compr_data_size.counter"],
    )
    for row, compressor, disk_size, pages, bytes_ in zip(rows, name, size, stored, used, strict=True):
        found.target[row] = compressor or None
        found.state[row] = None if disk_size is None else "active" if disk_size else "unused"
        found.stored[row] = None if pages is None else pages * kernel.page_size
        found.used[row] = bytes_


def _md(kernel: Kernel, own: StructArray, found: Volumes, rows: list[int]) -> None:
    told = arrays(kernel, own)
    for name, values in found.array.items():
        for row, value in zip(rows, getattr(told, name), strict=True):
            values[row] = value
    for row, state in zip(rows, told.state, strict=True):
        found.state[row] = state


_FILL: dict[str, tuple[str, Callable[[Kernel, StructArray, Volumes, list[int]], None]]] = {
    "loop": ("struct loop_device", _loop),
    "dm": ("struct mapped_device", _device_mapper),
    "md": ("struct mddev", _md),
    "zram": ("struct zram", _zram),
}
