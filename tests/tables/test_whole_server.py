"""A whole Debian 13 server, caught while it swapped: tables against its own /proc and /sys/fs/cgroup.

The truth was taken some seconds before the crash: what nothing moved is compared exactly.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

from kernlab.walk.cpus import percpu_many, possible_cpus

PAGE = 4096


def seconds(times: pd.Series) -> list[int]:
    """As /proc prints times: since the epoch, 0 for never."""
    return [0 if pd.isna(time) else int(time.timestamp()) for time in times]


def test_shared_memory_segments_are_those_of_proc(server, server_files):
    """/proc/sysvipc/shm lists those of its reader's namespace; the mode as ipcs shows it, without SHM_DEST."""
    lines = [line.split() for line in server_files.truth.lines("sysvipc_shm")]
    theirs = pd.DataFrame(lines[1:], columns=lines[0])
    ours = server.shm
    ours = ours[ours["namespace"] == ours["namespace"].iloc[0]]
    assert ours["perms"].tolist() == [perms[-3:] for perms in theirs["perms"]]
    assert ours["destroyed"].tolist() == [len(perms) > 3 for perms in theirs["perms"]]
    same = ["key", "shmid", "cpid", "lpid", "uid", "gid", "cuid", "cgid"]
    assert ours[same].to_numpy(dtype=int).tolist() == theirs[same].to_numpy(dtype=int).tolist()
    assert ours["attached"].tolist() == theirs["nattch"].astype(int).tolist()
    assert ours["size_bytes"].tolist() == theirs["size"].astype(int).tolist()
    assert ours["swap_bytes"].tolist() == theirs["swap"].astype(int).tolist()
    known = ours["rss_bytes"].notna().to_numpy()
    assert known.sum() == 7
    assert ours["rss_bytes"][known].tolist() == theirs["rss"][known].astype(int).tolist()
    for time in ("atime", "dtime", "ctime"):
        assert seconds(ours[time]) == theirs[time].astype(int).tolist()


# Swap


def test_swapped_bytes_of_mappings_are_smaps(server, server_files):
    """Shared memory that is swapped out has no entry in page tables: its file's page cache knows."""
    ours = server.map_usage.assign(start=server.map_usage["start"].to_numpy(dtype=np.uint64))
    both = server_files.truth.smaps().merge(ours, on=["pid", "start"], suffixes=("_t", ""))
    assert len(both) == 10751
    shared = both[both["perms"].str.endswith("s") & (both["Swap"] > 0)]
    assert sorted(shared["Swap"]) == [1245184, 7270400, 7270400, 41943040, 41943040]
    # One page of a memfd went out after the truth was taken.
    assert sorted(shared["swap_bytes"] - shared["Swap"]) == [0, 0, 0, 0, PAGE]
    # What a mapping holds beyond what it did has come in from nowhere else but swap.
    still = both["rss_bytes"] == both["Rss"]
    assert still.mean() > 0.98
    assert (both["swap_bytes"] == both["Swap"])[still].sum() >= still.sum() - 1


def test_swapped_bytes_of_processes_are_vmswap(server, server_files):
    truth = server_files.truth
    ours = server.memory_by_process.astype({"pid": "int64"}).set_index("pid")
    theirs = pd.DataFrame.from_dict(
        {
            pid: {key: int(status[key].split()[0]) * 1024 for key in ("VmSwap", "VmRSS")}
            for pid in truth.pids
            if "VmSwap" in (status := truth.status(pid)) and pid in ours.index
        },
        orient="index",
    )
    assert len(theirs) == 78
    ours = ours.loc[theirs.index]
    # The machine went on to swap: what is in memory less is in swap more, to the byte.
    swapped = ours["swap_bytes"] + ours["rss_bytes"] == theirs["VmSwap"] + theirs["VmRSS"]
    assert swapped.sum() >= 65
    assert (ours["swap_bytes"] == theirs["VmSwap"])[ours["rss_bytes"] == theirs["VmRSS"]].all()
    assert (ours["swap_bytes"] == theirs["VmSwap"]).sum() >= 63


