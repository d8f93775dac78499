"""Forms of how a machine ends, and of what it dies of without a fault: panics, sysrq, out of memory, broken
hardware."""

from __future__ import annotations

import re

from kernlab.oops.forms import form

PANIC = "Kernel panic - not syncing"


#: Panics in the words of who handles hardware (arch/x86/kernel/{nmi,cpu/mce/core}.c, drivers/{acpi/apei/ghes,
#: edac/edac_mc,watchdog/hpwdt}.c, arch/{arm64,powerpc}/kernel/traps.c); a driver's own words come behind its name.
_HARDWARE = re.compile(
    r"(?:\w{1,16} ){0,3}[Mm]achine [Cc]heck|(?:Fatal|Uncorrected) hardware|NMI\b|(?:[0-9a-f]{2}: )?An NMI occurred|"
    r"UE |Timeout: Not all CPUs entered|Asynchronous SError"
)


def _reason(match: re.Match[str]) -> str:
    reason = match["reason"] or ""
    if (
        "stack is corrupted" in reason
        or "stack-protector" in reason
        or reason.startswith("kernel stack overflow")
    ):
        return "stack overflow"
    if "sysrq triggered" in reason:
        return "sysrq"
    if "emory" in reason and ("Out of" in reason or "out of" in reason or "deadlocked" in reason):
        return "OOM"
    return "hardware error" if _HARDWARE.match(reason) else "panic"


def _panic_title(match: re.Match[str]) -> str:
    reason = match["reason"] or ""
    if "stack is corrupted" in reason or "stack-protector" in reason:
        return "kernel panic: stack is corrupted in {function}"
    if "bad mode" in reason.lower():
        return "kernel panic: bad mode"
    reason = re.sub(r"\b0x[0-9a-f]{1,16}\b|\b\d{1,20}\b", "NUM", reason.split(" in interrupt")[0])
    return f"kernel panic: {reason.rstrip(' .!')}" if reason else "kernel panic"


FORMS = (
    form(
        "stack overflow",
        PANIC,
        rf"{PANIC}: (?P<reason>corrupted stack end detected[^\n]{{0,100}})",
        "kernel panic: corrupted stack end in {function}",
        "kernel/sched/core.c, schedule_debug",
        role="panic",
        blame="stalled",
    ),
    form(
        "panic",
        PANIC,
        rf"{PANIC}: (?P<reason>hung_task: [^\n]{{0,100}}|RCU Stall)",
        _panic_title,
        "kernel/{hung_task,rcu/tree_stall.h}, where the report was not kept: the stack is of who looked",
        role="panic",
        blame="none",
    ),
    form(
        "soft lockup",
        PANIC,
        rf"{PANIC}: (?P<reason>soft ?lockup: [^\n]{{0,100}})",
        "BUG: soft lockup in {function}",
        "kernel/watchdog.c, watchdog_timer_fn; where its report was not kept",
        role="panic",
        blame="stalled",
    ),
    form(
        "hard lockup",
        PANIC,
        rf"{PANIC}: (?P<reason>(?:Watchdog detected )?[Hh]ard (?:LOCKUP|lockup)(?: on cpu (?P<cpu>\d{{1,5}}))?)",
        "watchdog: hard LOCKUP in {function}",
        "kernel/watchdog.c, watchdog_overflow_callback before 4.2 had no other line",
        role="panic",
        blame="stalled",
    ),
    form(
        _reason,
        PANIC,
        rf"{PANIC}(?::|,)? ?(?P<reason>[^\n]{{0,300}})",
        _panic_title,
        "kernel/panic.c, vpanic",
        role="panic",
    ),
    form(
        "sysrq",
        "rigger a crash",
        r"sysrq: (?:SysRq : )?Trigger a crash|SysRq : Trigger a crash",
        "sysrq triggered crash",
        "drivers/tty/sysrq.c, sysrq_handle_crash",
        blame="none",
    ),
    form(
        "OOM",
        "invoked oom-killer",
        r"(?P<comm>[^\n]{1,64}?) invoked oom-killer: gfp_mask=",
        "{comm} invoked oom-killer",
        "mm/oom_kill.c, dump_header",
        blame="none",
    ),
    form(
        "hardware error",
        "Hardware Error",
        r"(?:mce: |\{\d{1,10}\})?\[Hardware Error\]: (?P<what>[^\n]{1,120})",
        "hardware error",
        "arch/x86/kernel/cpu/mce/core.c, print_mce; drivers/acpi/apei/ghes.c",
        blame="none",
    ),
    form(
        "hardware error",
        "Uhhuh. NMI received",
        r"Uhhuh\. NMI received for unknown reason",
        "NMI received for unknown reason",
        "arch/x86/kernel/nmi.c, unknown_nmi_error",
        blame="none",
    ),
    form(
        "unexpected reboot",
        ("Booting the kernel", "Linux version "),
        r"Booting the kernel\.?\s*$|Linux version \d",
        "unexpected kernel reboot",
        "arch/x86/boot/compressed/misc.c, extract_kernel",
        blame="none",
    ),
)
