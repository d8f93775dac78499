"""What mappings and processes hold, on every dump and sample: smaps line by line, the kernel's counters exactly."""

from __future__ import annotations

import pandas as pd
import pytest
from support.kinds_truth import rss
from support.overlay import Overlay

from kernlab.dump import TABLES

PAGE = 4096


def leaders(dump) -> pd.DataFrame:
    tasks = dump.tasks
    return tasks[(tasks["pid"] == tasks["tgid"]) & (tasks["pid"] > 0)].set_index("pid")


@pytest.fixture(scope="module")
def paired(machine) -> pd.DataFrame:
    """Each mapping's line of smaps beside its row of `map_usage`, of processes that waited when the machine died."""
    if machine.name == "damaged-7.2":
        pytest.skip("page tables are missing in this dump")
    if "p/1/smaps" not in machine.truth.files:
        pytest.skip("the truth of this machine has no smaps")
    return rss(machine.dump, machine.truth)


def test_resident_bytes_are_smaps(machine_or_server):
    if machine_or_server.name == "damaged-7.2":
        pytest.skip("page tables are missing in this dump")
    both = rss(machine_or_server.dump, machine_or_server.truth)
    assert len(both) >= 60
    moved = both[both["off"] != 0]
    if machine_or_server.name == "server":
        # It was still swapping when its truth was taken.
        assert len(moved) <= 0.02 * len(both)
        return
    assert moved.empty, moved[["pid", "path", "Rss", "rss_bytes"]]


def test_swapped_bytes_are_smaps(paired):
    assert (paired["swap_bytes"] == paired["Swap"]).all()


def test_shares_are_smaps_but_for_programs_of_which_processes_ended(paired):
    off = (paired["Pss"] - paired["pss_bytes"]).abs()
    moved = paired[(off > PAGE) & (paired["path"] != "[heap]")]
    assert set(moved["path"]) <= {"/bin/busybox"}
    assert len(moved) <= 0.06 * len(paired)


def test_mappings_sum_to_the_counters_of_their_process(machine, paired):
    sums = machine.dump.map_usage.groupby("pid")["rss_bytes"].sum()
    counted = leaders(machine.dump)["rss_bytes"]
    assert sums.tolist() == counted[sums.index].tolist()


def test_shares_of_all_processes_are_no_more_than_what_is_mapped(machine, paired):
    pages = machine.dump.pages
    mapped = int((pages["mapcount"].fillna(0) > 0).sum()) * PAGE
    shares = int(machine.dump.memory_by_process["pss_bytes"].sum())
    assert 0.9 * mapped <= shares <= mapped + PAGE


def test_what_the_page_tables_lack_is_said_by_the_table_whose_columns_they_make(opened):
    whole = opened("debian-6.1")
    init = whole.tasks[whole.tasks.pid == 1]
    table = int(init.kern.field("mm->pgd").iloc[0])
    broken = Overlay(whole).lose(table).dump()
    maps = broken.map_usage
    assert maps.rss_bytes[maps.pid == 1].isna().all()
    assert any("page table" in problem for problem in maps.attrs["problems"])


def test_maps_has_no_part_in_that_loss(opened):
    """The page tables are walked for who asks for what they say, and nobody else hears of what they lack."""
    whole = opened("debian-6.1")
    init = whole.tasks[whole.tasks.pid == 1]
    broken = Overlay(whole).lose(int(init.kern.field("mm->pgd").iloc[0])).dump()
    maps = broken.maps
    assert not any("page table" in problem for problem in maps.attrs["problems"])
    assert not {"rss_bytes", "pss_bytes", "swap_bytes"} & set(maps.columns)


def test_one_walk_of_all_vmas_serves_both(opened):
    dump = Overlay(opened("debian-6.1")).dump()
    assert dump.map_usage.attrs["table"] == "map_usage"
    gathers = dump.kernel.memory.gathers
    assert dump.maps.attrs["table"] == "maps"
    assert dump.kernel.memory.gathers == gathers


def test_it_has_the_rows_and_columns_of_maps_and_three_more(machine):
    maps, usage = machine.dump.maps, machine.dump.map_usage
    assert [*maps.columns, "rss_bytes", "pss_bytes", "swap_bytes"] == list(usage.columns)
    pd.testing.assert_frame_equal(maps, usage[list(maps.columns)])
    assert TABLES.load("map_usage").columns == tuple(usage.columns)
    assert usage.kern.structs["vm_mm"].values.tolist() == maps.kern.structs["vm_mm"].values.tolist()


def test_what_is_written_into_the_one_does_not_show_in_the_other(opened):
    dump = Overlay(opened("debian-6.1")).dump()
    maps, usage = dump.maps, dump.map_usage
    pids = maps["pid"].tolist()
    maps.loc[0, ["pid", "path"]] = [-1, "changed"]
    usage.loc[1, "start"] = 7
    assert usage["pid"].tolist() == pids
    assert "changed" not in set(usage["path"])
    assert int(maps["start"][1]) != 7
    assert -1 not in set(dump.memory_by_process["pid"])
