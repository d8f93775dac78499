"""Ends that somebody asked for: SysRq, an NMI that was sent, a watchdog, an image of a machine that had not died."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.verdict.case import Case
from kernlab.verdict.chains import functions
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, pid_of
from kernlab.verdict.rules.ends import end_evidence, end_lines
from kernlab.verdict.rules.spinning import interrupted
from kernlab.verdict.trap import who_did_it

#: Who can ask for SysRq (drivers/tty/sysrq.c, drivers/tty/vt/keyboard.c, include/linux/serial_core.h,
#: drivers/xen/manage.c): frames above sysrq_handle_crash, and who that was.
_ASKED_BY = (
    (("write_sysrq_trigger",), "a thread"),
    (("sysrq_filter", "sysrq_handle_keypress", "kbd_event"), "the keyboard"),
    (("uart_handle_sysrq_char", "uart_handle_break", "uart_unlock_and_check_sysrq"), "a serial console"),
    (
        ("serial8250_handle_irq", "serial8250_rx_chars", "pl011_int", "hvc_poll", "__hvc_poll"),
        "a serial console",
    ),
    (("sysrq_handler",), "the hypervisor"),
)
#: Ancestors that are told.
_MOST = 4


@rule
def sysrq(case: Case) -> Iterator[Finding]:
    """SysRq c is a crash that somebody asked for: who, the stack of the CPU that crashed shows."""
    end = case.end
    if end.kind != "sysrq":
        return
    by, evidence = _by(case)
    _, pid = _thread(case)
    said = list(end_evidence(case))
    if not by and not _may_be_a_thread(case):
        subject, pid = "somebody", None
    elif by in ("", "a thread"):
        subject = show_controls(_name(case)) or "somebody"
        said += evidence
        if by and pid is not None:
            said += _ancestors(case, pid)
    else:
        subject, pid = by, None
        said += evidence
    yield Finding(
        "sysrq",
        subject,
        0.97 if end.report is not None else 0.85,
        tuple(said),
        _cell(case),
        pid=pid,
        against=() if end.report is not None else ("The log does not tell it: the stack of who died does.",),
        since=None if end.report is None else case.before_end(end.report["timestamp"]),
        role="end",
    )


def _by(case: Case) -> tuple[str, list[Evidence]]:
    """Who asked, '' where no stack tells; and what shows it."""
    report, cpu = case.end.report, case.end.cpu
    texts: list[str] = list(report["frames"]) if report is not None else []
    if report is not None and not pd.isna(report["cpu"]):
        cpu = int(report["cpu"])
    elif cpu is None and case.has_dump and not pd.isna(case.info["panic_cpu"]):
        cpu = int(case.info["panic_cpu"])
    rows = case.stack_of_cpu(cpu) if cpu is not None and case.has("stacks") else None
    if rows is not None and len(rows):
        texts = rows["symbol"].dropna().tolist()
    names = [normal(one.name) for text in texts if (one := frame_of(text)) is not None]
    for entries, who in _ASKED_BY:
        met = next((name for name in names if name in entries), None)
        if met is None:
            continue
        what = "wrote c to /proc/sysrq-trigger" if who == "a thread" else f"asked for it, through {met}"
        named = _name(case) or "it"
        said = show_controls(f"{named if who == 'a thread' else who} {what}")
        if rows is None or rows.empty:
            label = () if report is None else (label_of(case, report),)
            return who, [Evidence("log", said, label)]
        at = rows["symbol"].fillna("").str.startswith((f"{met}+", f"{met}."))
        return who, [Evidence("stacks", said, rows_of(rows, list(rows.index[at])))]
    return "", []


def _name(case: Case) -> str:
    """The thread that died, as people say it; '' where it is not known."""
    comm, pid = _thread(case)
    return say_thread(comm, "?" if pid is None else pid) if comm else ""


def _may_be_a_thread(case: Case) -> bool:
    """Where no frame tells who asked: can it have been the thread, and was it not on top of one that a key or a
    console was read? An interrupt's report names whom it interrupted, and its caller is a CPU."""
    report = case.end.report
    if report is None:
        return True
    caller = str(report["caller"] or "")
    if report["frames"] or caller:
        return not caller.startswith("C") and (pd.isna(report["pid"]) or who_did_it(case, report) is not None)
    return False


def _thread(case: Case) -> tuple[str, int | None]:
    """The thread that died: its comm, '' where it is not known, and its pid."""
    report = case.end.report
    if report is not None and not pd.isna(report["comm"]):
        return str(report["comm"]), pid_of(report)
    if case.has_dump and not pd.isna(case.info["panic_pid"]):
        return str(case.info["panic_comm"]), int(case.info["panic_pid"])
    caller = "" if report is None else str(report["caller"] or "")
    return "", int(caller[1:]) if caller.startswith("T") else None


