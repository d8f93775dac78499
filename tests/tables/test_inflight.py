"""`dump.inflight` against blktrace, which saw every request begin and end, and against the tags that are taken."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SAMPLES
from support.block_truth import inflight
from support.overlay import Overlay
from support.truth import Truth

import kernlab


@pytest.fixture(scope="module")
def io():
    with kernlab.open(kernlab.sample("io")) as dump:
        yield dump


@pytest.fixture(scope="module")
def flight():
    with kernlab.open(kernlab.sample("flight")) as dump:
        yield dump


def test_what_is_in_flight_was_issued_and_not_completed(io):
    """blktrace's last events lie in the dump: D is issued to the driver, C completed, Q tells who asked for it."""
    events = io.relay.events("vda/trace")
    last = events[events["action"].isin(["D", "C"])].groupby("sector").tail(1)
    issued = last[last["action"] == "D"].sort_values("sector")
    ours = io.inflight.sort_values("sector")
    assert ours["sector"].tolist() == issued["sector"].tolist()
    assert len(ours) == 6
    assert ours["bytes"].tolist() == issued["bytes"].tolist()
    assert ours["pid"].tolist() == issued["pid"].tolist()
    # blktrace notes a thread's name when it first meets it.
    assert all(mine.startswith(first) for mine, first in zip(ours["comm"], issued["comm"], strict=True))
    assert [op[0] + "S" for op in ours["op"]] == issued["rwbs"].tolist()
    assert ours["cpu"].tolist() == issued["cpu"].tolist()
    # Both stand on CLOCK_MONOTONIC: the newest is as old as the others are older than it.
    age = ours["age"] - ours["age"].min()
    theirs = issued["timestamp"].max() - issued["timestamp"]
    newest = ours["age"].to_numpy() > np.timedelta64(0)
    apart = (age.to_numpy() - theirs.to_numpy())[newest].astype(int) / 1e6
    # The youngest was made after the last tick, before which its age cannot be told: a tick at most.
    assert (np.abs(apart - np.median(apart)) < 1).all()
    assert np.abs(apart).max() < 4
    assert (ours["state"] == "driver").all()


def test_as_many_as_the_guest_said(io, flight):
    """/sys/block/vda/inflight some seconds before: a disk that can do no more keeps as much in flight."""
    for dump, name in ((io, "io"), (flight, "flight")):
        theirs = inflight(Truth(SAMPLES / name / "truth.tar.xz"))
        assert set(theirs) == set(dump.disks["name"][dump.disks["parent"].isna()])
        for disk in ("vdb", "vdc"):
            assert disk not in set(dump.inflight["disk"])
        whole = dump.disks[dump.disks["parent"].isna()].set_index("name")
        ops = dump.inflight.groupby("op").size().to_dict()
        assert whole.loc["vda", ["reads_in_flight", "writes_in_flight"]].tolist() == [
            ops.get("READ", 0),
            ops.get("WRITE", 0),
        ]


def test_the_tags_that_are_taken_are_those_of_the_requests(io):
    """struct sbitmap: the bits that are set and not cleared, which nothing here was found by."""
    disk = io.disks.set_index("name").loc["vda"]
    queue = io.struct("request_queue", disk["queue"])
    taken = []
    for number in range(disk["hw_queues"]):
        pointer = int.from_bytes(io.read(int(queue["queue_hw_ctx"]) + 8 * number, 8), "little")
        tags = io.struct("blk_mq_hw_ctx", pointer).tags
        bits = tags.bitmap_tags.sb
        size = io.kernel.find_type("struct sbitmap_word").size
        for word in range(int(bits.map_nr)):
            one = io.struct("sbitmap_word", int(bits["map"]) + size * word)
            mask = int(one.word) & ~int(one.cleared)
            taken += [(number, (word << int(bits.shift)) + bit) for bit in range(64) if mask >> bit & 1]
    ours = io.inflight
    assert sorted(zip(ours["hw_queue"], ours["tag"], strict=True)) == sorted(taken)


def test_a_read_through_the_page_cache_says_which_file(flight):
    found = flight.inflight.set_index("comm")
    assert found.loc["catalog", ["partition", "page_kind", "path"]].tolist() == [
        "vda2",
        "file",
        "/shop/catalog.db",
    ]
    # It sleeps on the very page.
    waits = flight.waits.set_index("comm").loc["catalog"]
    assert waits["type"] == "folio"
    page = int(flight.struct("bio", found.loc["catalog", "bio"]).bi_io_vec.bv_page)
    size = flight.kernel.find_type("struct page").size
    assert (page - flight.kernel.vmemmap) // size == found.loc["catalog", "first_pfn"]
    assert waits["object"] == page
    # Direct reads go to memory of the program.
    assert found.loc[["backup-r0", "backup-r1"], "page_kind"].tolist() == ["anon", "anon"]


