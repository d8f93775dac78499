"""The timeline: every row of its sources, in the order of one clock; windows, chosen events, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import WHOLE_DUMPS
from support.captures import captures
from support.overlay import Overlay

import kernlab
from kernlab.errors import KernlabError
from kernlab.linux.sched_clock import is_stable
from kernlab.replay.parts import Joined, Part
from kernlab.traces.clock.clocks import clocks

#: Captures of the lab's scenario `clocks`: the same events by every clock.
CLOCKS = captures("clocks-*")


@pytest.fixture(scope="module")
def dump() -> Iterator[kernlab.Dump]:
    with kernlab.open(kernlab.sample("io")) as dump:
        yield dump


@pytest.mark.parametrize("name", WHOLE_DUMPS)
def test_it_has_every_row_of_its_sources_in_order(opened: Callable[[str], kernlab.Dump], name: str) -> None:
    dump = opened(name)
    found = dump.timeline()
    of = found["source"].value_counts()
    assert of["log"] == len(dump.log)
    assert of.get("ftrace", 0) == len(dump.ftrace.all)
    # The idle tasks are of the boot.
    assert of["tasks"] == (dump.tasks["pid"] != 0).sum()
    assert of["crash"] == 1
    assert of["blktrace:vda/trace"] == len(dump.relay.events("vda/trace", mode="all"))
    assert found["time"].is_monotonic_increasing
    crash = pd.Timedelta(clocks(dump.kernel).crash_ns, unit="ns")
    assert (found["time"] + found["before_crash"]).eq(crash).all()
    assert found["before_crash"].min() >= pd.Timedelta(0)


@pytest.mark.parametrize("name", WHOLE_DUMPS)
def test_a_row_says_what_its_source_says(opened: Callable[[str], kernlab.Dump], name: str) -> None:
    dump = opened(name)
    log = dump.timeline("log")
    assert log["time"].tolist() == dump.log["timestamp"].sort_values(kind="stable").tolist()
    assert sorted(log["text"]) == sorted(dump.log["text"])
    trace, own = dump.timeline("ftrace"), dump.ftrace.all
    assert trace["text"].tolist() == own["text"].tolist()
    assert trace["pid"].tolist() == own["pid"].tolist()
    assert trace["cpu"].tolist() == own["cpu"].tolist()
    assert trace["event"].astype(str).tolist() == own["event"].tolist()
    assert "Kernel panic" in dump.timeline("crash")["text"].item()


def test_a_window_is_cut_on_the_axis(dump: kernlab.Dump) -> None:
    every = dump.timeline()
    for since, until in ((-2, None), (None, -2), ("-3s", "-1500ms"), (5, 9)):
        cut = dump.timeline(since=since, until=until)
        crash = every["time"].iloc[-1] + every["before_crash"].iloc[-1]

        def at(value: Any, crash: pd.Timedelta = crash) -> pd.Timedelta:
            span = pd.Timedelta(value, unit="s") if isinstance(value, int) else pd.Timedelta(value)
            return crash + span if span < pd.Timedelta(0) else span

        wanted = every
        if since is not None:
            wanted = wanted[wanted["time"] >= at(since)]
        if until is not None:
            wanted = wanted[wanted["time"] <= at(until)]
        assert 0 < len(cut) == len(wanted)
        assert cut["time"].tolist() == wanted["time"].tolist()


def test_chosen_events_bring_their_fields(opened: Callable[[str], kernlab.Dump]) -> None:
    dump = opened("debian-6.1")
    found = dump.timeline(events=["sched_switch", "block_rq_issue"])
    switch = found[found["event"] == "sched_switch"]
    own = dump.ftrace.events("sched_switch")
    assert switch["next_comm"].tolist() == own["next_comm"].tolist()
    assert switch["prev_pid"].astype("int64").tolist() == own["prev_pid"].tolist()
    issue = found[found["event"] == "block_rq_issue"]
    events = dump.relay.events("vda/trace", mode="all")
    events = events[events["action"] == "D"]
    assert issue["sector"].tolist() == events["sector"].tolist()
    assert issue["rwbs"].tolist() == events["rwbs"].astype(str).tolist()
    assert issue["next_pid"].isna().all()
    assert set(found["event"].astype(str)) == {"sched_switch", "block_rq_issue"}
    assert len(dump.timeline(events="sched:*")) == len(own)


def test_what_is_not_asked_for_is_not_decoded(
    opened: Callable[[str], kernlab.Dump], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr("kernlab.traces.relay.view.Relay.blktrace", never)
    monkeypatch.setattr("kernlab.replay.collect.Rows", never)
    dump = opened("debian-6.12")
    assert set(dump.timeline(["log", "tasks", "crash"])["source"]) == {"log", "tasks", "crash"}


def test_what_there_is_not_is_refused(dump: kernlab.Dump) -> None:
    with pytest.raises(KernlabError, match="no source 'ftrace:nothing'"):
        dump.timeline("ftrace:nothing")
    with pytest.raises(KernlabError, match="no source 7"):
        dump.timeline([7])  # type: ignore[list-item]
    with pytest.raises(KernlabError, match="no source that was asked has an event 'sched_swich'"):
        dump.timeline(events="sched_swich")
    with pytest.raises(KernlabError, match="events is a name"):
        dump.timeline(events=5)  # type: ignore[arg-type]
    with pytest.raises(KernlabError, match="seconds since boot"):
        dump.timeline(since="yesterday")


def test_a_clock_that_cannot_be_true_costs_its_sources_only(opened: Callable[[str], kernlab.Dump]) -> None:
    """CLOCK_MONOTONIC is lost with the timekeeper: log and ftrace (by sched_clock) stay."""
    below = opened("debian-6.12")
    overlay = Overlay(below)
    core = below.symbol("tk_core")
    keeper = below.kernel.types.nameless("seq", "timekeeper")
    assert keeper is not None
    where = core + next(member.offset for member in keeper.members if member.name == "timekeeper")
    overlay.set("struct timekeeper", where, "tkr_mono.mult", 0)
    broken = overlay.dump()
    found = broken.timeline()
    assert set(found["source"].unique()) == {"log", "ftrace", "crash"}
    told = " ".join(found.attrs["problems"])
    assert "the clock 'mono' cannot be put on the axis" in told
    assert "2^24 ns, which cannot be true" in told
    row = broken.clocks.set_index("clock").loc["mono"]
    assert pd.isna(row["offset"])
    assert "cannot be true" in row["source"]


def test_parts_join_in_order_and_keep_what_they_lack() -> None:
    nat = np.iinfo(np.int64).min

    def says(name: str) -> Callable[[Any], list[str | None]]:
        return lambda rows: [f"{name}{row}" for row in rows.tolist()]

    one = Part(
        "one", np.array([5, nat, 9]), (np.array([0, 1, -1]), ["a", "b"]), says("x"), cpu=np.array([0, 1, 1])
    )
    two = Part(
        "two", np.array([5, 1]), (np.array([0, 0]), ["b"]), says("y"), fields=[("n", pd.array([7, 8]))]
    )
    joined = Joined([one, two])
    assert joined.time.tolist() == [1, 5, 5, 9, nat]
    assert joined.texts(np.arange(5)) == ["y1", "x0", "y0", "x2", "x1"]
    codes, names = joined.coded("event")
    assert [names[code] if code >= 0 else None for code in codes.tolist()] == ["b", "a", "b", None, "b"]
    assert joined.numbers("cpu")[1].tolist() == [False, True, False, True, True]
    assert pd.Series(dict(joined.fields())["n"]).tolist()[::2] == [8, 7, pd.NA]
    assert len(Joined([])) == 0


def test_parquet_keeps_what_the_columns_are(dump: kernlab.Dump, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    found = dump.timeline(events="block_*")
    found.to_parquet(tmp_path / "timeline.parquet")
    back = pd.read_parquet(tmp_path / "timeline.parquet")
    assert back.dtypes.astype(str).to_dict() == found.dtypes.astype(str).to_dict()
    pd.testing.assert_frame_equal(back, pd.DataFrame(found), check_dtype=True)


@pytest.mark.parametrize("folder", CLOCKS, ids=lambda folder: folder.name)
def test_what_two_sources_saw_lies_at_one_instant(folder: Path) -> None:
    """A request, by blktrace (CLOCK_MONOTONIC) and by an instance of each clock: within 20 µs."""
    with kernlab.open(next(folder.glob("vmcore"))) as dump:
        found = dump.timeline(events="block_rq_issue")
        found["ns"] = found["time"].astype("int64")
        found["turn"] = found.groupby(["source", "sector"], observed=True).cumcount()
        issued = found.pivot_table(
            index=["sector", "turn"], columns="source", values="ns", observed=True
        ).dropna()
        for clock in ("local", "global", "mono", "mono_raw", "boot", "x86-tsc"):
            away = (issued[f"ftrace:{clock}"] - issued["blktrace:vda/trace"]).abs()
            # Where sched_clock is not stable, the axis itself goes astray by up to a tick between two.
            most = 4_000_000 if clock == "global" and not is_stable(dump.kernel) else 20_000
            assert away.median() < most, clock


def test_what_a_recorder_and_blktrace_saw_lies_at_one_instant() -> None:
    """The same on a sample, by the recorder's instance (clock local): requests, and lines of the log."""
    with kernlab.open(kernlab.sample("flight")) as dump:
        found = dump.timeline(
            events=["block_rq_issue", "sched_process_fork", "console", "printk", "task_start"]
        )
        local = dump.clocks.set_index("clock").loc["local", "offset"]
        # Texts are made while the dump is open.
        found["line"] = found["text"].str.strip()
    found["ns"] = found["time"].astype("int64")
    ftrace = found[found["source"] == "ftrace:kernlab"]

    def once(rows: pd.DataFrame, key: str) -> pd.Series[Any]:
        return rows.drop_duplicates(key, keep=False).set_index(key)["ns"]

    issued = ftrace[ftrace["event"] == "block_rq_issue"]
    asked = found[(found["event"] == "block_rq_issue") & (found["source"] == "blktrace:vda/trace")]
    away = (once(issued, "sector") - once(asked, "sector")).dropna()
    assert len(away) > 100
    assert away.abs().median() < 20_000
    # Without the clocks they are this far apart.
    assert abs(local) > pd.Timedelta("100ms")
    lines = ftrace[ftrace["event"] == "console"].assign(line=lambda rows: rows["msg"].str.strip())
    logged = found[found["event"] == "printk"]
    late = (once(lines, "line") - once(logged, "line")).dropna()
    assert len(late) > 10
    assert 0 <= late.median() < 100_000
