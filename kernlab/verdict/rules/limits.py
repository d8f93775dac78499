"""Memory that was there and could not be had: a cgroup's limit, and blocks of pages that nobody could make."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_bytes
from kernlab.verdict.case import TRAPS, Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule

# mm/memcontrol.c, mem_cgroup_print_oom_meminfo; mm/oom_kill.c, dump_oom_summary and __oom_kill_process.
_STATS = re.compile(r"Memory cgroup stats for (?P<path>/.*?):$|.*,oom_memcg=(?P<summary>/[^,]*)")
_USAGE = re.compile(r"memory: usage (?P<usage>\d+)kB, limit (?P<limit>\d+)kB")
_KILLED = re.compile(r"Memory cgroup out of memory: Kill(?:ed)? process (?P<pid>\d+) \((?P<comm>.*?)\)")
#: mm/page_alloc.c, warn_alloc.
_FAILED = re.compile(r"(?P<comm>.*?): page allocation failure: order:(?P<order>\d+), mode:(?P<mode>\S+)")
#: Whoever got no memory dies of it within so many lines and seconds.
_SOON_LINES, _SOON_SECONDS = 200, 5.0


@rule
def cgroup_out_of_memory(case: Case) -> Iterator[Finding]:
    """An OOM report with a cgroup's own numbers is that cgroup's limit, not the machine's memory."""
    reports = case.reports[case.reports["kind"] == "OOM"]
    for _, report in reports.iterrows():
        lines = case.log["text"].iloc[int(report["offset"]) : int(report["end"])].fillna("")
        stats = next((found for line in lines if (found := _STATS.match(line))), None)
        if stats is None:
            continue
        path = stats["path"] or stats["summary"]
        used = next((found for line in lines if (found := _USAGE.match(line))), None)
        killed = next((found for line in lines if (found := _KILLED.match(line))), None)
        said = f"{show_short(path)} reached its limit"
        if used:
            said += f": {human_bytes(int(used['usage']) << 10)} of {human_bytes(int(used['limit']) << 10)} are in use"
        evidence = [Evidence("log", said, (int(lines.index[0]),))]
        pid = None if pd.isna(report["pid"]) else int(report["pid"])
        if killed:
            pid = int(killed["pid"])
            said = f"{say_thread(killed['comm'], pid)} was killed for it"
            evidence.append(Evidence("log", show_controls(said), (int(lines.index[0]),)))
        ended = case.end.report is not None and int(case.end.report["offset"]) == int(report["offset"])
        yield Finding(
            "memory cgroup out of memory",
            show_short(path),
            0.96,
            tuple(evidence),
            f"dump.memory_by_cgroup[dump.memory_by_cgroup.path == {path!r}]",
            pid=pid,
            explains=frozenset({"OOM"}) if ended else frozenset(),
            since=case.before_end(report["timestamp"]),
        )


@rule
def no_block_of_pages(case: Case) -> Iterator[Finding]:
    """Where pages are free, but no block is as large as one that was asked for, memory is in pieces."""
    text = case.log["text"].fillna("")
    failed = [
        (int(place), found)
        for place in text.index[text.str.contains("page allocation failure: order:", regex=False)]
        if (found := _FAILED.match(text[place])) and int(found["order"]) > 0
    ]
    if not failed:
        return
    place, found = failed[-1]
    order = int(found["order"])
    size = case.kernel.page_size << order
    zones = []
    for name, free, marks, _ in case.memory.zones():
        total, large = int(free.sum()), int(free[order:].sum())
        if total > marks[0] and large == 0:
            zones.append(
                f"zone {name} has {human_bytes(total * case.kernel.page_size)} free, none of it in such blocks"
            )
    comm = show_controls(found["comm"])
    evidence = [
        Evidence(
            "log",
            f"{comm} asked for 2^{order} pages ({human_bytes(size)}) in one block and got none",
            (place,),
        )
    ]
    if zones:
        evidence.append(Evidence("zones", "; ".join(zones)))
    end = case.end
    soon = (
        end.report is not None
        and 0 <= int(end.report["offset"]) - int(case.log.index.searchsorted(place)) <= _SOON_LINES
    )
    same = end.report is not None and str(end.report["comm"]) == found["comm"]
    since = case.before_end(case.log.loc[place, "timestamp"])
    soon = soon and (since is None or since <= _SOON_SECONDS)
    yield Finding(
        "fragmentation",
        comm,
        0.9 if zones and soon and same else 0.7 if zones else 0.45,
        tuple(evidence),
        "dump.plot.physical()",
        pid=int(end.report["pid"])
        if end.report is not None and same and not pd.isna(end.report["pid"])
        else None,
        module=_own(case, "module") if same and soon else None,
        function=_own(case, "function") if same and soon else None,
        against=() if zones else ("When the machine died, blocks of that size were free.",),
        explains=TRAPS | {"panic"} if soon and same else frozenset(),
        since=since,
    )


def _own(case: Case, column: str) -> str | None:
    report = case.end.report
    return None if report is None or pd.isna(report[column]) else str(report[column])
