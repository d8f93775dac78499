"""File systems: inodes against the lists that the kernel has of them, the rest against mountinfo and the story."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.linux.super_blocks import super_blocks
from kernlab.walk.lists import list_nodes


def listed(dump):
    """How many inodes each super_block's own list has, followed one by one."""
    block = super_blocks(dump.kernel)
    owner, _ = list_nodes(dump.kernel, block.follow("s_inodes").addresses, what="inodes")
    return np.bincount(owner, minlength=len(block)).tolist()


@pytest.mark.parametrize("name", ["debian-5.10", "panic", "io", "server"])
def test_inodes_are_those_of_the_lists(opened, name):
    table = opened(name).filesystems
    assert table["inodes"].tolist() == listed(opened(name))
    assert table["inodes"].sum() > 1_000
    assert (table["dirty_inodes"] <= table["inodes"]).fillna(True).all()
    assert table.loc[table["type"].isin(["proc", "sysfs", "tmpfs"]), "dirty_inodes"].isna().all()
    assert table.loc[table["type"] == "ext4", "dirty_inodes"].notna().all()
    assert table.attrs["problems"] == []


def test_a_whole_server(server):
    table = server.filesystems.set_index("mount")
    # The story froze one.
    assert table["frozen"].drop("/mnt/crypt").eq("no").all()
    assert table.loc["/mnt/crypt", "frozen"] == "complete"
    root = server.filesystems.query("dev == '254:0'").iloc[0]
    assert root[["type", "device", "source", "mount"]].tolist() == ["ext4", "/dev/vda", "/dev/vda", "/"]
    assert table.loc["/mnt/lv", ["device", "source"]].tolist() == ["/dev/dm-0", "/dev/mapper/vg0-data"]
    assert table.loc["/mnt/btrfs", ["source", "block_size_bytes"]].tolist() == ["/dev/loop2", 4096]
    mounts = server.mounts
    for address, count in server.filesystems[["address", "mounts"]].itertuples(index=False):
        assert (mounts["super_block"] == address).sum() == count


def test_flags_and_uuids(opened):
    table = opened("debian-6.1").filesystems
    disk = table[table["type"] == "ext4"].iloc[0]
    assert disk["read_only"]
    assert "RDONLY" in disk["flags"].split(",")
    assert disk["uuid"] == "b1d78886-95cc-44ae-85b8-c07ffd665018"
    assert disk["magic"] == 0xEF53
    assert table.loc[table["type"] == "proc", "uuid"].isna().all()


def test_a_first_inode_that_is_nowhere_costs_one_count(opened):
    dump = opened("debian-6.1")
    row = dump.filesystems.index[dump.filesystems["type"] == "proc"][0]
    address = int(dump.filesystems["address"].iloc[row])
    with Overlay(dump).set("struct super_block", address, "s_inodes.next", 0xDEAD0000).dump() as broken:
        table = broken.filesystems
        assert table.loc[row, ["inodes", "dirty_inodes"]].isna().all()
        assert table["inodes"].drop(row).equals(dump.filesystems["inodes"].drop(row))
        assert any("inodes" in problem for problem in table.attrs["problems"])


@pytest.mark.parametrize("name", ["debian-5.10", "debian-7.2"])
def test_types_know_what_a_broken_list_lacks(opened, name):
    dump = opened(name)
    whole = dump.filesystems
    with (
        Overlay(dump)
        .set("struct super_block", int(whole["address"].iloc[3]), "s_list.next", 0xDEAD0000)
        .dump() as broken
    ):
        table = broken.filesystems
        # Types that no program can mount are in no list, and the kernel's own mount of devtmpfs is of such a one.
        mountable = whole[(whole["mounts"] > 0) & (whole["type"] != "devtmpfs") & (whole["type"] != "nullfs")]
        assert set(mountable["address"]) <= set(table["address"]) <= set(whole["address"])
        assert len(table) > 10
        assert sorted(broken.mounts["address"]) == sorted(dump.mounts["address"])
        assert table.attrs["problems"]
