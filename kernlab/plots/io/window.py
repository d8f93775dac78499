"""Events of a block trace and a window of time in; the requests that touch it, as a plot of it takes them, out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.plots.io.requests import NEVER, Requests, nanoseconds, requests_of
from kernlab.traces.clock.clocks import Clocks
from kernlab.traces.clock.window import Instant, instant


def on_axis(events: pd.DataFrame, clocks: Clocks) -> pd.DataFrame:
    """The events with their timestamps as the kernel's log counts, and in attrs["crash_ns"] when the crash was.

    Raises KernlabError, which says why, where the clock of block traces (CLOCK_MONOTONIC) is not known.
    """

    def moved(ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return clocks.to_axis("mono", ns)[0]

    found = events.assign(timestamp=moved(nanoseconds(events)).view("m8[ns]"))
    # A bound that is not known stays so.
    found.attrs["lost"] = [
        {
            name: int(moved(np.array([value]))[0])
            if name in ("since_ns", "until_ns") and value is not None
            else value
            for name, value in span.items()
        }
        for span in events.attrs.get("lost", [])
    ]
    found.attrs["crash_ns"] = clocks.crash_ns
    return found


def window_of(
    events: pd.DataFrame, device: str | None, since: Instant | None, until: Instant | None
) -> Requests:
    """The requests of one device, the busiest unless one is named, all of them or those of a window of time.

    Moments below zero are before the crash where attrs["crash_ns"] of the events says when that was, else before the
    device's last event; a window without an end goes on to there. Raises KernlabError as `requests_of` and `within` do.
    """
    requests = requests_of(events, device)
    if since is None and until is None:
        return requests
    crash = events.attrs.get("crash_ns")
    ends = Clocks(requests.last if crash is None else int(crash), {})
    first = requests.first if since is None else instant(ends, since)
    last = max(ends.crash_ns, requests.last) if until is None else instant(ends, until)
    found = within(requests, first, last)
    return replace(found, time=f"{found.time}, up to the crash") if last == crash else found


def within(requests: Requests, first: int, last: int) -> Requests:
    """What was under way, began or ended from `first` to `last` (ns); averages are over this window then.

    Raises KernlabError where the window ends before the trace begins, or is empty.
    """
    if last < requests.first:
        raise KernlabError(
            f"the trace of {requests.device} begins at {requests.first / 1e9:.3f} s, after this window ends "
            f"({last / 1e9:.3f} s)"
        )
    if not first < last:
        raise KernlabError(
            f"a window from {first / 1e9:.9g} s to {last / 1e9:.9g} s has no time in it: since must be before until"
        )
    unknown = np.minimum(requests.completed, requests.whole_from)
    begun = np.where(requests.issued == NEVER, unknown, requests.issued)
    kept = (begun <= last) & (requests.pending | (requests.completed >= first))
    missing = requests.missing
    whole = max(requests.whole_from, first)
    if whole >= last:
        # No part of the window is whole: all of it is shaded, and counted as it is.
        whole, missing = first, tuple(sorted({(first, last), *missing}))
    return replace(
        requests,
        issued=requests.issued[kept],
        completed=requests.completed[kept],
        sector=requests.sector[kept],
        bytes=requests.bytes[kept],
        kind=requests.kind[kept],
        flush=requests.flush[kept],
        first=first,
        last=last,
        whole_from=whole,
        missing=missing,
        cut=True,
    )
