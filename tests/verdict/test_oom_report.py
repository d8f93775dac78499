"""What the OOM killer's report says, on all releases, and what there was too little of."""

from __future__ import annotations

import re

import pytest
from conftest import SAMPLES
from verdict.cases import found_by
from verdict.oom_logs import MIB, counters, oom, zone

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.oom_report import OomReport, read_oom_report
from kernlab.verdict.oom_shortage import shortage
from kernlab.verdict.rules.ends import last_report


def read(log: str) -> OomReport:
    """A made log's report."""
    found = Case(None, log).oom
    assert found is not None
    return found


def test_a_report_is_read_whole() -> None:
    report = read(
        oom(
            order=2,
            zones=[zone("DMA32", 8 * MIB, largest=4096), zone("Normal", MIB, node=1, cma=MIB)],
            counted={"active_anon": 1000, "free": 20},
            tasks=[(77, "till", 5 * MIB), (78, "a name with 7 blanks", MIB)],
            slabs={"kmalloc-4k": 30 * MIB, "a cache of 2 KB": MIB},
        )
    )
    assert (report.comm, report.order, report.page_size) == ("till", 2, 4096)
    assert report.flags == {"GFP_HIGHUSER_MOVABLE", "GFP_ZERO"}
    first, second = report.zones
    assert (first.node, first.name, first.free, first.blocks[4096]) == (0, "DMA32", 8 * MIB, 2048)
    assert (second.node, second.usable(False), second.usable(True)) == (1, 0, MIB)
    assert report.counted["active_anon"] == 1000
    assert [(task.pid, task.comm, task.resident) for task in report.tasks] == [
        (77, "till", 5 * MIB),
        (78, "a name with 7 blanks", MIB),
    ]
    assert report.slabs == {"kmalloc-4k": 30 * MIB, "a cache of 2 KB": MIB}


OLD = """\
httpd invoked oom-killer: gfp_mask=0x14000c0(GFP_KERNEL), nodemask=(null),  order=0, oom_score_adj=0
httpd cpuset=/batch mems_allowed=0-1
Task in /shop/web killed as a result of limit of /shop
memory: usage 65536kB, limit 65536kB, failcnt 12
Memory cgroup stats for /shop: cache:0KB rss:0KB
[ pid ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[  701]     0   701     1000      900    45056       10             0 httpd
Memory cgroup out of memory: Kill process 701 (httpd) score 900 or sacrifice child
"""


def test_releases_before_5_0() -> None:
    """The nodes stood in the first line, the cgroup in one of its own, and of a task all that is resident."""
    report = read_oom_report(OLD.splitlines())
    assert report is not None
    assert (report.cpuset, report.mems, report.group) == ("/batch", "0-1", "/shop")
    (task,) = report.tasks
    assert (task.resident, task.swapped, task.anonymous) == (900 * 4096, 10 * 4096, False)


def test_the_summary_of_5_0() -> None:
    said = (
        "oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0-1,global_oom,task_memcg=/x,"
        "task=till,pid=77,uid=0"
    )
    report = read(oom(more=[said]))
    assert (report.constraint, report.nodes, report.cpuset, report.mems, report.group) == (
        "CONSTRAINT_MEMORY_POLICY",
        "1",
        "/",
        "0-1",
        "",
    )


def test_no_report() -> None:
    assert read_oom_report(["Mem-Info:", *counters(free=7)]) is None


