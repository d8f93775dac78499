"""Where a trace lacks events: a decoded trace in, the times between which each CPU's buffer lost some out.

The kernel notes how many were overwritten, read or refused, and marks a sub-buffer before which some are missing
(kernel/trace/ring_buffer.c, RB_MISSED_EVENTS); what a dump lacks or damage took is found by the sub-buffers' stamps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.traces.ftrace.buffers import Instance, Ring
from kernlab.traces.ftrace.load import Tally, Trace
from kernlab.traces.ftrace.pages import decode
from kernlab.traces.ftrace.source import NATIVE

I64 = npt.NDArray[np.int64]

#: ring_buffer.c, RB_MISSED_EVENTS: a bit of a sub-buffer's `commit`.
_MISSED = 1 << 31
#: A CPU's holes that are told one by one; of more the widest span is.
_MOST_HOLES = 1_000


@dataclass(frozen=True, slots=True)
class Hole:
    """Between `since` and `until` (trace clock, None: from the beginning, to the end) events of a CPU are missing.

    cpu is None where it is every CPU's."""

    cpu: int | None
    since: int | None
    until: int | None
    reason: str


def holes_of(kernel: Kernel, trace: Trace, instance: Instance) -> list[Hole]:
    """The holes of an instance's rings, in no order."""
    found: list[Hole] = []
    last = -1
    order = np.argsort(trace.ring, kind="stable")
    edges = np.searchsorted(trace.ring[order], np.arange(len(trace.rings) + 1))
    for number, (ring, tally) in enumerate(zip(trace.rings, trace.tallies, strict=True)):
        if ring.instance.address != instance.address:
            continue
        # Where the clock went back within a CPU an event counts as late as the one before it.
        times = trace.time[order[edges[number] : edges[number + 1]]]
        said = np.maximum.accumulate(times[times < np.uint64(1 << 62)].astype(np.int64))
        if len(said):
            last = max(last, int(said[-1]))
        found += _of_ring(kernel, ring, tally, said)
    if instance.recording is False:
        found.append(Hole(None, None if last < 0 else last, None, "it was not recording any more"))
    return found


def _of_ring(kernel: Kernel, ring: Ring, tally: Tally, times: I64) -> list[Hole]:
    found: list[Hole] = []
    counters, cpu = ring.counters, ring.cpu
    first = int(times[0]) if len(times) else None
    if ring.damage:
        found.append(Hole(cpu, None, None, ring.damage))
    gone = {"overwritten": counters.get("overrun", 0), "taken by a reader": counters.get("read", 0)}
    why = " and ".join(f"{count:,} events before were {how}" for how, count in gone.items() if count > 0)
    if why:
        found.append(Hole(cpu, None, first, why))
    for name, how in (("dropped_events", "refused, as the buffer was full"), ("commit_overrun", "lost")):
        if counters.get(name, 0) > 0:
            since = int(times[-1]) if name == "dropped_events" and len(times) else None
            when = "" if since is not None else ", and nobody notes when"
            found.append(Hole(cpu, since, None, f"{counters[name]:,} events were {how}{when}"))
    inside = _between_pages(kernel, ring, tally, times)
    found += inside
    if tally.missing and not inside and not ring.damage:
        found.append(
            Hole(
                cpu,
                None,
                None,
                f"its counters and its events differ by {abs(tally.missing):,}, nobody knows when",
            )
        )
    return found


def _between_pages(kernel: Kernel, ring: Ring, tally: Tally, times: I64) -> list[Hole]:
    """Sub-buffers that the dump lacks, that are damaged, or before which the kernel says that events are missing."""
    if not len(ring.pages):
        return []
    headers, status = kernel.gather(ring.pages, NATIVE.header, "")
    stamp = headers[:, :8].copy().view("<u8")[:, 0]
    commit = headers[:, 8:12].copy().view("<u4")[:, 0]
    absent = status != 0
    reasons: dict[int, str] = dict.fromkeys(np.flatnonzero(absent).tolist(), "the dump lacks a sub-buffer")
    marked = ~absent & (commit & np.uint32(_MISSED) != 0)
    reasons |= dict.fromkeys(np.flatnonzero(marked).tolist(), "the kernel marks that events are missing")
    if tally.damaged:
        data, status = kernel.gather(ring.pages, ring.subbuf_size, "")
        wrong = np.flatnonzero((decode(data).damage >= 0) & (status == 0))
        reasons |= dict.fromkeys(wrong.tolist(), "the rest of a sub-buffer is damaged")
    places = sorted(reasons)
    if len(places) > _MOST_HOLES:
        reasons = {
            places[0]: f"{len(places):,} sub-buffers are damaged or missing",
            places[-1]: reasons[places[-1]],
        }
        places = sorted(reasons)
    return [
        Hole(ring.cpu, *_around(place, bool(marked[place]), stamp, absent, times), reasons[place])
        for place in places
    ]


def _around(
    place: int, before: bool, stamp: npt.NDArray[np.uint64], absent: npt.NDArray[np.bool_], times: I64
) -> tuple[int | None, int | None]:
    """Between which times the events of a sub-buffer lie, or those `before` it."""
    later = np.flatnonzero(~absent[place if before else place + 1 :])
    until = int(stamp[(place if before else place + 1) + int(later[0])]) if len(later) else None
    if until is not None and until >= 1 << 62:
        until = None
    known = times if until is None else times[: np.searchsorted(times, until)]
    return (int(known[-1]) if len(known) else None), until
