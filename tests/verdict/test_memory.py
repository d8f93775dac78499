"""Who took the memory: by the tables of a dump, and by the OOM killer's report where there is a log alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import SAMPLES
from support.captures import captures, dumps_in
from verdict.cases import found_by, made_case, made_table
from verdict.oom_logs import FAULT, MIB, oom, zone

import kernlab
from kernlab.errors import KernlabError
from kernlab.linux.page.classifier import Kind
from kernlab.verdict.allocators import allocated_at
from kernlab.verdict.askers import asked_for_cache, asker
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.holders import Holder
from kernlab.verdict.kernel_holders import owner_modules
from kernlab.verdict.rules.memory import took_the_memory

GIB = 1 << 30
FULL = [zone("Normal", MIB, managed=GIB)]


def case_of(
    processes: Iterable[tuple[int, str, int, str]] = (),
    slabs: Iterable[tuple[str, int]] = (),
    files: Iterable[tuple[str, int]] = (),
    areas: Iterable[tuple[str, int]] = (),
    kinds: Mapping[Kind, int] = {},
    huge: Iterable[dict[str, int]] = (),
    allocations: Iterable[dict[str, object]] = (),
    page_owner: Iterable[dict[str, object]] = (),
    sockets: Iterable[dict[str, int]] = (),
    log: str = oom(zones=FULL),
) -> Case:
    """A machine of 1 GiB: processes are (pid, comm, bytes, cgroup), slabs (name, bytes), files (path, bytes), areas of
    vmalloc (caller, bytes)."""
    tables = {
        "processes": made_table(
            "memory_by_process",
            [
                {
                    "pid": pid,
                    "comm": comm,
                    "anon_bytes": size,
                    "rss_bytes": size,
                    "pss_bytes": size,
                    "cgroup": cgroup,
                }
                for pid, comm, size, cgroup in processes
            ],
        ),
        "slabs": made_table(
            "slabs",
            [
                {
                    "name": name,
                    "bytes": size,
                    "used_bytes": size,
                    "active": size >> 8,
                    "flags": "",
                    "address": place,
                }
                for place, (name, size) in enumerate(slabs, 4096)
            ],
        ),
        "files": made_table(
            "memory_by_file",
            [
                {
                    "path": path,
                    "bytes": size,
                    "kind": "shmem",
                    "fs": "tmpfs",
                    "dev": "0:7",
                    "mount_namespace": 1,
                }
                for path, size in files
            ],
        ),
    }
    memory = SimpleNamespace(
        **tables,
        managed=GIB,
        kind=lambda *kinds_asked: sum(kinds.get(one, 0) for one in kinds_asked),
        share=lambda size: size / GIB,
    )
    vmalloc = [{"caller": caller, "pages": size >> 12, "kind": "vmalloc"} for caller, size in areas]
    tasks = [{"pid": pid, "tgid": pid, "comm": comm} for pid, comm, _, _ in processes]
    return made_case(
        log,
        memory=memory,
        vmalloc=vmalloc,
        tasks=tasks,
        hugepages=huge,
        allocations=allocations,
        page_owner=page_owner,
        sockets=sockets,
    )


def found_in(case: Case) -> list[Finding]:
    """What the rule finds, nothing of it beyond a hint but the first."""
    found = found_by(case, took_the_memory)
    assert all(each.confidence < 0.5 for each in found[1:])
    assert all(each.explains == {"OOM"} for each in found)
    return found


def test_a_process_that_has_most() -> None:
    (found,) = found_in(case_of([(77, "till", 700 * MIB, "/"), (78, "cron", 20 * MIB, "/")]))
    assert (found.finding, found.subject, found.pid) == ("process took the memory", "till (77)", 77)
    assert found.confidence >= 0.95
    assert "it asked for more when there was none" in [each.says for each in found.evidence]


def test_two_of_a_size_leave_it_open() -> None:
    """Nothing tells which of them grew: the one that asked last is likelier, and neither is accused."""
    found = found_in(case_of([(78, "bank", 480 * MIB, "/"), (79, "till", 450 * MIB, "/")]))
    assert [each.subject for each in found] == ["bank (78)", "till (79)"]
    assert all(each.confidence < 0.5 for each in found)
    assert found[0].against == ("till (79): 450.0 MiB, which is nearly as much.",)
    asked = found_in(case_of([(78, "bank", 480 * MIB, "/"), (77, "till", 450 * MIB, "/")]))
    assert asked[0].subject == "till (77)"


def test_a_database_that_was_always_there_is_not_accused() -> None:
    """Its shared memory is a little more than what a process leaked: size alone does not tell."""
    database = case_of([(78, "bank", 300 * MIB, "/")], files=[("/dev/zero (deleted)", 400 * MIB)])
    assert [each.confidence < 0.5 for each in found_in(database)] == [True, True]


def test_the_largest_process_is_innocent_of_a_leak_of_the_kernel() -> None:
    """A database of 300 MiB that was always there, and a driver that keeps 500 MiB."""
    areas = [("crumbs_keep+0x9a/0xa0 [mill]", 500 * MIB), ("kernel_clone+0xbd/0x440", 90 * MIB)]
    (found,) = found_in(case_of([(78, "bank", 300 * MIB, "/")], areas=areas))
    assert (found.finding, found.module, found.function) == ("vmalloc leak", "mill", "crumbs_keep")
    assert found.confidence >= 0.85


def test_as_much_that_is_unusual_as_a_process_has_is_a_doubt() -> None:
    found = found_in(case_of([(78, "bank", 500 * MIB, "/")], slabs=[("till_job", 300 * MIB)]))
    assert found[0].confidence < 0.7
    assert len(found) == 2


def test_many_small_processes_together() -> None:
    """Numbered workers of one service; none of them is anything by itself."""
    workers = [(100 + number, f"batch-{number}", 8 * MIB, "/shop/batch") for number in range(80)]
    (found,) = found_in(case_of([*workers, (78, "bank", 60 * MIB, "/")]))
    assert (found.finding, found.pid) == ("processes took the memory", None)
    assert found.subject == "80 processes batch-N of /shop/batch"
    assert found.confidence >= 0.9
    assert len(found.evidence[0].rows) == 80


def test_processes_of_all_sorts_in_one_cgroup() -> None:
    names = ["sh", "cat", "sort", "awk", "sed", "grep", "tee"]
    own = [(100 + place, name, 100 * MIB, "/shop/report") for place, name in enumerate(names)]
    (found,) = found_in(case_of([*own, (78, "bank", 60 * MIB, "/")]))
    assert found.subject == "7 processes of /shop/report"


def test_pages_that_a_fork_shares_count_once() -> None:
    """Twenty children of 50 MiB, all of it their parent's."""
    case = case_of(
        [(100 + number, "web", 50 * MIB, "/") for number in range(20)], slabs=[("till_job", 300 * MIB)]
    )
    case.memory.processes["pss_bytes"] = 50 * MIB // 20
    (found,) = found_in(case)
    assert found.finding == "slab leak"


