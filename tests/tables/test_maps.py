"""`maps` against /proc/PID/maps of every process of the guests."""

from __future__ import annotations

import pandas as pd
import pytest

_KEYS = ["pid", "start", "end"]
_FACTS = ["size_bytes", "perms", "offset_bytes", "dev", "inode", "path"]


def plain(maps: pd.DataFrame) -> pd.DataFrame:
    """Addresses as plain numbers, missing as <NA>: the shape of the truth."""
    return maps.assign(
        pid=maps["pid"].astype("Int64"),
        start=pd.array(maps["start"].to_numpy(dtype=object), dtype="UInt64"),
        end=pd.array(maps["end"].to_numpy(dtype=object), dtype="UInt64"),
    )


@pytest.fixture(scope="module")
def paired(whole_dump, dump):
    """Each line of the truth beside its VMA (the truth's columns end in _t)."""
    truth = whole_dump.truth.maps().astype({"pid": "Int64", "start": "UInt64", "end": "UInt64"})
    return truth.merge(plain(dump.maps), on=_KEYS, how="outer", suffixes=("_t", ""), indicator=True)


def test_every_line_is_there_and_none_comes_twice(paired):
    lonely = paired[paired["_merge"] != "both"]
    # The process that wrote the truth may have mapped something since: 0.5 % of lines are allowed.
    assert len(lonely) <= 0.005 * len(paired), lonely[[*_KEYS, "path_t", "path", "_merge"]].to_string()
    assert not paired.duplicated(_KEYS).any()


@pytest.mark.parametrize("fact", _FACTS)
def test_every_fact_of_every_line_is_exact(paired, fact):
    both = paired[paired["_merge"] == "both"]
    wrong = both[both[f"{fact}_t"].astype(object) != both[fact].astype(object)]
    assert wrong.empty, wrong[[*_KEYS, f"{fact}_t", fact]].to_string()


def test_each_process_in_order_of_addresses(dump):
    maps = plain(dump.maps)
    for _, group in maps.groupby("pid"):
        assert group["start"].is_monotonic_increasing
        assert (group["end"] > group["start"]).all()
        assert (group["end"].iloc[:-1].to_numpy() <= group["start"].iloc[1:].to_numpy()).all()


def test_sizes_sum_to_total_vm(dump):
    vsz = dump.tasks[dump.tasks["pid"] == dump.tasks["tgid"]].set_index("pid")["vsz_bytes"]
    sums = dump.maps.groupby("pid")["size_bytes"].sum()
    assert sums.tolist() == vsz[sums.index].tolist()


def test_dtypes_are_the_contract(dump):
    maps = dump.maps
    kinds = {name: str(dtype) for name, dtype in maps.dtypes.items()}
    assert kinds["path"] == kinds["perms"] == kinds["dev"] == "str"
    assert not any(kind.startswith("float") for kind in kinds.values())
    assert isinstance(maps.index, pd.RangeIndex)
    assert not maps["path"].isna().any()


def test_paths_of_anonymous_memory_are_empty_not_missing(dump):
    anonymous = dump.maps[(dump.maps["inode"] == 0) & (dump.maps["path"] == "")]
    assert len(anonymous)
    assert (anonymous["offset_bytes"] == 0).all()
    assert (anonymous["dev"] == "00:00").all()


def test_damaged_dump_gives_what_can_be_read_and_counts_the_rest(damaged_dump, opened):
    dump = opened(damaged_dump.name)
    maps = plain(dump.maps)
    truth = damaged_dump.truth.maps().astype({"pid": "Int64", "start": "UInt64", "end": "UInt64"})
    both = truth.merge(maps, on=_KEYS, suffixes=("_t", ""))
    assert len(both) >= 0.8 * len(truth)
    for fact in _FACTS:
        known = both[both[fact].notna()]
        assert (known[f"{fact}_t"].astype(object) == known[fact].astype(object)).all(), fact
    assert any("trees of VMAs" in problem for problem in dump.maps.attrs["problems"])
