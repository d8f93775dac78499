"""Devices: the kernel's model of the machine, as /sys/devices shows it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.devices.device_list import devices as find_devices
from kernlab.linux.devices.device_list import sysfs_paths
from kernlab.linux.devices.identities import ids, message_irqs, pci
from kernlab.walk.strings import c_strings

#: include/linux/kdev_t.h: MINORBITS is 20.
_MINOR_BITS = 20

#: drivers/base/power/sysfs.c, runtime_status_show.
_RUNTIME = {
    "RPM_ACTIVE": "active",
    "RPM_RESUMING": "resuming",
    "RPM_SUSPENDED": "suspended",
    "RPM_SUSPENDING": "suspending",
}


@table(rows="struct device")
def devices(kernel: Kernel) -> pd.DataFrame:
    """One row per device, in the order in which they were added.

    name, bus, driver with the module that it is in, class, type and path as below /sys. dev is major:minor, of those
    that have a node; node (NUMA) is missing where there is none. power is what runtime power management says (active,
    suspended, error, unsupported …). id is vendor:device of PCI, virtio and USB; subsystem_id, pci_class, pci_power
    (D0 …), bars and irq (the line) are PCI's; msi_irqs are the numbers of its interrupts by message, as a list, which
    `irqs` has. parent is another row's address.

    Mirrors drivers/base/core.c and drivers/pci/pci-sysfs.c.

    >>> dump.devices.query("bus == 'virtio'")[["name", "driver", "id", "path"]]
            name      driver         id                                      path
    240  virtio0  virtio_blk  1af4:0002  /devices/pci0000:00/0000:00:04.0/virtio0
    241  virtio1  virtio_blk  1af4:0002  /devices/pci0000:00/0000:00:05.0/virtio1
    >>> dump.devices.query("bus == 'pci' and msi_irqs != ''")[["name", "driver", "id", "irq", "msi_irqs"]]
                name      driver         id  irq msi_irqs
    89  0000:00:04.0  virtio-pci  1af4:1001   11    24-26
    91  0000:00:05.0  virtio-pci  1af4:1001   10    27-29

    [2 rows x 5 columns]
    """
    device = find_devices(kernel)
    bus = c_strings(kernel, device.follow("bus")["name"], 256)
    driver = device.follow("driver")
    owner = driver.follow("owner")
    kind = c_strings(kernel, device.follow("type")["name"], 256)
    its = pci(kernel, device, bus)
    node = device["numa_node"].int64 if device.has("numa_node") else Column.missing(len(device), "int")
    return frame(
        kernel,
        "devices",
        name=c_strings(kernel, device["kobj.name"], 256),
        bus=bus,
        driver=c_strings(kernel, driver["name"], 256),
        # Without CONFIG_MODULES nobody knows what a module is.
        module=owner["name"] if owner.has("name") else Column.missing(len(device)),
        **{"class": c_strings(kernel, device.follow("class")["name"], 256)},
        type=kind,
        path=sysfs_paths(kernel, device.follow("kobj")),
        dev=_numbers(device["devt"]),
        node=nullable(node.where((node >= 0).true)),
        power=_power(kernel, device),
        id=ids(kernel, device, bus, kind),
        subsystem_id=its.subsystem,
        pci_class=its.kind,
        pci_power=its.power,
        bars=its.bars,
        irq=nullable(its.irq.where((its.irq != 0).true)),
        msi_irqs=message_irqs(kernel, device),
        parent=device["parent"],
        address=device,
    )


def _numbers(dev: Column) -> Column:
    """major:minor of each device that has one."""
    return Column.texts(
        [f"{value >> _MINOR_BITS}:{value & (1 << _MINOR_BITS) - 1}" if value else None for value in dev]
    )


def _power(kernel: Kernel, device: StructArray) -> Column:
    """What runtime_status of each device says."""
    if not device.has("power.runtime_status"):
        kernel.lost("runtime power management is off in this kernel (CONFIG_PM)")
        return Column.missing(len(device))
    status, error, depth = (
        device[f"power.{name}"] for name in ("runtime_status", "runtime_error", "disable_depth")
    )
    words = np.array([_RUNTIME.get(name or "", name or "") for name in status.names()], dtype=object)
    texts = np.where((error != 0).true, "error", np.where((depth != 0).true, "unsupported", words))
    return Column.of(texts.astype(object), status.valid & error.valid & depth.valid, "text")