def test_files_of_a_tmpfs_together() -> None:
    (found,) = found_in(case_of(files=[(f"/run/spool/{number}", 10 * MIB) for number in range(60)]))
    assert (found.finding, found.subject) == ("file in memory", "60 files of tmpfs, such as /run/spool/0")
    (found,) = found_in(case_of(files=[("/run/ghost.db", 600 * MIB), ("/run/other", MIB)]))
    assert found.subject == "/run/ghost.db"


def test_huge_pages_that_nobody_uses() -> None:
    huge = [{"size_bytes": 2 * MIB, "total": 400, "free": 390}, {"size_bytes": GIB, "total": 0, "free": 0}]
    found = found_in(case_of([(78, "bank", 100 * MIB, "/")], huge=huge))
    assert (found[0].finding, found[0].subject) == ("huge pages", "huge pages of 2.0 MiB")
    assert found[0].confidence >= 0.9
    promised = [huge[0] | {"reserved": 300}]
    found = found_in(case_of([(78, "bank", 100 * MIB, "/")], huge=promised))
    assert "300 of them are promised to programs" in found[0].evidence[0].says


def test_data_of_sockets_that_nobody_takes() -> None:
    """A socket that two processes have counts once."""
    queues = [
        {"address": 64 * place, "rmem_bytes": 6 * MIB, "wmem_bytes": 0, "pid": 77} for place in range(100)
    ]
    (found,) = found_in(case_of([(78, "bank", 100 * MIB, "/")], sockets=queues))
    assert (found.finding, found.subject) == ("socket memory", "sockets")
    assert "100 sockets hold 600.0 MiB, 59% of memory" in found.evidence[0].says
    counted = {"active_anon": 80_000, "slab_unreclaimable": 170_000, "free": 300}
    (found,) = found_in(case_of(sockets=queues, log=oom(zones=FULL, counted=counted)))
    assert found.confidence >= 0.9
    shared = [{**each, "address": 64, "pid": pid} for pid, each in enumerate(queues, 77)]
    assert found_in(case_of(sockets=shared)) == []


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        (Kind.PAGE_TABLE, "page tables"),
        (Kind.KERNEL_STACK, "kernel stacks"),
        (Kind.NETWORK, "network buffers"),
        (Kind.LARGE_KMALLOC, "large kmalloc"),
        (Kind.OTHER, "kernel memory leak"),
    ],
)
def test_pages_that_no_table_has(kind: Kind, finding: str) -> None:
    (found,) = found_in(case_of(kinds={kind: 700 * MIB}))
    assert (found.finding, found.module, found.function) == (finding, None, None)
    assert found_in(case_of(kinds={kind: 50 * MIB})) == []


