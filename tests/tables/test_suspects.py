"""`suspects`: nothing on healthy machines, and each rule on tables made so that it must speak."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

from kernlab.linux.page.classifier import Kind
from kernlab.tables.suspects import rules

MIB = 1 << 20
GIB = 1 << 30


def memory(**tables):
    """What rules look at, of a machine of 4 GiB: the tables given, and pages by kind."""
    kinds, symbols = tables.pop("kinds", {}), tables.pop("symbols", {})
    return SimpleNamespace(
        managed=4 * GIB,
        share=lambda size: size / (4 * GIB),
        kind=lambda *asked: sum(kinds.get(kind, 0) for kind in asked),
        kernel=SimpleNamespace(
            page_size=4096, symbols=symbols, find_symbol=symbols.get, word=tables.pop("word", None)
        ),
        **tables,
    )


def processes(*rows) -> pd.DataFrame:
    """(pid, comm, bytes, oom_score_adj) per process."""
    sizes = pd.array([size for _, _, size, _ in rows], dtype="Int64")
    zeros = pd.array([0] * len(rows), dtype="Int64")
    return pd.DataFrame(
        {
            "pid": pd.array([pid for pid, *_ in rows], dtype="Int64"),
            "comm": pd.array([comm for _, comm, *_ in rows], dtype="str"),
            "cgroup": pd.array(["/work.slice"] * len(rows), dtype="str"),
            "oom_score_adj": pd.array([adj for *_, adj in rows], dtype="Int64"),
            **{f"{name}_bytes": sizes for name in ("rss", "pss", "uss", "anon")},
            **{f"{name}_bytes": zeros for name in ("shmem", "file", "swap", "page_tables")},
        }
    )


def log(*lines: str) -> pd.DataFrame:
    return pd.DataFrame({"text": pd.array(lines, dtype="str")})


def test_healthy_machines_have_no_suspects(dump):
    assert dump.suspects.empty
    assert list(dump.suspects) == ["lead", "subject", "bytes", "share", "evidence", "cell"]
    assert not dump.suspects.attrs["problems"]


def test_a_machine_that_ran_out_of_memory_has_its_leads(machine_of):
    """The sample of it: one process and one cache hold it all, and who would have been killed is named."""
    found = machine_of("oom").dump.suspects
    assert found["lead"].tolist() == ["OOM", "large process", "large unreclaimable slab cache", "OOM score"]
    assert found["subject"].tolist() == ["reporting", "reporting (124)", "story_session", "reporting (124)"]


def test_a_victim_of_the_oom_killer_and_the_next_one():
    found = rules.out_of_memory(
        memory(
            log=log(
                "leaker invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER), order=0, oom_score_adj=0",
                "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/a,"
                "task=leak\x1b,pid=812,uid=0",
                "Out of memory: Killed process 812 (leak\x1b) total-vm:9kB, anon-rss:2048kB, file-rss:0kB, UID:0",
            ),
            cgroups=cgroups(("/", MIB, None, None, None, False)),
            processes=processes((1, "init", 2 * GIB, -1000), (7, "db", GIB, 0), (8, "web", GIB // 2, 900)),
        )
    )
    assert [lead.lead for lead in found] == ["OOM victim", "OOM score"]
    assert found[0].subject == "leak\u241b (812)"
    assert found[0].bytes == 2 * MIB
    # 900 of 1000 points of the whole memory weigh more than twice the size; -1000 is never killed.
    assert found[1].subject == "web (8)"


def cgroups(*rows) -> pd.DataFrame:
    """(path, usage, limit, oom_kill_local, max_local, dying) per cgroup."""
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 6
    names = ("usage_bytes", "limit_bytes", "oom_kill_local", "max_local")
    return pd.DataFrame(
        {
            "path": pd.array(columns[0], dtype="str"),
            **{
                name: pd.array(column, dtype="Int64")
                for name, column in zip(names, columns[1:5], strict=True)
            },
            "dying": pd.array(columns[5], dtype="bool"),
        }
    )


def test_a_cgroups_own_lack_of_memory_names_the_cgroup_and_no_next_victim():
    """As 6.12 words it; the machine's largest process has nothing to do with it."""
    found = rules.out_of_memory(
        memory(
            log=log(
                "java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=web,mems_allowed=0,"
                "oom_memcg=/we,b/a,task_memcg=/we,b/a/one,task=ja,pid=7,va,pid=5,uid=0",
                "Memory cgroup out of memory: Killed process 5 (ja,pid=7,va) total-vm:9kB, anon-rss:2048kB",
                "Memory cgroup out of memory: Killed process 6 (perl) total-vm:9kB, anon-rss:1024kB",
            ),
            processes=processes((1, "init", 2 * GIB, 0)),
            cgroups=cgroups(("/we,b/a", GIB, GIB, 3, 17, False), ("/calm", MIB, GIB, 0, 9, False)),
        )
    )
    assert [(lead.lead, lead.subject) for lead in found] == [
        ("cgroup out of memory", "/we,b/a"),
        ("cgroup out of memory", "a cgroup"),
    ]
    assert found[0].bytes == 2 * MIB
    for words in ("1.0 GiB", "ja,pid=7,va (5)", "killed 3 times", "hit the limit 17 times"):
        assert words in found[0].evidence
    assert "perl (6)" in found[1].evidence


