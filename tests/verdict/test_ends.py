"""How a machine came to its end: what its log says, what its stacks say, and who asked for it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support.captures import captures
from verdict.cases import found_by, made_case, verdict_of

import kernlab
from kernlab.errors import KernlabError
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.asked import sent_nmi, stopped, sysrq, unfed_watchdog
from kernlab.verdict.rules.ends import end_of_stacks, last_report
from kernlab.verdict.rules.panics import init_died, nothing_to_start_from
from kernlab.verdict.story import story

ENDS = (last_report, end_of_stacks, sysrq, sent_nmi, unfed_watchdog, stopped)
SYSRQ = """\
[  100.000000][  T812] sysrq: Trigger a crash
[  100.000100][  T812] Kernel panic - not syncing: sysrq triggered crash
[  100.000200][  T812] CPU: 1 UID: 0 PID: 812 Comm: bash Not tainted 6.12.9-test #1
"""


def stack(*symbols: str, pid: int = 812, cpu: int = 1, kind: str = "task") -> list[dict[str, object]]:
    """Rows of `stacks`, the innermost first."""
    return [
        {"pid": pid, "frame": place, "symbol": symbol, "kind": kind, "reliable": True, "cpu": cpu}
        for place, symbol in enumerate(symbols)
    ]


def the_end(case: Case) -> Finding:
    """The one row of the end."""
    (found,) = found_by(case, *ENDS)
    assert found.role == "end"
    return found


def said(finding: Finding) -> str:
    return "\n".join(one.says for one in finding.evidence)


def test_sysrq_of_a_sample(sample: Any) -> None:
    """A story's init writes c to /proc/sysrq-trigger: it is the end, and nothing led to it."""
    case = sample("panic")
    found = the_end(case)
    assert (found.finding, found.pid, found.subject) == ("sysrq", 1, "init (1)")
    assert found.confidence >= 0.95
    row = next(one for one in found.evidence if one.table == "stacks").rows[0]
    assert case.stacks.loc[row, "symbol"].startswith("write_sysrq_trigger+")
    assert "child of" not in said(found)


@pytest.mark.in_turn
def test_sysrq_of_a_whole_dump(dump: Any) -> None:
    """On each kernel."""
    found = the_end(Case(dump.kernel))
    assert (found.finding, found.pid) == ("sysrq", 1)
    assert "init (1) wrote c to /proc/sysrq-trigger" in said(found)


def test_whose_child_wrote_to_sysrq() -> None:
    """A shell of a login; process 1 and the kernel tell nothing."""
    family = (
        (1, 0, "init"),
        (0, 0, "swapper/0"),
        (700, 1, "sshd"),
        (800, 700, "login\x1b[31m"),
        (812, 800, "bash"),
    )
    tasks = [{"pid": pid, "ppid": ppid, "comm": comm} for pid, ppid, comm in family]
    rows = stack("panic+0x1/0x2", "sysrq_handle_crash+0x1/0x2", "write_sysrq_trigger+0x24/0x40")
    found = the_end(made_case(SYSRQ, stacks=rows, tasks=tasks))
    assert (found.subject, found.pid) == ("bash (812)", 812)
    assert said(found).endswith("it is a child of login␛[31m (800), of sshd (700)")


@pytest.mark.parametrize(
    ("symbol", "who"),
    [("sysrq_filter+0x1/0x2", "the keyboard"), ("uart_handle_break+0x1/0x2", "a serial console")],
)
def test_sysrq_by_an_interrupt_is_not_the_thread_beneath(symbol: str, who: str) -> None:
    """The thread that it interrupted asked for nothing."""
    rows = stack("panic+0x1/0x2", "sysrq_handle_crash+0x1/0x2", symbol, kind="irq") + stack(
        "billing_run+0x1/0x2"
    )
    found = the_end(made_case(SYSRQ, stacks=rows))
    assert (found.subject, found.pid) == (who, None)


