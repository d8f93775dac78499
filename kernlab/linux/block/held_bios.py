"""Bios that are no request's: what a limit holds back, what a thread has still to submit, what a volume keeps for
later, and those that wait for others to end. Each is a way that leads to them; what drivers keep beside is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.linux.block.bios import bios_of_requests, chained
from kernlab.linux.block.disks import disks
from kernlab.linux.tasks import find_tasks
from kernlab.walk.lists import list_entries
from kernlab.walk.rbtree import rbtree_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_NOTHING: U64 = np.zeros(0, dtype=np.uint64)
#: Control groups and volumes upon volumes nest no deeper.
_DEEPEST = 32

#: Who ends a bio, and how it leads to the one that it was made for: the type of what bi_private points to ('' for that
#: bio itself) and the member there; of "struct dm_target_io" the bio is a part.
_ABOVE = {
    "bio_chain_endio": ("", ""),
    "clone_endio": ("struct dm_target_io", "io->orig_bio"),
    "md_end_clone_io": ("struct md_io_clone", "orig_bio"),
    "md_end_io_acct": ("struct md_io_acct", "orig_bio"),
    "raid1_end_read_request": ("struct r1bio", "master_bio"),
    "raid1_end_write_request": ("struct r1bio", "master_bio"),
    "raid10_end_read_request": ("struct r10bio", "master_bio"),
    "raid10_end_write_request": ("struct r10bio", "master_bio"),
}
_PART_OF = {"struct dm_target_io": "clone"}


@dataclass(frozen=True, slots=True)
class HeldBios:
    """Bios in use that are no request's, each once: the structs, where each is (str[n]), and the task_struct of the
    thread that has it (uint64[n], 0 for none)."""

    bio: StructArray
    state: npt.NDArray[np.object_]
    task: U64


@fact
def held_bios(kernel: Kernel) -> HeldBios:
    """All bios that one of these ways leads to: "throttled", "submitting", "suspended", "waiting"."""
    found: list[tuple[U64, str, U64]] = []
    for state, find in (("throttled", _throttled), ("submitting", _submitting), ("suspended", _suspended)):
        try:
            bio, task = find(kernel)
        except KernlabError as error:
            kernel.lost(f"bios that are no request's ({state}) are not known: {error}")
            continue
        found.append((bio, state, task))
    _, own = bios_of_requests(kernel)
    below = np.concatenate([own.addresses, *(bio for bio, _, _ in found)])
    waiting = _above(kernel, below)
    found.append((waiting, "waiting", np.zeros(len(waiting), dtype=np.uint64)))
    address = np.concatenate([bio for bio, _, _ in found])
    states = np.concatenate([np.full(len(bio), state, dtype=object) for bio, state, _ in found])
    task = np.concatenate([task for _, _, task in found])
    _, first = np.unique(address, return_index=True)
    first = np.sort(first[~np.isin(address[first], own.addresses)])
    return HeldBios(StructArray(kernel, "struct bio", address[first]), states[first], task[first])


def _throttled(kernel: Kernel) -> tuple[U64, U64]:
    """What limits of control groups hold back (block/blk-throttle.c): queues in a tree that is that of the groups."""
    queue = disks(kernel).queue
    if not queue.has("td") or kernel.types.get("struct throtl_grp") is None:
        return _NOTHING, _NOTHING
    data = queue.follow("td")
    service = data[data.valid].follow("service_queue")
    service = service[np.unique(service.addresses, return_index=True)[1]]
    seen, found = service.addresses, [_NOTHING]
    for _ in range(_DEEPEST):
        if not len(service):
            break
        _, node = list_entries(
            kernel,
            service.elements("queued")[1].addresses,
            "struct throtl_qnode",
            "node",
            what="bios that limits hold back",
        )
        # Linux 6.16 gave each kind of limit a list of its own.
        lists = [name for name in ("bios", "bios_bps", "bios_iops") if node.has(f"{name}.head")]
        found += [_from_list(kernel, node[f"{name}.head"].filled(0).astype(np.uint64)) for name in lists]
        # A rb_root_cached; in kernels of 4.19 a plain tree.
        cached = service.has("pending_tree.rb_root")
        roots = service.follow("pending_tree.rb_root" if cached else "pending_tree").addresses
        _, group = rbtree_entries(kernel, roots, "struct throtl_grp", "rb_node", what="groups with limits")
        service = group.follow("service_queue")
        service = service[~np.isin(service.addresses, seen)]
        seen = np.concatenate([seen, service.addresses])
    bio = np.unique(np.concatenate(found))
    return bio, np.zeros(len(bio), dtype=np.uint64)


def _submitting(kernel: Kernel) -> tuple[U64, U64]:
    """What threads have still to submit, as another gave rise to it (block/blk-core.c, bio_list_on_stack)."""
    task = find_tasks(kernel)
    pointer = task["bio_list"]
    rows = np.flatnonzero(pointer.true)
    size = np.uint64(kernel.find_type("struct bio_list").size)
    heads = pointer.values[rows].astype(np.uint64)[:, None] + np.array([0, 1], dtype=np.uint64) * size
    first, _ = kernel.words(heads.reshape(-1), what="lists of bios to submit")
    owner, bio = chained(kernel, first, "bios that threads have still to submit")
    return bio.addresses, task.addresses[rows[owner // 2]]


def _suspended(kernel: Kernel) -> tuple[U64, U64]:
    """What device-mapper's volumes keep until they are resumed (drivers/md/dm.c, queue_io)."""
    every = disks(kernel)
    mine = every.disk["fops"].filled(0) == (kernel.symbols.get("dm_blk_dops") or 1)
    device = np.unique(every.disk["private_data"].filled(0)[mine & (every.number == 0).true]).astype(
        np.uint64
    )
    kind = kernel.type_anywhere("struct mapped_device")
    if not len(device) or not isinstance(kind, StructType):
        if len(device):
            kernel.lost(
                "bios that suspended volumes keep are not known: this kernel's types do not say what a mapped_device is"
            )
        return _NOTHING, _NOTHING
    first = StructArray(kernel, kind, device)["deferred.head"].filled(0).astype(np.uint64)
    bio = _from_list(kernel, first)
    return bio, np.zeros(len(bio), dtype=np.uint64)


