"""What lies at an address is one answer, whichever way one asks: `owner`, `.kern.owner`, `identify` (`%sym`), the
struct browser, `search`."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support.hostile import hostile
from support.overlay import Overlay

from kernlab.display.html import to_html
from kernlab.linux.whatis.engine import what_lies_at
from kernlab.struct_browser.identify import identify
from kernlab.struct_browser.session import Session

PAGE = 4096
DUMPS = ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2", "damaged-7.2", "server"]
#: Kinds that only the lists of all pages tell: a glance says nothing of these, and never something else.
BY_LISTS = ("pcp", "other kernel", "kernel stack", "vmalloc", "vmap", "percpu", "network", "symbol")
INTEGERS = [0, 1, -1, -4096, -(2**63), 2**63, 2**63 - 1, 2**64 - 1, 0x400000, 0xFFFF_F000_DEAD_0000]


def numbers(column) -> np.ndarray:
    return column.to_numpy(dtype=np.uint64)


def somewhere(start: np.ndarray, size, count: int, seed: int) -> list[int]:
    """An address inside each of `count` of these, anywhere in it."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(start), min(count, len(start)), replace=False)
    inside = random.integers(0, np.broadcast_to(size, len(start))[rows])
    return (start[rows] + inside.astype(np.uint64)).tolist()


def all_kinds(dump) -> list[int]:
    """Thousands of addresses: of tasks, stacks, slab objects, symbols, modules, vmalloc, per-CPU memory, page structs,
    of frames of each kind, of users, and of nothing."""
    kernel = dump.kernel
    tasks = dump.tasks
    objects = dump.slab_objects()
    size = (
        dump.slabs.drop_duplicates("name")
        .set_index("name")["object_size"]
        .reindex(objects["cache"])
        .fillna(8)
    )
    areas = dump.vmalloc
    symbols = dump.symbols[numbers(dump.symbols["address"]) >= np.uint64(kernel.layout.image_start)]
    pages = dump.pages
    some = pages.groupby("kind", observed=True).head(300).groupby("kind", observed=True).tail(100)
    image = numbers(symbols["address"].iloc[::400])
    physical, status = kernel.memory.translate(image)
    found = [
        *INTEGERS,
        *somewhere(numbers(tasks["address"]), 64, 300, 1),
        *somewhere(numbers(tasks.kern.field("stack").dropna()), 16384, 300, 2),
        *somewhere(numbers(objects["address"]), size.to_numpy(dtype=np.int64), 1500, 3),
        *somewhere(numbers(symbols["address"]), 16, 500, 4),
        *somewhere(numbers(dump.modules["base"]), 4096, 200, 5),
        *somewhere(numbers(areas["start"]), 8192, 300, 6),
        *(dump.percpu("runqueues").addresses + np.uint64(100)).tolist(),
        *somewhere(kernel.vmemmap + np.arange(5000, dtype=np.uint64) * 64, 64, 100, 7),
        *(kernel.layout.direct_addresses(numbers(some["pfn"])) + np.uint64(77)).tolist(),
        *(kernel.layout.direct_start + physical[status == 0]).tolist(),
    ]
    return [address % 2**64 for address in found]


@pytest.fixture(
    scope="module", params=["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2", "damaged-7.2", "server"]
)
def anything(request, opened):
    """A dump, and thousands of addresses of all kinds with what `owner` says of them."""
    dump = opened(request.param)
    addresses = all_kinds(dump)
    return dump, addresses, dump.owner(addresses)


def test_there_is_something_of_every_kind(anything):
    _, addresses, owner = anything
    assert len(addresses) > 3000
    kinds = set(owner["kind"].dropna())
    assert kinds >= {
        "symbol",
        "slab object",
        "kernel stack",
        "page struct",
        "percpu",
        "file",
        "anon",
        "user address",
    }
    assert kinds >= {"not mapped", "page table", "free", "vmalloc"}


def test_kern_owner_says_what_owner_says(anything):
    _, _, owner = anything
    asked = owner[["address"]].set_index(np.arange(len(owner)) * 3)
    found = asked.kern.on("address").owner()
    assert found.index.equals(asked.index)
    same = found.drop(columns="label").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, owner.drop(columns="address"))