def test_page_tables_hold_as_many_swapped_pages_as_each_process_counts(server):
    """The kernel's own counters at the crash (MM_SWAPENTS) beside the sums of page tables: exactly."""
    ours = server.memory_by_process.set_index("pid")
    counted = server.tasks.set_index("pid").loc[ours.index]
    assert ours["swap_bytes"].tolist() == counted["swap_bytes"].tolist()
    assert ours["rss_bytes"].tolist() == counted["rss_bytes"].tolist()
    assert ours["swap_bytes"].sum() > 70e6
    assert ours.loc[2975, "shmem_swap_bytes"] == 7270400 + 41943040


def test_a_huge_page_on_its_way_to_another_node_is_resident(server):
    """One entry of migration stands for 2 MiB (is_pmd_migration_entry): it has neither PRESENT nor PSE."""
    rows = server.map_usage.query("pid == 2960").reset_index(drop=True)
    row = int(rows["rss_bytes"].argmax())
    assert rows["rss_bytes"][row] > 60e6
    top = server.translate(int(server.struct("vm_area_struct", int(rows["address"][row])).vm_mm.pgd))
    for address in range(-(-int(rows["start"][row]) >> 21) << 21, int(rows["end"][row]), 1 << 21):
        table = top
        for shift in (39, 30, 21):
            where = table + ((address >> shift) & 511) * 8
            entry = int.from_bytes(server.read(where, 8, physical=True), "little")
            table = entry & 0x000F_FFFF_FFFF_F000
        if entry & 0x81 == 0x81:
            break
    frame = (entry & 0x000F_FFFF_FFE0_0000) >> 12
    moving = 28 << 59 | ((~frame << 14) % (1 << 64) >> 5)
    moved = Overlay(server).word(where, moving, physical=True).dump().map_usage.query("pid == 2960")
    assert moved["rss_bytes"].tolist() == rows["rss_bytes"].tolist()
    assert moved["swap_bytes"].tolist() == rows["swap_bytes"].tolist()
    gone = Overlay(server).word(where, 0, physical=True).dump().map_usage.query("pid == 2960")
    assert rows["rss_bytes"].sum() - gone["rss_bytes"].sum() == 1 << 21


def test_without_the_operations_of_shared_memory_its_swap_is_missing(server):
    pid = 2975
    file = int(
        server.maps.query(f"pid == {pid} and path == '/dev/zero (deleted)'").kern.field("vm_file").iloc[0]
    )
    broken = Overlay(server).set("struct file", file, "f_mapping", 0xFFFF_8000_DEAD_0000).dump()
    row = broken.map_usage.query(f"pid == {pid} and swap_bytes.isna()")
    assert row["path"].tolist() == ["/dev/zero (deleted)"]
    assert row["rss_bytes"].notna().all()
    process = broken.memory_by_process.set_index("pid").loc[pid]
    assert process["shmem_swap_bytes"] is pd.NA
    assert process["swap_bytes"] == server.memory_by_process.set_index("pid").loc[pid, "swap_bytes"]


# Control groups


@pytest.fixture(scope="module")
def groups(server) -> pd.DataFrame:
    """memory_by_cgroup by path, those that still have a folder."""
    table = server.memory_by_cgroup
    assert not table.attrs["problems"]
    return table[~table["dying"]].set_index("path")


@pytest.mark.parametrize(
    ("ours", "file"),
    [
        ("swap_bytes", "memory.swap.current"),
        ("peak_bytes", "memory.peak"),
        ("limit_bytes", "memory.max"),
        ("high_bytes", "memory.high"),
    ],
)
def test_what_nothing_moved_in_cgroups_is_sysfs(groups, server_files, ours, file):
    theirs = server_files.truth.cgroups(file)["value"]
    assert len(theirs) == 81
    assert groups.loc[theirs.index, ours].fillna(-1).tolist() == theirs.fillna(-1).tolist()


def test_events_of_cgroups_are_memory_events(groups, server_files):
    """memory.events counts what happens below a cgroup, too: three services were killed in batch.slice."""
    theirs = server_files.truth.cgroups("memory.events")
    names = ["low", "high", "max", "oom", "oom_kill", "oom_group_kill"]
    assert theirs.columns.tolist() == names
    assert groups.loc[theirs.index, names].to_numpy().tolist() == theirs.to_numpy().tolist()
    assert groups.loc["/batch.slice", ["max", "oom_kill"]].tolist() == [2091, 3]
    assert groups.loc["/batch.slice", "oom_kill_local"] == 0
    assert groups.loc["/", names].isna().all()


