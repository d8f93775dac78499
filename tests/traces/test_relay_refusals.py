"""What a channel refused reaches its events, with the moment from which on they are incomplete.

Laid over real dumps as each kernel leaves it: 6.1 numbers an event after it found room, so a refused one leaves no gap;
7.2 numbers it before (the samples' own counters, checked first, equal the last event's number).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

from kernlab.plots import io
from kernlab.plots.io.requests import requests_of

SIZE, SLOTS = 16384, 8
OLD, NEW = "debian-6.1", "debian-7.2"


class Channel:
    """A dump's block trace, of which the sub-buffers of CPU 1 are laid out anew."""

    def __init__(self, dump):
        self.dump, self.overlay = dump, Overlay(dump)
        channels = dump.relay.channels
        row = channels[channels["cpu"] == 1].iloc[0]
        self.buffer = int(row["buffer"])
        self.trace = int.from_bytes(
            dump.read(self.overlay.where("struct rchan", int(row["address"]), "private_data")[0], 8), "little"
        )
        self.data = dump.relay.read("vda/trace", 1)
        events = dump.relay.events("vda/trace", cpu=1)
        self.sequence = events["sequence"].tolist()
        self.times = events["timestamp"].astype("int64").tolist()

    def pointer(self, member: str) -> int:
        where, _ = self.overlay.where("struct rchan_buf", self.buffer, member)
        return int.from_bytes(self.dump.read(where, 8), "little")

    def fill(self, parts: dict[int, bytes], *, produced: int, full: bool) -> None:
        """Sub-buffers by number; `produced` of them are complete, and unread from the first of `parts` on."""
        start, padding = self.pointer("start"), self.pointer("padding")
        for number in range(produced - SLOTS + 1, produced + 1):
            self.overlay.word(padding + 8 * (number % SLOTS), SIZE if number != produced else 0)
        for number, data in parts.items():
            self.overlay.write(start + number % SLOTS * SIZE, data)
            if number < produced:
                self.overlay.word(padding + 8 * (number % SLOTS), SIZE - len(data))
        current = produced - 1 if full else produced
        for member, value in (
            ("subbufs_produced", produced),
            ("subbufs_consumed", min(parts)),
            ("bytes_consumed", 0),
            ("offset", SIZE + 1 if full else len(parts[produced])),
            ("data", start + current % SLOTS * SIZE),
        ):
            self.overlay.set("struct rchan_buf", self.buffer, member, value)

    def halves(self, drop: int = 0) -> tuple[bytes, bytes, int]:
        """The records in two parts, cut at an event; the number of events in the first part."""
        half = len(self.times) // 2
        magic = self.data[:4]
        at, places = -1, []
        while (at := self.data.find(magic, at + 1)) >= 0:
            places.append(at)
        sequence = [int.from_bytes(self.data[place + 4 : place + 8], "little") for place in places]
        cut = places[sequence.index(self.sequence[half])]
        end = places[sequence.index(self.sequence[half + drop])]
        return self.data[:cut], self.data[end:], half

    def number(self, value: int) -> None:
        """What the kernel counted last on CPU 1 (blk_trace.sequence)."""
        where, _ = self.overlay.where("struct blk_trace", self.trace, "sequence")
        base = int.from_bytes(self.dump.read(where, 8), "little")
        offset = int(self.dump.kernel.percpu_offsets[1])
        self.overlay.word((base + offset) % (1 << 64), value)


@pytest.fixture
def channel(opened):
    return lambda name: Channel(opened(name))


def of(dump):
    return dump.relay.events("vda/trace")


