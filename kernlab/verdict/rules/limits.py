"""Memory that the machine had and that could not be had: a cgroup's limit, or a zone or a node that was full."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import few, human_bytes
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.oom_report import Task, Zone
from kernlab.verdict.oom_shortage import Shortage, shortage
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, lines_cell, pid_of

# mm/memcontrol.c, mem_cgroup_print_oom_meminfo.
_USAGE = re.compile(r"memory: usage (?P<usage>\d+)kB, limit (?P<limit>\d+)kB")
#: A limit that is none (PAGE_COUNTER_MAX of 64 bits, in kB).
_NO_LIMIT_KB = 1 << 52


@rule
def cgroup_out_of_memory(case: Case) -> Iterator[Finding]:
    """An OOM report with a cgroup's own numbers is that cgroup's limit, not the machine's memory."""
    report, oom = case.end.report, case.oom
    if report is None or oom is None:
        return
    lines, path = case.told(report), oom.group
    if not path:
        return
    label = (label_of(case, report),)
    used = next((found for line in lines if (found := _USAGE.match(line))), None)
    said = f"{show_short(path)} reached its limit"
    if used and int(used["limit"]) < _NO_LIMIT_KB:
        said += (
            f": {human_bytes(int(used['usage']) << 10)} of {human_bytes(int(used['limit']) << 10)} are in use"
        )
    evidence = [Evidence("log", said, label)]
    # The report of a cgroup lists its own processes only; who asked last is chance.
    largest = max(oom.tasks, key=_size, default=None)
    pid = None
    if largest is not None and _size(largest) > 0:
        pid = largest.pid
        said = f"{say_thread(largest.comm, pid)} has most of it, {human_bytes(_size(largest))}"
        evidence.append(Evidence("log", show_controls(said), label))
    yield Finding(
        "memory cgroup out of memory",
        show_short(path),
        0.97,
        tuple(evidence),
        _cell(case, path, report),
        pid=pid,
        explains=frozenset({"OOM"}),
        since=case.before_end(report["timestamp"]),
    )


def _size(task: Task) -> int:
    return max(task.resident, 0) + task.swapped


def _cell(case: Case, path: str, report: pd.Series[Any]) -> str:
    """What shows the cgroup, where it still is; else the report."""
    if case.has_dump:
        try:
            if (case.memory.cgroups["path"] == path).any():
                return f"dump.memory_by_cgroup[dump.memory_by_cgroup.path == {path!r}]"
        except KernlabError:  # CONFIG_MEMCG=n
            pass
    return lines_cell(report)


@rule
def part_out_of_memory(case: Case) -> Iterator[Finding]:
    """Where only some zones or nodes might be used and others had memory left, those were full, not the machine."""
    report, oom = case.end.report, case.oom
    if report is None or oom is None:
        return
    lack = shortage(oom)
    if lack.kind not in ("zone", "node"):
        return
    label = (label_of(case, report),)
    evidence = [
        Evidence("log", f"{few([_free(zone) for zone in lack.zones], 4, between='; ')}: not enough", label),
        Evidence("log", f"{few([_free(zone) for zone in lack.others], 4, between='; ')}: enough", label),
        Evidence("log", show_controls(_why(lack, oom.flags, oom.cpuset, oom.mems, oom.nodes)), label),
    ]
    if case.has_dump and lack.kind == "node":
        evidence += _on_nodes(case, {zone.node for zone in lack.zones})
    against = () if lack.sure else ("The report does not say that other nodes were forbidden.",)
    yield Finding(
        "zone out of memory",
        show_controls(lack.subject),
        0.93 if lack.sure else 0.8,
        tuple(evidence),
        "dump.zones[['node', 'zone', 'free', 'min', 'low', 'high', 'managed']]",
        pid=pid_of(report),
        against=against,
        explains=frozenset({"OOM"}),
        since=case.before_end(report["timestamp"]),
    )


def _free(zone: Zone) -> str:
    return (
        f"zone {zone.name} of node {zone.node} had {human_bytes(zone.free)} free (min {human_bytes(zone.marks[0])}, "
        f"high {human_bytes(zone.marks[2])})"
    )


def _why(lack: Shortage, flags: frozenset[str], cpuset: str, mems: str, nodes: str) -> str:
    if lack.kind == "zone":
        asked = sorted(flag for flag in flags if "DMA" in flag)
        return f"only {lack.subject} or a lower one would do ({', '.join(asked)})"
    parts = []
    if mems:
        parts.append(f"the cpuset {cpuset or '/'} allows nodes {mems}")
    if nodes:
        parts.append(f"the memory policy allows nodes {nodes}")
    return " and ".join(parts) or "memory of other nodes was not taken"


def _on_nodes(case: Case, nodes: set[int]) -> Iterator[Evidence]:
    """What the memory of some nodes is used for."""
    table = case.kinds
    own = table[table["node"].isin(nodes) & ~table["kind"].isin(["free", "reserved"])]
    size = own["bytes"].astype("float64").fillna(0.0)
    order = [row for row in size.sort_values(ascending=False).index[:3] if size[row] > 0]
    if order:
        parts = [f"{human_bytes(int(size[row]))} {own['kind'][row]}" for row in order]
        yield Evidence(
            "memory", f"what is there is used for: {', '.join(parts)}", tuple(int(row) for row in order)
        )
