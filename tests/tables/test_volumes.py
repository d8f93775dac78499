"""`dump.volumes` against what lsblk, losetup and dmsetup said on the server."""

from __future__ import annotations

import re

import pytest


@pytest.fixture(scope="module")
def story(server_files) -> str:
    return server_files.truth.text("story.txt")


def test_names_and_members_are_those_of_lsblk(server, server_files):
    """lsblk draws a tree: what hangs on a line is made of it. It names volumes as device-mapper does."""
    volumes = server.volumes.set_index("disk")
    named = {row["name"] or disk: disk for disk, row in volumes.fillna({"name": ""}).iterrows()}
    above: list[str] = []
    found = {}
    for line in server_files.truth.lines("lsblk")[1:]:
        match = re.match(r"([ │]*(?:[├└]─)?)(\S+) +(\d+:\d+) ", line)
        if match is None:
            continue
        depth = len(match[1]) // 2
        above = [*above[:depth], match[2]]
        if match[2] in named:
            found[named[match[2]]] = named[above[depth - 1]] if depth else ""
    assert volumes["members"].to_dict() == found
    assert volumes["name"].dropna().to_dict() == {"dm-0": "vg0-data", "dm-1": "vg0-secret", "dm-2": "crypt0"}
    assert volumes["target"].dropna().to_dict() == {"dm-0": "linear", "dm-1": "linear", "dm-2": "crypt"}
    assert (volumes["state"][volumes["kind"] == "dm"] == "active").all()


def test_files_are_those_of_losetup(server, story):
    lines = story.partition("+ losetup -a\n")[2].partition("\n+ ")[0].splitlines()
    theirs = dict(re.match(r"/dev/(\w+): \[\d+\]:\d+ \((.*)\)", line).groups() for line in lines)
    loops = server.volumes.query("kind == 'loop'").set_index("disk")
    assert loops["path"].dropna().to_dict() == theirs
    assert (loops["state"] == "bound").to_dict() == {disk: disk in theirs for disk in loops.index}
    assert loops["offset_bytes"].dropna().to_dict() == dict.fromkeys(theirs, 0)


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12", "debian-7.2"])
def test_what_is_not_set_up(opened, name):
    volumes = opened(name).volumes
    assert volumes["disk"].tolist() == [*(f"loop{number}" for number in range(8)), "zram0"]
    assert (volumes["state"] == ["unbound"] * 8 + ["unused"]).all()
    assert volumes["target"].tolist()[-1] == {"debian-6.1": "lzo-rle"}.get(name, "lz4")
    assert volumes["stored_bytes"].tolist()[-1] == 0
    assert volumes.attrs["problems"] == []


def test_without_the_drivers_types_it_is_said(opened):
    """The types of 5.10's modules are not in it."""
    volumes = opened("debian-5.10").volumes
    assert volumes["kind"].tolist() == ["loop"] * 8 + ["zram"]
    assert volumes["state"].isna().all()
    problems = volumes.attrs["problems"]
    assert len(problems) == 2
    assert "struct loop_device" in problems[0]
    assert "struct zram" in problems[1]
