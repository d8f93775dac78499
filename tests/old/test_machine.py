"""The tables of kernels of 4.18 and 4.19, on small machines built of distributions' own types: all through `Dump`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from old.test_log import filled, kept
from support.old_machine import EXEC, MAY_SHARE, PF_KTHREAD, READ, WRITE, OldMachine
from support.old_types import NAMES, types
from support.overlay import PAGE

from kernlab.linux.page_cache import PageCache, PageState
from kernlab.linux.slub import swaps_addresses
from kernlab.linux.swapped import entry_of

SECRET = 0x9E3779B97F4A7C15
#: start, end, flags, backed by the program, page of it.
AREAS = [
    (0x400000, 0x402000, READ | EXEC, True, 0),
    (0x402000, 0x403000, READ | WRITE, True, 2),
    (0x700000, 0x800000, READ | WRITE, False, 0),
    (0x900000, 0x901000, READ | WRITE | MAY_SHARE, True, 3),
]


@pytest.fixture(params=NAMES, scope="module")
def made(request):
    """A machine, and the frames of its file's pages by their places in it."""
    small = OldMachine(types(request.param))
    folder = small.add_dentry("bin", small.root, 0o040755)
    program = small.add_dentry("sh", folder)
    file = small.add_file(program)
    mm = small.add_mm([(*area[:3], file * area[3], area[4]) for area in AREAS], resident=5)
    small.machine.member("struct mm_struct", mm, "exe_file", file)
    init = small.add_task(1, "init", mm=mm)
    small.add_task(2, "kworker/0:1", flags=PF_KTHREAD)
    small.add_task(70_000, "init:io", leader=init, mm=mm)
    small.link_tasks()
    small.add_cache("made-64", 64, slabs=3, free=5, on_cpu=7)
    small.add_cache("made-256", 256, slabs=2, free=0)
    places = [0, 1, 2, 70, 5000]
    small.cached = dict(zip(places, small.cache_pages(program, places), strict=True))
    log = filled()
    buffer = small.machine.alloc(log.size, 16)
    small.machine.put(buffer, bytes(log.data))
    for name, size, value in (
        ("log_buf", 8, buffer), ("log_buf_len", 4, log.size), ("log_first_idx", 4, log.first),
        ("log_next_idx", 4, log.following), ("log_first_seq", 8, log.first_number),
        ("log_next_seq", 8, log.next_number),
    ):  # fmt: skip
        small.machine.variable(name, size, value)
    small.log = log
    return small


@pytest.fixture(scope="module")
def dump(made):
    return made.machine.dump()


def test_tasks(dump):
    tasks = dump.tasks.set_index("pid")
    assert tasks.index.tolist() == [0, 1, 2, 70_000]
    assert tasks["tgid"].tolist() == [0, 1, 2, 1]
    assert tasks["comm"].tolist() == ["swapper/0", "init", "kworker/0:1", "init:io"]
    assert tasks["state"].tolist() == ["R", "S", "S", "S"]
    assert tasks["kthread"].tolist() == [False, False, True, False]
    assert tasks["start_time"].tolist() == [pd.Timedelta(2_000_000 * pid, "ns") for pid in tasks.index]
    assert tasks["utime"].tolist() == [pd.Timedelta(3_000_000 * pid, "ns") for pid in tasks.index]
    assert tasks.loc[[1, 70_000], "rss_bytes"].tolist() == [5 * PAGE] * 2
    assert tasks.loc[[1, 70_000], "exe"].tolist() == ["/bin/sh"] * 2
    assert tasks["rss_bytes"].isna().tolist() == [True, False, True, False]
    assert dump.tasks.attrs["problems"] == []


def test_maps(dump):
    maps = dump.maps
    assert maps["pid"].tolist() == [1] * 4
    assert maps["start"].tolist() == [area[0] for area in AREAS]
    assert maps["end"].tolist() == [area[1] for area in AREAS]
    assert maps["perms"].tolist() == ["r-xp", "rw-p", "rw-p", "rw-s"]
    assert maps["path"].tolist() == ["/bin/sh", "/bin/sh", "", "/bin/sh"]
    assert maps["offset_bytes"].tolist() == [0, 2 * PAGE, 0, 3 * PAGE]
    assert maps["dev"].tolist() == ["08:01", "08:01", "00:00", "08:01"]
    assert maps.attrs["problems"] == []


