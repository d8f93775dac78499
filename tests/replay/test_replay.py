"""`dump.replay()` on the bundled dumps: the end is the dump's own, and what nothing tells is missing."""

import numpy as np
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.errors import KernlabError

KINDS = ("free", "anon", "file", "shmem", "slab", "page_tables", "kernel_stacks", "other")


@pytest.fixture(scope="module")
def oom():
    with kernlab.open(kernlab.sample("oom")) as dump:
        yield dump


def test_the_end_is_what_the_dump_counts(oom):
    last = oom.replay().memory.iloc[-1]
    info = oom.meminfo
    assert last["source"] == "dump"
    assert last["time"] == oom.replay().crash
    assert last["free_bytes"] == info["MemFree"]
    assert last["anon_bytes"] == info["AnonPages"]
    assert last["file_bytes"] == info["Cached"] + info["Buffers"] - info["Shmem"]
    assert last["shmem_bytes"] == info["Shmem"]
    assert last["slab_bytes"] == info["Slab"]
    assert last["page_tables_bytes"] == info["PageTables"]
    assert last["total_bytes"] == info["MemTotal"]
    assert sum(int(last[f"{kind}_bytes"]) for kind in KINDS) == last["total_bytes"]
    pages = oom.memory.groupby("kind", observed=False)["bytes"].sum()
    assert last["free_bytes"] == pages["free"]
    assert last["shmem_bytes"] == pages["shmem"]


def test_a_block_of_the_log_is_a_reading(oom):
    first = oom.replay().memory.iloc[0]
    line = oom.log[oom.log.text.str.startswith("active_anon:")].iloc[-1]
    assert first["time"] == line["timestamp"]
    assert first["source"] == "sample"
    assert f"free:{first['free_bytes'] // 4096} " in line["text"].replace("\n", " ")
    assert oom.replay().trusted_from == line["timestamp"]


def test_processes_end_as_the_dump_has_them(oom):
    end = oom.replay().memory_by_process.query("source == 'dump'").set_index("pid")
    tasks = oom.tasks.query("pid > 0").set_index("pid")
    assert len(end)
    assert (end["rss_bytes"] == tasks["rss_bytes"].reindex(end.index)).all()
    assert (end["comm"] == tasks["comm"].reindex(end.index)).all()


def test_without_a_trace_nothing_before_is_claimed(oom):
    moment = oom.replay().at(-1)
    assert moment.memory.isna().all()
    assert not len(moment.running)
    assert not len(moment.processes)
    assert "oom" not in repr(moment.log["text"].iloc[-1])


def test_a_window_is_kept_and_bounds_every_table(oom):
    replay = oom.replay(since="-2s", until=-1)
    assert replay is oom.replay(since=-2.0, until="-1s")
    low, high = np.timedelta64(1, "s"), np.timedelta64(2, "s")
    for name in ("memory", "memory_by_process", "log", "pressure", "runnable", "marks"):
        table = getattr(replay, name)
        assert table["before_crash"].between(low, high).all(), name


def test_what_is_not_an_instant_or_an_instance_is_refused(oom):
    for wrong in ({"since": "yesterday"}, {"instance": "nobody"}, {"since": -1, "until": -2}):
        with pytest.raises(KernlabError):
            _ = oom.replay(**wrong).memory


def test_it_says_what_it_is_from(oom):
    replay = oom.replay()
    assert "blocks of the log" in repr(replay)
    assert "<table>" in replay._repr_html_()
    assert "peak memory" in replay.marks["kind"].tolist()
    assert replay.marks["kind"].iloc[-1]


def test_what_ran_leads_to_its_task(opened):
    dump = opened("debian-6.1")
    running, tasks = dump.replay().running, dump.tasks
    idle = running[running["pid"] == 0].iloc[-1]
    swapper = tasks[(tasks["pid"] == 0) & (tasks["cpu"] == idle["cpu"])].iloc[0]
    assert idle["task"] == swapper["address"]
    init = running[running["pid"] == 1]
    assert (init["task"] == tasks[tasks["pid"] == 1]["address"].iloc[0]).all()
    # Who is gone has none.
    gone = running[~running["pid"].isin(tasks["pid"])]
    assert gone["task"].isna().all()


def test_what_a_dump_says_is_shown_and_never_acts(oom):
    task = int(oom.tasks[oom.tasks["comm"] == "reporting"]["address"].iloc[0])
    where, _ = Overlay(oom).where("struct task_struct", task, "comm")
    with Overlay(oom).write(where, b"<b>\x1b[31m$x$\0\0\0\0").dump() as dump:
        moment = dump.replay().at("-0s")
        page = moment._repr_html_() + dump.replay()._repr_html_()
        assert "<b>\u241b" not in page
        assert "&lt;b&gt;" in page
        assert "\x1b" not in page + repr(moment) + repr(dump.replay())
        assert "mathjax_ignore" in page
        peak = dump.replay().marks.query("kind == 'peak process'")["text"]
        assert peak.str.contains("<b>", regex=False).any()
