"""Logs with something in them that is not why the machine died: the first row is what is; nobody else is accused."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import pytest

import kernlab


def said(at: float, thread: int, *lines: str) -> str:
    """Lines of a thread of that number, from a time on."""
    return "".join(
        f"[{at + place * 1e-5:12.6f}][{f'T{thread}':>8}] {line}\n" for place, line in enumerate(lines)
    )


def who(thread: int, comm: str, cpu: int = 1) -> str:
    return f"CPU: {cpu} UID: 0 PID: {thread} Comm: {comm} Tainted: G           OE      6.12.1-amd64 #1"


def oops(at: float, thread: int, comm: str, where: str) -> str:
    """A thread that traps and is killed."""
    return said(
        at,
        thread,
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "Oops: Oops: 0000 [#1] PREEMPT SMP",
        who(thread, comm),
        f"RIP: 0010:{where}",
        "Call Trace:",
        " <TASK>",
        " vfs_write+0xf8/0x440",
        " </TASK>",
        "---[ end trace 0000000000000000 ]---",
    )


def warning(at: float) -> str:
    return said(
        at,
        174,
        "WARNING: CPU: 0 PID: 174 at till.c:322 scales_read+0x1c/0x30 [till]",
        who(174, "weigher", 0),
        "RIP: 0010:scales_read+0x1c/0x30 [till]",
        "Call Trace:",
        " vfs_write+0xf8/0x440",
        "---[ end trace 0000000000000000 ]---",
    )


def hung(at: float) -> str:
    return said(
        at,
        30,
        "INFO: task sleeper:90 blocked for more than 120 seconds.",
        "      Not tainted 6.12.1-amd64 #1",
        "task:sleeper         state:D stack:0     pid:90   tgid:90   ppid:1 flags:0x4002",
        "Call Trace:",
        " __schedule+0x505/0xbf0",
        " schedule+0x27/0xf0",
        " shelf_read+0x10/0x20 [till]",
    )


def panic(at: float, thread: int, comm: str, words: str, *frames: str) -> str:
    stack = ["Call Trace:", *(f" {frame}+0x1/0x2" for frame in frames)] if frames else []
    return said(at, thread, f"Kernel panic - not syncing: {words}", who(thread, comm), *stack)


FATAL = "Fatal exception"
INIT = "Attempted to kill init! exitcode=0x0000000b"
HURT = oops(103.0, 300, "clerk", "shop_close+0x10/0x20 [shop]") + panic(103.1, 300, "clerk", FATAL)
CLOSED = panic(103.0, 300, "clerk", "shop: closed", "panic", "shop_close")
KILL = said(
    50.0,
    178,
    "import invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    "memory: usage 12288kB, limit 12288kB, failcnt 33",
    "Memory cgroup out of memory: Killed process 178 (import) total-vm:14000kB, anon-rss:11000kB",
)
SOFT = said(
    5000.0,
    300,
    "watchdog: BUG: soft lockup - CPU#1 stuck for {seconds}s! [billing:300]",
    who(300, "billing"),
    "RIP: 0010:mill_turn+0x1/0x2 [mill]",
    "Call Trace:",
    " vfs_write+0xf8/0x440",
    "Kernel panic - not syncing: softlockup: hung tasks",
)
MACHINE_CHECK = "mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 7: {status}"

DECOYS = {
    "an oops that was survived, and a driver's own panic": (
        oops(100.0, 171, "miller", "stone_weigh+0x10/0x20 [till]") + CLOSED,
        ("panic", 300, "shop_close"),
    ),
    "a warning just before a driver's own panic": (warning(102.9) + CLOSED, ("panic", 300, "shop_close")),
    "a warning just before an oops": (warning(102.9) + HURT, ("null dereference", 300, "shop_close")),
    "an oops that was survived, and another thread's": (
        oops(100.0, 171, "miller", "stone_weigh+0x10/0x20 [till]") + HURT,
        ("null dereference", 300, "shop_close"),
    ),
    "two that trap at once, and the first panics": (
        oops(103.0, 300, "clerk", "shop_close+0x10/0x20 [shop]")
        + oops(103.0001, 171, "miller", "stone_weigh+0x10/0x20 [till]")
        + panic(103.1, 300, "clerk", FATAL),
        ("null dereference", 300, "shop_close"),
    ),
    "an oops that was survived, and init ends": (
        oops(100.0, 171, "miller", "stone_weigh+0x10/0x20 [till]") + panic(103.0, 1, "systemd", INIT),
        ("init died", 1, None),
    ),
    "a warning just before init ends": (
        warning(102.9) + panic(103.0, 1, "systemd", INIT),
        ("init died", 1, None),
    ),
    "a thread that hung, and init ends": (
        hung(102.0) + panic(103.0, 1, "systemd", INIT),
        ("init died", 1, None),
    ),
    "a thread that hung long before": (hung(50.0) + HURT, ("null dereference", 300, "shop_close")),
    "a kill by a memory cgroup": (KILL + HURT, ("null dereference", 300, "shop_close")),
    "a kill by a memory cgroup, and the machine's memory": (
        KILL + panic(52.0, 300, "clerk", "Out of memory: system-wide panic_on_oom is enabled"),
        ("OOM", None, None),
    ),
    "an NMI that was survived": (
        said(100.0, 0, "Uhhuh. NMI received for unknown reason 3d on CPU 3.") + HURT,
        ("null dereference", 300, "shop_close"),
    ),
    "memory that the hardware corrected": (
        said(100.0, 0, MACHINE_CHECK.format(status="8c00004000010090")) + HURT,
        ("null dereference", 300, "shop_close"),
    ),
    "memory that failed, and was survived": (
        said(50.0, 0, MACHINE_CHECK.format(status="be00004000010090")) + HURT,
        ("null dereference", 300, "shop_close"),
    ),
    "a processor that was hot": (
        said(100.0, 0, "mce: CPU3: Core temperature above threshold, cpu clock throttled (total events = 5)")
        + HURT,
        ("null dereference", 300, "shop_close"),
    ),
    "another disk's file system": (
        said(50.0, 300, "EXT4-fs error (device sdb1): ext4_find_entry:1455: inode #2: comm ls: reading")
        + panic(99.0, 300, "clerk", "EXT4-fs (device sda1): panic forced after error"),
        ("panic", 300, None),
    ),
    "what traps on the way out": (
        CLOSED
        + oops(103.1, 300, "clerk", "stone_weigh+0x10/0x20 [till]")
        + panic(103.2, 300, "clerk", FATAL),
        ("panic", 300, "shop_close"),
    ),
    "a panic of a warning whose report is lost": (
        oops(100.0, 171, "miller", "stone_weigh+0x10/0x20 [till]")
        + panic(103.0, 300, "clerk", "kernel: panic_on_warn set ...", "panic", "__warn", "shop_close"),
        ("panic", 300, "shop_close"),
    ),
    "a panic of an oops whose report is lost": (
        oops(100.0, 171, "miller", "stone_weigh+0x10/0x20 [till]") + panic(103.0, 300, "clerk", FATAL),
        ("panic", 300, None),
    ),
}


def is_named(names: Iterable[str], row: pd.Series) -> bool:
    words = " ".join(str(row[column]) for column in ("subject", "module", "function", "pid"))
    return any(name in words for name in names)


@pytest.mark.parametrize("decoy", DECOYS)
def test_a_decoy_is_told_beside_the_end(decoy: str) -> None:
    """The first row is the end, or its cause; what has no part in it is told beside, and no row of the end names it."""
    log, (finding, pid, function) = DECOYS[decoy]
    table = kernlab.verdict.of_log(log)
    first = table.iloc[0]
    assert first["finding"] == finding
    assert first["confidence"] >= 0.8
    assert first["pid"] == pid or (pid is None and pd.isna(first["pid"]))
    assert first["function"] == function or (function is None and pd.isna(first["function"]))
    innocent = ("miller", "weigher", "sleeper", "import", "stone_weigh", "scales_read", "shelf_read", "171")
    ended = table[table["role"] != "beside"]
    assert not any(is_named(innocent, row) for _, row in ended.iterrows())
    assert table.loc[table["role"] == "beside", "pid"].isna().all()


@pytest.mark.parametrize(("seconds", "sure"), [(22, True), (412, False)])
def test_a_machine_that_stood_still_as_a_whole_is_doubted(seconds: int, sure: bool) -> None:
    """The watchdog looks every few seconds: what it first sees after minutes was a host that did not let it run."""
    first = kernlab.verdict.of_log(SOFT.replace("{seconds}", str(seconds))).iloc[0]
    assert (first["finding"], first["function"]) == ("soft lockup", "mill_turn")
    assert (first["confidence"] >= 0.8) == sure
    assert any("may have stood still" in why for why in first["against"]) != sure
