"""How long threads have still to sleep, against the guest's /proc/timer_list and the kernel's own settings."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from conftest import SAMPLES
from support.overlay import Overlay
from support.truth import Truth

import kernlab
from kernlab.linux.timekeeping import monotonic, tick

EXPIRES = re.compile(r" # expires at \d+-(\d+) nsecs")
LISTED = ["hung", "oom", "io", "panic", "oops"]


def slept_on(dump, truth):
    """Rows of those that have slept since the truth was taken, and longer."""
    lines = truth.lines("timer_list")
    now = next(int(line.split()[2]) for line in lines if line.startswith("now at"))
    since = monotonic(dump.kernel) - now
    asleep = dump.waits[dump.waits.since > pd.Timedelta(since + 1_000_000_000, "ns")]
    told = {int(match[1]) for line in lines if (match := EXPIRES.match(line))}
    return asleep, told


def test_the_kernels_list_has_the_same_times():
    """Of timers that were set before it was read, and not over at the crash."""
    compared = 0
    for name in LISTED:
        with kernlab.open(kernlab.sample(name)) as dump:
            asleep, told = slept_on(dump, Truth(SAMPLES / name / "truth.tar.xz"))
            mine = asleep[(asleep.function == "hrtimer_nanosleep") & (asleep.left > pd.Timedelta(0))]
            ends = {int(left.value) + monotonic(dump.kernel) for left in mine.left}
            assert ends <= told
            compared += len(ends)
    assert compared >= 3


def test_a_whole_servers_times(server, server_files):
    """Timeouts of epoll and select, too."""
    asleep, told = slept_on(server, server_files.truth)
    mine = asleep[asleep.left.notna() & ~server_kthread(server, asleep)]
    high = mine[mine.left > pd.Timedelta(0)]
    ends = {int(left.value) + monotonic(server.kernel) for left in high.left}
    assert ends <= told
    assert len(ends) > 10
    assert {"timer", "epoll", "select"} <= set(high.type)


def server_kthread(server, rows):
    """Which rows are of kernel threads, whose timers count jiffies."""
    kthread = server.tasks[server.tasks.kthread].address
    return rows.address.isin(kthread)


def test_timeouts_in_jiffies(dump):
    """khungtaskd sleeps for as long as it is told to."""
    row = dump.waits[dump.waits.comm == "khungtaskd"].iloc[0]
    seconds = int.from_bytes(dump.read(dump.symbol("sysctl_hung_task_timeout_secs"), 8), "little")
    whole = (row["since"] + row["left"]).total_seconds()
    assert whole == pytest.approx(seconds, abs=0.1)
    assert row["left"] > pd.Timedelta(0)


def test_a_tick_is_that_of_the_kernels_configuration(dump):
    """Debian builds with CONFIG_HZ=250."""
    assert tick(dump.kernel) == 4_000_000


def test_who_waits_for_no_time_has_none_left(dump):
    assert dump.waits[dump.waits.type.isin(["signal", "idle", "child"])].left.isna().all()


class TestDamage:
    @pytest.mark.parametrize(("value", "told"), [(0, False), (1 << 63, True), (0xDEAD_0000_0000_0100, True)])
    def test_a_timer_without_its_clock(self, opened, value, told):
        dump = opened("debian-6.1")
        sleeper = dump.waits[dump.waits.function == "hrtimer_nanosleep"].iloc[0]
        broken = Overlay(dump).set("struct hrtimer", int(sleeper["object"]), "base", value).dump()
        row = broken.waits[broken.waits.pid == sleeper["pid"]].iloc[0]
        assert row["type"] == "timer"
        assert pd.isna(row["left"])
        assert bool(broken.waits.attrs["problems"]) == told

    @pytest.mark.parametrize("value", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1])
    def test_times_that_are_none(self, opened, value):
        dump = opened("debian-6.1")
        sleeper = dump.waits[dump.waits.function == "hrtimer_nanosleep"].iloc[0]
        broken = Overlay(dump).set("struct hrtimer", int(sleeper["object"]), "node.expires", value).dump()
        row = broken.waits[broken.waits.pid == sleeper["pid"]].iloc[0]
        assert pd.isna(row["left"]) or row["left"] < pd.Timedelta(0)

    def test_a_clock_that_cannot_be_read(self, opened):
        dump = opened("debian-6.1")
        broken = Overlay(dump).exclude(dump.symbol("tk_core") & ~4095).dump()
        assert broken.waits.left.isna().all()
        assert any("still to sleep" in problem for problem in broken.waits.attrs["problems"])
