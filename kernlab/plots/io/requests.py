"""Events of a block trace in; one device's requests, from issue to completion, and what was under way when, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.traces.blktrace import issues
from kernlab.traces.blktrace.issues import credible, of_events

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

#: What a request does: the plots tell these apart.
READ, WRITE, OTHER = 0, 1, 2
KINDS = ("reads", "writes", "flushes, discards, others")

#: An unknown moment.
NEVER = np.iinfo(np.int64).min

#: Steps of time that a plot of rates has at most, about, and requests that a step should hold on average.
_STEPS = 90
_PER_STEP = 25
_NICE = np.array([1.0, 2.0, 5.0])


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one device, in the order of their first event; times in ns, as the trace has them.

    `issued` and `completed` are `NEVER` where the trace does not tell: completed only is one that was under way when
    the trace began, issued only one that was when it ended. `flush` is of what empties the device's cache, alone or
    before a write. `first` and `last` are the device's first and last event, or the window that is looked at: then
    those requests are here that touch it (`within`).
    """

    device: str
    issued: I64
    completed: I64
    sector: npt.NDArray[np.uint64]
    bytes: I64
    kind: npt.NDArray[np.int8]
    flush: npt.NDArray[np.bool_]
    first: int
    last: int
    #: From when on no CPU's events are missing that were recorded before: what a reader took, or what was overwritten.
    whole_from: int
    #: Were events dropped, by what the trace says?
    dropped: bool
    #: Times (ns) between which events of some CPU are missing, of which the second is `last` where they end the trace.
    missing: tuple[tuple[int, int], ...] = ()
    #: Is this a window of the trace, not all of it?
    cut: bool = False
    #: What the times are, in words.
    time: str = "since boot"

    @property
    def span(self) -> int:
        """Nanoseconds in which no CPU's events are missing: what averages are over."""
        return max(self.last - self.whole_from, 1)

    @property
    def pending(self) -> npt.NDArray[np.bool_]:
        """Which were issued and not completed when the trace ended."""
        return np.asarray(self.completed == NEVER)

    @property
    def unsure(self) -> npt.NDArray[np.bool_]:
        """Which of the `pending` may have been completed by an event that is missing."""
        until = max((end for _, end in self.missing), default=NEVER)
        return np.asarray(self.pending & (self.issued <= until))

    @property
    def ended(self) -> npt.NDArray[np.bool_]:
        """Which were completed from `first` to `last`."""
        return np.asarray(~self.pending & (self.completed >= self.first) & (self.completed <= self.last))

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Which were completed while no CPU's events are missing: what averages count."""
        return np.asarray(self.ended & (self.completed >= self.whole_from))

    @property
    def begun(self) -> I64:
        """When each was issued, `first` where that was before or is not known."""
        return np.maximum(self.issued, self.first)

    def changes(self) -> tuple[I64, I64]:
        """(ns, requests under way from then on): `first`, and each moment to `last` at which their number changes."""
        known = self.issued != NEVER
        # One whose issue is missing counts from the moment on from which nothing is.
        begins = np.where(known, self.issued, np.minimum(self.completed, self.whole_from))
        begins, ends = np.maximum(begins, self.first), self.completed[self.ended]
        moments = np.concatenate([[self.first], begins, ends])
        change = np.repeat(np.array([0, 1, -1], dtype=np.int64), [1, len(begins), len(ends)])
        order = np.argsort(moments, kind="stable")
        moments, depth = moments[order], np.cumsum(change[order])
        last = np.append(moments[1:] != moments[:-1], True)
        return moments[last], depth[last]


def one_device(events: pd.DataFrame, device: str | None) -> tuple[pd.DataFrame, str]:
    """The events of one device, the busiest unless one is named, messages left out; and its name.

    Raises KernlabError where there are none.
    """
    counts = events["device"].value_counts()
    counts = counts[counts > 0]
    if not len(counts):
        raise KernlabError("this block trace has no events: there is nothing to draw")
    if device is None:
        device = str(counts.index[0])
    elif device not in counts.index:
        raise KernlabError(f"this block trace has no events of {device!r}; it has {', '.join(counts.index)}")
    keep = (events["device"] == device) & (events["action"] != "m")
    found = events[keep.to_numpy()]
    if found.empty:
        raise KernlabError(
            f"the block trace of {device} has messages, but no events: there is nothing to draw"
        )
    return found, device


def requests_of(events: pd.DataFrame, device: str | None = None) -> Requests:
    """The requests of one device as `blktrace.issues` tells them, and the completions of which the issue is not there.

    events: `BlkTrace.events`. Raises KernlabError where there are none of the device.
    """
    lost = events.attrs.get("lost", [])
    problems = [str(problem) for problem in events.attrs.get("problems", [])]
    remaps = events[(events["action"] == "A").to_numpy()]
    events, device = one_device(events, device)
    times = nanoseconds(events)
    first, last = int(times[0]), int(times[-1])
    size = events["bytes"].to_numpy()
    whole = whole_from(events, remaps)
    found = credible(of_events(events), times, whole)
    asked, answered, alone = found.issue, found.end, found.alone
    issued = np.concatenate([times[asked], np.full(len(alone), NEVER, dtype=np.int64)])
    completed = np.concatenate([np.where(answered >= 0, times[answered], NEVER), times[alone]])
    at = np.concatenate([asked, alone])
    order = np.argsort(np.where(issued == NEVER, completed, issued), kind="stable")
    at = at[order]
    return Requests(
        device,
        issued[order],
        completed[order],
        events["sector"].to_numpy()[at],
        size[at].astype(np.int64),
        kinds_of(events)[at],
        flushes_of(events)[at],
        first,
        last,
        whole,
        bool(lost) or any("dropped" in problem for problem in problems),
        _missing(lost, device, first, last),
        time="since boot" if "crash_ns" in events.attrs else "since boot by CLOCK_MONOTONIC",
    )


