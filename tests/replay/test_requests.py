"""Requests of the story `flight`, told by blktrace and by ftrace: what one of them lost, the other may know.

The recorder throws away the oldest of each CPU's relay buffer, so that one CPU's stream begins before the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
