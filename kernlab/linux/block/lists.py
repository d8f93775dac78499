"""Where requests wait that no driver has: the lists of queues, CPUs and threads; queues in, addresses out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.tasks import find_tasks
from kernlab.walk.cpus import percpu_many, possible_cpus
from kernlab.walk.lists import chain_nodes, list_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_NOTHING: U64 = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Plugged:
    """Requests that threads keep back while they submit more: each and its thread's task_struct, uint64[n]."""

    request: U64
    task: U64


@fact
def plugged(kernel: Kernel) -> Plugged:
    """What lies in the plugs of all threads (include/linux/blkdev.h, struct blk_plug)."""
    task = find_tasks(kernel)
    if not task.has("plug"):
        return Plugged(_NOTHING, _NOTHING)
    plug = task.follow("plug")
    rows = np.flatnonzero(plug.valid)
    plug = plug[rows]
    if not plug.has("mq_list.next"):
        # Linux commit bc490f81731e ("block: change plugging to use a singly linked list") (in v5.16), and
        # a3396b99990d ("block: add a rq_list type") (in v6.13).
        first = plug["mq_list.head"] if plug.has("mq_list.head") else plug["mq_list"]
        link = resolve(kernel.find_type("struct request"), "rq_next").hops[-1]
        owner, request = chain_nodes(kernel, first.filled(0), what="the requests in plugs", link=link)
        return Plugged(request, task.addresses[rows[owner]])
    owner, entry = list_entries(
        kernel,
        plug.follow("mq_list").addresses,
        "struct request",
        "queuelist",
        what="the requests in plugs",
    )
    return Plugged(entry.addresses, task.addresses[rows[owner]])


def on_lists(kernel: Kernel, queue: StructArray, hardware: StructArray) -> dict[str, U64]:
    """The requests on the lists of some queues and their hardware queues, by what it means to be there.

    "requeued" (request_queue.requeue_list and flush_list), "dispatch" (blk_mq_hw_ctx.dispatch: the driver was busy),
    "queued" (a CPU's software queue), "flush" (waits for the disk's cache to be flushed, before or after its data).
    """
    requeued = [queue.follow(name).addresses for name in ("requeue_list", "flush_list") if queue.has(name)]
    flush = hardware.follow("fq")
    flush = flush[np.unique(flush.addresses, return_index=True)[1]]
    flush = flush[flush.valid]
    heads = [flush.elements("flush_queue")[1].addresses]
    # Linux 6.6 made a number of this list, and has the requests in the flush queues on the usual member.
    if flush.has("flush_data_in_flight.next"):
        heads.append(flush.follow("flush_data_in_flight").addresses)
    link = "flush.list" if StructArray(kernel, "struct request", _NOTHING).has("flush.list") else "queuelist"
    return {
        "requeued": _listed(kernel, requeued, "queuelist", "requests to be issued again"),
        "dispatch": _listed(
            kernel, [hardware.follow("dispatch").addresses], "queuelist", "requests to be dispatched"
        ),
        "queued": _listed(kernel, [_software(kernel, queue)], "queuelist", "the CPUs' queues of requests"),
        "flush": _listed(kernel, heads, link, "requests that wait for a flush"),
    }


def _listed(kernel: Kernel, heads: list[U64], member: str, what: str) -> U64:
    every = np.concatenate([_NOTHING, *heads])
    _, entry = list_entries(kernel, every[every != 0], "struct request", member, what=what)
    return entry.addresses


def _software(kernel: Kernel, queue: StructArray) -> U64:
    """The heads of the lists of each CPU's software queue (struct blk_mq_ctx) of each queue."""
    pointer = queue["queue_ctx"]
    each = percpu_many(kernel, pointer.values[pointer.true].astype(np.uint64), possible_cpus(kernel))
    context = StructArray(kernel, "struct blk_mq_ctx", each.reshape(-1))
    # Linux commit c16d6b5a9f47 ("blk-mq: fix dispatch from sw queue") (in v5.0) made a list for each kind of queue.
    if not context.has("rq_lists"):
        return context.follow("rq_list").addresses
    return context.elements("rq_lists")[1].addresses
