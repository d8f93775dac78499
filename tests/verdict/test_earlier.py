"""Reports that a machine outlived are told as what they are, and accuse nobody."""

from __future__ import annotations

import pytest
from support.captures import captures
from verdict.asked import ENDS
from verdict.cases import made_case, verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.checkers import checked

_WARN = """\
[   {at:>10.6f}] [    T174] ------------[ cut here ]------------
[   {at:>10.6f}] [    T174] WARNING: CPU: 0 PID: 174 at till.c:322 scales_read+0x1c/0x30 [till]
[   {at:>10.6f}] [    T174] CPU: 0 UID: 0 PID: 174 Comm: weigher Tainted: G           OE      6.12.1-amd64 #1
[   {at:>10.6f}] [    T174] RIP: 0010:scales_read+0x1c/0x30 [till]
[   {at:>10.6f}] [    T174] Call Trace:
[   {at:>10.6f}] [    T174]  <TASK>
[   {at:>10.6f}] [    T174]  vfs_write+0xf8/0x440
[   {at:>10.6f}] [    T174]  </TASK>
[   {at:>10.6f}] [    T174] ---[ end trace 0000000000000000 ]---
"""
_OOPS = """\
[   {at:>10.6f}] [    T171] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   {at:>10.6f}] [    T171] Oops: Oops: 0000 [#1] PREEMPT SMP
[   {at:>10.6f}] [    T171] CPU: 1 UID: 0 PID: 171 Comm: miller Tainted: G        W  OE      6.12.1-amd64 #1
[   {at:>10.6f}] [    T171] RIP: 0010:stone_weigh+0x10/0x20 [{module}]
[   {at:>10.6f}] [    T171] Call Trace:
[   {at:>10.6f}] [    T171]  <TASK>
[   {at:>10.6f}] [    T171]  vfs_write+0xf8/0x440
[   {at:>10.6f}] [    T171]  </TASK>
[   {at:>10.6f}] [    T171] ---[ end trace 0000000000000000 ]---
"""
_SYSRQ = """\
[   38.000000] [      T1] sysrq: Trigger a crash
[   38.000000] [      T1] Kernel panic - not syncing: sysrq triggered crash
"""
_HUNG = """\
[   {at:>10.6f}] [     T30] INFO: task sleeper:{pid} blocked for more than 120 seconds.
[   {at:>10.6f}] [     T30]       Not tainted 6.12.1-amd64 #1
[   {at:>10.6f}] [     T30] task:sleeper         state:D stack:0     pid:{pid}   tgid:{pid}   ppid:1 flags:0x4002
[   {at:>10.6f}] [     T30] Call Trace:
[   {at:>10.6f}] [     T30]  <TASK>
[   {at:>10.6f}] [     T30]  __schedule+0x505/0xbf0
[   {at:>10.6f}] [     T30]  schedule+0x27/0xf0
[   {at:>10.6f}] [     T30]  {function}+0x10/0x20 [till]
[   {at:>10.6f}] [     T30]  </TASK>
"""
_HUNG_PANIC = "[  400.000001] [     T30] Kernel panic - not syncing: hung_task: blocked tasks\n"


def _found(log: str) -> list[Finding]:
    """All that rules of the log find; what is earlier is told by the weighing."""
    return verdict_of(Case(None, log), *ENDS, checked)


def test_an_oops_that_was_survived_is_told_beside_a_sysrq() -> None:
    """The thread was killed, the machine went on, and somebody ended it seconds later: two things."""
    first, *beside = _found(_WARN.format(at=10.0) + _OOPS.format(at=33.0, module="till") + _SYSRQ)
    assert first.finding == "sysrq"
    assert [(each.finding, each.subject, each.function, each.confidence, each.role) for each in beside] == [
        ("null dereference", "an earlier report, 5.0 s before the end", "stone_weigh", 0.9, "beside"),
        ("WARNING", "an earlier report, 28.0 s before the end", "scales_read", 0.9, "beside"),
    ]
    assert all(each.pid is None and each.against for each in beside)
    assert "miller (171) was killed for it" in [each.says for each in beside[0].evidence]


@pytest.mark.parametrize("module", ["till", "mill"])
def test_that_the_end_is_in_the_same_module_is_said(module: str) -> None:
    """It may be why, and it may not: evidence, and no cause."""
    log = (
        _WARN.format(at=10.0)
        + _OOPS.format(at=33.0, module=module)
        + ("[   33.000000] [    T171] Kernel panic - not syncing: Fatal exception\n")
    )
    end, earlier = _found(log)
    assert (end.finding, earlier.finding, earlier.role) == ("null dereference", "WARNING", "beside")
    said = [each.says for each in earlier.evidence]
    assert ("the end is in the same module, till" in said) == (module == "till")


@pytest.mark.parametrize(
    ("at", "thread", "tied"), [(33.0, 174, True), (31.0, 174, False), (33.0, 175, False)]
)
def test_that_the_same_thread_ended_the_machine_at_once_is_said(at: float, thread: int, tied: bool) -> None:
    """A reference count that was wrong, and the use of what it freed: no proof, but nearer than the module alone."""
    oops = _OOPS.format(at=33.5, module="mill").replace("171", str(thread))
    log = (
        _WARN.format(at=at)
        + oops
        + f"[   33.600000] [    T{thread}] Kernel panic - not syncing: Fatal exception\n"
    )
    _, earlier = _found(log)
    assert ("the end is of the same thread" in [each.says for each in earlier.evidence]) == tied
    assert ("Nothing shows that the end has to do with it." in earlier.against) != tied


