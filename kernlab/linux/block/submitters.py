"""Who waits for a request or bio, as far as something tells: a plug, a wait, a direct read that is not over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.linux.block.bios import Pieces
from kernlab.linux.locks.live_stacks import live_stacks
from kernlab.linux.locks.waiting import waiting
from kernlab.linux.page.vmemmap import PageChunk, compound_heads
from kernlab.linux.tasks import find_tasks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Who ends the bios of direct reads and writes, what their bi_private is, whether somebody waits for it (a member that
#: is not 0), and who. Without a type bi_private is the task itself.
_DIRECT = (
    ("blkdev_bio_end_io_simple", "struct task_struct", "", ""),
    ("iomap_dio_bio_end_io", "struct iomap_dio", "wait_for_completion", "submit.waiter"),
    ("dio_bio_end_io", "struct dio", "", "waiter"),
)


def waiters(
    kernel: Kernel, things: list[U64], bio: StructArray, parts: Pieces, owner: I64, known: U64
) -> U64:
    """The task_struct of who waits for each of n things, 0 where nobody is known to.

    `things`: arrays uint64[n] of addresses that a wait may name, such as the requests' and their first bios'; `bio`
    all bios of these, with the thing that each is of (`owner`), and their memory (`parts`); `known` uint64[n] what is
    known.
    """
    found = known.copy()
    tasks = find_tasks(kernel).addresses
    direct = _direct(kernel, bio)
    for row, task in zip(owner.tolist(), direct.tolist(), strict=True):
        if not found[row] and task:
            found[row] = task
    try:
        waits, row_of = waiting(kernel), live_stacks(kernel).task.addresses
    except KernlabError as error:
        kernel.lost(f"who waits for requests is not known: {error}")
        return found
    task_of = dict(zip(waits.object.tolist(), row_of[waits.row].tolist(), strict=True))
    for keys in things:
        for row, key in enumerate(keys.tolist()):
            if not found[row] and key:
                found[row] = task_of.get(key, 0)
    if "folio" in waits.type.tolist():
        for row, page in zip(owner[parts.bio].tolist(), _heads(kernel, parts.page).tolist(), strict=True):
            if not found[row]:
                found[row] = task_of.get(page, 0)
    return np.where(np.isin(found, tasks), found, np.uint64(0))


def _heads(kernel: Kernel, pages: U64) -> U64:
    """The heads of the folios that some pages are of."""
    unique, of = np.unique(pages, return_inverse=True)
    size = kernel.find_type("struct page").size
    with kernel.quiet():
        rows, status = kernel.gather(unique, size, "page structs")
        links = PageChunk.of_rows(kernel, 0, rows, status == 0).links()
        heads = compound_heads(kernel, unique, links)
    return np.where(status == 0, heads, unique)[of]


def _direct(kernel: Kernel, bio: StructArray) -> U64:
    """Of each bio the task that waits for the direct read or write which it is part of, 0 for none."""
    found = np.zeros(len(bio), dtype=np.uint64)
    if not len(bio):
        return found
    end, private = bio["bi_end_io"].filled(0), bio["bi_private"].filled(0).astype(np.uint64)
    for name, kind, flag, path in _DIRECT:
        where = kernel.symbols.get(name)
        rows = np.flatnonzero(end == np.uint64(where or 1))
        if not len(rows) or not isinstance(kernel.types.get(kind), StructType):
            continue
        if not path:
            found[rows] = private[rows]
            continue
        whole = StructArray(kernel, kind, private[rows])
        if whole.has(path) and (not flag or whole.has(flag)):
            waits = whole[flag].true if flag else np.ones(len(rows), dtype=bool)
            found[rows] = np.where(waits, whole[path].filled(0).astype(np.uint64), np.uint64(0))
    return found