def test_usage_of_cgroups_is_memory_current_but_for_those_that_went_on(groups, server_files):
    theirs = server_files.truth.cgroups("memory.current")["value"]
    moved = theirs.index[(groups.loc[theirs.index, "usage_bytes"] != theirs).to_numpy()]
    story = {"/system.slice", "/system.slice/story.service", "/user.slice", "/user.slice/user-1000.slice"}
    user = "/user.slice/user-1000.slice/user@1000.service"
    others = {
        f"/system.slice/{name}.service" for name in ("redis-server", "systemd-journald", "systemd-udevd")
    }
    assert set(moved) <= story | others | {user, f"{user}/init.scope"}


def lruvec_bytes(dump, item: str) -> list[int]:
    """What the kernel itself counts for each memory cgroup alone, all CPUs' parts summed (lruvec_page_state_local)."""
    kernel = dump.kernel
    group = dump.memory_by_cgroup.kern.structs
    index = kernel.read(kernel.symbol("mem_cgroup_stats_index") + kernel.types.enumerator(item), 1)[0]
    total = np.zeros(len(group), dtype=np.int64)
    for node in (0, 1):
        pointer = group.follow(f"nodeinfo[{node}]")["lruvec_stats_percpu"]
        where = percpu_many(kernel, pointer.values, possible_cpus(kernel))
        values, read = kernel.words(where.reshape(-1) + np.uint64(8 * index))
        assert read.all()
        total += values.view(np.int64).reshape(where.shape).sum(axis=1)
    return (total * PAGE).tolist()


def test_pages_of_cgroups_are_what_the_kernel_counts_at_the_crash(server):
    """What memory.stat is summed from: anon without the swap cache, file and shmem, the dying ones among them."""
    table = server.memory_by_cgroup
    assert len(table) == 100
    assert table["anon_bytes"].tolist() == lruvec_bytes(server, "NR_ANON_MAPPED")
    assert table["shmem_bytes"].tolist() == lruvec_bytes(server, "NR_SHMEM")
    assert (table["file_bytes"] + table["shmem_bytes"]).tolist() == lruvec_bytes(server, "NR_FILE_PAGES")
    assert table["unmapped_bytes"].sum() > 1e6


# Who is who


def test_control_group_and_program_tell_processes_of_one_name_apart(server, server_files):
    """Of all 232 processes: /proc/PID/cgroup and readlink /proc/PID/exe, kernel threads and zombies among them."""
    truth = server_files.truth
    ours = server.tasks.query("pid == tgid").set_index("pid").loc[truth.pids]
    assert len(ours) == 232
    assert ours["cgroup"].tolist() == [truth.cgroup(pid) for pid in truth.pids]
    assert ours["exe"].fillna("").tolist() == [truth.links(pid).get("exe", "") for pid in truth.pids]
    named = server.memory_by_process.query("comm == 'python3'")
    assert len(named) >= 27
    assert named["cgroup"].nunique() == 21
    assert not named.duplicated(["cgroup", "exe", "start_time"]).any()
    same = server.tasks.set_index("pid").loc[named["pid"]]
    for column in ("cgroup", "exe", "start_time"):
        assert named[column].tolist() == same[column].tolist()


def test_where_the_unified_hierarchy_is_not_in_use_it_is_the_memory_controllers(server):
    """As with cgroup v1; here the two differ in udev's group alone, which is without the controller."""
    broken = Overlay(server).word(server.symbol("cgrp_dfl_visible"), 0, 1).dump()
    ours, theirs = broken.tasks["cgroup"], server.tasks["cgroup"]
    assert set(ours[ours != theirs]) == {"/system.slice/systemd-udevd.service"}
    assert set(theirs[ours != theirs]) == {"/system.slice/systemd-udevd.service/udev"}


# Paths of several mount namespaces


def namespace(truth, pid: int) -> int | None:
    """What readlink /proc/PID/ns/mnt printed; nothing of a zombie."""
    match = re.search(r"mnt:\[(\d+)\]", truth.text(f"p/{pid}/ns"))
    return int(match[1]) if match else None


