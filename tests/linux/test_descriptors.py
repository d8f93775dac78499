"""Descriptors of all processes, against the listings of /proc/PID/fd, and on damaged tables."""

from __future__ import annotations

import numpy as np
import pytest
from support.files_truth import open_files
from support.overlay import Overlay

from kernlab.linux.descriptors import descriptors


def listed(dump):
    found = descriptors(dump.kernel)
    return set(zip(found.pid.tolist(), found.fd.tolist(), strict=True))


def test_each_is_listed_and_nothing_else(whole_dump, dump):
    truth = set(open_files(whole_dump.truth))
    assert len(truth) > 300
    # The shell of pid 1 held the list itself open while it was made.
    assert {pid for pid, _ in listed(dump) ^ truth} <= {1}
    assert len(listed(dump) ^ truth) <= 1


def test_a_whole_server(server, server_files):
    truth = set(open_files(server_files.truth))
    assert len(truth) > 1_000
    # Processes came after it was listed; one that was there opened a file.
    assert truth <= listed(server)
    new = {(pid, fd) for pid, fd in listed(server) - truth if pid in server_files.truth.pids}
    assert len(new) <= 1


def test_files_and_flags(opened):
    dump = opened("debian-6.1")
    found = descriptors(dump.kernel)
    assert len(found) == len(found.pid) == len(found.task) == len(found.file) == len(found.close_on_exec)
    assert (found.file["f_path.dentry"].true).all()
    # Shells mark what they keep for themselves, from 10 on (fcntl F_DUPFD_CLOEXEC), and nothing below.
    shell = np.asarray(found.pid.values) == 1
    assert (found.close_on_exec[shell] == (found.fd[shell] >= 10)).all()


@pytest.fixture
def table(opened):
    """A process of debian-6.1 and its fdtable: (pid, address)."""
    dump = opened("debian-6.1")
    found = descriptors(dump.kernel)
    row = int(np.flatnonzero(found.pid.values != 1)[0])
    return found.pid[row], int(dump.struct("task_struct", int(found.task[row])).files.fdt)


@pytest.mark.parametrize("size", [1 << 31, (1 << 32) - 1, 1 << 24])
def test_a_table_that_claims_too_much_costs_itself(opened, table, size):
    pid, address = table
    dump = opened("debian-6.1")
    with Overlay(dump).set("struct fdtable", address, "max_fds", size).dump() as broken:
        with broken.kernel.watched() as scope:
            left = listed(broken)
        assert {row for row in listed(dump) if row[0] != pid} <= left
        assert any("tables of files" in loss for loss in scope.losses)


def test_without_the_bitmap_the_array_tells(opened, table):
    _, address = table
    dump = opened("debian-6.1")
    with Overlay(dump).set("struct fdtable", address, "open_fds", 0xDEAD000).dump() as broken:
        with broken.kernel.watched() as scope:
            assert listed(broken) == listed(dump)
        assert scope.losses


def test_an_entry_that_is_null_is_being_opened(opened, table):
    pid, address = table
    dump = opened("debian-6.1")
    first = dump.struct("fdtable", address).fd
    with Overlay(dump).word(int(first), 0).dump() as broken:
        assert listed(dump) - listed(broken) == {(pid, 0)}
