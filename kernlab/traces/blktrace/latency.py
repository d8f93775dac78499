"""A `BlkTrace` in, how long each request waited where out: Q2C, D2C, Q2G, G2I, I2D, Q2M, M2D, Q2Q, as btt counts.

A request here is what was queued (a bio, action Q). G, I and M belong to the request whose sectors they begin in, D
and C to every request that lies inside theirs. One that was split has a G for each part, and each counts; it ends
when the next request begins at the same sector. A step that goes back in time counts as 1 ns. All this as btt has it.

Beyond btt: what was issued and nobody queued (the trace has no Q, or began later; the device's own flushes) is a
request, too, and so is what has no bytes: flushes and zone commands.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes import describe
from kernlab.errors import KernlabError
from kernlab.traces.blktrace.losses import doubt
from kernlab.traces.blktrace.match import ACTS, MOMENTS, NONE, SIZED, STEPS, C, D, Matcher, Q
from kernlab.traces.blktrace.names import ACTIONS, FLUSH, NOTIFY, PC, WRITE, categories, device_name, rwbs
from kernlab.util import integers, losses

if TYPE_CHECKING:
    from kernlab.traces.blktrace.headers import Rows
    from kernlab.traces.blktrace.trace import BlkTrace

I64 = npt.NDArray[np.int64]

#: Requests of one device that are waiting at a time: more means that completions were lost.
_MOST_WAITING = 1 << 16


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
        does not tell; device, sector, bytes, rwbs, pid, comm, cpu (that queued it, or issued it where no Q tells);
        q2g, g2i, q2m, i2d, m2d, g2d, d2c, q2c (timedelta64[ns]). A request that was merged is completed with the one it
        went into. A flush has no bytes: one that a process asked for (rwbs "FWS") is answered by a flush of the device
        ("FN"), which is a row of its own.

        >>> requests = dump.relay.blktrace("vda/trace").latencies().requests
        >>> requests[["queued", "sector", "bytes", "q2c"]].head(2)
                             queued  sector    bytes                       q2c
        0 0 days 00:00:13.207674934   65538  1228800 0 days 00:00:00.001534480
        1 0 days 00:00:13.210247644   32886     1024 0 days 00:00:00.000364290
        """
        rows, moments, _, _ = self._matched
        events = self._trace.rows[rows]
        columns: dict[str, Any] = {name: _timedelta(moments[name]) for name in MOMENTS}
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
        return self._described(frame, "block requests", self.problems)

    def _described(self, frame: pd.DataFrame, table: str, more: list[str]) -> pd.DataFrame:
        """The table with what is missing in it, and what that makes doubtful."""
        trace = self._trace
        with losses.scope(table) as here:
            here.lost(*trace.all_problems, *more, *doubt(trace.losses))
            frame.attrs.update(describe(None, table))
        trace.describe(frame)
        return frame

    def summary(self, by: str = "device", *, btt_names: bool = False) -> pd.DataFrame:
        """min, avg, max (timedelta64[ns]) and n of each step: `by` "device", "process", or "all".

        Processes go by their name. Steps without requests are not there. Q2Q is from one request to the next of the
        same device, process, or any. With `btt_names` as btt names and counts: processes up to a slash, requests only
        that have bytes and were queued.

        >>> dump.relay.blktrace("vda/trace").latencies().summary()[["device", "step", "n"]].head(2)
          device step   n
        0  254:0  Q2Q  45
        1  254:0  Q2G  34
        """
        rows, moments, samples, sized = self._matched
        events = self._trace.rows[rows]
        queued = moments["queued"] != NONE
        counted = queued & sized if btt_names else np.ones(len(rows), dtype=bool)
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
        arrivals = _arrivals(events["time"].astype(np.int64), codes, np.flatnonzero(queued & counted))
        for step, (requests, gaps) in {"Q2Q": arrivals, **samples}.items():
            keep = counted[requests]
            requests, gaps = requests[keep], gaps[keep]
            group = codes[requests]
            for number in np.unique(group).tolist():
                values = gaps[group == number]
                mean = round(integers.total(values) / len(values))
                row = (int(values.min()), min(mean, integers.I64_RANGE[1]), int(values.max()), len(values))
                found.append((groups.categories[number], step, *row))
        order = {step: place for place, step in enumerate(("Q2Q", *STEPS))}
        found.sort(key=lambda row: (str(row[0]), order[row[1]]))
        table = pd.DataFrame(found, columns=[by, "step", "min", "avg", "max", "n"])
        for column in ("min", "avg", "max"):
            table[column] = pd.to_timedelta(table[column].astype(np.int64), unit="ns")
        table = table.astype({by: "str", "step": "str", "n": np.int64})
        return self._described(table, "block latencies", self.problems)

    def depth(self, device: str | None = None) -> pd.DataFrame:
        """Requests that a device (or all) was working on, issued and not yet completed: timestamp, depth per change.

        Counts D and C as iowatcher does, and flushes and zone commands as well, but begins at what must have been under
        way for the count never to be below 0.

        >>> dump.relay.blktrace("vda/trace").latencies().depth().head(2)
                          timestamp  depth
        0 0 days 00:00:13.207803154      1
        1 0 days 00:00:13.209209414      0
        """
        trace = self._trace
        plain = (trace.category & np.uint32(NOTIFY | PC)) == 0
        change = np.where(trace.act == D, 1, np.where(trace.act == C, -1, 0)).astype(np.int64)
        change[~plain] = 0
        without = np.flatnonzero((change != 0) & (trace.rows["bytes"] == 0))
        change[without[~_issued_once(trace, without)]] = 0
        if device is not None:
            numbers = pd.unique(trace.rows["device"])
            change[~np.isin(trace.rows["device"], [n for n in numbers if device_name(int(n)) == device])] = 0
        rows = np.flatnonzero(change)
        count = np.cumsum(change[rows])
        if len(count):
            count -= min(int(count.min()), 0)
        table = pd.DataFrame(
            {"timestamp": _timedelta(trace.rows["time"][rows].astype(np.int64)), "depth": count}
        )
        return self._described(table, "block queue depth", [])

    @cached_property
    def _matched(self) -> tuple[I64, dict[str, I64], dict[str, tuple[I64, I64]], npt.NDArray[np.bool_]]:
        """(rows of first events, moments of each request in ns or `NONE`, (request, ns) of each step, has it bytes)."""
        trace = self._trace
        plain = (trace.category & np.uint32(NOTIFY | PC)) == 0
        rows = np.flatnonzero(np.isin(trace.act, ACTS) & plain)
        picked = trace.rows[rows]
        start = picked["sector"].astype(np.uint64)
        stop = start + (picked["bytes"] >> np.uint32(9)).astype(np.uint64)
        kinds = np.where(picked["bytes"] != 0, SIZED, kinds_without(trace.category[rows]))
        found = Matcher(len(rows), _MOST_WAITING)
        found.run(
            trace.act[rows].tolist(),
            picked["device"].tolist(),
            start.tolist(),
            stop.tolist(),
            # Of a damaged record it may be any 64 bits.
            picked["time"].astype(np.int64).tolist(),
            kinds.tolist(),
        )
        if found.untracked:
            self.problems.append(
                f"{found.untracked:,} requests are not tracked: too many never complete, as if events had been dropped"
            )
        self.problems += _not_traced(trace.act[rows], picked["device"])
        first = np.array(found.first, dtype=np.int64)
        moments = {
            name: np.array(values, dtype=np.int64)
            for name, values in zip(MOMENTS, found.moments, strict=True)
        }
        samples = {
            step: (np.array(requests, dtype=np.int64), np.array(gaps, dtype=np.int64))
            for step, (requests, gaps) in found.samples.items()
        }
        return rows[first], moments, samples, np.array(found.sized, dtype=bool)