@pytest.mark.parametrize(
    ("caller", "pid", "stack", "subject"),
    [
        ("T812", 812, " <TASK>\n write_sysrq_trigger+0x1/0x2\n </TASK>", "billing (812)"),
        ("T812", 812, "", "billing (812)"),
        # The driver of a console that nobody knows, or a key: billing was only interrupted.
        ("C1", 812, "", "somebody"),
        ("C1", 0, "", "somebody"),
        (
            "",
            812,
            " <IRQ>\n shop_console_rx+0x1/0x2 [shop]\n </IRQ>\n <TASK>\n vfs_read+0x1/0x2\n </TASK>",
            "somebody",
        ),
        ("", 812, " shop_console_rx+0x1/0x2\n gic_handle_irq+0x1/0x2\n el0_svc+0x1/0x2", "somebody"),
        ("", 812, " shop_console_thread+0x1/0x2\n kthread+0x1/0x2", "billing (812)"),
        ("", 812, "", "somebody"),
    ],
)
def test_of_a_log_alone_who_asked_is_not_whom_an_interrupt_met(
    caller: str, pid: int, stack: str, subject: str
) -> None:
    """A key is read by an interrupt."""
    lines = [
        "sysrq: Trigger a crash",
        "Kernel panic - not syncing: sysrq triggered crash",
        f"CPU: 1 UID: 0 PID: {pid} Comm: billing Not tainted 6.12.9 #1",
        "Call Trace:",
        *stack.splitlines(),
    ]
    mark = f"[{caller:>8}]" if caller else ""
    (end,) = kernlab.verdict.of_log("".join(f"[  100.000000]{mark} {line}\n" for line in lines)).to_dict(
        "records"
    )
    assert (end["finding"], end["subject"]) == ("sysrq", subject)
    assert pd.isna(end["pid"]) == (subject == "somebody")


def test_sysrq_before_5_0_is_no_null_dereference() -> None:
    """It wrote through a NULL pointer on purpose (drivers/tty/sysrq.c before 8341f2f222d7)."""
    log = """\
[  100.000000] SysRq : Trigger a crash
[  100.000010] BUG: unable to handle kernel NULL pointer dereference at 0000000000000000
[  100.000020] Oops: 0002 [#1] SMP
[  100.000030] CPU: 0 PID: 812 Comm: bash Not tainted 4.19.0-test #1
[  100.000040] RIP: 0010:sysrq_handle_crash+0x12/0x20
[  100.000050] Call Trace:
[  100.000060]  __handle_sysrq+0x9f/0x160
[  100.000070]  write_sysrq_trigger+0x2b/0x30
[  100.000080] Kernel panic - not syncing: Fatal exception
"""
    found = the_end(made_case(log))
    assert (found.finding, found.subject) == ("sysrq", "bash (812)")


_ON_THE_WAY_OUT = """\
[  {at}.000000][  T812] BUG: kernel NULL pointer dereference, address: 0000000000000010
[  {at}.000001][  T812] Oops: Oops: 0002 [#1] SMP
[  {at}.000002][  T812] CPU: 1 UID: 0 PID: 812 Comm: bash Tainted: G  OE  6.12.1 #1
[  {at}.000003][  T812] RIP: 0010:shop_notified+0x1c/0x30 [shop]
[  {at}.000004][  T812] Call Trace:
[  {at}.000005][  T812]  notifier_call_chain+0x5e/0xe0
[  {at}.000006][  T812]  panic+0xf8/0x390
[  {at}.000007][  T812] Kernel panic - not syncing: Fatal exception
"""


@pytest.mark.parametrize(("at", "kind"), [(101, "sysrq"), (900, "sysrq"), (50, "null dereference")])
def test_what_goes_wrong_on_the_way_out_is_no_cause(at: int, kind: str) -> None:
    """A notifier that traps panics once more; where the time goes back it is another boot, and that died of it."""
    assert made_case(SYSRQ + _ON_THE_WAY_OUT.format(at=at)).end.kind == kind