def test_a_place_in_the_source_that_is_known_to_have_allocated_it() -> None:
    """Where the kernel counts allocations (CONFIG_MEM_ALLOC_PROFILING) nothing is guessed."""
    known = [
        {"size_bytes": 690 * MIB, "function": "rug_weave", "module": "mill"},
        {"size_bytes": MIB, "function": "bank_open", "module": ""},
    ]
    (found,) = found_in(case_of(kinds={Kind.OTHER: 700 * MIB}, allocations=known))
    assert (found.module, found.function) == ("mill", "rug_weave")
    known[0]["size_bytes"] = 200 * MIB
    (found,) = found_in(case_of(kinds={Kind.OTHER: 700 * MIB}, allocations=known))
    assert found.function is None


def test_who_is_known_to_have_allocated_each_page() -> None:
    """Where the kernel notes that (page_owner=on): stacks that end in one function are one."""
    stacks = (
        "alloc_pages_mpol_noprof+0x1/0x2 < __vmalloc_noprof+0x1/0x2 < pcpu_alloc_noprof+0x1/0x2 < {}"
    ).format
    pages = [
        {
            "pfn": 1,
            "size_bytes": 400 * MIB,
            "stack": stacks("crumbs_keep+0x59/0xa0 [mill] < kthread+0x1/0x2"),
        },
        {
            "pfn": 2,
            "size_bytes": 250 * MIB,
            "stack": stacks("crumbs_keep+0x61/0xa0 [mill] < kthread+0x1/0x2"),
        },
        {"pfn": 3, "size_bytes": 50 * MIB, "stack": stacks("bank_open+0x1/0x2")},
        {"pfn": 4, "size_bytes": 700 * MIB, "stack": "vma_alloc_folio+0x1/0x2 < do_anonymous_page+0x1/0x2"},
        {"pfn": 5, "size_bytes": 700 * MIB, "stack": "__vmalloc_noprof+0x1/0x2 < rug_weave+0x1/0x2 [mill]"},
    ]
    (found,) = found_in(case_of(kinds={Kind.PERCPU: 700 * MIB}, page_owner=pages))
    assert (found.module, found.function) == ("mill", "crumbs_keep")
    assert found.confidence >= 0.95
    assert found.evidence[-1].rows == (0, 1)
    assert found.cell.startswith("dump.page_owner")
    (found,) = found_in(case_of(kinds={Kind.PERCPU: 700 * MIB}, page_owner=pages[1:]))
    assert found.function is None


