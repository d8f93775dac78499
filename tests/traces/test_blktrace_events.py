"""What records mean, on made-up ones of which everything is known: pdus, notes, messages, both byte orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from traces import blk_records as blk
from traces.blk_records import Record, message, process, remap, wall_clock

from kernlab.traces.blktrace import BlkTrace

SDB = (8 << 20) | 16
DM = (253 << 20) | 1


def script(*, big: bool) -> dict[int, list[Record]]:
    write = blk.WRITE | blk.SYNC
    return {
        0: [
            wall_clock(1_700_000_000, 5_000, time=1000, big=big),
            process(42, "kworker/0:1", time=1000),
            Record(blk.Q, write | blk.QUEUE, time=2000, sequence=1, sector=100, bytes=4096, pid=42, cpu=0),
            remap(2500, 2148, 4096, SDB, DM, 100, sequence=2, pid=42),
            Record(blk.X, write, time=2600, sequence=3, sector=2148, bytes=2048, pid=42, pdu=(2152).to_bytes(8, "big")),
            Record(blk.UT, 0, time=2700, sequence=4, pid=42, pdu=(3).to_bytes(8, "big")),
            message("hello \xe9", time=2800, big=big),
            message("in a cgroup", time=2900, cgroup=77, big=big),
            Record(blk.C, blk.READ | blk.COMPLETE, time=9000, sequence=5, sector=7, bytes=512, pid=0, error=-5),
        ],
        1: [
            Record(blk.Q | blk.CGROUP, blk.READ | blk.QUEUE | blk.AHEAD | blk.META, time=2001, sequence=1, sector=7,
                   bytes=512, pid=43, cpu=1, pdu=(4711).to_bytes(8, "big" if big else "little")),
            Record(blk.D, blk.DISCARD | blk.WRITE | blk.FUA, time=2999, sequence=3, sector=64, bytes=1 << 16, pid=43,
                   cpu=1),
        ],
    }  # fmt: skip


def trace(*, big: bool = False, version: int = 7) -> BlkTrace:
    streams = {
        cpu: b"".join(record.pack(big=big, version=version) for record in records)
        for cpu, records in script(big=big).items()
    }
    return BlkTrace.from_bytes(streams)


@pytest.mark.parametrize("version", [7, 8])
@pytest.mark.parametrize("big", [False, True])
def test_every_column_says_what_was_recorded(big, version):
    events = trace(big=big, version=version).events
    assert events["timestamp"].astype("int64").tolist() == [
        2000,
        2001,
        2500,
        2600,
        2700,
        2800,
        2900,
        2999,
        9000,
    ]
    assert events["action"].tolist() == ["Q", "Q", "A", "X", "UT", "m", "m", "D", "C"]
    assert events["rwbs"].tolist()[:5] == ["WS", "RAM", "W", "WS", "N"]
    assert events["rwbs"].tolist()[7:] == ["DF", "R"]
    assert events["device"].tolist() == ["8:16"] * 9
    assert events["cpu"].tolist() == [0, 1, 0, 0, 0, 0, 0, 1, 0]
    assert events["error"].tolist() == [0] * 8 + [-5]
    assert events.loc[2, ["from_device", "from_sector"]].tolist() == ["253:1", 100]
    assert events.loc[3, "new_sector"] == 2152
    assert events.loc[4, "depth"] == 3
    assert events.loc[[5, 6], "message"].tolist() == ["hello \xe9", "in a cgroup"]
    assert events["cgroup"].dropna().tolist() == [4711, 77]
    assert events["comm"].dropna().unique().tolist() == ["kworker/0:1"]
    assert events.loc[events["pid"] != 42, "comm"].isna().all()
    assert events.attrs["wall_clock_ns"] == 1_700_000_000_000_005_000 - 1000
    # CPU 1 counted an event 2 that is not there.
    assert any("CPU 1: 1 events were dropped" in problem for problem in events.attrs["problems"])


def test_dtypes_of_the_contract():
    events = trace().events
    assert events["timestamp"].dtype == "timedelta64[ns]"
    assert events["sector"].dtype == np.uint64
    assert events["from_sector"].dtype == pd.UInt64Dtype()
    assert isinstance(events.index, pd.RangeIndex)
    for name in ("pid", "bytes", "sequence"):
        assert events[name].dtype == np.int64, name


def test_no_records_make_an_empty_table_of_the_same_columns():
    empty = BlkTrace.from_bytes({}).events
    assert len(empty) == 0
    assert list(empty.columns) == list(trace().events.columns)
    assert BlkTrace.from_bytes({0: b""}).text() == ""
    assert len(BlkTrace.from_bytes({}).latencies().summary()) == 0
    assert len(BlkTrace.from_bytes({}).latencies().depth()) == 0


def test_names_of_tasks_help_where_the_trace_has_no_note():
    pairs = {0: Record(blk.Q, blk.READ, sector=1, bytes=512, pid=9).pack()}
    without = BlkTrace.from_bytes(pairs)
    assert without.events["comm"].isna().all()
    named = BlkTrace.from_bytes(pairs)
    named.more_names = lambda: {9: "mke2fs"}
    assert named.events["comm"].tolist() == ["mke2fs"]


def test_a_pid_beyond_all_tables_is_only_a_number():
    records = (
        process((1 << 32) - 1, "odd").pack() + Record(blk.Q, blk.READ, bytes=512, pid=(1 << 32) - 1).pack()
    )
    assert BlkTrace.from_bytes({0: records}).events["comm"].tolist() == ["odd"]


def test_times_of_all_cpus_are_merged_and_ties_keep_their_order():
    streams = {
        cpu: b"".join(
            Record(blk.Q, blk.READ, time=t, sequence=n + 1, sector=8 * n, bytes=512, cpu=cpu).pack()
            for n, t in enumerate(times)
        )
        for cpu, times in {0: [1, 5, 5], 1: [2, 5, 9], 2: [0, 5]}.items()
    }
    events = BlkTrace.from_bytes(streams).events
    assert events["timestamp"].astype("int64").tolist() == [0, 1, 2, 5, 5, 5, 5, 9]
    assert events["cpu"].tolist() == [2, 0, 1, 0, 0, 1, 2, 1]


def latencies(*records: Record):
    return BlkTrace.from_bytes({0: b"".join(record.pack() for record in records)}).latencies()


def at(act: int, time: int, sector: int = 0, size: int = 8, category: int = blk.READ, **more: int) -> Record:
    return Record(act, category, time=time, sector=sector, bytes=size * 512, **more)


def test_one_request_through_all_steps():
    found = latencies(at(blk.Q, 10), at(blk.G, 15), at(blk.I, 18), at(blk.D, 28), at(blk.C, 128))
    request = found.requests.iloc[0]
    steps = {name: request[name].value for name in ("q2g", "g2i", "i2d", "d2c", "q2c", "g2d")}
    assert steps == {"q2g": 5, "g2i": 3, "i2d": 10, "d2c": 100, "q2c": 118, "g2d": 13}
    summary = found.summary("all").set_index("step")
    assert summary.loc["Q2C", "n"] == 1
    assert "Q2Q" not in summary.index
    assert found.depth()["depth"].tolist() == [1, 0]


def test_merged_requests_end_together():
    found = latencies(
        at(blk.Q, 1, 0),
        at(blk.G, 2, 0),
        at(blk.Q, 3, 8),
        at(blk.M, 4, 8),
        at(blk.D, 10, 0, 16),
        at(blk.C, 30, 0, 16),
    )
    assert found.requests["q2c"].astype("int64").tolist() == [29, 27]
    steps = found.summary("all").set_index("step")
    assert steps.loc["D2C", "n"] == 2
    assert steps.loc["M2D", "max"].value == 6


def test_what_went_back_in_time_took_a_nanosecond():
    found = latencies(at(blk.Q, 5), at(blk.D, 5), at(blk.C, 5))
    assert found.requests[["d2c", "q2c"]].astype("int64").to_numpy().tolist() == [[1, 1]]


def test_an_unfinished_request_stays_and_says_so():
    found = latencies(at(blk.Q, 1, 0), at(blk.G, 2, 0), at(blk.D, 3, 0), at(blk.C, 9, 800))
    request = found.requests.iloc[0]
    assert pd.isna(request["completed"])
    assert request["issued"].value == 3
    # A completion of what began before the trace: it was under way all the time.
    assert found.depth()["depth"].tolist() == [1, 0]


def test_requests_that_never_end_are_bounded(monkeypatch):
    from kernlab.traces import blktrace_latency

    monkeypatch.setattr(blktrace_latency, "_MOST_WAITING", 10)
    found = latencies(*(at(blk.Q, n, 8 * n) for n in range(25)))
    assert len(found.requests) == 10
    assert "15 requests are not followed" in found.problems[0]