def test_an_nmi_that_was_sent() -> None:
    """As `virsh inject-nmi` with unknown_nmi_panic: no hardware error."""
    log = """\
[  100.000000] Uhhuh. NMI received for unknown reason 30 on CPU 0.
[  100.000010] Kernel panic - not syncing: NMI: Not continuing
[  100.000020] CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0-test #1
"""
    found = the_end(made_case(log))
    assert (found.finding, found.pid, bool(found.against)) == ("NMI", None, True)


def test_where_the_cpu_was_when_the_nmi_came() -> None:
    """What it did then is all that such a dump tells."""
    log = """\
[  100.000000] Uhhuh. NMI received for unknown reason 30 on CPU 0.
[  100.000010] Kernel panic - not syncing: NMI: Not continuing
[  100.000020] CPU: 1 PID: 812 Comm: billing Not tainted 6.1.0-test #1
"""
    rows = stack("panic+0x1/0x2", "nmi_panic+0x1/0x2", "unknown_nmi_error+0x1/0x2", kind="nmi")
    rows += stack("shop_count+0x1/0x2 [shop]", "shop_write+0x1/0x2 [shop]")
    found = the_end(made_case(log, stacks=rows))
    assert "CPU 1 was in shop_count ← shop_write then" in said(found)
    assert (found.module, found.pid) == (None, None)


def test_what_a_program_wrote_into_the_log_is_no_report() -> None:
    """Tests write such lines to /dev/kmsg, and so may anybody who wants to mislead."""
    case = made_case("[   99.0] Kernel panic - not syncing: Attempted to kill init!\n" + SYSRQ)
    case.log.loc[case.log.index[0], "facility"] = 1
    assert the_end(case).finding == "sysrq"
    assert case.reports["kind"].tolist() == ["sysrq"]
    alone = made_case("[   99.0] Kernel panic - not syncing: shop: closed\n")
    assert alone.end.kind == "panic"
    alone = made_case("[   99.0] Kernel panic - not syncing: shop: closed\n")
    alone.log["facility"] = 1
    assert alone.end.kind == "stopped"


WRITTEN = (
    "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 4: be00000000800400",
    "NETDEV WATCHDOG: eth0 (ice): transmit queue 3 timed out",
    "nfs: server files1 not responding, timed out",
    "blk_update_request: I/O error, dev sda, sector 4096 op 0x0:(READ) flags 0x0",
    "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm sh: reading directory lblock 0",
    "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large:",
    "crashkernel reservation failed - No suitable area found.",
    "shop: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
)


@pytest.mark.parametrize("facility", [1, pd.NA])
def test_no_rule_takes_a_program_s_words_for_the_kernel_s(facility: object) -> None:
    """Nor those of whom nobody knows, as the record's descriptor is lost."""
    log = "".join(f"[   9{place}.0] {line}\n" for place, line in enumerate(WRITTEN)) + SYSRQ
    theirs = made_case(log)
    theirs.log["facility"] = theirs.log["facility"].astype("Int64")
    theirs.log.loc[theirs.log.index[: len(WRITTEN)], "facility"] = facility
    assert [each.finding for each in verdict_of(theirs)] == ["sysrq"]
    assert len(verdict_of(made_case(log))) > len(WRITTEN) - 1


def test_an_nmi_for_which_the_kernel_knows_a_reason() -> None:
    """That is hardware (arch/x86/kernel/nmi.c, pci_serr_error)."""
    log = """\
[  100.000000] NMI: PCI system error (SERR) for reason a1 on CPU 0.
[  100.000010] Kernel panic - not syncing: NMI: Not continuing
"""
    assert the_end(made_case(log)).finding == "hardware error"