def test_cgroups_of_one_path_are_leads_of_their_own():
    """A damaged name leads to another's: neither hides the other."""
    found = rules.out_of_memory(
        memory(
            log=log("nothing"),
            processes=processes((1, "init", 2 * GIB, 0)),
            cgroups=cgroups(("/a", GIB, GIB, 3, 17, False), ("/a", MIB, GIB, 2, 9, False)),
        )
    )
    assert [lead.subject for lead in found] == ["/a", "/a"]
    assert "killed 3 times" in found[0].evidence


def test_a_cgroup_of_which_only_the_kernels_count_is_left():
    """The log has wrapped since; the word of memory.events stays."""
    found = rules.out_of_memory(
        memory(
            log=log("all is well"),
            cgroups=cgroups(
                ("/a", MIB, GIB, 1, 40, False), ("/a", 0, GIB, 5, 5, True), ("/b", MIB, GIB, 0, 9, False)
            ),
        )
    )
    assert [lead.subject for lead in found] == ["/a"]
    assert "killed once and hit the limit 40 times" in found[0].evidence


def test_a_cgroup_that_nobody_could_be_killed_in_makes_nobody_the_next():
    found = rules.out_of_memory(
        memory(
            log=log(
                "sh invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,"
                "task=sh,pid=5,uid=0",
            ),
            processes=processes((1, "init", 2 * GIB, 0)),
            cgroups=cgroups(),
        )
    )
    assert [lead.lead for lead in found] == ["OOM"]
    assert "in the cgroup /a" in found[0].evidence


def test_the_old_wording():
    found = rules.out_of_memory(
        memory(
            log=log("Memory cgroup out of memory: Kill process 5 (java) score 900 or sacrifice child"),
            processes=processes((1, "init", MIB, 0)),
            cgroups=cgroups(),
        )
    )
    assert [lead.lead for lead in found] == ["cgroup out of memory"]
    assert "java (5)" in found[0].evidence
    assert found[0].bytes == -1


def test_no_word_of_it_no_lead():
    assert rules.out_of_memory(memory(log=log("all is well"), cgroups=cgroups(), processes=processes())) == []


