"""pages and memory: the parts add up to the machine, and to what the kernel itself counts, zone by zone."""

from __future__ import annotations

import numpy as np
import pytest
from support.kinds_truth import BATCH, kinds
from support.overlay import Overlay

PAGE = 4096
WILD = 0xFFFF_F000_DEAD_0000


# Sums


def test_the_breakdown_is_all_memory_to_the_page(machine):
    memory = machine.dump.memory
    zones = machine.dump.zones
    assert int(memory["bytes"].sum()) == int(zones["present"].sum()) * PAGE
    managed, reserved = int(zones["managed"].sum()), memory.loc[memory["kind"] == "reserved", "bytes"].sum()
    assert int(memory["bytes"].sum()) == managed * PAGE + int(reserved)
    assert memory["share"].sum() == pytest.approx(1)
    assert not any("not exact" in problem for problem in memory.attrs["problems"])


def test_the_breakdown_is_the_count_of_pages(machine):
    memory, pages = machine.dump.memory, machine.dump.pages
    assert len(pages) == int(machine.dump.zones["present"].sum())
    found = pages.groupby(["kind", "node"], observed=True).size() * PAGE
    said = memory.dropna(subset="bytes").set_index(["kind", "node"])["bytes"]
    said = said[said > 0].astype("int64")
    assert said.to_dict() == {key: value for key, value in found.to_dict().items() if value}


def test_all_of_it_is_meminfos_total_and_what_is_reserved(machine):
    truth = machine.truth.meminfo()
    memory = machine.dump.memory.groupby("kind", observed=True)["bytes"].sum()
    assert int(memory.sum() - memory["reserved"]) == truth["MemTotal"]
    assert int(memory.sum()) == int(machine.truth.zoneinfo()["present"].sum()) * PAGE


# Each kind against the kernel's own counter


def test_each_kind_is_what_the_kernel_counts(machine_or_server):
    """Zone by zone where it counts so: free, per-CPU, file, shmem, anon, page tables, slab, vmalloc, stacks."""
    compared = kinds(machine_or_server.dump)
    told = {each.what for each in compared}
    assert {"managed", "free", "file and shmem", "shmem", "anon", "page tables"} <= told
    assert ("kernel stack" in told) == (machine_or_server.name != "damaged-7.2")
    assert [each for each in compared if not each.holds] == []


def test_free_blocks_of_each_order_are_buddyinfos(machine):
    pages = machine.dump.pages
    free = pages[pages["kind"] == "free"]
    heads = free[free["head"] == free["pfn"]]
    found = heads.groupby(["node", "zone", "order"], observed=True).size()
    info = machine.dump.buddyinfo.set_index(["node", "zone"])
    said = info[list(range(11))].stack()
    assert {key: value for key, value in said.to_dict().items() if value} == found.to_dict()


def test_anonymous_memory_that_nobody_maps_is_a_few_pages_on_their_way_out(machine):
    pages = machine.dump.pages
    anon = pages[pages["kind"].isin(["anon", "THP"])]
    # Pages that their process is done with, and that a CPU's batch still holds (mm/swap.c).
    rest = anon[anon["mapcount"].fillna(0) == 0]
    assert len(rest) <= BATCH * machine.truth.cpus()
    assert (rest["refcount"] == 1).all()


def test_slab_pages_are_what_the_caches_hold(machine):
    slabs = machine.dump.slabs
    if slabs["bytes"].notna().all() and not slabs.attrs["problems"]:
        found = int((machine.dump.pages["kind"] == "slab").sum())
        assert found * PAGE == int(slabs["bytes"].sum())


def test_each_caches_pages_are_what_the_cache_counts(machine):
    pages, slabs = machine.dump.pages, machine.dump.slabs
    found = pages.dropna(subset="slab_cache").groupby("slab_cache").size() * PAGE
    found.index = found.index.astype("uint64")
    said = slabs.dropna(subset="bytes").set_index(slabs.dropna(subset="bytes")["address"].astype("uint64"))[
        "bytes"
    ]
    said = said[said > 0].astype("int64")
    if slabs.attrs["problems"]:
        said = said[said.index.isin(found.index)]
        found = found[found.index.isin(said.index)]
    assert found.to_dict() == said.to_dict()


def test_stacks_are_one_a_thread_at_least(machine):
    if machine.name == "damaged-7.2":
        pytest.skip("the list of vmalloc areas is lost in this dump")
    threads = int((machine.dump.tasks["pid"] > 0).sum())
    assert int((machine.dump.pages["kind"] == "kernel stack").sum()) >= threads * 4


# Columns


