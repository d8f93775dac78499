"""The end as the machine itself saw it: the report of its log that a panic followed, or a panic of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import is_boilerplate, normal
from kernlab.util.text import human_bytes
from kernlab.verdict.case import Blamed, Case
from kernlab.verdict.ending import CRASHING, PANIC, names_of
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.log_alone import NO_PANIC
from kernlab.verdict.oom_shortage import shortage
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, text_or_none
from kernlab.verdict.stood import waited_for_others, was_interrupted
from kernlab.verdict.trap import who_did_it

#: Ends in which a CPU did not go on: where it stood is what it did all the time.
_STOOD = frozenset({"soft lockup", "hard lockup", "RCU stall", "stack overflow"})
#: Ends that a tick or an NMI saw, whose own frames lie above what they interrupted.
_SEEN = frozenset({"soft lockup", "hard lockup", "RCU stall"})
_BORROWED = {"irq": "an interrupt", "softirq": "a softirq", "nmi": "an NMI"}
#: What the memory was of that ran out, by what there was too little of.
_OF = {"cgroup": "memory of the cgroup", "zone": "memory of", "node": "memory of", "blocks": "memory in"}
#: No block of the page allocator is larger, by far (include/linux/mmzone.h, MAX_PAGE_ORDER).
_MOST_ORDER = 30
#: Ends of which no thread and no function is to blame: the panic's words are all that is known.
_NOBODY = frozenset({"hardware error"})
_DEVICE = re.compile(r"[\w-]{2,16}(?:-fs \((?:device )?|(?::| panic)? \(device )(?P<device>[\w/!-]{1,32})\)")
#: kernel/hung_task.c, debug_show_blocker (since 6.15, CONFIG_DETECT_HUNG_TASK_BLOCKER).
_OWNED = re.compile(
    r"INFO: task [^\n]{1,80}? (?:is )?blocked on an? [\w-]{1,20} likely (?:owned|last held) by task [^\n]{1,80}:\d"
)
#: What turned a report into a panic (Documentation/admin-guide: sysctl/{kernel,vm}.rst, kernel-parameters.txt).
_SETTINGS = (
    (re.compile(r"hung_task: "), "kernel.hung_task_panic"),
    (re.compile(r"soft ?lockup: "), "kernel.softlockup_panic"),
    (re.compile(r"(?:Watchdog detected )?[Hh]ard (?:LOCKUP|lockup)"), "kernel.hardlockup_panic"),
    (re.compile(r"RCU Stall"), "kernel.panic_on_rcu_stall"),
    (re.compile(r".{0,60}?panic_on_warn"), "kernel.panic_on_warn"),
    (re.compile(r".{0,60}?panic_on_taint"), "panic_on_taint"),
    (re.compile(r"Fatal exception$"), "kernel.panic_on_oops"),
    (re.compile(r"Oopsed too often"), "kernel.oops_limit"),
    (re.compile(r".{0,60}?system warned too often"), "kernel.warn_limit"),
    (re.compile(r"kasan\.fault=panic"), "kasan.fault=panic on the command line"),
    (re.compile(r"[Oo]ut of memory: [\w-]+ panic_on_oom"), "vm.panic_on_oom"),
    (re.compile(r"\S+ \((?:device )?\S+\): (?:fs )?panic (?:forced|from)"), "the mount option errors=panic"),
)


@rule
def last_report(case: Case) -> Iterator[Finding]:
    """The report that the panic followed is what the machine died of, as far as its log tells."""
    end = case.end
    if end.report is None or end.asked:
        return
    report = end.report
    first, last = end_lines(case) or (0, 0)
    borrowed = _borrowed(case, report)
    evidence = [*end_evidence(case), *_settings(case), *_hung_too(case)]
    if borrowed is not None:
        evidence.append(borrowed)
    evidence += _asked_for(case, report)
    blamed = _blamed(case, report)
    # Of a panic's line alone, kind and thread are the watchdog's.
    messenger = end.kind not in ("panic", str(report["kind"])) and report["kind"] == "panic"
    messenger = messenger or (end.kind in _NOBODY and bool(end.panic))
    # Whoever asked was only there when the machine ran out of memory.
    bystander = _ran_out(case) if end.kind == "OOM" else None
    bystander = bystander or (end.panic.removeprefix(f"{PANIC}: ") if messenger else None)
    subject = _subject(report) if borrowed is None else borrowed.says.partition(" ran")[0]
    words = end.panic.removeprefix(f"{PANIC}: ") if end.kind == "panic" else ""
    if words and borrowed is None and text_or_none(report["comm"]) and report["pid"] != 0:
        evidence.append(Evidence("log", f"the thread that panicked is {subject}", (label_of(case, report),)))
    # Number 0 is each CPU's idle thread.
    innocent = borrowed is not None or bystander is not None or pd.isna(report["pid"]) or report["pid"] == 0
    against = [f"The report is not whole: {report['why']}."] if report["corrupted"] else []
    alone = not case.has_dump and not end.panic and not end.outlived
    if alone:
        against.append(NO_PANIC)
    if end.outlived:
        against.append("The machine went on after it.")
    if end.kind in _SEEN and not case.has_dump and (why := waited_for_others(report)):
        against.append(why)
    yield Finding(
        end.kind,
        show_short(words) if words else subject if bystander is None else show_controls(bystander),
        0.8 if alone else 0.9 if report["corrupted"] else 0.97,
        tuple(evidence),
        f"dump.log.iloc[{first}:{last}]",
        pid=None if innocent else int(report["pid"]),
        module=None if bystander else blamed.module,
        function=None if bystander else blamed.function,
        device=_device(words),
        against=tuple(against),
        since=case.before_end(report["timestamp"]),
        role="end",
    )


@rule
def end_of_stacks(case: Case) -> Iterator[Finding]:
    """Where the log does not tell the end, the stack of the CPU that died does, or that it died at all."""
    end = case.end
    if end.report is not None or end.asked:
        return
    rows = case.stack_of_cpu(end.cpu) if end.cpu is not None else case.stacks.iloc[:0]
    where = "a CPU" if end.cpu is None else f"CPU {end.cpu}"
    evidence = [Evidence("info", f"{where} started the crash kernel", ("panic_cpu",))]
    if len(rows):
        said = f"its stack is that of {_article(end.kind)}" if end.kind != "panic" else "its stack"
        evidence.append(Evidence("stacks", said, rows_of(rows, list(rows.index))))
    yield Finding(
        end.kind,
        _ran_out(case) if end.kind == "OOM" else where,
        0.8 if end.kind != "panic" else 0.45,
        tuple(evidence),
        "dump.log.tail(40)" if end.cpu is None else f"dump.stacks[dump.stacks.cpu == {end.cpu}]",
        against=("The log does not tell how it ended.",),
        role="end",
    )


@rule
def started_again(case: Case) -> Iterator[Finding]:
    """A log alone that goes on with another boot, where nothing before tells of an end: a hint that power was lost."""
    if case.has_dump or case.end.report is not None:
        return
    reports = case.reports
    for _, report in reports[reports["kind"] == "unexpected reboot"].tail(1).iterrows():
        place = int(report["offset"])
        label = int(case.log.index[place])
        yield Finding(
            "unexpected reboot",
            "another boot begins in the log",
            0.45,
            (
                Evidence(
                    "log",
                    "another boot begins here, and nothing above tells of a panic or a restart",
                    (label,),
                ),
            ),
            f"dump.log.iloc[{max(place - 20, 0)}:{place + 1}]",
            against=(
                "Where the last words of an ordinary restart were not kept, as by a journal, a log looks the same.",
            ),
        )


def _ran_out(case: Case) -> str:
    """What ran out where memory did, by the OOM killer's own numbers: all of it, or what a cgroup, zone or node has."""
    lack = shortage(case.oom) if case.oom is not None else None
    return f"{_OF[lack.kind]} {lack.subject}" if lack and lack.sure and lack.kind in _OF else "memory"