def test_a_full_buffer_of_an_old_kernel_ends_at_its_last_event(channel):
    laid = channel(OLD)
    first, second, _ = laid.halves()
    laid.fill({**dict.fromkeys(range(6), b""), 6: first, 7: second}, produced=8, full=True)
    laid.overlay.set("struct blk_trace", laid.trace, "dropped.counter", 12)
    dump = laid.overlay.dump()
    events = of(dump)
    assert events[events["cpu"] == 1]["sequence"].tolist() == laid.sequence
    assert events.attrs["lost"] == [
        {"device": "254:0", "cpu": 1, "events": 12, "since_ns": laid.times[-1], "until_ns": None}
    ]
    moment = f"{laid.times[-1] / 1e9:.6f} s"
    (told,) = events.attrs["problems"]
    assert told.startswith("254:0, CPU 1: 12 events were dropped")
    assert moment in told
    # Everything that rests on them says so.
    latencies = dump.relay.blktrace("vda/trace").latencies()
    for table in (latencies.requests, latencies.summary(), latencies.depth()):
        assert told in table.attrs["problems"]
        assert any(
            moment in problem and "without a completion" in problem for problem in table.attrs["problems"]
        )
        assert table.attrs["lost"] == events.attrs["lost"]
    for draw in (io.offsets, io.iops, io.throughput, io.latency, io.depth):
        ax = draw(events)
        texts = " ".join(text.get_text() for text in ax.texts)
        assert "some events were dropped from" in texts
        assert "events are missing" in texts


def test_a_full_buffer_says_so_though_nothing_counts_what_it_refused(channel):
    laid = channel(OLD)
    laid.fill({**dict.fromkeys(range(7), b""), 7: laid.data}, produced=8, full=True)
    (lost,) = of(laid.overlay.dump()).attrs["lost"]
    assert lost == {"device": "254:0", "cpu": 1, "events": None, "since_ns": laid.times[-1], "until_ns": None}


def test_what_an_old_kernel_refused_before_may_be_missing_where_a_sub_buffer_ends(channel):
    laid = channel(OLD)
    first, second, half = laid.halves()
    laid.fill({7: first, 8: second}, produced=8, full=False)
    laid.overlay.set("struct blk_trace", laid.trace, "dropped.counter", 12)
    events = of(laid.overlay.dump())
    assert events[events["cpu"] == 1]["sequence"].tolist() == laid.sequence
    assert events.attrs["lost"] == [
        {
            "device": "254:0",
            "cpu": 1,
            "events": 12,
            "since_ns": laid.times[half - 1],
            "until_ns": laid.times[half],
        }
    ]
    assert "left no gap" in events.attrs["problems"][0]


def test_what_was_refused_before_all_that_is_kept_makes_nothing_of_it_doubtful(channel):
    laid = channel(OLD)
    laid.fill({20: laid.data}, produced=20, full=False)
    laid.overlay.set("struct blk_trace", laid.trace, "dropped.counter", 12)
    events = of(laid.overlay.dump())
    assert events.attrs["lost"] == []
    (told,) = events.attrs["problems"]
    assert "12 more events were dropped before those that are kept" in told


def test_counters_that_do_not_fit_leave_everything_doubtful(channel):
    laid = channel(OLD)
    laid.overlay.set("struct blk_trace", laid.trace, "dropped.counter", 12)
    events = of(laid.overlay.dump())
    (lost,) = events.attrs["lost"]
    assert (lost["events"], lost["since_ns"], lost["until_ns"]) == (12, None, None)
    assert any("12 events were dropped" in problem for problem in events.attrs["problems"])


def test_a_new_kernels_numbers_tell_how_many_came_after_the_last_event(channel):
    laid = channel(NEW)
    laid.fill({**dict.fromkeys(range(7), b""), 7: laid.data}, produced=8, full=True)
    laid.number(laid.sequence[-1] + 12)
    laid.overlay.set("struct rchan_buf", laid.buffer, "stats.full_count", 12)
    events = of(laid.overlay.dump())
    assert events.attrs["lost"] == [
        {"device": "254:0", "cpu": 1, "events": 12, "since_ns": laid.times[-1], "until_ns": None}
    ]
    assert len(events.attrs["problems"]) == 1


