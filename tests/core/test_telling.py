"""Reads tell what they could not read, and why: one sentence for each type, and none for what is not there."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import PAGE, Overlay

from kernlab.core.facts import fact
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame
from kernlab.walk.strings import c_strings

#: Canonical, in no map of any of the dumps.
WILD = 0xFFFF_F000_DEAD_0000


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


def tasks_of(dump) -> np.ndarray:
    return dump.tasks["address"].astype("uint64").to_numpy()


def comm_page(below, address: int) -> int:
    return Overlay(below).where("struct task_struct", int(address), "comm")[0] & ~(PAGE - 1)


def losses(dump, *paths: str, addresses=None) -> list[str]:
    with dump.kernel.scope("test") as here:
        structs = StructArray(dump.kernel, "struct task_struct", addresses)
        for path in paths:
            structs[path]
    return here.losses


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("exclude", "on pages that were left out of the dump"),
        ("lose", "on pages that are cut off or damaged in the file"),
        ("remove", "where the machine had no memory, or the dump holds none of it"),
    ],
)
def test_a_member_that_cannot_be_read_is_told(below, way, why):
    addresses = tasks_of(below)
    page = comm_page(below, addresses[5])
    hit = [int(a) for a in addresses if comm_page(below, a) == page]
    dump = getattr(Overlay(below), way)(page).dump()
    first = Overlay(below).where("struct task_struct", hit[0], "comm")[0]
    assert losses(below, "comm", addresses=addresses) == []
    assert losses(dump, "comm", addresses=addresses) == [
        f"comm of {len(hit)} of {len(addresses)} struct task_struct cannot be read: {why}; the first at {first:#018x}"
    ]


def test_a_page_costs_many_members_and_makes_one_sentence(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()
    (told,) = losses(dump, "comm", "comm", "cred", "fs", "files", "nsproxy", "signal", addresses=addresses)
    assert "struct task_struct cannot be read in whole (comm, cred, fs, files and 2 more)" in told


def test_what_lies_behind_null_is_no_loss_and_what_lies_behind_a_wild_pointer_is(below):
    addresses = tasks_of(below)
    threads = (below.tasks["mm"] == 0).fillna(True).to_numpy()
    assert threads.any()
    assert losses(below, "mm->total_vm", addresses=addresses[threads]) == []
    wild = Overlay(below).set("struct task_struct", int(addresses[~threads][0]), "mm", WILD).dump()
    (told,) = losses(wild, "mm->total_vm", "mm->map_count", addresses=addresses)
    assert told.startswith(
        f"1 of {len(addresses)} struct task_struct cannot be read in whole (mm->total_vm, mm->map_count)"
    )
    assert ": at addresses that nothing maps; the first at 0xfffff000dead" in told


def test_a_row_that_was_lost_before_is_not_told_again(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()
    with dump.kernel.scope("test") as here:
        cred = StructArray(dump.kernel, "struct task_struct", addresses).follow("cred")
        assert not cred.valid.all()
        before = here.losses
        cred["uid.val"]
    assert here.losses == before


def test_prefetched_members_tell_the_same(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()
    with dump.kernel.scope("test") as here:
        structs = StructArray(dump.kernel, "struct task_struct", addresses).prefetch("pid", "comm", "cred")
        assert here.losses == []
        structs["comm"]
    assert here.losses == losses(dump, "comm", addresses=addresses)


def test_nobody_is_told_outside_of_a_scope_nor_while_quiet(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()
    structs = StructArray(dump.kernel, "struct task_struct", addresses)
    assert not structs["comm"].valid.all()
    assert dump.problems == []
    with dump.kernel.scope("test") as here:
        with dump.kernel.quiet():
            structs["comm"]
            dump.kernel.words([WILD])
            dump.kernel.lost("this is said all the same")
        assert here.losses == ["this is said all the same"]
        structs["comm"]
    assert len(here.losses) == 2


def test_strings_and_words_tell_too(below):
    page = Overlay(below).exclude(below.symbol("linux_banner")).dump()
    with page.kernel.scope("test") as here:
        where = np.array([page.symbol("linux_banner"), 0, page.symbol("init_task")], dtype=np.uint64)
        c_strings(page.kernel, where, 16, "banners")
        page.kernel.words(where, what="first words")
        page.kernel.gather(where, 8, "")
    assert [sentence.split(":")[0] for sentence in here.losses] == [
        "1 of 2 banners cannot be read",
        "1 of 3 first words cannot be read",
    ]


def test_a_fact_tells_everybody_who_asks_be_it_found_quietly(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()

    @fact
    def names(kernel):
        return StructArray(kernel, "struct task_struct", addresses)["comm"]

    told = losses(dump, "comm", addresses=addresses)
    for _ in range(2):
        with dump.kernel.scope("test") as here, dump.kernel.quiet():
            names(dump.kernel)
        assert here.losses == told


def test_a_table_bears_it(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()
    with dump.kernel.scope("mine"):
        comm = StructArray(dump.kernel, "struct task_struct", addresses)["comm"]
        mine = frame(dump.kernel, "mine", found=comm.true, length=comm.true.astype(int))
    assert mine.attrs["problems"] == losses(dump, "comm", addresses=addresses)


def test_frames_of_members_bear_it_too(below):
    addresses = tasks_of(below)
    dump = Overlay(below).exclude(comm_page(below, addresses[5])).dump()
    rows = frame(dump.kernel, "mine", address=StructArray(dump.kernel, "struct task_struct", addresses))
    (told,) = losses(dump, "comm", addresses=addresses)
    made = [
        rows.kern.field("comm"),
        rows.kern.field("comm", "comm"),
        rows.kern.assign(text="comm"),
        rows.kern.where("comm == 'init'"),
        StructArray(dump.kernel, "struct task_struct", addresses).frame(["comm"]),
    ]
    for one in made:
        assert one.attrs["problems"] == [told]
    assert rows.attrs["problems"] == []
    (followed,) = rows.kern.follow("cred", "usage.counter").attrs["problems"]
    assert "cred of" in followed
    assert below.tasks.kern.assign(text="comm").attrs["problems"] == []
