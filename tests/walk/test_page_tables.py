"""Page-table walks: against the guests' smaps and the kernel's own counters, and over tables damaged on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import PAGE, Overlay

from kernlab.linux.map_usage import usage
from kernlab.util.losses import scope
from kernlab.walk.page_tables import PageTables

#: A walk of these dumps' page tables takes less than this many gathers, damaged or not.
MANY = 2_000


@pytest.fixture(scope="module")
def paired(whole_dump, dump):
    """Each mapping's line of smaps (in bytes) beside its row of `map_usage`, of processes that slept."""
    truth = whole_dump.truth.smaps()
    maps = dump.map_usage.assign(start=dump.map_usage["start"].to_numpy(dtype=np.uint64))
    both = truth.merge(maps, on=["pid", "start"], suffixes=("_t", ""))
    leaders = dump.tasks[dump.tasks["pid"] == dump.tasks["tgid"]].set_index("pid")["state"]
    asleep = both["pid"].map(leaders[leaders.index > 0]) == "S"
    assert asleep.sum() > 400
    return both[asleep]


def test_rss_is_smaps_within_a_page_per_mapping(paired):
    off = (paired["Rss"] - paired["rss_bytes"]).abs()
    # pid 1 slept, but was awake once more between the truth and the crash.
    assert (off <= PAGE).all(), paired[off > PAGE][["pid", "path", "Rss", "rss_bytes"]].to_string()
    assert (off == 0).mean() > 0.99


def test_pss_is_smaps_but_for_the_writer_of_the_truth(paired):
    off = (paired["Pss"] - paired["pss_bytes"]).abs()
    near = off <= PAGE
    # What took the truth had mapped the same program, and ended before the crash: only its pages are shared less.
    assert (paired.loc[~near, "path"] == "/bin/busybox").all(), paired[~near][
        ["pid", "path", "Pss", "pss_bytes"]
    ]
    assert near.mean() > 0.97
    assert paired["pss_bytes"].sum() < paired["rss_bytes"].sum()


def test_swap_is_smaps(paired):
    assert (paired["Swap"] == paired["swap_bytes"]).all()


def test_rss_sums_to_the_kernels_own_counters(dump):
    leaders = dump.tasks[dump.tasks["pid"] == dump.tasks["tgid"]].set_index("pid")["rss_bytes"]
    sums = dump.map_usage.groupby("pid")["rss_bytes"].sum()
    assert sums.tolist() == leaders[sums.index].tolist()


def test_nothing_is_lost_of_a_whole_dumps_tables(dump):
    with scope("test") as losses:
        found = usage(dump.kernel)
    assert found.tables_known.all()
    assert losses.losses == []


def test_a_walk_costs_gathers_by_depth_not_by_process(dump):
    kernel = dump.kernel
    mm = usage(kernel).mm
    before = kernel.memory.gathers
    with scope("test") as losses:
        for _ in PageTables(kernel, mm).entries():
            pass
    assert kernel.memory.gathers - before <= 8
    assert losses.losses == []


# Damage


class Tables:
    """One process of debian-6.1, and where its page-table entries lie."""

    def __init__(self, dump, pid: int):
        self.dump = dump
        self.task = dump.struct(
            "task_struct", int(dump.tasks.loc[dump.tasks["pid"] == pid, "address"].iloc[0])
        )
        self.pid = pid
        self.keep = 0x000FFFFFFFFFF000

    def entry(self, address: int, shift: int) -> tuple[int, int]:
        """Physical address and value of the entry at `shift` for a user address."""
        table = self.dump.translate(int(self.task.mm.pgd))
        for level in (48, 39, 30, 21, 12):
            where = table + ((address >> level) & 511) * 8
            value = int.from_bytes(self.dump.read(where, 8, physical=True), "little")
            if level == shift:
                return where, value
            table = value & self.keep
        raise AssertionError

    def rows(self, dump):
        return dump.map_usage[dump.map_usage["pid"] == self.pid].reset_index(drop=True)


@pytest.fixture(scope="module")
def process(opened) -> Tables:
    return Tables(opened("debian-6.1"), 1)