def test_slabs(dump, made):
    slabs = dump.slabs.set_index("name")
    assert slabs["slabs"].to_dict() == {"made-64": 4, "made-256": 2}
    assert slabs["objects"].to_dict() == {"made-64": 4 * 64, "made-256": 2 * 16}
    assert slabs["active"].to_dict() == {"made-64": 4 * 64 - 3 * 5 - 7, "made-256": 2 * 16}
    assert dump.slabs.attrs["problems"] == []
    objects = dump.slab_objects("made-64")
    assert objects["allocated"].sum() == 4 * 64 - 3 * 5 - 7
    assert len(objects) == 4 * 64
    assert objects.attrs["problems"] == []


def test_pages(dump, made):
    pages = dump.pages.set_index("pfn")
    assert len(pages) == made.frames
    counts = pages["kind"].value_counts()
    assert (counts["slab"], counts["file"]) == (6, 5)
    file = pages.loc[list(made.cached.values())]
    assert set(file["kind"]) == {"file"}
    assert set(file["mapcount"]) == {0}
    assert set(pages.loc[pages["kind"] == "slab", "slab_cache"]) == set(made.caches)


def test_page_cache(dump, made):
    row = dump.memory_by_file.iloc[0]
    assert (row["path"], row["bytes"], row["kind"]) == ("/bin/sh", 5 * PAGE, "file")
    cache = PageCache(dump.kernel, int(row["mapping"]))
    assert cache.whole
    assert dict(zip(cache.index.tolist(), cache.frame.tolist(), strict=True)) == made.cached
    assert set(cache.state) == {PageState.HERE}
    for index, frame in made.cached.items():
        assert dump.read(frame * PAGE, 16, physical=True).rstrip(b"\0") == f"page {index}".encode()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_swapped_out_of_shared_memory(name):
    """An exceptional entry of a radix tree has the area's number one bit lower than an XArray's value."""
    small = OldMachine(types(name))
    operations = small.machine.variable("shmem_aops")
    small.add_dentry("memory", small.root)
    mapping = small.inodes[-1] + small.machine.offset("struct inode", "i_data")
    small.machine.member("struct address_space", mapping, "a_ops", operations)
    small.machine.member("struct inode", small.inodes[-1], "i_size", 3 * PAGE)
    number = 3 << (57 if small.trees.is_radix else 58) | 0x123
    tree = mapping + small.machine.offset("struct address_space", "i_pages")
    small.trees.fill(tree, {1: small.trees.value(number)})
    cache = PageCache(small.machine.dump().kernel, mapping)
    assert (cache.index.tolist(), cache.state.tolist()) == ([1], [PageState.SWAPPED])
    assert cache.frame.tolist() == [entry_of(np.uint64(3), np.uint64(0x123))]


def test_log(dump, made):
    assert dump.log["text"].tolist() == [record.text.decode() for record in kept(made.log)]
    assert dump.log["seq"].tolist() == [record.number for record in kept(made.log)]


@pytest.mark.parametrize("swapped", [True, False])
def test_hardened_freelists_of_either_kind(opened, swapped):
    """Until Linux 5.7 a link held its own address as it is: no type tells which."""
    small = OldMachine(opened("debian-6.1").kernel.types)
    small.add_cache("made-64", 64, slabs=3, free=5, on_cpu=7, secret=SECRET, swapped=swapped)
    dump = small.machine.dump()
    assert swaps_addresses(dump.kernel) == swapped
    assert dump.slabs["active"].tolist() == [4 * 64 - 3 * 5 - 7]
    objects = dump.slab_objects("made-64")
    assert objects["allocated"].sum() == 4 * 64 - 3 * 5 - 7
    assert dump.slabs.attrs["problems"] == objects.attrs["problems"] == []
