"""bpf_programs and bpf_maps: against what a server's systemd holds, and what the lab's watcher loaded."""

from __future__ import annotations

import pandas as pd
import pytest
from support.bpf_truth import held, listed
from support.captures import captures, dumps_in
from support.overlay import Overlay
from support.truth import Truth

import kernlab

#: include/uapi/linux/bpf.h, by the numbers that the kernel tells.
PROGRAMS = {1: "socket_filter", 8: "cgroup_skb", 15: "cgroup_device", 26: "tracing", 29: "lsm"}
MAPS = {1: "hash", 2: "array", 5: "percpu_hash", 6: "percpu_array", 9: "lru_hash", 13: "hash_of_maps"}


def pids(text: str) -> set[int]:
    return {int(word) for word in text.split(",") if word}


def compare_held(dump, truth: Truth) -> tuple[int, int]:
    """Every program and map that a process had a descriptor of: what fdinfo says; how many there were."""
    programs, maps = (table.set_index("id") for table in (dump.bpf_programs, dump.bpf_maps))
    theirs = held(truth, "prog_id")
    for number, holders in theirs.items():
        mine = programs.loc[number]
        assert pids(mine["pids"]) == {pid for pid, _ in holders}
        for _, words in holders:
            assert mine["tag"] == words["prog_tag"]
            # A link tells no more of its program.
            if "prog_type" in words:
                assert mine["type"] == PROGRAMS[int(words["prog_type"])]
                assert (mine["jited_bytes"] > 0) == bool(int(words["prog_jited"]))
                assert mine["memory_bytes"] == int(words["memlock"])
                assert mine["run_count"] == int(words["run_cnt"])
                assert mine["run_time"].value == int(words["run_time_ns"])
    mapped = held(truth, "map_id")
    for number, holders in mapped.items():
        mine, words = maps.loc[number], holders[0][1]
        assert mine["type"] == MAPS[int(words["map_type"])]
        sizes = [int(words[name]) for name in ("key_size", "value_size", "max_entries", "memlock")]
        assert mine[["key_bytes", "value_bytes", "max_entries", "memory_bytes"]].tolist() == sizes
        assert mine["flags"] == int(words["map_flags"], 16)
        assert mine["frozen"] == bool(int(words["frozen"]))
        assert pids(mine["pids"]) == {pid for pid, _ in holders}
    return len(theirs), len(mapped)


def test_a_server_has_what_fdinfo_says(server, server_files):
    # Of process 1 the truth has what the first 60 descriptors are, and of the others their names.
    assert compare_held(server, server_files.truth) == (2, 1)
    programs = server.bpf_programs
    assert server_files.truth.text("p/1/fd").count("anon_inode:bpf-prog") == len(programs)
    assert programs["pids"].tolist() == ["1"] * 11
    # systemd attaches its own to the services' cgroups, and one to a function of the kernel.
    assert programs["attached"].str.startswith("cgroup /system.slice/").sum() == 10
    assert programs.set_index("name").loc["restrict_filesy", "attached"] == "function bpf_lsm_file_open"
    assert programs.set_index("name").loc["restrict_filesy", "maps"] == "11"
    assert server.bpf_maps["programs"].tolist() == ["21"]
    named = programs["attached"].str.extract(r"cgroup (\S+) ")[0].dropna()
    assert len(named) == 10
    # Some of these services have their tasks in a cgroup below.
    assert [group for group in named if not server.tasks["cgroup"].str.startswith(group).any()] == []
    kinds = programs["attached"].str.rsplit(" ", n=1).str[-1]
    assert set(kinds[programs["type"] == "cgroup_skb"]) == {"inet_ingress", "inet_egress"}
    assert set(kinds[programs["type"] == "cgroup_device"]) == {"device"}


@pytest.mark.parametrize("folder", captures("probes-*") or [None], ids=lambda folder: folder and folder.name)
def test_what_the_watcher_loaded(folder):
    """Every program and map of the guest, field by field; the maps' contents decide how much memory they take."""
    if folder is None:
        pytest.skip("KERNLAB_LAB_CAPTURES names no capture of the story probes")
    truth = Truth(folder / "truth.tar.xz")
    if "bpf" not in truth.files:
        pytest.skip(f"{folder.name} was captured before the lab listed BPF objects")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        found, maps = dump.bpf_programs, dump.bpf_maps
        theirs = listed(truth, "prog")
        assert found["id"].tolist() == list(theirs)
        for row, told in zip(found.to_dict("records"), theirs.values(), strict=True):
            assert (row["name"], row["type"]) == (told["name"], PROGRAMS[int(told["type"])])
            assert (row["tag"], row["maps"]) == (told["tag"], told["maps"])
            numbers = [row[name] for name in ("jited_bytes", "xlated_bytes", "uid", "run_count")]
            assert numbers == [int(told[name]) for name in ("jited", "xlated", "uid", "runs")]
            assert row["loaded_at"].value == int(told["loaded"])
            assert row["run_time"].value == int(told["ns"])
        ours = listed(truth, "map")
        assert maps["id"].tolist() == list(ours)
        for row, told in zip(maps.to_dict("records"), ours.values(), strict=True):
            assert (row["name"], row["type"]) == (told["name"], MAPS[int(told["type"])])
            numbers = [row[name] for name in ("key_bytes", "value_bytes", "max_entries", "flags")]
            assert numbers == [int(told[name]) for name in ("key", "value", "entries", "flags")]
        assert set(maps["name"]) >= {"story_array", "story_shared", "story_counts", "story_hash", "story_lru"}
        compare_held(dump, truth)
        by_name = found.set_index("name")
        assert by_name.loc["story_exit", "attached"] == "function eventfd_read"
        watcher = dump.tasks.query("comm == 'watcher'")["tgid"].tolist()
        assert pids(by_name.loc["story_exit", "pids"]) & set(watcher)
        assert maps.set_index("name")["frozen"].to_dict()["story_percpu"]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
def test_nobody_loaded_one(opened, name):
    for table in (opened(name).bpf_programs, opened(name).bpf_maps):
        assert len(table) == 0
        assert not [p for p in table.attrs["problems"] if "BPF" in p]


def test_a_program_that_is_damaged_costs_no_other(server):
    """One whose other half cannot be read keeps its row; one that claims a million functions and maps gets none."""
    rows = server.bpf_programs
    first, second = (int(address) for address in rows["address"].head(2))
    overlay = Overlay(server).set("struct bpf_prog", first, "aux", 0xDEAD0000)
    other = server.struct("bpf_prog", second).aux.address_
    overlay.set("struct bpf_prog_aux", other, "used_map_cnt", 1 << 20)
    with overlay.dump() as dump:
        found = dump.bpf_programs
        assert found["id"].tolist()[1:] == rows["id"].tolist()[1:]
        assert found.iloc[0][["id", "name", "tag"]].isna().tolist() == [True, True, False]
        assert found["maps"].tolist() == [""] * len(rows)
        pd.testing.assert_frame_equal(
            found.iloc[2:].drop(columns="address"), rows.iloc[2:].drop(columns="address")
        )
        assert [p for p in found.attrs["problems"] if "bpf_prog" in p]
