"""Open files, against /proc/PID/fd and /proc/PID/fdinfo of the guests, and on damage."""

from __future__ import annotations

import numpy as np
import pytest
from support.captures import captures, dumps_in
from support.files_truth import descriptor_infos, open_files
from support.overlay import Overlay
from support.truth import Truth

import kernlab

#: What pid 1's shell opens and closes while it takes the truth, and to crash, and what recorders read all the time.
_MOVES = (1,)


def compared(dump, truth):
    """(equal, rows that differ) of all descriptors that the truth lists and the dump has."""
    said, equal, different = open_files(truth), 0, []
    for row in dump.files.itertuples():
        if (wanted := said.get((row.pid, row.fd))) is not None:
            if wanted == (row.mode, row.path):
                equal += 1
            else:
                different.append((row.pid, row.fd, wanted, (row.mode, row.path)))
    return equal, different


def test_each_path_is_that_of_readlink(whole_dump, dump):
    equal, different = compared(dump, whole_dump.truth)
    assert equal > 300
    assert {pid for pid, *_ in different} <= set(_MOVES)
    assert len(different) <= 2


def test_a_whole_server(server, server_files):
    equal, different = compared(server, server_files.truth)
    assert equal > 1_200
    assert different == []
    # Namespaces, pidfds, names with a newline, what was deleted, what the kernel made up.
    paths = set(server.files["path"])
    assert {"anon_inode:[pidfd]", "anon_inode:[eventpoll]", "/var/tmp/naïve \n name"} <= paths
    assert any(path.endswith(" (deleted)") for path in paths)
    assert server.files["path"].notna().all()


def test_what_fdinfo_says_on_a_server(server, server_files):
    said = descriptor_infos(server_files.truth)
    columns = {"flags": "flags", "mnt_id": "mount_id", "ino": "inode", "pos": "position_bytes"}
    different = []
    checked = 0
    for row in server.files.itertuples():
        for key, column in columns.items():
            if (wanted := said.get((row.pid, row.fd), {}).get(key)) is not None:
                checked += 1
                if wanted != [str(getattr(row, column))]:
                    different.append((row.path, key))
    assert checked > 3_000
    # The log was written to.
    assert set(different) <= {("/var/log/syslog", "pos")}


def test_details_are_those_of_fdinfo_on_a_server(server, server_files):
    said = descriptor_infos(server_files.truth)
    counts: dict[str, int] = {}
    for row in server.files.itertuples():
        info = said.get((row.pid, row.fd))
        if info is None or not row.detail:
            continue
        kind, _, rest = row.detail.partition(" ")
        if kind == "count":
            assert int(info["eventfd-count"][0], 16) == int(rest)
        elif kind == "watches":
            told = sorted(int(line.split()[0]) for line in info.get("tfd", []))
            mine = [] if rest == "nothing" else [int(number) for number in rest.split(",")]
            # One began to watch a file that it opened later.
            assert mine == told or ((row.pid, row.fd) == (337, 8) and set(told) < set(mine))
        elif kind == "clock":
            assert rest.startswith(f"{info['clockid'][0]}, {info['ticks'][0]} ticks")
        elif kind == "mask":
            assert info["sigmask"] == [rest]
        elif kind == "pid":
            assert info["Pid"] == [rest]
        counts[kind] = counts.get(kind, 0) + 1
    assert {"count", "watches", "clock", "mask", "pid"} <= set(counts)
    assert sum(counts.values()) > 100


def test_a_block_device_has_its_own_size(server):
    disk = server.files.query("kind == 'blk'").iloc[0]
    assert disk["path"] == "/dev/vda"
    assert disk["size_bytes"] == server.disks.set_index("name").loc["vda", "size_bytes"]


def test_a_pipe_whose_counts_have_wrapped(server):
    """Both of its ends count up in 32 bits."""
    pipe = server.files[server.files["detail"].str.contains("^[1-9].* bytes,")].iloc[0]
    own = server.structs("file", [pipe["address"]]).follow("private_data", to="struct pipe_inode_info")
    address, ring, size = int(own.addresses[0]), int(own["bufs"].values[0]), int(own["ring_size"].values[0])
    step = server.kernel.find_type("struct pipe_buffer").size
    # The last and the first of the ring.
    held = server.structs("pipe_buffer", [ring + (size - 1) * step, ring])["len"].sum()
    assert held
    overlay = Overlay(server).set("struct pipe_inode_info", address, "tail", (1 << 32) - 1)
    with overlay.set("struct pipe_inode_info", address, "head", 1).dump() as wrapped:
        assert wrapped.files.loc[pipe.name, "detail"] == f"{held} bytes, 1 readers, 1 writers"
    # More than there is room for is damage.
    with overlay.set("struct pipe_inode_info", address, "head", size).dump() as broken:
        assert broken.files.loc[broken.files["detail"].isna(), "inode"].unique().tolist() == [pipe["inode"]]


def test_folders_devices_and_files(opened):
    files = opened("debian-6.1").files
    busybox = files.query("path == '/busybox'").iloc[0]
    assert (busybox["kind"], busybox["mode"], busybox["fstype"]) == ("file", "r", "rootfs")
    assert busybox["size_bytes"] > 500_000
    console = files.query("path == '/dev/console'").iloc[0]
    assert (console["kind"], console["fstype"]) == ("chr", "rootfs")
    assert files.loc[files["kind"] == "chr", "size_bytes"].isna().all()


@pytest.mark.parametrize("folder", captures("*odd*"), ids=lambda folder: folder.name)
def test_odd_machines(folder):
    with kernlab.open(dumps_in(folder)[0]) as dump:
        equal, different = compared(dump, Truth(folder / "truth.tar.xz"))
        assert equal > 60
        assert {pid for pid, *_ in different} <= set(_MOVES)
        assert len(different) <= 3
        holders = dump.files[dump.files["comm"] == "holders"]
        if len(holders):
            # A thread of it has files of its own, which /proc/PID/fd does not list.
            tid = holders["task"].map(dump.tasks.set_index("address")["pid"])
            assert set(holders.loc[tid != holders["pid"], "path"]) - set(
                holders.loc[tid == holders["pid"], "path"]
            ) == {"/proc/version"}
            details = set(holders["detail"])
            assert {
                "count 1193046",
                "watches 8,9,11",
                "watches nothing",
                "mask 0000000000004200",
                "pid 1",
            } <= details
            assert {"12 bytes, 1 readers, 1 writers", "2 watches, 2 events"} <= details


def test_a_file_that_cannot_be_read_keeps_its_row(opened):
    dump = opened("debian-6.1")
    row = int(np.flatnonzero((dump.files["kind"] == "socket").to_numpy())[0])
    address = int(dump.files["address"].iloc[row])
    overlay = Overlay(dump).set("struct file", address, "f_inode", 0xDEAD0000)
    with overlay.set("struct file", address, "f_path.dentry", 0xDEAD0000).dump() as broken:
        files = broken.files
        assert len(files) == len(dump.files)
        assert (
            files.loc[row, ["pid", "fd", "mode"]].tolist()
            == dump.files.loc[row, ["pid", "fd", "mode"]].tolist()
        )
        assert files.loc[row, ["path", "inode", "kind", "dev", "fstype"]].isna().all()
        assert files["path"].notna().sum() == len(files) - 1
        assert files.attrs["problems"]
