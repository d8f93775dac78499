"""Windows of block traces: what is drawn, counted and averaged is what the events of that window say."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import StepPatch

import kernlab
from kernlab import KernlabError
from kernlab.plots import io
from kernlab.plots.io.window import window_of
from kernlab.traces.clock.clocks import clocks

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def sample():
    with kernlab.open(kernlab.sample("io")) as dump:
        yield dump


@pytest.fixture(scope="module")
def events(sample):
    """The whole trace as the log's clock counts."""
    return io.on_axis(sample.relay.blktrace("vda/trace", mode="all").events, clocks(sample.kernel))


@pytest.fixture(autouse=True)
def _close():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def ns(events):
    return events["timestamp"].to_numpy().view(np.int64)


def under_way(events, at):
    """How many requests were out just after each moment, one event after the other, of those whose issue is seen."""
    out, found = set(), []
    rows = events[events["action"].isin(["D", "C"])]
    walk = zip(ns(rows).tolist(), rows["action"].tolist(), rows["sector"].tolist(), strict=True)
    step = next(walk, None)
    for moment in at:
        while step is not None and step[0] <= moment:
            (out.add if step[1] == "D" else out.discard)(step[2])
            step = next(walk, None)
        found.append(len(out))
    return found


def steps_of(ax):
    """(seconds, height) at the corners of the areas that depth draws."""
    low, high = (part for part in ax.collections if isinstance(part, PolyCollection))
    return low.get_paths()[0].vertices, high.get_paths()[0].vertices


def test_depth_of_ten_milliseconds_is_each_change_not_a_band(sample, events):
    until = ns(events)[-1] - 30_000_000
    since = until - 10_000_000
    ax = sample.plot.io_depth(since=pd.Timedelta(since, "ns"), until=pd.Timedelta(until, "ns"))
    inside = events[(ns(events) > since) & (ns(events) <= until) & events["action"].isin(["D", "C"])]
    changes = [since, *ns(inside).tolist()]
    wanted = under_way(events, changes)
    low, high = steps_of(ax)
    # Nothing lies between the least and the most: each change is drawn where it was.
    assert {tuple(point) for point in high.tolist()} <= {tuple(point) for point in low.tolist()}
    drawn = {(round(float(x) * SECOND), int(y)) for x, y in low if y}
    assert {x for x, _ in drawn} <= {*changes, until}
    assert {(x, y) for x, y in zip(changes, wanted, strict=True) if y} <= drawn
    assert ax.get_xlim()[0] == pytest.approx(since / SECOND, abs=1e-3)
    assert ax.get_xlim()[1] == pytest.approx(until / SECOND, abs=1e-3)
    assert f"at most, {wanted[-1]} when the window ended" in ax.get_label()
    # The average is over the window.
    lasting = np.diff([*changes, until])
    mean = float((lasting * wanted).sum() / lasting.sum())
    assert f": {mean:.1f} on average" in ax.get_label()


@pytest.mark.parametrize("length", [5_000_000, 100_000_000, 2 * SECOND])
def test_rates_of_a_window_add_up_to_what_completed_in_it(events, length):
    until = int(ns(events)[-1])
    since = until - length
    done = events[(events["action"] == "C") & (ns(events) >= since)]
    for name, weight in (("iops", np.ones(len(done))), ("throughput", done["bytes"] / 1e6)):
        ax = getattr(io, name)(events, since=since / SECOND)
        data = [patch.get_data() for patch in ax.patches if isinstance(patch, StepPatch)]
        area = sum(float(((one.values - one.baseline) * np.diff(one.edges)).sum()) for one in data)
        assert area == pytest.approx(weight.sum(), rel=1e-6)
        assert all(12 <= len(one.edges) <= 250 for one in data)
        for one in data:
            assert one.edges[0] == pytest.approx(since / SECOND, abs=1e-7)
            assert np.ptp(np.diff(one.edges)) == pytest.approx(0, abs=1e-7)


