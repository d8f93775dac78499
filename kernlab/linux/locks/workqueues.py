"""Who waits for work: a work item that is flushed, a whole workqueue; and the worker that does it.

Mirrors kernel/workqueue.c: insert_wq_barrier, __flush_workqueue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks, function_name
from kernlab.linux.locks.rings import heads_of
from kernlab.linux.locks.waiters import member_offset, word_at
from kernlab.util.addresses import wrapped
from kernlab.walk.lists import list_entries
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Workers:
    """All workers, rescuers too: W structs, the task and the work (0: none) of each uint64[w]; its function object[w],
    '' without work; the workqueue of that work uint64[w]; and all workqueues, Q structs with their names object[q]."""

    worker: StructArray
    task: U64
    work: U64
    function: npt.NDArray[np.object_]
    queue_of: U64
    queue: StructArray
    name: npt.NDArray[np.object_]

    def name_of(self, queue: int) -> str:
        """The name of a workqueue, '' where it is not known."""
        at = np.flatnonzero(self.queue.addresses == np.uint64(queue))
        return str(self.name[at[0]]) if len(at) else ""


@fact
def find_workers(kernel: Kernel) -> Workers:
    """Every worker of every pool, and the rescuers. What cannot be read is told."""
    _, queue = list_entries(
        kernel, [kernel.symbol("workqueues")], "struct workqueue_struct", "list", what="workqueues"
    )
    _, _, pools = idr_entries(kernel, [kernel.symbol("worker_pool_idr")], what="the idr of worker pools")
    pool = StructArray(kernel, "struct worker_pool", np.unique(pools))
    _, worker = list_entries(
        kernel, pool.follow("workers").addresses, "struct worker", "node", what="workers of pools"
    )
    rescuer = queue["rescuer"].filled(0).astype(np.uint64)
    every = StructArray(
        kernel, "struct worker", np.unique(np.concatenate([worker.addresses, rescuer[rescuer != 0]]))
    )
    function = every["current_func"].filled(0).astype(np.uint64)
    names = np.array([function_name(name) for name in kernel.symbolize(function)], dtype=object)
    names[function == 0] = ""
    texts = np.array([text or "" for text in queue["name"]], dtype=object)
    return Workers(
        every,
        every["task"].filled(0).astype(np.uint64),
        every["current_work"].filled(0).astype(np.uint64),
        names,
        every["current_pwq->wq"].filled(0).astype(np.uint64),
        queue,
        texts,
    )


def name_works(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64) -> I64:
    """Name the completions (rows of `found`) that are the end of a work item or the emptying of a workqueue, and who
    does that work; which these are."""
    try:
        workers = find_workers(kernel)
    except KernlabError as error:
        kernel.lost(f"workqueues: {error}")
        return np.zeros(0, dtype=np.int64)
    barriers = _barriers(kernel, stacks, found, rows, workers)
    flushers = _flushers(kernel, found, np.setdiff1d(rows, barriers), workers)
    return np.concatenate([barriers, flushers])


def _barriers(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64, workers: Workers) -> I64:
    """flush_work and cancel_work_sync put a work of their own behind the one they wait for: a wq_barrier."""
    done, task = (member_offset(kernel, "struct wq_barrier", name) for name in ("done", "task"))
    if done is None or task is None:
        return np.zeros(0, dtype=np.int64)
    start = found.object[rows] - np.uint64(done)
    mine = word_at(kernel, start, task) == stacks.task.addresses[found.row[rows]]
    function = member_offset(kernel, "struct wq_barrier", "work.func")
    wakes = np.uint64(kernel.symbols.get("wq_barrier_func") or 0)
    mine &= (word_at(kernel, start, function) == wakes) & (wakes != 0)
    rows, start = rows[mine], start[mine]
    if not len(rows):
        return rows
    entry = member_offset(kernel, "struct wq_barrier", "work.entry") or 0
    text = wrapped((member_offset(kernel, "struct work_struct", "func") or 0) - (
        member_offset(kernel, "struct work_struct", "entry") or 0
    ))  # fmt: skip
    scheduled = np.uint64(member_offset(kernel, "struct worker", "scheduled") or 0)
    heads_known = np.sort(workers.worker.addresses + scheduled)

    def is_work(nodes: U64) -> npt.NDArray[np.bool_]:
        return ~np.isin(nodes, heads_known) & kernel.arch.is_kernel(word_at(kernel, nodes, int(text)))

    heads, _ = heads_of(kernel, start + np.uint64(entry), is_work, "works of a worker")
    for row, head in zip(rows.tolist(), heads, strict=True):
        at = np.flatnonzero(workers.worker.addresses + scheduled == head)
        if len(at):
            one = int(at[0])
            found.holder[row] = workers.task[one]
            if not workers.task[one]:
                found.say(np.array([row]), "its worker has no thread: its works are done in softirqs")
            found.name[row] = f"the work {workers.function[one]}" if workers.function[one] else "a work"
            queue = workers.name_of(int(workers.queue_of[one]))
            if queue:
                found.name[row] += f" of workqueue {queue}"
        else:
            found.name[row] = "a work"
            found.say(np.array([row]), "no worker has begun with it")
        found.type[row] = "work"
    return rows


def _flushers(kernel: Kernel, found: Found, rows: I64, workers: Workers) -> I64:
    """flush_workqueue and destroy_workqueue: the flusher on the stack is the workqueue's first, or on its list."""
    done = member_offset(kernel, "struct wq_flusher", "done")
    if done is None or not len(rows):
        return np.zeros(0, dtype=np.int64)
    queue = workers.queue
    first = queue["first_flusher"].filled(0).astype(np.uint64)
    owner, waiting = list_entries(
        kernel,
        np.concatenate([queue.follow("flusher_queue").addresses, queue.follow("flusher_overflow").addresses]),
        "struct wq_flusher",
        "list",
        what="flushers of workqueues",
    )
    at = np.concatenate([np.arange(len(queue)), owner % max(len(queue), 1)])
    flusher = np.concatenate([first, waiting.addresses])
    known = []
    for row in rows.tolist():
        hit = at[flusher == found.object[row] - np.uint64(done)]
        if not len(hit):
            continue
        which = queue.addresses[hit[0]]
        busy = np.flatnonzero((workers.queue_of == which) & (workers.work != 0))
        found.type[row] = "work"
        found.name[row] = f"all works of workqueue {workers.name[hit[0]]}"
        if len(busy):
            found.holder[row] = workers.task[busy[0]]
            found.say(np.array([row]), f"{len(busy):,} of its works are being done")
        known.append(row)
    return np.array(known, dtype=np.int64)
