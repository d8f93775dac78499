"""What descriptors of no file say in /proc/PID/fdinfo: counters, timers, what is watched, what a pipe holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.lists import list_nodes
from kernlab.walk.rbtree import rbtree_entries

I64 = npt.NDArray[np.int64]

#: Of an epoll no more descriptors are named; how many there are is said.
_MOST_NAMED = 1_000


def details(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    """A text of each struct file of a kind that has something to say, '' of the others; missing where it is not known.

    `inode` are the files' own. Mirrors the show_fdinfo of fs/eventfd.c, fs/eventpoll.c, fs/timerfd.c, fs/signalfd.c,
    fs/notify/fdinfo.c and kernel/fork.c (fs/pidfs.c), in fewer words.
    """
    operations = file["f_op"]
    values, valid = np.full(len(file), "", dtype=object), operations.valid.copy()
    for symbol, tell in _TELLERS.items():
        address = kernel.symbols.get(symbol)
        if address is None:
            continue
        rows = np.flatnonzero((operations == address).true)
        # Descriptors that share a file say the same.
        _, first, of = np.unique(file.addresses[rows], return_index=True, return_inverse=True)
        if len(rows):
            own = rows[first]
            text = tell(kernel, file[own], inode[own])[of]
            values[rows], valid[rows] = text.values, text.valid
    return Column.of(values, valid)


def _numbered(pattern: str, *columns: Column) -> Column:
    """A text of each row's numbers; missing where one is."""
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return Column.texts([None if None in row else pattern.format(*row) for row in rows])


def _eventfd(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    context = file.follow("private_data", to="struct eventfd_ctx")
    return _numbered("count {}", context["count"])


def _epoll(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    poll = file.follow("private_data", to="struct eventpoll")
    known = np.flatnonzero(poll.valid)
    root = poll[known].follow("rbr.rb_root").addresses
    owner, item = rbtree_entries(kernel, root, "struct epitem", "rbn", what="what epolls watch")
    watched: list[list[int]] = [[] for _ in range(len(poll))]
    for row, number in zip(known[owner].tolist(), item["ffd.fd"].tolist(), strict=True):
        if number is not None:
            watched[row].append(number)
    texts = [
        f"watches {','.join(map(str, sorted(numbers)[:_MOST_NAMED])) or 'nothing'}"
        + (f" and {len(numbers) - _MOST_NAMED:,} more" if len(numbers) > _MOST_NAMED else "")
        for numbers in watched
    ]
    return Column.of(texts, poll.valid, "text")


def _timerfd(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    context = file.follow("private_data", to="struct timerfd_ctx")
    return _numbered(
        "clock {}, {} ticks, every {} ns", context["clockid"], context["ticks"], context["tintv"]
    )


def _signalfd(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    context = file.follow("private_data", to="struct signalfd_ctx")
    # The mask that is kept is of what is not taken (fs/signalfd.c, signotset).
    return _numbered("mask {:016x}", ~context["sigmask.sig[0]"])


def _inotify(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    group = file.follow("private_data", to="struct fsnotify_group")
    known = np.flatnonzero(group.valid)
    owner, _ = list_nodes(kernel, group[known].follow("marks_list").addresses, what="what inotify watches")
    watches = np.bincount(known[owner], minlength=len(group))
    return _numbered("{} watches, {} events", Column.of(watches, group.valid), group["q_len"])


def _pidfd(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    # Linux commit cb12fd8e0dab ("pidfd: add pidfs") (in v6.9) put the process behind the inode.
    own = kernel.symbols.get("pidfs_dname") is not None
    pid = inode.follow("i_private", to="struct pid") if own else file.follow("private_data", to="struct pid")
    kind = kernel.types.enumerator("PIDTYPE_PID")
    number = pid["numbers[0].nr"]
    gone = ~pid[f"tasks[{kind}].first"].true & pid.valid
    return _numbered("pid {}", Column.of(np.where(gone, -1, number.filled(0)), number.valid))


def _pipe(kernel: Kernel, file: StructArray, inode: StructArray) -> Column:
    pipe = file.follow("private_data", to="struct pipe_inode_info")
    head, tail, size = pipe["head"], pipe["tail"], pipe["ring_size"]
    # Both count up for ever, in 32 bits; more than the ring has is damage.
    apart = (head.filled(0).astype(np.int64) - tail.filled(0).astype(np.int64)) & 0xFFFFFFFF
    known = head.valid & tail.valid & size.valid & (apart <= size.filled(0).astype(np.int64))
    used = kernel.budget.counts(np.where(known, apart, 0), 8, "buffers of pipes")
    owner = np.repeat(np.arange(len(pipe)), used)
    place = (
        np.arange(len(owner))
        - np.repeat(np.cumsum(used) - used, used)
        + tail.filled(0).astype(np.int64)[owner]
    )
    step = kernel.find_type("struct pipe_buffer").size
    slot = place % np.maximum(size.filled(1).astype(np.int64), 1)[owner]
    address = pipe["bufs"].filled(0)[owner] + (slot * step).astype(np.uint64)
    length = StructArray(kernel, "struct pipe_buffer", address, pipe["bufs"].true[owner])["len"]
    held = length.added_by(owner, len(pipe)).where(known)
    return _numbered("{} bytes, {} readers, {} writers", held, pipe["readers"], pipe["writers"])


_Teller = Callable[[Kernel, StructArray, StructArray], Column]

#: By whose operations it has.
_TELLERS: dict[str, _Teller] = {
    "eventfd_fops": _eventfd,
    "eventpoll_fops": _epoll,
    "timerfd_fops": _timerfd,
    "signalfd_fops": _signalfd,
    "inotify_fops": _inotify,
    "pidfd_fops": _pidfd,
    "pidfs_file_operations": _pidfd,
    "pipefifo_fops": _pipe,
}
