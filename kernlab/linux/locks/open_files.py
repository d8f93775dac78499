"""Queues of pipes and event counters: which one a thread waits for, by the file with which it reads or writes.

Mirrors fs/pipe.c and fs/eventfd.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.files import file_names
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, pointed_to, word_at

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: What a file's private_data are, and the queues in it.
_QUEUES = (
    ("struct pipe_inode_info", "rd_wait"),
    ("struct pipe_inode_info", "wr_wait"),
    # Linux commit 0ddad21d3e99 ("pipe: use exclusive waits when reading or writing") (in v5.6): one for both before.
    ("struct pipe_inode_info", "wait"),
    ("struct eventfd_ctx", "wqh"),
)


def name_open_files(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Of who waits on a queue of an open file's own: what the file is, named as in /proc/PID/fd."""
    queues = [member_offset(kernel, type_name, member) for type_name, member in _QUEUES]
    private = member_offset(kernel, "struct file", "private_data")
    offsets = np.array([offset for offset in queues if offset is not None], dtype=np.uint64)
    rows = np.flatnonzero(np.isin(found.type, ("pipe", "wait_queue")) & (found.object != 0))
    if not len(rows) or not len(offsets) or private is None:
        return
    by_task = dict(zip(found.row[rows].tolist(), rows.tolist(), strict=True))
    tasks = np.array(sorted(by_task), dtype=np.int64)
    queue = found.object[[by_task[task] for task in tasks.tolist()]]

    def uses(row: I64, words: U64) -> npt.NDArray[np.bool_]:
        """A file whose data have the queue at one of these places."""
        distance = queue[np.searchsorted(tasks, row)] - word_at(kernel, words, private)
        mine: npt.NDArray[np.bool_] = np.isin(distance, offsets)
        return mine

    files = pointed_to(kernel, stacks, tasks, uses)
    order = sorted(files)
    file = StructArray(kernel, "struct file", np.array([files[task] for task in order], dtype=np.uint64))
    data = file["private_data"].filled(0).astype(np.uint64)
    for task, name, address in zip(order, file_names(kernel, file), data, strict=True):
        found.object[by_task[task]] = address
        found.name[by_task[task]] = name
