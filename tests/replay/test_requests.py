"""Requests of the story `flight`, told by blktrace and by ftrace: what one of them lost, the other may know.

The recorder throws away the oldest of each CPU's relay buffer, so that one CPU's stream begins before the other's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.captures import dumps_in, told

import kernlab

FOLDERS = told(Path(__file__).resolve().parents[2] / "samples", "flight")


@pytest.fixture(params=FOLDERS, ids=[path.name for path in FOLDERS], scope="module")
def dump(request: pytest.FixtureRequest) -> Iterator[kernlab.Dump]:
    folder: Path = request.param
    with kernlab.open(dumps_in(folder)[0]) as opened:
        yield opened


def events(dump: kernlab.Dump) -> pd.DataFrame:
    """Of vda, as the kernel's own events tell."""
    names = ["block_rq_issue", "block_rq_complete"]
    found = dump.ftrace.events(names, instance="kernlab")
    vda = dump.replay().requests.query("disk == 'vda'")["device"].iloc[0]
    return found[found["dev"] == vda]


def test_who_never_came_back_did_not_by_the_kernels_events_either(dump: kernlab.Dump) -> None:
    out: dict[int, int] = {}
    for event in events(dump).itertuples():
        step = 1 if event.event == "block_rq_issue" else -1
        out[event.sector] = max(0, out.get(event.sector, 0) + step)
    never = {sector for sector, count in out.items() if count}
    if dump.relay.channels["channel_dropped"].sum():
        pytest.skip("blktrace had no room for all: an end of which it does not tell is among what it refused")
    requests = dump.replay().requests
    mine = requests[(requests["disk"] == "vda") & requests["end"].isna()]
    assert set(mine["sector"]) <= never


def test_what_blktrace_has_no_more_is_told_by_ftrace(dump: kernlab.Dump) -> None:
    requests = dump.replay().requests.query("disk == 'vda'")
    issued = events(dump).query("event == 'block_rq_issue'")
    if dump.ftrace.lost["overrun"].sum():
        pytest.skip("ftrace's buffer wrapped: it goes back no further than blktrace")
    assert set(requests["source"]) == {"ftrace:kernlab", "blktrace:vda/trace"}
    assert abs(len(requests) - len(issued)) <= 0.05 * len(issued)
    assert not requests.duplicated(["start", "sector"]).any()
    # Each of them tells of its own stretch of time.
    ends = requests.groupby("source")["start"].agg(["min", "max"])
    assert ends.loc["ftrace:kernlab", "max"] < ends.loc["blktrace:vda/trace", "min"]


def test_requests_of_blktrace_are_those_that_the_kernels_events_issued(dump: kernlab.Dump) -> None:
    trace = dump.relay.blktrace("vda/trace")
    requests = trace.latencies().requests.dropna(subset=["request"])
    mine = requests.drop_duplicates("request")
    issues = trace.events.query("action == 'D'")
    assert set(mine["issued"]) <= set(issues["timestamp"])
    # Where another is issued in its place, the end of the first is among what was read and is gone.
    out, lost = set(), 0
    for event in trace.events.query("bytes > 0").itertuples():
        if event.action == "D":
            lost += event.sector in out
            out.add(event.sector)
        elif event.action == "C":
            out.discard(event.sector)
    assert len(issues) - len(mine) == lost
    if not dump.ftrace.lost["overrun"].sum():
        told = events(dump).query("event == 'block_rq_issue'")["sector"]
        assert Counter(issues["sector"].tolist()) <= Counter(told.tolist())
    # Each ends when the replay says so: both are the completion that follows.
    theirs = dump.replay().requests.query("source == 'blktrace:vda/trace'")
    took = np.sort(mine["d2c"].dropna().astype("int64").to_numpy())
    latency = theirs["latency"].dropna().astype("int64").to_numpy()
    # The clocks differ by some millionths.
    error = latency // 10**6 + 2
    at = np.searchsorted(took, latency - error)
    assert (np.append(took, took[-1])[at] <= latency + error).all()


def test_a_flush_ends_with_its_own_completion(dump: kernlab.Dump) -> None:
    """Its issue is at sector 0, its completion at the last one of all; who asked for it is answered after that."""
    both = events(dump)
    flushes = both[both["rwbs"] == "FF"]
    found = dump.replay().requests.query("disk == 'vda' and op == 'flush' and source == 'ftrace:kernlab'")
    if dump.ftrace.lost["overrun"].sum():
        pytest.skip("ftrace's buffer wrapped: it may begin between an issue and its completion")
    assert len(found) > 10
    # One is out at a time.
    assert flushes["event"].tolist()[:2] == ["block_rq_issue", "block_rq_complete"]
    time = flushes["timestamp"].astype("int64").to_numpy()
    took = (time[1::2] - time[0::2])[: len(found)]
    latency = found["latency"].astype("int64").to_numpy()
    # The trace's clock may go faster than the log's.
    assert np.allclose(latency * (took.sum() / latency.sum()), took, rtol=1e-3, atol=1000)
