"""`owner` and `search`: what lies at an address, and where something stands; against tables that found it otherwise."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab import KernlabError

PAGE = 4096
WILD = 0xFFFF_F000_DEAD_0000


def numbers(column) -> np.ndarray:
    return column.to_numpy(dtype=np.uint64)


def place(dump, physical: int) -> int:
    return dump.kernel.memory.layout.direct_start + physical


# owner


def test_every_slab_object_is_found_from_any_byte_of_it(machine):
    if machine.name == "damaged-7.2":
        pytest.skip("slabs are missing in this dump")
    dump = machine.dump
    objects = dump.slab_objects()
    size = dump.slabs.set_index("name")["object_size"]
    inside = np.random.default_rng(1).integers(0, size[objects["cache"]].to_numpy(dtype=np.int64))
    address = numbers(objects["address"]) + inside.astype(np.uint64)
    found = dump.owner(address)
    assert (found["kind"] == "slab object").all()
    assert (found["name"].to_numpy() == objects["cache"].to_numpy()).all()
    assert (numbers(found["start"]) == numbers(objects["address"])).all()
    assert (found["offset"].to_numpy(dtype=np.int64) == inside).all()
    assert found["allocated"].equals(objects["allocated"])
    assert not any("damaged" in problem for problem in found.attrs["problems"])
    some = np.random.default_rng(2).choice(len(objects), 500, replace=False)
    identified = dump.identify(address[some])
    assert (identified["kind"] == "slab object").all()
    assert (numbers(identified["start"]) == numbers(objects["address"].iloc[some])).all()


def test_symbols_are_those_of_symbolize(dump):
    symbols = dump.symbols[dump.symbols["type"].isin(list("tTdDbBrR")) & (dump.symbols["module"] == "")]
    symbols = symbols[numbers(symbols["address"]) >= np.uint64(dump.symbol("_text"))]
    some = symbols.iloc[:: max(len(symbols) // 500, 1)]
    found = dump.owner(some["address"])
    # Several symbols may share an address, and per-CPU variables are named for their CPU.
    same = found["kind"] == "symbol"
    assert same.mean() > 0.99
    names = [text.partition("+")[0] for text in dump.symbolize(some["address"])]
    assert (found["name"][same] == np.array(names)[same]).all()
    assert (found["offset"][same] == 0).all()


def test_an_address_of_the_image_is_the_same_through_the_direct_map(dump):
    symbol = dump.symbol("linux_banner")
    alias = place(dump, dump.translate(symbol))
    assert dump.owner(alias)["name"] == "linux_banner"
    assert dump.owner(alias)["kind"] == "symbol"


def test_stacks_are_their_threads(dump):
    tasks = dump.tasks[dump.tasks["pid"] > 0]
    stacks = tasks.kern.field("stack")
    found = dump.owner(numbers(stacks) + np.uint64(0x3E80))
    assert (found["kind"] == "kernel stack").all()
    assert (
        found["name"] == tasks["comm"].to_numpy() + " (" + tasks["pid"].astype(str).to_numpy() + ")"
    ).all()
    assert (found["size_bytes"] == 16384).all()
    alias = [place(dump, dump.translate(int(stack) + 0x3E80)) for stack in numbers(stacks)[:8]]
    assert (dump.owner(alias)["name"].to_numpy() == found["name"].to_numpy()[:8]).all()


def test_per_cpu_variables_are_named_with_their_cpu(dump):
    queues = dump.percpu("runqueues").addresses
    found = dump.owner(queues + np.uint64(8))
    assert found["name"].tolist() == [f"runqueues (cpu {cpu})" for cpu in range(len(queues))]
    assert (numbers(found["start"]) == queues).all()


def test_frames_are_of_the_kind_that_pages_says(dump):
    pages = dump.pages
    some = pages[~pages["kind"].isin(["slab", "kernel stack", "vmalloc", "vmap", "percpu", "reserved"])].iloc[
        ::97
    ]
    found = dump.owner(numbers(some["pfn"].astype("uint64")) * np.uint64(PAGE) + np.uint64(place(dump, 0)))
    assert (found["kind"].to_numpy() == some["kind"].astype(str).to_numpy()).all()
    files = dump.memory_by_file.set_index("mapping")["path"]
    cached = some["kind"].isin(["file", "shmem"]).to_numpy()
    expected = files.reindex(some["mapping"][cached]).to_numpy()
    got = found["name"][cached].to_numpy()
    assert [a for a in got if isinstance(a, str)] == [a for a in expected if isinstance(a, str)]


def test_what_is_nothing_of_the_kernels(dump):
    found = dump.owner([0, 0x400000, WILD, dump.kernel.vmemmap + 64 * 100 + 8])
    assert found["kind"].tolist() == ["user address", "user address", "not mapped", "page struct"]
    assert found["name"].tolist()[3] == "pfn 0x64"
    assert found["start"].isna().tolist() == [True, True, True, False]


def test_one_address_gives_a_series_and_many_keep_their_order(dump):
    one = dump.owner(dump.symbol("jiffies"))
    assert one["kind"] == "symbol"
    twice = [dump.symbol("jiffies"), WILD, dump.symbol("jiffies")]
    found = dump.owner(twice)
    assert found["address"].tolist() == twice
    assert found["kind"].tolist() == ["symbol", "not mapped", "symbol"]
    assert dump.owner([]).empty


def test_owner_of_a_damaged_dump(damaged_dump, opened):
    dump = opened(damaged_dump.name)
    found = dump.owner(dump.tasks["address"])
    assert (
        found["name"][numbers(found["address"]) != np.uint64(dump.symbol("init_task"))] == "task_struct"
    ).all()


# search


def test_all_pointers_to_a_task_are_found(dump):
    tasks = dump.tasks
    init = int(tasks.loc[tasks["pid"] == 1, "address"].iloc[0])
    found = dump.search(init)
    assert (numbers(found["value"]) == np.uint64(init)).all()
    for member in ("real_parent", "parent", "group_leader"):
        field = tasks.kern.field(member)
        mine = tasks[field == init]
        assert len(mine)
        offset = dump.structs("task_struct", mine["address"]).follow(
            member, "struct task_struct"
        )  # checks the member
        assert len(offset) == len(mine)
        where = dump.kernel.find_type("struct task_struct").strip().member(member).bit_offset // 8
        in_slab = mine["pid"] > 0
        assert set((numbers(mine["address"])[in_slab] + np.uint64(where)).tolist()) <= set(
            found["address"].tolist()
        )
    threads = found[(found["kind"] == "slab object") & (found["name"] == "task_struct")]
    assert threads["allocated"].any()


def test_pointers_into_an_object(dump):
    tasks = dump.tasks
    init = int(tasks.loc[tasks["pid"] == 1, "address"].iloc[0])
    exact, inside, whole = (
        dump.search(init),
        dump.search(init, size=64),
        dump.search(init + 100, size="object"),
    )
    size = int(dump.owner(init)["size_bytes"])
    assert len(exact) <= len(inside) <= len(whole)
    assert len(exact) < len(whole)
    values = numbers(whole["value"])
    assert ((values >= np.uint64(init)) & (values < np.uint64(init + size))).all()
    assert set(exact["address"].tolist()) <= set(whole["address"].tolist())


def test_several_addresses_at_once(opened):
    dump = opened("debian-6.1")
    some = dump.tasks[dump.tasks["pid"] > 0].head(5)
    together = dump.search(some)
    apart = [dump.search(int(address)) for address in some["address"]]
    assert len(together) == sum(map(len, apart))
    assert len(dump.search(some["address"])) == len(together)


def test_bytes_and_text(dump):
    banner = dump.read(dump.symbol("linux_banner"), 40)
    found = dump.search(banner)
    assert "linux_banner" in found["name"].tolist()
    for address in numbers(found["address"])[:20]:
        assert dump.read(int(address), 40) == banner
    assert dump.search(banner.decode())["address"].equals(found["address"])
    assert "value" not in found


def test_every_place_is_found_as_a_plain_search_of_the_memory_finds_it(opened):
    dump = opened("debian-6.1")
    file = dump.kernel.file
    pfns = np.arange(file.max_pfn, dtype=np.uint64)
    there = pfns[file.find(pfns) >= 0].astype(np.int64)
    expected = []
    for run in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
        start = int(run[0]) * PAGE
        memory = dump.read(start, len(run) * PAGE, physical=True)
        expected += [start + found.start() for found in re.finditer(b"ext4", memory)]
    found = dump.search(b"ext4")
    assert [int(a) - place(dump, 0) for a in found["address"]] == expected
    assert any(address % PAGE > PAGE - 4 for address in expected) or len(expected) > 1000


def test_bytes_across_frames_that_follow_each_other(opened):
    dump = opened("debian-6.1")
    file = dump.kernel.file
    pfns = np.arange(file.max_pfn, dtype=np.uint64)
    there = set(pfns[file.find(pfns) >= 0].astype(int).tolist())
    pair = next(pfn for pfn in sorted(there) if pfn + 1 in there)
    lone = next(pfn for pfn in sorted(there) if pfn + 1 not in there and pfn > pair)
    after = min(pfn for pfn in there if pfn > lone)
    needle = b"\x7f<across>\x7f"
    overlay = Overlay(dump)
    overlay.write(pair * PAGE + PAGE - 4, needle, physical=True)
    # The same bytes at the end of one frame and the start of another that does not follow it: no place.
    overlay.write(lone * PAGE + PAGE - 4, needle[:4], physical=True).write(
        after * PAGE, needle[4:], physical=True
    )
    found = overlay.dump().search(needle)
    assert [int(address) for address in found["address"]] == [place(dump, pair * PAGE + PAGE - 4)]


def test_a_search_ends_at_its_limit_and_says_so(opened):
    found = opened("debian-6.1").search(0, limit=50)
    assert len(found) == 50
    assert any("ended after 50 places" in problem for problem in found.attrs["problems"])
    assert len(opened("debian-6.1").search(b"\0", limit=50)) == 50


def test_what_is_not_there_gives_an_empty_table(opened):
    dump = opened("debian-6.1")
    found = dump.search(0xDEAD_BEEF_F00D_CAFE)
    assert found.empty
    assert found.attrs["searched_bytes"] == dump.kernel.file.frame_count * PAGE
    assert list(found) == [
        "address",
        "value",
        "kind",
        "name",
        "holder",
        "start",
        "size_bytes",
        "offset",
        "allocated",
        "type",
        "dma_suspect",
    ]


@pytest.mark.parametrize(
    "what", [0xDEAD_BEEF_F00D_CAFE, b"nowhere in any memory", [0xDEAD_BEEF, 0xDEAD_BEEF_F00D_CAFE]]
)
def test_a_search_takes_the_memory_and_the_time_of_what_the_file_holds(opened, monkeypatch, what):
    """A machine of terabytes, whose dump holds a little of it: frames that are absent are not even asked for."""
    dump = Overlay(opened("debian-6.1")).dump(arena_bytes=8 << 20)
    file, memory = dump.kernel.file, dump.kernel.memory
    asked, most = [0], [0]
    find, read = file.find, file.read_into

    def counted_find(pfns):
        asked[0] += len(pfns)
        return find(pfns)

    def counted_read(indices, out):
        most[0] = max(most[0], len(indices))
        return read(indices, out)

    monkeypatch.setattr(file, "find", counted_find)
    monkeypatch.setattr(file, "read_into", counted_read)
    # A frame that other tables use: the search must not push it out to make room for what it looks at once.
    used = dump.translate(dump.symbol("linux_banner")) // PAGE * PAGE
    dump.read(used, 8, physical=True)
    frame = find(np.array([used // PAGE], dtype=np.uint64))
    asked[0] = 0
    found = dump.search(what)
    assert found.empty
    assert found.attrs["searched_bytes"] == file.frame_count * PAGE
    assert asked[0] <= 1.1 * file.frame_count < file.max_pfn / 2
    assert most[0] * PAGE <= 2 << 20
    assert memory._arena.holds(frame)


@pytest.mark.parametrize(
    ("what", "options"), [(b"", {}), (b"x" * 5000, {}), (b"x", {"size": 8}), (1, {"size": 0})]
)
def test_what_cannot_be_searched_is_refused(opened, what, options):
    with pytest.raises(KernlabError):
        opened("debian-6.1").search(what, **options)
