"""Plots of a replay: what is drawn is what the frames say, what is not known is not bridged, names are only shown."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Rectangle
from support.replay_frames import story

from kernlab import KernlabError
from kernlab.plots import both_themes, style
from kernlab.plots.io.figures import latency_of
from kernlab.plots.replay import LANES, replay, static
from kernlab.plots.replay.disks import alone, requests_of
from kernlab.plots.replay.memory import KINDS, filled
from kernlab.plots.replay.scene import Scene, common, people
from kernlab.plots.replay.thin import few_rows, ran_most, spread

NS = 1_000_000_000
#: Where story() has its hole: 18.6 s to 17.4 s before the crash.
HOLE = (125.25 - 30 * 0.62, 125.25 - 30 * 0.58)


@pytest.fixture(scope="module")
def frames():
    return story()


@pytest.fixture(autouse=True)
def _close():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def lane(frames, name, **more):
    (ax,) = replay(frames, lanes=[name], **more)
    return ax


def ns(times):
    return times.to_numpy().astype("m8[ns]").view(np.int64)


def drawn(ax, label):
    """The artist that was given a label."""
    (found,) = [one for one in ax.get_children() if one.get_label() == label]
    return found


def corners(collection):
    return np.concatenate([path.vertices for path in collection.get_paths()])


def hatched(ax):
    """(since, until, low, high) of what is hatched, in seconds."""
    found = [one for one in ax.patches if isinstance(one, Rectangle) and one.get_label() == "_not known"]
    return [
        (one.get_x(), one.get_x() + one.get_width(), one.get_y(), one.get_y() + one.get_height())
        for one in found
    ]


def test_there_is_a_lane_for_each_frame_and_all_have_one_axis_of_time(frames):
    axes = replay(frames)
    figure = axes[0].figure
    assert isinstance(axes, np.ndarray)
    assert {ax.get_xlim() for ax in axes} == {(95.25, 125.25)}
    assert len({(ax.get_position().x0, ax.get_position().x1) for ax in axes}) == 1
    assert figure.get_figwidth() * figure.dpi == 800
    figure.canvas.draw()
    assert all(ax.get_label() for ax in axes)
    # vdb, which had a third of the requests and left some unanswered, has lanes, too.
    assert len(axes) == len(LANES) + 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off_in_either_theme(frames, theme):
    axes = replay(frames, theme=theme)
    figure = axes[0].figure
    wanted = style.LIGHT if theme == "light" else style.DARK
    assert mpl.colors.same_color(figure.get_facecolor(), wanted.background)
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    renderer = figure.canvas.get_renderer()
    for text in figure.findobj(mpl.text.Text):
        if text.get_text() and text.get_visible() and text.axes is None:
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0, text
            assert box.x1 <= width, text
            assert box.y0 >= 0, text
            assert box.y1 <= height, text
    for ax in axes:
        for text in ax.texts:
            if text.get_text():
                assert text.get_window_extent(renderer).x1 <= width, text


def test_areas_of_memory_are_the_frames_bytes(frames):
    ax = lane(frames, "memory")
    rows = frames.memory.dropna(subset=["total_bytes"])
    at = ns(rows["time"]) / NS
    below = np.zeros(len(rows))
    for column, name, _ in KINDS:
        above = below + rows[column].to_numpy(dtype=float)
        points = {(round(x, 6), round(y)) for x, y in corners(drawn(ax, f"_{name}")).tolist()}
        # Each row's value begins where the row does.
        missing = [
            (x, y)
            for x, y in zip(at.tolist(), above.tolist(), strict=True)
            if (round(x, 6), round(y)) not in points
        ]
        assert not missing, name
        below = above
    assert below.tolist() == rows["total_bytes"].tolist()


def test_a_break_is_a_gap_that_nothing_bridges(frames):
    for name in ("memory", "processes"):
        ax = lane(frames, name)
        ((since, until, low, high),) = hatched(ax)
        known = ns(frames.memory.dropna(subset=["total_bytes"])["time"]) / NS
        assert since == pytest.approx(HOLE[0])
        assert until == pytest.approx(known[known > HOLE[0]].min())
        assert (low, high) == (0, 1)
        for part in ax.collections:
            if isinstance(part, PolyCollection):
                for path in part.get_paths():
                    x = path.vertices[:, 0]
                    assert x.max() <= since + 1e-6 or x.min() >= until - 1e-6
        for line in ax.get_lines():
            if line.get_label().lstrip("_").isdigit():
                x, y = np.array(line.get_xdata()), np.array(line.get_ydata(), dtype=float)
                inside = (x > since + 1e-6) & (x < until - 1e-6)
                assert np.isnan(y[inside]).all()
                between = (x[:-1] <= since + 1e-6) & (x[1:] >= until - 1e-6)
                assert np.isnan(y[:-1][between] + y[1:][between]).all()


def test_what_no_source_tells_is_not_zero():
    frames = story(broken=False)
    frames = dataclasses.replace(frames, memory=frames.memory.assign(slab_bytes=pd.NA))
    ax = lane(frames, "memory")
    assert not [one for one in ax.get_children() if one.get_label() == "_slab"]
    assert drawn(ax, "_not told").get_hatch() == "...."
    assert "slab" not in ax.get_label()


def test_lines_of_processes_are_the_largest_and_their_bytes(frames):
    ax = lane(frames, "processes", top=3)
    table = frames.memory_by_process.dropna(subset=["rss_bytes"])
    largest = table.groupby("pid")["rss_bytes"].max().nlargest(3)
    lines = [line for line in ax.get_lines() if line.get_label().lstrip("_").isdigit()]
    assert len(lines) == 3
    wanted = {
        frozenset(zip((ns(own["time"]) / NS).round(6).tolist(), own["rss_bytes"].tolist(), strict=True))
        for own in (table[table["pid"] == pid] for pid in largest.index)
    }
    for line in lines:
        x, y = np.array(line.get_xdata()), np.array(line.get_ydata(), dtype=float)
        points = set(zip(x.round(6).tolist(), y.tolist(), strict=True))
        assert any(own <= points for own in wanted)
    assert "leak (812) 1.2 GiB at most" in ax.get_label()


def test_a_window_between_two_readings_draws_what_held(frames):
    known = ns(frames.memory.dropna(subset=["total_bytes"])["time"])
    at = int(known[known > 110 * NS][0])
    since, until = (at + 10_000_000) / NS, (at + 30_000_000) / NS
    memory, processes = replay(frames, lanes=["memory", "processes"], since=since, until=until, top=2)
    row = frames.memory[ns(frames.memory["time"]) == at].iloc[0]
    assert corners(drawn(memory, "_processes"))[:, 1].max() == row["anon_bytes"]
    table = frames.memory_by_process[ns(frames.memory_by_process["time"]) == at]
    lines = [line for line in processes.get_lines() if line.get_label().lstrip("_").isdigit()]
    assert sorted(float(np.nanmax(line.get_ydata())) for line in lines) == sorted(
        table["rss_bytes"].nlargest(2)
    )
    for line in lines:
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == pytest.approx((since, until))
    # Of a process that is not told of any more nobody knows that it was still there.
    told = frames.memory_by_process
    over = told[(ns(told["time"]) <= at) | (told["pid"] != 812).to_numpy()]
    ax = lane(dataclasses.replace(frames, memory_by_process=over), "processes", since=since, until=until)
    assert "leak" not in ax.get_label()


def test_a_title_says_what_filled_memory():
    at = np.arange(0, 100, dtype=np.int64) * NS
    free = np.interp(at / NS, [0, 20, 32, 99], [800.0, 800.0, 10.0, 12.0])
    total = np.full(100, 1000.0)
    since, until = filled(at, free, total)
    assert 19 * NS <= since <= 21 * NS
    assert 31 * NS <= until <= 32 * NS
    assert filled(at, np.full(100, 300.0), total) is None
    assert filled(at, np.full(100, 30.0), total) is None
    frames = story(broken=False)
    used = frames.memory["total_bytes"] - frames.memory["free_bytes"]
    full = frames.memory.assign(free_bytes=(frames.memory["free_bytes"] - frames.memory["free_bytes"].min()))
    full = full.assign(other_bytes=full["other_bytes"] + frames.memory["free_bytes"].min())
    assert used.max() > 0
    title = lane(dataclasses.replace(frames, memory=full), "memory").get_title("left")
    since, until = filled(
        ns(full["time"]), *(full[name].to_numpy(float) for name in ("free_bytes", "total_bytes"))
    )
    leak = frames.memory_by_process[frames.memory_by_process["pid"] == 812]
    own = (leak["anon_bytes"] + leak["shmem_bytes"]).to_numpy(float)
    grown = own[ns(leak["time"]) <= until][-1] - own[ns(leak["time"]) <= since][-1]
    # What it reads from files is not counted: that is given back.
    assert title.startswith(
        f"Memory filled in the {(until - since) // NS} s up to {until / NS:.3f} s: leak took "
    )
    assert title.endswith(f" {grown / (1 << 20):.1f} MiB of it")


def test_short_windows_show_each_interval_of_a_cpu(frames):
    ax = lane(frames, "cpus", since=-0.05)
    rows = frames.running[(ns(frames.running["end"]) > 125.2 * NS) & (frames.running["pid"] != 0)]
    boxes = drawn(ax, "_running").get_paths()
    found = sorted(
        (int(np.floor(path.vertices[:, 1].min())), round(path.vertices[:, 0].min(), 6)) for path in boxes
    )
    wanted = sorted(
        (int(cpu), round(max(start / NS, 125.2), 6))
        for cpu, start in zip(rows["cpu"], ns(rows["start"]), strict=True)
    )
    assert found == wanted
    assert len(wanted) > 3


def test_many_intervals_are_as_many_pixels():
    frames = story(intervals=200_000, requests=10, readings=20)
    ax = lane(frames, "cpus")
    image = drawn(ax, "_running").get_array()
    scene_cells = image.shape[1]
    assert 400 < scene_cells < 800
    # Each pixel has the colour of who ran most in it, counted one by one.
    first, span = 95.25 * NS, 30 * NS
    names = people(frames, int(first), int(first + span), style.LIGHT, {}, 5).names
    rows = frames.running[frames.running["cpu"] == 1]
    start, end = ns(rows["start"]), ns(rows["end"])
    height = image.shape[0] // 4
    for cell in (3, 200, 333, scene_cells - 2):
        low, high = first + span * cell / scene_cells, first + span * (cell + 1) / scene_cells
        inside = (start < high) & (end > low)
        took = np.minimum(end[inside], high) - np.maximum(start[inside], low)
        own = rows[inside].assign(took=took)
        busy = own[own["pid"] != 0]
        by = busy.groupby(busy["comm"].map(lambda name: names.index(name) if common(name) in names else 5))
        most = int(by["took"].sum().idxmax())
        column = image[height : 2 * height, cell]
        assert set(column.tolist()) <= {0, most + 1}
        # As high as it was busy.
        levels = height - 2 * round(height * 0.18 / 2)
        assert (column > 0).sum() == pytest.approx(busy["took"].sum() / (high - low) * levels, abs=1)


def test_a_cpu_that_is_not_known_is_hatched_and_an_idle_one_is_not(frames):
    ax = lane(frames, "cpus")
    found = hatched(ax)
    assert {int(low) for *_, low, _ in found} == {0, 2}
    for since, until, *_ in found:
        assert since == pytest.approx(HOLE[0], abs=0.1)
        assert until == pytest.approx(HOLE[1], abs=0.1)
    # Without idle threads nobody can tell the two apart.
    busy = dataclasses.replace(frames, running=frames.running[frames.running["pid"] != 0])
    assert not hatched(lane(busy, "cpus"))


def test_a_process_has_one_colour_in_all_lanes(frames):
    axes = replay(frames, lanes=["processes", "cpus", "offsets"])
    (leak,) = [
        line.get_color()
        for line in axes[0].get_lines()
        if line.get_label().startswith("_") and max(line.get_ydata(), default=0) > 1 << 30
    ]
    squares = {
        text.get_text(): mark.get_color()
        for mark, text in zip(axes[1].texts[0::2], axes[1].texts[1::2], strict=False)
    }
    assert leak == style.LIGHT.blue
    assert squares["leak"] == leak
    postgres = squares["postgres"]
    asked = frames.requests[(frames.requests["comm"] == "postgres") & (frames.requests["disk"] == "vda")]
    points = {
        round(float(x), 6)
        for line in axes[2].get_lines()
        if line.get_color() == postgres
        for x in line.get_xdata()
    }
    assert len(points) > 100
    assert points <= {round(x / NS, 6) for x in ns(asked["start"]).tolist()}


def test_requests_that_never_came_back_are_marked(frames):
    scene = Scene(
        frames, int(95.25 * NS), int(125.25 * NS), int(125.25 * NS), style.LIGHT, 500,
        people(frames, 0, int(125.25 * NS), style.LIGHT, {}, 5), {},
    )  # fmt: skip
    requests, _ = requests_of(scene, "vdb")
    never = frames.requests[(frames.requests["disk"] == "vdb") & frames.requests["end"].isna()]
    assert int(requests.pending.sum()) == len(never) > 0
    ax, _, late = replay(frames, lanes=["offsets vdb", "depth vdb", "latency vdb"])
    placed = never[never["bytes"] > 0]
    rings = [line for line in ax.get_lines() if line.get_marker() == "o" and not line.get_clip_on()]
    x = np.concatenate([line.get_xdata() for line in rings if np.any(line.get_ydata())])
    assert sorted(x.round(6).tolist()) == sorted((ns(placed["start"]) / NS).round(6).tolist())
    assert f"{len(never)} not back at the end" in ax.get_label()
    assert f"{len(never)} not back at the end, the oldest after" in late.get_label()
    flushes = frames.requests[(frames.requests["disk"] == "vdb") & frames.requests["flush"]]
    assert f"{len(flushes)} flushes" in ax.get_label()
    ticks = [line for line in ax.get_lines() if line.get_marker() == "|"]
    assert sum(len(line.get_xdata()) for line in ticks) <= len(flushes)


def test_queue_depth_is_what_was_out(frames):
    ax = lane(frames, "depth vda", since=-2, until=-1)
    table = frames.requests[frames.requests["disk"] == "vda"]
    start, end = ns(table["start"]), ns(table["end"])
    high = corners(ax.collections[1])
    for moment in np.linspace(123.3, 124.2, 7):
        out = int(((start <= moment * NS) & ((end > moment * NS) | (end < 0))).sum())
        at = high[(high[:, 0] <= moment) & (high[:, 0] > moment - 0.1)]
        assert out <= max(at[:, 1].max(initial=0), 0) + 1


def test_errors_of_the_log_are_written_and_none_lies_on_another(frames):
    ax = lane(frames, "log")
    ax.figure.canvas.draw()
    texts = [text for text in ax.texts if text.get_text()]
    assert any(text.get_text().startswith("Kernel panic") for text in texts)
    renderer = ax.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts]
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            beside = one.x0 >= other.x1 - 2 or other.x0 >= one.x1 - 2
            assert beside or one.y0 >= other.y1 - 2 or other.y0 >= one.y1 - 2
    ticks = drawn(ax, "_level -1")
    assert isinstance(ticks, LineCollection)
    errors = frames.log[frames.log["level"] <= 3]
    assert sorted(np.round([one[0][0] for one in ticks.get_segments()], 6)) == sorted(
        np.round(ns(errors["time"]) / NS, 6)
    )


def test_runnable_is_the_sum_of_what_the_cpus_last_said(frames):
    ax = lane(frames, "runnable")
    table = frames.runnable.pivot_table(index="time", columns="cpu", values="count").sum(axis=1)
    points = {(round(x, 6), round(y)) for x, y in corners(drawn(ax, "_runnable")).tolist()}
    wanted = zip(table.index.astype("int64").tolist(), table.tolist(), strict=True)
    assert {(round(at / NS, 6), round(count)) for at, count in wanted if count} <= points
    assert f"{int(table.max())} at most" in ax.get_label()


def test_pressure_is_of_the_time_before_its_mark(frames):
    def points(frames):
        ax = lane(frames, "pressure")
        # A band's own 0 is its tick.
        ((low, _),) = [
            (at, text)
            for at, text in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
            if text.get_text() == "I/O"
        ]
        line = drawn(ax, "_io full")
        return [
            (round(float(x), 6), round(float(y - low), 9))
            for x, y in zip(*line.get_data(), strict=True)
            if y == y
        ]

    own = frames.pressure[(frames.pressure["resource"] == "io") & (frames.pressure["kind"] == "full")]
    at, share = ns(own["time"]) / NS, own["share"].round(9).tolist()
    wanted = [(round(float(one), 6), value) for one, value in zip(at, share, strict=True)]
    # From the mark before on, in a straight line up to its own.
    found = points(frames)
    assert set(wanted) <= set(found)
    assert {(before, value) for (before, _), (_, value) in pairwise(wanted)} <= set(found)
    # Of a moment that has several, the shortest time; what lies between two is not told.
    few = own.iloc[[10, 60, 60]].assign(
        window=pd.to_timedelta([1.0, 2.0, 300.0], unit="s"), share=[0.2, 0.5, 0.1]
    )
    found = points(dataclasses.replace(frames, pressure=few))
    first, second = (ns(few["time"]) / NS)[:2]
    assert set(found) == {
        (round(x, 6), share)
        for x, share in ((first - 1, 0.2), (first, 0.2), (second - 2, 0.5), (second, 0.5))
    }


def test_each_resource_has_a_band_in_which_some_and_all_differ(frames):
    ax = lane(frames, "pressure")
    (some,) = [line for line in ax.get_lines() if line.get_label() == "_memory some"]
    (full,) = [line for line in ax.get_lines() if line.get_label() == "_memory full"]
    lows = dict(zip((text.get_text() for text in ax.get_yticklabels()), ax.get_yticks(), strict=True))
    assert list(lows) == ["memory", "I/O", "CPUs"]
    assert np.nanmin(some.get_ydata()) >= lows["memory"] > lows["I/O"] > lows["CPUs"]
    fills = [mpl.colors.to_hex(part.get_facecolor()[0]) for part in ax.collections[:2]]
    assert fills == [style.LIGHT.sky.lower(), style.LIGHT.blue.lower()]
    assert np.nanmax(full.get_ydata()) <= np.nanmax(some.get_ydata()) < lows["memory"] + 1.18


def test_cpus_of_which_next_to_nothing_is_known_have_no_lane(frames):
    start = ns(frames.running["start"])
    few = frames.running[(start >= int(97.2 * NS)) & (start < int(97.5 * NS))]
    short = dataclasses.replace(frames, running=few)
    assert len(replay(short)) == len(replay(frames)) - 1
    notes = " ".join(text.get_text() for text in replay(short)[0].figure.texts)
    assert "who ran on the CPUs; that is known from 97." in notes
    # What is asked for is drawn.
    assert lane(short, "cpus").get_label().startswith("Who ran")


def test_only_who_is_seen_is_named_beside_the_cpus(frames):
    row = frames.running[frames.running["pid"] != 0].iloc[[0]]
    start = pd.Series(pd.to_timedelta([97_000_000_000], unit="ns"), index=row.index)
    unseen = row.assign(pid=999_999, comm="unseen", start=start, end=start + pd.to_timedelta(1000, unit="ns"))
    if "process" in unseen:
        unseen = unseen.assign(process="unseen")
    more = dataclasses.replace(frames, running=pd.concat([frames.running, unseen], ignore_index=True))
    names = [text.get_text() for text in lane(more, "cpus", top=50).texts]
    assert "unseen" not in names
    assert "postgres" in names


def test_largest_processes_without_a_colour_of_their_own_differ_by_their_dashes(frames):
    lines = [one for one in lane(frames, "processes", top=5).get_lines() if one.get_label()[1:].isdigit()]
    every = replay(frames, top=5)
    looks = [
        (line.get_color(), str(line._unscaled_dash_pattern))
        for ax in every
        for line in ax.get_lines()
        if "resident memory" in ax.get_label() and line.get_label()[1:].isdigit()
    ]
    assert len(looks) == len(lines) == 5
    assert len(set(looks)) == len(looks)
    assert [dashes for colour, dashes in looks if colour == style.LIGHT.soft] == ["(0, (5, 2))"]


def test_one_disk_alone_has_the_lanes_requests_and_window(frames):
    found = alone(frames, "vda")
    ax = lane(frames, "offsets vda")
    assert (found.first / NS, found.last / NS) == ax.get_xlim()
    assert f"of {len(found.issued):,} requests" in ax.get_label()
    assert "vda: from issue" in latency_of(found).texts[0].get_text()
    assert f"of {int((~found.pending).sum()):,} requests" in latency_of(found).get_label()


def test_boxes_behind_texts_of_the_log_turn_with_the_theme(frames):
    ax = lane(frames, "log")
    boxes = [text.get_bbox_patch() for text in ax.texts if text.get_bbox_patch() is not None]
    assert boxes
    with both_themes.turned(ax.figure, style.LIGHT, style.DARK):
        assert {mpl.colors.to_hex(box.get_facecolor()) for box in boxes} == {style.DARK.background.lower()}
    assert {mpl.colors.to_hex(box.get_facecolor()) for box in boxes} == {style.LIGHT.background.lower()}


def test_one_error_is_one(frames):
    log = frames.log.assign(level=6)
    log.loc[log.index[-1], "level"] = 3
    said = lane(dataclasses.replace(frames, log=log), "log").get_label()
    assert ", 1 error: " in said


def test_the_end_alone_is_no_lane(frames):
    """Every dump tells of its last instant; that is no time that could be drawn."""
    end = {name: getattr(frames, name).iloc[-1:] for name in ("memory", "memory_by_process", "runnable")}
    axes = replay(dataclasses.replace(frames, **end))
    assert len(axes) == len(LANES)  # three less, and three more of vdb
    assert not any("memory by kind" in ax.get_label() for ax in axes)


def test_a_break_of_another_disks_source_is_not_this_ones(frames):
    asked = frames.requests.assign(
        source=np.where(frames.requests["disk"] == "vda", "blktrace vda", "ftrace")
    )
    lost = pd.DataFrame(
        {
            "time": pd.to_timedelta([110], unit="s"), "until": pd.to_timedelta([112], unit="s"),
            "source": ["blktrace vda"], "cpu": pd.array([pd.NA], dtype="Int64"), "reason": ["gone"],
        }
    )  # fmt: skip
    broken = dataclasses.replace(frames, requests=asked, breaks=lost)
    axes = replay(broken, lanes=["offsets vda", "offsets vdb"])
    assert [one[:2] for one in hatched(axes[0])] == [(110, 112)]
    assert not hatched(axes[1])


@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_and_lines_are_shown_not_run(frames):
    bad = "$\\frac{1}_<script>\x1b[31m"
    hostile = story(names={"leak": bad, "postgres": "_hidden"}, texts=[bad, "\u202eevil $x^2$ <b>&amp;"])
    hostile = dataclasses.replace(
        hostile, breaks=hostile.breaks.assign(reason=bad), trusted_reason=bad,
        requests=hostile.requests.assign(disk=bad),
    )  # fmt: skip
    axes = replay(hostile, since=-20)
    axes[0].figure.canvas.draw()
    for ax in axes:
        assert "\x1b" not in ax.get_label()
        for text in ax.texts:
            assert "\x1b" not in text.get_text()
            assert "\u202e" not in text.get_text()
    html = static(hostile, lanes=["log"])
    assert "<script>" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;" in html


def test_windows_and_lanes_that_are_none_are_refused(frames):
    with pytest.raises(KernlabError, match=r"there is no lane 'memroy'; did you mean memory\?"):
        replay(frames, lanes=["memroy"])
    with pytest.raises(KernlabError, match=r"nothing can be drawn from 126 s to 125.25 s"):
        replay(frames, since=126)
    with pytest.raises(KernlabError, match=r"2 lanes \(memory, log\) need as many axes, not 1"):
        replay(frames, lanes=["memory", "log"], ax=pyplot.subplots()[1])
    told = ("memory", "memory_by_process", "running", "requests", "pressure", "runnable", "log")
    nothing = dataclasses.replace(frames, **{name: getattr(frames, name).iloc[:0] for name in told})
    with pytest.raises(KernlabError, match="nothing of this machine's last seconds was recorded"):
        replay(nothing)
    # Lanes that are asked for are there, and say that they are empty.
    for ax in replay(nothing, lanes=LANES):
        assert ax.get_label()


def test_it_draws_on_axes_that_are_given_as_pandas_does(frames):
    figure, given = pyplot.subplots(2, sharex=True, facecolor=style.DARK.background)
    for ax in given:
        ax.set_facecolor(style.DARK.background)
    found = replay(frames, lanes=["memory", "log"], ax=given, since="-5s")
    assert list(found) == list(given)
    assert given[0].get_xlim() == (120.25, 125.25)
    figure.canvas.draw()
    assert lane(frames, "log", figsize=(14, 3)).figure.get_size_inches().tolist() == [14, 3]


def test_the_static_figure_has_both_themes_and_tables(frames):
    before = pyplot.get_fignums()
    html = static(frames, since=-10, lanes=["memory", "log"])
    assert pyplot.get_fignums() == before
    assert html.count("data:image/png;base64,") == 2
    assert "<script" not in html
    end = frames.memory.iloc[-1]
    assert f">{end['free_bytes'] / (1 << 20):.1f} MiB</td></tr>" in html
    assert "Kernel panic" in html
    assert 'alt="Stacked areas of memory by kind' in html
    assert static(frames, since=-1, lanes=["memory"], as_svg=True).count("data:image/svg+xml;base64,") == 2


def test_rows_that_pixels_cannot_show_are_left_out_but_no_peak_and_no_break():
    chance = np.random.default_rng(3)
    at = np.sort(chance.integers(0, NS, 200_000))
    key = chance.random(200_000)
    key[[777, 150_000]] = np.nan
    key[90_000] = 40.0
    kept = few_rows(at, key, 0, NS, 500)
    assert len(kept) < 2100
    assert {0, 777, 90_000, 150_000, 199_999} <= set(kept.tolist())


def test_shares_of_pixels_add_up_to_the_time():
    chance = np.random.default_rng(5)
    edges = np.sort(chance.integers(0, NS, 3001))
    start, end = edges[:-1], edges[1:]
    who = chance.integers(0, 3, 3000)
    share = ran_most(start, end, np.zeros(3000, dtype=np.int64), who, 0, NS, 137, 1, 3)
    for code in range(3):
        assert share[0, :, code].sum() * NS / 137 == pytest.approx((end - start)[who == code].sum())
    assert share.sum(axis=2).max() <= 1 + 1e-9


def test_names_at_the_right_keep_their_order_and_distance():
    found = spread([5.0, 5.0, 6.0, 50.0], 10, 0, 60)
    assert found == sorted(found)
    assert min(np.diff(found)) >= 10 - 1e-9
    assert max(found) <= 60
    crowded = spread([59.0] * 9, 10, 0, 60)
    assert min(crowded) >= 0
    assert max(crowded) <= 60 + 1e-9
