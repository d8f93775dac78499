"""Who allocated what: the stack depot's layouts, SLUB's tracks and KFENCE, laid out as the kernel does; captures of
guests that noted it are held against what those said.
"""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from support.allocation_truth import groups, kfence
from support.captures import captures, dumps_in
from support.heap import PAGE, Heap
from support.kept_stacks import depot, handle_of
from support.truth import Truth

import kernlab
from kernlab.linux.allocations.depot import frames
from kernlab.linux.allocations.kfence import ALLOCATED, FREED, UNUSED, kfence_objects, states

NOTED = captures("odd-*")
NONE = "KERNLAB_LAB_CAPTURES names no capture of the story odd with slub_debug=U"


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12", "debian-7.2"])
def test_each_layout_of_the_depot(opened, name):
    dump = opened(name)
    stacks = [
        [dump.symbol("schedule") + 5, dump.symbol("do_exit") + 9],
        [dump.symbol("schedule")],
        [1 << 63, 7, 8],
    ]
    heap = Heap(dump)
    handles = depot(heap, name, stacks)
    # The user's own bits of a handle are no part of the name; a 0, another pool, and a place without a record.
    asked = [handles[2] | 5 << 27, 0, handles[0], handle_of(name, 1, 0), handle_of(name, 2, 900), handles[1]]
    with heap.dump() as changed, changed.kernel.scope("test") as scope:
        owner, address, known = frames(changed.kernel, np.array(asked, dtype=np.uint64))
        assert known.tolist() == [True, False, True, False, False, True]
        found = [address[owner == row].tolist() for row in range(len(asked))]
        assert found == [stacks[2], [], stacks[0], [], [], stacks[1]]
        assert [loss for loss in scope.losses if "2 of 6 stacks" in loss]


def test_a_record_that_claims_more_frames_than_its_pool_holds(opened):
    dump = opened("debian-6.1")
    heap = Heap(dump)
    (handle,) = depot(heap, "debian-6.1", [[1, 2]])
    pool = heap.base
    heap.member("struct stack_record", pool, "size", 1 << 31)
    with heap.dump() as changed:
        owner, _, known = frames(changed.kernel, np.array([handle], dtype=np.uint64))
    assert len(owner) == 0
    assert known.tolist() == [False]


def test_without_a_depot(opened):
    dump = opened("debian-5.10")
    owner, _, known = frames(dump.kernel, np.array([17], dtype=np.uint64))
    assert (len(owner), known.tolist()) == (0, [False])


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
def test_tracks_lie_behind_the_object(opened, name):
    """A cache of large objects that says it notes who allocates, its objects cut short, so that there is room."""
    dump = opened(name)
    kernel = dump.kernel
    cache = dump.slabs.set_index("name").loc["task_struct", "address"]
    objects = dump.slab_objects("task_struct")
    first, second = (int(address) for address in objects["address"].head(2))
    schedule, leave = dump.symbol("schedule") + 5, dump.symbol("do_exit") + 9
    heap = Heap(dump)
    overlay = heap.overlay
    bit = kernel.types.enumerator_or_none("_SLAB_STORE_USER")
    overlay.set("struct kmem_cache", int(cache), "flags", 1 << (16 if bit is None else bit))
    overlay.set("struct kmem_cache", int(cache), "inuse", 64)
    overlay.set("struct kmem_cache", int(cache), "offset", 64)
    handles = [] if name == "debian-5.10" else depot(heap, name, [[schedule, leave]])
    size = kernel.find_type("struct track").size
    # The freelist's pointer lies outside of the object, and the tracks behind it: of the allocation, then of the free.
    place = first + 64 + 8
    for track, pid in ((place, 77), (place + size, 78)):
        overlay.set("struct track", track, "addr", schedule)
        overlay.set("struct track", track, "pid", pid)
        overlay.set("struct track", track, "cpu", 1)
        overlay.set("struct track", track, "when", (-300 * 250) % (1 << 32) + 500)
        if handles:
            overlay.set("struct track", track, "handle", handles[0])
        else:
            overlay.write(
                overlay.where("struct track", track, "addrs")[0], struct.pack("<3Q", schedule, leave, 0)
            )
    # Behind the second object nothing was ever noted.
    overlay.write(second + 72, bytes(2 * size))
    with heap.dump() as changed:
        found = changed.slab_objects("task_struct", stacks=True)
        plain = changed.slab_objects("task_struct")
    pd.testing.assert_frame_equal(found[list(plain.columns)], plain)
    row = found.iloc[0]
    text = dump.symbolize([schedule, leave])
    for what, pid in (("alloc", 77), ("free", 78)):
        assert row[f"{what}_caller"] == text[0]
        assert row[f"{what}_stack"] == " < ".join(text)
        assert (row[f"{what}_pid"], row[f"{what}_cpu"]) == (pid, 1)
        # Debian's kernels tick 250 times a second.
        assert row[f"{what}_when"] == pd.Timedelta(seconds=2)
        assert found.iloc[1].filter(like=f"{what}_").isna().all()


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.12"])
def test_caches_that_note_nothing_say_so(opened, name):
    found = opened(name).slab_objects("task_struct", stacks=True)
    assert [p for p in found.attrs["problems"] if "slub_debug=U" in p]
    noted = found.filter(regex="^(alloc|free)_")
    assert noted.shape == (len(found), 10)
    assert noted.isna().all(axis=None)