def test_tasks_live_in_the_mount_namespaces_that_proc_shows(server, server_files):
    truth = server_files.truth
    ours = server.tasks.query("pid == tgid").set_index("pid").loc[truth.pids, "mount_namespace"]
    assert [None if number is pd.NA else number for number in ours] == [
        namespace(truth, pid) for pid in truth.pids
    ]
    assert ours.nunique() == 10


def test_each_tmpfs_is_mounted_where_its_namespaces_mountinfo_says(server, server_files):
    """`/tmp` of a container and of a unit with a private one are not pid 1's."""
    truth, table = server_files.truth, server.tmpfs.dropna(subset="mount")
    mounted = {
        (namespace(truth, pid), words[2], words[4])
        for pid in truth.pids
        if f"p/{pid}/mountinfo" in truth.files
        for words in map(str.split, truth.lines(f"p/{pid}/mountinfo"))
        if words[words.index("-") + 1] in ("tmpfs", "devtmpfs") and words[3] == "/"
    }
    rows = table[["mount_namespace", "dev", "mount"]].itertuples(index=False, name=None)
    assert set(rows) <= mounted
    assert len(table) == 22
    assert not table.duplicated(["mount_namespace", "mount"]).any()
    assert (table["mount"] == "/tmp").sum() == 3


def test_files_of_containers_do_not_pass_for_pid_1s(server, server_files):
    own = namespace(server_files.truth, 1)
    files = server.memory_by_file.set_index("path")
    (container,) = {
        namespace(server_files.truth, pid)
        for pid in server_files.truth.pids
        if server_files.truth.cgroup(pid) == "/containers.slice/ctr.service"
        and namespace(server_files.truth, pid) not in (own, None)
    }
    assert files.loc["/tmp/ctr-tmpfile", "mount_namespace"] == container
    assert files.loc["/var/lib/bigfile", "mount_namespace"] == own
    # The kernel's own mounts are of no namespace, and neither is a block device.
    assert files.loc[["/dev/zero (deleted)", "/dev/vda"], "mount_namespace"].isna().all()
    pages = server.pages
    mapping = int(files.loc["/tmp/ctr-tmpfile", "mapping"])
    pfn = int(pages.loc[pages["mapping"].to_numpy(dtype=np.uint64, na_value=0) == mapping, "pfn"].iloc[0])
    assert server.owner(server.kernel.memory.layout.direct_start + pfn * PAGE)["name"] == (
        f"/tmp/ctr-tmpfile (mount namespace {container})"
    )
    mapped = server.maps.merge(server.tasks[["pid", "mount_namespace"]], on="pid", suffixes=("", "_task"))
    of_files = mapped[mapped["mount_namespace"].notna()]
    # What each maps it opened where it lives, but for those that changed their namespace after they had begun.
    assert (of_files["mount_namespace"] == of_files["mount_namespace_task"]).mean() > 0.95
    inside = mapped[mapped["mount_namespace_task"] == container]
    # unshare(1) itself was opened in pid 1's.
    assert set(inside["mount_namespace"].dropna()) == {container, own}
    assert server.swap["mount_namespace"].tolist() == [own]


# Leads


def test_a_server_has_no_leads_that_every_healthy_one_has(server):
    """PostgreSQL's shared buffers are no deleted file, page cache of oneshot units pins nothing, and after a cgroup's
    own lack of memory the machine's largest process is not the next victim."""
    found = server.suspects
    assert not found.attrs["problems"]
    assert set(found["lead"]) == {"cgroup out of memory", "cgroup at its limit"}
    killed = found[found["lead"] == "cgroup out of memory"]
    assert killed["subject"].tolist() == [
        "/batch.slice/batch-night.slice/victim.service",
        "/batch.slice/batch-day.slice/busy-greedy.service",
        "/batch.slice/batch-night.slice/greedy.service",
    ]
    full = found[found["lead"] == "cgroup at its limit"]
    assert full["subject"].tolist() == ["/batch.slice/batch-night.slice/shmswap.service"]
    # memory.events.local of shmswap.service; memory.events, too, as nothing is below it.
    assert "hit the limit 546 times" in full["evidence"].iloc[0]
