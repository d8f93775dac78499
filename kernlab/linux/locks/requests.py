"""Who waits for a disk: bios that were submitted, and the requests that they became.

Mirrors block/bio.c (submit_bio_wait), block/blk-mq-tag.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, pointed_to, word_at
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_LONGEST_NAME = 64
#: Bios of one request that are looked at: the largest requests have far fewer.
_MOST_BIOS = 1 << 12


def name_bios(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64) -> I64:
    """Name the completions (rows of `found`) that are the end of a bio: the request, tag and disk; which these are."""
    private = member_offset(kernel, "struct bio", "bi_private")
    if private is None:
        return np.zeros(0, dtype=np.int64)
    by_task = dict(zip(found.row[rows].tolist(), rows.tolist(), strict=True))
    wanted = np.array([int(found.object[by_task[row]]) for row in sorted(by_task)], dtype=np.uint64)
    tasks = np.array(sorted(by_task), dtype=np.int64)
    ends = np.uint64(
        kernel.symbols.get("submit_bio_wait_endio") or kernel.symbols.get("bio_wait_end_io") or 0
    )
    end = member_offset(kernel, "struct bio", "bi_end_io")

    def mine(row: I64, words: U64) -> npt.NDArray[np.bool_]:
        same = word_at(kernel, words, private) == wanted[np.searchsorted(tasks, row)]
        ours: npt.NDArray[np.bool_] = same & ((ends == 0) | (word_at(kernel, words, end) == ends))
        return ours

    bios = pointed_to(kernel, stacks, tasks, mine)
    if not bios:
        return np.zeros(0, dtype=np.int64)
    order = sorted(bios)
    bio = StructArray(kernel, "struct bio", np.array([bios[row] for row in order], dtype=np.uint64))
    disk, queue = _disks(bio)
    requests = _requests_of(kernel, bio.addresses, queue)
    for row, address, name in zip(order, bio.addresses.tolist(), disk, strict=True):
        where = by_task[row]
        one = requests.get(address)
        found.type[where] = "request"
        found.object[where] = one.address if one else address
        found.name[where] = f"request {one.tag} of {name}" if one else f"bio of {name}"
    return np.array([by_task[row] for row in order], dtype=np.int64)


def name_tags(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Of who waits for a tag, the place in a disk's queue for one more request: the disk.

    The queue of tags stands in the struct sbq_wait around the entry, and is part of its hardware queue's tags.
    """
    entry, queue = (member_offset(kernel, "struct sbq_wait", name) for name in ("wait", "sbq"))
    own, tags = member_offset(kernel, "struct blk_mq_tags", "__bitmap_tags"), "bitmap_tags"
    # Linux 5.16 made the queue part of its tags again; in 5.10 to 5.15 a pointer could lead to another's.
    inner = own if own is not None else member_offset(kernel, "struct blk_mq_tags", tags)
    of = member_offset(kernel, "struct blk_mq_hw_ctx", "tags")
    names = stacks.functions()
    rows = np.array(
        [
            row
            for row in np.flatnonzero((found.type == "request") & (found.at != 0)).tolist()
            if "blk_mq_get_tag" in names.get(int(found.row[row]), [])
        ],
        dtype=np.int64,
    )
    if entry is None or inner is None or of is None or not len(rows):
        return
    by_task = dict(zip(found.row[rows].tolist(), rows.tolist(), strict=True))
    tasks = np.array(sorted(by_task), dtype=np.int64)
    start = found.at[[by_task[task] for task in tasks.tolist()]] - np.uint64(entry)
    wanted = word_at(kernel, start, queue) - np.uint64(inner)

    def uses(row: I64, words: U64) -> npt.NDArray[np.bool_]:
        """A hardware queue with these tags."""
        mine: npt.NDArray[np.bool_] = word_at(kernel, words, of) == wanted[np.searchsorted(tasks, row)]
        return mine

    hardware = pointed_to(kernel, stacks, tasks, uses)
    order = sorted(hardware)
    one = StructArray(
        kernel, "struct blk_mq_hw_ctx", np.array([hardware[task] for task in order], dtype=np.uint64)
    )
    for task, where, name in zip(order, one.addresses.tolist(), _queues_disks(kernel, one), strict=True):
        found.object[by_task[task]] = where
        found.name[by_task[task]] = f"a tag of {name or 'a disk'}"


def _queues_disks(kernel: Kernel, hardware: StructArray) -> list[str | None]:
    """The names of the disks of some hardware queues, as far as they are known."""
    queue = hardware.follow("queue")
    # Linux 5.14 gave the queue a pointer to its disk; before, its directory in sysfs lay in the disk's.
    if queue.has("disk"):
        return queue.follow("disk")["disk_name"].tolist()
    name = queue["kobj.parent->name"]
    return c_strings(kernel, name.filled(0).astype(np.uint64), _LONGEST_NAME).tolist()


def _disks(bio: StructArray) -> tuple[list[str], U64]:
    """The disk's name and the request_queue of each bio."""
    # Linux 5.12 put the block device in the place of the disk and the partition's number.
    disk = bio.follow("bi_bdev").follow("bd_disk") if bio.has("bi_bdev") else bio.follow("bi_disk")
    names = [name or "a disk" for name in disk["disk_name"]]
    return names, disk["queue"].filled(0).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class _Request:
    address: int
    tag: int


def _requests_of(kernel: Kernel, bios: U64, queues: U64) -> dict[int, _Request]:
    """The request that each bio is part of, by the bio's address; of those that no driver has yet none is found."""
    result: dict[int, _Request] = {}
    try:
        request = _requests(kernel, np.unique(queues[queues != 0]))
        bio, rows = request["bio"].filled(0).astype(np.uint64), np.arange(len(request))
        wanted = set(bios.tolist())
        chain = member_offset(kernel, "struct bio", "bi_next")
        tag = request["tag"]
        for _ in range(_MOST_BIOS):
            going = bio != 0
            rows, bio = rows[going], bio[going]
            if not len(rows):
                break
            for row, address in zip(rows.tolist(), bio.tolist(), strict=True):
                if address in wanted and tag[row] is not None:
                    result.setdefault(address, _Request(int(request.addresses[row]), int(tag[row] or 0)))
            bio = word_at(kernel, bio, chain)
    except KernlabError as error:
        kernel.lost(f"requests of disks: {error}")
    return result


def _requests(kernel: Kernel, queues: U64) -> StructArray:
    """The requests in flight of some queues, by the tags of their hardware queues."""
    queue = StructArray(kernel, "struct request_queue", queues)
    sets = queue.follow("tag_set")
    count = kernel.budget.counts(sets["nr_hw_queues"].int64.filled(0), 8, "hardware queues of disks")
    first = sets["tags"].filled(0).astype(np.uint64)
    of = np.repeat(np.arange(len(queues)), count)
    step = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    pointer, _ = kernel.words(first[of] + (step * 8).astype(np.uint64), what="tags of disks")
    tags = StructArray(kernel, "struct blk_mq_tags", np.unique(pointer))
    depth = kernel.budget.counts(tags["nr_tags"].int64.filled(0), 8, "tags of disks")
    start = tags["rqs"].filled(0).astype(np.uint64)
    of = np.repeat(np.arange(len(tags)), depth)
    step = np.arange(len(of)) - np.repeat(np.cumsum(depth) - depth, depth)
    each, _ = kernel.words(start[of] + (step * 8).astype(np.uint64), what="requests of disks")
    request = StructArray(kernel, "struct request", np.unique(each[each != 0]))
    with kernel.quiet():
        busy = (request["state"] != 0).true & np.isin(request["q"].filled(0), queues)
    return request[busy]
