"""Who keeps RCU waiting, and which CPUs do nothing but one thing, by the kernel's own accounts of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Blamed, Case
from kernlab.verdict.chains import LOCKUPS, SPINNING, functions, say_rows, seconds
from kernlab.verdict.deafness import interrupts_off, taken_by_host
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.rules.spinning import ASKING, HINT, borrowed, interrupted, robbed, victim

#: Readers and CPUs that are told at most.
_MOST = 3
#: RCU's own thread that has done nothing for so many seconds got no CPU (kernel/rcu/tree_stall.h,
#: rcu_check_gp_kthread_starvation: two seconds): then those it did not ask are not to blame.
_STARVED = 2.0


class Reader(NamedTuple):
    """Who does not go on: as people say it, the pid where it is a thread's own doing, where it is, and its frames."""

    name: str
    pid: int | None
    where: Blamed
    rows: pd.DataFrame


@rule
def kept_grace_period(case: Case) -> Iterator[Finding]:
    """A grace period that goes on for longer than RCU is patient is the doing of the CPU or thread it waits for."""
    if case.end.kind in LOCKUPS:
        return  # the watchdog that ended it says whom it came upon
    asleep = case.waits[(case.waits["type"] == "rcu") & (case.waits["state"] == "D")]
    longest = seconds(asleep["since"].max())
    hung = longest is not None and longest >= case.hung_after
    for label, period in case.grace_periods[case.grace_periods["running"].fillna(False)].iterrows():
        waited = seconds(period["started"]) or (longest if hung else None)
        stalled = not pd.isna(period["stalled"]) and bool(period["stalled"])
        if waited is None or not (stalled or (hung and waited >= case.hung_after)):
            continue
        idle = seconds(period["activity"])
        against: tuple[str, ...] = ()
        if idle is not None and idle >= _STARVED:
            against = (
                f"RCU's own thread has not run for {human_time(idle)}: it may be that it was not asked.",
            )
        readers = [_thread(case, pid) for pid in _numbers(period["waiting_tasks"])[:_MOST]]
        readers += [_cpu(case, cpu) for cpu in _numbers(period["waiting_cpus"])[:_MOST]]
        for reader in filter(None, readers):
            said = f"RCU has waited for {reader.name} for {human_time(waited)}"
            evidence = [Evidence("grace_periods", said, rows_of(case.grace_periods, [int(str(label))]))]
            if len(asleep):
                said = f"{say_rows(asleep)} {'waits' if len(asleep) == 1 else 'wait'} until all readers are through"
                evidence.append(Evidence("waits", show_controls(said), rows_of(asleep, list(asleep.index))))
            if reader.where.function:
                said = f"it is in {show_controls(reader.where.function)}"
                evidence.append(Evidence("stacks", said, rows_of(reader.rows, list(reader.rows.index))))
            why = victim(case, reader.rows) or (None if reader.pid is None else robbed(case, reader.pid))
            sure = HINT if why else 0.9 if reader.where.function else 0.6
            yield Finding(
                "RCU stall",
                reader.name,
                sure * (0.5 if against else 1.0),
                tuple(evidence),
                f"dump.stacks.loc[{[int(row) for row in reader.rows.index[:30]]}]",
                pid=reader.pid,
                module=reader.where.module,
                function=reader.where.function,
                against=(*against, *([why] if why else [])),
                explains=frozenset({"hung task"}) if hung else frozenset(),
                since=waited,
            )


@rule
def silent_cpus(case: Case) -> Iterator[Finding]:
    """A CPU on which the watchdog's thread has not run for longer than is allowed does nothing but one thing."""
    if case.end.kind in LOCKUPS:
        return  # the watchdog that ended it says whom it came upon
    late = case.watchdogs[case.watchdogs["soft_lockup"].fillna(False)]
    spins = set(case.waits.loc[case.waits["type"].isin(SPINNING), "pid"].dropna().astype(int))
    for label, row in late.head(_MOST).iterrows():
        cpu, since = int(row["cpu"]), seconds(row["since_touch"])
        reader = _cpu(case, cpu)
        if reader is None or since is None or reader.pid in spins:
            continue  # who spins for a lock is a victim
        said = f"no other thread has run on CPU {cpu} for {human_time(since)}"
        evidence = [Evidence("watchdogs", said, rows_of(case.watchdogs, [int(str(label))]))]
        if reader.where.function:
            said = f"{reader.name} is in {show_controls(reader.where.function)}"
            evidence.append(Evidence("stacks", said, rows_of(reader.rows, list(reader.rows.index))))
        why = victim(case, reader.rows) or taken_by_host(case, cpu, since)
        yield Finding(
            "soft lockup",
            reader.name,
            HINT if why else 0.85 if reader.where.function else 0.6,
            tuple(evidence),
            f"dump.stacks[dump.stacks.cpu == {cpu}]",
            pid=reader.pid,
            module=reader.where.module,
            function=reader.where.function,
            against=("The kernel's own watchdog did not end the machine for it.", *([why] if why else [])),
            since=since,
        )


