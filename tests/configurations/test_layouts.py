"""Options that change where things lie: NUMA, the memory map, SLUB's own counts, event counters."""

from __future__ import annotations

import numpy as np
import pytest
from configurations.options import LAYOUTS, OPTIONS, Changed
from configurations.test_options import build, differences
from support.absent import Absence
from support.overlay import Overlay

from kernlab.errors import KernlabError
from kernlab.linux.page.mem_sections import sections
from kernlab.linux.page.pageblocks import pageblock_order
from kernlab.linux.vm_counters import vmstat_names
from kernlab.linux.zones import most_nodes, node_ids

DUMPS = ("debian-5.10", "debian-6.1", "debian-7.2")


@pytest.fixture(params=DUMPS)
def below(request, opened):
    return opened(request.param)


class TestWithoutNuma:
    """CONFIG_NUMA=n: one node, which is a variable and no pointer; its counters have no NUMA events among them."""

    @pytest.fixture
    def dump(self, below):
        first = int.from_bytes(below.read(below.symbol("node_data"), 8), "little")
        return (LAYOUTS["NUMA"] | Absence(moved={"contig_page_data": first})).of(below)

    def test_there_is_one_node(self, dump):
        assert node_ids(dump.kernel) == 1
        assert most_nodes(dump.kernel) == 1 or dump.kernel.types.get("struct hstate") is not None

    @pytest.mark.parametrize(
        "table", ["zones", "nodes", "buddyinfo", "meminfo", "vmstat", "slabs", "hugepages"]
    )
    def test_it_says_the_same_without_numa(self, dump, below, table):
        whole = build(below, table)
        numa = [name for name in whole.columns if str(name).startswith("numa_")]
        events = set(vmstat_names(below.kernel)["events"])
        gone = [name for name in numa if name not in events]
        found = build(dump, table)
        assert differences(found, whole, Changed(gone=tuple(gone))) == []
        assert found.attrs["problems"] == whole.attrs["problems"]


class TestWithoutVmemmap:
    """CONFIG_SPARSEMEM_VMEMMAP=n: each section's page structs lie in the direct map, and are refused by that name."""

    @pytest.fixture
    def dump(self, below):
        kernel, overlay = below.kernel, Overlay(below)
        table = kernel.vmcoreinfo.symbol("mem_section")
        root = int.from_bytes(below.read(table, 8), "little")
        size = kernel.find_type("struct mem_section").size
        for number in sections(kernel).numbers.tolist():
            word = int.from_bytes(below.read(root + number * size, 8), "little")
            own = kernel.memory.layout.direct_start + (16 << 20) + number * (2 << 20)
            frames = (1 << 27) // 4096
            overlay.word(root + number * size, own - number * frames * 64 | word & 31)
        return Absence().of(below, overlay)

    @pytest.mark.parametrize("table", ["pages", "memory", "memory_by_file", "slab_objects", "tmpfs"])
    def test_what_needs_page_structs_is_refused(self, dump, table):
        with pytest.raises(KernlabError, match=r"section by section .CONFIG_SPARSEMEM_VMEMMAP is off."):
            build(dump, table)

    @pytest.mark.parametrize("table", ["log", "modules", "vmalloc", "zones", "slabs", "swap", "shm"])
    def test_the_others_are_the_same(self, dump, below, table):
        assert differences(build(dump, table), build(below, table), Changed()) == []

    def test_tasks_and_maps_are_here(self, dump, below):
        assert differences(build(dump, "tasks"), build(below, "tasks"), Changed()) == []
        columns = ["pid", "start", "end", "path"]
        assert dump.maps[columns].astype(str).equals(below.maps[columns].astype(str))


