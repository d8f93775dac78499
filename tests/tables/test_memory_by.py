"""memory_by_process, memory_by_cgroup and memory_by_file: against the guests' /proc, and against the page structs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.overlay import Overlay
from support.truth import in_bytes

PAGE = 4096
WILD = 0xFFFF_F000_DEAD_0000


def total(dump, *kinds: str) -> int:
    return int(dump.pages["kind"].isin(kinds).sum()) * PAGE


# Processes


@pytest.fixture(scope="module")
def processes(dump):
    return dump.memory_by_process


def test_every_process_with_memory_is_there_once(dump, processes):
    tasks = dump.tasks
    expected = set(tasks[tasks["mm"].astype("UInt64").fillna(0) != 0]["tgid"])
    assert set(processes["pid"]) == expected
    assert not processes["pid"].duplicated().any()


def test_sums_of_smaps(whole_dump, processes):
    truth = whole_dump.truth.smaps().groupby("pid")[
        ["Rss", "Pss", "Private_Clean", "Private_Dirty", "Anonymous", "Swap"]
    ]
    both = processes.merge(truth.sum(), left_on="pid", right_index=True)
    assert len(both) == len(processes)
    # A page a mapping: a process here has at most 60 mappings, and most have moved not at all.
    for ours, theirs in (
        ("rss_bytes", both["Rss"]),
        ("anon_bytes", both["Anonymous"]),
        ("swap_bytes", both["Swap"]),
    ):
        off = (both[ours] - theirs).abs()
        assert (off <= 2 * PAGE).all(), both[off > 2 * PAGE][["pid", ours]]
        assert (off == 0).mean() > 0.9
    private = both["Private_Clean"] + both["Private_Dirty"]
    assert ((both["uss_bytes"] - private).abs() <= 2 * PAGE).all()


def test_status_agrees(whole_dump, processes):
    for row in processes.itertuples():
        status = whole_dump.truth.status(row.pid)
        kib = {
            key: int(re.match(r"\d+", status[key])[0]) * 1024
            for key in ("VmPTE", "VmSwap", "RssShmem", "RssFile")
        }
        assert row.page_tables_bytes == kib["VmPTE"]
        assert row.swap_bytes == kib["VmSwap"]
        # Before 6.2 status leaves out what each thread has not yet handed in (SPLIT_RSS_COUNTING).
        if whole_dump.name in ("debian-6.12", "debian-7.2"):
            assert abs(row.shmem_bytes - kib["RssShmem"]) <= 2 * PAGE
            assert abs(row.file_bytes - kib["RssFile"]) <= 2 * PAGE


def test_page_tables_are_vmpte(machine_or_server):
    """Those that a huge page keeps for when it is split are among them: the server has many."""
    truth, dump = machine_or_server.truth, machine_or_server.dump
    ours = dump.memory_by_process.set_index("pid")["page_tables_bytes"]
    if machine_or_server.name == "damaged-7.2":
        assert ours.isna().sum() == 2
    # One that was on a CPU at the end had gone on since the truth.
    on_cpu = dump.tasks.loc[dump.tasks["on_cpu"], "pid"]
    ours = ours.dropna().drop(on_cpu, errors="ignore")
    told = {pid: truth.status(pid) for pid in truth.pids if f"p/{pid}/status" in truth.files}
    both = {pid: status["VmPTE"] for pid, status in told.items() if "VmPTE" in status and pid in ours.index}
    assert len(both) >= 4
    assert {pid: int(ours[pid]) for pid in both} == {pid: in_bytes(value) for pid, value in both.items()}


def test_fair_shares_add_up_to_the_pages_that_are_mapped(dump, processes):
    mapped = (dump.pages["mapcount"] > 0) & dump.pages["kind"].isin(["anon", "THP", "file", "shmem"])
    # Each share is rounded down to a byte; a page may be mapped by what is no process (uprobes, the kernel): none here.
    assert processes["pss_bytes"].sum() == pytest.approx(int(mapped.sum()) * PAGE, rel=0.001)
    assert (processes["uss_bytes"] <= processes["pss_bytes"]).all()
    assert (processes["pss_bytes"] <= processes["rss_bytes"]).all()
    parts = processes["anon_bytes"] + processes["shmem_bytes"] + processes["file_bytes"]
    assert parts.equals(processes["rss_bytes"])
    assert processes["pss_bytes"].is_monotonic_decreasing


def test_rows_are_structs(processes):
    assert (processes.kern.field("tgid") == processes["pid"]).all()
    assert processes.kern.on("mm").field("total_vm").notna().all()


def test_a_damaged_dump_says_so_and_shows_no_zero(damaged_dump, opened):
    table = opened(damaged_dump.name).memory_by_process
    lost = table["rss_bytes"].isna()
    assert lost.equals(table["pss_bytes"].isna())
    assert 0 < lost.sum() < len(table)
    assert any("tables are not here" in problem for problem in table.attrs["problems"])


# Files


@pytest.fixture(scope="module")
def files(dump):
    return dump.memory_by_file


def test_files_add_up_to_the_page_cache_page_by_page(dump, files):
    shared = files["kind"] == "shmem"
    assert files.loc[shared, "bytes"].sum() == total(dump, "shmem")
    assert files.loc[~shared, "bytes"].sum() == total(dump, "file")


def test_files_add_up_to_meminfo(whole_dump, files):
    meminfo = whole_dump.truth.meminfo()
    sums = files.groupby("kind", observed=False)["bytes"].sum()
    assert sums["shmem"] == pytest.approx(meminfo["Shmem"], rel=0.06)
    # The disk that the truth was written to was mounted after the truth was taken.
    assert sums["block device"] + sums["file"] + sums["shmem"] >= meminfo["Cached"] + meminfo["Buffers"]


def test_paths_of_files_that_are_mapped_are_those_of_maps(dump, files):
    maps = dump.maps[dump.maps["inode"] > 0].drop_duplicates(["dev", "inode"])
    both = maps.merge(files, on=["dev", "inode"], suffixes=("_m", ""))
    assert len(both) >= 3
    # One inode may have several names (busybox has), and each mapping tells the one that it was opened by.
    assert (both["path"] == both["path_m"]).mean() > 0.6, both[["path", "path_m"]]
    assert (both["mapped_bytes"] > 0).all()


def test_a_file_is_no_smaller_than_its_cache(files):
    plain = files[(files["kind"] == "file") & files["size_bytes"].notna()]
    assert (plain["bytes"] <= plain["size_bytes"] + 512 * 1024).all()
    assert (files["mapped_bytes"] <= files["bytes"]).all()
    assert (files["dirty_bytes"] <= files["bytes"]).all()
    assert files["bytes"].is_monotonic_decreasing


def test_known_files(files):
    by_path = files.dropna(subset="path").drop_duplicates("path").set_index("path")
    assert by_path["bytes"]["/tmp/blob"] == by_path["size_bytes"]["/tmp/blob"] == 8 << 20
    assert by_path["fs"]["/tmp/blob"] == "tmpfs"
    assert by_path["fs"]["/mnt/truth.tar"] == "ext4"
    assert by_path["kind"]["/dev/vda"] == "block device"


def test_an_inode_that_cannot_be_read_is_counted_not_dropped(opened):
    dump = opened("debian-6.1")
    files = dump.memory_by_file
    row = files.index[files["path"] == "/tmp/blob"][0]
    mapping = int(files["mapping"][row])
    damaged = Overlay(dump).set("struct address_space", mapping, "host", WILD).dump().memory_by_file
    assert len(damaged) == len(files)
    assert damaged["bytes"].sum() == files["bytes"].sum()
    same = damaged["mapping"].to_numpy(dtype=np.uint64) == np.uint64(mapping)
    assert damaged.loc[same, ["path", "inode", "size_bytes"]].isna().all(axis=None)
    assert any("whose inode cannot be read" in problem for problem in damaged.attrs["problems"])


# Cgroups


def test_the_root_is_charged_all_that_processes_and_files_use(dump):
    groups = dump.memory_by_cgroup
    assert groups["path"].tolist()[0] == "/"
    assert groups["usage_bytes"].isna()[0]
    # What nobody maps is on its way out: as in memory.stat it is no anonymous memory of a cgroup.
    anonymous = dump.pages[dump.pages["kind"].isin(["anon", "THP", "swap cache"])]
    mapped = int((anonymous["mapcount"] > 0).sum())
    assert groups["anon_bytes"].sum() == mapped * PAGE
    assert groups["unmapped_bytes"].sum() == (len(anonymous) - mapped) * PAGE
    assert groups["file_bytes"].sum() == total(dump, "file")
    assert groups["shmem_bytes"].sum() == total(dump, "shmem")
    leaders = dump.tasks[(dump.tasks["pid"] == dump.tasks["tgid"]) & (dump.tasks["pid"] > 0)]
    assert groups["processes"].sum() == len(leaders)
    assert not groups["dying"].any()


@pytest.mark.parametrize(("name", "throttled"), [("debian-6.12", False), ("debian-7.2", True)])
def test_events_are_those_of_memory_events(opened, name, throttled):
    """7.2's memory.events ends with sock_throttled, as guests of the lab show it; 6.12's has no such line."""
    columns = set(opened(name).memory_by_cgroup.columns)
    assert {"low", "high", "max", "oom", "oom_kill", "oom_group_kill"} <= columns
    assert ("sock_throttled" in columns) == ("sock_throttled_local" in columns) == throttled


def test_a_tree_of_cgroups_that_is_a_circle_ends(opened):
    dump = opened("debian-6.1")
    root = int(dump.memory_by_cgroup["address"][0])
    overlay = Overlay(dump)
    where, _ = overlay.where("struct mem_cgroup", root, "css.children.next")
    sibling, _ = overlay.where("struct mem_cgroup", root, "css.sibling.next")
    # The root's only child is the root, whose sibling is itself.
    overlay.word(where, sibling).word(sibling, sibling)
    damaged = overlay.dump().memory_by_cgroup
    assert len(damaged) == 1
    assert damaged.attrs["problems"]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.12", "debian-7.2"])
@pytest.mark.parametrize("table", ["memory", "memory_by_cgroup", "memory_by_file", "tmpfs"])
def test_pages_that_are_not_counted_are_told(opened, name, table):
    dump = opened(name)
    pages = dump.pages
    of = pages[pages["kind"] == ("shmem" if table == "tmpfs" else "file")].iloc[5]
    place = int(of["address"]) // PAGE * PAGE
    mine = pages[pages["address"].astype("uint64") // PAGE == place // PAGE]
    with Overlay(dump).exclude(place).dump() as broken:
        found = getattr(broken, table)
        (told,) = [
            problem for problem in found.attrs["problems"] if problem.startswith("the page structs of")
        ]
        lost = int(told.split()[4].replace(",", ""))
        assert lost >= len(mine) == PAGE // 64
        assert lost == int((broken.pages["kind"] == "excluded").sum())
        if table == "memory_by_file":
            gone = int(mine["kind"].isin(["file", "shmem"]).sum()) * PAGE
            assert int(dump.memory_by_file["bytes"].sum()) - int(found["bytes"].sum()) == gone