def test_a_new_kernels_gap_is_what_its_counter_says(channel):
    laid = channel(NEW)
    first, second, half = laid.halves(drop=5)
    laid.fill({7: first, 8: second}, produced=8, full=False)
    laid.overlay.set("struct rchan_buf", laid.buffer, "stats.full_count", 5)
    events = of(laid.overlay.dump())
    assert events.attrs["lost"] == [
        {
            "device": "254:0",
            "cpu": 1,
            "events": 5,
            "since_ns": laid.times[half - 1],
            "until_ns": laid.times[half + 5],
        }
    ]
    assert len(events.attrs["problems"]) == 1


@pytest.mark.parametrize("name", ["debian-5.10", OLD, "debian-6.12", NEW])
def test_each_kernel_counts_the_last_event_it_wrote(opened, name):
    trace = opened(name).relay.blktrace("vda/trace")
    counted = trace.counted(trace)
    last = trace.events.groupby("cpu")["sequence"].max().to_dict()
    assert {cpu: found.numbered for cpu, found in counted.cpus.items()} == last
    assert trace.losses == []


def test_a_request_is_not_called_unanswered_where_its_answer_may_be_missing():
    rows = [(1, "D", 8, 0), (5, "D", 16, 0), (9, "D", 24, 0), (9, "Q", 32, 1)]
    frame = pd.DataFrame(rows, columns=["timestamp", "action", "sector", "cpu"])
    frame["timestamp"] = pd.to_timedelta(frame["timestamp"], unit="s")
    frame = frame.assign(bytes=512, rwbs="W", comm="x", sequence=[1, 2, 3, 1], device="8:0")
    frame = frame.astype({"sector": np.uint64, "device": "category", "comm": "str"})
    lost = {"device": "8:0", "cpu": 1, "events": 3, "since_ns": 4 * 10**9, "until_ns": 6 * 10**9}
    frame.attrs["lost"] = [lost]
    found = requests_of(frame)
    assert found.pending.tolist() == [True] * 3
    assert found.unsure.tolist() == [True, True, False]
    assert (
        "of 2 the completion may be among the events that are missing from 4.000 s on"
        in io.depth(frame).get_label()
    )
    frame.attrs["lost"] = []
    assert not requests_of(frame).unsure.any()
    assert "may be" not in io.depth(frame).get_label()


def test_what_was_overwritten_is_told(channel):
    laid = channel(OLD)
    laid.fill({20: laid.data}, produced=20, full=False)
    laid.overlay.set("struct rchan_buf", laid.buffer, "subbufs_consumed", 9)
    dump = laid.overlay.dump()
    assert int(dump.relay.channels["lost_subbufs"].iloc[1]) == 4
    (told,) = of(dump).attrs["problems"]
    assert "CPU 1: 4 sub-buffers were overwritten before anybody read them" in told
    assert told in dump.relay.blktrace("vda/trace").latencies().requests.attrs["problems"]


def test_a_full_buffer_that_may_have_been_full_before_is_certain_from_its_last_event_on(channel):
    laid = channel(OLD)
    first, second, half = laid.halves()
    laid.fill({**dict.fromkeys(range(12, 18), b""), 18: first, 19: second}, produced=20, full=True)
    laid.overlay.set("struct blk_trace", laid.trace, "dropped.counter", 12)
    events = of(laid.overlay.dump())
    assert events.attrs["lost"] == [
        {"device": "254:0", "cpu": 1, "events": 12, "since_ns": laid.times[-1], "until_ns": None}
    ]
    certain, possible = events.attrs["problems"]
    assert f"{laid.times[-1] / 1e9:.6f} s" in certain
    assert "left no gap" in possible
    assert (
        f"CPU 1 from {laid.times[half - 1] / 1e9:.6f} s on up to {laid.times[half] / 1e9:.6f} s" in possible
    )
