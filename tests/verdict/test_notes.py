"""What is told beside: modules from outside the kernel, marks, clocks, and the capture itself. Silence is golden."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from support.captures import captures
from verdict.cases import found_by, made_case, verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules import capture, clock
from kernlab.verdict.rules.asked import sysrq
from kernlab.verdict.rules.ends import last_report
from kernlab.verdict.rules.modules import forced_modules, marks_of_what_the_log_lost

NOTES = (
    capture.crash_kernel_itself,
    capture.no_crash_kernel,
    capture.overwritten_log,
    clock.clock_jumps,
    clock.clock_unstable,
    forced_modules,
    marks_of_what_the_log_lost,
)
#: An oops in the kernel's own code, called by a module from outside, as tests/oops/logs.py has them.
OOPS = """\
[  500.000000] BUG: kernel NULL pointer dereference, address: 0000000000000018
[  500.000001] Oops: Oops: 0002 [#1] SMP NOPTI
[  500.000002] CPU: 3 UID: 0 PID: 812 Comm: billing Tainted: P           OE       6.12.9-test #1
[  500.000003] RIP: 0010:ext4_sum+0x1c/0x30
[  500.000004] Call Trace:
[  500.000005]  shop_write+0x5e/0xe0 [shop]
[  500.000006]  ? mail_send+0x5e/0xe0 [mail]
[  500.000007]  vfs_write+0xf8/0x390
[  500.000008] Modules linked in: shop(POE) mail(OE)
[  500.000009] Kernel panic - not syncing: Fatal exception
"""
MODULES = [
    {"name": "shop", "taint": "POE"},
    {"name": "mail", "taint": "OE"},
    {"name": "ext4", "taint": ""},
    {"name": "ours", "taint": "E"},
]


def said(found: Finding) -> str:
    return "\n".join(one.says for one in found.evidence)


def test_a_module_on_the_stack_is_told_beside_and_not_blamed() -> None:
    """Only one that was surely called: what stands on the stack by chance is not told."""
    end, note = verdict_of(made_case(OOPS, modules=MODULES), last_report)
    assert (end.finding, end.module, end.function) == ("null dereference", None, "ext4_sum")
    assert (note.finding, note.subject, note.role) == ("out-of-tree module", "shop", "beside")
    assert "proprietary" in said(note)
    assert note.against


def test_a_module_that_is_blamed_is_called_what_it_is_and_told_once() -> None:
    """Its own row has it; a second would only repeat it."""
    log = OOPS.replace("ext4_sum+0x1c/0x30", "shop_sum+0x1c/0x30 [shop]")
    (end,) = verdict_of(made_case(log, modules=MODULES), last_report)
    assert end.module == "shop"
    assert "the module shop is proprietary, out-of-tree, not signed (taint POE)" in said(end)


def test_a_module_that_is_only_not_signed_is_nothing() -> None:
    """A distribution's own may be, and so are all where signatures are not asked for."""
    log = OOPS.replace("[shop]", "[ours]")
    assert len(verdict_of(made_case(log, modules=MODULES), last_report)) == 1


def test_modules_that_are_only_loaded_are_nothing() -> None:
    """Whoever asked for SysRq did not die of a module."""
    stack = "".join(f"[  900.0] {line}\n" for line in (
        "CPU: 1 PID: 9 Comm: till Not tainted 6.1.0 #1", "Call Trace:", " shop_poke+0x1/0x2 [shop]",
        " vfs_write+0x1/0x2",
    ))  # fmt: skip
    log = "[  900.0] sysrq: Trigger a crash\n[  900.0] Kernel panic - not syncing: sysrq triggered crash\n"
    assert [each.finding for each in verdict_of(made_case(log + stack, modules=MODULES), sysrq)] == ["sysrq"]
    asked = "[  900.0] till invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
    out = "[  900.0] Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled\n"
    found = verdict_of(made_case(asked + stack + out, modules=MODULES), last_report)
    assert [each.finding for each in found] == ["OOM"]


def test_a_log_alone_names_modules_that_taint() -> None:
    """`Modules linked in:` marks them."""
    _, note = verdict_of(Case(None, OOPS), last_report)
    assert (note.finding, note.subject) == ("out-of-tree module", "shop")


def test_a_live_patch_on_the_stack() -> None:
    """Its functions stand in for the kernel's."""
    case = made_case(OOPS, modules=[{"name": "shop", "taint": "OEK"}])
    assert verdict_of(case, last_report)[1].finding == "live patch"


def lost_beginning(text: str, **info: object) -> Case:
    """A log whose first thousand records are overwritten."""
    case = made_case(text, info=info)
    case.log["seq"] += 1000
    return case


@pytest.mark.parametrize(
    ("taint", "told"), [("D", 1), ("DWOE", 1), ("WOE", 0), ("Not tainted", 0), ("Dbit63", 0)]
)
def test_marks_tell_of_what_the_log_has_lost(taint: str, told: int) -> None:
    """An oops hours ago, of which only the mark is left; of a damaged mask nothing."""
    found = found_by(lost_beginning("[ 9000.0] shop: open", taint=taint), marks_of_what_the_log_lost)
    assert len(found) == told
    assert all(each.against and "9000" not in each.subject for each in found)


def test_marks_tell_nothing_that_the_log_still_tells() -> None:
    """Or would tell, had it not been set by hand."""
    assert found_by(made_case("[ 9000.0] shop: open", info={"taint": "D"}), marks_of_what_the_log_lost) == []
    assert found_by(lost_beginning(OOPS, taint="D"), marks_of_what_the_log_lost) == []


def test_modules_loaded_or_removed_by_force() -> None:
    """Which one, where it is still there."""
    rows = [{"name": "shop", "taint": "FOE"}, {"name": "mail", "taint": "OE"}]
    found = found_by(made_case("", info={"taint": "FROE"}, modules=rows), forced_modules)
    assert [each.subject for each in found] == [
        "modules loaded by force: shop",
        "a module was removed by force",
    ]
    assert found_by(made_case("", info={"taint": "POE"}, modules=MODULES), forced_modules) == []


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("[  500.0] a\n[  480.5] b\n[  481.0] c", 1),
        ("[  500.0] a\n[  499.5] b", 0),  # two CPUs
        ("[  500.0] a\n[  501.0] b\n[77000.0] c\n[  502.0] d\n[  503.0] e", 0),  # one line is damaged
        ("[   20.0] a\n[    0.0] b", 0),  # while it starts
        ("[  500.0] a\n[    0.0] Linux version 6.1", 0),  # the next boot, on a console
    ],
)
def test_a_clock_that_went_back(log: str, told: int) -> None:
    """By more than clocks of two CPUs differ."""
    found = found_by(made_case(log), clock.clock_jumps)
    assert len(found) == told
    assert [each.subject for each in found] == ["back by 19 s"][:told]
    assert all(each.confidence < 0.5 for each in found_by(Case(None, log), clock.clock_jumps))