def test_a_process_far_above_the_others():
    found = rules.large_processes(
        memory(processes=processes((9, "hog", 3 * GIB, 0), *((i, "small", MIB, 0) for i in range(10, 20))))
    )
    assert [(lead.subject, lead.bytes) for lead in found] == [("hog (9)", 3 * GIB)]
    assert "75%" in found[0].evidence
    assert found[0].cell == "dump.plot.maps(9)"
    alike = memory(processes=processes(*((i, "worker", GIB // 2, 0) for i in range(8))))
    assert rules.large_processes(alike) == []


def test_many_of_one_name():
    found = rules.many_processes(
        memory(processes=processes(*((i, "worker", 64 * MIB, 0) for i in range(32))))
    )
    assert found[0].subject == "worker"
    assert found[0].bytes == 2 * GIB
    assert "in /work.slice" in found[0].evidence


def test_services_of_one_interpreter_are_not_many_of_one_kind():
    table = processes(*((i, "python3", 64 * MIB, 0) for i in range(32)))
    table["cgroup"] = [f"/system.slice/{i % 8}.service" for i in range(32)]
    assert rules.many_processes(memory(processes=table)) == []
    table["cgroup"] = None  # without CONFIG_CGROUPS
    assert [lead.subject for lead in rules.many_processes(memory(processes=table))] == ["python3"]


def caches(*rows) -> pd.DataFrame:
    """(name, bytes, used_bytes, flags) per cache."""
    return pd.DataFrame(
        {
            "name": pd.array([row[0] for row in rows], dtype="str"),
            "bytes": pd.array([row[1] for row in rows], dtype="Int64"),
            "used_bytes": pd.array([row[2] for row in rows], dtype="Int64"),
            "active": pd.array([row[2] // 256 if row[2] else None for row in rows], dtype="Int64"),
            "object_size": pd.array([256] * len(rows), dtype="Int64"),
            "flags": pd.array([row[3] for row in rows], dtype="str"),
        }
    )


def test_a_leaking_cache_weighs_more_than_one_that_shrinks():
    found = rules.large_caches(
        memory(
            slabs=caches(
                ("leak-256", GIB, GIB, "SLAB_PANIC"),
                ("dentry", GIB, GIB, "SLAB_RECLAIM_ACCOUNT,SLAB_PANIC"),
                ("unknown", GIB, None, ""),
                ("sparse", 512 * MIB, 100 * MIB, "SLAB_RECLAIM_ACCOUNT"),
                ("small", MIB, MIB, ""),
            )
        )
    )
    by = {(lead.lead, lead.subject): lead for lead in found}
    assert by["large unreclaimable slab cache", "leak-256"].weight > by["large slab cache", "dentry"].weight
    assert "not known" in by["large unreclaimable slab cache", "unknown"].evidence
    assert by["half-empty slab cache", "sparse"].bytes == 412 * MIB
    assert not any(subject == "small" for _, subject in by)


def test_kernel_memory_that_nobody_accounts_for():
    found = rules.unreclaimable(
        memory(
            slabs=caches(("a", GIB, GIB, "")),
            kinds={Kind.OTHER: GIB, Kind.PAGE_TABLE: GIB // 2, Kind.VMALLOC: MIB},
        )
    )
    assert {lead.subject for lead in found} == {"all slab caches", "page tables", "pages without an owner"}


def test_cgroups_that_are_dying_or_full():
    count = 120
    table = pd.DataFrame(
        {
            "path": pd.array([f"/job{i}" for i in range(count)], dtype="str"),
            "dying": pd.array([i > 0 for i in range(count)], dtype="boolean"),
            "usage_bytes": pd.array([GIB] * count, dtype="Int64"),
            "limit_bytes": pd.array([GIB] + [None] * (count - 1), dtype="Int64"),
            "max_local": pd.array([17] * count, dtype="Int64"),
            **{
                f"{name}_bytes": pd.array([4096] * count, dtype="Int64")
                for name in ("anon", "file", "shmem", "unmapped", "kernel")
            },
        }
    )
    found = rules.cgroups(memory(cgroups=table))
    assert [lead.lead for lead in found] == ["dying cgroups", "cgroup at its limit"]
    assert found[0].bytes == 119 * 4 * 4096
    assert "17 times" in found[1].evidence
    # Before Linux 5.2 what is counted of a cgroup is its own; where nothing is, a full one is told all the same.
    assert "17 times" in rules.cgroups(memory(cgroups=table.rename(columns={"max_local": "max"})))[1].evidence
    assert rules.cgroups(memory(cgroups=table.drop(columns="max_local")))[1].lead == "cgroup at its limit"
    # Page cache of files goes when memory is needed: oneshot units leave it behind on any server.
    table.loc[20:, "dying"] = False
    table["file_bytes"] = GIB // 64
    assert [lead.lead for lead in rules.cgroups(memory(cgroups=table))] == ["cgroup at its limit"]
    table["shmem_bytes"] = GIB // 64
    assert [lead.lead for lead in rules.cgroups(memory(cgroups=table))] == [
        "dying cgroups",
        "cgroup at its limit",
    ]


def test_files_without_a_name_files_in_memory_and_dirty_ones():
    table = pd.DataFrame(
        {
            "path": pd.array(
                ["/tmp/big", "/var/log/x (deleted)", "/data", "/dev/zero (deleted)", "/tmp/y (deleted)"],
                dtype="str",
            ),
            "kind": pd.Categorical(
                ["shmem", "file", "file", "shmem", "shmem"], categories=["file", "block device", "shmem"]
            ),
            "bytes": [2 * GIB, GIB, GIB, GIB // 4, MIB],
            "links": pd.array([1, 0, 1, 0, 0], dtype="Int64"),
            "fs": pd.array(["tmpfs", "ext4", "xfs", "tmpfs", "tmpfs"], dtype="str"),
            "mount_namespace": pd.array([1, 1, 1, None, 1], dtype="Int64"),
            "dirty_bytes": [2 * GIB, 0, GIB, 0, 0],
            "writeback_bytes": [0, 0, 0, 0, 0],
        }
    )
    found = {lead.lead: lead for lead in rules.page_cache(memory(files=table))}
    # Shared anonymous memory is no deleted file, a file of tmpfs that was deleted is one.
    assert found["deleted files"].bytes == GIB + MIB
    assert found["large file in memory"].subject == "/tmp/big"
    assert found["dirty pages"].bytes == GIB  # what lies in tmpfs is never written


def zone(free: list[int], marks=(1000, 1250, 1500)):
    return memory(zones=lambda: iter([("Normal", np.array(free), np.array(marks), 1 << 20)]))


def test_watermarks_and_fragmentation():
    (low,) = rules.watermarks(zone([900, 0, 0, 0]))
    assert low.lead == "below the min watermark"
    (kswapd,) = rules.watermarks(zone([1100, 0, 0, 0]))
    assert kswapd.lead == "below the low watermark"
    (pieces,) = rules.watermarks(zone([100_000, 50_000, 0, 512]))
    assert pieces.lead == "fragmentation"
    assert rules.watermarks(zone([1000, 0, 0, 100_000])) == []


def test_swap_that_is_used_up():
    words = {"swap_info": 0, "total_swap_pages": 1000, "nr_swap_pages": 10}
    (full,) = rules.swap(memory(symbols=words, word=words.__getitem__))
    assert full.bytes == 990 * 4096
    words["nr_swap_pages"] = 900
    assert rules.swap(memory(symbols=words, word=words.__getitem__)) == []
    assert rules.swap(memory()) == []


def test_a_machine_below_its_watermarks(opened):
    dump = opened("debian-6.1")
    from kernlab.linux import zones as zone_walk

    kernel = dump.kernel
    _, zone_structs = zone_walk.zones(kernel, zone_walk.nodes(kernel))
    row = int(zone_structs["managed_pages.counter"].values.argmax())
    overlay = Overlay(dump).set("struct zone", int(zone_structs.addresses[row]), "_watermark[0]", 1 << 20)
    found = overlay.dump().suspects
    assert found["lead"].tolist() == ["below the min watermark"]
    assert found["subject"].tolist() == ["zone DMA32"]
    assert found["bytes"].dtype == "Int64"


def test_a_rule_that_cannot_be_asked_costs_no_other(opened, monkeypatch):
    from kernlab import KernlabError
    from kernlab.tables.suspects import suspects

    def broken(_memory):
        """Whether it works."""
        raise KernlabError("no")

    monkeypatch.setattr(suspects, "RULES", (broken, rules.swap))
    table = suspects.suspects(opened("debian-6.1").kernel)
    assert any("Whether it works" in problem for problem in table.attrs["problems"])


@pytest.mark.parametrize("name", ["damaged-7.2"])
def test_a_damaged_dump_has_no_suspects_for_what_it_lacks(name, opened):
    assert opened(name).suspects.empty
