"""What a device is by its bus: ids of PCI, virtio and USB, and of PCI the class, the power state, BARs and interrupts.

Mirrors include/linux/pci.h, include/linux/virtio.h, include/linux/usb.h and drivers/pci/pci-sysfs.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.devices.cpu_lists import listed
from kernlab.linux.devices.interrupts import descriptors

Mask = npt.NDArray[np.bool_]

#: Six BARs and the expansion ROM (include/linux/pci.h, PCI_ROM_RESOURCE); behind them come a bridge's windows.
_BARS = 7
# include/linux/ioport.h, IORESOURCE_*.
_IO, _MEM, _PREFETCH, _WIDE = 0x100, 0x200, 0x2000, 0x100000
#: include/linux/pci.h, pci_power_t.
_POWER = ("D0", "D1", "D2", "D3hot", "D3cold", "unknown")


@dataclass(frozen=True, slots=True)
class Pci:
    """What N devices are on the PCI bus: columns of n, missing of devices that are not there."""

    subsystem: Column
    kind: Column
    power: Column
    bars: Column
    irq: Column


def ids(kernel: Kernel, device: StructArray, bus: Column, kind: Column) -> Column:
    """ "vendor:device" in hexadecimal, as lspci and lsusb show it; missing for devices of other buses.

    `bus` and `kind` are the names of each device's bus and type.
    """
    found: list[str | None] = [None] * len(device)
    where = {
        "pci": ("struct pci_dev", "vendor", "device", bus.values == "pci"),
        "virtio": ("struct virtio_device", "id.vendor", "id.device", bus.values == "virtio"),
        # A usb_device, and not one of its interfaces.
        "usb": (
            "struct usb_device",
            "descriptor.idVendor",
            "descriptor.idProduct",
            (bus.values == "usb") & (kind.values == "usb_device"),
        ),
    }
    for struct, vendor, product, mine in where.values():
        rows = np.flatnonzero(mine & bus.valid)
        if not len(rows) or kernel.type_anywhere(struct) is None:
            continue
        own = device[rows].container(struct, "dev")
        for row, text in zip(rows.tolist(), _pairs(own[vendor], own[product]), strict=True):
            found[row] = text
    return Column.texts(found)


def pci(kernel: Kernel, device: StructArray, bus: Column) -> Pci:
    """What is known of PCI devices; `bus` is the name of each device's bus."""
    if kernel.type_anywhere("struct pci_dev") is None:
        # Without CONFIG_PCI there is no such bus.
        none = Column.missing(len(device))
        return Pci(none, none, none, none, Column.missing(len(device), "int"))
    mine = bus.valid & (bus.values == "pci")
    own = device.container("struct pci_dev", "dev")
    own = StructArray(kernel, own.type, np.where(mine, own.addresses, np.uint64(0)))
    code = own["class"]
    state = own["current_state"].int64
    known = state.valid & (state.values >= 0) & (state.values < len(_POWER))
    names = np.array(_POWER, dtype=object)[np.where(known, state.values, 0)]
    return Pci(
        Column.texts(_pairs(own["subsystem_vendor"], own["subsystem_device"])),
        Column.texts([None if value is None else f"{value:#08x}" for value in code]),
        Column.of(names, known, "text"),
        _bars(own),
        own["irq"].int64,
    )


def _pairs(first: Column, second: Column) -> list[str | None]:
    return [
        None if one is None or other is None else f"{one:04x}:{other:04x}"
        for one, other in zip(first, second, strict=True)
    ]


def _bars(device: StructArray) -> Column:
    """The BARs of each PCI device that are in use, as "0: mem 0xfd000000-0xfdffffff 64-bit prefetchable, 1: io …"."""
    texts: list[str | None] = ["" if there else None for there in device.valid.tolist()]
    for number in range(_BARS):
        start, end, flags = (device[f"resource[{number}].{name}"] for name in ("start", "end", "flags"))
        for row, (low, high, bits) in enumerate(zip(start, end, flags, strict=True)):
            before = texts[row]
            if before is None or low is None or high is None or bits is None:
                texts[row] = None
            elif bits:
                text = f"{number}: {_kind(bits)} {low:#x}-{high:#x}"
                text += " 64-bit" * bool(bits & _WIDE) + " prefetchable" * bool(bits & _PREFETCH)
                texts[row] = f"{before}, {text}" if before else text
    return Column.texts(texts)


def _kind(flags: int) -> str:
    return "io" if flags & _IO else "mem" if flags & _MEM else "other"


def message_irqs(kernel: Kernel, device: StructArray) -> Column:
    """The interrupts that each device raises by messages (MSI, MSI-X), as a list of their numbers; '' for none."""
    count = len(device)
    try:
        number, desc = descriptors(kernel)
        if not desc.has("irq_common_data.msi_desc"):
            # Without CONFIG_GENERIC_MSI_IRQ there are none.
            return Column.of(np.full(count, "", dtype=object), device.valid, "text")
        owner = desc.follow("irq_common_data.msi_desc")["dev"]
    except KernlabError as error:
        kernel.lost(f"interrupts of devices: {error}")
        return Column.missing(count)
    order = np.argsort(device.addresses)
    at = (
        order[np.searchsorted(device.addresses[order], owner.filled(0)).clip(max=count - 1)]
        if count
        else order
    )
    mine = owner.true & (device.addresses[at] == owner.filled(0)) if count else np.zeros(0, dtype=bool)
    row, irq = at[mine], number[mine]
    order = np.lexsort((irq, row))
    return Column.of(listed(row[order], irq[order], count), device.valid, "text")
