"""A `BlkTrace` in, how long each request waited where out: Q2C, D2C, Q2G, G2I, I2D, Q2M, M2D, Q2Q, as btt counts.

A request here is what was queued (a bio, action Q). G, I and M belong to the request whose sectors they begin in, D
and C to every request that lies inside theirs. One that was split has a G for each part, and each counts; it ends
when the next request begins at the same sector. A step that goes back in time counts as 1 ns. All this as btt has it.
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
from kernlab.traces.blktrace_names import NOTIFY, PC, categories, device_name, rwbs

if TYPE_CHECKING:
    from kernlab.traces.blktrace import BlkTrace
    from kernlab.traces.blktrace_headers import Rows

I64 = npt.NDArray[np.int64]

#: The steps, by btt's names: from one moment of a request to another.
STEPS = {
    "Q2G": ("queued", "allocated"),
    "G2I": ("allocated", "inserted"),
    "Q2M": ("queued", "merged"),
    "I2D": ("inserted", "issued"),
    "M2D": ("merged", "issued"),
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
_LONGEST = np.iinfo(np.int64).max


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
        does not tell; device, sector, bytes, rwbs, pid, comm, cpu (that queued it); q2g, g2i, q2m, i2d, m2d, g2d, d2c,
        q2c         (timedelta64[ns]). A request that was merged is completed with the one it went into.
        """
        rows, moments, _ = self._matched
        events = self._trace.rows[rows]
        columns: dict[str, Any] = {name: _timedelta(moments[name]) for name in _MOMENTS}
        columns |= {
            "device": categories(events["device"], device_name),
            "sector": events["sector"].copy(),
            "bytes": events["bytes"].astype(np.int64),
            "rwbs": categories(_rwbs_key(events), lambda key: rwbs(key & 0x7FFFFFFF, bool(key >> 31))),
            "pid": events["pid"].astype(np.int64),
            "comm": self._trace.comms(events["pid"]),
            "cpu": events["cpu"].astype(np.int64),
        }
        columns |= {
            step.lower(): _timedelta(_gap(moments[begin], moments[end]))
            for step, (begin, end) in STEPS.items()
        }
        frame = pd.DataFrame(columns, copy=False)
        frame.attrs.update(describe(None, "block requests", [*self._trace.all_problems, *self.problems]))
        self._trace.describe(frame)
        return frame

    def summary(self, by: str = "device", *, btt_names: bool = False) -> pd.DataFrame:
        """min, avg, max (timedelta64[ns]) and n of each step: `by` "device", "process", or "all".

        Processes go by their name, up to a slash (as btt has it) with `btt_names`. Steps without requests are not
        there. Q2Q is from one request to the next of the same device, process, or any.
        """
        rows, _, samples = self._matched
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
        arrivals = _arrivals(events["time"].astype(np.int64), codes)
        for step, (requests, gaps) in {"Q2Q": arrivals, **samples}.items():
            group = codes[requests]
            for number in np.unique(group).tolist():
                values = gaps[group == number]
                least, most = int(values.min()), int(values.max())
                found.append((groups.categories[number], step, least, values.mean(), most, len(values)))
        order = {step: place for place, step in enumerate(("Q2Q", *STEPS))}
        found.sort(key=lambda row: (str(row[0]), order[row[1]]))
        table = pd.DataFrame(found, columns=[by, "step", "min", "avg", "max", "n"])
        for column in ("min", "avg", "max"):
            table[column] = pd.to_timedelta(
                table[column].astype(np.float64).round().astype(np.int64), unit="ns"
            )
        table = table.astype({by: "str", "step": "str", "n": np.int64})
        table.attrs.update(describe(None, "block latencies", [*self._trace.all_problems, *self.problems]))
        self._trace.describe(table)
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
    def _matched(self) -> tuple[I64, dict[str, I64], dict[str, tuple[I64, I64]]]:
        """(rows of the requests' Q events, moments of each in ns or `_NONE`, (request, ns) of each step taken)."""
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
            # Of a damaged record it may be any 64 bits.
            picked["time"].astype(np.int64).tolist(),
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
        samples = {
            step: (np.array(requests, dtype=np.int64), np.array(gaps, dtype=np.int64))
            for step, (requests, gaps) in found.samples.items()
        }
        return rows[queue], moments, samples


