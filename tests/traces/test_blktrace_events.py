"""What records mean, on made-up ones of which everything is known: pdus, notes, messages, both byte orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from traces import blk_records as blk
from traces.blk_records import Record, message, process, remap, wall_clock

from kernlab.traces.blktrace.trace import BlkTrace

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
    assert found.depth()["depth"].tolist() == [2, 1]


def test_requests_that_never_end_are_bounded(monkeypatch):
    from kernlab.traces.blktrace import latency

    monkeypatch.setattr(latency, "_MOST_WAITING", 10)
    found = latencies(*(at(blk.Q, n, 8 * n) for n in range(25)))
    assert len(found.requests) == 10
    assert "15 requests are not tracked" in found.problems[0]


CASES = blk.cases()


def flush(act: int, time: int, category: int = blk.FLUSH, sector: int = 0) -> Record:
    return Record(act, category, time=time, sector=sector)


def test_an_unanswered_flush_is_one_request_out_at_the_end():
    found = BlkTrace.from_bytes({0: CASES["hungflush.blktrace.0"]}).latencies()
    requests = found.requests
    assert requests["rwbs"].tolist() == ["WS", "FNS"]
    assert requests["completed"].isna().tolist() == [False, True]
    assert requests.loc[1, "issued"].value == 2_000_000
    assert found.depth()["depth"].tolist() == [1, 0, 1]
    assert found.depth("8:0")["depth"].iloc[-1] == 1


def test_a_flush_that_was_asked_for_and_the_devices_own_are_a_request_each():
    """As kernels trace sync(1): Q FWS, the device's FN, and the end as a C of a plain write without bytes."""
    asked = blk.WRITE | blk.FLUSH | blk.SYNC
    found = latencies(
        flush(blk.Q, 10, asked),
        flush(blk.G, 12, asked),
        flush(blk.D, 20),
        flush(blk.C, 120),
        flush(blk.C, 130, blk.WRITE | blk.SYNC),
        # A write with a flush around it ends in another C at its sector, of which no D is known.
        at(blk.Q, 200, 64, category=asked),
        at(blk.D, 201, 64, category=blk.WRITE),
        at(blk.C, 210, 64, category=blk.WRITE),
        flush(blk.D, 220),
        flush(blk.C, 250),
        flush(blk.C, 260, blk.WRITE, sector=64),
    )
    requests = found.requests
    assert requests["rwbs"].tolist() == ["FWS", "FN", "FWS", "FN"]
    took = requests[["q2g", "q2c", "d2c"]].astype("int64").where(requests[["q2g", "q2c", "d2c"]].notna(), -1)
    assert took.to_numpy().tolist() == [[2, 120, -1], [-1, -1, 100], [-1, 10, 9], [-1, -1, 30]]
    assert found.depth()["depth"].tolist() == [1, 0, 1, 0, 1, 0]
    assert found.summary("all").set_index("step").loc["D2C", "max"].value == 100
    # btt has no flushes.
    assert found.summary("all", btt_names=True).set_index("step").loc["D2C", "max"].value == 9