def _missing(
    lost: Sequence[Mapping[str, Any]], device: str, first: int, last: int
) -> tuple[tuple[int, int], ...]:
    """Between which times events of a device are missing, by attrs["lost"] of the events."""
    spans = {
        (
            first if span["since_ns"] is None else max(int(span["since_ns"]), first),
            last if span["until_ns"] is None else min(int(span["until_ns"]), last),
        )
        for span in lost
        if span["device"] in ("", device)
    }
    return tuple(sorted(spans))


def whole_from(events: pd.DataFrame, remaps: pd.DataFrame) -> int:
    """The moment (ns) from which on the events of all CPUs are there; `remaps`: the trace's events A."""
    numbers = ((part["cpu"].to_numpy(), part["sequence"].to_numpy()) for part in (events, remaps))
    (cpu, sequence), others = numbers
    return issues.whole_from(nanoseconds(events), cpu, sequence, others)


def kinds_of(events: pd.DataFrame) -> npt.NDArray[np.int8]:
    """READ, WRITE or OTHER for each event, by blkparse's letters."""
    letters = events["rwbs"].astype("category").cat
    names = [str(name).removeprefix("F") for name in letters.categories]
    # "WZ" are write-zeroes, which bring no data.
    kind = [
        READ if name[:1] == "R" else WRITE if name[:1] == "W" and name[1:2] != "Z" else OTHER
        for name in names
    ]
    # The last one is for what has no letters.
    return np.array([*kind, OTHER], dtype=np.int8)[letters.codes.to_numpy()]


def flushes_of(events: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which events are of flushes, alone ("FN") or before a write ("FWS"); "WFS" only goes past the cache."""
    letters = events["rwbs"].astype("category").cat
    flush = np.array([*(str(name).startswith("F") for name in letters.categories), False], dtype=bool)
    return flush[letters.codes.to_numpy()]


def steps(requests: Requests) -> F64:
    """Edges, in ns, of the equal steps that a plot of rates has: all of them whole, so that rates compare."""
    first, last = requests.first, requests.last
    span = max(last - first, 1)
    rough = span / min(max(len(requests.issued) / _PER_STEP, 12), _STEPS)
    scale = 10.0 ** np.floor(np.log10(rough))
    width = float((_NICE * scale)[np.searchsorted(_NICE * scale, rough, side="right") - 1])
    return np.linspace(first, first + span, max(round(span / width), 1) + 1)


def per_second(moments: I64, edges: F64, weights: npt.NDArray[Any] | None = None) -> F64:
    """How many (or how much) a second fell into each step."""
    counts, _ = np.histogram(moments, bins=edges, weights=weights)
    found: F64 = counts / (np.diff(edges) / 1e9)
    return found


def quantiles(values: I64, moments: I64, edges: F64, shares: tuple[float, ...]) -> list[F64]:
    """For each share, the value that so many are not above, for each step; NaN where there is none."""
    step = np.clip(np.searchsorted(edges, moments, side="right") - 1, 0, len(edges) - 2)
    order = np.lexsort((values, step))
    values, step = values[order], step[order]
    begin = np.searchsorted(step, np.arange(len(edges) - 1))
    count = np.bincount(step, minlength=len(edges) - 1)
    found = []
    for share in shares:
        # Nearest rank: a value that occurred.
        place = begin + np.maximum(np.ceil(share * count).astype(np.int64) - 1, 0)
        picked = (
            values[np.minimum(place, len(values) - 1)].astype(np.float64)
            if len(values)
            else np.zeros(len(count))
        )
        found.append(np.where(count > 0, picked, np.nan))
    return found


def thinned(
    x: F64, y: F64, *keys: npt.NDArray[Any], cells: tuple[int, int] = (1000, 600)
) -> npt.NDArray[Any]:
    """Which points to draw, ascending: of those that would lie on each other (of the same `keys`) one."""
    number = np.zeros(len(x), dtype=np.int64)
    for values, count in ((x, cells[0]), (y, cells[1])):
        low, span = (values.min(), np.ptp(values) or 1.0) if len(values) else (0.0, 1.0)
        number = number * (count + 1) + ((values - low) / span * count).astype(np.int64)
    for key in keys:
        number = number * (int(key.max(initial=0)) + 1) + key.astype(np.int64)
    return np.sort(np.unique(number, return_index=True)[1])


def nanoseconds(events: pd.DataFrame) -> I64:
    """When events were, in ns."""
    found: I64 = events["timestamp"].to_numpy().astype("timedelta64[ns]").view(np.int64)
    return found


def issued_by(events: pd.DataFrame) -> pd.DataFrame:
    """What each process asked for: one row per Q, or per D where the trace has no Q; time (ns) beside the columns."""
    action = events["action"].to_numpy()
    sized = events["bytes"].to_numpy() > 0
    asked = events[(action == "Q") & sized]
    if asked.empty:
        asked = events[(action == "D") & sized]
    found: pd.DataFrame = asked.assign(time=nanoseconds(asked), kind=kinds_of(asked))
    return found
