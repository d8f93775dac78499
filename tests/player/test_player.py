"""`dump.player()` without a browser: what it answers, what Python sees of the reader, what stands in for the widget."""

from __future__ import annotations

import html.parser
import sys

import numpy as np
import pandas as pd
import pytest
from support.replay_frames import story

pytest.importorskip("anywidget", reason="anywidget is not installed (the extra 'jupyter')")

import kernlab
from kernlab.errors import KernlabError
from kernlab.player.pack import pack
from kernlab.player.player import is_worth_playing
from kernlab.player.still import Still, StillPlayer
from kernlab.player.widget import Player
from kernlab.util import frontend

HOSTILE = '<img src=x onerror="window.harm=1"> $x$ \x1b[31m\u202e'


@pytest.fixture(scope="module")
def dump():
    with kernlab.open(kernlab.sample("io")) as opened:
        yield opened


@pytest.fixture(scope="module")
def player(dump):
    return dump.player()


def asked(player, **question):
    """The reply to a question of the front end, and what went with it."""
    said = []
    send, player.stage.send = player.stage.send, lambda reply, buffers=(): said.append((reply, buffers))
    try:
        player._answer({"id": "1", **question})
    finally:
        player.stage.send = send
    assert said[0][0]["id"] == "1"
    return said[0]


def test_a_small_recording_travels_with_the_notebook_and_a_large_one_is_asked_for(dump, player):
    assert player.stage.data == player._packed.data
    assert player.stage.meta == player._packed.meta
    frames = story(intervals=60_000)
    large = Player(pack(frames), Still(frames), dump=dump)
    assert (large.stage.meta, large.stage.data) == ({}, b"")
    reply, buffers = asked(large, op="data")
    assert reply["answer"]["columns"]
    assert buffers == [large._packed.data]


def test_requests_of_a_real_trace_are_all_there(dump, player):
    """Each disk's requests, as blktrace's channels have them."""
    meta = player._packed.meta
    requests = dump.replay().requests
    begun = requests["start"].notna()
    assert sum(disk["to"] - disk["from"] for disk in meta["disks"]) == begun.sum() > 500
    assert {disk["name"] for disk in meta["disks"]} == set(requests["disk"][begun])
    assert meta["crash_ns"] == dump.replay().crash.value


def test_the_cursor_is_at_the_crash_and_goes_where_python_says(dump, player):
    player.stage.cursor = {}
    assert player.time == dump.replay().crash
    assert player.range is None
    player.seek(-0.5)
    assert player.time == dump.replay().crash - pd.Timedelta("500ms")
    assert player.stage.wanted["n"] == 1
    meta = player._packed.meta
    player.stage.cursor = {"ticks": 10.0, "range": [10.0, 20.0]}
    begin = pd.Timedelta(meta["origin_ns"] + 10 * meta["tick_ns"], "ns")
    assert player.range == (begin, begin + pd.Timedelta(10 * meta["tick_ns"], "ns"))
    assert player.moment.time == begin
    with pytest.raises(KernlabError, match="is not an instant"):
        player.seek("tomorrow")


def test_a_window_begins_and_ends_where_it_was_asked_to(dump):
    crash = dump.replay().crash.value
    meta = dump.player(since=-0.5, until="-100ms")._packed.meta
    assert meta["origin_ns"] == crash - 500_000_000
    assert meta["end"] * meta["tick_ns"] == 400_000_000


def test_lanes_by_name(dump):
    assert dump.player(lanes=["log", "disks"]).lanes[0] == "log"
    assert all(lane.startswith("disk:") for lane in dump.player(lanes="disks").lanes)
    with pytest.raises(KernlabError, match=r"there is no lane 'dsk'; there are: .*disks.*log"):
        dump.player(lanes=["dsk"])


def test_the_stack_of_a_task_that_lives_and_of_one_that_ended(dump):
    frames = story()
    task = int(dump.tasks.loc[dump.tasks["comm"] == "init", "address"].iloc[0])
    frames.running["task"] = pd.array([task] * len(frames.running), dtype="UInt64")
    played = Player(pack(frames), Still(frames), dump=dump)
    number = next(at for at, one in enumerate(played._packed.meta["tasks"]) if one["opens"])
    answer = asked(played, op="stack", task=number)[0]["answer"]
    assert "init" in answer["head"]
    assert any("+0x" in line for line in answer["lines"])
    opened = []
    played.browse = lambda kind, address: opened.append((kind, address))
    assert asked(played, op="struct", task=number)[0]["answer"] == {"opened": True}
    assert opened == [("struct task_struct", task)]
    for gone in (len(played._packed.tasks), -1):
        assert "it had ended" in asked(played, op="stack", task=gone)[0]["error"]
    assert "does not know" in asked(played, op="eval")[0]["error"]


def test_a_struct_opens_below_and_is_closed_again(dump):
    frames = story()
    played = Player(pack(frames), Still(frames), dump=dump)
    played.browse("struct task_struct", int(dump.tasks["address"].iloc[3]))
    below = played.children[1]
    below.children[1].click()
    assert played.children == (played.stage,)


def test_where_nobody_can_play_there_is_a_figure(dump, monkeypatch):
    monkeypatch.setattr(frontend, "is_executed_alone", lambda: True)
    still = dump.player()
    assert isinstance(still, StillPlayer)
    assert "data:image/png;base64," in still._repr_html_()
    assert "<script" not in still._repr_html_()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "kernlab.player.widget")
    hinted = dump.player()
    assert isinstance(hinted, StillPlayer)
    assert "kernlab[jupyter]" in hinted._repr_html_()


def test_the_bundle_has_the_figure_beside_the_widget_and_escapes(dump):
    frames = story(names={"leak": HOSTILE}, texts=[HOSTILE], intervals=60_000)
    played = Player(pack(frames), Still(frames), dump=dump)
    bundle = played._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"].startswith("<player: ")
    assert played.stage.still["png"], "what a saved notebook shows of a recording that is too large for it"
    tags = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Parser().feed(data["text/html"])
    assert not [tag for tag, _ in tags if tag == "script"]
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on")]
    assert all(str(attrs.get("src", "data:")).startswith("data:") for _, attrs in tags)
    assert all(
        "\x1b" not in cell and "\u202e" not in cell for row in played.stage.still["marks"] for cell in row
    )


def test_what_has_a_trace_is_worth_playing(dump, opened):
    assert is_worth_playing(dump)
    with kernlab.open(kernlab.sample("panic")) as plain:
        traced = len(plain.ftrace.counts) > 0 or bool(plain.relay.block_traces)
        assert is_worth_playing(plain) == traced


def test_what_ran_until_the_crash_is_found_there(opened):
    """Each CPU's last interval that ends at the crash, of a dump with sched_switch events."""
    dump = opened("debian-6.1")
    running = dump.replay().running
    packed = pack(dump.replay())
    kind, offset, length = packed.meta["columns"]["running.end"]
    end = np.frombuffer(packed.data, kind, length, offset)
    assert packed.meta["cpus"]
    for cpu in packed.meta["cpus"]:
        last = running[running["cpu"] == cpu["cpu"]]["end"].max()
        assert (end[cpu["to"] - 1] == packed.meta["end"]) == (last == dump.replay().crash)