def test_a_clock_that_was_given_up_is_a_hint() -> None:
    """Guests on a busy host lose theirs."""
    log = (
        "[  500.0] clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because the skew "
        "is too large:"
    )
    (found,) = found_by(made_case(log), clock.clock_unstable)
    assert (found.subject, found.confidence < 0.5) == ("tsc", True)


def lockup(seconds: int, before: str = "") -> Case:
    return made_case(
        f"{before}[  500.0] watchdog: BUG: soft lockup - CPU#1 stuck for {seconds}s! [billing:812]\n"
        "[  500.1] CPU: 1 PID: 812 Comm: billing Not tainted 6.1.0-test #1\n"
        "[  500.2] RIP: 0010:shop_count+0x1/0x2\n"
        "[  500.3] Kernel panic - not syncing: softlockup: hung tasks\n"
    )


def test_a_machine_that_stood_still_as_a_whole() -> None:
    """A watchdog that looks every few seconds, and first sees it after half an hour, did not run either."""
    (found,) = verdict_of(lockup(1800), last_report)
    assert "whole machine may have stood still" in found.against[0]
    assert found.confidence < 0.8
    (found,) = verdict_of(lockup(23), last_report)
    assert found.against == ()
    earlier = "[  400.0] watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [billing:812]\n[  400.1] CPU: 1 PID: 812\n"
    assert verdict_of(lockup(1800, earlier), last_report)[0].against == ()


def test_a_dump_of_the_kernel_that_was_to_save_one() -> None:
    """Only such a kernel is given the headers of a dump."""
    cmdline = "root=/dev/vda elfcorehdr=0x6cf00000 reset_devices"
    (found,) = found_by(made_case("", info={"cmdline": cmdline}), capture.crash_kernel_itself)
    assert found.against == ("What the first kernel died of is not in this dump.",)
    assert (
        found_by(
            made_case("", info={"cmdline": "root=/dev/vda crashkernel=320M"}), capture.crash_kernel_itself
        )
        == []
    )


