"""Plots of block traces: what they draw adds up to the events; what did not complete is what the tasks wait for."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.collections import PolyCollection
from matplotlib.patches import StepPatch
from traces import blk_records

import kernlab
from kernlab import KernlabError
from kernlab.plots import io, style
from kernlab.plots.io.requests import (
    NEVER,
    READ,
    WRITE,
    Requests,
    kinds_of,
    quantiles,
    requests_of,
    steps,
    thinned,
)
from kernlab.traces.blktrace.trace import BlkTrace
from kernlab.traces.clock.clocks import clocks

NAMES = ["offsets", "iops", "throughput", "latency", "depth"]
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def sample():
    with kernlab.open(kernlab.sample("io")) as dump:
        yield dump


@pytest.fixture(scope="module")
def events(sample):
    return sample.relay.blktrace("vda/trace", mode="all").events


@pytest.fixture(autouse=True)
def _close():
    # pandas' own tests of extension arrays leave another backend behind.
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def trace(rows, **more):
    """Events by (ns, action, sector, bytes, rwbs, comm), each CPU counting from 1."""
    frame = pd.DataFrame(rows, columns=["timestamp", "action", "sector", "bytes", "rwbs", "comm"])
    frame["timestamp"] = pd.to_timedelta(frame["timestamp"], unit="ns")
    frame["sector"] = frame["sector"].astype(np.uint64)
    frame["cpu"] = more.get("cpu", 0)
    frame["sequence"] = more.get("sequence", np.arange(1, len(frame) + 1))
    frame["device"] = pd.Categorical([more.get("device", "8:16")] * len(frame))
    return frame.astype({"action": "category", "rwbs": "category", "comm": "str"})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_plot_draws_in_both_themes_800_pixels_wide_and_nothing_is_cut_off(sample, name, theme):
    ax = getattr(sample.plot, f"io_{name}")(theme=theme)
    figure = ax.figure
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    assert width == 800
    wanted = style.LIGHT if theme == "light" else style.DARK
    assert mpl.colors.same_color(figure.get_facecolor(), wanted.background)
    drawn = ax.get_tightbbox(figure.canvas.get_renderer())
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width + 1
    assert drawn.y1 <= height + 1
    assert "254:0" in ax.get_label()
    # The last event, at 17.718377 s by CLOCK_MONOTONIC.
    assert "17.741" in ax.get_label()


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_on_the_axes_given_and_takes_their_background(events, name):
    with pyplot.style.context("dark_background"):
        given = pyplot.subplots()[1]
    assert getattr(io, name)(events, given) is given
    assert style.theme_of(None, given) is style.DARK


def test_what_did_not_complete_is_what_tasks_wait_for(sample):
    """Threads that wait for the disk sleep in D; each had one request under way, and the trace names them."""
    unread = sample.relay.blktrace("vda/trace").events
    pending = requests_of(unread).pending
    requests = requests_of(unread)
    issues = unread[unread["action"] == "D"].drop_duplicates("sector", keep="last").set_index("sector")
    waiting = issues.loc[requests.sector[pending], "pid"].tolist()
    tasks = sample.tasks
    asleep = tasks[(tasks["state"] == "D") & tasks["comm"].str.contains("database|backup|import")]
    assert sorted(waiting) == sorted(asleep["pid"])
    assert len(waiting) == 6


def test_latency_and_depth_agree_with_what_is_counted_as_btt_does(sample):
    """`Latencies` walks event by event; the plots pair by sorting."""
    found = sample.relay.blktrace("vda/trace")
    requests = requests_of(found.events)
    table = found.latencies().requests.dropna(subset=["issued", "completed"])
    whole = (requests.issued != NEVER) & ~requests.pending
    mine = pd.Series(requests.completed[whole], index=requests.issued[whole])
    theirs = table["completed"].astype("int64").set_axis(table["issued"].astype("int64"))
    assert len(theirs) > 700
    assert mine.loc[theirs.index].tolist() == theirs.tolist()
    depth = found.latencies().depth()
    depth = depth[depth["timestamp"].astype("int64") > requests.whole_from].drop_duplicates(
        "timestamp", keep="last"
    )
    moments, count = requests.changes()
    count = count[np.searchsorted(moments, depth["timestamp"].astype("int64"), side="right") - 1]
    assert count.tolist() == depth["depth"].tolist()
    # Six threads ask, each for one thing at a time.
    assert count.max() == 6


def areas(ax):
    """What the stacked rates add up to, by colour."""
    found = {}
    for patch in ax.patches:
        if isinstance(patch, StepPatch):
            data = patch.get_data()
            found[mpl.colors.to_hex(patch.get_facecolor())] = float(
                ((data.values - data.baseline) * np.diff(data.edges)).sum()
            )
    return found


def test_rates_add_up_to_the_completions(events):
    done = events[events["action"] == "C"]
    for ax, amount in ((io.iops(events), 1), (io.throughput(events), done["bytes"] / 1e6)):
        weight = pd.Series(1.0, index=done.index) * amount
        reads = done["rwbs"].str.startswith("R")
        found = areas(ax)
        assert found[style.LIGHT.blue.lower()] == pytest.approx(weight[reads].sum(), rel=0.01)
        assert found[style.LIGHT.orange.lower()] == pytest.approx(weight[~reads].sum(), rel=0.01)


def test_offsets_draw_what_was_queued(sample, events):
    ax = sample.plot.io_offsets()
    asked = io.on_axis(events, clocks(sample.kernel))
    asked = asked[asked["action"] == "Q"]
    dots = [line for line in ax.get_lines() if line.get_clip_on() and len(line.get_xdata())]
    drawn = {(round(x, 6), int(y)) for line in dots for x, y in zip(*line.get_data(), strict=True)}
    wanted = {
        (round(x, 6), int(y))
        for x, y in zip(asked["timestamp"].dt.total_seconds(), asked["sector"] * 512, strict=True)
    }
    assert drawn <= wanted
    assert len(drawn) > 0.95 * len(wanted)
    names = [text.get_text() for legend in legends(ax) for text in legend.get_texts()]
    # Threads (database-r1, …) go by the name of their process.
    assert names == ["database", "import", "backup", "reads", "writes", "not completed"]
    assert "database 667" in ax.get_label()


def legends(ax):
    return [child for child in ax.get_children() if isinstance(child, mpl.legend.Legend)]


def test_processes_beyond_the_top_are_the_others(events):
    ax = io.offsets(events, top=2)
    names = [text.get_text() for legend in legends(ax) for text in legend.get_texts()]
    assert names[2] == "4 others"
    assert "and 4 others" in ax.get_label()


def test_time_in_which_a_cpu_is_missing_is_shaded_and_not_counted():
    rows = [(second * SECOND, "C", 8 * second, 512, "R", "a") for second in range(1, 11)]
    cpu = [0] * 5 + [1] * 5
    whole = trace(rows, cpu=cpu, sequence=[*range(1, 6), *range(1, 6)])
    assert requests_of(whole).whole_from == SECOND
    late = trace(rows, cpu=cpu, sequence=[*range(1, 6), *range(7, 12)])
    assert requests_of(late).whole_from == 6 * SECOND
    assert ": 1.2 on average" in io.iops(late).get_label()
    texts = [text.get_text() for text in io.iops(late).texts]
    assert any("missing" in text for text in texts)
    assert not any("missing" in text.get_text() for text in io.iops(whole).texts)


def test_an_issue_whose_completion_may_be_missing_is_not_called_pending():
    rows = [(1, "D", 8, 512, "W", "a"), (2, "Q", 16, 512, "W", "a"), (3, "D", 24, 512, "W", "a")]
    found = requests_of(trace(rows, cpu=[0, 1, 0], sequence=[1, 9, 2]))
    assert found.sector.tolist() == [24]
    assert found.pending.tolist() == [True]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("DDCQ"), st.integers(0, 4), st.sampled_from([0, 512, 4096])),
        min_size=1,
        max_size=60,
    )
)
def test_requests_are_paired_as_one_by_one(plan):
    rows = [(10 * at, action, sector, size, "R", "x") for at, (action, sector, size) in enumerate(plan)]
    # By where each goes on: those of which nothing came back, and the rests of those of which a part did.
    waiting, rests, pairs, parted = {}, {}, [], {}
    for time, action, sector, size, *_ in rows:
        if not size or action not in "DC":
            continue
        if action == "D":
            waiting[sector] = (time, sector, sector + 8 if size == 4096 else sector + 1)
            # The rest of another is issued again.
            if sector in rests:
                request = rests.pop(sector)
                pairs.append((request[0], parted.pop(request), request[1]))
            continue
        request = waiting.pop(sector, None) or rests.pop(sector, None)
        if request is None:
            continue
        parted.pop(request, None)
        reached = sector + size // 512
        if reached >= request[2]:
            pairs.append((request[0], time, request[1]))
        else:
            parted[request] = time
            rests[reached] = request
    waiting = sorted([(request[0], request[1]) for request in [*waiting.values(), *parted]])
    found = requests_of(trace(rows))
    both = (found.issued != NEVER) & ~found.pending
    mine = zip(
        found.issued[both].tolist(), found.completed[both].tolist(), found.sector[both].tolist(), strict=True
    )
    assert sorted(mine) == sorted(pairs)
    out = zip(found.issued[found.pending].tolist(), found.sector[found.pending].tolist(), strict=True)
    assert sorted(out) == waiting
    assert (found.changes()[1] >= 0).all()
    for name in ("iops", "depth"):
        assert getattr(io, name)(trace(rows)).get_label()
    pyplot.close("all")


def test_kinds_by_letters():
    frame = trace([(0, "C", 0, 512, letters, "x") for letters in ("R", "RA", "WS", "FWFS", "D", "N", "FN")])
    assert kinds_of(frame).tolist() == [READ, READ, WRITE, WRITE, 2, 2, 2]
    # Zone commands and write-zeroes bring no data that a plain write would.
    frame = trace(
        [(0, "C", 0, 512, letters, "x") for letters in ("WZS", "ZAS", "ZR", "ZRA", "ZF", "ZO", "ZC")]
    )
    assert kinds_of(frame).tolist() == [2] * 7


def test_steps_are_equal_and_cover_everything():
    none = np.zeros(0, dtype=np.int64)
    for last, count in ((1, 0), (7, 3), (10**9, 100), (3 * 10**14, 10**6)):
        many = np.zeros(count, dtype=np.int64)
        edges = steps(
            Requests("8:0", many, none, none.view("u8"), none, none.astype("i1"), none > 0, 0, last, 0, False)
        )
        assert edges[0] == 0
        assert edges[-1] == last
        assert np.allclose(np.diff(edges), edges[1])
        assert len(edges) <= 250


def test_quantiles_are_values_that_occurred():
    values = np.array([5, 1, 9, 3, 7])
    moments = np.array([0, 1, 2, 3, 25])
    half, most = quantiles(values, moments, np.array([0.0, 10.0, 20.0, 30.0]), (0.5, 0.99))
    assert half[[0, 2]].tolist() == [3, 7]
    assert most[[0, 2]].tolist() == [9, 7]
    assert np.isnan(half[1])


def test_points_upon_each_other_are_drawn_once():
    x = np.repeat([0.0, 1.0, 2.0], 1000)
    keep = thinned(x, x, (x > 1.5).astype(np.int64))
    assert keep.tolist() == [0, 1000, 2000]


def test_millions_of_points_are_drawn_as_few():
    chance = np.random.default_rng(1)
    keep = thinned(chance.random(3_000_000), np.zeros(3_000_000))
    assert len(keep) <= 1001


def test_depth_of_a_fast_disk_shows_least_and_most():
    rows = []
    for at in range(2000):
        rows += [(at * 100, "D", at * 8, 512, "W", "x"), (at * 100 + 60, "C", at * 8, 512, "W", "x")]
    ax = io.depth(trace(rows))
    low, high = (part for part in ax.collections if isinstance(part, PolyCollection))
    assert low.get_paths()[0].vertices[:, 1].max() == 0
    assert high.get_paths()[0].vertices[:, 1].max() == 1
    assert "0.6 on average, 1 at most" in ax.get_label()


def test_latencies_that_differ_much_have_a_logarithmic_axis():
    rows = []
    for at, took in enumerate([10, 20, 10**6, 10**8] * 5):
        rows += [(at * SECOND, "D", at, 512, "R", "x"), (at * SECOND + took, "C", at, 512, "R", "x")]
    assert io.latency(trace(rows)).get_yscale() == "log"
    alike = [row for row in rows if row[0] % SECOND in (0, 10, 20)]
    ax = io.latency(trace(alike))
    ax.figure.canvas.draw()
    assert "longest" in ax.get_label()


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", NAMES)
def test_odd_traces_are_drawn_too(name):
    for rows in (
        [(5, "Q", 8, 0, "FN", "x")],
        [(5, "C", 8, 512, "R", "x")],
        [(5, "D", 8, 512, "R", "x")],
        [(5, "D", 2**55, 512, "R", "$\\frac{\x1b[31m_"), (5, "C", 2**55, 512, "R", None)],
    ):
        ax = getattr(io, name)(trace(rows))
        ax.figure.canvas.draw()
        assert "\x1b" not in ax.get_label()


def test_of_several_devices_the_busiest_is_drawn_unless_one_is_named():
    one = trace([(at, "C", at, 512, "R", "x") for at in range(9)])
    two = trace([(at, "C", at, 512, "R", "x") for at in range(5)], device="8:32")
    both = pd.concat([one, two]).astype({"device": "category"}).sort_values("timestamp")
    assert requests_of(both).device == "8:16"
    assert requests_of(both, "8:32").device == "8:32"
    with pytest.raises(KernlabError, match=r"no events of 'sda'; it has 8:16, 8:32"):
        io.iops(both, device="sda")
    with pytest.raises(KernlabError, match="nothing to draw"):
        io.iops(one[:0])


def test_a_dump_without_a_block_trace_says_so(opened, sample):
    with pytest.raises(KernlabError, match="there is no relay channel 'vdb/trace'"):
        sample.plot.io_iops("vdb/trace")
    with (
        kernlab.open(kernlab.sample("oom")) as other,
        pytest.raises(KernlabError, match="nobody traced a disk"),
    ):
        other.plot.io_depth()


def test_dropped_events_are_told(events):
    lossy = events.copy()
    lossy.attrs["problems"] = ["CPU 0: 7 events were dropped (gaps in the sequence numbers)"]
    texts = [text.get_text() for text in io.iops(lossy).texts]
    assert any("some events were dropped" in text for text in texts)


def test_flushes_are_requests_too():
    events = BlkTrace.from_bytes({0: blk_records.cases()["hungflush.blktrace.0"]}).events
    found = requests_of(events)
    assert found.pending.tolist() == [False, True]
    assert found.issued.tolist() == [1_010_000, 2_000_000]
    assert found.kind.tolist() == [WRITE, 2]
    assert "1 when the trace ended" in io.depth(events).get_label()
    assert "1 had not completed at the end, the oldest after 32 s" in io.latency(events).get_label()
    # Where it has no place in the plot, it stands below the axis.
    for name in ("offsets", "iops", "throughput", "depth"):
        ax = getattr(io, name)(events)
        assert below(ax) == {"o": [0.002]}
        assert "not completed" in [text.get_text() for legend in legends(ax) for text in legend.get_texts()]


def below(ax):
    """Moments (s) of the marks below the axis, by their markers."""
    lines = [line for line in ax.get_lines() if not line.get_clip_on() and not np.any(line.get_ydata())]
    return {line.get_marker(): np.round(line.get_xdata(), 9).tolist() for line in lines}


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_flushes_of_a_dump_are_paired_as_the_table_has_them(opened, name):
    found = opened(name).relay.blktrace("vda/trace", mode="all")
    requests = requests_of(found.events)
    table = found.latencies().requests
    own = table[table["rwbs"] == "FN"]
    assert len(own) > 3
    flushes = (requests.bytes == 0) & ~requests.pending
    assert requests.issued[flushes].tolist() == own["issued"].astype("int64").tolist()
    assert requests.completed[flushes].tolist() == own["completed"].astype("int64").tolist()


def test_a_remap_of_another_device_is_no_gap():
    """Each device's CPU counts its remaps, which carry the device of the partition they lead to."""
    rows = [(1, "Q", 8, 512, "W", "x"), (2, "A", 8, 512, "W", "x"), (3, "Q", 8, 512, "W", "x")]
    events = trace(rows, cpu=[0, 1, 1], sequence=[1, 1, 2])
    events["device"] = pd.Categorical(["8:0", "8:3", "8:0"])
    assert requests_of(events, "8:0").whole_from == 1
    assert requests_of(events.assign(sequence=[1, 5, 6]), "8:0").whole_from == 3
