"""vmalloc, iomem, hugepages, swap, shm and tmpfs: against the guests' own files."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from support.overlay import Overlay

WILD = 0xFFFF_F000_DEAD_0000


def rows(table, *names: str) -> list[tuple]:
    return list(zip(*(table[name].tolist() for name in names), strict=True))


# vmalloc


@pytest.fixture(scope="module")
def areas(machine):
    if machine.name == "damaged-7.2":
        pytest.skip("the list of vmalloc areas is lost in this dump")
    return machine.dump.vmalloc


def moves(area: tuple) -> bool:
    """Stacks of threads and terminals that came and went, and what was freed but is still mapped."""
    _, caller, _, kind = area
    return "kernel_clone" in caller or "n_tty_open" in caller or kind.startswith(("unpurged", "vm_map_ram"))


def test_every_area_is_there_with_size_caller_pages_and_kind(machine, areas):
    truth = machine.truth.vmallocinfo()
    filled = areas.assign(caller=areas["caller"].fillna(""), kind=areas["kind"].fillna(""))
    ours = Counter(area for area in rows(filled, "size_bytes", "caller", "pages", "kind") if not moves(area))
    theirs = Counter(area for area in rows(truth, "size_bytes", "caller", "pages", "kind") if not moves(area))
    assert ours == theirs
    assert ours.total() > 30


def test_what_ioremap_maps(machine, areas):
    truth = machine.truth.vmallocinfo()["physical"].dropna().astype("uint64")
    ours = areas["physical"].dropna().astype("uint64")
    assert Counter(ours.tolist()) == Counter(truth.tolist())


def test_every_threads_stack_is_an_area(machine, areas):
    tasks = machine.dump.tasks
    stacks = tasks.kern.field("stack")[(tasks["pid"] > 0) & (tasks["state"] != "X")].dropna().astype("uint64")
    found = areas["caller"].fillna("").str.contains("kernel_clone")
    # A zombie's stack is gone already.
    assert set(stacks) - {0} <= set(areas.loc[found, "start"].astype("uint64"))
    assert (areas.loc[found, "pages"] == 4).all()


def test_areas_ascend_and_do_not_overlap(areas):
    start, end = areas["start"].to_numpy(dtype=np.uint64), areas["end"].to_numpy(dtype=np.uint64)
    assert (start < end).all()
    assert (end[:-1] <= start[1:]).all()


def test_the_damaged_dump_says_that_areas_are_lost(damaged_dump, opened):
    table = opened(damaged_dump.name).vmalloc
    assert table.attrs["problems"]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_a_looped_list_of_areas_ends_and_is_told(opened, name):
    dump = opened(name)
    table = dump.vmalloc
    objects = dump.slab_objects("vmap_area")
    used = objects[objects["allocated"].fillna(False)]
    where, _ = Overlay(dump).where("struct vmap_area", int(used["address"].iloc[len(used) // 2]), "list.next")
    for target in (where, WILD):
        broken = Overlay(dump).word(where, target).dump()
        before = broken.kernel.memory.gathers
        damaged = broken.vmalloc
        assert broken.kernel.memory.gathers - before < 20_000
        # The tree still has what the list lost, or problems say that something is.
        assert len(damaged) == len(table) or damaged.attrs["problems"]


# iomem


def test_iomem_is_exact(machine):
    ours, theirs = machine.dump.iomem, machine.truth.iomem()
    ours = ours.astype({"start": "uint64", "end": "uint64"})
    names = ("start", "end", "name", "depth")
    assert rows(ours, *names) == rows(theirs, *names)


def test_a_looped_tree_of_resources_ends(opened):
    dump = opened("debian-6.1")
    table = dump.iomem
    ram = table[table["name"] == "System RAM"]
    child, parent = int(ram["address"].iloc[-1]), int(ram["address"].iloc[0])
    for member, target in (("sibling", parent), ("child", child), ("sibling", WILD)):
        broken = Overlay(dump).set("struct resource", child, member, target).dump()
        damaged = broken.iomem
        assert damaged.attrs["problems"]
        assert len(damaged) <= len(table) + 1


# Pools, swap, shared memory


def test_pools_of_huge_pages_are_meminfos(machine):
    truth = machine.truth.meminfo()
    pools = machine.dump.hugepages
    default = pools[pools["default"]].iloc[0]
    assert default["size_bytes"] == truth["Hugepagesize"]
    for ours, theirs in (
        ("total", "HugePages_Total"),
        ("free", "HugePages_Free"),
        ("reserved", "HugePages_Rsvd"),
        ("surplus", "HugePages_Surp"),
    ):
        assert default[ours] == truth[theirs]
    assert int(pools["bytes"].sum()) == truth["Hugetlb"]
    pages = machine.dump.memory.set_index("kind")["bytes"]
    assert int(pages[["hugetlb"]].sum()) == truth["Hugetlb"]


def test_swap_and_segments_are_what_the_files_list(machine):
    files = machine.truth.files
    if "swaps" in files:
        assert len(machine.dump.swap) == len(machine.truth.lines("swaps")) - 1
    if "sysvipc_shm" in files:
        listed = [line.split() for line in machine.truth.lines("sysvipc_shm")[1:]]
        ours = machine.dump.shm
        assert sorted(ours["shmid"].tolist()) == sorted(int(line[1]) for line in listed)


def test_tmpfs_hold_what_meminfo_calls_shmem(machine_or_server):
    dump = machine_or_server.dump
    table = dump.tmpfs
    if machine_or_server.name == "damaged-7.2":
        pytest.skip("the list of super blocks is lost in this dump")
    assert int(table["resident_bytes"].sum()) == int(dump.meminfo["Shmem"])
    limited = table.dropna(subset="used_bytes")
    assert len(limited)
    # What is used lies in memory or in swap, where large folios are one entry each.
    assert limited["used_bytes"].tolist() == (limited["resident_bytes"] + limited["swap_bytes"]).tolist()
    assert (table["swap_bytes"] > 0).any() == (machine_or_server.name == "server")


def test_tmpfs_are_mounted_where_the_mounts_say(machine):
    table = machine.dump.tmpfs
    if machine.name == "damaged-7.2":
        pytest.skip("the list of super blocks is lost in this dump")
    mounted = [line.split() for line in machine.truth.lines("mounts")]
    on = {
        re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), words[1])
        for words in mounted
        if words[2] in ("tmpfs", "devtmpfs")
    }
    assert set(table["mount"].dropna()) <= on | {"/"}
