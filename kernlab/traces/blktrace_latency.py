"""A `BlkTrace` in, how long each request waited where out: Q2C, D2C, Q2G, G2I, I2D, Q2M, Q2Q, as btt counts them.

A request here is what was queued (a bio, action Q). G, I and M belong to the request whose sectors they begin in, D
and C to every request that lies inside theirs. A step that goes back in time counts as 1 ns, as in btt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.frames import describe
from kernlab.traces.blktrace_names import NOTIFY, PC, categories, device_name

if TYPE_CHECKING:
    from kernlab.traces.blktrace import BlkTrace

I64 = npt.NDArray[np.int64]

#: The steps, by btt's names: from one moment of a request to another.
STEPS = {
    "Q2G": ("queued", "allocated"),
    "G2I": ("allocated", "inserted"),
    "Q2M": ("queued", "merged"),
    "I2D": ("inserted", "issued"),
    "D2C": ("issued", "completed"),
    "Q2C": ("queued", "completed"),
    # Not btt's: with blk-mq and no scheduler nothing is ever inserted.
    "G2D": ("allocated", "issued"),
}
_MOMENTS = ("queued", "allocated", "inserted", "merged", "issued", "completed")

_Q, _M, _F, _G, _D, _C, _I = 1, 2, 3, 4, 7, 8, 12

#: Requests of one device that are waiting at a time: more means that completions were lost.
_MOST_WAITING = 1 << 16
#: Requests that all issues and completions together may cover, per event: a bound for damaged extents.
_MOST_COVERED = 32

_NONE = np.iinfo(np.int64).min


class Latencies:
    """How long the requests of a trace waited.

    `requests` is one row per request with its moments and steps; `summary` what btt prints of them, per device,
    process or for all; `depth` how many requests a device worked on.
    """

    def __init__(self, trace: BlkTrace):
        self._trace = trace
        self.problems: list[str] = []

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row per request, in the order of time.

        queued, allocated (G), inserted (I), merged (M, F), issued (D), completed (C): since boot, NaT where the trace
        does not tell; device, sector, bytes, rwbs, pid, comm, cpu (that queued it); q2g, g2i, q2m, i2d, g2d, d2c, q2c
        (timedelta64[ns]). A request that was merged is completed with the one it went into.
        """
        rows, moments, gaps = self._matched
        events = self._trace.rows[rows]
        columns: dict[str, Any] = {name: _timedelta(moments[name]) for name in _MOMENTS}
        columns |= {
            "device": categories(events["device"], device_name),
            "sector": events["sector"].copy(),
            "bytes": events["bytes"].astype(np.int64),
            "rwbs": self._trace.rwbs_of(rows),
            "pid": events["pid"].astype(np.int64),
            "comm": self._trace.comms(events["pid"]),
            "cpu": events["cpu"].astype(np.int64),
        }
        columns |= {step.lower(): _timedelta(gaps[step]) for step in STEPS}
        frame = pd.DataFrame(columns, copy=False)
        frame.attrs.update(describe(None, "block requests", [*self._trace.problems, *self.problems]))
        frame.attrs["source"] = self._trace.source
        return frame

    def summary(self, by: str = "device", *, btt_names: bool = False) -> pd.DataFrame:
        """min, avg, max (timedelta64[ns]) and n of each step: `by` "device", "process", or "all".

        Processes go by their name, up to a slash (as btt has it) with `btt_names`. Steps without requests are not
        there. Q2Q is from one request to the next of the same device, process, or any.
        """
        rows, _, gaps = self._matched
        events = self._trace.rows[rows]
        if by == "device":
            groups: Any = categories(events["device"], device_name)
        elif by == "process":
            names = pd.Series(self._trace.comms(events["pid"]), dtype="str")
            # What the trace does not name goes by its pid.
            unnamed = pd.Series(events["pid"].astype(np.int64)).map(lambda pid: f"pid{pid:09d}")
            names = names.fillna(unnamed)
            if btt_names:
                names = names.str.split("/").str[0].mask(events["pid"] == 0, "kernel")
            groups = pd.Categorical(names)
        elif by == "all":
            groups = pd.Categorical.from_codes(
                np.zeros(len(rows), dtype=np.int8), categories=pd.Index(["all"])
            )
        else:
            raise KernlabError(f"by is 'device', 'process' or 'all', not {by!r}")
        found = []
        codes = np.asarray(groups.codes, dtype=np.int64)
        steps = {"Q2Q": _arrivals(events["time"].astype(np.int64), codes), **gaps}
        for number, name in enumerate(groups.categories):
            mine = codes == number
            for step, gap in steps.items():
                values = gap[mine & (gap != _NONE)]
                if len(values):
                    found.append(
                        (name, step, int(values.min()), values.mean(), int(values.max()), len(values))
                    )
        found.sort(key=lambda row: str(row[0]))
        table = pd.DataFrame(found, columns=[by, "step", "min", "avg", "max", "n"])
        for column in ("min", "avg", "max"):
            table[column] = pd.to_timedelta(
                table[column].astype(np.float64).round().astype(np.int64), unit="ns"
            )
        table = table.astype({by: "str", "step": "str", "n": np.int64})
        table.attrs.update(describe(None, "block latencies", [*self._trace.problems, *self.problems]))
        table.attrs["source"] = self._trace.source
        return table

    def depth(self, device: str | None = None) -> pd.DataFrame:
        """Requests that a device (or all) was working on, issued and not yet completed: timestamp, depth per change.

        Counts D and C as iowatcher does, but begins at what must have been under way for the count never to be below 0.
        """
        trace = self._trace
        plain = (trace.category & np.uint32(NOTIFY | PC)) == 0
        change = np.where(trace.act == _D, 1, np.where(trace.act == _C, -1, 0)).astype(np.int64)
        change[~plain | (trace.rows["bytes"] == 0)] = 0
        if device is not None:
            numbers = pd.unique(trace.rows["device"])
            change[~np.isin(trace.rows["device"], [n for n in numbers if device_name(int(n)) == device])] = 0
        rows = np.flatnonzero(change)
        count = np.cumsum(change[rows])
        if len(count):
            count -= min(int(count.min()), 0)
        return pd.DataFrame(
            {"timestamp": _timedelta(trace.rows["time"][rows].astype(np.int64)), "depth": count}
        )

    @cached_property
    def _matched(self) -> tuple[I64, dict[str, I64], dict[str, I64]]:
        """(rows of the requests' Q events, moments in ns, steps in ns); `_NONE` where there is none."""
        trace = self._trace
        plain = (trace.category & np.uint32(NOTIFY | PC)) == 0
        wanted = np.isin(trace.act, (_Q, _M, _F, _G, _D, _C, _I)) & plain & (trace.rows["bytes"] != 0)
        rows = np.flatnonzero(wanted)
        picked = trace.rows[rows]
        start = picked["sector"].astype(np.uint64)
        stop = start + (picked["bytes"] >> np.uint32(9)).astype(np.uint64)
        found = _Matcher(len(rows))
        found.run(
            trace.act[rows].tolist(),
            picked["device"].tolist(),
            start.tolist(),
            stop.tolist(),
            picked["time"].tolist(),
        )
        if found.untracked:
            self.problems.append(
                f"{found.untracked:,} requests are not followed: too many never end, as if events were dropped"
            )
        queue = np.array(found.queue, dtype=np.int64)
        moments = {
            name: np.array(values, dtype=np.int64)
            for name, values in zip(_MOMENTS, found.moments, strict=True)
        }
        gaps = {step: _gap(moments[begin], moments[end]) for step, (begin, end) in STEPS.items()}
        return rows[queue], moments, gaps