@pytest.fixture(scope="module")
def mapping(process):
    """A mapping of the process that holds many pages, by its row, and one of its resident addresses."""
    rows = process.rows(process.dump)
    row = int(rows["rss_bytes"].argmax())
    start = int(rows["start"][row])
    for address in range(start, int(rows["end"][row]), PAGE):
        if process.entry(address, 12)[1] & 1:
            return row, address
    raise AssertionError


def walked(broken):
    before = broken.kernel.memory.gathers
    with scope("test") as told:
        usage(broken.kernel)
    assert broken.kernel.memory.gathers - before < MANY
    return told.losses


def told(losses, *words: str) -> bool:
    return any(all(word in loss for word in words) for loss in losses)


def test_an_entry_that_maps_no_memory_is_counted_and_costs_one_page(process, mapping):
    row, address = mapping
    where, value = process.entry(address, 12)
    broken = Overlay(process.dump).word(where, (value & 0xFFF) | 0x000F_FFFF_0000_0000, physical=True).dump()
    assert told(walked(broken), "1 entries map frames outside memory", f"{address:#x}")
    whole, damaged = process.rows(process.dump), process.rows(broken)
    assert damaged["rss_bytes"][row] == whole["rss_bytes"][row] - PAGE
    assert damaged["rss_bytes"].drop(row).equals(whole["rss_bytes"].drop(row))


def test_a_lost_table_makes_what_it_maps_missing_not_zero(process, mapping):
    _, address = mapping
    table = process.entry(address, 21)[1] & process.keep
    broken = Overlay(process.dump).exclude(table, physical=True).dump()
    assert told(walked(broken), "1 tables are not here")
    damaged = process.rows(broken)
    start, end = damaged["start"].to_numpy(dtype=np.uint64), damaged["end"].to_numpy(dtype=np.uint64)
    base = address & ~((1 << 21) - 1)
    covered = (start < np.uint64(base + (1 << 21))) & (end > np.uint64(base))
    assert damaged["rss_bytes"].isna().tolist() == covered.tolist()
    assert damaged["swap_bytes"].isna().tolist() == covered.tolist()


def test_a_table_that_links_to_itself_ends(process, mapping):
    _, address = mapping
    where, _ = process.entry(address, 30)
    table = where & process.keep
    overlay = Overlay(process.dump)
    # All 512 entries of the third level lead back to the third level.
    for slot in range(512):
        overlay.word(table + slot * 8, table | 0x67, physical=True)
    broken = overlay.dump()
    assert told(walked(broken), "were met before")
    assert len(broken.map_usage["rss_bytes"].dropna()) == len(broken.maps)


def test_a_table_full_of_wild_links_is_told(process, mapping):
    _, address = mapping
    where, _ = process.entry(address, 21)
    table = where & process.keep
    overlay = Overlay(process.dump)
    for slot in range(512):
        overlay.word(table + slot * 8, 0x000F_0000_0000_0067 + slot * PAGE, physical=True)
    broken = overlay.dump()
    found = walked(broken)
    assert told(found, "512 tables are not here or lie outside memory")
    others = process.dump.maps["pid"] != process.pid
    whole, damaged = process.dump.map_usage[others], broken.map_usage[others]
    assert damaged["rss_bytes"].equals(whole["rss_bytes"])


def test_a_wild_pgd_costs_its_process_only(process):
    broken = (
        Overlay(process.dump)
        .set("struct mm_struct", process.task.mm.address_, "pgd", 0xFFFF_F000_DEAD_0000)
        .dump()
    )
    walked(broken)
    assert (~usage(broken.kernel).tables_known).sum() == 1
    maps = broken.map_usage
    assert maps["rss_bytes"].isna().equals(maps["pid"] == process.pid)


# What these dumps do not show