def test_several_alike_are_one_row() -> None:
    """With a count, and the last one's time."""
    log = "".join(_WARN.format(at=float(at)) for at in range(10, 31, 5)) + _SYSRQ
    _, earlier = _found(log)
    assert earlier.subject == "5 earlier reports, the last 8.0 s before the end"
    assert len(earlier.evidence[0].rows) == 5


def test_of_many_kinds_the_latest_are_told() -> None:
    """A verdict is no list of all that a log has."""
    log = "".join(
        _WARN.format(at=float(at)).replace("scales_read", f"scales_read{chr(at + 90)}")
        for at in range(10, 30)
    )
    found = _found(log + _SYSRQ)
    assert len(found) == 9
    assert found[1].since == pytest.approx(9.0)


def test_what_another_rule_tells_is_told_once() -> None:
    """A report of KASAN has a row of its own already."""
    log = """\
[   12.000000] [    T301] ==================================================================
[   12.000000] [    T301] BUG: KASAN: slab-use-after-free in shelf_read+0x1c/0x30 [shop]
[   12.000000] [    T301] Read of size 8 at addr ffff888107a8e408 by task audit/301
[   12.000000] [    T301] Call Trace:
[   12.000000] [    T301]  shelf_read+0x1c/0x30 [shop]
[   12.000000] [    T301]  vfs_read+0xf8/0x440
[   12.000000] [    T301] ==================================================================
"""
    assert [each.finding for each in _found(log + _SYSRQ)] == ["sysrq", "use after free"]


@pytest.mark.parametrize(("before", "told"), [(350.0, 0), (20.0, 1)])
def test_stalls_of_one_trouble_are_no_earlier_reports(before: float, told: int) -> None:
    """A watchdog names one sleeper after the other; one of long ago is another story."""
    log = (
        _HUNG.format(at=before, pid=90, function="shelf_read")
        + _HUNG.format(at=400.0, pid=91, function="shelf_write")
        + _HUNG_PANIC
    )
    assert len(_found(log)) == 1 + told


def test_a_kill_by_a_memory_cgroup_names_its_victim_as_evidence() -> None:
    """Not as the subject, which would read as who is to blame."""
    log = """\
[   12.000000] [    T178] import invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[   12.000000] [    T178] memory: usage 12288kB, limit 12288kB, failcnt 33
[   12.000000] [    T178] Memory cgroup out of memory: Killed process 178 (import) total-vm:14000kB, anon-rss:11000kB
"""
    _, earlier = _found(log + _SYSRQ)
    assert (earlier.finding, earlier.pid) == ("memory cgroup out of memory", None)
    assert "import" not in earlier.subject
    assert "import (178) was killed for it" in [each.says for each in earlier.evidence]


@pytest.mark.parametrize("cgroup", [True, False])
def test_an_old_kill_by_a_memory_cgroup_is_another_story_than_the_machines_memory(cgroup: bool) -> None:
    """Both are the OOM killer's; an earlier one of the same kind is what went on until the end."""
    log = """\
[   12.000000] [    T178] import invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[   12.000000] [    T178] memory: usage 12288kB, limit 12288kB, failcnt 33
[   12.000000] [    T178] {words}ut of memory: Killed process 178 (import) total-vm:14000kB, anon-rss:11000kB
[  500.000000] [    T300] billing invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[  500.000000] [    T300] CPU: 0 UID: 0 PID: 300 Comm: billing Not tainted 6.12.1 #1
[  500.000000] [    T300] Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled
""".replace("{words}", "Memory cgroup o" if cgroup else "O")
    first, *beside = _found(log)
    assert (first.finding, first.subject) == ("OOM", "memory")
    assert [each.finding for each in beside] == ["memory cgroup out of memory"] * cgroup


def test_captures_with_decoys() -> None:
    """An old warning beside the end that is another one; it is never first."""
    folders = captures("fault-*decoys*") + captures("fault-refuse-*")
    if not folders:
        pytest.skip("no captures with decoys: KERNLAB_LAB_CAPTURES")
    with kernlab.open(folders[0] / "vmcore") as dump:
        verdict = dump.verdict
        old = verdict[verdict["function"] == "scales_read"]
        shown = [eval(cell, {"dump": dump}) for cell in old["cell"]]
    assert verdict["function"].iloc[0] != "scales_read"
    assert old["role"].tolist() == ["beside"]
    assert all(len(table) for table in shown)


def test_a_log_that_tells_no_end() -> None:
    """What the machine did then is not known: a log may have been cut there."""
    (only,) = _found(_WARN.format(at=10.0) + "[   12.000000] eth0: link is up\n")
    assert only.subject == "an earlier report, 2.0 s before the log's last line"
    assert only.against == ("What came of it is not in the log.",)


@pytest.mark.parametrize(("function", "told"), [("scales_read", 0), ("scales_write", 1)])
def test_the_same_once_more_is_the_end_and_no_earlier_report(function: str, told: int) -> None:
    """What went on until the machine stopped for it."""
    panic = "[   20.000000] [    T174] Kernel panic - not syncing: kernel: panic_on_warn set ...\n"
    log = _WARN.format(at=10.0).replace("scales_read", function) + _WARN.format(at=20.0) + panic
    assert [each.finding for each in _found(log)] == ["WARNING"] * (1 + told)


@pytest.mark.parametrize(
    ("last", "says"),
    [("10.5", "What came of it is not in the log."), ("12.0", "The machine went on after it.")],
)
def test_a_report_just_before_a_log_breaks_off_may_be_the_end(last: str, says: str) -> None:
    """Of a dump without a panic."""
    found = verdict_of(made_case(_WARN.format(at=10.0) + f"[   {last}00000] [      T1] shop: open\n"), *ENDS)
    assert [each.against[0] for each in found if each.finding == "WARNING"] == [says]
