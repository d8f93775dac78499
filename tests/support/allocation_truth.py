"""Who allocated what, as a guest told it: slab_traces/, slab_calls/, kfence/objects, page_owner and allocinfo in.

Shares no code with kernlab.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pandas as pd
from support.truth import Truth

#: "  61 copy_process+0x1c0/0x2740 waste=… age=13856/14620/14794 pid=2-7 cpus=0-1".
_GROUP = re.compile(r" *(\d+) (\S+(?: \[\w+\])?)(?: waste=\S+)?(?: age=(\S+))?(?: pid=(\S+))?.*")
_OBJECT = re.compile(r"kfence-#(\d+): 0x([0-9a-f]+)-0x([0-9a-f]+), size=(\d+), cache=(.*)")
_DONE = re.compile(r"(allocated|freed|rcu freeing) by task (\d+) on cpu (\d+) at (\d+)\.(\d+)s .*")


@dataclass
class Group:
    """Objects of a cache that were allocated (or freed) by one function with one stack."""

    count: int
    caller: str
    frames: list[str]
    pids: tuple[int, int]


def groups(truth: Truth, which: str) -> dict[str, list[Group]]:
    """By cache: debugfs's slab/CACHE/alloc_traces or free_traces (`which`), before 5.14 alloc_calls without frames."""
    found: dict[str, list[Group]] = {}
    for name in truth.files:
        match = re.fullmatch(rf"slab_(?:traces|calls)/(.+)/{which}_(?:traces|calls)", name)
        if match:
            found[match[1]] = list(_groups(truth.lines(name)))
    return found


def _groups(lines: list[str]) -> list[Group]:
    found: list[Group] = []
    for line in lines:
        if line.startswith("        "):
            found[-1].frames.append(line.strip())
        elif (match := _GROUP.fullmatch(line)) and match[4]:
            low, _, high = match[4].partition("-")
            found.append(Group(int(match[1]), match[2], [], (int(low), int(high or low))))
    return found


@dataclass
class Sampled:
    """One object of KFENCE's pool; done: "allocated" or "freed" → (pid, cpu, ns, frames)."""

    start: int
    size: int
    cache: str
    done: dict[str, tuple[int, int, int, list[str]]] = field(default_factory=dict)


def kfence(truth: Truth) -> dict[int, Sampled]:
    """The objects of the pool that were ever used, by number."""
    found: dict[int, Sampled] = {}
    last: Sampled | None = None
    frames: list[str] = []
    for line in truth.lines("kfence/objects"):
        if match := _OBJECT.fullmatch(line):
            last = found[int(match[1])] = Sampled(int(match[2], 16), int(match[4]), match[5])
        elif (match := _DONE.fullmatch(line)) and last is not None:
            frames = []
            when = int(match[4]) * 10**9 + int(match[5]) * 1000
            last.done[match[1]] = (int(match[2]), int(match[3]), when, frames)
        elif line.startswith(" "):
            frames.append(line.strip())
    return found


def allocinfo(truth: Truth) -> pd.DataFrame:
    """/proc/allocinfo: bytes, calls, file, line, module ('' for the kernel), function."""
    rows = []
    for line in truth.lines("allocinfo"):
        match = re.fullmatch(r" *(-?\d+) +(\d+) (\S+):(\d+)(?: \[(.*)\])? func:(\S+) *.*", line)
        if match:
            rows.append((int(match[1]), int(match[2]), match[3], int(match[4]), match[5] or "", match[6]))
    return pd.DataFrame(rows, columns=["bytes", "calls", "file", "line", "module", "function"])


_OWNER = re.compile(
    r"Page allocated via order (\d+), mask (0x[0-9a-f]+)\(.*\), pid (-?\d+), tgid (-?\d+) \((.*)\), ts (\d+) ns.*"
)


def page_owners(truth: Truth) -> pd.DataFrame:
    """/sys/kernel/debug/page_owner: pfn, order, gfp_mask, pid, tgid, comm, ts_ns, stack (frames with " < " between)."""
    rows = []
    for block in truth.text("page_owner").split("\n\n"):
        lines = block.strip("\n").split("\n")
        if len(lines) < 2 or not (match := _OWNER.fullmatch(lines[0])):
            continue
        pfn = re.match(r"PFN (0x[0-9a-f]+|\d+) ", lines[1])
        assert pfn is not None, lines[1]
        order, mask, pid, tgid, comm, when = match.groups()
        stack = [line.strip() for line in lines[2:] if line.startswith(" ")]
        numbers = (int(pfn[1], 0), int(order), int(mask, 16), int(pid), int(tgid))
        rows.append((*numbers, comm, int(when), " < ".join(stack)))
    return pd.DataFrame(rows, columns=["pfn", "order", "gfp_mask", "pid", "tgid", "comm", "ts_ns", "stack"])
