"""page_owner and allocations: laid out in a dump's memory as the kernel's sources do, and as guests told them whose
kernels were built with the options (no kernel of Debian is).
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from support.allocation_truth import allocinfo, page_owners
from support.captures import captures, dumps_in
from support.heap import Heap
from support.kept_stacks import depot
from support.made_names import with_names
from support.truth import Truth

import kernlab

OWN = captures("*ikconfig*")
NONE = (
    "KERNLAB_LAB_CAPTURES names no capture of a kernel with CONFIG_PAGE_OWNER and CONFIG_MEM_ALLOC_PROFILING"
)

#: mm/page_owner.c of 6.12, and what lies around it; `usage` lends its place to page_ext, which is not read then.
OWNER = {
    "struct page_owner": (64, {
        "order": (0, "u16"), "last_migrate_reason": (2, "s16"), "gfp_mask": (4, "u32"), "handle": (8, "u32"),
        "free_handle": (12, "u32"), "ts_nsec": (16, "u64"), "free_ts_nsec": (24, "u64"), "comm": (32, "char[16]"),
        "pid": (48, "s32"), "tgid": (52, "s32"), "free_pid": (56, "s32"), "free_tgid": (60, "s32"),
    }),
    "struct page_ext_operations": (40, {"offset": (0, "u64"), "size": (8, "u64")}),
    "struct mem_section": (16, {"section_mem_map": (0, "u64"), "usage": (8, "u64"), "page_ext": (8, "*")}),
}  # fmt: skip
FLAGS = {"enum page_ext_flags": {"PAGE_EXT_OWNER": 0, "PAGE_EXT_OWNER_ALLOCATED": 1}}
REASONS = {"enum migrate_reason": {"MR_COMPACTION": 0, "MR_MEMORY_FAILURE": 1}}
ENTRY = 72


def owners(dump, notes: dict[int, dict[str, int]], *, on: int = 1, size: int = ENTRY) -> kernlab.Dump:
    """The dump with notes of frames of its first section: pfn → flags and members."""
    heap = Heap(dump, pages=640)
    frames = 32768
    base = heap.alloc(frames * ENTRY)
    stacks = [[dump.symbol("schedule") + 5], [dump.symbol("do_exit") + 9, dump.symbol("schedule") + 5]]
    handles = depot(heap, "debian-6.1", stacks)
    made = {name: layout for name, (_, layout) in OWNER.items()}["struct page_owner"]
    for pfn, values in notes.items():
        at = base + pfn * ENTRY
        heap.word(at, values.get("flags", 3))
        for name, value in values.items():
            if name == "comm":
                heap.put(at + 8 + made[name][0], bytes(value, "ascii"))
            elif name != "flags":
                value = handles[value] if name in ("handle", "free_handle") else value
                heap.word(at + 8 + made[name][0], value, int(made[name][1][1:]) // 8)
    words = heap.words([8, 64, 0, 0, 0])
    on_at, size_at = heap.words([on]), heap.words([size])
    table = int.from_bytes(dump.read(dump.kernel.section_table, 8), "little")
    for number in range(256):
        heap.overlay.word(table + 16 * number + 8, base if number == 0 else 0)
    symbols = {"page_owner_ops": words, "page_owner_inited": on_at, "page_ext_size": size_at}
    return with_names(heap.dump(), symbols, OWNER, FLAGS | REASONS)


NOTE = {
    "pid": 7,
    "tgid": 6,
    "comm": "maker",
    "gfp_mask": 0xCC0,
    "handle": 0,
    "ts_nsec": 5 * 10**9,
    "last_migrate_reason": -1,
}


def test_each_allocation_has_its_maker(opened):
    freed = {"free_handle": 1, "free_pid": 9, "free_ts_nsec": 3 * 10**9}
    notes = {
        4096: NOTE | {"order": 3} | freed,
        # A tail of the same, a frame that was freed, one whose stack was not kept, and a single one that was moved.
        4097: NOTE | {"order": 3},
        5000: NOTE | {"order": 0, "flags": 1},
        5001: {"order": 0, "pid": 3, "flags": 3},
        6001: NOTE | {"order": 0, "last_migrate_reason": 0},
    }
    dump = opened("debian-6.1")
    with owners(dump, notes) as changed:
        found = changed.page_owner
    assert found["pfn"].tolist() == [4096, 6001]
    assert found["size_bytes"].tolist() == [8 * 4096, 4096]
    assert found[["pid", "tgid", "comm", "gfp_mask"]].iloc[0].tolist() == [7, 6, "maker", 0xCC0]
    assert found["when"].tolist() == [pd.Timedelta(seconds=5)] * 2
    first, second = dump.symbolize([dump.symbol("schedule") + 5, dump.symbol("do_exit") + 9])
    assert found["stack"].tolist() == [first, first]
    assert found["free_stack"].tolist()[0] == f"{second} < {first}"
    assert found["free_pid"].tolist()[0] == 9
    assert found["free_when"].tolist()[0] == pd.Timedelta(seconds=3)
    assert found.iloc[1][["free_stack", "free_pid", "free_when"]].isna().all()
    assert found["migrated"].isna().tolist() == [True, False]
    assert found["migrated"].tolist()[1] == "MR_COMPACTION"
    pages = dump.pages.set_index("pfn")["address"]
    assert [int(address) for address in found["address"]] == [int(pages[pfn]) for pfn in (4096, 6001)]
    assert found.dtypes.astype(str).to_dict() == dump.page_owner.dtypes.astype(str).to_dict()


@pytest.mark.parametrize(
    ("options", "why"), [({"on": 0}, "page_owner=on"), ({"size": 1 << 40}, "cannot lie in")]
)
def test_notes_that_there_are_not(opened, options, why):
    with owners(opened("debian-6.1"), {4096: NOTE | {"order": 0}}, **options) as changed:
        found = changed.page_owner
    assert len(found) == 0
    assert [p for p in found.attrs["problems"] if why in p]


#: lib/codetag.c of 6.12; struct alloc_tag is in every kernel's types.
TAGS = {
    "struct codetag_range": (16, {"start": (0, "*"), "stop": (8, "*")}),
    "struct codetag_module": (24, {"mod": (0, "*"), "range": (8, "struct codetag_range")}),
    "struct codetag_type": (48, {"count": (16, "u32"), "mod_idr": (24, "struct idr")}),
    "struct alloc_tag_counters": (16, {"bytes": (0, "u64"), "calls": (8, "u64")}),
}


def tagged(dump) -> kernlab.Dump:
    """Two places of the kernel and one of a module; a CPU that only frees has less than nothing."""
    heap, kernel = Heap(dump), dump.kernel
    types = {"codetag": kernel.find_type("struct codetag"), "alloc_tag": kernel.find_type("struct alloc_tag")}
    assert types["alloc_tag"].size == 40

    def text(word: str) -> int:
        place = heap.alloc(len(word) + 1)
        heap.put(place, word.encode() + b"\0")
        return place

    counters = dump.symbol("runqueues")
    places = [
        ("mm/slub.c", 10, "one", ""),
        ("mm/slub.c", 20, "two", ""),
        ("drivers/shop.c", 3, "three", "shop"),
    ]
    first = heap.alloc(40 * 3)
    for number, (file, line, function, module) in enumerate(places):
        tag = first + 40 * number
        values = {
            "ct.lineno": line,
            "ct.filename": text(file),
            "ct.function": text(function),
            "counters": counters + 16 * number,
        }
        values["ct.modname"] = text(module) if module else 0
        for path, value in values.items():
            heap.member("struct alloc_tag", tag, path, value)
    for number, parts in enumerate([[(4096, 4), (-1024, -1)], [(0, 0), (0, 0)], [(-64, -1), (192, 3)]]):
        for offset, (size, calls) in zip(kernel.percpu_offsets.tolist(), parts, strict=False):
            where = (counters + 16 * number + offset) % (1 << 64)
            heap.overlay.word(where, size).word(where + 8, calls)
    ranges = [heap.words([0, first, first + 80]), heap.words([0, first + 80, first + 120])]
    node = heap.alloc(kernel.find_type("struct xa_node").size)
    for slot, place in enumerate(ranges):
        heap.member("struct xa_node", node, f"slots[{slot}]", place)
    kind = heap.alloc(64)
    heap.member("struct idr", kind + 24, "idr_rt.xa_head", node + 2)
    return with_names(heap.dump(), {"alloc_tag_cttype": heap.words([kind])}, TAGS)


def test_places_are_counted_over_all_cpus(opened):
    with tagged(opened("debian-6.12")) as dump:
        found = dump.allocations
    assert len(opened("debian-6.12").kernel.percpu_offsets) == 2
    assert found["size_bytes"].tolist() == [3072, 0, 128]
    assert found["calls"].tolist() == [3, 0, 2]
    assert found["file"].tolist() == ["mm/slub.c", "mm/slub.c", "drivers/shop.c"]
    assert found["line"].tolist() == [10, 20, 3]
    assert found["function"].tolist() == ["one", "two", "three"]
    assert found["module"].tolist() == ["", "", "shop"]
    assert (
        found.dtypes.astype(str).to_dict() == opened("debian-6.12").allocations.dtypes.astype(str).to_dict()
    )


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.12", "debian-7.2"])
def test_debian_notes_neither(opened, name):
    """A type, or the marks of an empty section, do not mean that the feature is on."""
    for table, option in (("page_owner", "CONFIG_PAGE_OWNER"), ("allocations", "CONFIG_MEM_ALLOC_PROFILING")):
        found = getattr(opened(name), table)
        assert len(found) == 0
        assert [p for p in found.attrs["problems"] if option in p]


@pytest.mark.parametrize("folder", OWN or [None], ids=lambda folder: folder and folder.name)
def test_pages_are_whose_the_guest_said(folder):
    """By frame: most that the guest listed are still allocated (its list came before the truth was written to a disk),
    and of these every field is the same."""
    if folder is None:
        pytest.skip(NONE)
    theirs = page_owners(Truth(folder / "truth.tar.xz")).set_index("pfn")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        ours = dump.page_owner.set_index("pfn")
        both = ours.join(theirs, rsuffix="_told", how="inner")
        same = both[both["when"].astype("int64") == both["ts_ns"]]
        assert len(same) > 0.8 * len(theirs) > 10_000
        for name in ("order", "gfp_mask", "pid", "tgid", "comm", "stack"):
            assert (same[name] == same[f"{name}_told"]).all(), name


@pytest.mark.parametrize("folder", OWN or [None], ids=lambda folder: folder and folder.name)
def test_places_have_what_the_guest_said(folder):
    """Every place in the guest's order; of those where nothing happened in the last seconds the sums, too."""
    if folder is None:
        pytest.skip(NONE)
    theirs = allocinfo(Truth(folder / "truth.tar.xz"))
    with kernlab.open(dumps_in(folder)[0]) as dump:
        ours = dump.allocations
        for name in ("file", "line", "module", "function"):
            assert ours[name].tolist() == theirs[name].tolist(), name
        equal = (ours["size_bytes"] == theirs["bytes"]) & (ours["calls"] == theirs["calls"])
        assert equal.mean() > 0.95
        assert equal[theirs["calls"] > 0].mean() > 0.8


def test_the_lab_asks_for_what_is_compared_here():
    """The guest writes down both files: a capture without them would prove nothing."""
    source = (Path(kernlab.__file__).parent / "lab/guest/truth.c").read_text()
    assert re.search(r'one\("/sys/kernel/debug/page_owner", "page_owner"\)', source)
    assert re.search(r'one\("/proc/allocinfo", "allocinfo"\)', source)