def test_a_machine_that_could_save_no_dump() -> None:
    """Where a crash kernel took over there was room for one."""
    log = "[    0.0] crashkernel reservation failed - No suitable area found."
    assert len(found_by(made_case(log), capture.no_crash_kernel)) == 1
    noted = {"crash_time_source": "the kernel's note at the panic"}
    assert found_by(made_case(log, info=noted), capture.no_crash_kernel) == []
    assert found_by(made_case("[    0.0] crashkernel reserved: 0x1 - 0x2"), capture.no_crash_kernel) == []
    for taken_back in (
        "crashkernel reserved: 0x00000000b0000000 - 0x00000000c0000000 (256 MB)",
        "Reserving 256MB of memory at 2816MB for crashkernel (System RAM: 8191MB)",
    ):
        assert found_by(made_case(f"{log}\n[    0.1] {taken_back}"), capture.no_crash_kernel) == []
        assert found_by(made_case(f"[    0.0] {taken_back}\n{log}"), capture.no_crash_kernel) != []


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("vmcore is incomplete: makedumpfile ran out of room while it wrote it", 1),
        ("vmcore ends at byte 4,096, but page descriptor 3 points to 9,000", 1),
        ("vmcore changed after it was opened", 0),
    ],
)
def test_a_file_that_was_not_written_to_its_end(problem: str, told: int) -> None:
    """What a verdict does not find may be in the part that is missing."""
    case = made_case("")
    case.kernel.file = SimpleNamespace(problems=[problem])  # type: ignore[assignment]
    assert len(found_by(case, capture.dump_not_whole)) == told


def test_a_log_that_was_flooded() -> None:
    """Hours of a machine, of which a minute is left."""
    text = "[ 9000.0] shop: open\n[ 9060.0] shop: closed"
    (found,) = found_by(lost_beginning(text), capture.overwritten_log)
    assert (found.finding, found.since) == ("lost log lines", 60.0)
    assert found_by(made_case(text), capture.overwritten_log) == []
    assert found_by(lost_beginning(text.replace(" 9060", "99060")), capture.overwritten_log) == []
    # A machine says much while it starts.
    assert (
        found_by(lost_beginning("[  100.0] shop: open\n[  160.0] shop: closed"), capture.overwritten_log)
        == []
    )


@pytest.mark.in_turn
def test_a_healthy_dump_gives_no_note(dump: Any) -> None:
    """Of half a certainty or more."""
    case = Case(dump.kernel)
    assert [each for each in found_by(case, *NOTES, capture.dump_not_whole) if each.confidence >= 0.5] == []
    assert not pd.isna(case.info["cmdline"])


def test_captures_give_no_note_that_is_not_so() -> None:
    """A driver from outside the kernel is blamed in each, and told nowhere else."""
    folders = captures("fault-n*")[:2]
    if not folders:
        pytest.skip("no captures fault-n*: KERNLAB_LAB_CAPTURES names where they are")
    for folder in folders:
        with kernlab.open(folder / "vmcore") as dump:
            found = dump.verdict
        assert not {"out-of-tree module", "tainted kernel", "clock jump"} & set(found["finding"])
        assert "out-of-tree" in str(found["evidence"].iloc[0])


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("carder(OE)", "the module carder is out-of-tree, not signed (OE)"),
        # Being loaded, removed, not signed by who built the kernel, tried out: all of the kernel's own tree.
        ("carder(+)", None),
        ("carder(-)", None),
        ("carder(E)", None),
        ("carder(T)", None),
    ],
)
def test_marks_of_modules_in_a_log_alone(listed: str, told: str | None) -> None:
    """In "Modules linked in:" stand marks that say nothing of where a module is from."""
    log = (
        "[  500.000001] BUG: kernel NULL pointer dereference, address: 0000000000000010\n"
        "[  500.000002] Oops: Oops: 0002 [#1] SMP\n"
        "[  500.000003] CPU: 1 PID: 77 Comm: billing Not tainted 6.12.1 #1\n"
        "[  500.000004] RIP: 0010:card_wool+0x1c/0x30 [carder]\n"
        "[  500.000005] Call Trace:\n"
        "[  500.000006]  vfs_write+0xf8/0x390\n"
        f"[  500.000007] Modules linked in: loop {listed} fuse\n"
        "[  500.000008] Kernel panic - not syncing: Fatal exception\n"
    )
    table = kernlab.verdict.of_log(log)
    says = [one["says"] for evidence in table["evidence"] for one in evidence]
    assert [one for one in says if "the module carder" in one] == ([told] if told else [])
