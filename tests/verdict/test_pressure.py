"""Pressure of the last minutes, and leaks where the machine did not run out: on machines that are well, none."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from verdict.cases import found_by, made_case, made_table

from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules import pressure
from kernlab.verdict.rules.leaks import unmistakable_leak
from kernlab.verdict.rules.pressure import under_pressure

MIB, GIB = 1 << 20, 1 << 30
OOM = Finding("slab leak", "till_job", 0.9, (), "dump.slabs", explains=frozenset({"OOM"}))
STUCK = Finding("stuck I/O", "sda", 0.9, (), "dump.inflight")
SYSRQ = "[  100.000000] [    T812] sysrq: Trigger a crash\n"
ENDED = """\
[  100.000000] [     T77] till invoked oom-killer: gfp_mask=0x140dca(GFP_KERNEL), order=0, oom_score_adj=0
[  100.000100] [     T77] Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled
"""


def case_of(*averages: tuple[str, float, float, float], log: str = SYSRQ, **more: Any) -> Case:
    """A machine with pressure: (resource, avg10, avg60, avg300) of all tasks at once."""
    rows = [
        {"path": "/", "resource": name, "kind": "full", "avg10": ten, "avg60": sixty, "avg300": long}
        for name, ten, sixty, long in averages
    ]
    rows.append(
        {"path": "/shop", "resource": "memory", "kind": "full", "avg10": 99, "avg60": 99, "avg300": 99}
    )
    rows.append({"path": "/", "resource": "memory", "kind": "some", "avg10": 99, "avg60": 99, "avg300": 99})
    return made_case(log, pressure=rows, **more)


@pytest.fixture(autouse=True)
def swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made kernel has no symbols."""
    monkeypatch.setattr(pressure, "has_swap", lambda kernel: hasattr(kernel, "losses"))


@pytest.mark.parametrize(
    ("averages", "finding"),
    [
        (("memory", 30, 12, 4), "memory pressure"),
        (("memory", 0, 0, 20), "memory pressure"),
        (("memory", 24, 24, 12), None),
        (("io", 60, 30, 8), "I/O pressure"),
        (("io", 70, 20, 5), None),
        (("cpu", 99, 99, 99), None),
    ],
)
def test_what_all_waited_for(averages: tuple[str, float, float, float], finding: str | None) -> None:
    found = under_pressure(case_of(averages), [])
    assert [each.finding for each in found] == ([] if finding is None else [finding])
    assert all(each.evidence[0].rows == (0,) and not each.explains for each in found)


def test_what_may_be_so_on_a_machine_that_is_well_is_a_hint() -> None:
    """A backup waits for its disk all the time; a cgroup at its limit makes tasks wait while memory is free."""

    def confidence(resource: str, available: int) -> float:
        counted = pd.Series({"MemTotal": GIB, "MemAvailable": available}, dtype=object)
        (found,) = under_pressure(case_of((resource, 90, 90, 90), meminfo=counted), [])
        assert bool(found.against) == (found.confidence < 0.5)
        return found.confidence

    assert confidence("io", 10 * MIB) < 0.5
    assert confidence("memory", 600 * MIB) < 0.5
    assert confidence("memory", 100 * MIB) == 0.9


def test_pressure_bears_out_who_took_the_memory() -> None:
    """It is no finding of its own then, and makes nothing surer than the tables do."""
    swap = [{"size_bytes": 64 * MIB, "used_bytes": 64 * MIB}]
    (found,) = under_pressure(case_of(("memory", 30, 12, 4), log=ENDED, swap=swap), [OOM])
    assert [each.table for each in found.evidence] == ["pressure", "swap"]
    assert found.confidence == OOM.confidence
    half = [{"size_bytes": 64 * MIB, "used_bytes": 32 * MIB}]
    assert under_pressure(case_of(log=ENDED, swap=half), [OOM]) == [OOM]


def test_what_did_not_take_the_memory_is_not_borne_out_by_its_want() -> None:
    """Neither what else is wrong, nor a hint."""
    case = case_of(("memory", 90, 90, 90), log=ENDED)
    hint = dataclasses.replace(OOM, confidence=0.45)
    assert under_pressure(case, [STUCK, hint]) == [STUCK, hint]
    (borne_out,) = under_pressure(case, [OOM])
    assert len(borne_out.evidence) == 1


def test_a_stuck_disk_says_more_than_its_slowness() -> None:
    assert under_pressure(case_of(("io", 90, 90, 90)), [STUCK]) == [STUCK]


