"""What devices may still have written to: `dma_suspect` of pages and owner, by bios, by descriptors, and by the rings
as the device sees them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.linux.block.dma import dma_suspects

PAGE = 4096
NEXT, WRITE, INDIRECT = 1, 2, 4


@pytest.fixture(scope="module", params=["io", "flight"])
def dump(request):
    with kernlab.open(kernlab.sample(request.param)) as opened:
        yield opened


def frames_of_reads(dump) -> set[int]:
    """The frames of what reads in flight will fill, bio_vec by bio_vec."""
    size = dump.kernel.find_type("struct page").size
    found: set[int] = set()
    reads = dump.inflight.query("op == 'READ' and state == 'driver'")
    for address, wanted in zip(reads["bio"], reads["bytes"], strict=True):
        bio, left = dump.struct("bio", int(address)), int(wanted)
        assert int(bio["bi_iter.bi_bvec_done"]) == 0
        vector = int(bio["bi_io_vec"])
        for number in range(256):
            one = dump.struct("bio_vec", vector + 16 * number)
            start = (int(one["bv_page"]) - dump.kernel.vmemmap) // size * PAGE + int(one["bv_offset"])
            length = min(int(one["bv_len"]), left)
            found |= set(range(start // PAGE, (start + length - 1) // PAGE + 1))
            left -= length
            if not left:
                break
        assert left == 0
    return found


def frames_of_rings(dump) -> tuple[set[int], int]:
    """The frames that rings let the device write to, by what device and driver have told each other in them, which
    kernlab does not go by; and of how many requests. What the device did (its used ring) and the driver has not noticed
    counts: here it did all of them while the crash kernel booted, which is what the suspicion is about."""
    queues = []
    for name in ("vda", "vdb"):
        disk = dump.disks.set_index("name").loc[name, "disk"]
        blk = dump.struct("virtio_blk", int(dump.struct("gendisk", int(disk))["private_data"]))
        for number in range(int(blk["num_vqs"])):
            of_vq = dump.kernel.find_type("struct virtio_blk_vq").size
            pointer = int.from_bytes(dump.read(int(blk["vqs"]) + of_vq * number, 8), "little")
            queue = dump.struct("vring_virtqueue", pointer)
            queues.append((queue["split"]["vring"], int(queue["last_used_idx"]) & 0x7FFF))
    found: set[int] = set()
    heads = 0
    for ring, noticed in queues:
        count, table = int(ring["num"]), int(ring["desc"])
        avail = struct.unpack(f"<2H{count}H", dump.read(int(ring["avail"]), 4 + 2 * count))
        used = struct.unpack(f"<2H{2 * count}I", dump.read(int(ring["used"]), 4 + 8 * count))
        done = range(noticed, noticed + ((used[1] - noticed) & 0x7FFF))
        to_do = range(used[1], used[1] + ((avail[1] - used[1]) & 0xFFFF))
        ids = [used[2 + 2 * (position % count)] for position in done]
        ids += [avail[2 + position % count] for position in to_do]
        heads += len(ids)
        for head in ids:
            address, length, flags, _ = descriptor(dump, table, head)
            assert flags == INDIRECT
            chain = dump.read(address, length, physical=True)
            for start, size, kind, _ in struct.iter_unpack("<QIHH", chain):
                if kind & WRITE:
                    found |= set(range(start // PAGE, (start + size - 1) // PAGE + 1))
    return found, heads


def descriptor(dump, table: int, index: int) -> tuple[int, int, int, int]:
    return struct.unpack("<QIHH", dump.read(table + 16 * index, 16))


def test_suspects_are_what_the_device_was_given(dump):
    suspects = dma_suspects(dump.kernel)
    reads = frames_of_reads(dump)
    rings, heads = frames_of_rings(dump)
    assert len(reads) > 30
    assert reads < rings
    # One for each request, and beside the memory of reads the byte that tells how a request ended.
    assert heads == len(dump.inflight)
    assert set(suspects.frame.tolist()) == rings
    told = dict(zip(suspects.frame.tolist(), suspects.at(suspects.frame).tolist(), strict=True))
    for frame in rings:
        expected = "a read of vda" if frame in reads else "virtio0 req."
        assert told[frame].startswith(expected)


def test_pages_and_owner_tell_it(dump):
    suspects = dma_suspects(dump.kernel)
    pages = dump.pages
    assert pages["pfn"][pages["dma_suspect"]].tolist() == suspects.frame.tolist()
    start = int(dump.kernel.layout.direct_start)
    inside = [start + int(frame) * PAGE + 17 for frame in suspects.frame]
    assert dump.owner(inside)["dma_suspect"].tolist() == suspects.at(suspects.frame).tolist()
    assert dump.owner(["init_task", 0x400000, inside[0]])["dma_suspect"].notna().tolist() == [
        False,
        False,
        True,
    ]


def test_what_cannot_be_known_is_told(opened):
    """The types of 5.10's modules are not in it, and virtio is one."""
    dump = opened("debian-5.10")
    assert not dump.pages["dma_suspect"].any()
    assert any("virtio devices may still have written" in problem for problem in dump.pages.attrs["problems"])


def test_pages_of_pools_that_cards_know_are_suspects(opened):
    """No guest here has a card with a page pool: its marks are laid on pages of the network that are none's."""
    dump = opened("debian-6.1")
    assert not dump.pages["dma_suspect"].any()
    other = dump.pages.query("kind == 'other kernel' and order == 0 and refcount == 1")[
        ["pfn", "address"]
    ].head(3)
    overlay = Overlay(dump)
    for address, mapped in zip(other["address"], (0x1000, 0, 0x2000), strict=True):
        overlay.set("struct page", int(address), "pp_magic", 0xDEAD000000000040)
        overlay.set("struct page", int(address), "dma_addr", mapped)
    pages = overlay.dump().pages
    marked = pages["pfn"].isin(other["pfn"])
    assert (pages["kind"][marked] == "network").all()
    assert pages["dma_suspect"][marked].tolist() == [True, False, True]
    assert pages["dma_suspect"].sum() == 2


def test_a_ring_that_goes_in_a_circle_ends(dump):
    rows = np.flatnonzero(dump.disks["name"] == "vda")
    blk = dump.struct(
        "virtio_blk", int(dump.struct("gendisk", int(dump.disks["disk"].iloc[rows[0]]))["private_data"])
    )
    pointer = int.from_bytes(dump.read(int(blk["vqs"]), 8), "little")
    ring = dump.struct("vring_virtqueue", pointer)["split"]["vring"]
    state = int(dump.struct("vring_virtqueue", pointer)["split"]["desc_state"])
    kind = dump.kernel.find_type("struct vring_desc_state_split").size
    heads = [
        number
        for number in range(int(ring["num"]))
        if int.from_bytes(dump.read(state + kind * number, 8), "little")
    ]
    where = int(ring["desc"]) + 16 * heads[0]
    overlay = Overlay(dump)
    overlay.write(where + 12, struct.pack("<HH", NEXT | WRITE, heads[0]))
    torn = overlay.dump()
    found = dma_suspects(torn.kernel)
    assert any("lead to what was met before" in problem for problem in torn.problems)
    # Its own is not followed any more, and all others are.
    assert set(dma_suspects(dump.kernel).frame) - set(found.frame) <= set(dma_suspects(dump.kernel).frame)
    assert len(found.frame) >= 30
