"""Whom a watchdog came upon is a victim where the cause lies elsewhere: the end's row then accuses nobody."""

from __future__ import annotations

import dataclasses

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.oops.functions import normal
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import LOCKUPS, functions, reported_hung, say_lock, say_rows, seconds
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import weighing
from kernlab.verdict.rules.spinning import interrupted
from kernlab.verdict.stood import waited_for_others

#: A cause that is less sure than this takes nobody's blame away.
_LIKELY = 0.6
#: So many rows of evidence may not be all.
_CUT = 100
#: Ends in which a watchdog names whom it came upon.
_NOTICED = frozenset({"hung task", "soft lockup", "hard lockup", "RCU stall", "workqueue stall"})


@weighing
def noticed_at(case: Case, findings: list[Finding]) -> list[Finding]:
    """Whom a watchdog named is not who is to blame where a likely cause lies elsewhere: it was noticed there."""
    if case.end.kind not in _NOTICED:
        return findings
    findings = [_only(case, each) for each in findings]
    causes = [each for each in findings if case.end.kind in each.explains and each.confidence >= _LIKELY]
    return [_noticed(case, each, causes) if each.role == "end" else each for each in findings]


def _noticed(case: Case, end: Finding, causes: list[Finding]) -> Finding:
    """The end's row, with what its thread waited for; without the thread where another is the cause."""
    if case.has_dump and case.end.kind == "hung task":
        end = dataclasses.replace(end, evidence=(*end.evidence, *_waited(case, end)))
    if case.has_dump and case.end.kind in LOCKUPS:
        end = _stood(case, end)
        why = "" if causes or case.end.report is None else waited_for_others(case.end.report)
        if why and why not in end.against:
            end = dataclasses.replace(end, against=(*end.against, why))
    others = [each for each in causes if each.pid is None or each.pid != end.pid]
    if not others or len(others) < len(causes):
        return end
    # A panic's line alone names nobody.
    known = end.pid is not None or case.end_cpu is not None
    said = f"noticed at {end.subject}, which is not the cause"
    noticed = (Evidence("log", said, end.evidence[0].rows),) if known else ()
    return dataclasses.replace(
        end,
        subject=_many(case),
        pid=None,
        module=None,
        function=None,
        evidence=(*end.evidence, *noticed),
    )


def _many(case: Case) -> str:
    """Who was noticed, without names: they are victims."""
    if case.end.kind == "hung task":
        number = len(reported_hung(case))
        return f"{number:,} threads that could not go on" if number > 1 else "a thread that could not go on"
    return (
        "a CPU that could not go on" if case.end_cpu is None else f"CPU {case.end_cpu}, which could not go on"
    )


def _waited(case: Case, end: Finding) -> list[Evidence]:
    """What the thread that was noticed waits for."""
    if end.pid is None:
        return []
    rows = case.chains.of([end.pid])
    if rows.empty:
        return []
    asleep = seconds(rows["since"].iloc[0])
    said = f"{show_controls(say_rows(rows))} waits for {say_lock(rows.iloc[0])}"
    if not rows["holder_comm"].isna().iloc[0]:
        holder = say_thread(str(rows["holder_comm"].iloc[0]), int(rows["holder_pid"].iloc[0]))
        said += f", which {show_controls(holder)} {'is at' if rows['type'].iloc[0] == 'work' else 'has'}"
    said += "" if asleep is None else f", for {human_time(asleep)}"
    return [Evidence("waits", said, rows_of(rows, list(rows.index)))]


def _stood(case: Case, end: Finding) -> Finding:
    """With what the CPU did beneath the interrupt when the machine died, and whether that is what was noticed."""
    if case.end_cpu is None:
        return end
    rows = interrupted(case, case.end_cpu)
    names = functions(rows)
    if not names:
        return end
    said = f"CPU {case.end_cpu} was in {' ← '.join(names[:4])}"
    shown = Evidence("stacks", show_controls(said), rows_of(rows, list(rows.index)))
    # The function by the log has lost what compilers put behind its name.
    same = end.function is None or any(normal(name) == end.function for name in names)
    against = (
        () if same else (f"When the machine died, CPU {case.end_cpu} was elsewhere: it may have gone on.",)
    )
    return dataclasses.replace(end, evidence=(*end.evidence, shown), against=(*end.against, *against))


def _only(case: Case, finding: Finding) -> Finding:
    """A cause of a hang is one of this end's only if one of those that the watchdog named hangs by it."""
    if case.end.kind != "hung task" or "hung task" not in finding.explains or not case.has_dump:
        return finding
    named = reported_hung(case)
    touched = _touched(case, finding)
    # Evidence has only the first of many.
    cut = any(one.table == "waits" and len(one.rows) >= _CUT for one in finding.evidence)
    if not named or not touched or named & touched or cut or _silenced(case):
        return finding
    why = "None of the threads that were reported as hung waits for it."
    return dataclasses.replace(finding.doubted(why, 0.6), explains=finding.explains - {"hung task"})


def _silenced(case: Case) -> bool:
    """Whether the detector had told as many as it may (kernel/hung_task.c, hung_task_warnings): more may hang."""
    return bool(
        case.log["text"].str.contains("Future hung task reports are suppressed", regex=False, na=False).any()
    )


def _touched(case: Case, finding: Finding) -> set[int]:
    """The threads of a finding's evidence, and all behind the one that it names."""
    labels = [row for one in finding.evidence if one.table == "waits" for row in one.rows]
    pids = set(case.waits.loc[case.waits.index.isin(labels), "pid"].dropna().astype(int))
    return case.chains.behind(pids | ({finding.pid} if finding.pid is not None else set()))
