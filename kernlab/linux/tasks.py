"""Where the tasks of a machine are found: the pid idr, the task and thread lists, and the task_struct slab."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.page.vmemmap import page_chunks, page_type_is
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu, possible_cpus
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]


_FAILED = "tasks: one of the ways to find them failed: "


@fact
def find_tasks(kernel: Kernel) -> StructArray:
    """Every task_struct in use, each once, in no order; what could not be followed is reported as lost.

    The three ways complete each other: the idr gives all tasks at once, the lists add those that it lost, and where
    the total is not the kernel's own count (`nr_threads`) the slab of task_structs is searched.
    Raises KernlabError where no way leads to any task.
    """
    with kernel.watched() as losses:
        idle = _attempt(kernel, _idle_tasks)
        known = np.union1d(_attempt(kernel, _by_pid), idle)
    known = np.union1d(known, np.array([kernel.symbols.get("init_task", 0)], dtype=np.uint64))
    known = known[known != 0]
    if not len(known):
        why = losses.losses[-1] if losses else "the dump lacks the pages that would lead to one"
        raise KernlabError(f"no task can be found: {why.removeprefix(_FAILED)}")
    known = _by_lists(kernel, known)
    expected = _thread_count(kernel)
    alive = len(known) - len(np.intersect1d(known, idle))
    if expected is not None and alive != expected and kernel.changes:
        # To search the slabs takes longer than threads live, and would find those that ended meanwhile.
        kernel.lost(
            f"the kernel counted {expected:,} threads (nr_threads), and {alive:,} were found: some came or went "
            "while they were read"
        )
    elif expected is not None and alive != expected:
        before = len(known)
        known = np.union1d(known, _by_slab(kernel, known))
        found = alive + len(known) - before
        if found != expected:
            kernel.lost(
                f"the kernel counted {expected:,} threads (nr_threads), but the pid idr, the task list and the "
                f"task_struct slab together give {found:,}: the dump lacks pages of the others"
            )
        else:
            kernel.lost(
                f"{len(known) - before:,} of {expected:,} threads were found only in the task_struct slab: "
                "the pid idr and the task list are damaged"
            )
    return StructArray(kernel, "struct task_struct", known)


def _attempt(kernel: Kernel, way: object) -> U64:
    assert callable(way)
    try:
        found: U64 = way(kernel)
    except KernlabError as error:
        kernel.lost(f"{_FAILED}{error}")
        return np.zeros(0, dtype=np.uint64)
    return found


def _idle_tasks(kernel: Kernel) -> U64:
    numbers = possible_cpus(kernel)
    queues = StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), numbers))
    idle = queues["idle"]
    return np.unique(idle.values[idle.true])


def _by_pid(kernel: Kernel) -> U64:
    """Tasks through the initial namespace's idr of `struct pid` (kernel/pid.c, find_task_by_pid_ns)."""
    space = StructArray(kernel, "struct pid_namespace", [kernel.symbol("init_pid_ns")])
    idr = space.follow("idr")
    _, _, entries = idr_entries(kernel, idr.addresses, what="the idr of pids")
    pids = StructArray(kernel, "struct pid", entries)
    kind = kernel.types.enumerator("PIDTYPE_PID")
    first = pids[f"tasks[{kind}].first"]
    held = first.true
    head = pids.follow(f"tasks[{kind}]").addresses[held]
    found = container(kernel, "struct task_struct", f"pid_links[{kind}]", first.values[held])
    with kernel.quiet():
        back = found[f"pid_links[{kind}].pprev"]
    # What can be read and does not point back at its struct pid is not a task; what cannot be read may be one.
    wild = (back != head).true
    if wild.any():
        kernel.lost(
            f"the idr of pids: {int(wild.sum()):,} struct pid lead to memory that is not a task's "
            f"(the first to {int(found.addresses[wild][0]):#018x})"
        )
    tasks: U64 = found.addresses[~wild]
    return tasks


