"""Every `struct device` of the machine, and where it lies in sysfs.

Mirrors drivers/base/core.c (device_add), drivers/base/bus.c and lib/kobject.c (kobject_get_path).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]

#: No tree of kobjects is so deep.
_DEEPEST = 64


@fact
def devices(kernel: Kernel) -> StructArray:
    """All devices that were added, in that order; last those that the list of all does not lead to any more.

    Buses and classes have many lists, which are walked side by side. From what these know the one list of all is
    followed in both directions, from all places at once: on a large machine it is thousands long, and where it is
    damaged, nearly all of it is found. Raises KernlabError where no way leads to any device.
    """
    why: list[str] = []
    with kernel.watched() as losses:
        known = _attempt(kernel, _of_subsystems, np.zeros(0, dtype=np.uint64), why)
        # A variable, and the parent of many.
        start = kernel.symbols.get("platform_bus")
        known = _once(np.concatenate([known, np.array([start] if start else [], dtype=np.uint64)]))
        if losses:
            known = _relatives(kernel, known)
        known = _attempt(kernel, _listed, known, why)
    if losses:
        known = _relatives(kernel, known)
    if not len(known):
        raise KernlabError(f"no device can be found: {'; '.join(why) or 'all lists of them are empty'}")
    return StructArray(kernel, "struct device", known)


def _attempt(kernel: Kernel, way: Callable[[Kernel, U64], U64], known: U64, why: list[str]) -> U64:
    """The devices that one way adds to those that are `known`; one that fails adds none, is told, and says `why`."""
    try:
        return way(kernel, known)
    except KernlabError as error:
        kernel.lost(f"devices: one of the ways to find them failed: {error}")
        why.append(str(error))
        return known


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


def _listed(kernel: Kernel, known: U64) -> U64:
    """… and all others on the list of all devices (devices_kset): its links are followed from each that is known."""
    what = "the list of devices"
    kset = StructArray(kernel, "struct kset", [kernel.word("devices_kset")])
    head = kset.follow("list").addresses[kset.valid]
    kind = kernel.find_type("struct device")
    offset = np.uint64(resolve(kind, "kobj.entry").hops[0])
    nodes = fresh = np.unique(np.concatenate([head, known + offset]))
    most = kernel.budget.structs(kind.size)
    following: dict[int, int] = {}
    broken: list[int] = []
    with kernel.budget.walk(what):
        while len(fresh) and len(nodes) <= most:
            forth, forth_read = kernel.words(fresh, what="")
            back, back_read = kernel.words(fresh + np.uint64(8), what="")
            forth_read &= kernel.arch.is_kernel(forth)
            broken += fresh[~forth_read].tolist()
            following.update(zip(fresh[forth_read].tolist(), forth[forth_read].tolist(), strict=True))
            near = np.unique(
                np.concatenate([forth[forth_read], back[back_read & kernel.arch.is_kernel(back)]])
            )
            fresh = near[~np.isin(near, nodes)]
            nodes = np.concatenate([nodes, fresh])
    if broken:
        kernel.lost(f"{what}: {len(broken):,} links cannot be read (the first at {broken[0]:#018x})")
    if len(fresh):
        kernel.lost(
            f"{what}: more than the {most:,} that what the file holds has room for; the walk was stopped"
        )
    ordered: dict[int, None] = {}
    at = int(head[0]) if len(head) else 0
    while (at := following.get(at, 0)) and at not in ordered:
        ordered[at] = None
    every = _once(np.concatenate([np.fromiter(ordered, np.uint64, len(ordered)), nodes]))
    return every[~np.isin(every, head)] - offset


def _of_subsystems(kernel: Kernel, known: U64) -> U64:
    """By the lists of every bus and every class."""
    heads, read = kernel.words(
        [kernel.symbol(name) for name in ("bus_kset", "class_kset")], what="lists of devices"
    )
    kset = StructArray(kernel, "struct kset", heads[read & (heads != 0)])
    _, kobject = list_entries(
        kernel,
        kset.follow("list").addresses,
        "struct kobject",
        "entry",
        what="the lists of buses and classes",
    )
    private = kobject.container("struct subsys_private", "subsys.kobj")
    of_class = private["class"].true
    at, node = list_entries(
        kernel,
        private.follow("klist_devices.k_list").addresses,
        "struct klist_node",
        "n_node",
        what="the devices of buses and classes",
    )
    found = [known]
    for mine, knot in ((~of_class, "knode_bus"), (of_class, "knode_class")):
        if not kernel.types.has_member("struct device_private", knot):
            # Linux commit 570d020012e9 ("driver core: move device->knode_class to device_private") (in v5.1).
            device = node[mine[at]].container("struct device", knot)
            found.append(device.addresses[device.valid])
            continue
        owner = node[mine[at]].container("struct device_private", knot)["device"]
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
