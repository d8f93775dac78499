"""Signals, against /proc/PID/status, and what a whole server had queued."""

from __future__ import annotations

import pandas as pd
import pytest
from support.heap import Heap
from support.thread_truth import statuses

SETS = {
    "pending": "SigPnd",
    "shared_pending": "ShdPnd",
    "blocked": "SigBlk",
    "ignored": "SigIgn",
    "caught": "SigCgt",
}


def test_sets_are_those_of_proc(machine_or_server):
    """Exact, of threads that run the same program as then."""
    rows = machine_or_server.dump.signals
    theirs = statuses(machine_or_server.truth)
    rows = rows[rows["pid"].isin(theirs) & (rows["pid"] > 0)]
    assert len(rows) >= (240 if machine_or_server.name == "server" else 50)
    wrong = []
    for row in rows.to_dict("records"):
        said = theirs[row["pid"]]
        if row["comm"] == said["Name"]:
            ours = {line: row[f"{name}_mask"] for name, line in SETS.items()}
            wrong += [
                (row["pid"], row["comm"], line)
                for line, mask in ours.items()
                if mask == mask and mask is not None and str(mask) != "<NA>" and f"{mask:016x}" != said[line]
            ]
    assert wrong == []
    known = rows[[f"{name}_mask" for name in SETS]].notna().all(axis=1)
    assert known.all() or machine_or_server.name == "damaged-7.2"


def test_words(opened):
    rows = opened("debian-6.1").signals.set_index("pid")
    assert rows.loc[1, ["ignored", "caught", "blocked"]].tolist() == ["SIGQUIT", "SIGINT,SIGCHLD", ""]
    assert rows["ignored"][2] == "all"  # kthreadd


def test_what_a_server_has_not_taken_yet(server):
    """The kernel queues a signal for whom it sets a bit: udev's worker has ended, interval timers ran out."""
    rows, sets = server.queued_signals, server.signals.set_index("pid")
    assert rows[["comm", "signal", "code", "shared"]].to_numpy().tolist() == [
        ["systemd-udevd", "SIGCHLD", "CLD_EXITED", True],
        *[["postgres", "SIGALRM", "SI_KERNEL", True]] * 3,
    ]
    assert rows["from_pid"].dropna().tolist() == [357]
    assert rows["from_uid"].dropna().tolist() == [0]
    for row in rows.itertuples():
        assert row.signal in sets["shared_pending"][row.pid].split(",")
    assert sets["queued"].sum() == len(rows)
    assert sets["queued"][rows["pid"]].tolist() == [1] * 4


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
def test_kinds_of_entries(opened, name):
    """A fault's, a process's and a thread's, made up: who sent it is not read of a fault, nor the other way round."""
    below = opened(name)
    tasks = below.tasks[below.tasks["comm"].str.startswith("app<")]
    task, other = (int(address) for address in tasks["address"].iloc[:2])
    heap = Heap(below)
    overlay, kind = heap.overlay, "struct sigqueue"
    head, _ = overlay.where("struct task_struct", task, "pending.list")
    shared, _ = overlay.where("struct task_struct", other, "signal")
    shared = int.from_bytes(below.read(shared, 8), "little")
    shared, _ = overlay.where("struct signal_struct", shared, "shared_pending.list")
    entries = [heap.alloc(128) for _ in range(5)]
    for ring in ([head, *entries[:2], *entries[3:]], [shared, entries[2]]):
        for at, node in enumerate(ring):
            write = heap.word if node in entries else overlay.word
            write(node, ring[(at + 1) % len(ring)])
            write(node + 8, ring[at - 1])
    for entry, signo, code, one, two in (
        (entries[0], 11, 1, 0xDEAD0000, 0),
        (entries[1], 34, -6, 7, 1000),
        (entries[2], 15, 0, 1, 0),
        # A timer's number is no pid, and SIGCHLD may come from the kernel itself.
        (entries[3], 35, -2, 77, 78),
        (entries[4], 17, 0x80, 0, 0),
    ):
        members = {"si_signo": signo, "si_code": code}
        if code > 0:
            members["_sifields._sigfault._addr"] = one
        else:
            members |= {"_sifields._kill._pid": one, "_sifields._kill._uid": two}
        for name, value in members.items():
            heap.member(kind, entry, f"info.{name}", value)
    with heap.dump() as dump:
        rows = dump.queued_signals
        assert rows["pid"].tolist() == [tasks["pid"].iloc[0]] * 4 + [tasks["pid"].iloc[1]]
        assert rows["signal"].tolist() == ["SIGSEGV", "SIGRTMIN+2", "SIGRTMIN+3", "SIGCHLD", "SIGTERM"]
        assert rows["code"].tolist() == ["SEGV_MAPERR", "SI_TKILL", "SI_TIMER", "SI_KERNEL", "SI_USER"]
        assert rows["shared"].tolist() == [False] * 4 + [True]
        assert rows["from_pid"].dropna().tolist() == [7, 1]
        assert rows["from_uid"].dropna().tolist() == [1000, 0]
        assert [int(a) for a in rows["fault_address"].dropna()] == [0xDEAD0000]
        queued = dump.signals.set_index("pid")["queued"]
        assert queued[rows["pid"]].tolist() == [4, 4, 4, 4, 1]
        assert queued.sum() == 5 + sum(tasks["tgid"].iloc[1] == below.tasks["tgid"]) - 1
    # A queue that leads nowhere costs its own entries, and is said to.
    overlay.word(head, 0xDEAD0000)
    with heap.dump() as dump:
        rows = dump.queued_signals
        assert "SIGTERM" in rows["signal"].tolist()
        assert any("queues of signals" in problem for problem in rows.attrs["problems"])


def test_actions_add_up_to_the_sets(machine_or_server):
    """Each handler and each ignored signal of a process is in the sets of /proc/PID/status."""
    rows = machine_or_server.dump.signal_actions
    sets = machine_or_server.dump.signals.set_index("pid")
    bits = pd.Series([1 << (number - 1) for number in rows["number"]], dtype="uint64")
    for name, mine in (("ignored", rows["ignored"]), ("caught", ~rows["ignored"])):
        ours = bits[mine].groupby(rows["pid"][mine]).sum()
        assert len(ours)
        assert ours.astype("UInt64").tolist() == sets[f"{name}_mask"][ours.index].tolist()
    assert rows["handler"].isna().tolist() == rows["ignored"].tolist()
    init = rows[rows["pid"] == 1]
    assert init["signal"].is_unique