def test_who_is_known_to_have_allocated_each_object() -> None:
    """SLUB notes that for caches that were named at boot."""
    folders = captures("fault-redzone-*")
    if not folders:
        pytest.skip("KERNLAB_LAB_CAPTURES names no folder with captures of fault-redzone")
    for folder in folders:
        with kernlab.open(dumps_in(folder)[0]) as dump:
            case = Case(dump.kernel)
            table = case.memory.slabs
            told = {}
            for name in ("mill_checked_job", "task_struct"):
                row = table[table["name"] == name].iloc[0]
                holder = Holder(
                    "slab leak", name, int(row["bytes"]), (), "", "slab", 0.05, cache=int(row["address"])
                )
                found = allocated_at(case, holder)
                told[name] = found and (found.function, found.module)
            assert told == {"mill_checked_job": ("job_new", "kernlab_mill"), "task_struct": None}, folder.name


KEEP = ("crumbs_keep+0x59/0xa0 [mill]", "keep_thread+0x15/0x30 [mill]", "kthread+0xd2/0x100")
PERCPU = (
    "__vmalloc_node_noprof+0x4e/0x70",
    "pcpu_create_chunk+0x4e/0x1b0",
    "pcpu_alloc_noprof+0x832/0x890",
    *KEEP,
)


def test_who_asked_for_per_cpu_memory_at_the_end() -> None:
    """Chunks and what the kernel keeps about them are one; who asks for more is who is taken for it, with a doubt."""
    case = case_of(
        [(78, "bank", 100 * MIB, "/")],
        areas=[("pcpu_create_chunk+0x19b/0x1b0", 300 * MIB)],
        kinds={Kind.PERCPU: 300 * MIB},
        log=oom("kept", 195, zones=FULL, stack=PERCPU),
    )
    (found,) = found_in(case)
    assert (found.finding, found.module, found.function) == ("per-CPU memory", "mill", "crumbs_keep")
    assert 0.8 <= found.confidence < 0.95
    assert any("Nothing notes who took it all" in each for each in found.against)
    # One that asks for something else is not meant.
    case.__dict__.pop("reports", None)
    other = case_of(kinds={Kind.PERCPU: 600 * MIB}, log=oom("kept", 195, zones=FULL, stack=FAULT))
    (found,) = found_in(other)
    assert (found.finding, found.function) == ("per-CPU memory", None)


@pytest.mark.parametrize(
    ("frames", "asks", "function", "module"),
    [
        (PERCPU, "percpu", "crumbs_keep", "mill"),
        (("__vmalloc_node_range_noprof+0x1/0x2", "vzalloc_noprof+0x1/0x2", *KEEP), "vmalloc", "crumbs_keep", "mill"),
        (("allocate_slab+0x1/0x2", "___slab_alloc+0x1/0x2", "__kmalloc_cache_noprof+0x1/0x2", *KEEP), "slab",
         "crumbs_keep", "mill"),
        (("new_slab+0x1/0x2", "kmem_cache_alloc+0x1/0x2", "? keep+0x1/0x2 [mill]", "alloc_inode+0x1/0x2"), "slab",
         "alloc_inode", None),
        (("___kmalloc_large_node+0x1/0x2", "__kmalloc_noprof+0x1/0x2", *KEEP), "slab", "crumbs_keep", "mill"),
        (("___slab_alloc+0x1/0x2", "__alloc_skb+0x1/0x2", "tcp_stream_alloc_skb+0x1/0x2"), "network",
         "tcp_stream_alloc_skb", None),
        (("pte_alloc_one+0x1/0x2", "__pte_alloc+0x1/0x2", "copy_page_range+0x1/0x2"), "page tables",
         "copy_page_range", None),
        (FAULT, "anonymous", None, None),
        (("shmem_alloc_folio+0x1/0x2", "shmem_get_folio_gfp+0x1/0x2", "generic_perform_write+0x1/0x2"), "shmem",
         "generic_perform_write", None),
        ((), "", None, None),
    ],
)  # fmt: skip
def test_what_a_stack_asks_for(
    frames: tuple[str, ...], asks: str, function: str | None, module: str | None
) -> None:
    above = ("dump_header+0x1/0x2", "out_of_memory.cold+0x1/0x2", "__alloc_pages_noprof+0x1/0x2")
    found = asker([*above, *frames])
    assert (found.asks, found.function, found.module) == (asks, function, module)


