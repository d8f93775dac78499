"""How long threads ran and waited, against their own files in /proc; the load averages."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.absent import Absence
from support.captures import captures, dumps_in
from support.overlay import Overlay
from support.thread_truth import statuses, words_of
from support.truth import Truth


def test_switches_are_those_of_proc(machine_or_server):
    """They only grow; of the many threads that slept to the end they are equal."""
    rows = machine_or_server.dump.delays.set_index("pid")
    theirs = statuses(machine_or_server.truth)
    pids = [pid for pid in theirs if pid in rows.index and pid]
    for name, line in (
        ("voluntary", "voluntary_ctxt_switches"),
        ("involuntary", "nonvoluntary_ctxt_switches"),
    ):
        grown = rows[name][pids] - [int(theirs[pid][line]) for pid in pids]
        grown = grown.dropna()
        assert (grown >= 0).all(), name
        assert (grown == 0).mean() > 0.6, name
        assert len(grown) >= 50


@pytest.mark.parametrize("name", ["io", "oom", "server"])
def test_times_are_those_of_sched(machine_of, name):
    """Of each thread that had not been switched since /proc/PID/sched was taken: to the nanosecond."""
    machine = machine_of(name)
    rows = machine.dump.delays.set_index("pid")
    text = machine.truth.text("sched_debug")
    # tree-key, (EEVDF: deadline, slice,) switches, prio, wait-time, sum-exec …, and the group.
    lines = re.findall(r"^[ >][A-Z] +.{15} +(\d+) +(.*?) /\S*$", text, flags=re.MULTILINE)
    same = 0
    for pid, rest in lines:
        numbers = [word for word in rest.split() if word not in ("S", "E", "N")]
        place = next(i for i, word in enumerate(numbers) if word.isdigit())
        row = rows.loc[int(pid)] if int(pid) in rows.index else None
        if row is None or int(numbers[place]) != row["voluntary"] + row["involuntary"]:
            continue
        # sum-exec stands before the switches since EEVDF, and behind them before.
        executed = {word.replace(".", "") for word in numbers if "." in word}
        assert str(row["cpu_time"].value) in {word.lstrip("0") or "0" for word in executed}, pid
        same += 1
    assert same > (1000 if name == "server" else 40)


def test_delays_that_are_accounted(opened):
    """5.10 does so unless told not to: as the disk's waits in /proc/PID/stat, in hundredths of a second."""
    dump = opened("debian-5.10")
    rows = dump.delays
    assert rows.attrs["problems"] == []
    living = rows[rows["pid"] > 0]
    assert living["block_io"].notna().all()
    assert living["compaction"].isna().all()
    assert living["compaction_count"].isna().all()
    info = dump.structs("task_struct", rows["address"])["delays->blkio_delay"]
    assert rows["block_io"].dropna().astype("int64").tolist() == info.values[info.valid].tolist()


def test_delays_that_are_not_accounted(opened):
    rows = opened("debian-6.1").delays
    assert rows["block_io"].isna().all()
    assert rows["reclaim_count"].isna().all()
    assert rows["run_delay"].notna().all()
    assert any("delayacct" in problem for problem in rows.attrs["problems"])
    off = Absence(members=("struct task_struct.delays",)).of(opened("debian-6.1")).delays
    assert any("CONFIG_TASK_DELAY_ACCT" in problem for problem in off.attrs["problems"])
    assert list(off.dtypes) == list(rows.dtypes)


def test_who_ran_last(machine_or_server):
    """What has a CPU has it since it last got one, and nobody who sleeps got the same CPU since."""
    dump = machine_or_server.dump
    rows = dump.delays.set_index("address")
    running = dump.queued[dump.queued["running"]].merge(dump.runqueues[["cpu", "running"]], on="cpu")
    assert rows["last_run"][running["address"]].tolist() == running["running_y"].tolist()
    others = dump.tasks[~dump.tasks["on_cpu"] & (dump.tasks["pid"] > 0)]
    for cpu, since in zip(running["cpu"], running["running_y"], strict=True):
        slept = rows["last_run"][others["address"][others["cpu"] == cpu]].dropna()
        assert (slept >= since).all()
        assert len(slept) > 3
    assert rows["last_run"][dump.tasks["address"][dump.tasks["pid"] == 0]].isna().all()


def test_load(machine_or_server):
    """What /proc/loadavg said, seconds before: an average of 15 minutes has not come far, and few of 1 minute have."""
    info = machine_or_server.dump.info
    theirs = [float(word) for word in machine_or_server.truth.text("loadavg").split()[:3]]
    ours = [info["load1"], info["load5"], info["load15"]]
    assert np.allclose(ours, theirs, rtol=0, atol=1.5)
    assert abs(ours[2] - theirs[2]) < 0.15
    if machine_or_server.name in ("hung", "io", "panic"):
        assert ours == theirs or machine_or_server.name != "io"


@pytest.mark.parametrize(
    ("scaled", "shown"), [(0, 0.0), (2047, 1.0), (2048, 1.0), (2800, 1.37), (1 << 16, 32.0)]
)
def test_load_to_the_hundredth(opened, scaled, shown):
    """LOAD_INT and LOAD_FRAC of what was rounded up by a two hundredth."""
    below = opened("debian-6.1")
    with Overlay(below).word(below.symbol("avenrun"), scaled).dump() as dump:
        assert dump.info["load1"] == shown


def test_a_load_that_cannot_be(opened):
    below = opened("debian-6.1")
    with Overlay(below).word(below.symbol("avenrun"), -1).dump() as dump:
        assert dump.info["load1"] is None
        assert "load average" in dump.info.attrs["unknown"]["load1"]


@pytest.mark.parametrize("folder", captures(), ids=lambda folder: folder.name)
def test_times_are_those_of_schedstat(folder):
    """Captures of kernels with schedstat in their truth: to the nanosecond, of all that got no CPU since."""
    import kernlab

    truth = Truth(folder / "truth.tar.xz")
    theirs = words_of(truth, "schedstat")
    if not theirs or not dumps_in(folder):
        pytest.skip("its truth has no schedstat")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        rows = dump.delays.set_index("pid")
        pids = [pid for pid in theirs if pid in rows.index]
        same = [pid for pid in pids if rows["runs"][pid] == int(theirs[pid][2])]
        assert len(same) > len(pids) * 0.5
        slept = [pid for pid in same if dump.tasks.set_index("pid")["state"][pid] not in ("R", "Z")]
        ours = rows.loc[slept, ["cpu_time", "run_delay"]].astype("int64").to_numpy().tolist()
        assert ours == [[int(word) for word in theirs[pid][:2]] for pid in slept]
        if "delayacct" in dump.info["cmdline"].split():
            assert rows["block_io"].drop(0).notna().all()
            assert not any("delayacct" in problem for problem in dump.delays.attrs["problems"])
