"""`slab_objects`: against the kernel's own counts, against other tables, and over freelists damaged on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab import KernlabError
from kernlab.walk.cpus import cpus, percpu_many

WILD = 0xFFFF_F000_DEAD_0000


@pytest.fixture(scope="module")
def objects(dump):
    return dump.slab_objects()


def test_every_cache_has_as_many_objects_as_the_kernel_counts(dump, objects):
    found = objects.groupby("cache").size()
    slabs = dump.slabs.set_index("name")
    assert found.reindex(slabs.index, fill_value=0).tolist() == slabs["objects"].tolist()


def test_allocated_is_what_no_freelist_sheaf_or_barn_holds(dump, objects):
    """`slabs` counts lengths of lists, this pass marks objects: two ways to the same numbers, for every cache."""
    assert not objects["allocated"].isna().any()
    assert not any(problem.startswith("slabs") for problem in objects.attrs["problems"])
    used = objects[objects["allocated"]].groupby("cache").size()
    slabs = dump.slabs.set_index("name")
    assert used.reindex(slabs.index, fill_value=0).tolist() == slabs["active"].tolist()


def test_addresses_are_distinct_and_ascend(objects):
    address = objects["address"].to_numpy(dtype=np.uint64)
    assert (np.diff(address.astype(np.int64)) > 0).all()


@pytest.mark.parametrize(("cache", "table"), [("task_struct", "tasks"), ("vm_area_struct", "maps")])
def test_what_another_table_found_is_an_allocated_object(dump, objects, cache, table):
    theirs = set(getattr(dump, table)["address"].to_numpy(dtype=np.uint64).tolist())
    theirs.discard(dump.symbol("init_task"))
    mine = objects[(objects["cache"] == cache) & objects["allocated"]]["address"].to_numpy(dtype=np.uint64)
    # Threads that have ended wait for a grace period; VMAs are all mapped.
    assert theirs <= set(mine.tolist())
    assert len(mine) - len(theirs) <= (40 if cache == "task_struct" else 0)


def test_one_cache_is_the_same_as_its_rows_of_all(dump, objects):
    one = dump.slab_objects("dentry")
    rows = objects[objects["cache"] == "dentry"]
    assert (
        one["address"].to_numpy(dtype=np.uint64).tolist()
        == rows["address"].to_numpy(dtype=np.uint64).tolist()
    )
    assert one["allocated"].tolist() == rows["allocated"].tolist()
    address = int(dump.slabs.set_index("name")["address"]["dentry"])
    assert dump.slab_objects(address)["address"].tolist() == one["address"].tolist()
    assert len(dump.slab_objects(["dentry", "filp"])) == len(one) + len(dump.slab_objects("filp"))


def test_an_object_knows_its_type(dump):
    dentries = dump.slab_objects("dentry")
    used = dentries[dentries["allocated"]]
    parents = used.kern.field("d_parent->d_name.len")
    assert parents.notna().mean() > 0.99
    pids = dump.slab_objects("task_struct")
    alive = pids[pids["allocated"]].kern.field("pid")
    assert set(dump.tasks["pid"]) - {0} <= set(alive)


def test_slab_is_the_page_that_names_the_cache(dump):
    vmas = dump.slab_objects("vm_area_struct")
    cache = vmas.kern.on("slab").field("slab_cache")
    assert set(cache.tolist()) == {int(dump.slabs.set_index("name")["address"]["vm_area_struct"])}


def test_dtypes_are_the_contract(objects):
    assert {name: str(dtype) for name, dtype in objects.dtypes.items()} == {
        "address": "address",
        "cache": "str",
        "slab": "address",
        "allocated": "boolean",
    }


def test_a_cache_that_is_not_there_is_refused_with_the_nearest(opened):
    with pytest.raises(KernlabError, match="did you mean dentry"):
        opened("debian-6.1").slab_objects("dentri")
    with pytest.raises(KernlabError, match="merges caches"):
        opened("debian-6.1").slab_objects(0xDEAD)


def test_a_damaged_dump_says_what_it_does_not_know(damaged_dump, opened):
    dump = opened(damaged_dump.name)
    objects = dump.slab_objects()
    assert 0 < objects["allocated"].isna().sum() < len(objects)
    assert objects.attrs["problems"]
    active = dump.slabs.set_index("name")["active"].dropna()
    known = objects.groupby("cache")["allocated"].agg(lambda column: column.notna().all())
    used = objects[objects["allocated"].fillna(False)].groupby("cache").size()
    both = [name for name in active.index if known.get(name, False)]
    assert both
    assert all(used.get(name, 0) == active[name] for name in both)


# Damage


def encoded(dump, cache, where: int, target: int) -> int:
    """A freelist link as the kernel stores it."""
    if "random" not in cache.type_.member_names():
        return target
    return target ^ cache.random ^ int.from_bytes(where.to_bytes(8, "little"), "big")


@pytest.fixture(params=["debian-6.1", "debian-7.2"])
def partial(request, opened):
    """A slab with several free objects on its own list: (dump, its cache, its page, free objects in address order)."""
    dump = opened(request.param)
    objects = dump.slab_objects("dentry")
    free = objects[~objects["allocated"]]
    slab = dump.structs("slab", free["slab"])
    listed = free[slab["freelist"].values != 0]
    counts = listed.groupby(listed["slab"].to_numpy(dtype=np.uint64)).size()
    page = int(counts.idxmax())
    rows = listed[listed["slab"].to_numpy(dtype=np.uint64) == np.uint64(page)]
    cache = dump.struct("kmem_cache", int(dump.slabs.set_index("name")["address"]["dentry"]))
    return dump, cache, page, rows["address"].to_numpy(dtype=np.uint64).tolist()


@pytest.mark.parametrize("damage", ["circle", "outside", "misaligned", "unmapped", "lost"])
def test_a_damaged_freelist_is_told_and_costs_its_slab_only(partial, damage):
    dump, cache, page, _ = partial
    head = int(dump.struct("slab", page).freelist)
    where = head + cache.offset
    overlay = Overlay(dump)
    if damage == "lost":
        overlay.lose(where)
    else:
        target = {"circle": head, "outside": head + (1 << 20), "misaligned": head + 8, "unmapped": WILD}[
            damage
        ]
        overlay.word(where, encoded(dump, cache, where, target))
    broken = overlay.dump()
    before = broken.kernel.memory.gathers
    damaged = broken.slab_objects("dentry")
    assert broken.kernel.memory.gathers - before < 2000
    whole = dump.slab_objects("dentry")
    assert damaged["address"].equals(whole["address"])
    same = damaged["slab"].to_numpy(dtype=np.uint64) != np.uint64(page)
    if damage != "lost":
        assert damaged["allocated"][same].equals(whole["allocated"][same])
    mine = damaged[~same]
    assert mine["allocated"].isna().any()
    assert not mine["allocated"].fillna(True).all()
    assert any("damaged" in problem for problem in damaged.attrs["problems"])


def test_a_freelist_that_runs_into_another_ends_there(partial):
    dump, cache, page, free = partial
    head = int(dump.struct("slab", page).freelist)
    where = head + cache.offset
    other = next(address for address in free if address != head)
    broken = Overlay(dump).word(where, encoded(dump, cache, where, other)).dump()
    damaged = broken.slab_objects("dentry")
    assert any("count" in problem or "damaged" in problem for problem in damaged.attrs["problems"])


def test_a_cpus_freelist_that_leads_nowhere(opened):
    dump = opened("debian-6.1")
    kernel = dump.kernel
    caches = dump.slabs.kern.structs
    cpu = dump.structs(
        "kmem_cache_cpu", percpu_many(kernel, caches["cpu_slab"].values, cpus(kernel)).reshape(-1)
    )
    row = int(np.flatnonzero(cpu["freelist"].values)[0])
    broken = Overlay(dump).set("struct kmem_cache_cpu", int(cpu.addresses[row]), "freelist", WILD).dump()
    damaged = broken.slab_objects()
    assert any("freelists of CPUs" in problem for problem in damaged.attrs["problems"])
    assert len(damaged) == len(dump.slab_objects())


def test_a_sheaf_full_of_nonsense(opened):
    dump = opened("debian-7.2")
    objects = dump.slab_objects()
    kernel = dump.kernel
    caches = dump.slabs.kern.structs
    with_sheaves = caches[caches["cpu_sheaves"].values != 0]
    where = percpu_many(kernel, with_sheaves["cpu_sheaves"].values, cpus(kernel)).reshape(-1)
    main = dump.structs("slab_sheaf", dump.structs("slub_percpu_sheaves", where)["main"].values)
    size = main["size"]
    row = int(np.flatnonzero(size.valid & (size.values >= 2))[0])
    slot = int(main["objects"].values[row])
    overlay = Overlay(dump).word(slot, WILD)
    second = int.from_bytes(dump.read(slot + 8, 8), "little")
    overlay.word(slot + 8, second + 1)
    damaged = overlay.dump().slab_objects()
    assert any("pointers to no object" in problem for problem in damaged.attrs["problems"])
    assert int(damaged["allocated"].sum()) - int(objects["allocated"].sum()) == 2
    huge = (
        Overlay(dump)
        .set("struct slab_sheaf", int(main.addresses[row]), "size", 1 << 30)
        .dump()
        .slab_objects()
    )
    assert huge["allocated"].isna().any()
    assert any("sheaves of" in problem for problem in huge.attrs["problems"])


def test_a_slab_page_that_names_a_wild_cache_is_left_out(partial):
    dump, _, page, _ = partial
    broken = Overlay(dump).set("struct slab", page, "slab_cache", WILD).dump()
    damaged = broken.slab_objects()
    assert not (damaged["slab"].to_numpy(dtype=np.uint64) == np.uint64(page)).any()
    assert any("left out" in problem for problem in damaged.attrs["problems"])


@pytest.mark.parametrize("gone", ["counters", "page struct"])
@pytest.mark.parametrize("cache", ["dentry", None])
def test_a_slab_that_was_zeroed_is_missed(partial, gone, cache):
    """Its cache still counts it; an object fewer than that is never silent."""
    dump, _, page, _ = partial
    whole = dump.slab_objects(cache)
    lost = int((whole["slab"].to_numpy(dtype=np.uint64) == np.uint64(page)).sum())
    overlay = Overlay(dump)
    where = overlay.where("struct slab", page, "freelist")[0]
    # The counters lie behind the freelist's head.
    overlay.write(where + 8, bytes(8)) if gone == "counters" else overlay.write(page, bytes(64))
    damaged = overlay.dump().slab_objects(cache)
    assert len(damaged) == len(whole) - lost
    slabs = 0 if gone == "counters" else 1
    words = f"slabs: {slabs} slabs and {lost} objects that their caches count are not here"
    assert any(problem.startswith(words) and "dentry" in problem for problem in damaged.attrs["problems"]), (
        damaged.attrs["problems"]
    )
    assert whole.attrs["problems"] == []


def test_names_of_dentries_are_text(dump):
    """A pointer to char is what it points to; the length beside it says the same."""
    dentries = dump.slab_objects("dentry")
    used = dentries[dentries["allocated"].fillna(False).astype(bool)]
    names = used.kern.field("d_name.name")
    assert str(names.dtype) == "str"
    assert names.notna().mean() > 0.99
    lengths = used.kern.field("d_name.len")
    plain = names.notna() & ~names.fillna("").str.contains("\\", regex=False)
    assert (names[plain].str.len() == lengths[plain].astype("int64")).mean() > 0.999
    assert "busybox" in set(names.dropna())
