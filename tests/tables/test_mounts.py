"""Mounts of all namespaces, against each process's mountinfo and /proc/mounts of the guests, and on damage."""

from __future__ import annotations

import pytest
from support.captures import captures, dumps_in
from support.mounts_truth import mountinfo, mounts
from support.overlay import Overlay
from support.truth import Truth

import kernlab

_COLUMNS = ["id", "parent_id", "dev", "root", "target", "mount_options", "propagation", "fstype", "source",
    "super_options"]  # fmt: skip
#: Between the truth and the crash the folder on the host, to which it went, was unmounted or made read-only.
_HOST = "/dev/vd"


def hold_to_mountinfo(dump, truth):
    """Every line of every process's mountinfo: (how many were equal, those that were not, how many namespaces)."""
    space_of = dump.tasks.drop_duplicates("tgid").set_index("tgid")["mount_namespace"].to_dict()
    mine = {}
    for space, rows in dump.mounts.groupby("namespace"):
        mine[int(space)] = {row[0]: row for row in rows[_COLUMNS].itertuples(index=False, name=None)}
    equal, different, seen = 0, [], set()
    for pid in truth.pids:
        space = space_of.get(pid)
        if f"p/{pid}/mountinfo" not in truth.files or space is None or space != space:
            continue
        seen.add(space)
        for line in mountinfo(truth, pid):
            if mine[space].get(line[0]) == line:
                equal += 1
            else:
                different.append((pid, line, mine[space].get(line[0])))
    return equal, different, len(seen)


def is_host(line):
    return line[8].startswith(_HOST) and line[7] == "ext4"


def test_a_whole_server(server, server_files):
    equal, different, spaces = hold_to_mountinfo(server, server_files.truth)
    assert different == []
    assert spaces == 10
    assert equal == 377
    # Overlays, bind mounts, containers with roots of their own, what btrfs and XFS show.
    assert {"overlay", "btrfs", "xfs", "ext4", "cgroup2", "autofs", "devpts"} <= set(server.mounts["fstype"])
    assert server.mounts.attrs["problems"] == []


def test_mounts_as_pid_1_sees_them(server, server_files):
    first = server.mounts[server.mounts["namespace"] == server.mounts["namespace"].iloc[0]]
    rows = first[["source", "target", "fstype", "options"]].itertuples(index=False, name=None)
    # The root that the kernel began with lies below the one that was mounted upon it.
    assert [row for row in rows if row != ("rootfs", "/", "rootfs", "rw")] == mounts(server_files.truth)


def test_other_kernels(whole_dump, dump):
    first = dump.mounts[dump.mounts["namespace"] == dump.mounts["namespace"].iloc[0]]
    rows = list(first[["source", "target", "fstype", "options"]].itertuples(index=False, name=None))
    truth = mounts(whole_dump.truth)
    assert len(truth) == 9
    missing = [row for row in truth if row not in rows]
    # It was made read-only before the crash.
    assert [(source, fstype) for source, _, fstype, _ in missing] == [("/dev/vda", "ext4")]
    assert (*missing[0][:3], "ro,relatime") in rows


@pytest.mark.parametrize("name", ["hung", "io"])
def test_samples(machine_of, name):
    machine = machine_of(name)
    equal, different, spaces = hold_to_mountinfo(machine.dump, machine.truth)
    assert all(is_host(line) for _, line, _ in different)
    assert equal > 8 * len(different)
    assert spaces >= 1


@pytest.mark.parametrize(
    "folder", captures("*odd*") + captures("*containers-*"), ids=lambda folder: folder.name
)
def test_captures(folder):
    with kernlab.open(dumps_in(folder)[0]) as dump:
        equal, different, spaces = hold_to_mountinfo(dump, Truth(folder / "truth.tar.xz"))
        # Before Linux 5.11 the types of modules are not in a dump: what only overlayfs shows is told to lack.
        nameless = {line[7] for _, line, _ in different if not is_host(line)}
        assert nameless <= {"overlay"}
        assert not nameless or any(
            "overlay lack the options" in text for text in dump.mounts.attrs["problems"]
        )
        for _, line, mine in different:
            assert is_host(line) or mine[:-1] == line[:-1]
        assert spaces >= 2
        assert equal > 20


def test_a_mount_that_left_its_list_is_found(opened):
    dump = opened("debian-6.1")
    table = dump.mounts
    row = table.index[table["target"] == "/tmp"][0]
    address = int(table["address"].iloc[row])
    mount = dump.struct("mount", address)
    overlay = Overlay(dump)
    before, after = int(mount["mnt_list.prev"]), int(mount["mnt_list.next"])
    # The list goes past it.
    overlay.word(before, after)
    with overlay.dump() as broken:
        found = broken.mounts
        assert sorted(found["address"]) == sorted(table["address"])
        assert any("not in the list of their namespace" in problem for problem in found.attrs["problems"])


def test_what_cannot_be_read_is_missing(opened):
    dump = opened("debian-6.1")
    table = dump.mounts
    row = table.index[table["target"] == "/tmp"][0]
    address = int(table["address"].iloc[row])
    overlay = Overlay(dump).set("struct mount", address, "mnt_devname", 0xDEAD0000)
    overlay.set("struct super_block", int(table["super_block"].iloc[row]), "s_fs_info", 0xDEAD0000)
    with overlay.dump() as broken:
        found = broken.mounts
        assert len(found) == len(table)
        changed = found.loc[row]
        assert changed[["source"]].isna().all()
        assert changed["options"] == "rw,relatime"
        assert any("tmpfs" in problem for problem in found.attrs["problems"])
        same = [name for name in table.columns if name not in ("source", "options", "super_options")]
        assert found[same].astype(object).map(repr).equals(table[same].astype(object).map(repr))


@pytest.mark.parametrize(
    ("flags", "shown", "told"), [(0x110, ",seclabel", True), (0x100, "", True), (0x101, "", False)]
)
def test_labels_of_selinux(opened, flags, shown, told):
    """No kernel of the lab has a policy: its state, and what it keeps of one file system, are made."""
    dump = opened("debian-6.1")
    row = dump.mounts.index[dump.mounts["target"] == "/tmp"][0]
    block = int(dump.mounts["super_block"].iloc[row])
    overlay = Overlay(dump)
    page = overlay.make(1, lambda _: b"".ljust(4096, b"\0"))
    security = overlay.where("struct superblock_security_struct", page, "flags")[0] - page
    overlay = Overlay(dump)
    page = overlay.make(
        1, lambda _: b"\0" * security + flags.to_bytes(2, "little") + b"\0" * (4094 - security)
    )
    overlay.set("struct selinux_state", dump.symbol("selinux_state"), "initialized", 1)
    overlay.set("struct lsm_blob_sizes", dump.symbol("selinux_blob_sizes"), "lbs_superblock", 0)
    overlay.set("struct super_block", block, "s_security", page)
    with overlay.dump() as broken:
        options = broken.mounts["options"].iloc[row]
        assert options == f"rw{shown},relatime,size=65536k,inode64"
        assert (
            any(problem.startswith("1 of 1 mounts of tmpfs") for problem in broken.mounts.attrs["problems"])
            != told
        )