def _asked_for(case: Case, report: pd.Series[Any]) -> Iterator[Evidence]:
    """That more than a page was asked for in one piece."""
    oom = case.oom
    if oom is not None and 0 < oom.order <= _MOST_ORDER:
        said = f"{human_bytes(oom.page_size << oom.order)} were asked for in one piece"
        yield Evidence("log", said, (label_of(case, report),))


def end_lines(case: Case) -> tuple[int, int] | None:
    """The places of the lines of the report that the machine ended with: the first, and the one behind the last."""
    report = case.end.report
    if report is None:
        return None
    return int(report["offset"]), max(int(report["end"]), int(report["offset"]) + 1)


def end_evidence(case: Case) -> Iterator[Evidence]:
    """The first line of the report that the machine ended with, and the panic's."""
    lines = end_lines(case)
    if lines is None:
        return
    labels, panic = case.log.index, case.end.panic
    said = str(case.log["text"].iloc[lines[0]]).splitlines()[0]
    yield Evidence("log", show_controls(said), (int(labels[lines[0]]),))
    if panic and panic != said:
        own = [label for label, line in case.lines(*lines) if panic in line][-1:]
        # Where several threads hung the panic stands below the last of their reports.
        own = own or [label for label, line in case.lines(lines[1], len(case.log)) if panic in line][:1]
        yield Evidence("log", show_controls(panic), (int((own or [labels[lines[1] - 1]])[0]),))