def test_what_was_freed_or_lost_is_not_shown(io):
    rows = io.inflight
    gone, unread = (int(address) for address in rows["address"].iloc[:2])
    damaged = Overlay(io).set("struct request", gone, "ref.counter", 0)
    queue = int(io.struct("request", unread)["__sector"])
    assert queue == rows["sector"].iloc[1]
    found = damaged.set("struct request", unread, "state", 2).dump().inflight
    assert len(found) == 5
    assert found.set_index("sector")["state"][queue] == "completed"
    assert found.attrs["problems"] == []


def test_lists_tell_where_a_request_is(io):
    """Requests of the sample are laid on the lists of their queues, which are empty there."""
    rows = io.inflight
    requests = [int(address) for address in rows["address"]]
    one = io.struct("request", requests[0])
    hardware, queue = int(one["mq_hctx"]), int(one["q"])
    node = io.kernel.find_type("struct request").member("queuelist").offset
    lists = {
        requests[0]: ("dispatch", io.struct("blk_mq_hw_ctx", hardware)["dispatch"]),
        requests[1]: ("requeued", io.struct("request_queue", queue)["requeue_list"]),
        requests[2]: ("queued", io.struct("blk_mq_ctx", int(one["mq_ctx"]))["rq_lists"][0]),
    }
    overlay = Overlay(io)
    for request, (_, head) in lists.items():
        where = int(head)
        overlay.set("struct request", request, "state", 0)
        for address in (where, request + node):
            other = request + node if address == where else where
            overlay.word(address, other).word(address + 8, other)
    # On no list: its thread is about to put it somewhere.
    overlay.set("struct request", requests[3], "state", 0)
    overlay.word(requests[3] + node, requests[3] + node)
    found = overlay.dump().inflight.set_index("address")["state"]
    assert found[requests[:3]].tolist() == ["dispatch", "requeued", "queued"]
    assert found[requests[3:]].tolist() == ["allocated", "driver", "driver"]


@pytest.mark.parametrize("days", [0, 40])
def test_bios_are_as_old_after_weeks(opened, days):
    """What is kept of the time of a bio's issue begins anew after 26 days; before Linux 7."""
    from kernlab.linux.timekeeping import monotonic
    from kernlab.tables.block.inflight import _issued

    below = opened("debian-6.1")
    now = monotonic(below.kernel) + days * 86_400 * 10**9
    # No bio is in use there; one may lie anywhere.
    bio = int(below.tasks["address"].iloc[0])
    for ago in (5 * 10**9, 10**6, -2 * 10**6):
        kept = (now - ago) & ((1 << 51) - 1) | 8 << 51
        with Overlay(below).set("struct bio", bio, "bi_issue.value", kept).dump() as dump:
            assert now - _issued(dump.structs("bio", [bio]), now).values[0] == ago


def test_a_bio_that_waits_for_its_part_is_shown(io):
    """Who ends a bio (bio_chain_endio) says that it is a part of another, which no request has."""
    objects = io.slab_objects("bio-192")
    whole = int(objects["address"][objects["allocated"].fillna(False)].iloc[0])
    assert whole not in set(io.inflight["bio"].astype("uint64"))
    first = int(io.inflight["bio"].iloc[0])
    overlay = Overlay(io).set("struct bio", first, "bi_end_io", io.symbol("bio_chain_endio"))
    overlay.set("struct bio", first, "bi_private", whole)
    found = overlay.dump().inflight
    waiting = found[found["state"] == "waiting"]
    assert waiting["bio"].astype("uint64").tolist() == [whole]
    assert waiting["address"].isna().tolist() == [True]
    assert waiting["disk"].tolist() == [io.structs("bio", [whole])["bi_bdev->bd_disk->disk_name"][0]]
    assert len(found) == 7


def test_the_iterator_of_newer_kernels_names_its_offset_otherwise(io):
    """bi_bvec_done became bi_offset (seen in v7.3)."""
    with kernlab.open(kernlab.sample("io")) as dump:
        members = dump.kernel.find_type("struct bvec_iter").members
        (done,) = (member for member in members if member.name == "bi_bvec_done")
        done.name = "bi_offset"
        assert len(dump.inflight) > 0
        assert dump.inflight.astype(str).equals(io.inflight.astype(str))