def _by_lists(kernel: Kernel, known: U64) -> U64:
    """Follow the task list and the thread lists, both ways, from every known task until nothing new comes up."""
    task_type = kernel.find_type("struct task_struct")
    frontier = known
    wild: list[int] = []
    most = kernel.budget.structs(task_type.size)
    with kernel.budget.walk("the task list"):
        while len(frontier):
            tasks = StructArray(kernel, task_type, frontier)
            leader = tasks["pid"].values == tasks["tgid"].values
            heads = tasks["signal"].values + np.uint64(_offset(kernel, "struct signal_struct", "thread_head"))
            # A thread's own `tasks` node is a stale copy of its leader's: only leaders are on the task list. So is that
            # of an idle task a copy of init_task's, which alone of pid 0 is on it (kernel/fork.c, copy_process).
            leader &= (tasks["pid"].values != 0) | (
                frontier == np.uint64(kernel.symbols.get("init_task") or 0)
            )
            found = [
                _neighbours(kernel, tasks[leader], "tasks", np.zeros(0, dtype=np.uint64), wild),
                _neighbours(kernel, tasks, "thread_node", heads, wild),
            ]
            frontier = np.setdiff1d(np.concatenate(found), known)
            known = np.union1d(known, frontier)
            if len(known) > most:
                kernel.lost(
                    f"the task list: more tasks than the {most:,} that what the file holds has room for; the walk was "
                    "stopped"
                )
                break
    if wild:
        kernel.lost(
            f"the task list: {len(set(wild)):,} links lead to pages that the dump lacks or to no task "
            f"(the first to {wild[0]:#018x})"
        )
    return known


def _neighbours(kernel: Kernel, tasks: StructArray, member: str, heads: U64, wild: list[int]) -> U64:
    """The tasks next to these on a list; a neighbour that points back to none of those that name it is none."""
    found = []
    offset = np.uint64(_offset(kernel, "struct task_struct", member))
    for forward, back in (("next", "prev"), ("prev", "next")):
        link = tasks[f"{member}.{forward}"]
        mine = tasks.addresses + offset
        use = link.true & (link.values != mine) & ~np.isin(link.values, heads)
        nodes, inverse = np.unique(link.values[use], return_inverse=True)
        neighbours = container(kernel, "struct task_struct", member, nodes)
        with kernel.quiet():
            reverse = neighbours[f"{member}.{back}"]
        good = np.zeros(len(nodes), dtype=bool)
        good[inverse[(reverse[inverse] == mine[use]).true]] = True
        wild += nodes[~good].tolist()
        found.append(neighbours.addresses[good])
    return np.concatenate(found)


def _by_slab(kernel: Kernel, known: U64) -> U64:
    """task_structs in the slab cache's pages that are in use: hashed, with a sighand, and of no known pid."""
    pointer = kernel.symbols.get("task_struct_cachep")
    if pointer is None:
        return np.zeros(0, dtype=np.uint64)
    cache = kernel.words([pointer], what="")[0]
    caches = StructArray(kernel, "struct kmem_cache", cache)
    size = caches["size"][0] or 0
    if size < 64:
        kernel.lost("the task_struct slab: its kmem_cache cannot be read, so it was not searched")
        return np.zeros(0, dtype=np.uint64)
    # With red zones (slub_debug=Z, KASAN's kin) each object begins behind one.
    pad = (caches["red_left_pad"][0] if caches.has("red_left_pad") else 0) or 0
    # Linux commit d122019bf061 ("mm: Split slab into its own type") (in v5.17).
    slab = "struct slab" if kernel.types.get("struct slab") else "struct page"
    found = []
    for chunk in page_chunks(kernel):
        heads = chunk.heads()
        first = page_type_is(chunk, "slab") & (chunk.field("slab_cache", slab) == cache[0])
        pages = np.flatnonzero(first)
        frames = np.bincount(heads[first[heads]], minlength=len(heads))[pages]
        for pfn, count in zip(chunk.pfns[pages].tolist(), frames.tolist(), strict=True):
            start = wrapped(kernel.layout.direct_start + pfn * kernel.page_size + int(pad))
            found.append(
                start + np.arange(count * kernel.page_size // size, dtype=np.uint64) * np.uint64(size)
            )
    if not found:
        return np.zeros(0, dtype=np.uint64)
    task_type = kernel.find_type("struct task_struct")
    objects = StructArray(kernel, task_type, np.setdiff1d(np.concatenate(found), known))
    with kernel.quiet():
        pid, sighand = objects["pid"], objects["sighand"]
        users = objects.first("usage.refs.counter", "usage.counter")
    # release_task clears sighand, so objects that were tasks once do not count (kernel/exit.c, __exit_signal).
    used = ((pid > 0) & (sighand != 0) & (users > 0)).true
    pids = StructArray(kernel, task_type, known)["pid"]
    used &= ~np.isin(pid.values, pids.values[pids.valid])
    result: npt.NDArray[np.uint64] = objects.addresses[used]
    return result


def _thread_count(kernel: Kernel) -> int | None:
    try:
        return kernel.word("nr_threads", 4)
    except KernlabError:
        return None


def _offset(kernel: Kernel, type_name: str, member: str) -> int:
    return resolve(kernel.find_type(type_name), member).hops[0]
