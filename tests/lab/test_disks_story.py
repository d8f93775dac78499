"""The story `disks`: arrays of md, and the hardware behind nvme and SCSI disks, as mdstat and sysfs had them."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from support.captures import captures, dumps_in
from support.truth import Truth

import kernlab

STORIES = captures("disks-*")

pytestmark = pytest.mark.skipif(not STORIES, reason="no capture of the story disks in KERNLAB_LAB_CAPTURES")


@pytest.fixture(scope="module", params=STORIES, ids=lambda folder: folder.name)
def story(request):
    with kernlab.open(dumps_in(request.param)[0]) as dump:
        yield dump, Truth(request.param / "truth.tar.xz")


@pytest.fixture(scope="module")
def sysfs(story) -> dict[str, str]:
    """The first line of each file."""
    return {
        name: text.strip()
        for name, _, text in (line.partition(" ") for line in story[1].lines("storage.read"))
    }


def _mdstat(truth: Truth) -> pd.DataFrame:
    found = re.findall(
        r"^(md\d+) : active (?:\S+ )??(raid\d+) (.+)\n +(\d+) blocks.*?(?: \[(\d+)/(\d+)\] \[([U_]+)\])?\n"
        r"(?: +\[[=>.]+\] +(\w+) = +[\d.]+% \((\d+)/(\d+)\))?",
        truth.text("mdstat"),
        re.MULTILINE,
    )
    names = ("disk", "target", "roles", "blocks", "raid_disks", "working", "slots", "action", "done", "total")
    return pd.DataFrame(found, columns=names).set_index("disk").sort_index()


def _arrays(story) -> pd.DataFrame:
    dump, _ = story
    volumes = dump.volumes
    return volumes[volumes["kind"] == "md"].set_index("disk").sort_index()


def _no_types(story) -> bool:
    return any("struct mddev" in problem for problem in story[0].volumes.attrs["problems"])


def test_arrays_are_those_of_mdstat(story):
    theirs, ours = _mdstat(story[1]), _arrays(story)
    assert list(ours.index) == list(theirs.index) == ["md0", "md1", "md2"]
    if _no_types(story):
        # The types of 5.10's modules are not in it.
        assert ours[["target", "state", "roles", "slots", "degraded"]].isna().all(axis=None)
        return
    for name in ("target", "roles"):
        assert ours[name].tolist() == theirs[name].tolist()
    assert ours["slots"].fillna("").tolist() == theirs["slots"].tolist() == ["U__", "U_", ""]
    redundant = theirs[theirs["slots"] != ""]
    assert ours["raid_disks"][redundant.index].tolist() == redundant["raid_disks"].astype(int).tolist()
    lost = redundant["raid_disks"].astype(int) - redundant["working"].astype(int)
    assert ours["degraded"].dropna().tolist() == lost.tolist()


def test_what_is_rebuilt_goes_on_where_it_was(story):
    theirs, ours = _mdstat(story[1]).loc["md0"], _arrays(story)
    if _no_types(story):
        pytest.skip("this kernel's types do not say what a struct mddev is")
    assert theirs["action"] == "recovery"
    assert ours["sync_action"].fillna("").tolist() == ["recover", "idle", ""]
    assert ours["sync_total_bytes"].dropna().to_dict() == {"md0": int(theirs["total"]) << 10}
    # It moved between the truth and the end, forwards, and was not done.
    done = ours["sync_done_bytes"].dropna().to_dict()
    assert list(done) == ["md0"]
    assert int(theirs["done"]) << 10 <= done["md0"] < int(theirs["total"]) << 10


def test_state_and_degradation_are_those_of_sysfs(story, sysfs):
    if _no_types(story):
        pytest.skip("this kernel's types do not say what a struct mddev is")
    ours = _arrays(story)
    for disk, row in ours.iterrows():
        folder = f"/sys/block/{disk}/md"
        # The program `ledger` writes to md2 all the time: it is clean or active.
        theirs = sysfs[f"{folder}/array_state"]
        assert row["state"] == theirs or (disk == "md2" and {row["state"], theirs} <= {"clean", "active"})
        assert row["raid_disks"] == int(sysfs[f"{folder}/raid_disks"])
        assert row["target"] == sysfs[f"{folder}/level"]
        if not pd.isna(row["degraded"]):
            assert row["degraded"] == int(sysfs[f"{folder}/degraded"])
            assert row["sync_action"] == sysfs[f"{folder}/sync_action"]


def test_nvme_disks_are_what_sysfs_says(story, sysfs):
    row = story[0].disks.set_index("name").loc["nvme0n1"]
    folder = "/sys/class/nvme/nvme0"
    assert row["serial"] == sysfs[f"{folder}/serial"] == "KL-NVME-00017"
    assert row["model"] == sysfs[f"{folder}/model"]
    assert row["firmware"] == sysfs[f"{folder}/firmware_rev"]
    assert row["state"] == sysfs[f"{folder}/state"] == "live"
    assert pd.isna(row["vendor"])


def test_controllers_are_what_sysfs_says(story, sysfs):
    row = story[0].nvme.set_index("name").loc["nvme0"]
    folder = "/sys/class/nvme/nvme0"
    for column, file in (
        *(("serial", "serial"), ("model", "model"), ("firmware", "firmware_rev"), ("state", "state")),
        *(("transport", "transport"), ("device", "address"), ("nqn", "subsysnqn")),
    ):
        assert row[column] == sysfs[f"{folder}/{file}"]
    assert row["queues"] == int(sysfs[f"{folder}/queue_count"])
    assert row["queue_depth"] == int(sysfs[f"{folder}/sqsize"])
    assert row["disks"] == "nvme0n1"
    # Six read all the time, each one request after the other; one or two can be between them.
    counted = sum(map(int, sysfs[f"{folder}/nvme0n1/inflight"].split()))
    assert 4 <= row["outstanding"] <= 6
    assert 4 <= counted <= 6
    disk = story[0].disks.set_index("name").loc["nvme0n1"]
    assert row["outstanding"] == disk["reads_in_flight"] + disk["writes_in_flight"]


def test_scsi_disks_are_what_sysfs_says(story, sysfs):
    disks = story[0].disks.set_index("name")
    scsi = disks[disks.index.str.startswith("sd")]
    assert len(scsi) == 6
    if any("struct scsi_device" in problem for problem in story[0].disks.attrs["problems"]):
        # The types of 5.10's modules are not in it.
        assert scsi[["vendor", "model", "serial", "state"]].isna().all(axis=None)
        return
    for name, row in scsi.iterrows():
        folder = f"/sys/block/{name}/device"
        for column, file in (
            ("vendor", "vendor"),
            ("model", "model"),
            ("firmware", "rev"),
            ("state", "state"),
        ):
            assert row[column] == sysfs[f"{folder}/{file}"]
        # A header of four bytes is before it, of which some can be printed.
        assert sysfs[f"{folder}/vpd_pg80"].endswith(row["serial"])
        assert re.fullmatch(r"KL-SCSI-0000\d", row["serial"])


def test_other_disks_say_nothing(story):
    disks = story[0].disks.set_index("name")
    assert disks.loc[["vda", "vdb"], ["vendor", "model", "serial", "firmware", "state"]].isna().all(axis=None)
