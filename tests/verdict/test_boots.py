"""A log of several boots: the one that died is told of, and no line of another."""

from __future__ import annotations

import pytest

import kernlab
from kernlab.oops.endings import PANIC
from kernlab.verdict.boots import one_boot

_DIED = """\
[    0.000000] Linux version 6.1.0-test (builder@here) (gcc 12) #1 SMP
[    0.000000] Command line: root=/dev/vda1 crashkernel=256M
[ 5000.000000] BUG: kernel NULL pointer dereference, address: 0000000000000018
[ 5000.000001] Oops: 0000 [#1] PREEMPT SMP
[ 5000.000002] CPU: 0 PID: 77 Comm: carder Not tainted 6.1.0-test #1
[ 5000.000003] RIP: 0010:card_wool+0x18/0x80 [carder]
[ 5000.000004] Call Trace:
[ 5000.000005]  vfs_write+0x9a/0x230
[ 5000.000006] ---[ end trace 0000000000000000 ]---
[ 5000.000007] Kernel panic - not syncing: Fatal exception
"""
_SAVES = """\
[    0.000000] Linux version 6.1.0-test (builder@here) (gcc 12) #1 SMP
[    0.000000] Command line: root=/dev/vda1 irqpoll nr_cpus=1 elfcorehdr=0x2f000000
[    8.000000] makedumpfile invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0
[    8.000001] CPU: 0 PID: 199 Comm: makedumpfile Not tainted 6.1.0-test #1
[    8.000002] Mem-Info:
[    8.000003] Kernel panic - not syncing: System is deadlocked on memory
"""
_RUNS = """\
[    0.000000] Linux version 6.1.0-test (builder@here) (gcc 12) #1 SMP
[    0.000000] Command line: root=/dev/vda1 crashkernel=256M
[90000.000000] WARNING: CPU: 3 PID: 900 at kernel/foo.c:477 foo_check+0x264/0x270
[90000.000004] CPU: 3 PID: 900 Comm: footask Not tainted 6.1.0-test #1
[90000.000005] RIP: 0010:foo_check+0x264/0x270
[90000.000006] Call Trace:
[90000.000008]  foo_run+0x24/0x120
[90000.000009] ---[ end trace 0000000000000000 ]---
"""


@pytest.mark.parametrize("before", ["", _RUNS])
@pytest.mark.parametrize("after", [_SAVES, _RUNS, _SAVES + _RUNS])
def test_the_boot_that_died_is_told_of(before: str, after: str) -> None:
    """Neither the crash kernel, which had too little memory, nor the machine when it ran again."""
    table = kernlab.verdict.of_log(before + _DIED + after)
    assert [(one.finding, one.role) for one in table.itertuples()] == [("null dereference", "end")]
    assert table["since"].iloc[0].total_seconds() == pytest.approx(0, abs=1)
    boots = (before + _DIED + after).count("Linux version")
    assert any(f"the log is of {boots} boots: only that of lines" in one for one in table.attrs["problems"])
    # Lines keep their numbers.
    row = table["evidence"].iloc[0][0]["rows"][0]
    assert "NULL pointer" in kernlab.verdict.lines(before + _DIED + after)["text"].loc[row]


def test_a_boot_whose_beginning_is_lost_counts() -> None:
    """A console's buffer begins somewhere."""
    table = kernlab.verdict.of_log(_DIED.partition("crashkernel=256M\n")[2] + _SAVES)
    assert table["finding"].tolist() == ["null dereference"]


def test_a_crash_kernel_alone_is_told_of() -> None:
    """Its console was all that was kept."""
    assert kernlab.verdict.of_log(_SAVES + _SAVES)["finding"].iloc[0] == "OOM"


@pytest.mark.parametrize(
    "text",
    [
        _RUNS + _RUNS,
        _SAVES.replace(PANIC, "panic") + _SAVES.replace(PANIC, "panic"),
        _DIED,
        _DIED + "[ 5000.100000] app: Linux version 6.1.0 (x)\n",
        "[    1.000000] random text\n" + _DIED,
        "[    1.000000] app: Linux version 6.1.0 (x)\n[    2.000000] Kernel panic - not syncing: Fatal exception\n",
    ],
    ids=[
        "none panicked",
        "crash kernels",
        "one boot",
        "a line of a program",
        "a beginning that is no boot",
        "no boot at all",
    ],
)
def test_other_logs_stay_whole(text: str) -> None:
    """Where it is not known which boot is asked for, all are."""
    assert one_boot(text)[0] == text


#: panic_on_oops starts the crash kernel from the trap: no panic is logged (arch/x86/kernel/dumpstack.c, oops_end).
_TRAPPED = _DIED[: _DIED.index("[ 5000.000006]")]


@pytest.mark.parametrize("before", ["", _RUNS])
@pytest.mark.parametrize("after", ["", _RUNS])
@pytest.mark.parametrize("begin", [True, False], ids=["from the beginning", "its beginning is lost"])
def test_a_boot_died_if_the_next_is_a_crash_kernel(before: str, after: str, begin: bool) -> None:
    """Only a crash starts one; it saves the dump, and the machine starts again."""
    died = _TRAPPED if begin or before else _TRAPPED.partition("crashkernel=256M\n")[2]
    saves = _SAVES.partition("[    8.000000]")[0]
    table = kernlab.verdict.of_log(before + died + saves + after)
    assert [(one.finding, one.role) for one in table.itertuples()] == [("null dereference", "end")]
    assert table["since"].iloc[0].total_seconds() < 1


def test_of_boots_that_did_not_die_no_time_before_an_end_is_told() -> None:
    """Each has a clock of its own: a later boot's last line is no end of an earlier one's day."""
    shorter = _RUNS.replace("90000.", "  400.").replace("foo", "bar")
    table = kernlab.verdict.of_log(_RUNS + shorter)
    assert set(table["finding"]) == {"WARNING", "unexpected reboot"}
    assert table["since"].isna().all()
    assert any("none of which is known to have died" in one for one in table.attrs["problems"])


def test_a_machine_that_started_again_and_died_later_died_of_that() -> None:
    """Its second boot has an end of its own."""
    trap = "\n".join(_DIED.splitlines()[:-2]) + "\n"
    table = kernlab.verdict.of_log("[  900.000000] shop: open\n" + trap)
    assert table["finding"].tolist() == ["null dereference"]