class _Matcher:
    """Which event belongs to which request: the requests that wait, per device, by their first sector."""

    def __init__(self, events: int):
        self.queue: list[int] = []
        self.moments: tuple[list[int], ...] = ([], [], [], [], [], [])
        self.untracked = 0
        self._budget = _MOST_COVERED * (events + 1024)

    def run(
        self, acts: Sequence[int], devices: Sequence[int], starts: Sequence[int], stops: Sequence[int],
        times: Sequence[int],
    ) -> None:  # fmt: skip
        """Go through the events in their order; each by action, device, first sector, sector after the last, time."""
        waiting: dict[int, tuple[list[int], list[int], dict[int, int]]] = {}
        queued, allocated, inserted, merged, issued, completed = self.moments
        of_one = {_G: allocated, _I: inserted, _M: merged, _F: merged}
        for event, (act, device, start, stop, time) in enumerate(
            zip(acts, devices, starts, stops, times, strict=True)
        ):
            lot = waiting.get(device)
            if lot is None:
                if act != _Q:
                    continue
                lot = waiting[device] = ([], [], {})
            sectors, requests, ends = lot
            if act == _Q:
                place = bisect_left(sectors, start)
                # A second request for the same sector is not followed while the first one waits; nor does btt.
                if place < len(sectors) and sectors[place] == start:
                    continue
                if len(sectors) >= _MOST_WAITING:
                    self.untracked += 1
                    continue
                sectors.insert(place, start)
                requests.insert(place, len(queued))
                ends[len(queued)] = stop
                self.queue.append(event)
                queued.append(time)
                for moment in (allocated, inserted, merged, issued, completed):
                    moment.append(_NONE)
                continue
            if act in of_one:
                place = bisect_right(sectors, start) - 1
                if place >= 0 and ends[requests[place]] > start:
                    of_one[act][requests[place]] = time
                continue
            first, last = bisect_left(sectors, start), bisect_left(sectors, stop)
            self._budget -= last - first
            if self._budget < 0:
                self.untracked += last - first
                continue
            inside = [place for place in range(first, last) if ends[requests[place]] <= stop]
            if act == _D:
                for place in inside:
                    issued[requests[place]] = time
            elif len(inside) == last - first:
                for request in requests[first:last]:
                    completed[request] = time
                    del ends[request]
                del sectors[first:last], requests[first:last]
            else:
                for place in reversed(inside):
                    completed[requests[place]] = time
                    del ends[requests[place]], sectors[place], requests[place]


def _gap(begin: I64, end: I64) -> I64:
    """Nanoseconds between two moments, at least 1."""
    known = (begin != _NONE) & (end != _NONE)
    gap = np.full(len(begin), _NONE, dtype=np.int64)
    gap[known] = np.maximum(end[known] - begin[known], 1)
    return gap


def _arrivals(times: I64, codes: I64) -> I64:
    """Nanoseconds since the request before of the same group, at least 1."""
    order = np.argsort(codes, kind="stable")
    gap = np.full(len(times), _NONE, dtype=np.int64)
    same = codes[order][1:] == codes[order][:-1]
    gap[order[1:]] = np.where(same, np.maximum(np.diff(times[order]), 1), _NONE)
    return gap


def _timedelta(values: I64) -> npt.NDArray[np.timedelta64]:
    # NaT is the smallest int64, which is _NONE.
    return values.view("timedelta64[ns]")