def test_each_request_of_a_short_window_has_its_line(sample, events):
    ax = sample.plot.io_latency(since="-100ms")
    since = clocks(sample.kernel).crash_ns - 100_000_000
    (answered, never) = (part for part in ax.collections if isinstance(part, LineCollection))
    # Each issue and the completion that follows at its sector.
    rows = events[events["action"].isin(["D", "C"])]
    pairs, waiting = [], {}
    for at, action, sector in zip(
        ns(rows).tolist(), rows["action"].tolist(), rows["sector"].tolist(), strict=True
    ):
        if action == "D":
            waiting[sector] = at
        elif sector in waiting:
            pairs.append((waiting.pop(sector), at))
    wanted = sorted((max(begin, since), end) for begin, end in pairs if end >= since)
    found = sorted(
        tuple(np.round(one[:, 0] * SECOND).astype(int).tolist()) for one in answered.get_segments()
    )
    assert np.allclose(np.array(found), np.array(wanted), atol=10, rtol=0)
    assert len(never.get_segments()) == len(waiting) == 6
    crash = clocks(sample.kernel).crash_ns / SECOND
    assert {round(float(one[-1, 0]), 6) for one in never.get_segments()} == {round(crash, 6)}


def test_a_window_is_written_in_many_ways(sample):
    crash = clocks(sample.kernel).crash_ns
    labels = {
        sample.plot.io_iops(since=since).get_label()
        for since in (-2, "-2s", "-2000ms", pd.Timedelta(-2, "s"), pd.Timedelta(crash - 2 * SECOND, "ns"))
    }
    assert len(labels) == 1
    assert f"to {crash / SECOND:.3f} after boot" in labels.pop().replace(" s after", " after")


def test_before_the_end_is_before_the_last_event_where_no_crash_is_known(sample):
    saved = sample.relay.blktrace("vda/trace", mode="all").events
    found = window_of(saved, None, -1, None)
    assert found.last == ns(saved)[-1]
    assert found.first == found.last - SECOND
    assert found.time == "since boot by CLOCK_MONOTONIC"


@pytest.mark.parametrize("name", ["offsets", "iops", "throughput", "latency", "depth"])
def test_windows_without_a_request_and_wrong_ones(sample, name):
    plot = getattr(sample.plot, f"io_{name}")
    plot(since="-3ms").figure.canvas.draw()
    plot(since=7.3, until=7.4).figure.canvas.draw()
    with pytest.raises(KernlabError, match=r"begins at 6\.261 s, after this window ends"):
        plot(until=2)
    with pytest.raises(KernlabError, match="since must be before until"):
        plot(since=9, until=8)
    with pytest.raises(KernlabError, match="is not an instant"):
        plot(since="yesterday")


def test_flushes_stand_below_the_axis(opened):
    dump = opened("debian-6.12")
    events = io.on_axis(dump.relay.blktrace("vda/trace", mode="all").events, clocks(dump.kernel))
    issued = events[(events["action"] == "D") & events["rwbs"].str.startswith("F")]
    ticks = [line for line in dump.plot.io_depth().get_lines() if line.get_marker() == "|"]
    drawn = np.concatenate([line.get_xdata() for line in ticks])
    assert len(issued) > 10
    assert {round(float(x), 6) for x in drawn} <= {round(x / SECOND, 6) for x in ns(issued).tolist()}
    # All that a pixel tells apart.
    cell = (ns(events)[-1] - ns(events)[0]) / 1000
    assert len(drawn) >= len({int((x - ns(events)[0]) // cell) for x in ns(issued).tolist()}) - 1


def test_a_window_in_which_events_of_a_cpu_are_missing_is_shaded(sample):
    ax = sample.plot.io_iops(since=7, until=8)
    assert any("missing" in text.get_text() for text in ax.texts)
    ax = sample.plot.io_iops(since=12, until=13)
    assert not any("missing" in text.get_text() for text in ax.texts)
