"""timers against /proc/timer_list, and wheels against the kernel's own index of them.

What is due after the crash and is not set anew before cannot move: CPU, function and time are exact. What comes again
and again (the tick, the watchdog) keeps its phase. Nothing tells of the wheel from outside, but each wheel has a map
of its slots that are not empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from support import devices_truth
from support.overlay import Overlay
from support.truth import Truth

import kernlab

#: Wake somebody once: nobody moves them while their task sleeps.
ONCE = ("hrtimer_wakeup", "it_real_fn")
#: kernel/watchdog.c: a fifth of twice watchdog_thresh, which is 10 s.
WATCHDOG = 4_000_000_000


@pytest.fixture(scope="module", params=["panic", "oops"])
def sample(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Path]]:
    """Samples of 6.1 and 7.2."""
    with kernlab.open(kernlab.sample(request.param)) as dump:
        yield dump, SAMPLES / request.param / "truth.tar.xz"


def check_hrtimers(dump: Any, truth: Truth) -> int:
    """How many were compared exactly."""
    now, theirs = devices_truth.timers(truth)
    ours = dump.timers.query("kind == 'hrtimer'")
    assert dump.timers.attrs["problems"] == []
    plain = ours["function"].str.split(" ").str[0]
    found = set(zip(ours["cpu"], plain, ours["due"], strict=True))
    soft = ours["due"] - ours["slack"].astype("timedelta64[ns]").astype("int64")
    softs = set(zip(ours["cpu"], plain, soft, strict=True))
    # The crash came some seconds later at most: far more on the machine that hung, which is not among these.
    late = now + 10_000_000_000
    stay = [timer for timer in theirs if timer.clock == 0 and timer.function in ONCE and timer.hard > late]
    for timer in stay:
        assert (timer.cpu, timer.function, timer.hard) in found
        assert (timer.cpu, timer.function, timer.soft) in softs
    watchdogs = {timer.cpu: timer.hard for timer in theirs if timer.function == "watchdog_timer_fn"}
    mine = ours[plain == "watchdog_timer_fn"].set_index("cpu")["due"]
    assert sorted(mine.index) == sorted(watchdogs)
    assert all((mine[cpu] - due) % WATCHDOG == 0 for cpu, due in watchdogs.items())
    # Each CPU has one tick, on a multiple of its 4 ms, now due.
    ticks = ours[plain.isin(["tick_sched_timer", "tick_nohz_handler"])]
    assert sorted(ticks["cpu"]) == sorted({timer.cpu for timer in theirs})
    assert (ticks["due"] % 4_000_000 == 0).all()
    # A time of day and how far away it is tell when the machine died, as its note does in whole seconds.
    wall = ours[ours["base"].str.startswith("realtime") & ours["expires"].notna()]
    died = dump.info["crash_time"].value
    for due, left in zip(wall["due"], wall["expires"], strict=True):
        assert abs(due - left.value - died) < 3_000_000_000
    return len(stay)


def check_wheels(dump: Any) -> None:
    ours = dump.timers.query("kind == 'wheel'")
    kernel = dump.kernel
    bases = dict(zip(ours["base"], ours["base"], strict=True))
    assert set(bases) <= {"standard", "local", "global", "deferrable"}
    size = kernel.find_type("struct timer_base").size
    wheels = 3 if "global" in bases else 2
    slots = 0
    for cpu in range(int(dump.info["cpus"])):
        start = (kernel.symbol("timer_bases") + int(kernel.percpu_offsets[cpu])) % (1 << 64)
        base = dump.structs("timer_base", [start + number * size for number in range(wheels)])
        assert base["cpu"].tolist() == [cpu] * wheels
        slots += sum(int(word).bit_count() for row in base["pending_map"].values for word in row)
    # timer_list.flags holds the slot in its upper bits (TIMER_ARRAYSHIFT).
    pending = ours[~ours["running"]]
    flags = dump.structs("timer_list", pending["address"])["flags"].values
    assert len(set(zip(pending["cpu"], pending["base"], (flags >> 22).tolist(), strict=True))) == slots
    # … and which wheel it belongs to: TIMER_DEFERRABLE, and where pinned ones are apart TIMER_PINNED.
    deferrable, pinned = (flags & 0x80000) != 0, (flags & 0x100000) != 0
    assert ((pending["base"] == "deferrable") == deferrable).all()
    if wheels == 3:
        assert ((pending["base"] == "local") == (pinned & ~deferrable)).all()
    assert ours["function"].notna().all()
    assert ours["due"].notna().all()


def check_owners(dump: Any) -> None:
    """Tasks whose timers shall wake them sleep; delayed works say what they will do."""
    ours = dump.timers
    plain = ours["function"].str.split(" ").str[0]
    sleepers = ours[plain.isin(["process_timeout", "hrtimer_wakeup"])]
    assert sleepers["pid"].notna().all()
    states = dump.tasks.set_index("pid")["state"]
    # One that was just woken may not have come to take its timer away.
    assert set(states[sleepers["pid"]]) <= {"S", "D", "I", "R"}
    assert states[sleepers["pid"]].isin(["S", "D", "I"]).mean() > 0.5
    delayed = plain == "delayed_work_timer_fn"
    assert ours.loc[delayed, "work"].notna().all()
    assert ours.loc[~delayed, "work"].isna().all()
    assert {"vmstat_update", "wb_workfn"} & set(ours["work"])


def test_samples(sample: tuple[Any, Path]) -> None:
    dump, archive = sample
    check_hrtimers(dump, Truth(archive))
    check_wheels(dump)
    check_owners(dump)
    if "panic" in str(archive):
        assert "realtime" in set(dump.timers.dropna(subset="expires")["base"])


def test_kernels(dump: Any) -> None:
    check_wheels(dump)
    check_owners(dump)
    ours = dump.timers
    # Nothing of a machine that lives is late by more than an idle CPU that was about to look.
    assert (ours["expires"].dropna() > pd.Timedelta(-1, "s")).all()


def test_server(server: Any, server_files: Any) -> None:
    """Of a machine that does much: dozens of sleepers, on four CPUs."""
    assert check_hrtimers(server, server_files.truth) >= 30
    check_owners(server)
    ours = server.timers
    assert ours.loc[ours["function"] == "it_real_fn", "comm"].notna().all()


def test_running_late_and_posix(opened: Callable[[str], Any]) -> None:
    """What no guest shows: a timer whose function runs, one that is late, one of timer_create."""
    dump = opened("debian-6.1")
    kernel, ours = dump.kernel, dump.timers
    overlay = Overlay(dump)
    sleep = ours[ours["comm"] == "sleep"].iloc[0]
    address = int(sleep["address"])
    base = int(dump.struct("hrtimer", address).base.address_)
    overlay.set("struct hrtimer", address, "function", kernel.symbol("posix_timer_fn"))
    timer = kernel.find_type("struct k_itimer").member("it").bit_offset // 8
    init = dump.struct("task_struct", dump.tasks.query("pid == 1")["address"].iloc[0])
    # Of a struct hrtimer in it.real the k_itimer begins so much before it.
    overlay.set("struct k_itimer", address - timer, "it_signal", init.signal.address_ | 1)
    overlay.set("struct hrtimer_clock_base", base, "running", address)
    kcompactd = ours[ours["comm"] == "kcompactd0"].iloc[0]
    overlay.set("struct timer_list", int(kcompactd["address"]), "expires", int(kcompactd["due"]) - 1000)
    with overlay.dump() as broken:
        found = broken.timers
        row = found[found["address"] == address].iloc[0]
        assert (row["function"], row["comm"], row["pid"], row["running"]) == (
            "posix_timer_fn",
            "init",
            1,
            True,
        )
        late = found[found["comm"] == "kcompactd0"].iloc[0]
        assert late["expires"] == kcompactd["expires"] - pd.Timedelta(1000 * 4, "ms")
        assert late["expires"] < pd.Timedelta(0)


def test_broken_wheel_ends(opened: Callable[[str], Any]) -> None:
    """A slot that leads into a cycle is told, and the other timers stay."""
    dump = opened("debian-6.1")
    ours = dump.timers.query("kind == 'wheel'")
    lone = int(ours.loc[ours["comm"] == "kcompactd0", "address"].iloc[0])
    overlay = Overlay(dump)
    overlay.set("struct timer_list", lone, "entry.next", lone)
    with overlay.dump() as broken:
        found = broken.timers
        assert any("timer wheels" in problem for problem in found.attrs["problems"])
        assert set(ours["address"]) - set(found["address"]) <= {np.uint64(lone)}


def test_without_jiffies(opened: Callable[[str], Any]) -> None:
    """Where the last tick is not known, the timers and works are there all the same."""
    dump = opened("debian-7.2")
    overlay = Overlay(dump)
    overlay.exclude(dump.symbol("jiffies"))
    with overlay.dump() as broken:
        for name in ("timers", "works"):
            ours, whole = getattr(broken, name), getattr(dump, name)
            assert len(ours) == len(whole)
            assert any("jiffies" in problem for problem in ours.attrs["problems"])
        assert broken.timers.query("kind == 'wheel'")["expires"].isna().all()
