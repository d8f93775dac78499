"""ipcs: against the guests' own /proc/sysvipc, and where nothing of the kind was made."""

from __future__ import annotations

import pandas as pd
import pytest
from support.captures import captures, dumps_in
from support.ipc_truth import NAMES, ipcs
from support.overlay import Overlay
from support.truth import Truth

import kernlab

TIMES = ("atime", "dtime", "ctime")


def compare(found: pd.DataFrame, theirs: pd.DataFrame, still: set[str]) -> None:
    """Every row and column of /proc/sysvipc; of those that are not `still` (their pids' or times) none."""
    assert found[["type", "id"]].to_dict("records") == theirs[["type", "id"]].to_dict("records")
    for number in range(len(theirs)):
        mine, row = found.iloc[number], theirs.iloc[number].dropna()
        for name, expected in row.items():
            if name in TIMES:
                seconds = 0 if pd.isna(mine[name]) else mine[name].timestamp()
                assert seconds == expected or name not in still, (number, name)
            else:
                assert mine[name] == expected, (number, name)
        # What a kind does not have is missing, not 0.
        own = {*NAMES[mine["type"]].values(), "max_bytes", "waiters"}
        for name in ("nsems", "messages", "attached", "cpid", "lpid", "lrpid", "dtime"):
            assert name in own or pd.isna(mine[name]), (number, name)


def test_a_server_has_what_its_proc_says(server, server_files):
    theirs = ipcs(server_files.truth)
    # PostgreSQL's segments are attached and left all the time, by processes that end.
    busy = {30978, 1568032814, 900949508}
    found = server.ipcs
    assert len(found) == len(theirs) == 11
    moving = found["key"].isin(busy).to_numpy()
    compare(found[~moving], theirs[~moving], set(TIMES))
    assert found[moving]["size_bytes"].tolist() == theirs[moving]["size_bytes"].tolist()
    assert found[~moving & (found["type"] != "shm")]["waiters"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("folder", captures("odd-*") or [None], ids=lambda folder: folder and folder.name)
def test_a_guest_that_makes_one_of_each(folder):
    if folder is None:
        pytest.skip("KERNLAB_LAB_CAPTURES names no capture of the story odd")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        compare(dump.ipcs, ipcs(Truth(folder / "truth.tar.xz")), set(TIMES))
        assert set(dump.ipcs["type"]) == {"sem", "msg", "shm"}


@pytest.mark.parametrize("name", ["debian-5.10", "debian-7.2"])
def test_nothing_was_made(opened, name):
    found = opened(name).ipcs
    assert len(found) == 0
    assert not [p for p in found.attrs["problems"] if "IPC" in p]


def test_waiters_are_counted_and_damage_is_told(server):
    """A queue whose list of receivers leads to a sender's is damaged; the others keep what they have."""
    message = server.ipcs.query("type == 'msg'").iloc[0]
    queue = int(message["address"])
    overlay = Overlay(server)
    head = overlay.where("struct msg_queue", queue, "q_receivers")[0]
    # Two waiters, made of the memory of a queue's own messages.
    node = int(server.struct("msg_queue", queue).q_messages.next)
    overlay.word(head, node).word(node, node + 16).word(node + 16, head)
    with overlay.dump() as dump:
        assert dump.ipcs["waiters"].dropna().tolist() == [0, 0, 2]
    overlay.word(node + 16, 0xDEAD0000)
    with overlay.dump() as dump:
        found = dump.ipcs
        assert len(found) == len(server.ipcs)
        assert pd.isna(found.loc[found["type"] == "msg", "waiters"]).all()
        assert [p for p in found.attrs["problems"] if "waiters of message queues" in p]