def kinds_without(category: npt.NDArray[np.uint32]) -> npt.NDArray[np.int8]:
    """What tells requests without bytes apart that begin at the same sector: flushes of the device, and all others.

    A process's request for a flush is a write (FWS) and ends as one without the flush (WS), the device's is none (FN).
    """
    flush = (category & np.uint32(FLUSH | WRITE)) == FLUSH
    return np.where(flush, 0, 1).astype(np.int8)


def _issued_once(trace: BlkTrace, rows: I64) -> npt.NDArray[np.bool_]:
    """Which events without bytes are of what the device was asked to do: some D is alike.

    The end of a request for a flush, or of a write with one around it, is another C without bytes.
    """
    alike = pd.DataFrame(
        {
            "device": trace.rows["device"][rows],
            "sector": trace.rows["sector"][rows],
            "kind": kinds_without(trace.category[rows]),
        }
    )
    number = alike.groupby(["device", "sector", "kind"], sort=False).ngroup().to_numpy()
    return np.isin(number, number[trace.act[rows] == D])


#: Which columns are missing where a trace has none of these events.
_WITHOUT = {
    Q: "queued, allocated, inserted and merged are missing, and so are the steps from them",
    D: "issued and d2c are missing",
    C: "completed, d2c and q2c are missing: what the disk answered is not known",
}


def _not_traced(act: npt.NDArray[np.uint16], device: npt.NDArray[np.uint32]) -> list[str]:
    """Which of the moments that matter a device's events do not tell at all (blktrace -a leaves them out)."""
    found = []
    for number in pd.unique(device).tolist():
        there = act[device == number]
        absent = [what for what in _WITHOUT if not (there == what).any()]
        # Of a few events, or of none but these, nothing follows.
        if len(absent) < len(_WITHOUT):
            found += [
                f"{device_name(number)}: this trace has no events {ACTIONS[what]}, so {_WITHOUT[what]}"
                for what in absent
            ]
    return found


def _rwbs_key(events: Rows) -> npt.NDArray[np.uint32]:
    """Categories, and in bit 31 (which is none) whether there are bytes."""
    category = (events["action"] >> np.uint32(16)).astype(np.uint32) & np.uint32(0x7FFFFFFF)
    return np.asarray(category | (events["bytes"] != 0).astype(np.uint32) << np.uint32(31))


def _gap(begin: I64, end: I64) -> I64:
    """Nanoseconds between two moments, at least 1."""
    known = (begin != NONE) & (end != NONE)
    gap = np.full(len(begin), NONE, dtype=np.int64)
    gap[known] = np.maximum(integers.apart(begin[known], end[known]), 1)
    return gap


def _arrivals(times: I64, codes: I64, rows: I64) -> tuple[I64, I64]:
    """Of some `rows`: (request, nanoseconds since the request before of the same group), at least 1."""
    order = rows[np.argsort(codes[rows], kind="stable")]
    same = codes[order][1:] == codes[order][:-1]
    times = times[order]
    return order[1:][same], np.maximum(integers.apart(times[:-1], times[1:])[same], 1)


def _timedelta(values: I64) -> npt.NDArray[np.timedelta64]:
    # NaT is the smallest int64, which is NONE.
    return values.view("timedelta64[ns]")