def test_a_cgroups_limit_is_none_of_its() -> None:
    said = ["Memory cgroup stats for /shop:"]
    assert found_in(case_of([(77, "till", 700 * MIB, "/")], log=oom(more=said))) == []


def test_a_report_by_whose_numbers_memory_was_free() -> None:
    log = oom(zones=[zone("Normal", 500 * MIB, managed=GIB)])
    (found,) = found_in(case_of([(77, "till", 500 * MIB, "/")], log=log))
    assert found.confidence < 0.5


def test_what_a_dump_tells_in_words_is_harmless() -> None:
    case = case_of([(77, "ti\x1bll", 700 * MIB, "/\x07x")], slabs=[("k\nx", 300 * MIB)])
    for found in found_by(case, took_the_memory):
        said = "".join([found.subject, *found.against, *(each.says for each in found.evidence)])
        assert said.isprintable()


def lost(*_: object) -> int:
    raise KernlabError("the page is not in the dump")


def test_what_a_table_cannot_tell_the_log_may() -> None:
    """A dump without the page structs, but with a whole log."""
    log = oom(zones=FULL, counted={"active_anon": 250_000, "free": 300}, tasks=[(77, "till", 900 * MIB)])
    case = case_of([(79, "clerk", 120 * MIB, "/")], log=log)
    case.memory.kind = lost  # type: ignore[method-assign]
    (found,) = found_in(case)
    assert (found.subject, found.pid) == ("till (77)", 77)
    assert found.confidence >= 0.9
    # Without such a list it is a hint that some table is missing.
    case = case_of([(79, "clerk", 600 * MIB, "/")], log=oom(zones=FULL))
    assert found_in(case)[0].confidence >= 0.9
    case.memory.kind = lost  # type: ignore[method-assign]
    (found,) = found_in(case)
    assert found.confidence < 0.5
    assert (
        "What pages of other kinds hold could not be looked at: the page is not in the dump" in found.against
    )


def test_tables_and_the_oom_killer_disagree() -> None:
    """Tables of a damaged dump say that a process has it; the kernel had counted slab caches."""
    counted = {"active_anon": 30_000, "slab_unreclaimable": 220_000, "free": 300}
    (found, *_) = found_in(case_of([(79, "clerk", 600 * MIB, "/")], log=oom(zones=FULL, counted=counted)))
    assert found.finding == "slab leak"
    assert found.confidence >= 0.9
    # The cache itself is not in the dump: its holder is known by the log alone.
    counted = {"active_anon": 130_000, "slab_unreclaimable": 240_000, "free": 300}
    assert [
        each.finding
        for each in found_in(case_of([(79, "clerk", 500 * MIB, "/")], log=oom(zones=FULL, counted=counted)))
    ] == ["slab leak"]
    counted["slab_unreclaimable"] = 100_000
    assert (
        found_in(case_of([(79, "clerk", 500 * MIB, "/")], log=oom(zones=FULL, counted=counted)))[0].finding
        == "process took the memory"
    )
    # It counted less of that, and nothing else more.
    less = {"active_anon": 100_000, "slab_unreclaimable": 20_000, "active_file": 100_000, "free": 300}
    (found,) = found_in(case_of([(79, "clerk", 600 * MIB, "/")], log=oom(zones=FULL, counted=less)))
    assert found.confidence < 0.5
    assert "The OOM killer counted 390.6 MiB of anonymous memory, which is less." in found.against
    agreed = {"active_anon": 160_000, "active_file": 90_000, "free": 300}
    (found,) = found_in(case_of([(79, "clerk", 600 * MIB, "/")], log=oom(zones=FULL, counted=agreed)))
    assert "the OOM killer counted 625.0 MiB of anonymous memory" in [each.says for each in found.evidence]