@pytest.mark.parametrize(
    ("panic", "kind", "setting"),
    [
        ("hung_task: blocked tasks", "hung task", "kernel.hung_task_panic"),
        ("softlockup: hung tasks", "soft lockup", "kernel.softlockup_panic"),
        ("RCU Stall", "RCU stall", "kernel.panic_on_rcu_stall"),
        ("Hard LOCKUP", "hard lockup", "kernel.hardlockup_panic"),
    ],
)
def test_a_watchdogs_panic_without_its_report(panic: str, kind: str, setting: str) -> None:
    """The thread of the panic's stack is the watchdog's: it is named nowhere."""
    log = f"""\
[  100.000000] Kernel panic - not syncing: {panic}
[  100.000010] CPU: 0 PID: 33 Comm: khungtaskd Not tainted 6.1.0-test #1
[  100.000020] Call Trace:
[  100.000030]  panic+0x1/0x2
[  100.000040]  watchdog+0x3/0x4
"""
    found = the_end(made_case(log))
    assert (found.finding, found.pid, found.function) == (kind, None, None)
    assert "khungtaskd" not in found.subject
    assert f"it was set to stop then: {setting}" in said(found)


@pytest.mark.parametrize(
    ("symbols", "kind"),
    [
        (("__crash_kexec+0x1/0x2", "panic+0x1/0x2", "check_hung_uninterruptible_tasks+0x1/0x2"), "hung task"),
        (("__crash_kexec+0x1/0x2", "panic+0x1/0x2", "sysrq_handle_crash+0x1/0x2"), "sysrq"),
        (("crash_kexec+0x1/0x2", "oops_end+0x1/0x2", "exc_general_protection+0x1/0x2"), "general protection"),
        (
            ("vpanic+0x1/0x2", "check_panic_on_warn+0x1/0x2", "__warn+0x1/0x2", "shop_check+0x1/0x2"),
            "WARNING",
        ),
        (("panic+0x1/0x2", "mce_panic+0x1/0x2", "do_machine_check+0x1/0x2"), "hardware error"),
        (("vpanic+0x1/0x2", "softdog_fire+0x1/0x2", "__hrtimer_run_queues+0x1/0x2"), "watchdog"),
    ],
)
def test_the_log_is_lost_but_the_stack_tells(symbols: tuple[str, ...], kind: str) -> None:
    """The stack of who died is as good; that the log does not tell speaks against it."""
    found = the_end(made_case("", info={"panic_cpu": 1}, stacks=stack(*symbols)))
    assert (found.finding, bool(found.against), found.confidence >= 0.8) == (kind, True, True)


def test_a_log_that_cannot_be_read_is_as_one_that_is_lost() -> None:
    """A table that raises tells nothing; the stacks do."""
    rows = stack("panic+0x1/0x2", "sysrq_handle_crash+0x1/0x2")
    case = made_case("", info={"panic_cpu": 1}, stacks=rows)

    class Unreadable(type(case)):  # type: ignore[misc]
        @property
        def reports(self) -> pd.DataFrame:
            raise KernlabError("the log is damaged")

    case.__class__ = Unreadable
    assert case.end.kind == "sysrq"


def test_nothing_tells_how_it_ended() -> None:
    """A CPU started the crash kernel, and that is all: a hint."""
    case = made_case("[    1.000000] Linux", info={"panic_cpu": 1}, stacks=stack("billing_run+0x1/0x2"))
    found = the_end(case)
    assert (found.finding, found.function) == ("panic", None)
    assert found.confidence < 0.5


def test_a_frame_that_is_not_sure_tells_nothing() -> None:
    """What lies on a stack may be of a call that has long returned."""
    rows = [
        row | {"reliable": False}
        for row in stack("panic+0x1/0x2", "check_hung_uninterruptible_tasks+0x1/0x2")
    ]
    assert made_case("", stacks=rows).end.kind == "stopped"


def test_an_image_of_a_machine_that_ran() -> None:
    """Nothing panicked: it did not die, whatever was in its log before."""
    log = """\
[   50.000000] WARNING: CPU: 0 PID: 7 at drivers/shop.c:12 shop_check+0x1/0x2
[   50.000010] CPU: 0 PID: 7 Comm: shop Not tainted 6.1.0-test #1
[   50.000020] RIP: 0010:shop_check+0x1/0x2
[   50.000030] ---[ end trace 0000000000000000 ]---
"""
    found = the_end(made_case(log, info={"crash_time_source": "the kernel's clock at its last tick"}))
    assert (found.finding, found.confidence >= 0.8, found.against) == ("stopped", True, ())


