"""Who holds files, against all that the processes of a server say of themselves, and on other kernels and damage."""

from __future__ import annotations

import pytest
from support.files_truth import open_files
from support.overlay import Overlay

from kernlab.errors import KernlabError


@pytest.fixture(scope="module")
def said(server_files):
    """What the guest said: {path: {(pid, usage)}} of descriptors, maps, programs and folders."""
    truth = server_files.truth
    uses: dict[str, set[tuple[int, str]]] = {}
    for (pid, _), (_, path) in open_files(truth).items():
        uses.setdefault(path, set()).add((pid, "fd"))
    for row in truth.maps().itertuples():
        if row.path.startswith("/"):
            uses.setdefault(row.path, set()).add((row.pid, "map"))
    kernels = set(truth.tasks().query("kthread")["pid"])
    for pid in truth.pids:
        for usage, path in truth.links(pid).items() if f"p/{pid}/links" in truth.files else ():
            if path and pid not in kernels:
                uses.setdefault(path, set()).add((pid, usage))
    return uses


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/bin/python3.13",
        "/dev/null",
        "/usr/sbin/cron",
        "/var/log/journal",
        "/mnt/tm/swapped",
        "/",
    ],
)
def test_as_processes_say(server, server_files, said, path):
    truth = said.get(path, set())
    rows = server.holders(path).dropna(subset=["pid"])
    # By other names of the same inode others may have it: those are not this path's.
    mine = {(int(row.pid), row.usage) for row in rows.itertuples() if row.path == path}
    # Later processes were not asked yet.
    assert {use for use in mine if use[0] in server_files.truth.pids} == truth
    assert truth or path == "/var/log/journal"


def test_a_path_is_its_inode(server):
    deleted = server.files[server.files["path"] == "/mnt/bind/del-bind (deleted)"].iloc[0]
    rows = server.holders("/mnt/bind/del-bind")
    assert rows[["pid", "usage", "fd"]].to_numpy().tolist() == [[deleted["pid"], "fd", deleted["fd"]]]
    by_number = server.holders(int(deleted["inode"]))
    assert by_number.equals(rows)
    by_address = server.holders(int(server.struct("file", int(deleted["address"])).f_inode))
    assert by_address.equals(rows)
    assert server.holders(int(deleted["address"])).equals(rows)


def test_what_the_kernel_holds(server):
    crypt = server.holders("/dev/mapper/crypt0")
    assert crypt["usage"].value_counts()["mount"] == (server.mounts["source"] == "/dev/mapper/crypt0").sum()
    assert "on /mnt/crypt" in set(crypt["detail"])
    assert crypt["pid"].isna().sum() == (crypt["usage"] == "mount").sum()
    # A folder that is mounted elsewhere is held by that.
    assert set(server.holders("/srv/real")["detail"]) == {"on /mnt/bind", "on /old/mnt/bind"}
    swap = server.swap["path"].dropna()
    for path in swap[~swap.str.startswith("/dev/zram")]:
        assert "swap" in set(server.holders(path)["usage"])
    # Image files of loop devices.
    loops = server.holders("/", below=True).query("usage == 'loop'")
    assert {"/dev/loop1", "/dev/loop2"} <= set(loops["detail"])


def test_below_and_whole_file_systems(server):
    below = server.holders("/mnt/xfs", below=True)
    assert {"fd", "map", "mount point"} <= set(below["usage"])
    block = server.filesystems.query("mount == '/mnt/xfs'")["address"].iloc[0]
    whole = server.holders(int(block))
    assert set(below.query("usage == 'fd'")["address"]) <= set(whole["address"])
    assert {"fd", "map", "mount"} <= set(whole["usage"])


def test_other_kernels(dump):
    rows = dump.holders("/busybox")
    assert len(rows) == (dump.files["path"] == "/busybox").sum() + rows["usage"].ne("fd").sum()
    assert set(rows["usage"]) >= {"fd"}
    assert dump.holders("/no such file").empty
    programs = dump.holders("/bin/busybox")
    assert {"exe", "map"} <= set(programs["usage"])


@pytest.mark.parametrize("what", ["busybox/../x", "busybax", object(), [1, 2], 1.5])
def test_what_is_nothing_is_refused(opened, what):
    with pytest.raises(KernlabError):
        opened("debian-6.1").holders(what)


def test_an_inode_may_be_text(opened):
    dump = opened("debian-6.1")
    number = int(dump.files.query("path == '/busybox'")["inode"].iloc[0])
    assert len(dump.holders(number))
    assert dump.holders(str(number)).equals(dump.holders(number))


def test_what_is_lost_is_told(opened):
    dump = opened("debian-6.1")
    row = dump.holders("/busybox").iloc[0]
    overlay = Overlay(dump).set("struct file", int(row["address"]), "f_path.dentry", 0xDEAD0000)
    with overlay.dump() as broken:
        rows = broken.holders("/busybox")
        # Its inode is known all the same.
        assert len(rows) == len(dump.holders("/busybox"))
        # It has it open and mapped.
        assert rows["path"].isna().sum() == 2
        assert rows.attrs["problems"]