def test_dtypes_are_compact(machine):
    pages = machine.dump.pages
    assert pages["kind"].dtype == "category"
    assert pages["zone"].dtype == "category"
    assert pages["node"].dtype == "category"
    # The types of 5.10's modules, of which virtio is one, are not in a dump.
    problems = [
        text for text in pages.attrs["problems"] if "virtio devices may still have written" not in text
    ]
    assert not problems or machine.name == "damaged-7.2"
    # A terabyte has 268 million frames: each byte a row counts.
    assert pages.memory_usage(index=False).sum() <= 72 * len(pages)


def test_frames_ascend_and_are_system_ram(machine):
    pages = machine.dump.pages
    pfn = pages["pfn"].to_numpy()
    assert (np.diff(pfn) > 0).all()
    iomem = machine.truth.iomem()
    ram = iomem[iomem["name"] == "System RAM"]
    inside = np.zeros(len(pfn), dtype=bool)
    for start, end in zip(ram["start"].tolist(), ram["end"].tolist(), strict=True):
        inside |= (pfn >= -(-start // PAGE)) & (pfn <= end // PAGE)
    assert inside.all()


def test_a_block_is_one_kind_and_aligned(machine):
    pages = machine.dump.pages
    blocks = pages[pages["order"] > 0]
    head = blocks["head"].to_numpy(dtype=np.int64)
    order = blocks["order"].to_numpy(dtype=np.int64)
    assert (head % (1 << order) == 0).all()
    assert ((blocks["pfn"].to_numpy() - head) < (1 << order)).all()
    sizes = blocks.groupby("head").size()
    per_head = blocks.groupby("head")
    assert sizes.tolist() == (1 << per_head["order"].first().to_numpy(dtype=np.int64)).tolist()
    assert per_head["kind"].first().reindex(blocks["head"]).tolist() == blocks["kind"].tolist()


def test_page_structs_read_one_by_one_say_the_same(machine):
    """Flags, refcount and the slab's cache against the struct members themselves, for some of every kind."""
    dump = machine.dump
    pages = dump.pages
    some = pages.groupby("kind", observed=True).sample(20, random_state=5, replace=True)
    structs = dump.structs("page", some["address"])
    flags = structs["flags.f"] if structs.has("flags.f") else structs["flags"]
    assert flags.values.tolist() == some["flags"].tolist()
    assert structs["_refcount.counter"].values.tolist() == some["refcount"].tolist()
    slab = some[some["slab_cache"].notna()]
    where = int(pages["address"].to_numpy(dtype=np.uint64)[0]) - int(pages["pfn"].iloc[0]) * 64
    heads = (slab["head"].astype("int64") * 64).to_numpy().astype(np.uint64) + np.uint64(where)
    member = dump.structs("slab" if dump.kernel.types.get("struct slab") else "page", heads)
    assert member["slab_cache"].values.tolist() == slab["slab_cache"].astype("uint64").tolist()


# Damage


def test_page_structs_that_are_gone_are_unknown_not_free(opened):
    dump = opened("debian-6.1")
    pages = dump.pages
    victim = pages[pages["kind"] == "slab"].iloc[0]
    place = int(victim["address"]) // PAGE * PAGE
    broken = Overlay(dump).exclude(place).dump()
    found = broken.pages
    lost = found[found["kind"] == "excluded"]
    assert len(lost) == PAGE // 64
    assert int(victim["pfn"]) in set(lost["pfn"])
    assert lost[["flags", "refcount", "mapcount", "order", "mapping", "slab_cache"]].isna().all(axis=None)
    assert lost["zone"].isna().all()
    assert any("unknown" in problem for problem in found.attrs["problems"])
    memory = broken.memory
    assert int(memory["bytes"].sum()) == int(dump.memory["bytes"].sum())
    rows = memory[memory["kind"] == "excluded"]
    assert int(rows["bytes"].sum()) == len(lost) * PAGE
    assert rows.loc[rows["bytes"] > 0, "node"].isna().all()


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.12", "debian-7.2"])
@pytest.mark.parametrize("kinds", [("free",), ("other kernel", "large kmalloc")])
def test_what_is_left_of_a_block_without_its_head_is_unknown(opened, name, kinds):
    """Free blocks and compound pages say in their first page struct what they are, the others lie on other pages."""
    dump = opened(name)
    pages = dump.pages
    heads = (pages["order"].astype("Int64") > 6) & (pages["head"] == pages["pfn"])
    large = pages[heads & pages["kind"].isin(kinds)]
    if not len(large):
        pytest.skip(f"no large block is {' or '.join(kinds)}")
    head = large.iloc[len(large) // 2]
    count = 1 << int(head["order"])
    with Overlay(dump).exclude(int(head["address"])).dump() as broken:
        found = broken.pages
        first = int(np.flatnonzero(pages["pfn"] == head["pfn"])[0])
        assert set(found["kind"].iloc[first : first + count]) == {"excluded"}
        rest = np.ones(len(pages), dtype=bool)
        rest[first : first + count] = False
        assert (found["kind"].astype(str)[rest] == pages["kind"].astype(str)[rest]).all()
        assert any(
            problem.startswith(f"the page structs of {count:,} of ") for problem in found.attrs["problems"]
        )
        assert broken.memory["bytes"].sum() == dump.memory["bytes"].sum()


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_stands_in_page_structs_the_sum_is_exact(opened, name, seed):
    """Random bytes over pages of page structs: orders, links, zones and mappings that cannot be."""
    dump = opened(name)
    pages = dump.pages
    rng = np.random.default_rng(seed)
    overlay = Overlay(dump)
    structs = np.unique(pages["address"].to_numpy(dtype=np.uint64) // np.uint64(PAGE))
    for place in rng.choice(structs, 40, replace=False).tolist():
        data = rng.integers(0, 256, PAGE, dtype=np.uint8)
        if seed % 2:
            # Most bytes zero: fields that are plausible one by one.
            data[rng.random(PAGE) < 0.9] = 0
        overlay.write(place * PAGE, data.tobytes())
    broken = overlay.dump()
    before = broken.kernel.memory.gathers
    found = broken.pages
    assert len(found) == len(pages)
    assert found["pfn"].equals(pages["pfn"])
    assert broken.kernel.memory.gathers - before < 20_000
    assert int(broken.memory["bytes"].sum()) == int(dump.memory["bytes"].sum())


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
@pytest.mark.parametrize("target", ["itself", "wild", "text"])
def test_a_looped_list_of_a_cpus_free_pages_ends_and_is_told_or_mended(opened, name, target):
    dump = opened(name)
    pcp = dump.pages[dump.pages["kind"] == "pcp"]
    page = int(pcp["address"].iloc[len(pcp) // 2])
    overlay = Overlay(dump)
    member = next(each for each in ("lru.next", "pcp_list.next") if dump.structs("page", [page]).has(each))
    where, _ = overlay.where("struct page", page, member)
    overlay.word(where, {"itself": where, "wild": WILD, "text": dump.symbol("_text")}[target])
    broken = overlay.dump()
    before = broken.kernel.memory.gathers
    found = broken.pages
    assert broken.kernel.memory.gathers - before < 20_000
    assert len(found) == len(dump.pages)
    # Lists are linked both ways: one broken link costs nothing, where the other way leads to all of them.
    assert found.attrs["problems"] or found["kind"].equals(dump.pages["kind"])
    assert 0 < int((found["kind"] == "pcp").sum()) <= len(pcp)


def test_free_pages_of_a_cpu_that_are_cut_off_both_ways_are_told(opened):
    dump = opened("debian-6.1")
    pcp = dump.pages[dump.pages["kind"] == "pcp"]
    overlay = Overlay(dump)
    for page in pcp["address"].iloc[[5, 30, 60]].tolist():
        for member in ("lru.next", "lru.prev"):
            where, _ = overlay.where("struct page", int(page), member)
            overlay.word(where, where)
    found = overlay.dump().pages
    assert int((found["kind"] == "pcp").sum()) < len(pcp)
    assert any("per-CPU lists of free pages should hold" in problem for problem in found.attrs["problems"])


def test_zones_that_cannot_be_read_cost_no_frame(opened):
    dump = opened("debian-6.1")
    zone = int(dump.zones["address"].iloc[1])
    broken = Overlay(dump).exclude(zone).dump()
    assert len(broken.pages) == len(dump.pages)
    assert int(broken.memory["bytes"].sum()) == int(dump.memory["bytes"].sum())
    assert broken.zones["present"].isna().any()


def test_the_damaged_dump_says_what_is_unknown(damaged_dump, opened):
    dump = opened(damaged_dump.name)
    for table in (dump.memory, dump.pages):
        assert any("vmalloc" in problem for problem in table.attrs["problems"])


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.12", "debian-7.2"])
@pytest.mark.parametrize("value", ["lost", "other"])
def test_one_migrate_types_name_renames_no_other(opened, name, value):
    dump = opened(name)
    names = dump.symbol("migratetype_names")
    other = int.from_bytes(dump.read(names, 8), "little")
    with Overlay(dump).word(names + 8, 0xDEAD if value == "lost" else other).dump() as broken:
        found = broken.pages
        assert (found["migratetype"].astype(str) == dump.pages["migratetype"].astype(str)).all()
        assert any("names of migratetype_names are lost" in told for told in found.attrs["problems"])