def test_a_machine_that_runs_did_not_come_to_its_end() -> None:
    running = made_case("[   10.0] eth0: link up", info={"crash_time_source": pd.NA, "panic_cpu": pd.NA})
    assert [each.finding for each in verdict_of(running, *ENDS)] == ["stopped"]
    running.kernel.changes = True
    assert verdict_of(running, *ENDS) == []


@pytest.mark.parametrize(
    "lost",
    [{"crash_time_source": "the kernel's note at the panic"}, {}],
    ids=["a panic was noted", "the log is empty"],
)
def test_what_speaks_against_that_it_ran(lost: dict[str, object]) -> None:
    """Less than a hint is left."""
    case = made_case("[    1.000000] Linux" if lost else "", info=lost)
    found = the_end(case)
    assert found.finding == "stopped"
    assert found.against
    assert found.confidence < 0.5


def test_an_oops_at_the_end_of_a_log_alone() -> None:
    """Nobody says that it was the end."""
    log = """\
[   12.000000] BUG: kernel NULL pointer dereference, address: 0000000000000010
[   12.000001] Oops: Oops: 0002 [#1] SMP
[   12.000002] CPU: 1 UID: 0 PID: 77 Comm: billing Tainted: G  OE  6.12.1 #1
[   12.000003] RIP: 0010:shop_check+0x1c/0x30 [shop]
[   12.000004] Call Trace:
[   12.000005]  shop_write+0x5e/0xe0 [shop]
"""
    found = the_end(Case(None, log))
    assert (found.finding, found.module, found.confidence) == ("null dereference", "shop", 0.8)
    assert found.against == ("No panic is in the log: the machine may have gone on.",)
    died = the_end(Case(None, f"{log}[   12.1] Kernel panic - not syncing: Fatal exception\n"))
    assert died.against == ()
    assert died.confidence > 0.95


def test_out_of_memory_names_nobody() -> None:
    """Who asked last is chance."""
    log = """\
[   12.000000] ledger invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[   12.000001] CPU: 1 PID: 77 Comm: ledger Not tainted 6.12.1 #1
[   12.000002] Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled
"""
    found = the_end(made_case(log))
    assert (found.finding, found.subject, found.pid) == ("OOM", "memory", None)
    assert "vm.panic_on_oom" in said(found)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("0x0000000b", "signal 11 (SIGSEGV) ended it"),
        ("0x0000008b", "signal 11 (SIGSEGV) ended it"),
        ("0x00000100", "it ended by itself, with exit status 1"),
        ("0x0000007f", "signal 127 ended it"),
    ],
)
def test_how_init_died(code: str, how: str) -> None:
    """Its exit code is as wait() gives it."""
    log = f"""\
[   12.000000] traps: systemd[1] general protection fault ip:7f00 sp:7ffc error:0 in libc.so.6[7f0000000000+100000]
[   12.000001] Kernel panic - not syncing: Attempted to kill init! exitcode={code}
[   12.000002] CPU: 1 PID: 1 Comm: systemd Not tainted 6.12.1 #1
"""
    case = made_case(log)
    (found,) = found_by(case, init_died)
    assert (found.finding, found.subject, found.pid) == ("init died", "systemd (1)", 1)
    assert how in said(found)
    assert "general protection" in said(found)
    assert case.end.kind in found.explains


def test_no_root_file_system() -> None:
    """What was to be mounted is the device."""
    log = """\
[    1.000000] VFS: Cannot open root device "sda9" or unknown-block(0,0): error -6
[    1.000001] Please append a correct "root=" boot option; here are the available partitions:
[    1.000002] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
"""
    (found,) = found_by(made_case(log), nothing_to_start_from)
    assert (found.finding, found.device) == ("no root", "sda9")
    log = (
        "[    1.0] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.\n"
    )
    (found,) = found_by(made_case(log), nothing_to_start_from)
    assert (found.finding, found.device) == ("no init", None)


