"""Memory that the machine had and somebody could not have: a cgroup's limit, a full zone or node, no block of pages."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.captures import captures, dumps_in
from verdict.cases import found_by, made_case, made_table
from verdict.oom_logs import MIB, counters, oom, zone

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.fragmentation import no_block_of_pages, out_of_blocks
from kernlab.verdict.rules.limits import cgroup_out_of_memory, part_out_of_memory
from kernlab.verdict.rules.memory import took_the_memory

ALL = (cgroup_out_of_memory, part_out_of_memory, out_of_blocks, no_block_of_pages, took_the_memory)
GROUP = ["memory: usage 16384kB, limit 16384kB, failcnt 33", "Memory cgroup stats for /shop/report:"]


def alone(log: str) -> list[Finding]:
    """What a log alone tells."""
    return found_by(Case(None, log), *ALL)


def said(finding: Finding) -> str:
    return "\n".join(each.says for each in finding.evidence)


def test_a_cgroup_at_its_limit() -> None:
    """The largest of the processes that its report lists has its memory, whoever asked."""
    (found,) = alone(
        oom("survivor", 70, tasks=[(70, "survivor", MIB), (71, "glutton", 13 * MIB)], more=GROUP)
    )
    assert (found.finding, found.subject, found.pid) == ("memory cgroup out of memory", "/shop/report", 71)
    assert found.confidence >= 0.95
    assert "16.0 MiB of 16.0 MiB are in use" in said(found)
    assert "glutton (71) has most of it, 13.0 MiB" in said(found)


def test_who_asked_last_in_a_cgroup_is_not_named() -> None:
    """Where the report lists no process, nothing tells who has the memory."""
    (found,) = alone(oom("survivor", 70, more=GROUP))
    assert found.pid is None
    assert "survivor" not in said(found)


def test_a_cgroup_without_a_limit_of_its_own() -> None:
    """memory.max is `max`: the number is none that anybody set."""
    lines = ["memory: usage 16384kB, limit 9007199254740988kB, failcnt 0", GROUP[1]]
    (found,) = alone(oom(more=lines))
    assert "in use" not in said(found)


def test_a_kill_that_was_outlived_is_not_the_end() -> None:
    log = oom(more=GROUP, end="Memory cgroup out of memory: Killed process 72 (clerk) total-vm:14000kB")
    assert alone(log + "[  200.000000] [    T900] sysrq: Trigger a crash\n") == []


def test_the_cell_shows_the_cgroup_where_it_still_is() -> None:
    for path, cell in (
        ("/shop/report", "dump.memory_by_cgroup[dump.memory_by_cgroup.path == '/shop/report']"),
        ("/other", "dump.log.iloc[0:"),
    ):
        cgroups = made_table("memory_by_cgroup", [{"path": path}])
        (found,) = found_by(
            made_case(oom(more=GROUP), memory=SimpleNamespace(cgroups=cgroups)), cgroup_out_of_memory
        )
        assert found.cell.startswith(cell)


def test_a_zone_that_was_full() -> None:
    log = oom(flags="GFP_KERNEL|__GFP_DMA32", zones=[zone("DMA32", MIB), zone("Normal", 900 * MIB)], stack=())
    (found,) = alone(log)
    assert (found.finding, found.subject) == ("zone out of memory", "zone DMA32")
    assert found.confidence >= 0.9
    assert "zone DMA32 of node 0 had 1.0 MiB free" in said(found)
    assert "GFP_DMA32" in said(found)


def test_a_node_that_was_full() -> None:
    """Which nodes were allowed is said since 5.0, unless the machine panics for it."""
    zones = [zone("Normal", MIB), zone("Normal", 800 * MIB, node=1)]
    line = "oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=0,cpuset=/,mems_allowed=0-1,global_oom,task_memcg=/"
    (found,) = alone(oom(zones=zones, more=[f"{line},task=till,pid=77,uid=0"]))
    assert (found.finding, found.subject) == ("zone out of memory", "node 0")
    assert found.confidence >= 0.9
    assert "the memory policy allows nodes 0" in said(found)
    (found,) = alone(oom(zones=zones))
    assert found.confidence == 0.8
    assert found.against == ("The report does not say that other nodes were forbidden.",)


def test_the_oom_killer_for_a_block_of_pages() -> None:
    stack = ("alloc_pages_mpol_noprof+0x1/0x2", "table_lay+0x25/0x30 [mill]", "mill_write+0x10b/0x2b0 [mill]")
    (found,) = alone(oom(order=3, zones=[zone("Normal", 300 * MIB, largest=8192)], stack=stack))
    assert (found.finding, found.subject, found.pid) == ("fragmentation", "till (77)", 77)
    assert (found.module, found.function) == ("mill", "table_lay")
    assert "8 pages in one block (32.0 KiB)" in said(found)
    assert "in blocks of 8.0 KiB at most" in said(found)


PANIC = (
    "Kernel panic - not syncing: mill: no room",
    "CPU: 0 UID: 0 PID: 171 Comm: carpenter Not tainted 6.12.9-test #1",
    "Call Trace:",
    " panic+0x6c/0x6c",
    " table_lay.cold+0xe/0x79 [mill]",
    " mill_write+0x10b/0x2b0 [mill]",
)


def failure(
    *zones: list[str],
    order: int = 4,
    flags: str = "GFP_KERNEL",
    stack: tuple[str, ...] = ("get_free_pages_noprof+0x11/0x40", "table_lay+0x25/0x30 [mill]"),
    end: tuple[str, ...] = PANIC,
    later: float = 0.0,
    caller: str = "T171",
) -> str:
    """A failed allocation of carpenter's, and what ends the machine `later` seconds after it."""
    lines = [
        f"carpenter: page allocation failure: order:{order}, mode:0xcc0({flags}), nodemask=(null),cpuset=/,"
        "mems_allowed=0",
        "CPU: 0 UID: 0 PID: 171 Comm: carpenter Not tainted 6.12.9-test #1",
        "Call Trace:",
        " warn_alloc+0x164/0x190",
        " __alloc_pages_slowpath.constprop.0+0x928/0xdc0",
        *(f" {frame}" for frame in stack),
    ]
    if zones:
        lines += [*counters(free=20), *(line for each in zones for line in each)]
    first = "".join(f"[  100.000000] [    T171] {line}\n" for line in lines)
    return first + "".join(f"[{100 + later:12.6f}] [{caller:>8}] {line}\n" for line in end)