# A log alone.


def alone(log: str) -> list[Finding]:
    return found_in(Case(None, log))


def test_a_log_alone_names_the_process() -> None:
    log = oom(
        zones=FULL,
        counted={"active_anon": 250_000, "free": 300},
        tasks=[(77, "till", 700 * MIB), (78, "cron", MIB)],
    )
    (found,) = alone(log)
    assert (found.finding, found.subject, found.pid) == ("process took the memory", "till (77)", 77)
    assert found.confidence >= 0.9


def test_a_log_alone_adds_up_what_is_alike() -> None:
    tasks = [(100 + number, f"batch-{number}", 10 * MIB) for number in range(70)]
    (found,) = alone(
        oom(zones=FULL, counted={"active_anon": 179_200, "active_file": 70_000, "free": 300}, tasks=tasks)
    )
    assert found.subject == "70 processes batch-N"
    # What they share is there once: their sum is more than there is.
    (found,) = alone(
        oom(
            zones=FULL,
            counted={"active_anon": 20_000, "slab_unreclaimable": 240_000, "free": 300},
            tasks=tasks,
        )
    )
    assert found.finding == "slab leak"


def test_a_log_alone_knows_what_is_not_counted() -> None:
    """vmalloc, per-CPU memory and what drivers take page by page are in none of Mem-Info's counters."""
    log = oom("kept", 195, zones=FULL, counted={"active_anon": 20_000, "free": 300}, stack=PERCPU)
    (found,) = alone(log)
    assert (found.finding, found.module, found.function) == ("kernel memory leak", "mill", "crumbs_keep")
    assert 0.8 <= found.confidence < 0.9
    # A program that only runs has no part in it.
    (found,) = alone(oom(zones=FULL, counted={"active_anon": 20_000, "free": 300}))
    assert found.function is None


@pytest.mark.parametrize("lost", [" unevictable:", "pages RAM", " active_file:"])
def test_a_torn_log_does_not_miss_what_it_lost(lost: str) -> None:
    """A line of counters that is not there is not memory that nobody counts."""
    whole = oom("kept", 195, zones=FULL, counted={"active_anon": 20_000, "free": 300}, stack=PERCPU)
    assert [each.finding for each in alone(whole)] == ["kernel memory leak"]
    assert alone("".join(line for line in whole.splitlines(keepends=True) if lost not in line)) == []


def test_a_log_alone_names_the_slab_cache() -> None:
    log = oom(
        zones=FULL,
        counted={"slab_unreclaimable": 240_000, "free": 300},
        slabs={"till_job": 700 * MIB, "dentry": MIB},
    )
    (found,) = alone(log)
    assert (found.finding, found.subject) == ("slab leak", "till_job")


# Dumps.


@pytest.mark.parametrize(("name", "subject"), [("oom", "reporting (124)"), ("flight", "billing (239)")])
def test_samples(sample: Any, opened: Any, name: str, subject: str) -> None:
    case = sample(name)
    found = found_in(case)
    assert found[0].subject == subject
    assert found[0].confidence >= 0.9
    rows = case.memory.processes.loc[list(found[0].evidence[0].rows)]
    assert rows["pid"].tolist() == [found[0].pid]
    shown = eval(found[0].cell, {"dump": opened(name)})
    assert shown["pid"].tolist() == [found[0].pid]
    hints = {each.subject: each for each in found[1:]}
    assert set(hints) <= {"story_session"}
    if hints:
        assert hints["story_session"].module == "kernlab_story"
    alone = found_in(Case(None, (SAMPLES / name / "vmcore-dmesg.txt").read_text()))
    assert (alone[0].finding, alone[0].pid) == (found[0].finding, found[0].pid)