def test_a_swapped_page_counts_as_swap(process, mapping):
    row, address = mapping
    where, _ = process.entry(address, 12)
    dump = process.dump
    # Area 0, slot 5: the slot is stored inverted (arch/x86/include/asm/pgtable_64.h, __swp_entry).
    entry = ((~5 << 14) & ((1 << 59) - 1)) & ~0x3FFF
    overlay = Overlay(dump).word(where, entry, physical=True)
    whole = process.rows(dump)
    none = process.rows(overlay.dump())
    assert none["swap_bytes"][row] == 0  # no swap area: then it is something else
    overlay.word(dump.symbol("nr_swapfiles"), 1, 4)
    swapped = process.rows(overlay.dump())
    assert swapped["swap_bytes"][row] == PAGE
    assert swapped["rss_bytes"][row] == whole["rss_bytes"][row] - PAGE


def test_a_page_without_access_rights_is_resident(process, mapping):
    """PROT_NONE: not present to the hardware, its frame stored as the complement (pgtable-invert.h)."""
    _, address = mapping
    where, value = process.entry(address, 12)
    frame = value & process.keep
    hidden = (~frame & process.keep) | 0x120
    broken = Overlay(process.dump).word(where, hidden, physical=True).dump()
    whole, damaged = process.rows(process.dump), process.rows(broken)
    assert walked(broken) == []
    assert damaged["rss_bytes"].equals(whole["rss_bytes"])
    assert damaged["pss_bytes"].equals(whole["pss_bytes"])


@pytest.mark.parametrize("kind", [28, 30])
def test_a_page_on_its_way_to_another_node_is_resident(process, mapping, kind):
    """Entries of migration and of device memory name a frame (is_pfn_swap_entry); it counts in whole, as in smaps."""
    row, address = mapping
    where, value = process.entry(address, 12)
    frame = (value & process.keep) >> 12
    entry = kind << 59 | ((~frame << 14) % (1 << 64) >> 5)
    moved = process.rows(Overlay(process.dump).word(where, entry, physical=True).dump())
    whole = process.rows(process.dump)
    assert moved["rss_bytes"].equals(whole["rss_bytes"])
    assert moved["swap_bytes"][row] == 0
    assert moved["pss_bytes"].drop(row).equals(whole["pss_bytes"].drop(row))
    assert whole["pss_bytes"][row] <= moved["pss_bytes"][row] <= whole["pss_bytes"][row] + PAGE
    # Since 6.1 marks stand above the frame's bits (SWP_MIG_YOUNG_BIT, SWP_MIG_DIRTY_BIT).
    marked = entry ^ (1 << 40 + 9)
    assert process.rows(Overlay(process.dump).word(where, marked, physical=True).dump()).equals(moved)


def test_a_mark_in_an_entry_is_no_page(process, mapping):
    """Userfaultfd's, a guard region's or poisoned memory's: type 31 and some low bits (PTE_MARKER_*)."""
    row, address = mapping
    where, _ = process.entry(address, 12)
    entry = 31 << 59 | ((~4 << 14) % (1 << 64) >> 5)
    marked = process.rows(Overlay(process.dump).word(where, entry, physical=True).dump())
    whole = process.rows(process.dump)
    assert marked["rss_bytes"][row] == whole["rss_bytes"][row] - PAGE
    assert marked["swap_bytes"][row] == 0


def test_a_huge_page_counts_in_whole(process, mapping):
    row, address = mapping
    base = address & ~((1 << 21) - 1)
    rows = process.rows(process.dump)
    inside = (rows["start"].to_numpy(dtype=np.uint64) <= base) & (
        rows["end"].to_numpy(dtype=np.uint64) > base
    )
    if not inside.any():
        base += 1 << 21
        inside = (rows["start"].to_numpy(dtype=np.uint64) <= base) & (
            rows["end"].to_numpy(dtype=np.uint64) > base
        )
    if not inside.any():
        pytest.skip("no mapping of this process holds an address that a huge page could begin at")
    row = int(np.flatnonzero(inside)[0])
    where, _ = process.entry(base, 21)
    frame = 8 << 21
    broken = Overlay(process.dump).word(where, frame | 0xE7, physical=True).dump()
    damaged = process.rows(broken)
    assert damaged["rss_bytes"][row] >= 2 << 20