def test_panics_of_others_are_neither() -> None:
    """A driver's own words are the driver's."""
    case = made_case("[    1.0] Kernel panic - not syncing: shop: Attempted to kill init!\n")
    assert found_by(case, init_died, nothing_to_start_from) == []
    assert the_end(case).finding == "panic"


def test_the_driver_that_panicked() -> None:
    """A capture of the lab: its module panics of its own will."""
    folders = captures("fault-deliberate-*")
    if not folders:
        pytest.skip("no capture fault-deliberate-*: KERNLAB_LAB_CAPTURES names where they are")
    with kernlab.open(folders[0] / "vmcore") as dump:
        found = the_end(Case(dump.kernel))
    assert (found.finding, found.module, found.function) == ("panic", "kernlab_mill", "mill_stop")


def test_the_panic_of_an_oops_prints_no_stack() -> None:
    """The dump has it: the first function above panic() is who called it."""
    log = "[   12.0] Kernel panic - not syncing: shop: closed\n"
    rows = stack("__crash_kexec+0x1/0x2", "vpanic+0x1/0x2", "panic+0x1/0x2", "shop_close+0x1/0x2 [shop]")
    found = the_end(made_case(log, info={"panic_cpu": 1}, stacks=rows))
    assert (found.module, found.function) == ("shop", "shop_close")


def test_every_end_has_a_kind_that_is_known() -> None:
    """What explains an end names it by this word."""
    assert pd.isna(made_case("").info["panic_cpu"])
    assert made_case("").end.asked
    assert not made_case("[    1.0] Kernel panic - not syncing: shop\n").end.asked


_OOPS = """\
[ 5000.000001] general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP PTI
[ 5000.000002] CPU: 5 PID: 3333 Comm: carder Not tainted 6.1.0-test #2
[ 5000.000003] RIP: 0010:card_wool+0x55/0x200 [carder]
[ 5000.000004] RAX: dead000000000122 RBX: ffff9d2740d18c00 RCX: dead000000000100
[ 5000.000005] Call Trace:
[ 5000.000006]  card_release+0x55/0x90 [carder]
[ 5000.000007]  __fput+0xc0/0x250
"""


@pytest.mark.parametrize(
    ("after", "roles"),
    [
        ("", {"cause", "end"}),
        ("[ 5000.100000] device veth1 left promiscuous mode\n", {"cause", "end"}),
        # The crash kernel starts before this is printed, a panic is said at once behind it.
        ("[ 5000.000008] ---[ end trace 0000000000000000 ]---\n", {"beside"}),
        ("[ 5100.000000] device veth1 left promiscuous mode\n", {"beside"}),
        (
            "[ 5000.000008] ---[ end trace 0000000000000000 ]---\n"
            "[ 5000.000009] Kernel panic - not syncing: Fatal exception\n",
            {"cause", "end"},
        ),
    ],
)
def test_a_log_alone_of_a_machine_that_went_on_tells_no_end(after: str, roles: set[str]) -> None:
    """A trap without panic_on_oops kills one thread."""
    table = kernlab.verdict.of_log(_OOPS + after)
    assert set(table["role"]) == roles
    assert set(table["finding"]) == {"general protection", "list corruption"}
    assert table.attrs["signature"].startswith("v1:general-protection:carder:card_wool")
    went_on = roles == {"beside"}
    told = story(table)
    assert ("The machine stopped because" in told) != went_on
    assert told.startswith("No end of this machine was found, but this: ") == went_on


def test_a_checker_that_only_reports_ends_nothing() -> None:
    """KASAN calls an access to user memory what a trap is called, too."""
    log = _OOPS.splitlines(keepends=True)
    log[0] = "[ 5000.000001] BUG: KASAN: user-memory-access in card_wool+0x55/0x200 [carder]\n"
    assert set(kernlab.verdict.of_log("".join(log))["role"]) == {"beside"}