def _from_list(kernel: Kernel, first: U64) -> U64:
    _, bio = chained(kernel, first, "bios that are held back")
    return bio.addresses


def _above(kernel: Kernel, bios: U64) -> U64:
    """The bios that some wait for, and those that these wait for, and so on: a volume's, a whole of which these are
    parts. Who ends a bio says what it was made for."""
    kernel.with_modules()
    ends = {address: way for name, way in _ABOVE.items() if (address := kernel.symbols.get(name)) is not None}
    known, found, unknown = bios, [_NOTHING], set()
    for _ in range(_DEEPEST):
        if not len(bios) or not ends:
            break
        bio = StructArray(kernel, "struct bio", bios)
        end, private = bio["bi_end_io"].filled(0), bio["bi_private"].filled(0).astype(np.uint64)
        fresh = [_NOTHING]
        for address, (kind, path) in ends.items():
            rows = np.flatnonzero(end == np.uint64(address))
            if not len(rows):
                continue
            if not kind:
                fresh.append(private[rows])
            elif not isinstance(kernel.type_anywhere(kind), StructType):
                unknown.add(kind)
            else:
                whole = (
                    container(kernel, kind, _PART_OF[kind], bios[rows])
                    if kind in _PART_OF
                    else StructArray(kernel, kind, private[rows])
                )
                fresh.append(whole[path].filled(0).astype(np.uint64))
        bios = np.setdiff1d(np.concatenate(fresh), np.append(known, np.uint64(0)))
        known = np.concatenate([known, bios])
        found.append(bios)
    for kind in sorted(unknown):
        kernel.lost(
            f"what bios of a volume wait for is not known: this kernel's types do not say what a {kind} is"
        )
    return np.concatenate(found)
