"""The story of a machine that ran out of memory: who has it, whether they grew, and who was killed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.report import memory_words
from kernlab.report.details import Details
from kernlab.report.growth import process_growth, recorded, said_of
from kernlab.report.owners import cache_owner
from kernlab.report.phrases import span
from kernlab.tables.suspects.oom import kills

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

#: The last processes that were killed are named.
_MOST_KILLS = 3

#: Leads that say who has the memory, when no single process does.
_HOLDERS = (
    "many processes",
    "large unreclaimable slab cache",
    "unreclaimable slabs",
    "kernel memory",
    "large file in memory",
    "deleted files",
    "page tables",
    "large slab cache",
)


def details(dump: Dump, end: Death, first: pd.Series[Any]) -> Details:
    """More of an end for lack of memory: who was killed before, whether who has it grew, and who has much besides.

    `first` is the verdict's first row: it says who took the memory.
    """
    leads = dump.suspects
    others = leads[leads["lead"].isin(_HOLDERS) & (leads["subject"] != first["subject"])]
    groups = leads[leads["lead"] == "cgroup out of memory"]
    policy = "panic_on_oom" in end.message
    died = [
        "The kernel was set to panic in that case instead of killing a process (panic_on_oom)."
        if policy
        else "There was nobody left that the kernel could kill to get some memory."
    ]
    died += _killed(dump, policy)
    why, doubts, steps = list[str](), list[str](), list[str]()
    grew = False
    is_process = first["finding"] == "process took the memory" and not pd.isna(first["pid"])
    if is_process:
        grew = _process(dump, end, str(first["subject"]), int(first["pid"]), why, doubts, steps)
    for _, row in others.sort_values("bytes", ascending=False).head(2).iterrows():
        owner = cache_owner(dump, str(row["subject"])) if "slab" in str(row["lead"]) else ""
        whose = f", of the module {owner}" if owner else ""
        why.append(f"Besides: {row['lead']}, {row['subject']}{whose}. {row['evidence']}")
        steps.append(_other_step(row, owner))
    for _, row in groups.iterrows():
        why.append(f"A control group was at its limit: {row['subject']}. {row['evidence']}")
    full = leads.loc[leads["lead"] == "swap is full", "evidence"]
    if len(full):
        why.append(f"Swap, to which memory can be moved, was no help any more: {full.iloc[0]}")
    if not memory_words.is_short(dump):
        doubts.append(
            "At the end much memory was free: what ran short was probably of one kind (a zone, large blocks, a limit)."
        )
    if policy:
        steps.append(
            "Decide whether the machine should panic when memory runs out (vm.panic_on_oom): with 0 it kills a process "
            "and goes on."
        )
    steps.append(
        "Decide whether the machine has enough memory for what it does, and which limits its services need."
    )
    sure = (
        "The recording shows when it was taken. Whether that is a leak or the program's work is for who knows it to "
        "say."
        if grew
        else ""
    )
    return Details(
        tuple(died), tuple(why), sure, tuple(doubts), tuple(dict.fromkeys(steps)), settled=is_process
    )


def _killed(dump: Dump, policy: bool) -> list[str]:
    """What the kernel had killed before, and how that goes with its being set to panic."""
    log = dump.log
    text = log["text"].fillna("")
    said = []
    for number, kill in enumerate(found := [one for one in kills(text) if one.group is None]):
        who = show_controls(say_thread(kill.comm, kill.pid))
        told = log[text.str.contains(rf"Kill(?:ed)? process {kill.pid} \(", regex=True)]
        time = told["timestamp"].iloc[-1] if len(told) else pd.NaT
        ago = (
            span(dump.info["uptime"] - time) if not pd.isna(time) and dump.info["uptime"] is not None else ""
        )
        words = f"{f'{ago} before that' if ago else 'Before that'} it had killed {who} to get memory"
        whole = text.str.contains(rf"oom-kill:constraint=CONSTRAINT_NONE.*,pid={kill.pid},", regex=True).any()
        # Of a want of the whole machine the setting panics always (mm/oom_kill.c, check_panic_on_oom).
        if policy and whole and number == len(found) - 1:
            words += (
                ", for the same want of all the machine: panic_on_oom was not set then. Somebody set it since"
            )
        said.append(f"{words}.")
    return said[-_MOST_KILLS:]


def _process(
    dump: Dump, end: Death, subject: str, pid: int, why: list[str], doubts: list[str], steps: list[str]
) -> bool:
    """What there is to say of the process that has the memory; is it known that it grew?"""
    asker = end.who
    grew, since = process_growth(dump, pid)
    if grew:
        why.append(grew)
        if since is not None and (heard := said_of(dump, subject.rsplit(" (", 1)[0], since)):
            why.append(heard)
    else:
        doubts.append(
            f"A dump shows who has memory at the end, not who grew: {subject} may have had as much for a long time. "
            "kernlab's recorder, had it been on, would tell."
        )
    if asker and asker != subject:
        doubts.append(
            f"{asker} asked for memory last, when there was none. Anybody may be the one who asks: it says nothing "
            "about it."
        )
    elif asker:
        doubts.append(
            "It also was the one that asked for memory last. Anybody may be the one who asks: that proves nothing more."
        )
    protected = _protected(dump, pid)
    if protected:
        why.append(protected)
        steps.append(
            f"Ask why {subject} must not be killed (its oom_score_adj): of all processes it is the one that would have "
            "made room."
        )
    recording = recorded(dump)
    if recording is not None:
        steps.append(
            f"Look at the last {span(recording)} as they were recorded: they show who took memory from whom."
        )
    return since is not None


def _protected(dump: Dump, pid: int) -> str:
    table = dump.memory_by_process
    mine = table[table["pid"] == pid]
    if not len(mine) or pd.isna(mine["oom_score_adj"].iloc[0]) or int(mine["oom_score_adj"].iloc[0]) > -500:
        return ""
    return (
        f"It was protected from the OOM killer (oom_score_adj {int(mine['oom_score_adj'].iloc[0])}): the kernel "
        "kills others in its place."
    )


def _other_step(lead: pd.Series[Any], owner: str) -> str:
    if "slab" in str(lead["lead"]):
        whom = (
            f"the module {owner}, which made {lead['subject']},"
            if owner
            else f"the code that makes {lead['subject']}"
        )
        return f"Ask whoever maintains {whom} whether its objects are ever freed ({lead['cell']} lists them)."
    return f"Look at {lead['subject']}: {lead['cell']}"
