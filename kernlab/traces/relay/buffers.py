"""The buffers of relay channels, all read together: what each counts, what cannot be true of that, and their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.memory.address_space import Status
from kernlab.traces.relay.layout import LARGEST_BUFFER, MOST_SUBBUFS, BufferCounters
from kernlab.traces.relay.slots import Slot

I64 = npt.NDArray[np.int64]

_MEMBERS = (
    "start",
    "data",
    "offset",
    "subbufs_produced",
    "subbufs_consumed",
    "bytes_consumed",
    "finalized",
    "page_array",
    "page_count",
    "padding",
)


@dataclass(frozen=True, slots=True)
class Place:
    """A CPU's slot of a channel, how its buffer is divided, and what is wrong with the channel."""

    slot: Slot
    subbuf_size: int
    n_subbufs: int
    damage: str


@dataclass(slots=True)
class Buffer:
    """One `struct rchan_buf`: where it lies (0 where that is not known), what it counts, and what cannot be true of
    that."""

    address: int
    cpu: int
    start: int
    page_array: int
    page_count: int
    finalized: bool
    counters: BufferCounters
    #: Events that this buffer refused for want of space; None where the kernel does not count that per buffer.
    dropped: int | None
    #: Bytes of completed sub-buffers since the channel was opened (the file's i_size), None where it is not known.
    written: int | None
    damage: str


def read_buffers(kernel: Kernel, places: list[Place]) -> list[Buffer]:
    """The buffer of each place; one that cannot be read, or cannot be one, says so."""
    addresses = np.array([place.slot.address for place in places], dtype=np.uint64)
    buffers = StructArray(kernel, "struct rchan_buf", addresses)
    columns = {name: buffers[name] for name in _MEMBERS}
    # 7.2 counts per buffer how often no sub-buffer was free (and blk_trace.dropped stays 0); 6.12 and older do not.
    refused = buffers["stats.full_count"] if buffers.has("stats") else None
    size_of_file = buffers["dentry->d_inode->i_size"]
    read = np.logical_and.reduce([column.valid for column in columns.values()])
    paddings = _paddings(kernel, places, columns["padding"], read)
    found = []
    for row, place in enumerate(places):
        value = {name: int(column.values[row]) for name, column in columns.items()}
        current, within = divmod((value["data"] - value["start"]) % (1 << 64), max(place.subbuf_size, 1))
        counters = BufferCounters(
            subbuf_size=place.subbuf_size,
            n_subbufs=place.n_subbufs,
            produced=value["subbufs_produced"],
            consumed=value["subbufs_consumed"],
            bytes_consumed=value["bytes_consumed"],
            offset=value["offset"],
            current=current,
            padding=paddings[row],
        )
        damage = place.damage or place.slot.damage
        if not read[row] and not place.slot.damage:
            damage = "its struct rchan_buf lies on a page that the dump lacks"
        damage = damage or counters.damage()
        if not damage and within:
            damage = f"its current sub-buffer begins {within:,} bytes into one"
        if not damage and value["page_count"] * kernel.page_size < place.subbuf_size * place.n_subbufs:
            damage = f"its {value['page_count']:,} pages do not hold {place.n_subbufs:,} × {place.subbuf_size:,} bytes"
        found.append(
            Buffer(
                address=place.slot.address,
                cpu=place.slot.cpu,
                start=value["start"],
                page_array=value["page_array"],
                page_count=value["page_count"],
                finalized=bool(value["finalized"]),
                counters=counters,
                dropped=None if refused is None else refused[row],
                written=size_of_file[row],
                damage=damage,
            )
        )
    return found


def _paddings(
    kernel: Kernel, places: list[Place], pointers: Column, read: npt.NDArray[np.bool_]
) -> list[Sequence[int] | None]:
    """`padding[n_subbufs]` of each buffer; None where it cannot be read, counts too many, or is of no use."""
    useful = np.array([not place.damage and not place.slot.damage for place in places], dtype=bool) & read
    counts: I64 = np.array([min(place.n_subbufs, MOST_SUBBUFS + 1) for place in places], dtype=np.int64)
    counts[~useful | (counts <= 0) | (counts > MOST_SUBBUFS)] = 0
    counts = kernel.budget.counts(counts, 8, "sub-buffers of relay channels")
    found: list[Sequence[int] | None] = [None] * len(places)
    for count in np.unique(counts[counts > 0]).tolist():
        rows = np.flatnonzero(counts == count)
        # Many of one size are read in parts, of which no one is large.
        for part in np.array_split(rows, max(len(rows) * count >> 20, 1)):
            data, status = kernel.gather(pointers.values[part], 8 * count)
            for row, values, bad in zip(part.tolist(), data.view("<u8"), status.tolist(), strict=True):
                found[row] = None if bad else values.tolist()
    return found


def read_buffer(
    kernel: Kernel, buffer: Buffer, offset: int, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Bytes [offset, offset + size) of a buffer: (uint8[size], Status of each uint8[size]).

    The buffer is mapped contiguously (vmap); a page that is not there by its address is looked for by its struct page.
    """
    if size <= 0:
        return np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.uint8)
    if size > LARGEST_BUFFER:
        raise KernlabError(
            f"the channel's counters are damaged: a buffer of {size:,} bytes exceeds relay's limit of 4 GiB"
        )
    page = kernel.page_size
    first, last = offset // page, (offset + size - 1) // page
    pages = np.arange(first, last + 1, dtype=np.uint64)
    rows, status = kernel.gather(np.uint64(buffer.start) + pages * np.uint64(page), page, "")
    lost = np.flatnonzero((status != 0) & (pages < np.uint64(buffer.page_count)))
    if len(lost) and buffer.page_array:
        structs, read = kernel.words(np.uint64(buffer.page_array) + pages[lost] * np.uint64(8), what="")
        distance = structs - np.uint64(kernel.vmemmap)
        frames = distance // np.uint64(kernel.find_type("struct page").size)
        usable = read & (frames <= np.uint64(kernel.file.max_pfn))
        again, found = kernel.memory.gather(
            np.where(usable, frames, np.uint64(0)) * np.uint64(page), page, physical=True
        )
        good = usable & (found == Status.PRESENT)
        rows[lost[good]], status[lost[good]] = again[good], 0
    inside = offset - first * page
    return (
        rows.reshape(-1)[inside : inside + size],
        np.repeat(status, page)[inside : inside + size],
    )
