"""Bios: those of requests, those that are in use and no request's, and the pages of each; structs in, columns out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.block.disks import disks, part_names, partition_numbers
from kernlab.linux.block.requests import requests
from kernlab.walk.lists import chain_nodes

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Of a bio so many pieces of memory are looked at (include/linux/bio.h, BIO_MAX_VECS); each is a run of bytes.
_MOST_PIECES = 256

#: include/linux/blk_types.h, REQ_OP_MASK: the operation, below the flags.
_OPERATION = 0xFF
#: enum req_op: those that have data of their own, and is it written to memory? READ, WRITE, ZONE_APPEND, and what
#: drivers and SCSI ask for themselves.
_READS = (0, 32, 34)
_WRITES = (1, 7, 33, 35)


@dataclass(frozen=True, slots=True)
class Pieces:
    """The memory of some bios: `bio` int64[m], whose it is; `page` uint64[m], its struct page; `offset` and `length`
    int64[m] in bytes from where that page begins."""

    bio: I64
    page: U64
    offset: I64
    length: I64


def chained(kernel: Kernel, first: U64, what: str) -> tuple[I64, StructArray]:
    """All bios of chains that begin with `first` uint64[n]: (owner int64[m], StructArray of m)."""
    kind = kernel.find_type("struct bio")
    owner, bio = chain_nodes(kernel, first, what=what, link=resolve(kind, "bi_next").hops[-1])
    return owner, StructArray(kernel, kind, bio)


def has_data(operations: Column) -> tuple[Mask, Mask]:
    """Which of some bi_opf or cmd_flags have memory that is (written to, read from) by the disk: bool[n] each.

    A discard has a size, and no memory of that size.
    """
    kind = (operations & _OPERATION).filled(-1)
    known = operations.valid
    return known & np.isin(kind, _READS), known & np.isin(kind, _WRITES)


def pieces(bio: StructArray) -> Pieces:
    """The pieces of memory that each bio has still to be read into or written from (block/bio.c, bio_for_each_bvec).

    Each `bvec_iter` begins at bi_idx, bi_offset bytes into it, and ends when bi_size bytes are through.
    """
    kernel = bio.kernel
    kind = kernel.find_type("struct bio_vec")
    read, written = has_data(bio["bi_opf"])
    left = np.where(read | written, bio["bi_iter.bi_size"].int64.filled(0), 0)
    at = bio["bi_iter.bi_idx"].int64.filled(0)
    # Another name of the same, seen in v7.3.
    done = bio.first("bi_iter.bi_offset", "bi_iter.bi_bvec_done").int64.filled(0)
    array = bio["bi_io_vec"].filled(0).astype(np.uint64)
    rows = np.flatnonzero((left > 0) & (array != 0))
    found = [(rows[:0], array[:0], left[:0], left[:0])]
    wanted, cut = 4, 0
    while len(rows) and wanted <= _MOST_PIECES:
        # Bytes of what is one after the other in memory need not begin or end where a page does.
        index = at[rows][:, None] + np.arange(wanted)
        where = array[rows][:, None] + index.astype(np.uint64) * np.uint64(kind.size)
        vector = StructArray(kernel, kind, where.reshape(-1))
        with kernel.quiet():
            page, size, offset = (vector[name] for name in ("bv_page", "bv_len", "bv_offset"))
        good = (page.true & size.valid & offset.valid).reshape(-1, wanted)
        length = np.where(good, size.int64.filled(0).reshape(-1, wanted), 0)
        begin = offset.int64.filled(0).reshape(-1, wanted)
        length[:, 0] -= done[rows]
        begin[:, 0] += done[rows]
        length = np.maximum(length, 0)
        before = np.cumsum(length, axis=1) - length
        length = np.minimum(length, np.maximum(left[rows][:, None] - before, 0))
        enough = (length.sum(axis=1) >= left[rows]) | (wanted == _MOST_PIECES)
        cut += int((length.sum(axis=1) < left[rows])[enough].sum())
        pages = page.values.astype(np.uint64).reshape(-1, wanted)
        which = np.nonzero((length > 0) & enough[:, None])
        found.append((rows[which[0]], pages[which], begin[which], length[which]))
        rows, wanted = rows[~enough], wanted * 4
    kernel.lost(
        *([f"the memory of {cut:,} bios is not known in whole: their bio_vecs cannot be read"] if cut else [])
    )
    owner, every, offsets, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    return Pieces(owner[order], every[order], offsets[order], lengths[order])


def first_frames(kernel: Kernel, bio: StructArray, parts: Pieces) -> Column:
    """The page frame that each bio's memory begins in; missing where it has none."""
    first = np.flatnonzero(np.r_[True, np.diff(parts.bio) > 0]) if len(parts.bio) else parts.bio
    frame = np.zeros(len(bio), dtype=np.int64)
    known = np.zeros(len(bio), dtype=bool)
    pfn, good = frames_of(kernel, parts.page[first])
    frame[parts.bio[first]] = pfn + parts.offset[first] // kernel.page_size
    known[parts.bio[first]] = good
    return Column.of(frame, known)


def frames_of(kernel: Kernel, page: U64) -> tuple[I64, Mask]:
    """The numbers of the page frames of some struct pages: (int64[n], bool[n] of those that are such)."""
    size, base = np.uint64(kernel.find_type("struct page").size), np.uint64(kernel.vmemmap)
    inside = page - base
    good = (page >= base) & (inside % size == 0) & (inside // size < np.uint64(kernel.file.max_pfn))
    return np.where(good, inside // size, np.uint64(0)).astype(np.int64), good


def parts_of(bio: StructArray) -> tuple[U64, U64]:
    """What each bio is for: (its struct block_device, before Linux 5.12 0; its gendisk), uint64[n] each."""
    # Linux commit 309dca309fc3 ("block: store a block_device pointer in struct bio") (in v5.12).
    if bio.has("bi_bdev"):
        device = bio.follow("bi_bdev")
        return device.addresses, device["bd_disk"].filled(0).astype(np.uint64)
    return np.zeros(len(bio), dtype=np.uint64), bio["bi_disk"].filled(0).astype(np.uint64)


def names_of(kernel: Kernel, bio: StructArray) -> Column:
    """The names of the disks or partitions that bios are for; each has lost its partition once it was submitted."""
    every = disks(kernel)
    names = dict(zip(every.part.addresses.tolist(), every.names().tolist(), strict=True))
    device, disk = parts_of(bio)
    whole = StructArray(kernel, "struct gendisk", disk)["disk_name"]
    if not device.any():
        number = (
            bio["bi_partno"].int64 if bio.has("bi_partno") else Column.of(np.zeros(len(bio), dtype=np.int64))
        )
        return part_names(whole.text, number)
    found = [names.get(address) for address in device.tolist()]
    number = partition_numbers(StructArray(kernel, "struct block_device", device))
    told = part_names(whole.text, number).tolist()
    return Column.texts([name or other for name, other in zip(found, told, strict=True)])


@fact
def bios_of_requests(kernel: Kernel) -> tuple[I64, StructArray]:
    """The bios of all requests in use: (index of the request in `requests`, StructArray)."""
    first = requests(kernel).request["bio"].filled(0).astype(np.uint64)
    return chained(kernel, first, "the bios of requests")
