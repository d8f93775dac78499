"""Whose each rss_stat event is: events that name an mm by a number in, the process whose memory it was out.

An event says whether the mm was that of the thread which ran (`curr`). That tells most; the rest (a fork that fills the
child's, reclaim, the end of a process) follows from the events around it and from the mms that live in the dump.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.replay.end_state import Processes
from kernlab.replay.recording import Recording

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: include/uapi/linux/sched.h.
_CLONE_THREAD = 0x10000


class Leaders:
    """Thread ids to process ids: of the dump, and of threads that the trace saw begin."""

    def __init__(self, end: Processes, recording: Recording):
        known = dict(zip(end.threads.tolist(), end.leaders.tolist(), strict=True))
        born = recording.events("task_newtask", "pid", "clone_flags")
        threads = born.fields["clone_flags"].astype(np.int64) & _CLONE_THREAD != 0
        for parent, child in zip(
            born.pid[threads].tolist(), born.fields["pid"][threads].astype(np.int64).tolist(), strict=True
        ):
            known.setdefault(child, known.get(parent, parent))
        self._thread = np.array(sorted(known), dtype=np.int64)
        self._leader = np.array([known[thread] for thread in self._thread.tolist()], dtype=np.int64)

    def of(self, pid: I64) -> I64:
        """The process of each thread; what is not known is its own."""
        if not len(self._thread):
            return pid
        place = np.searchsorted(self._thread, pid).clip(max=len(self._thread) - 1)
        return np.where(self._thread[place] == pid, self._leader[place], pid)


def owners(end: Processes, leaders: Leaders, time: I64, pid: I64, mm_id: I64, curr: Mask) -> tuple[I64, Mask]:
    """(process of each event or -1, which events count for it now) of events in the order of time.

    What happened to an mm before its process ran in it (exec) or after it went on in another one does not count.
    """
    count = len(time)
    thread = leaders.of(pid)
    order = np.argsort(mm_id, kind="stable")
    ids, runner = mm_id[order], thread[order]
    known = np.where(curr[order], runner, -1)
    first = np.append(True, ids[1:] != ids[:-1])[:count]
    before = _carried(known, first)
    after = _carried(known[::-1], np.append(first[1:], True)[:count][::-1])[::-1]
    # Behind its last event an mm that lives in the dump is its process' there.
    live = np.argsort(end.mm_id, kind="stable")
    sorted_ids = end.mm_id[live]
    place = np.searchsorted(sorted_ids, ids).clip(max=max(len(sorted_ids) - 1, 0))
    if len(sorted_ids):
        at_end = np.where(sorted_ids[place] == ids, end.pid[live][place], -1)
        after = np.where(after < 0, at_end, after)
    owner = np.where(known >= 0, known, -1)
    open_ = owner < 0
    owner = np.where(open_ & ((before == after) | (after < 0) | (runner == before)), before, owner)
    owner = np.where((owner < 0) & (after >= 0), after, owner)
    found = np.full(count, -1, dtype=np.int64)
    found[order] = owner
    return found, _counting(time, found, mm_id, curr)


def _carried(values: I64, first: Mask) -> I64:
    """The last value that is not -1 up to each row, from the `first` of its run on."""
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(values >= 0, rows, -1))
    start = np.maximum.accumulate(np.where(first, rows, 0))
    return np.where(last >= start, values[last.clip(min=0)], -1)


def _counting(time: I64, owner: I64, mm_id: I64, curr: Mask) -> Mask:
    """Which events are of the mm that their process has at that instant."""
    rows = np.flatnonzero(owner >= 0)
    counts = np.zeros(len(owner), dtype=bool)
    # Among events of a process: the mm that it ran in last, before it ever did the first one.
    order = rows[np.lexsort((time[rows], owner[rows]))]
    first = np.append(True, owner[order][1:] != owner[order][:-1])[: len(order)]
    mm = np.where(curr[order], mm_id[order], -1)
    now = _carried(mm, first)
    ahead = _carried(mm[::-1], np.append(first[1:], True)[: len(order)][::-1])[::-1]
    now = np.where(now < 0, ahead, now)
    counts[order] = (now < 0) | (now == mm_id[order])
    return counts
