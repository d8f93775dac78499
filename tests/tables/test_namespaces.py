"""namespaces against readlink /proc/PID/ns/* of every process of the guests."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest
from support.captures import captures, dumps_in
from support.truth import Truth

import kernlab

_LINK = re.compile(r" (\w+) -> (\w+):\[(\d+)\]$")


def told(truth: Truth) -> dict[tuple[str, int], list[int]]:
    """The processes in each namespace, by kind and number."""
    found: dict[tuple[str, int], list[int]] = {}
    for pid in truth.pids:
        for line in truth.lines(f"p/{pid}/ns"):
            match = _LINK.search(line)
            if match and not match[1].endswith("for_children"):
                found.setdefault((match[2], int(match[3])), []).append(pid)
    return found


def check(dump: Any, truth: Truth) -> pd.DataFrame:
    """All namespaces that processes live in, and the first of these; what else there is."""
    table = dump.namespaces
    assert not table.attrs["problems"]
    assert not table.duplicated(["kind", "inum"]).any()
    theirs = told(truth)
    ours = table.dropna(subset="inum").set_index(["kind", "inum"])
    assert set(theirs) <= set(ours.index)
    assert {key: ours.loc[key, "pid"] for key in theirs} == {key: min(pids) for key, pids in theirs.items()}
    tasks = dump.tasks
    known = tasks[tasks["pid"] > 0]
    by_mount = known.groupby("mount_namespace").size()
    for number, count in by_mount.items():
        # Idle tasks live in the first one, too.
        assert 0 <= ours.loc[("mnt", number), "tasks"] - count <= len(tasks) - len(known)
    return ours.loc[[key for key in ours.index if key not in theirs]]


def test_the_servers_are_those_of_proc(server: Any, server_files: Any) -> None:
    """34 of eight kinds: a container's, those of services, of two users' namespaces."""
    assert len(check(server, server_files.truth)) == 0
    table = server.namespaces
    assert len(table) == 34
    uts = table[table["kind"] == "uts"]
    assert {"server", "container-one", "box"} == set(uts["hostname"])
    user = table[table["kind"] == "user"].set_index("inum")
    first = user.index[0]
    assert user.loc[first, ["owner", "parent"]].isna().all()
    assert user["parent"].iloc[1:].tolist() == user["owner"].iloc[1:].tolist() == [first] * 3
    owned = table[table["hostname"] == "box"].iloc[0]
    assert owned["comm"] == "(sd-stubinit)"
    assert owned["owner"] in user.index[1:]


@pytest.mark.parametrize(
    "folder", captures("containers-*") or [None], ids=lambda folder: folder and folder.name
)
def test_those_of_containers_are_those_of_proc(folder: Any) -> None:
    if folder is None:
        pytest.skip("no capture of the story containers is on this machine (KERNLAB_LAB_CAPTURES)")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        assert len(check(dump, Truth(folder / "truth.tar.xz"))) == 0
        table = dump.namespaces
        assert {"shop-7f", "web-5d"} <= set(table["hostname"].dropna())
        pids = table[(table["kind"] == "pid") & (table["level"] == 1)]
        assert len(pids) >= 2
        assert set(pids["parent"]) == {table.loc[(table["kind"] == "pid").idxmax(), "inum"]}
        time = table[table["kind"] == "time"]
        assert len(time) == 1 + len(pids)


def test_a_machine_without_containers_has_one_of_each(machine_of: Any) -> None:
    """And one more of mounts, in which devtmpfs is kept."""
    hung = machine_of("hung")
    check(hung.dump, hung.truth)
    kinds = hung.dump.namespaces.groupby("kind").size().to_dict()
    assert kinds == {"cgroup": 1, "ipc": 1, "mnt": 2, "net": 1, "pid": 1, "time": 1, "user": 1, "uts": 1}
