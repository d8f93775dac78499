"""A `BlkTrace` in, how long each request waited where out: Q2C, D2C, Q2G, G2I, I2D, Q2M, M2D, Q2Q, as btt counts.

`summary` takes a request for what was queued (a bio, action Q). G, I and M belong to the request whose sectors they
begin in, D and C to every request that lies inside theirs. One that was split has a G for each part, and each counts;
it ends when the next request begins at the same sector. A step that goes back in time counts as 1 ns. All this as btt
has it. Beyond btt: what was issued and nobody queued (the trace has no Q, or began later; the device's own flushes) is
a request, too, and so is what has no bytes: flushes and zone commands.

`requests` and `depth` have what was issued and what ended it from `blktrace.issues`, as the plots and the replay do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes import describe
from kernlab.errors import KernlabError
from kernlab.traces.blktrace.issues import Issued, by_issue, credible, kinds_without, whole_from
from kernlab.traces.blktrace.losses import doubt
from kernlab.traces.blktrace.match import ACTS, MOMENTS, NONE, SIZED, STEPS, C, D, Matcher, Part, Q
from kernlab.traces.blktrace.names import ACTIONS, NOTIFY, PC, REMAP, categories, device_name, rwbs
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
        """One row per request that a process queued or a device was given, in the order of time.

        queued, allocated (G), inserted (I), merged (M, F), issued (D), completed (C): since boot, NaT where the trace
        does not tell; device, sector, bytes, rwbs, pid, comm, cpu (that queued it, or issued it where no Q tells);
        q2g, g2i, q2m, i2d, m2d, g2d, d2c, q2c (timedelta64[ns]); request: the number of what the device was given,
        from 0 on by issue, missing where it was given nothing, or
        another was issued in its place before its end was seen. What was queued and split has a row for each part.
        What was merged has a row for each that went into it: all of them have its number, and are completed with it.
        So `drop_duplicates("request")` of what has one is what the device did. A flush has no bytes: one that a process
        asked for (rwbs "FWS") is answered by a flush of the device ("FN"), which is a row of its own.

        >>> requests = dump.relay.blktrace("vda/trace").latencies().requests
        >>> requests[["queued", "sector", "bytes", "q2c"]].head(2)
                             queued  sector    bytes                       q2c
        0 0 days 00:00:13.207674934   65538  1228800 0 days 00:00:00.001534480
        1 0 days 00:00:13.210247644   32886     1024 0 days 00:00:00.000364290
        """
        rows, sectors, moments, number = self._joined
        who = self._trace.rows[rows]
        columns: dict[str, Any] = {name: _timedelta(moments[name]) for name in MOMENTS}
        columns |= {
            "device": categories(who["device"], device_name),
            "sector": sectors[0],
            "bytes": sectors[1],
            "rwbs": categories(_rwbs_key(who), lambda key: rwbs(key & 0x7FFFFFFF, bool(key >> 31))),
            "pid": who["pid"].astype(np.int64),
            "comm": self._trace.comms(who["pid"]),
            "cpu": who["cpu"].astype(np.int64),
        }
        columns |= {
            step.lower(): _timedelta(_gap(moments[begin], moments[end]))
            for step, (begin, end) in STEPS.items()
        }
        columns["request"] = pd.arrays.IntegerArray(number, number < 0)
        frame = pd.DataFrame(columns, copy=False)
        return self._described(frame, "block requests", self.problems)

    @cached_property
    def _joined(
        self,
    ) -> tuple[I64, tuple[npt.NDArray[np.uint64], I64], dict[str, I64], npt.NDArray[np.int64]]:
        """What was queued and what was issued together: (who asked, by row; (sector, bytes); moments; number)."""
        rows, issued, matched = self._steps, self._issued, self._matched
        picked = self._trace.rows[rows]
        times = np.append(picked["time"].astype(np.int64), NONE)
        numbers = np.full(len(rows) + 1, -1, dtype=np.int64)
        numbers[issued.issue] = np.arange(len(issued.issue))
        parts = np.array(matched.parts, dtype=np.int64).reshape(-1, len(Part._fields))
        parts = parts[numbers[parts[:, 0]] >= 0]
        whole, start, stop = parts[:, 1], parts[:, 2].view(np.uint64), parts[:, 3].view(np.uint64)
        number = numbers[matched.issue]
        # What was issued in parts is told by these, what nobody queued by its issue.
        kept = np.flatnonzero((number >= 0) | ~np.isin(np.arange(len(number)), whole))
        told = np.concatenate([number[kept], numbers[parts[:, 0]]])
        alone = np.setdiff1d(np.arange(len(issued.issue)), told)
        place = np.concatenate([matched.first[kept], matched.first[whole], issued.issue[alone]])
        number = np.concatenate([told, alone])
        sector, size = picked["sector"][place].astype(np.uint64), picked["bytes"][place].astype(np.int64)
        of_parts = slice(len(kept), len(told))
        sector[of_parts], size[of_parts] = start, (stop - start).view(np.int64) * 512
        unknown = np.full(len(alone), NONE, dtype=np.int64)
        own = {"queued": matched.moments["queued"][whole]}
        own |= {name: parts[:, at] for at, name in ((4, "allocated"), (5, "inserted"), (6, "merged"))}
        never = np.full(len(parts), NONE, dtype=np.int64)
        moments = {
            name: np.concatenate([values[kept], own.get(name, never), unknown])
            for name, values in matched.moments.items()
        }
        given = number >= 0
        # One that was put back is not issued; of one in whose place another was issued the end is lost.
        moments["issued"][: len(kept)][matched.issue[kept] < 0] = NONE
        moments["issued"][given] = times[issued.issue[number[given]]]
        moments["completed"][given] = times[issued.end[number[given]]]
        order = np.lexsort((number, place))
        return (
            rows[place[order]],
            (sector[order], size[order]),
            {name: values[order] for name, values in moments.items()},
            number[order],
        )

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
        matched = self._matched
        events = self._trace.rows[self._steps[matched.first]]
        queued = matched.moments["queued"] != NONE
        counted = queued & matched.sized if btt_names else np.ones(len(events), dtype=bool)
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
                np.zeros(len(events), dtype=np.int8), categories=pd.Index(["all"])
            )
        else:
            raise KernlabError(f"by is 'device', 'process' or 'all', not {by!r}")
        found = []
        codes = np.asarray(groups.codes, dtype=np.int64)
        arrivals = _arrivals(events["time"].astype(np.int64), codes, np.flatnonzero(queued & counted))
        for step, (requests, gaps) in {"Q2Q": arrivals, **matched.samples}.items():
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

        What completed and was not issued in the trace was under way from its beginning on. What missing events make
        doubtful is not counted (`issues.credible`).

        >>> dump.relay.blktrace("vda/trace").latencies().depth().head(2)
                          timestamp  depth
        0 0 days 00:00:13.207803154      1
        1 0 days 00:00:13.209209414      0
        """
        rows = self._steps
        picked = self._trace.rows[rows]
        times = picked["time"].astype(np.int64)
        change = np.zeros(len(rows), dtype=np.int64)
        before = 0
        for number in pd.unique(picked["device"]).tolist():
            if device is not None and device_name(number) != device:
                continue
            found = credible(self._issued_of(number), times, self._whole_from(number))
            change[found.issue] = 1
            change[found.end[found.end >= 0]] = -1
            change[found.alone] = -1
            before += len(found.alone)
        changed = np.flatnonzero(change)
        count = before + np.cumsum(change[changed])
        table = pd.DataFrame({"timestamp": _timedelta(times[changed]), "depth": count})
        return self._described(table, "block queue depth", [])

    @cached_property
    def _steps(self) -> I64:
        """The rows of events that requests take."""
        plain = (self._trace.category & np.uint32(NOTIFY | PC)) == 0
        return np.flatnonzero(np.isin(self._trace.act, ACTS) & plain)

    @cached_property
    def _issued(self) -> Issued:
        """What the devices were given, by the places of `_steps`."""
        picked = self._trace.rows[self._steps]
        return by_issue(
            self._trace.act[self._steps],
            picked["device"],
            picked["sector"].astype(np.uint64),
            picked["bytes"],
            kinds_without(self._trace.category[self._steps]),
        )

    def _issued_of(self, number: int) -> Issued:
        """What one device was given."""
        found, mine = self._issued, self._trace.rows["device"][self._steps] == number
        own = mine[found.issue]
        return Issued(found.issue[own], found.end[own], found.alone[mine[found.alone]])

    def _whole_from(self, number: int) -> int:
        """From when on all events of a device are there."""
        trace = self._trace
        events = (trace.category & np.uint32(NOTIFY)) == 0
        mine = trace.rows[events & (trace.rows["device"] == number)]
        remaps = trace.rows[events & (trace.act == REMAP)]
        times = mine["time"].astype(np.int64)
        return whole_from(times, mine["cpu"], mine["sequence"], (remaps["cpu"], remaps["sequence"]))

    @cached_property
    def _matched(self) -> _Matched:
        trace, rows = self._trace, self._steps
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
        return _Matched(
            np.array(found.first, dtype=np.int64),
            {
                name: np.array(values, dtype=np.int64)
                for name, values in zip(MOMENTS, found.moments, strict=True)
            },
            {
                step: (np.array(requests, dtype=np.int64), np.array(gaps, dtype=np.int64))
                for step, (requests, gaps) in found.samples.items()
            },
            np.array(found.sized, dtype=bool),
            np.array(found.issue, dtype=np.int64),
            found.parts,
        )


@dataclass(frozen=True, slots=True)
class _Matched:
    """What a `Matcher` found: of each request its first event and issue (places of `_steps`), moments in ns or `NONE`,
    has it bytes; (request, ns) of each step; what was issued in parts."""

    first: I64
    moments: dict[str, I64]
    samples: dict[str, tuple[I64, I64]]
    sized: npt.NDArray[np.bool_]
    issue: I64
    parts: list[Part]


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