def _hung_too(case: Case) -> Iterator[Evidence]:
    """Who has what the thread waits for, as the kernel says it, and the others that the same look found hung: the
    machine panicked for all of them."""
    lines = end_lines(case)
    if lines is not None and case.end.kind == "hung task":
        for label, line in case.lines(*lines):
            if _OWNED.match(line):
                yield Evidence("log", show_controls(line), (int(label),))
    others = case.reports.iloc[list(case.end.others)]
    if others.empty:
        return
    names = [_subject(each) for _, each in others.iterrows()]
    labels = tuple(int(case.log.index[int(offset)]) for offset in others["offset"].iloc[:100])
    yield Evidence("log", f"{say_several(names)} hung, too", labels)


def _settings(case: Case) -> Iterator[Evidence]:
    """What turned the report into a panic, where the panic's own words say so."""
    reason = case.end.panic.removeprefix(PANIC).lstrip(":, ")
    for words, setting in _SETTINGS:
        if words.match(reason):
            label = next(reversed([each.rows for each in end_evidence(case)]))
            yield Evidence("log", f"it was set to stop then: {setting}", label)
            return


def _device(words: str) -> str | None:
    """The device that a file system's panic names (ext4_handle_error, btrfs_panic, fat_fs_error)."""
    found = _DEVICE.match(words)
    return found["device"] if found else None


def _subject(report: pd.Series[Any]) -> str:
    """Who was there: the thread, else the title."""
    comm = text_or_none(report["comm"])
    if comm is None:
        return show_controls(str(report["title"]))
    return show_controls(say_thread(comm, "?" if pd.isna(report["pid"]) else int(report["pid"])))


def _blamed(case: Case, report: pd.Series[Any]) -> Blamed:
    """The function and the module that the report is about."""
    at = frame_of(str(report["details"].get("at", ""))) if report["kind"] in _STOOD else None
    if at is not None and not is_boilerplate(normal(at.name)):
        return Blamed(normal(at.name), at.module or None)
    told = Blamed(text_or_none(report["function"]), text_or_none(report["module"]))
    # A panic within an oops prints no stack (kernel/panic.c, vpanic): the dump has it.
    silent = told.function is None and report["kind"] == "panic" and not report["frames"]
    if silent and case.has_dump and not pd.isna(case.info["panic_cpu"]):
        rows = case.stack_of_cpu(int(case.info["panic_cpu"]))
        crash = [place for place, name in enumerate(names_of(rows)) if name in CRASHING]
        return case.blamed(rows.iloc[crash[-1] + 1 if crash else 0 :], "report")
    return told


def _borrowed(case: Case, report: pd.Series[Any]) -> Evidence | None:
    """On whose CPU an interrupt ran: the thread beneath has no part in it. None where it was the thread's own doing."""
    if pd.isna(report["cpu"]):
        return None
    if not case.has("stacks"):
        return _borrowed_by_text(case, report)
    rows = case.stack_of_cpu(int(report["cpu"]))
    kinds = rows["kind"].astype(str).tolist()
    above = {"irq", "nmi"} if report["kind"] in _SEEN else {"exception"}
    while kinds and kinds[0] in above:
        kinds.pop(0)
    what = _BORROWED.get(kinds[0]) if kinds else None
    comm = text_or_none(report["comm"])
    if what is None:
        return None
    chosen = rows.index[len(rows) - len(kinds) :]
    below = "" if comm is None else f" on top of {_subject(report)}"
    said = f"{what} on CPU {int(report['cpu'])} ran{below}, which it interrupted"
    return Evidence("stacks", show_controls(said), rows_of(rows, list(chosen)))


def _borrowed_by_text(case: Case, report: pd.Series[Any]) -> Evidence | None:
    """The same by the marks of the report's own stack."""
    # An idle thread does nothing by itself, but what it was in may be its own.
    if pd.isna(report["pid"]) or report["pid"] == 0:
        return None
    seen = report["kind"] in _SEEN
    if not was_interrupted(report) if seen else who_did_it(case, report) is not None:
        return None
    comm = text_or_none(report["comm"])
    below = "" if comm is None else f" on top of {_subject(report)}"
    said = f"an interrupt on CPU {int(report['cpu'])} ran{below}, which it interrupted"
    return Evidence("log", show_controls(said), (label_of(case, report),))


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeioOR' else 'a'} {kind}"
