"""CPUs that do not go on: for which lock they spin, and who kept RCU waiting where another CPU noticed it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import (
    LOCKUPS,
    SPINNING,
    beneath,
    functions,
    lock_name,
    say_lock,
    say_rows,
    seconds,
)
from kernlab.verdict.dying import would_not_stop
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import pid_of

#: Culprits that are told at most.
_MOST = 4
# kernel/rcu/tree_stall.h: print_cpu_stall_info, rcu_print_task_stall, rcu_check_gp_kthread_starvation; tree_exp.h,
# synchronize_rcu_expedited_wait: "{ 1-...D P123 }".
_STALLED_CPU = re.compile(r"(?:rcu: )?\s*(?P<cpu>\d{1,5})-[^\s:]{3,5}: \(")
_BLOCKED = re.compile(
    r"(?:rcu: )?\s*Tasks blocked on level-\d{1,2} rcu_node \(CPUs [\d,-]+\):(?P<tasks>[^\n]*)"
)
_EXPEDITED = re.compile(r"[^\n]{0,80}detected expedited stalls on CPUs/tasks: \{(?P<names>[^}\n]*)")
_STARVED = re.compile(
    r"(?:rcu: )?(?P<name>rcu_\w{1,16}) kthread (?:timer wakeup didn't happen|starved) for \d+ jiffies"
)
#: Lines of a report that can name whom RCU waits for.
_HEAD = 64
#: Functions in which a CPU waits until others have answered (kernel/smp.c, csd_lock_wait and its callers;
#: kernel/stop_machine.c).
ASKING = (
    "smp_call_function",
    "csd_lock_wait",
    "multi_cpu_stop",
    "on_each_cpu_cond_mask",
    "text_poke_bp_batch",
)
#: A victim is told as a hint.
HINT = 0.45
#: A fair scheduler gives a CPU to everyone that is ready to run within so many seconds.
_FAIR = 2.0
#: What runs on top of threads that have no part in it.
_BORROWED = {"softirq": "a softirq", "irq": "an interrupt", "nmi": "an NMI"}


class Named(NamedTuple):
    """Whom RCU waits for by a report: CPUs, threads that sleep within what they read; and the lines that say so."""

    cpus: dict[int, int]
    pids: dict[int, int]
    starved: int | None


def interrupted(case: Case, cpu: int) -> pd.DataFrame:
    """The frames of what a CPU did beneath the tick or NMI that the machine died in; no rows where none are known."""
    return beneath(case.stack_of_cpu(cpu))


def borrowed(rows: pd.DataFrame, cpu: int) -> str | None:
    """What runs on a CPU on top of a thread that has no part in it: `a softirq on CPU 1`; None where a thread does."""
    kind = str(rows["kind"].iloc[0])
    return f"{_BORROWED[kind]} on CPU {cpu}" if kind in _BORROWED else None


def victim(case: Case, rows: pd.DataFrame) -> str | None:
    """Why who runs on a CPU does not go on for somebody else's sake: it spins for a lock, or asks other CPUs; None
    where neither shows."""
    waits = case.waits
    if ((waits["pid"] == rows["pid"].iloc[0]) & waits["type"].isin(SPINNING)).any():
        return "It spins for a lock: who has that is why."
    if any(name.startswith(ASKING) for name in functions(rows)):
        return "It waits until other CPUs answer: one that does not is why."
    return None


def robbed(case: Case, pid: int) -> str | None:
    """Why a thread that RCU waits for does not go on for somebody else's sake: it is ready to run, and gets no CPU;
    None where it sleeps or runs, or got one lately."""
    task = case.tasks[case.tasks["pid"] == pid]
    if task.empty or str(task["state"].iloc[0]) != "R" or bool(task["on_cpu"].iloc[0]):
        return None
    last = seconds(case.delays.loc[case.delays["pid"] == pid, "last_run"].max())
    if last is not None and last < _FAIR:
        return None
    waited = "" if last is None else f" for {human_time(last)}"
    cpu = task["cpu"].iloc[0]
    where = "the CPU that it waits for" if pd.isna(cpu) else f"CPU {int(cpu)}"
    return f"It is ready to run, and has got no CPU{waited}: what has {where} may be why."


def stalled(case: Case) -> Named:
    """Whom RCU waits for by the end's report, each with the label of the line that names it."""
    found = Named({}, {}, None)
    report = case.end.report
    if report is None or case.end.kind != "RCU stall":
        return found
    first = int(report["offset"])
    for label, record in case.lines(first, min(int(report["end"]), first + _HEAD)):
        for line in record.splitlines():
            if one := _STALLED_CPU.match(line):
                found.cpus.setdefault(int(one["cpu"]), label)
            elif one := _BLOCKED.match(line):
                for pid in re.findall(r"\bP(\d{1,8})\b", one["tasks"]):
                    found.pids.setdefault(int(pid), label)
            elif one := _EXPEDITED.match(line):
                for cpu in re.findall(r"(?<!\S)(\d{1,5})-\S{3,5}", one["names"]):
                    found.cpus.setdefault(int(cpu), label)
                for pid in re.findall(r"\bP(\d{1,8})\b", one["names"]):
                    found.pids.setdefault(int(pid), label)
            elif _STARVED.match(line):
                found = found._replace(starved=label)
    return found


