"""Captures of kernels without BTF, which the lab makes of a tree that was built here: every table, by their vmlinux."""

from __future__ import annotations

import re

import pytest
from support.captures import captures, dumps_in
from support.seed import SEED
from support.truth import Truth

import kernlab
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.stack_kinds import StackKind

CAPTURES = [folder for folder in captures() if (folder / "vmlinux").exists()]
pytestmark = pytest.mark.skipif(
    not CAPTURES, reason="KERNLAB_LAB_CAPTURES names no capture with a vmlinux beside its dump"
)


@pytest.fixture(scope="module")
def capture():
    folder = CAPTURES[SEED % len(CAPTURES)]
    with kernlab.open(dumps_in(folder)[0], vmlinux=folder / "vmlinux") as dump:
        yield dump, Truth(folder / "truth.tar.xz")


def rows(table):
    return {tuple(map(str, row)) for row in table.itertuples(index=False)}


def test_every_table_reads(capture):
    dump, _ = capture
    failed = {}
    for name in dump.tables["name"]:
        try:
            table = getattr(dump, name)
        except kernlab.KernlabError as error:
            failed[name] = str(error)
            continue
        lost = [words for words in getattr(table, "attrs", {}).get("problems", []) if "no member" in words]
        if lost:
            failed[name] = lost
    assert failed == {}


def test_threads_and_what_they_map_are_as_the_guest_said(capture):
    dump, truth = capture
    told = truth.tasks().set_index("pid")
    told = told[told["comm"].isin({"accounts", "mailer", "indexer", "cron", "kthreadd", "init"})]
    ours = dump.tasks[dump.tasks["pid"] == dump.tasks["tgid"]].set_index("pid").loc[told.index]
    assert len(told)
    assert ours["comm"].tolist() == told["comm"].tolist()
    assert ours["ppid"].tolist() == told["ppid"].tolist()
    maps = truth.maps()
    maps = maps[maps["pid"].isin(told.index)]
    mine = dump.maps[dump.maps["pid"].isin(told.index)]
    keys = ["pid", "start", "end", "perms", "path"]
    assert {
        tuple(map(str, row))
        for row in mine[keys].astype({"start": "u8", "end": "u8"}).itertuples(index=False)
    } == {tuple(map(str, row)) for row in maps[keys].itertuples(index=False)}


def test_each_cpu_has_its_stacks(capture):
    dump, _ = capture
    stacks = find_stacks(dump.kernel)
    of_cpus = stacks.kind != StackKind.TASK
    for cpu in range(int(dump.info["cpus"])):
        mine = of_cpus & (stacks.owner == cpu)
        assert set(stacks.kind[mine].tolist()) == set(StackKind) - {StackKind.TASK}
        assert (stacks.start[mine][1:] >= stacks.end[mine][:-1]).all()


def test_a_pause_is_told_by_each_name_of_its_function(capture):
    dump, _ = capture
    asleep = dump.waits[dump.waits["comm"].isin({"accounts", "mailer", "indexer", "cron"})]
    paused = asleep["function"].str.fullmatch(re.compile(r"__(x64|do|se)_sys_pause|sys_pause"))
    assert paused.any()
    assert set(asleep.loc[paused, "type"]) == {"signal"}
