"""The story of a machine that ran out of memory: who has it, whether they grew, and who was killed for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.report import memory_words
from kernlab.report.growth import process_growth, recorded
from kernlab.util.text import human_bytes, human_time, percent

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

Told = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]

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


def tell(dump: Dump, end: Death) -> Told:
    """Title, what died, why, doubts and next steps of an end for lack of memory."""
    leads = dump.suspects
    large = leads[leads["lead"] == "large process"]
    others = leads[leads["lead"].isin(_HOLDERS)]
    kills = leads[leads["lead"] == "OOM victim"]
    groups = leads[leads["lead"] == "cgroup out of memory"]
    died = [
        "The machine ran out of memory, and its kernel was set to panic then instead of killing a process "
        "(panic_on_oom)."
        if "panic_on_oom" in end.message
        else "The machine ran out of memory, and there was nobody left that the kernel could kill to get some."
    ]
    for _, row in kills.iterrows():
        died.append(f"Before that the kernel had already killed {row['subject']} to get memory.")
    why, doubts, steps = list[str](), list[str](), list[str]()
    if len(large):
        _process(dump, end, large.iloc[0], why, doubts, steps)
    holders = others if len(large) else others.sort_values("bytes", ascending=False)
    for _, row in holders.head(2).iterrows():
        begin = "Besides" if why else "Probably because of this"
        why.append(f"{begin}: {row['lead']}, {row['subject']}. {row['evidence']}")
        steps.append(_other_step(row))
    for _, row in groups.iterrows():
        why.append(f"A control group was at its limit: {row['subject']}. {row['evidence']}")
    if not why:
        why.append("No process and no cache stands out; memory went to many alike.")
        steps.append(
            "Look at the tables of memory below: many small users may be one too many for this machine."
        )
    if len(leads[leads["lead"] == "swap is full"]):
        why.append(
            f"Swap did not help any more: {leads.loc[leads['lead'] == 'swap is full', 'evidence'].iloc[0]}"
        )
    if len(large):
        title = f"Out of memory: {large['subject'].iloc[0]} holds {percent(_share(large.iloc[0]))} of it"
    elif len(others):
        title = f"Out of memory: {holders['subject'].iloc[0]} holds {human_bytes(_bytes(holders.iloc[0]))}"
    else:
        title = "Out of memory, with many small users"
    if not memory_words.is_short(dump):
        doubts.append(
            "At the end much memory was free: what ran short was probably of one kind (a zone, large blocks, a limit)."
        )
    steps.append(
        "Decide whether the machine has enough memory for what it does, and which limits its services need."
    )
    return title, tuple(died), tuple(why), tuple(doubts), tuple(dict.fromkeys(steps))


def _process(
    dump: Dump, end: Death, lead: pd.Series[Any], why: list[str], doubts: list[str], steps: list[str]
) -> None:
    subject = str(lead["subject"])
    why.append(f"Probably because of {subject}. {lead['evidence']}")
    pid = _pid(subject)
    asker = end.who
    grew = process_growth(dump, pid) if pid is not None else ""
    if grew:
        why.append(grew)
    else:
        doubts.append(
            f"A dump shows who has memory at the end, not who grew: {subject} may have had as much for long "
            "(kernlab's recorder, had it been on, would tell)."
        )
    if asker and asker != subject:
        doubts.append(
            f"{asker} asked for memory last, and is only the one who found none; that is no sign against it."
        )
    elif asker:
        why.append("It was also the one that asked for the page that was no longer there.")
    protected = _protected(dump, pid)
    if protected:
        why.append(protected)
    steps.append(
        f"Find out what {subject} needs so much memory for (dump.plot.maps({pid}) shows its mappings), and whether "
        "that is a leak or its load."
    )
    steps.append(
        f"Until then give {subject} a limit (memory.max of its control group, or MemoryMax of its service)."
    )
    span = recorded(dump)
    if span is not None:
        steps.append(
            f"Look at the last {human_time(span.total_seconds())} as they were recorded: they show who took memory "
            "from whom."
        )


def _protected(dump: Dump, pid: int | None) -> str:
    table = dump.memory_by_process
    mine = table[table["pid"] == pid]
    if not len(mine) or pd.isna(mine["oom_score_adj"].iloc[0]) or int(mine["oom_score_adj"].iloc[0]) > -500:
        return ""
    return (
        f"It was protected from the OOM killer (oom_score_adj {int(mine['oom_score_adj'].iloc[0])}): others are "
        "killed in its place."
    )


def _other_step(lead: pd.Series[Any]) -> str:
    if "slab" in str(lead["lead"]):
        return (
            f"Ask those who maintain the code that allocates {lead['subject']} whether its objects are ever freed "
            f"({lead['cell']} lists them)."
        )
    return f"Look at {lead['subject']}: {lead['cell']}"


def _pid(subject: str) -> int | None:
    found = re.search(r"\((\d+)\)$", subject)
    return int(found[1]) if found else None


def _share(lead: pd.Series[Any]) -> float:
    return 0.0 if pd.isna(lead["share"]) else float(lead["share"])


def _bytes(lead: pd.Series[Any]) -> int:
    return 0 if pd.isna(lead["bytes"]) else int(lead["bytes"])