@rule
def rcu_waits_for(case: Case) -> Iterator[Finding]:
    """A stall of RCU that one CPU noticed is the doing of the CPU or thread that its report names."""
    named, report = stalled(case), case.end.report
    if report is None:
        return
    own = pid_of(report)
    for cpu, label in list(named.cpus.items())[:_MOST]:
        if cpu != case.end_cpu:
            yield from _on_cpu(case, cpu, label)
    for pid, label in list(named.pids.items())[:_MOST]:
        if pid != own:
            yield from _blocked(case, pid, label)


def _on_cpu(case: Case, cpu: int, label: int) -> Iterator[Finding]:
    said = Evidence("log", f"RCU waits for CPU {cpu}", (label,))
    if not case.has_dump:
        yield Finding(
            "RCU stall", f"CPU {cpu}", 0.8, (said,), f"dump.log.loc[{label}:{label}]",
            against=("What it did is only in a dump.",), explains=frozenset({"RCU stall"}),
        )  # fmt: skip
        return
    rows = interrupted(case, cpu)
    lent = None if rows.empty else borrowed(rows, cpu)
    if rows.empty or (rows["pid"].iloc[0] == 0 and lent is None):
        return  # it idles, or its stack is not known: why it did not answer, nothing tells
    pid = int(rows["pid"].iloc[0])
    who = lent or show_controls(say_thread(str(rows["comm"].iloc[0]), pid))
    where = case.blamed(rows, "fault")
    shown = f"{who} is in {show_controls(where.function or 'a function of no name')}"
    why = victim(case, rows)
    yield Finding(
        "RCU stall",
        who,
        HINT if why else 0.9 if where.function else 0.6,
        (said, Evidence("stacks", shown, rows_of(rows, list(rows.index)))),
        f"dump.stacks[dump.stacks.cpu == {cpu}]",
        pid=None if lent else pid,
        module=where.module,
        function=where.function,
        against=(why,) if why else (),
        explains=frozenset({"RCU stall"}),
    )


def _blocked(case: Case, pid: int, label: int) -> Iterator[Finding]:
    said = Evidence(
        "log", f"RCU waits for thread {pid}, which was preempted or sleeps within what it reads", (label,)
    )
    task = case.tasks[case.tasks["pid"] == pid] if case.has_dump else None
    if task is None or task.empty:
        return
    rows = case.stack_of(pid)
    where = case.blamed(rows, "wait")
    thread = show_controls(say_thread(str(task["comm"].iloc[0]), pid))
    evidence = [said]
    if where.function:
        shown = f"{thread} is in {show_controls(where.function)}"
        evidence.append(Evidence("stacks", shown, rows_of(rows, list(rows.index))))
    why = victim(case, rows) if len(rows) else None
    why = why or robbed(case, pid)
    yield Finding(
        "RCU stall",
        thread,
        HINT if why else 0.85 if where.function else 0.6,
        tuple(evidence),
        f"dump.stack({pid})",
        pid=pid,
        module=where.module,
        function=where.function,
        against=(why,) if why else (),
        explains=frozenset({"RCU stall"}),
    )


@rule
def spins_for(case: Case) -> Iterator[Finding]:
    """A CPU that spun for a lock whose holder is not known did not go on because of that lock."""
    if case.end.kind not in LOCKUPS or case.end_cpu is None:
        return
    waits = case.waits
    rows = interrupted(case, case.end_cpu)
    if rows.empty or rows["pid"].iloc[0] == 0:
        return
    mine = waits[
        (waits["pid"] == rows["pid"].iloc[0]) & waits["type"].isin(SPINNING) & waits["holder_pid"].isna()
    ]
    mine = mine[(mine["object"].notna()) & ~mine["note"].str.contains("nobody holds it", na=False)]
    if mine.empty:
        return
    first = mine.iloc[0]
    every = waits[(waits["object"] == first["object"]) & waits["type"].isin(SPINNING)]
    verb = "spin" if len(every) > 1 else "spins"
    deaf = _deaf(case, set(every["pid"].dropna().astype(int)))
    yield Finding(
        "lock not released",
        lock_name(first),
        0.8 if deaf else 0.7,
        (
            Evidence("waits", show_controls(f"{say_rows(every)} {verb} for {say_lock(first)}"),
                     rows_of(every, list(every.index))),
            *(deaf.evidence if deaf else ()),
        ),
        f"dump.waits.loc[{[int(str(label)) for label in every.index[:20]]}]",
        pid=deaf.pid if deaf else None,
        against=(
            "A spinlock does not say who holds it, and no stack tells"
            + (": no registers of that CPU are known, as it could not be stopped." if deaf else "."),
        ),
        explains=LOCKUPS,
    )  # fmt: skip


class _Deaf(NamedTuple):
    """The thread of the one CPU that took no interrupt though it did not spin, and what shows that."""

    pid: int
    evidence: tuple[Evidence, ...]


def _deaf(case: Case, spinners: set[int]) -> _Deaf | None:
    """Who ran on the only CPU that the panic could not stop, of those that did not spin: interrupts were off there, as
    where somebody keeps a spinlock."""
    refused = would_not_stop(case)
    ran = case.tasks[case.tasks["cpu"].isin(list(refused)) & case.tasks["on_cpu"]]
    others = ran[~ran["pid"].isin([0, *spinners])]
    if len(others) != 1:
        return None
    row = others.iloc[0]
    pid, cpu = int(row["pid"]), int(row["cpu"])
    thread = show_controls(say_thread(str(row["comm"]), pid))
    return _Deaf(
        pid,
        (
            Evidence("log", f"CPU {cpu} did not stop for the panic: it took no interrupts", (refused[cpu],)),
            Evidence("tasks", f"{thread} ran there", rows_of(others, list(others.index))),
        ),
    )