@rule
def deaf_cpus(case: Case) -> Iterator[Finding]:
    """A CPU whose watchdog's timer has been due for long, and that had interrupts off, answers nobody who asks it."""
    if case.end.kind == "hard lockup":
        return  # that is what the end says
    busy = set(case.waits.loc[case.waits["type"].isin(SPINNING), "pid"].dropna().astype(int))
    # Who is known to keep a lock with interrupts off is told by that lock.
    busy |= {pid for pid in case.chains.roots if pid}
    asks = case.end.kind in LOCKUPS and case.end_cpu is not None and _asks(case, case.end_cpu)
    died = {case.end_cpu, None if pd.isna(case.info["panic_cpu"]) else int(case.info["panic_cpu"])}
    for label, row in case.watchdogs[case.watchdogs["timer_late"].notna()].iterrows():
        cpu, late, grants = int(row["cpu"]), seconds(row["timer_late"]), seconds(row["threshold"])
        if late is None or grants is None or late < grants / 2 or cpu in died:
            continue
        reader = _cpu(case, cpu)
        if reader is None or reader.pid in busy:
            continue
        said = f"CPU {cpu} has taken no interrupt of its watchdog's timer for {human_time(late)}"
        evidence = [Evidence("watchdogs", said, rows_of(case.watchdogs, [int(str(label))]))]
        off, taken = interrupts_off(case, cpu), taken_by_host(case, cpu, late)
        evidence += [off] if off else []
        if reader.where.function:
            said = f"{reader.name} is in {show_controls(reader.where.function)}"
            evidence.append(Evidence("stacks", said, rows_of(reader.rows, list(reader.rows.index))))
        if asks:
            rows = interrupted(case, case.end_cpu or 0)
            said = f"CPU {case.end_cpu} waits until other CPUs answer"
            evidence.append(Evidence("stacks", said, rows_of(rows, list(rows.index))))
        against = [taken] if taken else []
        if off is None:
            against.append(
                "Nothing shows that interrupts were off there: the timer may be late for another reason."
            )
        yield Finding(
            "hard lockup",
            reader.name,
            HINT if against else 0.85 if reader.where.function else 0.6,
            tuple(evidence),
            f"dump.stacks[dump.stacks.cpu == {cpu}]",
            pid=reader.pid,
            module=reader.where.module,
            function=reader.where.function,
            against=tuple(against),
            explains=LOCKUPS if asks else frozenset(),
            since=late,
        )


def _asks(case: Case, cpu: int) -> bool:
    return any(name.startswith(ASKING) for name in functions(interrupted(case, cpu)))


def _cpu(case: Case, cpu: int) -> Reader | None:
    """What a CPU does; None where it idles or its stack is not known: then nothing tells why it did not answer."""
    rows = interrupted(case, cpu)
    if rows.empty:
        return None
    pid, lent = int(rows["pid"].iloc[0]), borrowed(rows, cpu)
    if lent is not None:
        return Reader(lent, None, case.blamed(rows, "fault"), rows)
    if pid == 0:
        return None
    name = show_controls(say_thread(str(rows["comm"].iloc[0]), pid))
    return Reader(f"{name} on CPU {cpu}", pid, case.blamed(rows, "fault"), rows)


def _thread(case: Case, pid: int) -> Reader | None:
    """A thread that lost its CPU while it read."""
    rows = case.stack_of(pid)
    if rows.empty:
        return None
    name = show_controls(say_thread(str(rows["comm"].iloc[0]), pid))
    return Reader(name, pid, case.blamed(rows, "wait"), rows)


def _numbers(text: object) -> list[int]:
    """The numbers of a list as the kernel writes it, `1,3-5`; the first hundred."""
    found: list[int] = []
    for part in str(text).split(",") if isinstance(text, str) and text else []:
        low, _, high = part.partition("-")
        if low.isdecimal() and (not high or high.isdecimal()):
            found += range(int(low), min(int(high or low), int(low) + 100) + 1)
    return found[:100]