def sampled(dump) -> tuple[Heap, list[int]]:
    """A pool of three objects (in use, freed, never used), its metadata, and the end of it."""
    heap = Heap(dump, pages=64)
    pool = heap.alloc(10 * PAGE, align=PAGE)
    size = dump.kernel.find_type("struct kfence_metadata").size
    metadata = heap.alloc(4 * size)
    cache = int(dump.slabs.set_index("name").loc["dentry", "address"])
    places = [pool + 2 * PAGE + 3904, pool + 4 * PAGE, pool + 6 * PAGE]
    names = ("alloc_track", "free_track")
    for number, (place, state) in enumerate(zip(places, (1, 3, 0), strict=True)):
        meta = metadata + number * size
        values = {"addr": place, "state": state, "size": 192, "cache": cache}
        for name, pid in zip(names, (100 + number, 200 + number), strict=True):
            values |= {f"{name}.pid": pid, f"{name}.cpu": 1, f"{name}.ts_nsec": 10**9 * pid}
            values |= {
                f"{name}.num_stack_entries": 2,
                f"{name}.stack_entries[0]": dump.symbol("schedule") + 5,
            }
            values |= {f"{name}.stack_entries[1]": dump.symbol("do_exit") + 9}
        for path, value in values.items():
            heap.member("struct kfence_metadata", meta, path, value)
    heap.overlay.word(dump.symbol("__kfence_pool"), pool)
    heap.overlay.word(dump.symbol("kfence_metadata"), metadata)
    return heap, places


@pytest.mark.parametrize("name", ["debian-6.12", "debian-7.2"])
def test_the_pool_of_kfence(opened, name):
    dump = opened(name)
    heap, places = sampled(dump)
    with heap.dump() as changed:
        found = changed.kfence
    assert found["state"].tolist() == ["allocated", "freed", "unused"]
    assert [int(address) for address in found["object"].dropna()] == places[:2]
    assert found["cache"].tolist()[:2] == ["dentry", "dentry"]
    assert found["size_bytes"].tolist()[:2] == [192, 192]
    assert found["alloc_pid"].tolist()[:2] == [100, 101]
    assert found["free_pid"].isna().tolist() == [True, False, True]
    assert found.loc[1, "free_when"] == pd.Timedelta(seconds=201)
    assert found.loc[0, "alloc_stack"] == " < ".join(
        dump.symbolize([dump.symbol("schedule") + 5, dump.symbol("do_exit") + 9])
    )
    assert found.iloc[2][["object", "size_bytes", "cache", "alloc_stack", "alloc_when"]].isna().all()
    assert found.dtypes.astype(str).to_dict() == dump.kfence.dtypes.astype(str).to_dict()


def test_states_of_kfence_before_there_were_four(opened, monkeypatch):
    """Before 6.12 what is freed was number 2, and is not in use: neither here nor to redaction."""
    heap, _ = sampled(opened("debian-6.12"))
    size = opened("debian-6.12").kernel.find_type("struct kfence_metadata").size
    heap.member("struct kfence_metadata", heap.base + 10 * PAGE + size, "state", 2)
    with heap.dump() as changed:
        kernel = changed.kernel
        four = kernel.types.enumerator_or_none
        assert changed.kfence["state"].tolist() == ["allocated", "rcu_freeing", "unused"]
        monkeypatch.setattr(
            kernel.types, "enumerator_or_none", lambda name: None if "RCU_FREEING" in name else four(name)
        )
        objects = kfence_objects(kernel)
        assert objects is not None
        assert states(objects).tolist()[:3] == [ALLOCATED, FREED, UNUSED]


def test_a_stack_of_kfence_that_is_damaged(opened):
    heap, _ = sampled(opened("debian-6.12"))
    start, size = heap.overlay.where(
        "struct kfence_metadata", heap.base + 10 * PAGE, "alloc_track.num_stack_entries"
    )
    heap.word(start, 9999, size)
    with heap.dump() as changed:
        found = changed.kfence
    assert found["alloc_stack"].isna().tolist() == [True, False, True]
    assert [p for p in found.attrs["problems"] if "stacks of KFENCE's objects" in p]


