"""Locks on files, against /proc/locks of the guests, and on damaged lists."""

from __future__ import annotations

import pytest
from support.captures import captures, dumps_in
from support.locks_truth import file_locks
from support.overlay import Overlay
from support.truth import Truth

import kernlab


def rows(dump):
    """The table in the words of /proc/locks, which does not say who has an open file's lock."""
    return [
        (
            row.number, row.level, row.kind, row.state, row.type, -1 if row.kind == "OFDLCK" else row.pid, row.dev,
            row.inode, row.start_byte, None if row.end_byte is None else row.end_byte,
        )
        for row in dump.file_locks.astype(object).where(dump.file_locks.notna(), None).itertuples()
    ]  # fmt: skip


def test_a_whole_server(server, server_files):
    truth = file_locks(server_files.truth)
    assert len(truth) == 6
    assert rows(server) == truth
    table = server.file_locks
    assert set(table["kind"]) == {"POSIX", "FLOCK", "OFDLCK"}
    assert table.loc[
        table["path"] == "/var/tmp/story.lock2", ["start_byte", "end_byte"]
    ].to_numpy().tolist() == [[5, 14]]
    # Who has the open file's lock /proc/locks does not say: who has the file open does.
    assert set(table.loc[table["kind"] == "OFDLCK", "comm"]) == {"systemd-nspawn"}
    assert table["waits_for"].isna().all()


@pytest.mark.parametrize("folder", captures("*odd*"), ids=lambda folder: folder.name)
def test_who_waits(folder):
    truth = file_locks(Truth(folder / "truth.tar.xz"))
    if not truth:
        pytest.skip("this capture was made before its guest locked files")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        assert rows(dump) == truth
        table = dump.file_locks
        waiting = table[table["level"] > 0]
        assert {"posix-1", "posix-2", "whole-1"} <= set(waiting["comm"])
        assert waiting["waits_for"].isin(table["address"]).all()
        assert {"POSIX", "OFDLCK", "FLOCK", "LEASE"} <= set(table["kind"])


def test_no_locks_and_no_problems(opened):
    table = opened("debian-6.1").file_locks
    assert len(table) == 0
    assert table.attrs["problems"] == []


def test_a_list_that_breaks_keeps_what_came_before(server):
    table = server.file_locks
    links = [server.struct("file_lock", int(lock))["c.flc_link.next"] for lock in table["address"]]
    other = next(int(lock) for lock, link in zip(table["address"], links, strict=True) if link)
    with Overlay(server).set("struct file_lock", other, "c.flc_link.next", 0xDEAD0000).dump() as broken:
        found = broken.file_locks
        assert set(found["address"]) < set(table["address"])
        assert other in set(found["address"])
        assert any("lists of file locks" in problem for problem in found.attrs["problems"])


def test_who_waits_made_by_hand(server):
    """Two of the server's locks taken out of their lists: one waits for a third, the other for that one."""
    table = server.file_locks
    locks = {int(address): server.struct("file_lock", int(address)) for address in table["address"]}
    link = server.kernel.find_type("struct file_lock_core").member("flc_link").offset
    before = {address: int(lock["c.flc_link.pprev"]) for address, lock in locks.items()}
    # Neither is next to the other, so that each leaves its list by itself.
    second, third = next(
        (one, other)
        for one in locks
        for other in locks
        if other != one and before[other] != one + link and before[one] != other + link
    )
    first = next(address for address in locks if address not in (second, third))
    overlay = Overlay(server)
    for address in (second, third):
        overlay.word(before[address], int(locks[address]["c.flc_link.next"] or 0))

    def waits(below, above):
        head, size = overlay.where("struct file_lock", above, "c.flc_blocked_requests.next")
        node, _ = overlay.where("struct file_lock", below, "c.flc_blocked_member.next")
        for place, value in ((head, node), (head + size, node), (node, head), (node + size, head)):
            overlay.word(place, value)
        overlay.set("struct file_lock", below, "c.flc_blocker", above)

    waits(second, first)
    waits(third, second)
    with overlay.dump() as made:
        found = made.file_locks
        assert sorted(found["address"]) == sorted(table["address"])
        row = found.index[found["address"] == first][0]
        chain = found.loc[row : row + 2]
        assert chain["address"].tolist() == [first, second, third]
        assert chain["level"].tolist() == [0, 1, 2]
        assert chain["number"].nunique() == 1
        assert chain["waits_for"].tolist()[1:] == [first, second]
        assert chain["waits_for_pid"].tolist()[1:] == chain["pid"].tolist()[:2]
        assert found["level"].sum() == 3
        assert found.attrs["problems"] == table.attrs["problems"]