def test_identify_says_what_owner_says_and_in_one_line(anything):
    dump, addresses, owner = anything
    found = dump.identify(addresses)
    pd.testing.assert_frame_equal(found.drop(columns="label"), owner)
    named = found["name"].notna()
    assert found["label"].notna().equals(named)
    inside = found[named & (found["kind"] == "slab object") & (found["holder"] != found["name"])]
    assert all(
        label.startswith(f"{holder}: {name}")
        for label, holder, name in zip(inside["label"], inside["holder"], inside["name"], strict=True)
    )
    symbols = found["kind"] == "symbol"
    direct = symbols & ~dump.kernel.layout.in_direct_map(numbers(found["address"]))
    assert found["label"][direct].tolist() == dump.symbolize(found["address"][direct])


def test_one_at_a_time_is_the_same_as_all_together(anything):
    dump, addresses, owner = anything
    for row in np.random.default_rng(8).choice(len(addresses), 40, replace=False).tolist():
        one = dump.owner(addresses[row])
        assert one.astype(str).tolist() == owner.iloc[row].astype(str).tolist()


def test_the_browser_says_the_same_or_nothing(anything):
    dump, addresses, owner = anything
    glance = identify(dump.kernel, np.array(addresses, dtype=np.uint64))
    for answer, kind, type_name, start in zip(
        glance, owner["kind"].fillna(""), owner["type"].fillna(""), owner["start"].fillna(0), strict=True
    ):
        if answer.kind:
            assert (answer.kind, answer.type, answer.start) == (kind, type_name, int(start))
        else:
            assert kind in BY_LISTS
    session = Session(dump.kernel)
    for row in np.flatnonzero(owner["kind"].isin(["slab object", "kernel stack", "percpu", "file"]))[
        ::97
    ].tolist():
        view = session.open(f"{addresses[row]:#x}")
        answer = glance[row]
        nothing = "nothing is known of this address at a glance (dump.owner looks through all of memory)"
        assert view["note"] == (answer.label or f"{answer.kind or nothing}: shown as words")


def test_search_says_the_same(opened):
    dump = opened("debian-6.1")
    task = int(dump.tasks.loc[dump.tasks["pid"] == 1, "address"].iloc[0])
    places = dump.search(task)
    assert len(places) > 20
    pd.testing.assert_frame_equal(places.drop(columns="value"), dump.owner(places["address"]))
    assert "init (1)" in places["holder"].tolist()


# Only where there is no other way all page structs are gone through


def test_a_glance_never_looks_at_all_of_memory(opened, monkeypatch):
    dump = Overlay(opened("debian-6.1")).dump()
    pages = opened("debian-6.1").pages
    some = pages.groupby("kind", observed=True).head(3)
    addresses = dump.kernel.layout.direct_addresses(numbers(some["pfn"]))

    def refuse(kernel):
        raise AssertionError("a glance went through all page structs")

    monkeypatch.setattr("kernlab.linux.whatis.frames.PageSurvey", refuse)
    found = [answer.kind for answer in identify(dump.kernel, addresses)]
    assert {"anon", "file", "free", "page table", "slab object"} <= set(found)
    one = int(opened("debian-6.1").slab_objects("dentry")["address"].iloc[7])
    assert dump.owner(one)["kind"] == "slab object"
    dump.close()


def test_few_frames_are_what_the_table_of_all_pages_says(dump):
    pages = dump.pages[dump.pages["kind"] != "slab"]
    for kind, of_kind in pages.groupby("kind", observed=True):
        some = of_kind.sample(min(len(of_kind), 30), random_state=1)
        address = dump.kernel.layout.direct_addresses(numbers(some["pfn"]))
        for part in np.array_split(address, 3):
            found = dump.owner(part)["kind"]
            elsewhere = kind in ("kernel stack", "vmalloc", "vmap", "percpu", "reserved")
            assert (found == kind).all() or elsewhere, (kind, found.tolist())