def test_flushes_of_several_queues_end_in_their_order_and_a_requeued_one_is_issued_again():
    found = latencies(
        *(flush(blk.D, time) for time in (1, 2, 3)),
        flush(blk.R, 4),
        flush(blk.D, 9),
        *(flush(blk.C, time) for time in (11, 12, 13)),
    )
    assert found.requests["d2c"].astype("int64").tolist() == [10, 10, 4]
    assert found.requests["completed"].notna().all()


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_the_slowest_request_of_a_dump_is_in_the_table(opened, name):
    """In each of these it is a flush, by the events themselves: the device works on one at a time."""
    trace = opened(name).relay.blktrace("vda/trace", mode="all")
    events = trace.events
    own = events[(events["rwbs"] == "FN") & events["action"].isin(["D", "C"])]
    times = own["timestamp"].astype("int64").to_numpy()
    assert own["action"].tolist() == ["D", "C"] * (len(own) // 2)
    took = times[1::2] - times[::2]
    requests = trace.latencies().requests
    mine = requests[requests["rwbs"] == "FN"]
    assert mine["d2c"].astype("int64").tolist() == took.tolist()
    slowest = requests.loc[requests["d2c"].idxmax()]
    assert slowest["rwbs"] == "FN"
    assert slowest["d2c"].value == took.max()


ZONES = [16, 17, 18, 19, 20, 21, 22]


def test_zone_commands_and_write_zeroes_have_letters_of_their_own():
    """blkparse_fmt.c's (upstream) of the categories 16 to 21, the kernel's fill_rwbs of 22."""
    data = b"".join(
        at(blk.D, n, 8 * n, int(bit in (16, 22)), blk.WRITE | blk.SYNC | 1 << bit, sequence=n + 1).pack(
            version=8
        )
        for n, bit in enumerate(ZONES)
    )
    trace = BlkTrace.from_bytes({0: data})
    letters = ["ZAS", "ZRS", "ZRAS", "ZFS", "ZOS", "ZCS", "WZS"]
    assert trace.events["rwbs"].tolist() == letters
    assert [line.split()[6] for line in trace.text().splitlines()] == letters
    # They are requests, the resets and their kin without bytes, too.
    assert trace.latencies().requests["rwbs"].tolist() == letters
    assert trace.latencies().depth()["depth"].tolist() == list(range(1, 8))


def test_a_trace_of_issues_and_completions_gives_what_they_tell():
    found = BlkTrace.from_bytes({0: CASES["dc.blktrace.0"]}).latencies()
    requests = found.requests
    assert requests["d2c"].astype("int64").tolist() == [300_000] * 5
    assert requests[["queued", "q2c"]].isna().all().all()
    assert requests["comm"].tolist() == ["w"] * 5
    summary = found.summary()
    assert summary[["step", "n"]].to_numpy().tolist() == [["D2C", 5]]
    told = "8:0: this trace has no events Q, so queued, allocated, inserted and merged are missing"
    for table in (requests, summary):
        assert table.attrs["problems"] == [f"{told}, and so are the steps from them"]
    assert found.depth().attrs["problems"] == []


@pytest.mark.parametrize(
    ("acts", "says"),
    [((blk.Q, blk.D), "no events C"), ((blk.Q, blk.C), "no events D"), ((blk.D,), "no events Q")],
)
def test_what_a_trace_was_not_asked_for_is_told(acts, says):
    found = latencies(*(at(act, 10 * n, 8) for n, act in enumerate(acts, 1)))
    assert len(found.requests) == 1
    assert any(says in problem for problem in found.requests.attrs["problems"])


def test_each_part_of_what_was_split_is_a_request_with_the_moments_of_the_whole():
    found = latencies(
        at(blk.Q, 1, 0, 24, pid=5),
        at(blk.X, 2, 0, 24),
        at(blk.G, 3, 0, 8),
        at(blk.D, 4, 0, 8),
        at(blk.G, 5, 8, 16),
        at(blk.D, 6, 8, 16),
        at(blk.C, 8, 8, 16),
        at(blk.C, 9, 0, 8),
        # Queued before the trace began, or a part of what has long come back.
        at(blk.D, 16, 8, 8, pid=7),
        at(blk.C, 19, 8, 8),
    )
    requests = found.requests
    assert requests["sector"].tolist() == [0, 8, 8]
    assert requests["bytes"].tolist() == [4096, 8192, 4096]
    assert requests["pid"].tolist() == [5, 5, 7]
    assert requests["request"].tolist() == [0, 1, 2]
    took = requests[["q2g", "g2d", "d2c", "q2c"]].astype("int64").where(requests.notna(), -1)
    assert took.to_numpy().tolist() == [[2, 1, 5, 8], [4, 1, 2, 7], [-1, -1, 3, -1]]
    assert found.depth()["depth"].tolist() == [1, 2, 1, 0, 1, 0]
    # btt counts each G of the whole, and follows no part to its end.
    steps = found.summary("all", btt_names=True)
    assert steps[["step", "n"]].to_numpy().tolist() == [["Q2G", 2]]


def test_the_end_of_what_was_split_may_be_merged_with_another():
    found = latencies(
        at(blk.Q, 1, 0, 24, pid=5),
        at(blk.D, 2, 0, 16),
        at(blk.I, 3, 16, 8),
        at(blk.Q, 4, 24, 8, pid=6),
        at(blk.M, 5, 24, 8),
        at(blk.D, 9, 16, 16),
        at(blk.C, 11, 0, 16),
        at(blk.C, 12, 16, 16),
    )
    requests = found.requests
    assert requests["sector"].tolist() == [0, 16, 24]
    assert requests["bytes"].tolist() == [8192, 4096, 4096]
    assert requests["request"].tolist() == [0, 1, 1]
    assert requests["pid"].tolist() == [5, 5, 6]
    assert requests["q2c"].astype("int64").tolist() == [10, 11, 8]
    assert requests.loc[1, "i2d"].value == 6


def test_what_was_merged_has_the_number_of_what_it_went_into():
    found = latencies(
        *(at(blk.Q, 1 + n, 8 * n) for n in range(3)),
        at(blk.D, 10, 0, 16),
        at(blk.C, 30, 0, 16),
        at(blk.D, 40, 16),
    )
    requests = found.requests
    assert requests["request"].tolist() == [0, 0, 1]
    device = requests.drop_duplicates("request")
    assert device["completed"].isna().tolist() == [False, True]


def test_what_completes_in_parts_ends_with_the_last_of_them():
    found = latencies(
        at(blk.D, 1, 0, 24),
        at(blk.C, 5, 0, 8),
        at(blk.D, 6, 800, 8),
        at(blk.C, 7, 8, 8),
        at(blk.C, 9, 16, 8),
        # Only a part of this one has come back.
        at(blk.D, 10, 0, 16),
        at(blk.C, 12, 0, 8),
    )
    requests = found.requests
    assert requests["sector"].tolist() == [0, 800, 0]
    assert requests["d2c"].iloc[0].value == 8
    assert requests["completed"].isna().tolist() == [False, True, True]
    assert found.depth()["depth"].tolist() == [1, 2, 1, 2]


def test_a_request_that_was_put_back_is_not_out_until_it_is_issued_again():
    requeued = at(blk.D, 1, 0, 8), at(blk.R, 3, 0, 8)
    assert latencies(*requeued).requests["issued"].isna().all()
    assert latencies(*requeued).depth().empty
    found = latencies(*requeued, at(blk.D, 5, 0, 8), at(blk.C, 9, 0, 8))
    assert found.requests["d2c"].astype("int64").tolist() == [4]
    assert found.depth()["depth"].tolist() == [1, 0]
    # The rest of one that came back in part is issued again.
    found = latencies(
        at(blk.D, 1, 0, 16), at(blk.C, 3, 0, 8), at(blk.R, 4, 8, 8), at(blk.D, 6, 8, 8), at(blk.C, 9, 8, 8)
    )
    device = found.requests.dropna(subset=["request"])
    assert device["sector"].tolist() == [0, 8]
    assert device["d2c"].astype("int64").tolist() == [2, 3]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_every_issue_of_a_dump_is_a_request_that_ends_as_the_events_say(opened, name):
    """One by one: no two of these are out at the same sector at a time, and none was put back."""
    trace = opened(name).relay.blktrace("vda/trace", mode="all")
    events = trace.events
    out, ends = {}, []
    for event in events[events["action"].isin(["D", "C"])].itertuples():
        key = event.sector, event.bytes, event.rwbs == "FN"
        if event.action == "D":
            assert key not in out
            out[key] = event.timestamp.value
        elif key in out:
            ends.append((out.pop(key), event.timestamp.value, event.sector, event.bytes))
    assert not out
    assert len(ends) == (events["action"] == "D").sum()
    requests = trace.latencies().requests.dropna(subset=["request"])
    asked = requests.groupby("request")[["sector", "bytes"]].agg({"sector": "min", "bytes": "sum"})
    given = requests.drop_duplicates("request").set_index("request")[["issued", "completed"]].astype("int64")
    assert sorted(given.join(asked).itertuples(index=False, name=None)) == sorted(ends)
