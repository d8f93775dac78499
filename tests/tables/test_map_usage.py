"""What mappings and processes hold, on every dump and sample: smaps line by line, the kernel's counters exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

PAGE = 4096


def leaders(dump) -> pd.DataFrame:
    tasks = dump.tasks
    return tasks[(tasks["pid"] == tasks["tgid"]) & (tasks["pid"] > 0)].set_index("pid")


@pytest.fixture(scope="module")
def paired(machine) -> pd.DataFrame:
    """Each mapping's line of smaps beside its row of `maps`, of processes that waited when the machine died."""
    if machine.name == "damaged-7.2":
        pytest.skip("page tables are missing in this dump")
    if "p/1/smaps" not in machine.truth.files:
        pytest.skip("the truth of this machine has no smaps")
    maps = machine.dump.maps
    maps = maps.assign(start=maps["start"].to_numpy(dtype=np.uint64))
    both = machine.truth.smaps().merge(maps, on=["pid", "start"], suffixes=("_t", ""))
    waiting = both[both["pid"].map(leaders(machine.dump)["state"]).isin(["S", "D"])]
    assert len(waiting) > 60
    return waiting


def test_resident_and_swapped_bytes_are_smaps_within_a_page(paired):
    for ours, theirs in (("rss_bytes", "Rss"), ("swap_bytes", "Swap")):
        off = (paired[ours] - paired[theirs]).abs()
        # Init slept, and was awake for a moment between the truth and the end.
        calm = (paired["pid"] != 1) | (paired["path"] != "[heap]")
        assert (off[calm] <= PAGE).all(), paired[off > PAGE][["pid", "path", theirs, ours]]
        assert (off == 0).mean() > 0.97


def test_shares_are_smaps_but_for_programs_of_which_processes_ended(paired):
    off = (paired["Pss"] - paired["pss_bytes"]).abs()
    moved = paired[(off > PAGE) & (paired["path"] != "[heap]")]
    assert set(moved["path"]) <= {"/bin/busybox"}
    assert len(moved) <= 0.06 * len(paired)


def test_mappings_sum_to_the_counters_of_their_process(machine, paired):
    sums = machine.dump.maps.groupby("pid")["rss_bytes"].sum()
    counted = leaders(machine.dump)["rss_bytes"]
    assert sums.tolist() == counted[sums.index].tolist()


def test_shares_of_all_processes_are_no_more_than_what_is_mapped(machine, paired):
    pages = machine.dump.pages
    mapped = int((pages["mapcount"].fillna(0) > 0).sum()) * PAGE
    shares = int(machine.dump.memory_by_process["pss_bytes"].sum())
    assert 0.9 * mapped <= shares <= mapped + PAGE
