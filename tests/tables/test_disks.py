"""`dump.disks` against what the guests' /proc/diskstats and /proc/partitions said seconds before."""

from __future__ import annotations

import pandas as pd
import pytest
from conftest import SAMPLES
from support.block_truth import DISKSTATS, attribute, diskstats, partitions
from support.captures import captures, dumps_in
from support.overlay import Overlay
from support.truth import Truth

import kernlab

#: What nobody used between the truth and the crash, by dump: of the server all but the disk that it runs from.
STILL = {
    "server": [*(f"loop{number}" for number in range(8)), "dm-0", "dm-1", "dm-2"],
    "flight": [],
    "io": [],
}
TIMES = {f"{name}_ms": f"{name}_time" for name in ("read", "write", "discard", "flush", "io")}
COUNTS = [name for name in DISKSTATS if not name.endswith("_ms") and name != "in_flight"]


@pytest.fixture(scope="module")
def flight():
    with kernlab.open(kernlab.sample("flight")) as dump:
        yield dump


@pytest.fixture(scope="module", params=["io", "flight", "server"])
def both(request):
    """(name, our table, the guest's diskstats, its partitions)."""
    name = request.param
    if name == "server":
        truth = request.getfixturevalue("server_files").truth
        return name, request.getfixturevalue("server").disks, diskstats(truth), partitions(truth)
    truth = Truth(SAMPLES / name / "truth.tar.xz")
    with kernlab.open(kernlab.sample(name)) as dump:
        return name, dump.disks, diskstats(truth), partitions(truth)


def milliseconds(times: pd.Series) -> pd.Series:
    return times // pd.Timedelta(milliseconds=1)


def test_disks_are_those_of_diskstats(both):
    _, ours, theirs, sizes = both
    assert ours[["dev", "name"]].to_numpy().tolist() == theirs[["dev", "name"]].to_numpy().tolist()
    found = {
        name: (dev, size)
        for name, dev, size in zip(ours["name"], ours["dev"], ours["size_bytes"], strict=True)
    }
    # /proc/partitions leaves out what is empty.
    assert {name: what for name, what in found.items() if what[1]} == sizes


def test_statistics_of_what_nobody_used_are_exact(both):
    name, ours, theirs, _ = both
    still = ours["name"].isin(STILL[name]).to_numpy()
    assert still.sum() == len(STILL[name])
    for column in COUNTS:
        assert ours[column][still].tolist() == theirs[column][still].tolist(), column
    for theirs_name, our_name in TIMES.items():
        assert milliseconds(ours[our_name][still]).tolist() == theirs[theirs_name][still].tolist(), our_name


def test_statistics_of_what_was_used_go_on_from_there(both):
    name, ours, theirs, _ = both
    used = ~ours["name"].isin(STILL[name]).to_numpy()
    for column in COUNTS:
        more = ours[column][used].to_numpy() - theirs[column][used].to_numpy()
        assert (more >= 0).all(), column
    for theirs_name, our_name in TIMES.items():
        assert (
            milliseconds(ours[our_name][used]).to_numpy() >= theirs[theirs_name][used].to_numpy()
        ).all(), our_name
    # One second of a server, and a few of the slow disks.
    assert (ours["reads"][used].astype(int) <= 2.2 * theirs["reads"][used] + 300).all()


def test_the_servers_volumes_are_made_of_its_loop_devices(server):
    disks = server.disks.set_index("name")
    held = disks["holders"][disks["holders"] != ""]
    assert held.to_dict() == {"loop0": "dm-0,dm-1", "dm-1": "dm-2"}
    assert disks["driver"].tolist() == ["virtio_blk"] * 2 + ["loop"] * 8 + ["dm_mod"] * 3
    assert disks["operations"].tolist() == ["virtblk_fops"] * 2 + ["lo_fops"] * 8 + ["dm_blk_dops"] * 3
    # A bio-based driver has no scheduler, and no queues of requests.
    bios = disks["driver"] == "dm_mod"
    assert disks["scheduler"][bios].isna().all()
    assert disks["hw_queues"][bios].isna().all()
    assert (disks["scheduler"][~bios] == "none").all()


