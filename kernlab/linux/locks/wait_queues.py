"""Wait queues: what has a wait_queue_entry of its own on its stack; by the function that wakes it, and where it sleeps.

Mirrors include/linux/wait.h, kernel/sched/wait.c, mm/filemap.c, kernel/locking/percpu-rwsem.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.files import mapping_paths
from kernlab.linux.locks.completions import old_completions
from kernlab.linux.locks.found import UNKNOWN, Found
from kernlab.linux.locks.live_stacks import LiveStacks, function_name
from kernlab.linux.locks.rings import heads_of, linked
from kernlab.linux.locks.waiters import (
    Candidates,
    first_offset,
    member_offset,
    named_on_stacks,
    pointed_to,
    word_at,
)
from kernlab.util.addresses import wrapped

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Of page.mapping: the rest of it is no address_space (PAGE_MAPPING_ANON, FOLIO_MAPPING_ANON).
_ANONYMOUS = 1
_ENTRY, _HEAD = "struct wait_queue_entry", "struct wait_queue_head"
_PERCPU = "struct percpu_rw_semaphore"
#: What a wait on a queue is called by the function that shall wake it.
_BY_WAKER = {
    "wake_page_function": "folio",
    "percpu_rwsem_wake_function": "percpu_rwsem",
    "child_wait_callback": "child",
    "wake_bit_function": "bit",
    "var_wake_function": "bit",
    "rq_qos_wake_function": "request",
    "io_wake_function": "io_uring",
    "aio_complete_callback": "aio",
}
#: … and else by the function that sleeps on it: the first of these on the stack, from the innermost on.
_BY_SLEEPER = (
    ("ep_poll", "epoll"), ("do_epoll_wait", "epoll"), ("pipe_", "pipe"), ("anon_pipe_", "pipe"), ("fifo_open", "pipe"),
    ("wait_for_partner", "pipe"), ("blk_mq_get_tag", "request"), ("blk_queue_enter", "request"),
    ("__bio_queue_enter", "request"), ("blk_mq_freeze_queue", "request"), ("jbd2_", "jbd2"), ("kjournald2", "jbd2"),
    ("add_transaction_credits", "jbd2"), ("wait_transaction_locked", "jbd2"), ("start_this_handle", "jbd2"),
    ("sk_wait_data", "socket"), ("sk_stream_wait", "socket"), ("inet_csk_accept", "socket"),
    ("inet_csk_wait_for_connect", "socket"), ("inet_wait_for_connect", "socket"), ("unix_", "socket"),
    ("__skb_wait_for_more_packets", "socket"), ("sock_alloc_send_pskb", "socket"), ("netlink_", "socket"),
    ("vsock_", "socket"), ("synchronize_rcu_expedited", "rcu"), ("do_wait", "child"), ("n_tty_read", "tty"),
    ("n_tty_write", "tty"),
)  # fmt: skip


def wait_queues(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks on a wait queue."""
    every = named_on_stacks(kernel, stacks, _ENTRY, "private")
    func, entry = member_offset(kernel, _ENTRY, "func"), member_offset(kernel, _ENTRY, "entry")
    if func is None or entry is None:
        return Found.nothing()
    waker = word_at(kernel, every.at, func)
    text = _is_text(kernel, waker)
    every, waker = every.pick(text), waker[text]
    nodes = every.at + np.uint64(entry)
    whole = linked(kernel, nodes)
    # Queued on none: it was woken, or its condition held.
    alone = word_at(kernel, nodes, 0) == nodes
    keep = whole & ~alone
    every, nodes, waker = every.pick(keep), nodes[keep], waker[keep]
    names = np.array([function_name(name) for name in kernel.symbolize(waker)], dtype=object)
    heads = _heads(kernel, nodes, func, entry)
    found = Found.alike(every.row, every.at, "wait_queue", heads)
    sleepers = stacks.functions()
    for where, row in enumerate(every.row.tolist()):
        found.type[where] = _BY_WAKER.get(names[where]) or by_sleeper(sleepers.get(row, [])) or "wait_queue"
    _folios(kernel, every, found)
    _bits(kernel, every, found)
    _percpu_rwsems(kernel, found)
    old_completions(kernel, stacks, found)
    return Found.of([found, _draining(kernel, stacks)])


def by_sleeper(functions: list[str]) -> str:
    """What kind of wait the functions on a stack tell of, '' where none does."""
    for name in functions:
        for prefix, kind in _BY_SLEEPER:
            if name.startswith(prefix):
                return kind
    return ""


def _is_text(kernel: Kernel, words: U64) -> Mask:
    """Which words are the beginnings of functions."""
    kernel.with_modules()
    symbol, offset, _ = kernel.lookup(words)
    code = np.isin(kernel.symbols.types[np.maximum(symbol, 0)], [ord(letter) for letter in "tTwW"])
    begins: Mask = (symbol >= 0) & (offset == 0) & code
    return begins


