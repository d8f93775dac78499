"""Headers of blktrace records in, what the kernel's own numbering says of them out, per device and CPU.

Each CPU numbers the events of each device's trace from 1 on (kernel/trace/blktrace.c, `blk_trace.sequence`), so a
number that is left out is an event that is missing. Notes (of processes, of the time, messages) are not numbered, and
what stands in their place is left of older bytes of the buffer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.traces.blktrace.names import NOTIFY

#: Damaged records may claim to be of as many devices and CPUs as there are records: no more than this are counted.
MOST_RUNS = 1 << 14
#: No kernel has more CPUs (NR_CPUS).
MOST_CPUS = 8192

#: (device as the kernel's dev_t, CPU).
Key = tuple[int, int]


@dataclass(slots=True)
class Run:
    """The numbers that one CPU gave to the events of one device, in the order in which they lie.

    `lost` numbers are left out; `since` is the time (ns) of the last event before the first of these gaps, `until` that
    of the first event after the last one.
    """

    first: int
    last: int
    last_time: int
    lost: int = 0
    since: int | None = None
    until: int | None = None


def is_note(action: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which records are notes (of a process, of the time, messages), by `action`."""
    return np.asarray((action & np.uint32(NOTIFY << 16)) != 0)


def count(runs: dict[Key, Run], rows: npt.NDArray[Any], notes: npt.NDArray[np.bool_]) -> None:
    """Go on counting in `runs` with some headers, which follow those that were counted before."""
    if notes.any():
        rows = rows[~notes]
    if not len(rows):
        return
    device, cpu = rows["device"], rows["cpu"]
    if (device == device[0]).all() and (cpu == cpu[0]).all():
        _follow(runs, (int(device[0]), int(cpu[0])), rows["sequence"], rows["time"])
        return
    keys = device.astype(np.uint64) << np.uint64(32) | cpu.astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    edges = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    for start, stop in zip(edges.tolist(), [*edges[1:].tolist(), len(rows)], strict=True):
        number, time = rows["sequence"][start:stop], rows["time"][start:stop]
        _follow(runs, (int(rows["device"][start]), int(rows["cpu"][start])), number, time)


def _follow(
    runs: dict[Key, Run], key: Key, numbers: npt.NDArray[np.uint32], times: npt.NDArray[np.uint64]
) -> None:
    run = runs.get(key)
    if run is None:
        if len(runs) >= MOST_RUNS:
            return
        first = int(numbers[0])
        run = runs[key] = Run(first, first - 1, int(times[0]))
    steps = np.diff(numbers.astype(np.int64), prepend=run.last)
    gaps = np.flatnonzero(steps > 1)
    if len(gaps):
        run.lost += int((steps[gaps] - 1).sum())
        if run.since is None:
            run.since = int(times[gaps[0] - 1]) if gaps[0] else run.last_time
        run.until = int(times[gaps[-1]])
    run.last, run.last_time = int(numbers[-1]), int(times[-1])


def together(streams: Iterable[dict[Key, Run]]) -> dict[Key, Run]:
    """The runs of several streams; what of one CPU lies in two of them is two runs, whose losses add up."""
    found: dict[Key, Run] = {}
    for runs in streams:
        for key, run in runs.items():
            known = found.get(key)
            if known is None:
                found[key] = Run(run.first, run.last, run.last_time, run.lost, run.since, run.until)
                continue
            known.lost += run.lost
            known.since = min((t for t in (known.since, run.since) if t is not None), default=None)
            known.until = max((t for t in (known.until, run.until) if t is not None), default=None)
            if run.last_time >= known.last_time:
                known.last, known.last_time = run.last, run.last_time
            known.first = min(known.first, run.first)
    return found
