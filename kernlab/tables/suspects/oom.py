"""What `suspects` says of the OOM killer: whom it killed and for whose lack of memory, the machine's or a cgroup's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.tables.suspects.evidence import Evidence, Lead, size_of, times
from kernlab.util.text import human_bytes

#: Leads of one kind at most, the latest of them.
_MOST = 5

# mm/oom_kill.c: oom_dump_header, dump_oom_summary (since v5.0), __oom_kill_process.
_INVOKED = re.compile(r"(?P<comm>.*?) invoked oom-killer: gfp_mask=(?P<mask>[^,]*), order=(?P<order>\d+)")
_SUMMARY = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?"
    r"(?:,oom_memcg=(?P<group>.*?),task_memcg=.*)?,task=(?P<comm>.*),pid=(?P<pid>\d+),uid=\d+$",
    re.DOTALL,
)
_KILLED = re.compile(
    r"(?P<why>Out of memory|Memory cgroup out of memory)[^:]*: Kill(?:ed)? process (?P<pid>\d+) \((?P<comm>.*?)\)"
    r"(?:.*?anon-rss:(?P<anon>\d+)kB)?"
)
_LOG_CELL = 'dump.log[dump.log.text.str.contains("oom|Out of memory|Killed process", na=False)]'


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that the OOM killer killed: `group` is the cgroup that had reached its limit, None where it was the
    machine's memory that ended, '' where the log does not say which cgroup. `bytes` is -1 where not told.
    """

    pid: str
    comm: str
    group: str | None
    bytes: int


def kills(text: pd.Series[str]) -> Iterator[Kill]:
    """The kills that a log reports, in their order."""
    groups: dict[str, str] = {}
    for line in text[text.str.contains("oom-kill:|Kill(?:ed)? process", regex=True)]:
        if match := _SUMMARY.search(line):
            groups[match["pid"]] = match["group"] or ""
        elif match := _KILLED.search(line):
            size = int(match["anon"]) * 1024 if match["anon"] else -1
            group = groups.get(match["pid"], "") if match["why"].startswith("Memory cgroup") else None
            yield Kill(match["pid"], match["comm"], group, size)


def out_of_memory(memory: Evidence) -> list[Lead]:
    """Did the OOM killer run, for whom, and whom did it kill?"""
    text = memory.log["text"].fillna("")
    killed = list(kills(text))
    of_machine = [kill for kill in killed if kill.group is None]
    found = [_victim(kill, len(of_machine)) for kill in of_machine[-_MOST:]]
    invoked = [
        match
        for line in text[text.str.contains("invoked oom", regex=False)]
        if (match := _INVOKED.search(line))
    ]
    summaries = [
        match
        for line in text[text.str.contains("oom-kill:", regex=False)]
        if (match := _SUMMARY.search(line))
    ]
    if invoked and not killed:
        found.append(_asked(invoked[-1], len(invoked), summaries[-1]["group"] if summaries else None))
    found += _cgroups(memory, [kill for kill in killed if kill.group is not None])
    # After a cgroup's own lack of memory nobody else is next.
    if of_machine or (invoked and not killed and not (summaries and summaries[-1]["group"])):
        found += _next_victim(memory)
    return found


def _victim(kill: Kill, count: int) -> Lead:
    had = f" It had {human_bytes(kill.bytes)} of anonymous memory." if kill.bytes >= 0 else ""
    return Lead(
        "OOM victim",
        say_thread(show_controls(kill.comm), kill.pid),
        f"Out of memory: the kernel killed it (it killed {times(count)} in the log).{had}",
        _LOG_CELL,
        3.0,
        kill.bytes,
    )


def _asked(last: re.Match[str], count: int, group: str | None) -> Lead:
    where = f" in the cgroup {show_short(group)}" if group else ""
    return Lead(
        "OOM",
        show_controls(last["comm"]),
        f"It asked for 2^{last['order']} pages ({last['mask']}){where} when the OOM killer was called "
        f"({times(count)} in the log); no kill was logged.",
        'dump.log[dump.log.text.str.contains("oom", na=False)]',
        2.5,
    )


