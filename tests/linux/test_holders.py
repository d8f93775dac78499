"""Whose it is, as people say it: names from the guest's own /proc, structs by other ways than the ones that say it."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay


def numbers(column) -> np.ndarray:
    return column.to_numpy(dtype=np.uint64)


@pytest.fixture(scope="module")
def said(dump, whole_dump):
    """The tasks of processes that the guest's /proc knew, and what people call each, by its pid."""
    truth = whole_dump.truth.tasks()
    # There a kernel thread has its whole name, a worker that of its work, too.
    truth = truth[~truth["comm"].str.startswith("kworker") & (truth["comm"].str.len() < 16)]
    names = {int(pid): f"{comm} ({pid})" for pid, comm in zip(truth["pid"], truth["comm"], strict=True)}
    return dump.tasks[dump.tasks["pid"].isin(list(names))], names


def test_threads_hold_their_task_and_their_stack(dump, said):
    tasks, names = said
    expected = [names[pid] for pid in tasks["pid"]]
    assert len(expected) > 30
    assert dump.owner(numbers(tasks["address"]) + np.uint64(24))["holder"].tolist() == expected
    stack = numbers(tasks.kern.field("stack"))
    assert dump.owner(stack + np.uint64(1000))["holder"].tolist() == expected


@pytest.mark.parametrize("member", ["mm", "signal", "files", "sighand"])
def test_processes_hold_what_all_their_threads_share(dump, said, member):
    tasks, names = said
    users = tasks[~tasks["kthread"] & tasks["tgid"].isin(list(names))]
    pointer = users.kern.field(member)
    users, pointer = users[pointer.fillna(0) != 0], pointer[pointer.fillna(0) != 0]
    shared = pointer.groupby(pointer.astype(object)).transform("size") > 1
    alone = users["pid"].eq(users["tgid"]) & ~shared
    assert alone.sum() > 5
    found = dump.owner(pointer[alone])["holder"].tolist()
    assert found == [names[pid] for pid in users["tgid"][alone]]
    inside = dump.owner(numbers(pointer[alone]) + np.uint64(16))
    assert inside["holder"].tolist() == found


def test_mappings_are_their_processes_and_their_files_are_said_by_path(dump, said):
    _, names = said
    maps = dump.maps[dump.maps["pid"].isin(list(names))]
    found = dump.owner(maps["address"])
    slab = (found["kind"] == "slab object").to_numpy()
    assert slab.sum() > 100
    assert found["holder"][slab].tolist() == [names[pid] for pid in maps["pid"][slab]]
    files = maps[maps["path"].str.startswith("/") & ~maps["path"].str.contains("deleted", regex=False)]
    file = dump.owner(files.kern.field("vm_file"))
    assert file["holder"].tolist() == files["path"].tolist()
    for path in ("vm_file->f_path.dentry", "vm_file->f_inode"):
        found = dump.owner(files.kern.field(path))
        known = (found["type"].notna()).to_numpy()
        assert known.mean() > 0.9
        same = found["holder"][known].to_numpy() == files["path"][known].to_numpy()
        # A file with several names is called by its first.
        assert same.mean() > 0.95


def test_anonymous_pages_are_their_processes(dump, said):
    _, names = said
    maps = dump.maps.assign(anon_vma=dump.maps.kern.field("anon_vma"))
    maps = maps[maps["anon_vma"].fillna(0) != 0]
    whose = {int(anon): set(pids) for anon, pids in maps.groupby(maps["anon_vma"].astype(object))["pid"]}
    pages = dump.pages
    pages = pages[pages["kind"] == "anon"]
    pages = pages[pages["mapping"].isin(list(whose))].sample(300, random_state=3)
    found = dump.owner(dump.kernel.layout.direct_addresses(numbers(pages["pfn"])))
    assert (found["kind"] == "anon").all()
    expected = [whose[int(mapping)] for mapping in pages["mapping"]]
    checked = 0
    for holder, pids in zip(found["holder"], expected, strict=True):
        if len(pids) == 1 and (pid := next(iter(pids))) in names:
            assert holder == names[pid]
            checked += 1
    assert checked > 100


def test_modules_hold_their_symbols_and_their_memory(dump):
    modules = dump.modules
    symbols = dump.symbols[dump.symbols["module"] != ""]
    found = dump.owner(symbols["address"])
    mine = found["kind"] == "symbol"
    assert mine.mean() > 0.9
    assert (found["holder"][mine].to_numpy() == symbols["module"][mine.to_numpy()].to_numpy()).all()
    # The page behind the last symbol of a module is still the module's.
    ends = numbers(modules["base"]) + np.uint64(8)
    assert dump.owner(ends)["holder"].tolist() == modules["name"].tolist()


def test_a_cache_is_called_by_its_name_and_what_is_nobodys_by_its_own(dump):
    caches = dump.slabs
    found = dump.owner(caches["address"])
    there = (found["type"] == "struct kmem_cache").to_numpy()
    assert there.any()
    assert found["holder"][there].tolist() == caches["name"][there].tolist()
    unnamed = dump.owner(dump.slab_objects("kmalloc-64")["address"].head(20))
    assert (unnamed["holder"] == "kmalloc-64").all()


def test_idle_tasks_and_the_first_stack(dump):
    assert dump.owner("init_task")["holder"] == "swapper/0 (0)"
    (stack,) = dump.tasks[dump.tasks["address"] == dump.symbol("init_task")].kern.field("stack")
    found = dump.owner(int(stack) + 64)
    assert found["holder"] == "swapper/0 (0)"


def test_what_is_free_is_nobodys(opened):
    dump = opened("debian-6.1")
    free = dump.slab_objects("vm_area_struct")
    free = free[~free["allocated"].fillna(True).astype(bool)]
    assert len(free) > 3
    assert (dump.owner(free["address"])["holder"] == "vm_area_struct").all()
    dead = dump.slab_objects("task_struct")
    dead = dead[~dead["address"].isin(dump.tasks["address"])]
    assert len(dead) > 3
    assert (dump.owner(dead["address"])["holder"] == "task_struct").all()


def test_what_two_processes_share_names_both(opened):
    below = opened("debian-6.1")
    users = below.tasks[
        ~below.tasks["kthread"] & (below.tasks["pid"] == below.tasks["tgid"]) & (below.tasks["pid"] > 0)
    ]
    first, second = users.sort_values("pid").iloc[0], users.sort_values("pid").iloc[1]
    overlay = Overlay(below)
    mm = int(first["mm"])
    overlay.set("task_struct", int(second["address"]), "mm", mm)
    dump = overlay.dump()
    assert dump.owner(mm)["holder"] == (
        f"{first['comm']} ({first['pid']}) and {second['comm']} ({second['pid']})"
    )
    dump.close()


def test_what_one_is_does_not_depend_on_who_is_asked_for_with_it(dump):
    """File systems lie in memory of kmalloc: that of the root, alone and beside something else."""
    block = int(dump.struct("task_struct", dump.symbol("init_task")).fs.root.mnt.mnt_sb)
    beside = dump.owner([block, dump.symbol("init_task")]).iloc[0]
    assert beside["type"] == "struct super_block"
    alone = dump.owner([block]).iloc[0]
    assert alone.drop("holder").to_dict() == beside.drop("holder").to_dict()
