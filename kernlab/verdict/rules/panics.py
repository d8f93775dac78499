"""Panics whose own words name a cause: the first process ended, there was nothing to start from."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.verdict.case import Case
from kernlab.verdict.ending import PANIC
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule
from kernlab.verdict.rules.ends import end_evidence, end_lines

#: kernel/exit.c, do_exit: exitcode is as wait() gives it.
_INIT = re.compile(rf"{PANIC}: Attempted to kill init! ?(?:exitcode=(?P<code>0x[0-9a-f]{{1,8}}))?")
#: arch/x86/{kernel/traps,mm/fault}.c, show_unhandled_signals: what the first process did before.
_TRAPPED = re.compile(r"(?:traps: )?\S{1,16}\[1\]:? (?:segfault at|trap |general protection|bad frame)")
#: init/do_mounts.c, mount_root_generic; init/main.c, kernel_init.
_NO_ROOT = re.compile(
    rf'{PANIC}: VFS: Unable to mount root fs(?: on)?(?: "(?P<device>[^"]{{1,200}})")?(?: or)? ?'
    r"(?P<where>[^\n]{0,100})"
)
_NO_INIT = re.compile(rf"{PANIC}: (?:No (?:working )?init found|Requested init (?P<init>\S+) failed)")
_NOT_OPENED = re.compile(
    r"VFS: (?:Cannot open|Unable to mount) root (?:device|fs).*|Initramfs unpacking failed: .*"
)
_NAMED_ROOT = re.compile(r'VFS: Cannot open root device "(?P<device>[^"]{1,200})"')
#: The kernel's command line, as the log begins with it.
_ROOT = re.compile(r"(?:^|.*\s)root=(?P<device>\S{1,200})")
#: Lines before a panic in which its reason stands.
_BEFORE = 60


@rule
def init_died(case: Case) -> Iterator[Finding]:
    """A panic because init was to end: how it ended, the exit code says."""
    found = _INIT.match(case.end.panic)
    report = case.end.report
    if found is None or report is None or case.end.kind != "panic":
        return
    evidence = list(end_evidence(case))
    if found["code"]:
        evidence.append(Evidence("log", _ended(int(found["code"], 16)), evidence[-1].rows))
    evidence += [
        Evidence("log", show_short(line.strip(), 300), (label,))
        for label, line in _lines_before(case)
        if _TRAPPED.match(line)
    ][-2:]
    comm = "init" if pd.isna(report["comm"]) else str(report["comm"])
    yield Finding(
        "init died",
        show_controls(say_thread(comm, 1)),
        0.97,
        tuple(evidence),
        _cell(case),
        pid=1,
        explains=frozenset({"panic"}),
        since=case.before_end(report["timestamp"]),
    )


def _ended(code: int) -> str:
    """How a process ended, of the code that wait() gives."""
    number = code & 0x7F
    if not number:
        return f"it ended by itself, with exit status {code >> 8 & 0xFF}"
    try:
        return f"signal {number} ({signal.Signals(number).name}) ended it"
    except ValueError:
        return f"signal {number} ended it"


@rule
def nothing_to_start_from(case: Case) -> Iterator[Finding]:
    """A panic because no root file system was found, or no program to start."""
    panic, report = case.end.panic, case.end.report
    if report is None or case.end.kind != "panic":
        return
    evidence = list(end_evidence(case))
    no_init = _NO_INIT.match(panic)
    if no_init is not None:
        wanted = no_init["init"] or "any of /sbin/init, /etc/init, /bin/init and /bin/sh"
        finding, subject, device = "no init", show_short(wanted), None
    elif (no_root := _NO_ROOT.match(panic)) is not None:
        said = [(label, line) for label, line in _lines_before(case) if _NOT_OPENED.match(line)]
        evidence += [Evidence("log", show_short(line, 300), (label,)) for label, line in said[-2:]]
        named = next(
            (found["device"] for _, line in reversed(said) if (found := _NAMED_ROOT.match(line))), None
        )
        names = (no_root["device"], named, _root_of_the_command_line(case))
        device = next((name for name in names if name and name != "(null)"), None)
        finding, subject = (
            "no root",
            show_short(device or no_root["where"].rstrip(". ") or "the root file system"),
        )
    else:
        return
    yield Finding(
        finding,
        subject,
        0.97,
        tuple(evidence),
        _cell(case),
        device=device,
        explains=frozenset({"panic"}),
        since=case.before_end(report["timestamp"]),
    )


def _root_of_the_command_line(case: Case) -> str | None:
    """What root= on the kernel's command line names."""
    if case.has_dump and not pd.isna(case.info["cmdline"]):
        lines = [str(case.info["cmdline"])]
    else:
        text = case.log["text"].iloc[:400].fillna("")
        lines = text[text.str.contains("ommand line: ", regex=False)].tolist()
    return next((found["device"] for line in lines if (found := _ROOT.match(line))), None)


def _lines_before(case: Case) -> list[tuple[int, str]]:
    report = case.end.report
    place = 0 if report is None else int(report["offset"])
    return case.lines(max(place - _BEFORE, 0), place)


def _cell(case: Case) -> str:
    first, last = end_lines(case) or (0, 0)
    return f"dump.log.iloc[{max(first - 10, 0)}:{last}]"