PIECES = zone("DMA32", 106 * MIB, largest=32 << 10)


def test_who_dies_for_want_of_a_block_dies_of_fragmentation() -> None:
    (found,) = alone(failure(PIECES))
    assert (found.finding, found.pid, found.module, found.function) == (
        "fragmentation",
        171,
        "mill",
        "table_lay",
    )
    assert found.confidence >= 0.9
    assert "panic" in found.explains
    assert found.against == ()


@pytest.mark.parametrize(
    ("log", "confidence", "explains"),
    [
        # Long before the end, or another thread's.
        (failure(PIECES, later=60.0), 0.6, False),
        (
            failure(PIECES, end=(PANIC[0], PANIC[1].replace("carpenter", "clerk"), *PANIC[2:]), caller="T9"),
            0.6,
            False,
        ),
        # Of the same name, but another one.
        (
            failure(PIECES, end=(PANIC[0], PANIC[1].replace("171", "172"), *PANIC[2:]), caller="T172"),
            0.6,
            False,
        ),
        # The same thread, but the panic is of something else.
        (failure(PIECES, end=(*PANIC[:4], " clerk_write+0x1/0x2 [clerk]")), 0.45, True),
        # It died further up, in what had called who got nothing.
        (failure(PIECES, end=(*PANIC[:4], " clerk_write+0x1/0x2 [clerk]", *PANIC[4:])), 0.93, True),
        # Nothing tells in what pieces memory was.
        (failure(), 0.45, True),
    ],
)
def test_a_failed_allocation_is_no_cause_by_itself(log: str, confidence: float, explains: bool) -> None:
    (found,) = alone(log)
    assert found.confidence == confidence
    assert ("panic" in found.explains) == explains


@pytest.mark.parametrize(
    "log",
    [
        # Blocks were there.
        failure(zone("DMA32", 106 * MIB)),
        # There was too little in all.
        failure(zone("DMA32", MIB, largest=4096)),
        # One page is no block.
        failure(PIECES, order=0),
    ],
)
def test_what_is_no_fragmentation(log: str) -> None:
    assert alone(log) == []


def test_what_speaks_against_fragmentation() -> None:
    (found,) = alone(failure(PIECES, zone("Normal", 100 * MIB), flags="GFP_ATOMIC"))
    assert found.against == (
        "Another zone had such blocks.",
        "Who asked could not wait until the kernel had moved pages together.",
    )


def test_captures() -> None:
    folders = captures("memcg-panic*") + captures("order-panic*")
    if not folders:
        pytest.skip("KERNLAB_LAB_CAPTURES names no folder with captures of memcg or order")
    for folder in folders:
        with kernlab.open(dumps_in(folder)[0]) as dump:
            (found,) = found_by(Case(dump.kernel), *ALL)
            assert found.confidence >= 0.9, folder.name
            if folder.name.startswith("memcg"):
                assert found.subject == "/shop/report"
                assert len(eval(found.cell, {"dump": dump}))
            else:
                assert (found.finding, found.module, found.function) == (
                    "fragmentation",
                    "kernlab_mill",
                    "table_lay",
                )
