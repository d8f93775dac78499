"""Memory that ran out: who took it. An OOM panic is the consequence; who holds the memory is the cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.page.classifier import Kind
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_bytes, percent
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule

#: Whoever holds less than this part of memory did not use it up.
_LEAST = 0.1
#: Who holds at least this part of what the largest holds is told beside it.
_BESIDE = 0.25
_MOST = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """Somebody that holds memory which the kernel cannot take back."""

    finding: str
    subject: str
    bytes: int
    evidence: Evidence
    cell: str
    pid: int | None = None
    against: tuple[str, ...] = ()


@rule
def took_the_memory(case: Case) -> Iterator[Finding]:
    """Where memory ran out, whoever holds by far the most of what cannot be taken back used it up."""
    if case.end.kind != "OOM" or _of_a_cgroup(case):
        return
    held = sorted(_holders(case), key=lambda holder: -holder.bytes)[:_MOST]
    if not held:
        return
    largest = held[0].bytes
    for place, each in enumerate(held):
        share = case.memory.share(each.bytes)
        if share < _LEAST or each.bytes < _BESIDE * largest:
            continue
        others = max((one.bytes for one in held if one is not each), default=0)
        # Alone it is certain; beside one that holds as much it is one of two.
        confidence = (
            0.97 * each.bytes / (each.bytes + others * 0.5) if place == 0 else 0.6 * each.bytes / largest
        )
        against = list(each.against)
        if others > 0.5 * each.bytes:
            rival = next(one for one in held if one is not each)
            against.append(
                f"{rival.subject} holds {human_bytes(rival.bytes)}, which is {_beside(rival, each)}."
            )
        yield Finding(
            each.finding,
            each.subject,
            confidence,
            (each.evidence,),
            each.cell,
            pid=each.pid,
            against=tuple(against),
            explains=frozenset({"OOM"}),
        )


def _beside(rival: Holder, each: Holder) -> str:
    return "more" if rival.bytes > each.bytes else "nearly as much"


def _of_a_cgroup(case: Case) -> bool:
    """Was it a cgroup's limit that was reached, and not the machine's memory?"""
    report = case.end.report
    if report is None:
        return False
    lines = case.log["text"].iloc[int(report["offset"]) : int(report["end"])].fillna("")
    return bool(lines.str.contains("CONSTRAINT_MEMCG|Memory cgroup out of memory", regex=True).any())


def _holders(case: Case) -> Iterator[Holder]:
    yield from _processes(case)
    yield from _slabs(case)
    yield from _files(case)
    yield from _kinds(case)


def _processes(case: Case) -> Iterator[Holder]:
    table = case.memory.processes
    held = (table["anon_bytes"].astype("float64") + table["swap_bytes"].astype("float64")).fillna(0.0)
    for row in held.nlargest(_MOST).index:
        pid, size = int(table["pid"][row]), int(held[row])
        name = show_controls(say_thread(str(table["comm"][row]), pid))
        said = (
            f"{name} holds {human_bytes(size)} of anonymous memory, {percent(case.memory.share(size))} of all"
        )
        yield Holder(
            "process took the memory",
            name,
            size,
            Evidence("memory_by_process", said, (int(row),)),
            f"dump.memory_by_process[dump.memory_by_process.pid == {pid}]",
            pid,
        )


def _slabs(case: Case) -> Iterator[Holder]:
    table = case.memory.slabs
    shrinks = table["flags"].str.contains("SLAB_RECLAIM_ACCOUNT", na=False)
    size = table["bytes"].astype("float64").fillna(0.0).where(~shrinks, 0.0)
    for row in size.nlargest(_MOST).index:
        name, held = str(table["name"][row]), int(size[row])
        used = table["active"][row]
        parts = [
            f"the slab cache {name} holds {human_bytes(held)}, {percent(case.memory.share(held))} of memory"
        ]
        if used is not pd.NA:
            parts.append(f"{int(used):,} objects of it are in use")
        yield Holder(
            "slab leak",
            show_short(name),
            held,
            Evidence("slabs", show_controls("; ".join(parts)), (int(row),)),
            f"dump.slab_objects({name!r})",
        )


def _files(case: Case) -> Iterator[Holder]:
    table = case.memory.files
    if not len(table):
        return
    kept = table[table["kind"] == "shmem"]
    for row in kept["bytes"].astype("float64").nlargest(_MOST).index:
        held, path = int(kept["bytes"][row]), show_short(str(kept["path"][row]))
        said = f"{path} in {kept['fs'][row]} holds {human_bytes(held)}, which only swap or its deletion frees"
        yield Holder(
            "file in memory",
            path,
            held,
            Evidence("memory_by_file", said, (int(row),)),
            f"dump.memory_by_file.loc[[{row}]]",
        )


_KINDS = (
    ("page tables", (Kind.PAGE_TABLE,), "page tables", 'dump.memory_by_process.nlargest(10, "page_tables_bytes")'),
    ("vmalloc leak", (Kind.VMALLOC, Kind.VMAP), "vmalloc", 'dump.vmalloc.groupby("caller").pages.sum().nlargest(10)'),
    ("per-CPU memory", (Kind.PERCPU,), "per-CPU memory", 'dump.pages[dump.pages.kind == "percpu"]'),
    ("kernel stacks", (Kind.KERNEL_STACK,), "kernel stacks", "dump.tasks.comm.value_counts()"),
    ("network buffers", (Kind.NETWORK,), "network buffers", 'dump.pages[dump.pages.kind == "network"]'),
    ("large kmalloc", (Kind.LARGE_KMALLOC,), "large kmalloc", 'dump.pages[dump.pages.kind == "large kmalloc"]'),
    ("kernel memory leak", (Kind.OTHER,), "pages of the kernel that nobody accounts for",
     'dump.pages[dump.pages.kind == "other kernel"]'),
)  # fmt: skip


def _kinds(case: Case) -> Iterator[Holder]:
    for finding, kinds, subject, cell in _KINDS:
        size = case.memory.kind(*kinds)
        said = f"{subject} take {human_bytes(size)}, {percent(case.memory.share(size))} of memory"
        yield Holder(finding, subject, size, Evidence("memory", said), cell)