@pytest.mark.parametrize(
    ("reason", "finding", "subject"),
    [
        ("audit: out of memory in audit_log_start", "panic", "audit: out of memory in audit_log_start"),
        ("Out of memory and no killable processes...", "OOM", "memory"),
        ("Fatal local machine check", "hardware error", "Fatal local machine check"),
        (
            "Timeout: Not all CPUs entered broadcast exception handler",
            "hardware error",
            "Timeout: Not all CPUs entered broadcast exception handler",
        ),
    ],
)
def test_what_a_panic_alone_says(reason: str, finding: str, subject: str) -> None:
    """Who ran when the hardware spoke has no part in it, and not all that got no memory is the end of memory."""
    log = (
        f"[ 9000.000000] Kernel panic - not syncing: {reason}\n"
        "[ 9000.000003] CPU: 0 PID: 55 Comm: sshd Not tainted 6.1.0-test #1\n"
        "[ 9000.000004] Call Trace:\n"
        "[ 9000.000005]  panic+0x102/0x2d4\n"
        "[ 9000.000006]  audit_panic+0x10/0x20\n"
    )
    table = kernlab.verdict.of_log(log)
    end = table[table["role"] == "end"].iloc[0]
    assert (end["finding"], end["subject"]) == (finding, subject)
    assert pd.isna(end["pid"]) == (finding != "panic")


@pytest.mark.parametrize(("last", "told"), [("usb 1-1: new device", 1), ("reboot: Restarting system", 0)])
def test_a_log_that_goes_on_with_another_boot(last: str, told: int) -> None:
    """Nothing above says that it would: a hint, for whoever kept the log may have left that out."""
    log = (
        f"[  500.000000] eth0: link is up\n[  500.720639] {last}\nBooting from Hard Disk 0...\n"
        "[    0.000000] Linux version 6.1.0-test (builder@here) (gcc 12) #1 SMP\n[    1.000000] usb 1-1: new device\n"
    )
    table = kernlab.verdict.of_log(log)
    assert table["finding"].tolist() == ["unexpected reboot"] * told
    assert (table["confidence"] < 0.5).all()
    assert story(table).startswith("Nothing that ended this machine was found\n")


@pytest.mark.parametrize(
    ("pid", "mark", "subject"),
    [(77, "IRQ", "an interrupt on CPU 2"), (77, "TASK", "billing (77)"), (0, "IRQ", "billing (0)")],
)
def test_of_a_log_alone_whom_an_interrupt_interrupted_is_not_accused(
    pid: int, mark: str, subject: str
) -> None:
    """The report's own stack says on what it ran."""
    log = (
        "[  500.000001] BUG: kernel NULL pointer dereference, address: 0000000000000010\n"
        "[  500.000002] Oops: Oops: 0002 [#1] SMP\n"
        f"[  500.000003] CPU: 2 PID: {pid} Comm: billing Not tainted 6.12.1 #1\n"
        "[  500.000004] RIP: 0010:card_wool+0x1c/0x30 [carder]\n"
        "[  500.000005] Call Trace:\n"
        f"[  500.000006]  <{mark}>\n"
        "[  500.000006]  call_timer_fn+0xf8/0x390\n"
        f"[  500.000006]  </{mark}>\n"
        "[  500.000008] Kernel panic - not syncing: Fatal exception in interrupt\n"
    )
    (end,) = kernlab.verdict.of_log(log).to_dict("records")
    assert (end["subject"], end["function"], end["module"]) == (subject, "card_wool", "carder")
    assert pd.isna(end["pid"]) == (subject != "billing (77)")


def _hung(comm: str, pid: int, waited: int, time: float) -> str:
    return f"""\
[{time:12.6f}] INFO: task {comm}:{pid} blocked for more than {waited} seconds.
[{time:12.6f}]       Not tainted 6.1.0-test #1
[{time:12.6f}] Call Trace:
[{time:12.6f}]  __schedule+0x1/0x2
[{time:12.6f}]  {comm}_pay+0x1/0x2 [shop]
"""


