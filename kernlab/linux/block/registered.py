"""The devices that a class or a bus of the driver core lists, in the order in which they were registered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

#: No class or bus has a longer name.
_LONGEST_NAME = 64

#: drivers/base: the kset of all sets of a kind, and the node of a device on the list of one.
_SETS = {"class": ("class_kset", "knode_class"), "bus": ("bus_kset", "knode_bus")}


def registered(kernel: Kernel, kind: str, name: str) -> StructArray:
    """The `struct device`s of the class or bus (`kind` is one of these words) `name`; none where there is no such set.

    Mirrors drivers/base/class.c and bus.c: subsys_private.klist_devices, without the nodes that are dead (lib/klist.c).
    Raises SymbolNotFoundError where the symbol table does not say where the sets are.
    """
    sets, node = _SETS[kind]
    kset = kernel.word(sets)
    # Linux commit 570d020012e9 ("driver core: move device->knode_class to device_private") (in v5.1).
    of_device = not kernel.types.has_member("struct device_private", node)
    _, member = list_entries(kernel, [kset], "struct kobject", "entry", what=f"the {kind}es of devices")
    named = c_strings(kernel, member["name"], _LONGEST_NAME) == name
    found = member[named.true].container("struct kset", "kobj").container("struct subsys_private", "subsys")
    _, private = list_entries(
        kernel,
        found.follow("klist_devices.k_list").addresses,
        "struct device" if of_device else "struct device_private",
        f"{node}.n_node",
        what=f"the devices of the {kind} {name}",
    )
    # lib/klist.c, KNODE_DEAD.
    dead = private[f"{node}.n_klist"].has(1).true
    device = private[~dead] if of_device else private[~dead].follow("device")
    return device[device.valid & first_met(device.addresses)]


def first_met(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of uint64[n] were not among those before them: bool[n]."""
    fresh = np.zeros(len(values), dtype=bool)
    fresh[np.unique(values, return_index=True)[1]] = True
    return fresh
