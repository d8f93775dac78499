"""Who uses files: descriptors, maps, folders, programs, mounts, swap areas and loop devices, with what each is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import BudgetError, KernlabError
from kernlab.linux.descriptors import descriptors, one_of_each
from kernlab.linux.files import through_mounts
from kernlab.linux.mount_options import sources
from kernlab.linux.mounts import all_mounts
from kernlab.linux.open_files import modes
from kernlab.linux.paths import paths_at, root_of_init
from kernlab.linux.super_blocks import type_names
from kernlab.linux.swap import has_swap, swap_areas
from kernlab.linux.tasks import find_tasks
from kernlab.linux.vmas import find_vmas
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# include/linux/sched.h
_PF_KTHREAD = 0x00200000


@dataclass(frozen=True, slots=True)
class Uses:
    """Uses of one kind, of equal lengths n, and the places that they are of.

    `usage` is the kind: "fd", "map", "cwd", "root", "exe", "mount", "mount point", "swap", "loop". `task` uint64[n] is
    whose each is, 0 for the kernel's own; `number` int64[n] the descriptor, -1 for none; `what` the struct
    that holds (a file, VMA, fs_struct, mount …); `detail` says more. `place` int64[n] is the row of `path`, `inode`,
    `block` (super_block) and `also` (other addresses that mean the same), of which there are m.
    """

    usage: str
    task: U64
    number: I64
    what: U64
    detail: Column
    place: I64
    path: Column
    inode: U64
    block: U64
    also: tuple[U64, ...]
    #: Of a mount that shows a part of a file system where that part lies, seen from pid 1.
    part: Column | None = None


@fact
def uses(kernel: Kernel) -> tuple[Uses, ...]:
    """All of them; a kind that cannot be found is told, by its name."""
    found: list[Uses] = []
    kinds: tuple[tuple[str, Callable[[Kernel], list[Uses]]], ...] = (
        ("descriptors", _descriptors),
        ("folders of processes", _folders),
        ("programs", _programs),
        ("maps", _maps),
        ("mounts", _mounts),
        ("swap areas", _swap),
        ("loop devices", _loops),
    )
    for name, find in kinds:
        try:
            found += find(kernel)
        except BudgetError:
            raise
        except KernlabError as error:
            kernel.lost(f"what {name} hold is not known: {error}")
    return tuple(found)


def _of_pairs(
    kernel: Kernel, usage: str, task: U64, number: I64, what: U64, detail: Column, mounts: U64, dentries: U64
) -> Uses:
    """Uses of (vfsmount, dentry) pairs, of which many are the same."""
    pair, place = np.unique(np.stack([mounts, dentries], axis=1), axis=0, return_inverse=True)
    dentry = StructArray(kernel, "struct dentry", pair[:, 1])
    inode = dentry["d_inode"].filled(0).astype(np.uint64)
    path = paths_at(kernel, pair[:, 0], pair[:, 1], dentry.valid, root_of_init(kernel))
    block = dentry["d_sb"].filled(0).astype(np.uint64)
    return Uses(
        usage, task, number, what, detail, place.reshape(-1), path, inode, block, (pair[:, 0], pair[:, 1])
    )


def _of_files(
    kernel: Kernel, usage: str, task: U64, number: I64, what: U64, detail: Column, file: StructArray
) -> Uses:
    """Uses of struct files, each of which is a place of its own."""
    unique, place = np.unique(file.addresses, return_inverse=True)
    own = StructArray(kernel, file.type, unique)
    mount, dentry = own["f_path.mnt"].filled(0), own["f_path.dentry"].filled(0)
    inode = own["f_inode"].filled(0).astype(np.uint64)
    block = StructArray(kernel, "struct inode", inode)["i_sb"].filled(0).astype(np.uint64)
    path = paths_at(kernel, mount, dentry, dentry != 0, root_of_init(kernel))
    return Uses(
        usage,
        task,
        number,
        what,
        detail,
        place.reshape(-1),
        path,
        inode,
        block,
        (unique, dentry.astype(np.uint64)),
    )


def _nothing(count: int) -> Column:
    return Column.of(np.full(count, "", dtype=object))


def _none(count: int) -> I64:
    return np.full(count, -1, dtype=np.int64)


def _descriptors(kernel: Kernel) -> list[Uses]:
    found = descriptors(kernel)
    mode = modes(found.file)
    return [_of_files(kernel, "fd", found.task, found.fd, found.file.addresses, mode, found.file)]


def _folders(kernel: Kernel) -> list[Uses]:
    """cwd and root of all programs: kernel threads, which share one, are left out."""
    task = one_of_each(find_tasks(kernel), "fs")
    task = task[~task["flags"].has(_PF_KTHREAD).true]
    own = task.follow("fs")
    return [
        _of_pairs(
            kernel,
            usage,
            task.addresses,
            _none(len(task)),
            own.addresses,
            _nothing(len(task)),
            own[f"{member}.mnt"].filled(0).astype(np.uint64),
            own[f"{member}.dentry"].filled(0).astype(np.uint64),
        )
        for usage, member in (("cwd", "pwd"), ("root", "root"))
    ]


def _programs(kernel: Kernel) -> list[Uses]:
    task = one_of_each(find_tasks(kernel), "mm")
    file = task.follow("mm").follow("exe_file")
    some = file.valid
    task, file = task[some], file[some]
    count = len(task)
    return [_of_files(kernel, "exe", task.addresses, _none(count), file.addresses, _nothing(count), file)]


def _maps(kernel: Kernel) -> list[Uses]:
    """One use of each file in each process, however many VMAs there are of it."""
    task = one_of_each(find_tasks(kernel), "mm")
    owner, vma = find_vmas(kernel, task.follow("mm"))
    pointer = vma["vm_file"]
    some = pointer.true
    owner, vma, file = owner[some], vma[some], pointer.values[some]
    pair, first, count = np.unique(
        np.stack([owner.astype(np.uint64), file], axis=1), axis=0, return_index=True, return_counts=True
    )
    start = vma["vm_start"].filled(0)[first].tolist()
    detail = [
        f"{number} {'map' if number == 1 else 'maps'}, the first at {where:#x}"
        for number, where in zip(count.tolist(), start, strict=True)
    ]
    own = task.addresses[pair[:, 0].astype(np.int64)]
    mapped = StructArray(kernel, "struct file", pair[:, 1])
    return [
        _of_files(
            kernel, "map", own, _none(len(own)), vma.addresses[first], Column.of(detail, kind="text"), mapped
        )
    ]


def _mounts(kernel: Kernel) -> list[Uses]:
    """What is mounted, by its root and its source, and where it is mounted upon."""
    mount = all_mounts(kernel).mount
    count = len(mount)
    own = mount.follow("mnt")
    root = own["mnt_root"].filled(0).astype(np.uint64)
    block = own.follow("mnt_sb")
    kind, source = type_names(kernel, block), sources(kernel, mount)
    target = paths_at(kernel, own.addresses, root, root != 0, None, places=True)
    on = Column.of("on " + target.values, target.valid)
    of = Column.of(kind.values + " " + source.values, kind.valid & source.valid)
    inode = StructArray(kernel, "struct dentry", root)["d_inode"].filled(0).astype(np.uint64)
    # Where it is mounted is a place of the file system above; its own root has no parent but itself.
    upper, point = mount["mnt_parent"].filled(0), mount["mnt_mountpoint"].filled(0).astype(np.uint64)
    upon = upper != mount.addresses
    above = _parents(kernel, mount)
    bound = block.valid & (block["s_root"] != root).true & (root != 0)
    part, _ = through_mounts(kernel, root, np.where(bound, block.addresses, np.uint64(0)), bound)
    nobody, none = np.zeros(count, dtype=np.uint64), _none(count)
    rows = np.arange(count)
    return [
        # A device is held by what is mounted from it.
        Uses("mount", nobody, none, mount.addresses, on, rows, source, inode, block.addresses, (root,), part),
        _of_pairs(
            kernel,
            "mount point",
            nobody[upon],
            none[upon],
            mount.addresses[upon],
            of[upon],
            above[upon],
            point[upon],
        ),
    ]


def _parents(kernel: Kernel, mount: StructArray) -> U64:
    """The vfsmount that each mount is mounted upon."""
    parent = mount.follow("mnt_parent")
    return np.where(parent.valid, parent.follow("mnt").addresses, np.uint64(0))


def _swap(kernel: Kernel) -> list[Uses]:
    if not has_swap(kernel):
        return []
    area = swap_areas(kernel)
    file = area.follow("swap_file")
    count = len(area)
    return [
        _of_files(
            kernel, "swap", np.zeros(count, np.uint64), _none(count), area.addresses, _nothing(count), file
        )
    ]


def _loops(kernel: Kernel) -> list[Uses]:
    """Loop devices and the files behind them (drivers/block/loop.c), where the driver is there and types tell of it."""
    kernel.with_modules()
    index = kernel.symbols.get("loop_index_idr")
    if index is None:
        return []
    _, number, pointer = idr_entries(kernel, np.array([index], dtype=np.uint64), what="loop devices")
    device = StructArray(kernel, "struct loop_device", pointer)
    file = device.follow("lo_backing_file")
    some = file.valid
    device, file, number = device[some], file[some], number[some]
    detail = Column.of([f"/dev/loop{one}" for one in number.tolist()], kind="text")
    nobody = np.zeros(len(device), dtype=np.uint64)
    return [_of_files(kernel, "loop", nobody, _none(len(device)), device.addresses, detail, file)]