def _ancestors(case: Case, pid: int) -> Iterator[Evidence]:
    """Whose child the thread's process is: of a shell the login that it belongs to."""
    if not case.has("tasks"):
        return
    tasks = case.tasks
    known = tasks.loc[tasks["pid"].notna() & tasks["ppid"].notna(), ["pid", "ppid", "comm"]]
    columns = (known["pid"].tolist(), known["ppid"].tolist(), known["comm"].tolist())
    of = {
        one: (label, ppid, str(comm))
        for label, one, ppid, comm in zip(known.index.tolist(), *columns, strict=True)
    }
    chain: list[int] = []
    while pid in of and len(chain) <= _MOST and pid not in chain:
        chain.append(pid)
        pid = of[pid][1]
    # Process 1 has all for children: it tells nothing.
    above = [one for one in chain[1:] if one > 1]
    if above:
        names = [say_thread(of[one][2], one) for one in above]
        said = show_controls(f"it is a child of {', of '.join(names)}")
        yield Evidence("tasks", said, tuple(of[one][0] for one in above))


@rule
def sent_nmi(case: Case) -> Iterator[Finding]:
    """An NMI for which the kernel knows no reason is one that was sent, or that hardware made."""
    if case.end.kind != "NMI":
        return
    report = case.end.report
    cpu = case.end.cpu if report is None or pd.isna(report["cpu"]) else int(report["cpu"])
    where = "" if cpu is None else f" on CPU {cpu}"
    stood = interrupted(case, cpu) if cpu is not None and case.has("stacks") else None
    evidence = list(end_evidence(case))
    if stood is not None and (names := functions(stood)):
        said = f"CPU {cpu} was in {' ← '.join(names[:4])} then"
        evidence.append(Evidence("stacks", show_controls(said), rows_of(stood, list(stood.index))))
    yield Finding(
        "NMI",
        f"an NMI of unknown reason{where}",
        0.9,
        tuple(evidence),
        _cell(case),
        against=(
            "Hosts, management controllers and buttons send such an NMI on purpose; broken hardware makes one, too.",
        ),
        since=None if report is None else case.before_end(report["timestamp"]),
        role="end",
    )


@rule
def unfed_watchdog(case: Case) -> Iterator[Finding]:
    """A watchdog that panics was not told in time that the machine still works: the program that does so did not."""
    report = case.end.report
    if case.end.kind != "watchdog":
        return
    words = case.end.panic.partition(": ")[2]
    evidence = list(end_evidence(case))
    if report is None and case.end.cpu is not None:
        rows = case.stack_of_cpu(case.end.cpu)
        evidence.append(
            Evidence("stacks", "its stack is that of a watchdog", rows_of(rows, list(rows.index)))
        )
    yield Finding(
        "watchdog",
        show_short(words or "a watchdog"),
        0.97 if report is not None else 0.8,
        tuple(evidence),
        _cell(case),
        against=(
            "Why nobody told it, the panic does not say: a hang, a lack of memory, or a program that had ended.",
        ),
        since=None if report is None else case.before_end(report["timestamp"]),
        role="end",
    )


@rule
def stopped(case: Case) -> Iterator[Finding]:
    """Where nothing panicked and no CPU crashed, the dump is an image of a machine that ran: it did not die."""
    # A machine that runs did not come to its end.
    if case.end.kind != "stopped" or not case.has_dump or case.kernel.changes:
        return
    info, log = case.info, case.log
    source = info["crash_time_source"]
    noted = not pd.isna(source) and source == "the kernel's note at the panic"
    unknown = dict(info.attrs.get("unknown", {}))
    against: list[str] = []
    if noted:
        against.append("The kernel noted the time of a panic, of which neither log nor stacks tell.")
    if "panic_cpu" in unknown:
        against.append("Whether a CPU panicked cannot be read.")
    if log.empty or log.attrs.get("problems"):
        against.append("The log is not whole: its end may be missing.")
    yield Finding(
        "stopped",
        "nothing that the log or a stack tells of",
        0.4 if against else 0.9,
        (
            Evidence("info", "no CPU had panicked", ("panic_cpu",)),
            Evidence("log", "no panic is in it", rows_of(log, list(log.index[-1:]))),
        ),
        'dump.info[["panic_cpu", "crash_time_source", "format"]]',
        against=tuple(against),
        role="end",
    )


def _cell(case: Case) -> str:
    lines = end_lines(case)
    if lines is not None:
        return f"dump.log.iloc[{lines[0]}:{lines[1]}]"
    return "dump.stacks" if case.end.cpu is None else f"dump.stacks[dump.stacks.cpu == {case.end.cpu}]"