def _heads(kernel: Kernel, nodes: U64, func: int, entry: int) -> U64:
    """The wait_queue_head on which each entry is, 0 where it cannot be found."""
    head = member_offset(kernel, _HEAD, "head")
    if head is None or not len(nodes):
        return np.zeros(len(nodes), dtype=np.uint64)
    back = wrapped(entry - func)

    def is_entry(several: U64) -> Mask:
        # Entries have the address of a function before their list_head, a queue's head has a lock there.
        return _is_text(kernel, word_at(kernel, several - back, 0))

    ends, _ = heads_of(kernel, nodes, is_entry, "wait queues")
    return np.where(ends != 0, ends - np.uint64(head), np.uint64(0))


def _folios(kernel: Kernel, every: Candidates, found: Found) -> None:
    """Who waits for a bit of a page waits on a hashed queue: what for says the wait_page_queue around its entry."""
    offset = member_offset(kernel, "struct wait_page_queue", "wait")
    # Linux 5.16 made it a folio's.
    page = first_offset(kernel, "struct wait_page_queue", "folio", "page")
    rows = np.flatnonzero(found.type == "folio")
    if offset is not None and page is not None and len(rows):
        found.object[rows] = word_at(kernel, every.at[rows] - np.uint64(offset), page)
        _name_folios(kernel, found, rows)


def _name_folios(kernel: Kernel, found: Found, rows: I64) -> None:
    """Which page of which file each is, or that it is none's."""
    struct = "struct folio" if kernel.types.has_member("struct folio", "index") else "struct page"
    folio = StructArray(kernel, struct, found.object[rows])
    mapping, index = folio["mapping"], folio["index"]
    anonymous = mapping.has(_ANONYMOUS).true
    paths = mapping_paths(kernel, np.where(anonymous, 0, mapping.filled(0)).astype(np.uint64))
    for row, path, number, own in zip(rows.tolist(), paths, index, anonymous.tolist(), strict=True):
        if own:
            found.name[row] = "a page of a process's own memory"
        elif path and number is not None:
            found.name[row] = f"page {int(number):,} of {path}"


def _bits(kernel: Kernel, every: Candidates, found: Found) -> None:
    """Who waits for a bit, or for a variable, waits on a hashed queue, too: the word is in the key around its entry."""
    offset = member_offset(kernel, "struct wait_bit_queue_entry", "wq_entry")
    word = member_offset(kernel, "struct wait_bit_queue_entry", "key.flags")
    rows = np.flatnonzero(found.type == "bit")
    if offset is not None and word is not None and len(rows):
        found.object[rows] = word_at(kernel, every.at[rows] - np.uint64(offset), word)


def _percpu_rwsems(kernel: Kernel, found: Found) -> None:
    """A percpu_rw_semaphore's readers and writers wait on its own queue while a writer has it; who that is, it says
    only as long as the writer itself waits for the last readers (`writer`)."""
    offset, writer = (member_offset(kernel, _PERCPU, name) for name in ("waiters", "writer"))
    rows = np.flatnonzero((found.type == "percpu_rwsem") & (found.object != 0))
    if offset is not None and len(rows):
        found.object[rows] -= np.uint64(offset)
        who = word_at(kernel, found.object[rows], writer)
        found.holder[rows] = np.where(who != 0, who, UNKNOWN)
        found.say(rows[who == 0], "a percpu_rw_semaphore does not say which writer holds it")


def _draining(kernel: Kernel, stacks: LiveStacks) -> Found:
    """Writers that have a percpu_rw_semaphore, and wait until the last reader has left (its `writer`)."""
    # Linux commit 7f26482a872c ("locking/percpu-rwsem: Remove the embedded rwsem") (in v5.7).
    writer, queue, old = (
        member_offset(kernel, _PERCPU, name) for name in ("writer", "waiters.head", "rw_sem.wait_list")
    )
    queue = old if queue is None else queue
    rows = [
        row
        for row, names in stacks.functions().items()
        if stacks.asleep[row] and "percpu_down_write" in names
    ]
    if writer is None or queue is None or not rows:
        return Found.nothing()
    locks = pointed_to(
        kernel,
        stacks,
        np.array(rows, dtype=np.int64),
        # A thread's own address lies on its stack, too, with no list behind it.
        lambda row, words: (
            (word_at(kernel, words, writer) == stacks.task.addresses[row])
            & linked(kernel, words + np.uint64(queue))
        ),
    )
    row = np.array(sorted(locks), dtype=np.int64)
    where = np.array([locks[one] for one in row.tolist()], dtype=np.uint64)
    part = Found.alike(row, np.zeros(len(row), dtype=np.uint64), "percpu_rwsem", where)
    part.say(np.ones(len(row), dtype=bool), "waits for the readers to leave, of whom nothing tells")
    return part