@pytest.mark.parametrize(
    ("waited", "earlier", "first"),
    [((121, 241, 200), "", "beta"), ((120, 120, 120), "", "alpha"), ((120, 120, 120), "gamma", "gamma")],
    ids=["the kernel says for how long", "it does not", "one was told of before"],
)
def test_of_all_that_one_look_found_hung_who_waited_longest_is_told(
    waited: tuple[int, ...], earlier: str, first: str
) -> None:
    """The panic is for all of them (kernel/hung_task.c): who hung first is nearer to the cause than the last."""
    names = dict(zip(("alpha", "beta", "gamma"), (11, 12, 13), strict=True))
    log = "".join(_hung(name, names[name], 120, 300.0) for name in [earlier] if name)
    log += "".join(
        _hung(name, pid, each, 500 + pid / 100)
        for (name, pid), each in zip(names.items(), waited, strict=True)
    )
    log += "[  500.200000] Kernel panic - not syncing: hung_task: blocked tasks\n"
    found = the_end(made_case(log))
    assert (found.subject, found.pid, found.function) == (
        f"{first} ({names[first]})",
        names[first],
        f"{first}_pay",
    )
    others = [f"{name} ({pid})" for name, pid in names.items() if name != first]
    others.sort(key=lambda other: -dict(zip(names, waited, strict=True))[other.partition(" ")[0]])
    assert f"{' and '.join(others)} hung, too" in said(found)
    panic = next(each for each in found.evidence if "Kernel panic" in each.says)
    assert panic.rows == (log.count("\n") - 1,)


def test_who_was_found_hung_long_before_is_not_told_with_the_end() -> None:
    """It went on in between, or nothing tells that it did not."""
    log = _hung("alpha", 11, 120, 300.0) + _hung("beta", 12, 120, 500.0)
    log += "[  500.100000] Kernel panic - not syncing: hung_task: blocked tasks\n"
    found = the_end(made_case(log))
    assert found.subject == "beta (12)"
    assert "hung, too" not in said(found)


@pytest.mark.parametrize(
    "line",
    [
        "INFO: task alpha:11 is blocked on a mutex likely owned by task till:7.",
        "INFO: task alpha:11 blocked on a semaphore likely last held by task till:7",
        "INFO: task alpha:11 <writer> blocked on an rw-semaphore likely owned by task till:7 <reader>",
    ],
)
def test_whom_the_kernel_itself_names_is_told(line: str) -> None:
    """Since 6.15 it says who has the lock (kernel/hung_task.c, debug_show_blocker), and shows that one's stack."""
    log = (
        f"{_hung('alpha', 11, 120, 500.0)}[  500.000000] {line}\n"
        "[  500.000000] task:till            state:S stack:0     pid:7     tgid:7     ppid:1\n"
        "[  500.000000] Call Trace:\n[  500.000000]  schedule+0x1/0x2\n[  500.000000]  till_count+0x1/0x2 [shop]\n"
        "[  500.100000] Kernel panic - not syncing: hung_task: blocked tasks\n"
    )
    found = the_end(made_case(log))
    assert (found.subject, found.pid, found.function) == ("alpha (11)", 11, "alpha_pay")
    assert line in said(found)


@pytest.mark.parametrize(("lines", "kind"), [(3, "null dereference"), (40, "panic")])
def test_a_trap_that_a_log_goes_on_after_was_outlived(lines: int, kind: str) -> None:
    """Where the crash kernel was started from a trap, nothing but other CPUs' last words follow it."""
    trap = """\
[   50.000000] BUG: kernel NULL pointer dereference, address: 0000000000000010
[   50.000001] Oops: Oops: 0002 [#1] SMP
[   50.000002] CPU: 1 UID: 0 PID: 77 Comm: till Not tainted 6.12.1 #1
[   50.000003] RIP: 0010:till_open+0x1c/0x30 [till]
[   50.000004] Call Trace:
[   50.000005]  vfs_write+0xf8/0x390
"""
    later = "".join(f"[   51.0000{number:02}] eth0: link {number}\n" for number in range(lines))
    assert made_case(trap + later, info={"panic_cpu": 1}).end.kind == kind