def _cgroups(memory: Evidence, killed: list[Kill]) -> list[Lead]:
    """Cgroups that reached their limit and lost processes for it: those of the log, and those that only the kernel's
    own counters tell of."""
    by_group: dict[str, list[Kill]] = {}
    for kill in killed:
        # The latest last.
        by_group[kill.group or ""] = [*by_group.pop(kill.group or "", []), kill]
    every, counted = _events(memory)
    meant = {str(row["path"]): row for row in every}
    untold: list[tuple[str, dict[str, Any] | None, list[Kill]]] = [
        (path, row, [])
        for row in every
        if (path := str(row["path"])) not in by_group
        and (row is meant[path] or not row["dying"])
        and counted
        and size_of(row["oom_kill_local"])
    ]
    told = [(path, meant.get(path), victims) for path, victims in by_group.items()]
    found = []
    for path, row, victims in [*untold, *told][-_MOST:]:
        limit = size_of(row["limit_bytes"]) if row is not None else 0
        parts = [f"It reached its limit{f' of {human_bytes(limit)}' if limit else ''}"]
        if victims:
            last = victims[-1]
            had = f", which had {human_bytes(last.bytes)} of anonymous memory" if last.bytes >= 0 else ""
            parts.append(
                f", and the kernel killed {say_thread(show_controls(last.comm), last.pid)}{had} "
                f"({times(len(victims))} in the log)"
            )
        if row is not None and counted:
            parts.append(
                f"; by its own count it killed {times(size_of(row['oom_kill_local']))} and hit the limit "
                f"{times(size_of(row['max_local']))}"
            )
        elif path and row is None:
            parts.append("; the cgroup was removed since")
        found.append(
            Lead(
                "cgroup out of memory",
                show_short(path) or "a cgroup",
                f"{''.join(parts)}.",
                f"dump.memory_by_cgroup[dump.memory_by_cgroup.path == {path!r}]"
                if row is not None
                else _LOG_CELL,
                2.0,
                victims[-1].bytes if victims else -1,
            )
        )
    return found


def _events(memory: Evidence) -> tuple[list[dict[str, Any]], bool]:
    """The rows of memory_by_cgroup that have a path, and whether they count events; none where there are no cgroups."""
    try:
        table = memory.cgroups
    except KernlabError:  # CONFIG_MEMCG=n
        return [], False
    # A new cgroup may have the name of one that was removed: the one in use comes last.
    known = table[table["path"].notna()].sort_values("dying", kind="stable", ascending=False)
    known = known.assign(**{f"{name}_local": own_events(known, name) for name in ("max", "oom_kill")})
    rows = [dict(zip(map(str, known), values, strict=True)) for values in known.itertuples(index=False)]
    return rows, bool(known["oom_kill_local"].notna().any())


def own_events(table: pd.DataFrame, name: str) -> pd.Series[int]:
    """How often something befell each cgroup itself: "max", "oom_kill".

    Linux commit 1e577f970f66 ("mm, memcg: introduce memory.events.local") (in v5.2) counted those below apart; before,
    each counted its own only. Missing where a kernel counts none.
    """
    for column in (f"{name}_local", name):
        if column in table:
            return table[column]
    return pd.Series(pd.array([None] * len(table), dtype="Int64"), table.index)


def _next_victim(memory: Evidence) -> list[Lead]:
    """Who the OOM killer would take next (mm/oom_kill.c, oom_badness)."""
    table = memory.processes
    parts = [table[f"{part}_bytes"].astype("float64") for part in ("rss", "swap", "page_tables")]
    badness = (parts[0] + parts[1] + parts[2]).fillna(0.0) // memory.kernel.page_size
    score = table["oom_score_adj"].astype("float64").fillna(0.0)
    points = badness + score * (memory.managed // memory.kernel.page_size // 1000)
    # One that must never be killed has -1000 (OOM_SCORE_ADJ_MIN).
    points = points.where(score > -1000, -1.0)
    if not len(points):
        return []
    row = table.iloc[int(points.to_numpy().argmax())]
    size = size_of(row["rss_bytes"])
    return [
        Lead(
            "OOM score",
            say_thread(show_short(str(row["comm"])), row["pid"]),
            f"Of the processes left it has the highest OOM badness, with oom_score_adj {row['oom_score_adj']} and "
            f"{human_bytes(size)} resident.",
            "dump.memory_by_process.head()",
            memory.share(size),
            size,
        )
    ]
