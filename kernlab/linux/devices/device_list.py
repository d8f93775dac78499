"""Every `struct device` of the machine, and where it lies in sysfs.

Mirrors drivers/base/core.c (device_add), drivers/base/bus.c and lib/kobject.c (kobject_get_path).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]

#: No tree of kobjects is so deep.
_DEEPEST = 64


@fact
def devices(kernel: Kernel) -> StructArray:
    """All devices that were added, in that order; last those that only their bus, class or relatives know.

    Raises KernlabError where no way leads to any.
    """
    found: list[U64] = []
    with kernel.watched() as losses:
        for way in (_all, _of_subsystems):
            try:
                found.append(way(kernel))
            except KernlabError as error:
                kernel.lost(f"devices: one of the ways to find them failed: {error}")
    every = _once(np.concatenate([*found, np.zeros(0, dtype=np.uint64)]))
    if losses:
        # A variable, and the parent of many.
        start = np.array([kernel.symbols.get("platform_bus") or 0], dtype=np.uint64)
        every = _relatives(kernel, _once(np.concatenate([every, start[start != 0]])))
    if not len(every):
        raise KernlabError("no device can be found: neither the list of all nor those of buses can be read")
    return StructArray(kernel, "struct device", every)


def _once(addresses: U64) -> U64:
    """The same addresses, each where it stands first."""
    _, first = np.unique(addresses, return_index=True)
    return addresses[np.sort(first)]


def _relatives(kernel: Kernel, known: U64) -> U64:
    """… and the parents and children of those, and so on: for lists that are damaged."""
    fresh = known
    for _ in range(_DEEPEST):
        device = StructArray(kernel, "struct device", fresh)
        with kernel.quiet():
            parent, private = device["parent"], device.follow("p")
            heads = private.follow("klist_children.k_list")
        _, node = list_entries(
            kernel,
            heads.addresses[heads.valid],
            "struct klist_node",
            "n_node",
            what="the children of devices",
        )
        child = node.container("struct device_private", "knode_parent")["device"]
        near = np.concatenate([column.values[column.true].astype(np.uint64) for column in (parent, child)])
        fresh = _once(near[~np.isin(near, known)])
        if not len(fresh):
            break
        known = np.concatenate([known, fresh])
    return known


def _all(kernel: Kernel) -> U64:
    """By devices_kset, on whose list every device is."""
    kset = StructArray(kernel, "struct kset", [kernel.word("devices_kset")])
    _, kobject = list_entries(
        kernel, kset.follow("list").addresses, "struct kobject", "entry", what="the list of devices"
    )
    return kobject.container("struct device", "kobj").addresses


def _of_subsystems(kernel: Kernel) -> U64:
    """By the lists of every bus and every class."""
    heads, _ = kernel.words(
        [kernel.symbol(name) for name in ("bus_kset", "class_kset")], what="lists of devices"
    )
    kset = StructArray(kernel, "struct kset", heads)
    _, kobject = list_entries(
        kernel,
        kset.follow("list").addresses,
        "struct kobject",
        "entry",
        what="the lists of buses and classes",
    )
    private = kobject.container("struct subsys_private", "subsys.kobj")
    of_class = private["class"].true
    found = []
    for mine, knot in ((~of_class, "knode_bus"), (of_class, "knode_class")):
        lists = private[mine].follow("klist_devices.k_list")
        _, node = list_entries(
            kernel, lists.addresses, "struct klist_node", "n_node", what="the devices of buses and classes"
        )
        owner = node.container("struct device_private", knot)["device"]
        found.append(owner.values[owner.true].astype(np.uint64))
    return np.concatenate(found)


def sysfs_paths(kernel: Kernel, kobject: StructArray) -> Column:
    """Where each kobject lies in sysfs ("/devices/pci0000:00/0000:00:01.0"); missing where a part of it is."""
    name_of: dict[int, str | None] = {}
    parent_of: dict[int, int | None] = {}
    wanted = np.unique(kobject.addresses[kobject.valid])
    for _ in range(_DEEPEST):
        if not len(wanted):
            break
        some = StructArray(kernel, "struct kobject", wanted)
        parent, name = some["parent"], c_strings(kernel, some["name"], 256)
        name_of.update(zip(wanted.tolist(), name.tolist(), strict=True))
        parent_of.update(zip(wanted.tolist(), parent.tolist(), strict=True))
        above = np.unique(parent.values[parent.true])
        wanted = above[~np.isin(above, np.fromiter(name_of, np.uint64, len(name_of)))]
    paths: dict[int, str | None] = {0: ""}
    return Column.texts(
        [
            _path(address, name_of, parent_of, paths) if there else None
            for address, there in zip(kobject.addresses.tolist(), kobject.valid.tolist(), strict=True)
        ]
    )


def _path(
    address: int, names: dict[int, str | None], parents: dict[int, int | None], known: dict[int, str | None]
) -> str | None:
    """The path of one kobject by its parents', which are put into `known`."""
    chain: list[int] = []
    at: int | None = address
    while at is not None and at not in known:
        if len(chain) == _DEEPEST or at not in names:
            at = None
            break
        chain.append(at)
        at = parents[at]
    path = None if at is None else known[at]
    for one in reversed(chain):
        name = names[one]
        path = None if path is None or name is None else f"{path}/{name}"
        known[one] = path
    return path
