"""The hardware behind disks: nvme's controllers and SCSI's devices; structs in, columns out."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import EnumType, StructType
from kernlab.linux.block.disks import Disks
from kernlab.linux.block.registered import registered
from kernlab.walk.strings import sized_strings

I64 = npt.NDArray[np.int64]

#: A page of vital product data begins with its number and length (SPC-4, 7.8).
_PAGE_HEADER, _LONGEST_SERIAL = 4, 255

#: What sysfs calls some states otherwise than their enumerators (drivers/scsi/scsi_sysfs.c, drivers/nvme/host/sysfs.c).
_OTHERWISE = {
    "del": "deleted",
    "block": "blocked",
    "created-block": "created-blocked",
    "deleting noio": "deleting (no IO)",
}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the device behind each of N disks and partitions says that it is, all text."""

    vendor: Column
    model: Column
    serial: Column
    firmware: Column
    state: Column


@fact
def controllers(kernel: Kernel) -> StructArray:
    """The `struct nvme_ctrl`s of the class "nvme", in the order in which they were found.

    None where the kernel has no nvme; told where its types do not say what one is. Mirrors drivers/nvme/host/core.c.
    """
    kernel.with_modules()
    device = registered(kernel, "class", "nvme")
    if not isinstance(kernel.type_anywhere("struct nvme_ctrl"), StructType):
        if len(device):
            kernel.lost(
                f"what {len(device):,} nvme controllers are is not known: this kernel's types do not say what a "
                "struct nvme_ctrl is"
            )
        return device[:0]
    return device.container("struct nvme_ctrl", "ctrl_device")


def hardware(kernel: Kernel, every: Disks) -> Hardware:
    """Maker, model, serial number, firmware and state of what nvme and SCSI disks are on; missing of all others."""
    kernel.with_modules()
    texts: list[list[str | None]] = [[None] * len(every) for _ in fields(Hardware)]
    for names, struct, where, told in (
        # Before Linux 5.11 nvme_fops.
        (("nvme_bdev_ops", "nvme_fops"), "struct nvme_ns", "disk", _of_namespaces),
        (("nvme_ns_head_ops",), "struct nvme_ns_head", "disk", _of_heads),
        (("sd_fops", "sr_bdops"), "struct scsi_device", "queue", _of_scsi),
    ):
        rows = _with(kernel, every, names)
        if not len(rows):
            continue
        if not isinstance(kernel.type_anywhere(struct), StructType):
            kernel.lost(
                f"the hardware behind {len(rows):,} disks and partitions is not known: this kernel's types do not say "
                f"what a {struct} is"
            )
            continue
        # The private data of SCSI's disks is their upper driver's, that of their queues is the device.
        owner = every.disk[rows]
        private = owner["queue->queuedata"] if where == "queue" else owner["private_data"]
        own = StructArray(kernel, struct, private.filled(0).astype(np.uint64), private.valid)
        parts = told(kernel, own)
        for values, word in zip(texts, fields(Hardware), strict=True):
            for row, value in zip(rows.tolist(), getattr(parts, word.name), strict=True):
                values[row] = value
    return Hardware(*(Column.texts(values) for values in texts))


def state_words(kernel: Kernel, states: Column, enum: str, prefix: str, blank: str = " ") -> Column:
    """The names of numbers of an enum as sysfs prints them: without prefix, in small letters, `blank` for "_"."""
    kind = kernel.type_anywhere(enum)
    words: dict[int, str] = {}
    if isinstance(kind, EnumType):
        for word, number in kind.enumerators.items():
            words.setdefault(int(number), word.removeprefix(prefix).lower().replace("_", blank))
    words = {number: _OTHERWISE.get(word, word) for number, word in words.items()}
    return Column.texts(
        [None if number is None else words.get(number, str(number)) for number in states.int64]
    )


def identity(subsystem: StructArray) -> tuple[Column, Column, Column]:
    """Model, serial number and firmware of `struct nvme_subsystem`s, without the blanks that fill them."""
    return (
        _stripped(subsystem["model"].text),
        _stripped(subsystem["serial"].text),
        _stripped(subsystem["firmware_rev"].text),
    )


def _of_namespaces(kernel: Kernel, own: StructArray) -> Hardware:
    controller = own.follow("ctrl")
    model, serial, firmware = identity(controller.follow("subsys"))
    state = state_words(kernel, controller["state"], "enum nvme_ctrl_state", "NVME_CTRL_")
    return Hardware(Column.missing(len(own)), model, serial, firmware, state)


def _of_heads(kernel: Kernel, own: StructArray) -> Hardware:
    """Of several paths there is no one state; the table `nvme` has that of each."""
    model, serial, firmware = identity(own.follow("subsys"))
    return Hardware(Column.missing(len(own)), model, serial, firmware, Column.missing(len(own)))


def _of_scsi(kernel: Kernel, own: StructArray) -> Hardware:
    vendor, model, firmware = (
        _sized(kernel, own[name], size) for name, size in (("vendor", 8), ("model", 16), ("rev", 4))
    )
    state = state_words(kernel, own["sdev_state"], "enum scsi_device_state", "SDEV_", "-")
    page = own.follow("vpd_pg80")
    begin = resolve(page.type, "data").hops[-1] + _PAGE_HEADER
    size = (page["len"].int64 - _PAGE_HEADER).clip(0, _LONGEST_SERIAL)
    text = Column.of(page.addresses + np.uint64(begin), page.valid & size.true)
    return Hardware(vendor, model, _sized(kernel, text, size.filled(0)), firmware, state)


def _sized(kernel: Kernel, pointer: Column, size: int | npt.NDArray[np.int64]) -> Column:
    """Text of known length, without the blanks that fill it: at pointers, or a part of the struct (Linux 7.x)."""
    if pointer.kind == "text":
        return _stripped(pointer)
    values, valid = np.full(len(pointer), "", dtype=object), np.zeros(len(pointer), dtype=bool)
    rows = np.flatnonzero(pointer.true)
    sizes = np.broadcast_to(size, len(pointer))[rows]
    found = sized_strings(
        kernel,
        pointer.values[rows].astype(np.uint64),
        sizes,
        _LONGEST_SERIAL,
        "what SCSI devices say of themselves",
    )
    values[rows], valid[rows] = found.values, found.valid
    return _stripped(Column.of(values, valid, "text"))


def _stripped(texts: Column) -> Column:
    """Without the blanks around it; missing where nothing else is left."""
    values = np.array([text.strip(" \0") for text in texts.values.tolist()], dtype=object)
    return Column.of(values, texts.valid & (values != ""), "text")


def _with(kernel: Kernel, every: Disks, operations: tuple[str, ...]) -> I64:
    """The rows of disks and partitions with these operations."""
    known = [address for name in operations if (address := kernel.symbols.get(name)) is not None]
    return np.flatnonzero(every.disk["fops"].true & np.isin(every.disk["fops"].filled(0), known))