def test_partitions_know_their_disk(flight):
    disks = flight.disks.set_index("name")
    assert disks["parent"].dropna().to_dict() == {"vda1": "vda", "vda2": "vda"}
    assert disks.loc[["vda1", "vda2"], "start_sector"].tolist() == [2048, 67584]
    # What a disk counts, its partitions count, and it reads its own partition table.
    assert disks.loc["vda", "writes"] == disks.loc[["vda1", "vda2"], "writes"].sum() + 1
    assert disks.loc["vda", "sectors_read"] > disks.loc[["vda1", "vda2"], "sectors_read"].sum()


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_each_kernels_layout(opened, dump_files, name):
    """These guests wrote no diskstats; what their disks are they did."""
    disks = opened(name).disks
    found = {
        name: (dev, size)
        for name, dev, size in zip(disks["name"], disks["dev"], disks["size_bytes"], strict=True)
        if size
    }
    theirs = partitions(dump_files(name).truth)
    if name == "debian-5.10":
        # null_blk was loaded after the truth was taken.
        assert found.pop("nullb0") == ("253:0", 250 << 30)
    assert found == theirs
    by_name = disks.set_index("name")
    assert by_name["driver"].drop_duplicates().tolist() == ["virtio_blk", "loop", "null_blk", "zram"]
    assert not by_name["rotational"]["nullb0"]
    assert by_name["rotational"]["vda"]
    assert by_name["scheduler"]["nullb0"] == ("mq-deadline" if name == "debian-5.10" else "none")
    assert not by_name["readonly"].any()
    assert not by_name["removable"].any()
    assert by_name["hw_queues"]["vda"] == 2
    assert by_name["reads"]["vda"] > 30
    assert disks.attrs["problems"] == []


def test_a_list_that_the_dump_lacks(opened, dump_files):
    """Where the class begins a page was left out, and so was where the inodes' list does: their slabs tell of disks."""
    disks = opened("damaged-7.2").disks
    theirs = partitions(dump_files("damaged-7.2").truth)
    used = disks[disks["size_bytes"] > 0]
    assert sorted(used["name"]) == ["nullb0", "vdb"]
    for name, dev, size in zip(used["name"], used["dev"], used["size_bytes"], strict=True):
        assert theirs[name] == (dev, size)
    assert any("the classes of devices" in problem for problem in disks.attrs["problems"])


def test_a_torn_list_costs_nothing_but_the_order(opened):
    dump = opened("debian-6.1")
    third = dump.disks["address"].iloc[2]
    device = dump.struct("block_device", third).bd_device
    node = int(dump.structs("device_private", [int(device["p"])]).addresses[0])
    torn = Overlay(dump).set("struct device_private", node, "knode_class.n_node.next", 0).dump()
    # The others have inodes, too.
    assert torn.disks["name"].tolist()[:3] == ["vda", "vdb", "loop0"]
    assert sorted(torn.disks["name"]) == sorted(dump.disks["name"])
    assert any("the devices of the class block" in problem for problem in torn.disks.attrs["problems"])


#: What sysfs says of a disk (its file in the truth) and what the table calls it.
ATTRIBUTES = {
    "block_nr_requests": "queue_depth",
    "block_rotational": "rotational",
    "block_logical_block_size": "block_bytes",
    "block_ro": "readonly",
    "block_removable": "removable",
}


@pytest.mark.parametrize("folder", captures(), ids=lambda folder: folder.name)
def test_disks_of_captures(folder):
    """What no one used since the truth is exact, and sysfs says of each disk what the table does."""
    truth = Truth(folder / "truth.tar.xz")
    if "diskstats" not in truth.files:
        pytest.skip("this guest did not say what its disks counted")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        ours = dump.disks.set_index("name")
    theirs = diskstats(truth).set_index("name")
    assert ours.index.tolist() == theirs.index.tolist()
    still = (ours[["reads", "writes"]].astype("int64") == theirs[["reads", "writes"]]).all(axis=1)
    for column in set(COUNTS):
        assert ours[column][still].tolist() == theirs[column][still].tolist(), column
    for column in ("read", "write", "discard", "flush"):
        assert milliseconds(ours[f"{column}_time"][still]).tolist() == theirs[f"{column}_ms"][still].tolist()
    for name, column in ATTRIBUTES.items():
        for disk, value in attribute(truth, name).items():
            known = ours.loc[disk, column]
            assert pd.isna(known) or int(known) == int(value), (disk, column)
    for disk, value in attribute(truth, "block_scheduler").items():
        chosen = ours.loc[disk, "scheduler"]
        # sysfs marks the one that is chosen, and says "none" of drivers that take bios.
        assert f"[{chosen}]" in value or (pd.isna(chosen) and value == "none")