@pytest.mark.parametrize(
    ("name", "why"), [("debian-5.10", "CONFIG_KFENCE"), ("debian-7.2", "sample_interval is 0")]
)
def test_kfence_that_is_off_says_why(opened, name, why):
    found = opened(name).kfence
    assert len(found) == 0
    assert [p for p in found.attrs["problems"] if why in p]


@pytest.mark.parametrize("folder", NOTED or [None], ids=lambda folder: folder and folder.name)
def test_slab_objects_are_of_whom_the_guest_said(folder):
    """Counts by stack of each cache: nearly all are the same seconds later, and their texts are the kernel's own.

    Caches of files move most, as the truth is written; before 5.14 the guest told callers without frames.
    """
    if folder is None:
        pytest.skip(NONE)
    truth = Truth(folder / "truth.tar.xz")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        objects = dump.slab_objects(stacks=True)
        assert not [p for p in objects.attrs["problems"] if "stack" in p]
        objects = objects[objects["allocated"].fillna(False)]
        # Whoever called the allocator is on the stack that was kept.
        noted = objects.dropna(subset=["alloc_caller", "alloc_stack"])
        assert len(noted) > 0.9 * len(objects)
        pairs = noted[["alloc_caller", "alloc_stack"]].drop_duplicates()
        assert [
            c for c, s in zip(pairs.iloc[:, 0], pairs.iloc[:, 1], strict=True) if c not in s.split(" < ")
        ] == []
        last = {}
        for which in ("alloc", "free"):
            theirs = groups(truth, which)
            if not theirs:
                pytest.skip(
                    f"{folder.name} was captured without slub_debug=U, or before the lab asked for it"
                )
            keys = [objects["cache"], objects[f"{which}_caller"].fillna("<not-available>")]
            deep = any(group.frames for every in theirs.values() for group in every)
            keys += [objects[f"{which}_stack"].fillna("")] if deep else []
            ours: dict[str, Counter[tuple[str, ...]]] = {}
            for (cache, *key), count in objects.groupby(keys, sort=False).size().items():
                ours.setdefault(cache, Counter())[tuple(key)] += count
            total = same = equal = 0
            for cache, every in theirs.items():
                told: Counter[tuple[str, ...]] = Counter()
                for group in every:
                    told[(group.caller, *([" < ".join(group.frames)] if deep else []))] += group.count
                mine = ours.get(cache, Counter())
                total += told.total()
                same += (told & mine).total()
                equal += told == mine
            last[which] = (same / total, equal / len(theirs))
        assert last["alloc"][0] > 0.98
        assert last["free"][0] > 0.98
        # Of most caches not one object came or went.
        assert last["alloc"][1] > 0.7
        # A pid of a thread that allocated one is one of the range that the guest told.
        low, high = zip(*(group.pids for group in groups(truth, "alloc")["task_struct"]), strict=True)
        pids = objects.loc[objects["cache"] == "task_struct", "alloc_pid"]
        assert pids.between(min(low), max(high)).mean() > 0.9


@pytest.mark.parametrize("folder", NOTED or [None], ids=lambda folder: folder and folder.name)
def test_kfence_is_as_the_guest_said(folder):
    """Each object that was not used again in the seconds after: every field, and the frames below the allocator's."""
    if folder is None:
        pytest.skip(NONE)
    truth = Truth(folder / "truth.tar.xz")
    if "kfence/objects" not in truth.files:
        pytest.skip(f"{folder.name} has no KFENCE")
    theirs = kfence(truth)
    with kernlab.open(dumps_in(folder)[0]) as dump:
        found = dump.kfence.set_index("number")
        assert len(found) == len(theirs) > 60
        still = 0
        for number, told in theirs.items():
            mine = found.loc[number]
            when = told.done["allocated"][2]
            if mine["alloc_when"].value // 1000 != when // 1000:
                continue
            assert (int(mine["object"]), mine["size_bytes"], mine["cache"]) == (
                told.start,
                told.size,
                told.cache,
            )
            for what, word in (("alloc", "allocated"), ("free", "freed")):
                if word in told.done:
                    pid, cpu, when, stack = told.done[word]
                    assert (mine[f"{what}_pid"], mine[f"{what}_cpu"]) == (pid, cpu)
                    assert mine[f"{what}_when"].value // 1000 == when // 1000
                    assert mine[f"{what}_stack"].endswith(" < ".join(stack))
            still += 1
        assert still > 0.75 * len(theirs)
        # The pool's pages stand among those of slabs: in use are those that the pool says are.
        used = dump.kfence.query("state == 'allocated'")
        rows = dump.slab_objects()
        assert set(used["object"].astype("uint64")) <= set(
            rows.loc[rows["allocated"], "address"].astype("uint64")
        )