@pytest.mark.parametrize(
    ("base", "size"),
    [(None, 4096), ((1 << 64) - 4096, 1 << 20), (4096, 1 << 20), (0xFFFFFFFFC0000000, 1 << 40)],
)
def test_a_slab_cache_is_of_the_module_whose_data_points_to_it(
    sample: Any, base: int | None, size: int
) -> None:
    """Modules in whose place is nothing, as in a list that was damaged, are passed over."""
    whole = sample("oom")
    case = Case(whole.kernel)
    modules = pd.concat([whole.modules.head(1), whole.modules], ignore_index=True)
    modules.loc[0, ["base", "size_bytes"]] = [pd.NA if base is None else base, size]
    vars(case)["modules"] = modules
    address = whole.memory.slabs.set_index("name")["address"]
    own, kernels = int(address["story_session"]), int(address["task_struct"])
    assert owner_modules(case, [own, kernels, 0]) == {own: "kernlab_story"}


@pytest.mark.parametrize("name", ["debian-6.1", "deadlock"])
def test_machines_that_did_not_run_out_of_memory(sample: Any, name: str) -> None:
    assert found_in(sample(name)) == []


def test_captures_of_leaks() -> None:
    """Who leaked it is named, of a slab cache only where the stack says that it is that one's."""
    folders = captures("leak-*")
    if not folders:
        pytest.skip("KERNLAB_LAB_CAPTURES names no folder with captures of leak")
    for folder in folders:
        with kernlab.open(dumps_in(folder)[0]) as dump:
            case = Case(dump.kernel)
            found = found_in(case)[0]
            assert (found.module, found.function) == ("kernlab_mill", "crumbs_keep"), folder.name
            assert found.confidence >= 0.8
            assert len(eval(found.cell, {"dump": dump}))
            if found.finding == "slab leak":
                report: Any = case.end.report
                caches = case.memory.slabs.set_index("name")["address"]
                told = [
                    name
                    for name in caches.index
                    if asked_for_cache(case, int(report["pid"]), int(caches[name]))
                ]
                assert told == [found.subject]


@pytest.mark.parametrize(("whole", "told"), [(GIB, 1), (GIB // 2, 0)])
def test_page_structs_that_make_more_memory_than_there_is_are_damaged(whole: int, told: int) -> None:
    """The kernel itself said how much there is: what they say is not counted."""
    log = oom(zones=[zone("Normal", MIB, managed=whole)])
    assert len(found_in(case_of(kinds={Kind.OTHER: 700 * MIB}, log=log))) == told


def test_a_module_s_function_is_no_helper_of_the_kernel_s() -> None:
    """Whatever it is called."""
    frames = [
        "out_of_memory+0x1/0x2",
        "__kmalloc_noprof+0x1/0x2",
        "memcpy+0x1/0x2{of}",
        "till_open+0x1/0x2 [till]",
    ]
    assert asker(each.format(of="") for each in frames).function == "till_open"
    assert asker(each.format(of=" [till]") for each in frames).function == "memcpy"


@pytest.mark.parametrize(("size", "told"), [(580 * MIB, True), (800 * MIB, False), (100 * MIB, False)])
def test_what_was_counted_has_to_be_what_is_held(size: int, told: bool) -> None:
    """More is something else, and so is less."""
    counted = [{"size_bytes": size, "function": "crumbs_keep", "module": "mill", "line": 7}]
    held = Holder("vmalloc leak", "vmalloc of mill", 600 * MIB, (), "dump.vmalloc", "vmalloc", usual=0.05)
    found = allocated_at(case_of(allocations=counted), held)
    assert (found is not None and found.function == "crumbs_keep") == told


def test_workers_of_which_one_has_nearly_all_are_no_group() -> None:
    found = found_in(case_of([(81, "batch-1", 600 * MIB, "/"), (82, "batch-2", 20 * MIB, "/")]))
    assert [(each.finding, each.pid) for each in found] == [("process took the memory", 81)]


def test_a_cache_that_the_kernel_shrinks_is_no_leak() -> None:
    """As that of dentries: it gives back what it can before memory runs out."""
    case = case_of(slabs=[("dentry", 700 * MIB)])
    assert [each.subject for each in found_by(case, took_the_memory)][:1] == ["dentry"]
    case.memory.slabs["flags"] = "SLAB_RECLAIM_ACCOUNT"
    assert "dentry" not in [each.subject for each in found_by(case, took_the_memory)]