@pytest.mark.parametrize(
    ("log", "kind", "subject"),
    [
        (oom(zones=[zone("DMA32", 2 * MIB), zone("Normal", 3 * MIB)]), "memory", "memory"),
        # All that is free is kept for who may use nothing else.
        (oom(zones=[zone("DMA", 15 * MIB, reserve=5000), zone("Normal", 3 * MIB)]), "memory", "memory"),
        (
            oom(flags="GFP_KERNEL|__GFP_DMA32", zones=[zone("DMA32", MIB), zone("Normal", 900 * MIB)]),
            "zone",
            "zone DMA32",
        ),
        # What is free above is too little to tell.
        (oom(flags="GFP_DMA32", zones=[zone("DMA32", MIB), zone("Normal", 6 * MIB)]), "memory", "memory"),
        (
            oom(
                zones=[zone("Normal", MIB), zone("Normal", 800 * MIB, node=1)],
                more=[
                    "oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=/till,mems_allowed=0,global_oom,"
                    "task_memcg=/,task=till,pid=77,uid=0"
                ],
            ),
            "node",
            "node 0 (the cpuset /till)",
        ),
        (oom(zones=[zone("Normal", MIB), zone("Normal", 800 * MIB, node=1)]), "node", "node 0"),
        (oom(order=3, zones=[zone("Normal", 300 * MIB, largest=8192)]), "blocks", "blocks of 32.0 KiB"),
        (oom(order=3, zones=[zone("Normal", 3 * MIB, largest=8192)]), "memory", "memory"),
        # Only what can be moved may lie there.
        (
            oom(flags="GFP_KERNEL", zones=[zone("Normal", 300 * MIB, cma=299 * MIB)]),
            "memory",
            "memory",
        ),
        (
            oom(
                more=[
                    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/shop,"
                    "task_memcg=/shop/web,task=till,pid=77,uid=0"
                ]
            ),
            "cgroup",
            "/shop",
        ),
    ],
)
def test_what_there_was_too_little_of(log: str, kind: str, subject: str) -> None:
    found = shortage(read(log))
    assert (found.kind, found.subject) == (kind, subject)


@pytest.mark.parametrize(
    ("log", "subject", "pieces"),
    [
        (oom(zones=[zone("Normal", MIB)]), "memory", None),
        (
            oom(flags="GFP_DMA32", zones=[zone("DMA32", MIB), zone("Normal", 900 * MIB)]),
            "memory of zone DMA32",
            None,
        ),
        (
            oom(order=3, zones=[zone("Normal", 300 * MIB, largest=8192)]),
            "memory in blocks of 32.0 KiB",
            "32.0 KiB",
        ),
        (oom(order=3, zones=[zone("Normal", 3 * MIB)]), "memory", "32.0 KiB"),
        # By its numbers no node was short for sure.
        (oom(zones=[zone("Normal", MIB), zone("Normal", 800 * MIB, node=1)]), "memory", None),
    ],
)
def test_the_end_says_what_memory_ran_out(log: str, subject: str, pieces: str | None) -> None:
    (end,) = found_by(Case(None, log), last_report)
    assert (end.finding, end.subject, end.pid, end.function) == ("OOM", subject, None, None)
    told = [each.says for each in end.evidence if each.says.endswith("asked for in one piece")]
    assert told == ([f"{pieces} were asked for in one piece"] if pieces else [])


def test_a_report_by_whose_numbers_memory_was_free_is_doubted() -> None:
    assert not shortage(read(oom(zones=[zone("Normal", 500 * MIB)]))).sure
    assert shortage(read(oom(zones=[zone("Normal", MIB)]))).sure


@pytest.mark.parametrize(("name", "comm"), [("oom", "reporting"), ("flight", "billing")])
def test_reports_of_samples(name: str, comm: str) -> None:
    """Each sample's list names the process that took the memory, and its machine as a whole ran out."""
    text = (SAMPLES / name / "vmcore-dmesg.txt").read_text()
    case = Case(None, text)
    report = case.oom
    assert report is not None
    assert max(report.tasks, key=lambda task: task.resident + task.swapped).comm == comm
    found = shortage(report)
    assert (found.kind, found.sure) == ("memory", True)
    assert report.counted["slab_unreclaimable"] > 10_000  # what the driver leaked
    last = text[text.rindex("invoked oom-killer") :]
    assert len(report.tasks) == len(re.findall(r"\] \[ +\d+\] ", last)) > 5


def test_a_report_has_ends_that_lines_of_others_do_not_move() -> None:
    """What another thread prints in between is not its own."""
    own = oom(tasks=[(77, "till", MIB)]).splitlines()
    place = next(number for number, line in enumerate(own) if "Tasks state" in line)
    other = "[  100.000000] [    T900] [    900]     0   900      100      100      100        0         0    45056"
    own.insert(place + 2, f"{other}        0             0 stranger")
    assert [task.comm for task in read("\n".join(own)).tasks] == ["till"]
    assert kernlab.oops.parse("\n".join(own))["kind"].tolist() == ["OOM"]