def test_what_a_look_costs_is_no_loss_of_the_dump(opened):
    dump = opened("damaged-7.2")
    dump.kernel.with_modules()
    before = list(dump.kernel.problems)
    identify(dump.kernel, numbers(dump.tasks["address"]))
    assert dump.kernel.problems == before


# Damage, and names that would act


def test_of_a_hostile_dump_every_answer_is_escaped_where_it_is_shown(opened):
    dump = hostile(opened("debian-6.1"))
    tasks = dump.tasks
    addresses = np.concatenate(
        [numbers(tasks["address"]), numbers(tasks.kern.field("stack").dropna()) + np.uint64(8)]
    )
    owner = dump.owner(addresses)
    holders = owner["holder"].dropna()
    assert holders.str.contains("<u id=harm>hi", regex=False).any()
    assert holders.str.contains("\x1b", regex=False).any()
    html = to_html(owner)
    assert "<u id=harm>" not in html
    assert "\x1b" not in html
    session = Session(dump.kernel)
    for address in addresses.tolist():
        told = json.dumps(session.open(f"{address:#x}"), ensure_ascii=False)
        assert not any(mark in told for mark in ("\x1b", "\u202e", "\x07", "\x7f"))
    dump.close()


@pytest.mark.parametrize("seed", range(3))
def test_damage_costs_answers_and_never_raises(opened, seed):
    below = opened("debian-6.1")
    random = np.random.default_rng(seed)
    addresses = all_kinds(below)
    overlay = Overlay(below)
    wild = [0, 1, 2**64 - 1, 0xDEAD_BEEF, int(below.tasks["address"].iloc[3]), below.kernel.vmemmap + 64]
    for table, type_name, members in (
        ("tasks", "task_struct", ("mm", "group_leader", "stack", "files", "thread_pid", "real_cred")),
        ("slabs", "kmem_cache", ("size", "object_size", "name", "offset")),
    ):
        frame = getattr(below, table)
        for address in random.choice(numbers(frame["address"]), 25, replace=False).tolist():
            member = members[int(random.integers(len(members)))]
            size = overlay.where(type_name, address, member)[1]
            overlay.set(type_name, address, member, wild[int(random.integers(len(wild)))] % 2 ** (8 * size))
    for pfn in random.choice(below.kernel.file.max_pfn, 300).tolist():
        place = below.kernel.vmemmap + pfn * 64 + 8 * int(random.integers(8))
        if below.kernel.memory.translate(np.array([place], dtype=np.uint64))[1][0] == 0:
            overlay.word(place, wild[int(random.integers(len(wild)))])
    dump = overlay.dump()
    found = dump.owner(addresses)
    assert len(found) == len(addresses)
    assert isinstance(dump.identify(addresses)["label"].notna().sum(), np.integer)
    assert len(identify(dump.kernel, np.array(addresses, dtype=np.uint64))) == len(addresses)
    dump.close()


def test_without_types_what_is_no_symbol_stays_unknown_and_a_problem_says_why(opened):
    below = opened("debian-6.12")
    overlay = Overlay(below)
    overlay.lose(below.symbol("__stop_BTF") - PAGE)
    dump = overlay.dump(fresh=True)
    task = int(below.tasks.loc[below.tasks["pid"] == 1, "address"].iloc[0])
    found = dump.owner([dump.symbol("init_task"), task, 0x1000, 0xFFFF_F000_DEAD_0000])
    assert found["kind"].fillna("").tolist() == ["symbol", "", "user address", "not mapped"]
    assert any("types are gone" in problem for problem in found.attrs["problems"])
    dump.close()


def test_where_a_page_table_is_lost_nobody_says_that_nothing_is_mapped(opened):
    below = opened("debian-6.1")
    kernel = below.kernel
    wild = 0xFFFF_F000_DEAD_0000
    assert below.owner(wild)["kind"] == "not mapped"
    overlay = Overlay(below)
    overlay.exclude(kernel.layout.page_table & ~(PAGE - 1), physical=True)
    dump = overlay.dump()
    answers = what_lies_at(dump.kernel, np.array([wild], dtype=np.uint64))
    assert answers.kind.tolist() == [None]
    dump.close()
