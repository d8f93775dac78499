"""Requests that were not completed: the disks' queues in, every request that is in use, and where it is, out.

All requests of a queue are made with its tags, once (block/blk-mq.c, blk_mq_alloc_rqs), so that no list has to lead
there: who is in use says its reference count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.block.disks import disks
from kernlab.linux.block.lists import on_lists, plugged
from kernlab.linux.block.registered import first_met
from kernlab.walk.xarray import xarray_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_NOTHING: U64 = np.zeros(0, dtype=np.uint64)

#: enum mq_rq_state (include/linux/blk-mq.h).
_IDLE, _IN_FLIGHT, _COMPLETE = 0, 1, 2

#: include/linux/blk-mq.h, RQF_IO_STAT, which was a macro before Linux 6.10 made an enumerator of it.
_IO_STAT_BIT = 13

#: The states of `Requests.state`; each that is not the driver's is that of a list.
DRIVER, COMPLETED = "driver", "completed"
PLUGGED, SCHEDULER, DISPATCHING, ALLOCATED = "plugged", "scheduler", "dispatching", "allocated"


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in use, n of them: the structs, where each is (str[n]), and whose plug it lies in (uint64[n], 0 for
    nobody's)."""

    request: StructArray
    state: npt.NDArray[np.object_]
    task: U64

    def __len__(self) -> int:
        return len(self.request)


@fact
def hardware_queues(kernel: Kernel) -> StructArray:
    """The `struct blk_mq_hw_ctx` of all disks that have any, each once."""
    queue = _queues(kernel)
    if queue.has("hctx_table"):
        # Linux commit 4e5cc99e1e48 ("blk-mq: manage hctx map via xarray") (in v5.18); 7.0 has the array again.
        _, _, entry = xarray_entries(
            kernel, queue.follow("hctx_table").addresses, what="hardware queues of disks"
        )
        return StructArray(kernel, "struct blk_mq_hw_ctx", entry)
    pointer = queue["queue_hw_ctx"]
    each = _pointed(kernel, pointer, queue["nr_hw_queues"], "hardware queues of disks")
    return StructArray(kernel, "struct blk_mq_hw_ctx", each)


@fact
def in_use(kernel: Kernel) -> StructArray:
    """Every `struct request` of every disk that is in use."""
    queue, hardware = _queues(kernel), hardware_queues(kernel)
    pools = np.unique(np.concatenate([hardware["tags"].filled(0), hardware["sched_tags"].filled(0)]))
    tags = StructArray(kernel, "struct blk_mq_tags", pools[pools != 0].astype(np.uint64))
    made = _pointed(kernel, tags["static_rqs"], tags["nr_tags"], "requests of disks")
    flush = hardware.follow("fq")["flush_rq"]
    every = np.unique(np.concatenate([made, flush.values[flush.true].astype(np.uint64)]))
    request = StructArray(kernel, "struct request", every)
    # Linux commit 0a467d0fdd95 ("block: switch to atomic_t for request references") (in v5.16).
    count = request.first("ref.counter", "ref.refs.counter")
    queues = queue.addresses
    return request[count.true & np.isin(request["q"].filled(0), queues)]


def in_driver(request: StructArray) -> Mask:
    """Which requests a driver has, or had and has not ended: bool[n]."""
    return np.isin(request["state"].int64.filled(-1), (_IN_FLIGHT, _COMPLETE))


@fact
def requests(kernel: Kernel) -> Requests:
    """Every request of every disk that is in use, and where it is."""
    return _placed(kernel, in_use(kernel), on_lists(kernel, _queues(kernel), hardware_queues(kernel)))


def _placed(kernel: Kernel, request: StructArray, lists: dict[str, U64]) -> Requests:
    """Where each request is; those that were only put aside for what is to come are left out."""
    plug = plugged(kernel)
    number, address = request["state"].int64.filled(-1), request.addresses
    state = np.full(len(request), ALLOCATED, dtype=object)
    # An entry of no list leads to itself (block/blk-mq.c, INIT_LIST_HEAD of queuelist).
    nearby = request["queuelist.next"].filled(0)
    linked = (nearby != 0) & (nearby != request.follow("queuelist").addresses)
    managed = request["q->elevator"].true
    state[linked & managed] = SCHEDULER
    state[linked & ~managed] = DISPATCHING
    for name, found in lists.items():
        state[np.isin(address, found)] = name
    state[np.isin(address, plug.request)] = PLUGGED
    state[number == _IN_FLIGHT] = DRIVER
    state[number == _COMPLETE] = COMPLETED
    task = np.zeros(len(request), dtype=np.uint64)
    order = np.argsort(plug.request, kind="stable")
    place = np.searchsorted(plug.request[order], address)
    held = np.flatnonzero(state == PLUGGED)
    task[held] = plug.task[order[place[held]]]
    # Threads that submit much take several requests at once (blk_plug.cached_rq): these have nothing to do yet.
    spare = (state == ALLOCATED) & (request["bio"].filled(0) == 0) & ~request["__data_len"].true
    return Requests(request[~spare], state[~spare], task[~spare])


def hardware_queue_numbers(kernel: Kernel, request: StructArray) -> Column:
    """Which of its disk's hardware queues each request belongs to."""
    # Linux commit ea4f995ee8b8 ("blk-mq: cache request hardware queue mapping") (in v5.0): before, that of the CPU.
    if request.has("mq_hctx"):
        return request["mq_hctx->queue_num"]
    table, cpu = request["q->mq_map"], request["mq_ctx->cpu"].int64
    good = table.true & cpu.valid & (cpu.values >= 0) & (cpu.values < len(kernel.percpu_offsets))
    where = table.values[good].astype(np.uint64) + np.uint64(4) * cpu.values[good].astype(np.uint64)
    number = np.zeros(len(request), dtype=np.int64)
    number[good], read = kernel.words(where, 4, "which hardware queue is a CPU's")
    good[good] = read
    return Column.of(number, good)


def counted(requests: Requests) -> Mask:
    """bool[n]: which requests /sys/block/*/inflight counts (block/blk-mq.c, blk_mq_check_inflight)."""
    bit = requests.request.kernel.types.enumerator_or_none("__RQF_IO_STAT")
    flag = 1 << (_IO_STAT_BIT if bit is None else bit)
    found: Mask = (requests.state == DRIVER) & requests.request["rq_flags"].has(flag).true
    return found


def _queues(kernel: Kernel) -> StructArray:
    """The queues of disks that take requests, each once; bio-based drivers (dm, md, zram) have no use for them."""
    every = disks(kernel)
    queue = every.queue[(every.number == 0).true]
    queue = queue[queue.valid & first_met(queue.addresses)]
    return queue[queue["mq_ops"].true]


def _pointed(kernel: Kernel, array: Column, count: Column, what: str) -> U64:
    """What arrays of `count` pointers each point to, NULLs left out."""
    length = kernel.budget.counts(np.where(array.true, count.int64.filled(0), 0), 8, what)
    of = np.repeat(np.arange(len(length)), length)
    step = np.arange(len(of)) - np.repeat(np.cumsum(length) - length, length)
    where = array.filled(0).astype(np.uint64)[of] + step.astype(np.uint64) * np.uint64(8)
    pointer, read = kernel.words(where, what=what)
    found: U64 = pointer[read & (pointer != 0)]
    return found