def test_a_log_alone_has_no_pressure() -> None:
    assert under_pressure(Case(None, ENDED), [OOM]) == [OOM]


def leaking(
    available: int,
    *,
    slab: int = 0,
    caches: tuple[tuple[str, int], ...] = (),
    log: str = SYSRQ,
    felt: float = 20,
) -> Case:
    """A machine of 1 GiB."""
    counted = pd.Series({"MemTotal": GIB, "MemAvailable": available, "SUnreclaim": slab}, dtype=object)
    slabs = [
        {"name": name, "bytes": size, "used_bytes": size, "active": 9, "flags": "", "address": place}
        for place, (name, size) in enumerate(caches, 4096)
    ]
    memory = SimpleNamespace(slabs=made_table("slabs", slabs), managed=GIB, share=lambda size: size / GIB)
    waited = {"path": "/", "resource": "memory", "kind": "some", "avg10": 9, "avg60": felt, "avg300": 1}
    return made_case(log, meminfo=counted, memory=memory, pressure=[waited])


def test_a_leak_is_told_where_it_is_unmistakable() -> None:
    case = leaking(100 * MIB, slab=700 * MIB, caches=(("till_job", 690 * MIB), ("cred", MIB)))
    (found,) = found_by(case, unmistakable_leak)
    assert (found.finding, found.subject, found.confidence) == ("memory leak", "till_job", 0.75)
    assert found.explains == frozenset()
    assert "The machine did not run out of memory." in found.against
    assert "100.0 MiB of 1.0 GiB are left for all else, 9.8%" in [each.says for each in found.evidence]


def test_a_cache_that_gives_back_in_time_is_no_leak() -> None:
    """As that of ZFS, which no counter of what is available knows: nobody had to wait for memory."""
    case = leaking(100 * MIB, slab=700 * MIB, caches=(("zio_buf", 690 * MIB),), felt=0.5)
    (found,) = found_by(case, unmistakable_leak)
    assert found.confidence < 0.5
    assert "Nothing had to wait for memory" in found.against[-1]


KILLED = """\
[   50.0] indexer invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[   50.1] {what}ut of memory: Killed process 99 (indexer) total-vm:9kB, anon-rss:8kB, file-rss:0kB, shmem-rss:0kB
"""


@pytest.mark.parametrize(("what", "felt"), [("O", True), ("Memory cgroup o", False)])
def test_a_kill_in_a_cgroup_is_no_lack_of_the_machine(what: str, felt: bool) -> None:
    """Only what the OOM killer did for the machine shows that somebody needed the memory."""
    log = KILLED.format(what=what) + SYSRQ
    case = leaking(100 * MIB, slab=700 * MIB, caches=(("till_job", 690 * MIB),), felt=0, log=log)
    (found,) = found_by(case, unmistakable_leak)
    assert (found.confidence > 0.5) == felt


def test_page_tables_of_many_processes_are_no_leak() -> None:
    """They are what they are, and not more."""
    counted = pd.Series({"MemTotal": GIB, "MemAvailable": 10 * MIB, "PageTables": 600 * MIB}, dtype=object)
    memory = SimpleNamespace(
        slabs=made_table("slabs"), kind=lambda *_: 600 * MIB, share=lambda size: size / GIB
    )
    found = found_by(made_case(SYSRQ, meminfo=counted, memory=memory), unmistakable_leak)
    assert [each.finding for each in found] == ["page tables"]


@pytest.mark.parametrize(
    "case",
    [
        leaking(400 * MIB, slab=550 * MIB, caches=(("till_job", 540 * MIB),)),
        leaking(100 * MIB, slab=400 * MIB, caches=(("till_job", 390 * MIB),)),
        leaking(100 * MIB, slab=700 * MIB, caches=(("till_job", 350 * MIB), ("bank_job", 350 * MIB))),
        leaking(100 * MIB, slab=700 * MIB, caches=(("till_job", 690 * MIB),), log=ENDED),
    ],
    ids=["enough is left", "less than half", "several", "the machine ran out"],
)
def test_what_is_no_unmistakable_leak(case: Case) -> None:
    assert found_by(case, unmistakable_leak) == []


@pytest.mark.parametrize("name", ["debian-6.1", "deadlock", "io"])
def test_samples_are_well(sample: Any, name: str) -> None:
    assert found_by(sample(name), unmistakable_leak) == []
    assert under_pressure(sample(name), []) == []


@pytest.mark.in_turn
def test_whole_dumps_are_well(dump: Any) -> None:
    case = Case(dump.kernel)
    assert found_by(case, unmistakable_leak) == []
    assert under_pressure(case, []) == []