class TestSlubTiny:
    """CONFIG_SLUB_TINY (and with it no CONFIG_SLUB_DEBUG): CPUs keep no slabs, and nobody counts any."""

    @pytest.fixture
    def dump(self, below):
        return LAYOUTS["SLUB_TINY=y"].of(below)

    def test_slabs(self, dump, below):
        """What the other kernel counts itself is found by the frames; what CPUs hold there is in use here."""
        found = build(dump, "slabs")
        assert differences(found, below.slabs, Changed(other=("active", "used_bytes"))) == []
        assert found["active"].ge(below.slabs["active"]).all()
        assert found.attrs["problems"] == below.slabs.attrs["problems"]

    def test_objects(self, dump, below):
        found, whole = dump.slab_objects("dentry"), below.slab_objects("dentry")
        assert differences(found, whole, Changed(other=("allocated",))) == []
        assert not (whole["allocated"] & ~found["allocated"]).any()


def test_slab_counts_by_frames_are_the_kernels_own_on_a_server(opened):
    below = opened("server")
    dump = OPTIONS["SLUB_DEBUG"].absence.of(below)
    columns = ["name", "slabs", "objects", "active", "bytes"]
    assert dump.slabs[columns].astype(str).equals(below.slabs[columns].astype(str))


def test_slab_is_refused_by_name(opened):
    """CONFIG_SLAB, until 6.8: its caches have no kmem_cache_order_objects."""
    dump = Absence(members=("struct kmem_cache.oo",)).of(opened("debian-6.1"))
    with pytest.raises(KernlabError, match=r"uses SLAB .CONFIG_SLAB.*kernlab only reads SLUB"):
        dump.slabs  # noqa: B018


def test_without_event_counters_vmstat_has_none(below):
    """CONFIG_VM_EVENT_COUNTERS=n: the array of names may end before the events."""
    dump = LAYOUTS["VM_EVENT_COUNTERS"].of(below)
    events = set(vmstat_names(below.kernel)["events"])
    others = set(below.vmstat.index) - events
    assert set(dump.vmstat.index) == others
    assert dump.vmstat.equals(below.vmstat[dump.vmstat.index])


def test_page_tables_keep_their_mark_without_memory_cgroups(below):
    """Until 6.9 the mark was a macro; in 5.11 it moved, whether or not page structs have memcg_data (CONFIG_MEMCG)."""
    dump = Absence(members=("struct page.memcg_data", "struct page.mem_cgroup")).of(below)
    kinds = dump.memory.groupby("kind", observed=True)["bytes"].sum()
    whole = below.memory.groupby("kind", observed=True)["bytes"].sum()
    assert kinds["page table"] == whole["page table"] > 0


@pytest.mark.parametrize("lacking", [(), ("struct hstate",)])
def test_a_pageblock_is_as_large_as_its_flags_say(below, lacking):
    """Without CONFIG_HUGETLB_PAGE it depends on CONFIG_TRANSPARENT_HUGEPAGE and the release; here they are 2 MiB."""
    kernel = Absence(types=lacking).of(below).kernel
    assert pageblock_order(kernel) == 9
    usage = np.diff(sections(kernel).usage[:2].astype(np.int64))[0]
    assert usage - kernel.find_type("struct mem_section_usage").size in (32, 64)


@pytest.mark.parametrize("order", [9, 10])
def test_pageblocks_of_either_size(opened, order):
    """Sections that were there at boot have their flags side by side: a step that fits 4 MiB blocks says 4 MiB."""
    below = opened("debian-6.1")
    kernel, overlay = below.kernel, Overlay(below)
    root = int.from_bytes(below.read(kernel.vmcoreinfo.symbol("mem_section"), 8), "little")
    kind = kernel.find_type("struct mem_section").strip()
    known = sections(kernel)
    step = kernel.find_type("struct mem_section_usage").size + {9: 32, 10: 16}[order]
    for place, number in enumerate(known.numbers.tolist()):
        where = root + number * kind.size + kind.member("usage").offset
        overlay.word(where, int(known.usage[0]) + place * step)
    assert pageblock_order(Absence(types=("struct hstate",)).of(below, overlay).kernel) == order
