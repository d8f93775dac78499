"""zones, nodes, buddyinfo, vmstat and hugepages where one place of the kernel says what another contradicts."""

from __future__ import annotations

import pandas as pd
import pytest
from support.absent import Absence
from support.overlay import Overlay

# What one place says and another contradicts


@pytest.fixture(params=["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def whole(request, opened):
    return opened(request.param)


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """The same table, whatever dump its addresses are of."""
    pd.testing.assert_frame_equal(
        found.drop(columns="address", errors="ignore"), wanted.drop(columns="address", errors="ignore")
    )


def node(dump) -> int:
    return int(dump.nodes["address"].iloc[0])


@pytest.mark.parametrize("number", [1, 77, 1 << 30, -1])
@pytest.mark.parametrize("table", ["zones", "nodes", "buddyinfo", "hugepages", "memory"])
def test_a_node_goes_by_its_place_in_node_data(whole, table, number):
    with Overlay(whole).set("struct pglist_data", node(whole), "node_id", number).dump() as broken:
        found = getattr(broken, table)
        same(found, getattr(whole, table))
        assert any(
            "1 of 1 NUMA nodes have a number that is not theirs" in told for told in found.attrs["problems"]
        )


def test_suspects_and_pages_know_the_node_by_its_place(opened):
    whole = opened("debian-6.12")
    with Overlay(whole).set("struct pglist_data", node(whole), "node_id", 5).dump() as broken:
        assert broken.suspects["subject"].tolist() == whole.suspects["subject"].tolist()
        assert broken.pages["node"].astype("Int64").equals(whole.pages["node"].astype("Int64"))
        assert any("NUMA nodes have a number" in told for told in broken.suspects.attrs["problems"])


def test_a_node_whose_number_cannot_be_read_is_there(opened):
    whole = opened("debian-6.12")
    where, _ = Overlay(whole).where("struct pglist_data", node(whole), "node_id")
    first, _ = Overlay(whole).where("struct pglist_data", node(whole), "node_zones[0].zone_pgdat")
    if where // 4096 == first // 4096:
        pytest.skip("both lie on one page")
    with Overlay(whole).exclude(where).dump() as broken:
        assert broken.nodes["node"].tolist() == [0]
        assert len(broken.zones) == len(whole.zones)


@pytest.mark.parametrize("count", [0, 5000, 0xFFFFFFFF])
def test_nr_node_ids_loses_no_node(whole, count):
    with Overlay(whole).word(whole.symbol("nr_node_ids"), count, 4).dump() as broken:
        same(broken.zones, whole.zones)
        same(broken.slabs[["name", "active", "slabs"]], whole.slabs[["name", "active", "slabs"]])
        told = [*broken.zones.attrs["problems"], *broken.slabs.attrs["problems"]]
        assert any("numbers of NUMA nodes" in problem for problem in told)


@pytest.mark.parametrize("what", ["lost", "other", "text"])
def test_a_zones_name_that_is_lost_is_its_enumerators(whole, what):
    zones = whole.zones
    address, other = int(zones["address"].iloc[1]), int(zones["address"].iloc[2])
    text = int.from_bytes(whole.read(Overlay(whole).where("struct zone", address, "name")[0], 8), "little")
    overlay = Overlay(whole)
    if what == "text":
        overlay.write(text, b"\x01\xff")
    else:
        value = 0xDEAD if what == "lost" else int(whole.struct("zone", other)["name"])
        overlay.set("struct zone", address, "name", value)
    with overlay.dump() as broken:
        for table in ("zones", "buddyinfo"):
            found = getattr(broken, table)
            same(found, getattr(whole, table))
            assert any("names of zones are lost" in told for told in found.attrs["problems"])


@pytest.mark.parametrize("value", ["lost", "other"])
def test_a_counters_name_that_is_lost_renames_no_other(whole, value):
    text = whole.symbol("vmstat_text")
    other = int.from_bytes(whole.read(text, 8), "little")
    with Overlay(whole).word(text + 8 * 11, 0xDEAD if value == "lost" else other).dump() as broken:
        for table in ("zones", "nodes"):
            assert getattr(broken, table).columns.tolist() == getattr(whole, table).columns.tolist()
        assert broken.vmstat.index.tolist() == whole.vmstat.index.tolist()
        assert any("names of vmstat_text are lost" in told for told in broken.vmstat.attrs["problems"])


def test_columns_stay_where_the_enumerators_that_count_them_are_lost(whole):
    """As where a byte of the type information's strings is damaged: the types are there, a name is not."""
    gone = Absence(
        enumerators=("NR_VM_ZONE_STAT_ITEMS", "NR_VM_NODE_STAT_ITEMS", "NR_VM_EVENT_ITEMS", "__MAX_NR_ZONES")
    )
    broken = gone.of(whole)
    same(broken.zones, whole.zones)
    same(broken.nodes, whole.nodes)
    assert broken.vmstat.equals(whole.vmstat)
    assert any("NR_VM_ZONE_STAT_ITEMS is lost or damaged" in told for told in broken.zones.attrs["problems"])


def test_free_pages_that_no_counter_is_called_are_missing_not_0(whole):
    broken = Absence(enumerators=("NR_FREE_PAGES",), symbols=("vmstat_text",)).of(whole)
    assert broken.zones["free"].isna().all()
    assert broken.nodes["free"].isna().all()
    assert any("which counter is that of free pages" in told for told in broken.nodes.attrs["problems"])


# Huge pages


@pytest.mark.parametrize("count", [0, 1, 3, 0xFFFFFFFF])
def test_how_many_sizes_of_huge_pages_there_are_the_sizes_tell(whole, count):
    with Overlay(whole).word(whole.symbol("hugetlb_max_hstate"), count, 4).dump() as broken:
        same(broken.hugepages, whole.hugepages)
        assert any("hugetlb_max_hstate" in told for told in broken.hugepages.attrs["problems"])
        assert broken.meminfo["Hugepagesize"] == whole.meminfo["Hugepagesize"]


def test_the_default_size_that_is_none_is_missing(whole):
    with Overlay(whole).word(whole.symbol("default_hstate_idx"), 7, 4).dump() as broken:
        assert broken.hugepages["default"].isna().all()
        assert any("number 7 of 2" in told for told in broken.hugepages.attrs["problems"])


@pytest.mark.parametrize("order", [0, 1, 40, 0xFFFFFFFF])
def test_the_size_of_huge_pages_is_what_most_of_a_pool_says(whole, order):
    state = int(whole.hugepages["address"].iloc[1])
    with Overlay(whole).set("struct hstate", state, "order", order).dump() as broken:
        assert broken.hugepages["size_bytes"].tolist() == whole.hugepages["size_bytes"].tolist()


def test_pools_that_contradict_their_nodes_are_told(whole):
    state = int(whole.hugepages["address"].iloc[1])
    with Overlay(whole).set("struct hstate", state, "free_huge_pages", 12).dump() as broken:
        assert broken.hugepages["free"].tolist() == [0, 12]
        assert any("free_huge_pages is not what" in told for told in broken.hugepages.attrs["problems"])


# Counts of which a part is unknown


def test_pages_on_cpus_lists_that_cannot_be_counted_are_missing_not_0(opened):
    whole = opened("debian-6.12")
    zones = whole.zones
    zone = zones[zones["pcp"] > 0].iloc[0]
    where = (
        int(whole.struct("zone", int(zone["address"]))["per_cpu_pageset"])
        + int(whole.kernel.percpu_offsets[0])
    ) % (1 << 64)
    with Overlay(whole).exclude(where).dump() as broken:
        row = broken.zones[broken.zones["address"].astype("uint64") == int(zone["address"])].iloc[0]
        assert pd.isna(row["pcp"])