class _Matcher:
    """Which event belongs to which request: the requests that wait, per device, by their first sector."""

    def __init__(self, events: int):
        self.queue: list[int] = []
        self.moments: tuple[list[int], ...] = ([], [], [], [], [], [])
        self.samples: dict[str, tuple[list[int], list[int]]] = {step: ([], []) for step in STEPS}
        self.untracked = 0
        self._budget = _MOST_COVERED * (events + 1024)

    def run(
        self,
        acts: Sequence[int],
        devices: Sequence[int],
        starts: Sequence[int],
        stops: Sequence[int],
        times: Sequence[int],
    ) -> None:
        """Go through the events in their order; each by action, device, first sector, sector after the last, time."""
        waiting: dict[int, _Waiting] = {}
        lot = None
        last_device = -1
        events = zip(acts, devices, starts, stops, times, strict=True)
        for event, (act, device, start, stop, time) in enumerate(events):
            if device != last_device or lot is None:
                last_device = device
                lot = waiting.get(device)
                if lot is None:
                    if act != _Q:
                        continue
                    lot = waiting[device] = _Waiting()
            if act == _Q:
                self._begin(lot, event, start, stop, time)
            elif act in (_D, _C):
                inside = lot.inside(start, stop)
                self._budget -= len(inside)
                if self._budget < 0:
                    self.untracked += len(inside)
                elif act == _D:
                    self._issue(inside, time)
                else:
                    self._complete(inside, time)
                    lot.drop(inside, start, stop)
            else:
                request = lot.at(start)
                if request >= 0:
                    self._pass(act, request, time)

    def _begin(self, lot: _Waiting, event: int, start: int, stop: int, time: int) -> None:
        request = len(self.queue)
        if not lot.add(request, start, stop):
            self.untracked += 1
            return
        self.queue.append(event)
        self.moments[0].append(time)
        for moment in self.moments[1:]:
            moment.append(_NONE)

    def _pass(self, act: int, request: int, time: int) -> None:
        queued, allocated, inserted, merged, _, _ = self.moments
        if act == _G:
            allocated[request] = time
            self._took("Q2G", request, queued[request], time)
        elif act == _I:
            inserted[request] = time
            self._took("G2I", request, allocated[request], time)
        else:
            merged[request] = time
            self._took("Q2M", request, queued[request], time)

    def _issue(self, requests: Sequence[int], time: int) -> None:
        _, allocated, inserted, merged, issued, _ = self.moments
        for request in requests:
            if inserted[request] != _NONE:
                self._took("I2D", request, inserted[request], time)
            else:
                self._took("M2D", request, merged[request], time)
            self._took("G2D", request, allocated[request], time)
            issued[request] = time

    def _complete(self, requests: Sequence[int], time: int) -> None:
        queued, _, _, _, issued, completed = self.moments
        for request in requests:
            completed[request] = time
            self._took("Q2C", request, queued[request], time)
            self._took("D2C", request, issued[request], time)

    def _took(self, step: str, request: int, since: int, time: int) -> None:
        if since != _NONE:
            requests, gaps = self.samples[step]
            requests.append(request)
            gaps.append(min(time - since, _LONGEST) if time > since else 1)


class _Waiting:
    """The requests of one device that wait, ascending by their first sector, each of which only one has."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._requests: list[int] = []

    def add(self, request: int, start: int, stop: int) -> bool:
        """Put a request in its place, or in that of one which begins alike; False where too many wait."""
        place = bisect_left(self._starts, start)
        if place < len(self._starts) and self._starts[place] == start:
            self._stops[place], self._requests[place] = stop, request
            return True
        if len(self._starts) >= _MOST_WAITING:
            return False
        self._starts.insert(place, start)
        self._stops.insert(place, stop)
        self._requests.insert(place, request)
        return True

    def at(self, sector: int) -> int:
        """The request that a sector lies in, -1 where there is none."""
        place = bisect_right(self._starts, sector) - 1
        return self._requests[place] if place >= 0 and sector < self._stops[place] else -1

    def inside(self, start: int, stop: int) -> list[int]:
        """The requests that lie in [start, stop) with all their sectors."""
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, stop, lo=first)
        return [self._requests[place] for place in range(first, last) if self._stops[place] <= stop]

    def drop(self, requests: list[int], start: int, stop: int) -> None:
        """Take these out, which `inside` found."""
        if not requests:
            return
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, stop, lo=first)
        kept = [place for place in range(first, last) if self._stops[place] > stop]
        for column in (self._starts, self._stops, self._requests):
            column[first:last] = [column[place] for place in kept]


def _rwbs_key(events: Rows) -> npt.NDArray[np.uint32]:
    """Categories, and in bit 31 (which is none) whether there are bytes."""
    category = (events["action"] >> np.uint32(16)).astype(np.uint32) & np.uint32(0x7FFFFFFF)
    return np.asarray(category | (events["bytes"] != 0).astype(np.uint32) << np.uint32(31))


def _gap(begin: I64, end: I64) -> I64:
    """Nanoseconds between two moments, at least 1."""
    known = (begin != _NONE) & (end != _NONE)
    gap = np.full(len(begin), _NONE, dtype=np.int64)
    gap[known] = np.maximum(end[known] - begin[known], 1)
    return gap


def _arrivals(times: I64, codes: I64) -> tuple[I64, I64]:
    """(request, nanoseconds since the request before of the same group), at least 1."""
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    return order[1:][same], np.maximum(np.diff(times[order])[same], 1)


def _timedelta(values: I64) -> npt.NDArray[np.timedelta64]:
    # NaT is the smallest int64, which is _NONE.
    return values.view("timedelta64[ns]")
