"""Page frames that a device may still have written to between the crash and when the dump was taken.

A crash stops the CPUs, not the devices: what they were given to fill they may fill until the crash kernel resets them.
Such frames are the memory of reads that were not completed, and what virtio devices were given (packets to come, the
bytes that tell how a request ended). Of other network cards' rings nothing in a dump tells but what is told of pages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.block.bios import chained, frames_of, has_data, names_of, pieces
from kernlab.linux.block.requests import in_driver, in_use
from kernlab.linux.block.virtqueues import writable

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Suspects:
    """N frames, ascending, each once: `frame` int64[n], and `reason` int64[n], the first of `reasons` that there is."""

    frame: I64
    reason: I64
    reasons: list[str]

    def at(self, frames: I64) -> npt.NDArray[np.object_]:
        """The reason of each of some frames, None for those that no device may have written to."""
        found = np.full(len(frames), None, dtype=object)
        place = np.searchsorted(self.frame, frames)
        inside = np.flatnonzero(place < len(self.frame))
        hit = inside[self.frame[place[inside]] == frames[inside]]
        found[hit] = np.array(self.reasons, dtype=object)[self.reason[place[hit]]]
        return found


@fact
def dma_suspects(kernel: Kernel) -> Suspects:
    """All of them. What cannot be known is told."""
    frames, reasons = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    names: list[str] = []
    for find in (_reads, _virtqueues):
        try:
            first, last, of, called = find(kernel)
        except KernlabError as error:
            kernel.lost(f"which pages devices may still have written to is not known in full: {error}")
            continue
        each, row = _every(kernel, first, last)
        frames.append(each)
        reasons.append(of[row] + len(names))
        names += called
    frame, first_of = np.unique(np.concatenate(frames), return_index=True)
    return Suspects(frame, np.concatenate(reasons)[first_of], names)


def _reads(kernel: Kernel) -> tuple[I64, I64, I64, list[str]]:
    """The memory of requests that read, and that a driver has: first frames, those behind the last, whose, names."""
    if kernel.find_symbol("block_class") is None:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing, []
    request = in_use(kernel)
    reading, _ = has_data(request["cmd_flags"])
    request = request[in_driver(request) & reading]
    _, bio = chained(kernel, request["bio"].filled(0).astype(np.uint64), "the bios of requests")
    parts = pieces(bio)
    page, good = frames_of(kernel, parts.page)
    names = [f"a read of {name or 'a disk'} is in flight" for name in names_of(kernel, bio)]
    size = kernel.page_size
    first = page + parts.offset // size
    last = page + (parts.offset + parts.length - 1) // size + 1
    return first[good], last[good], parts.bio[good], names


def _virtqueues(kernel: Kernel) -> tuple[I64, I64, I64, list[str]]:
    """What virtio devices were given to write to."""
    found = writable(kernel)
    size = np.uint64(kernel.page_size)
    end = found.start + found.length.astype(np.uint64)
    good = (found.length > 0) & (end > found.start) & (end <= np.uint64(kernel.file.max_pfn) * size)
    first = (found.start[good] // size).astype(np.int64)
    last = ((end[good] - np.uint64(1)) // size).astype(np.int64) + 1
    return first, last, found.queue[good], [f"{name} may write to it" for name in found.names]


def _every(kernel: Kernel, first: I64, last: I64) -> tuple[I64, I64]:
    """Every frame of some ranges, and which range it is of; none behind the last frame of the machine."""
    last = np.minimum(last, kernel.file.max_pfn)
    count = kernel.budget.frames(np.maximum(last - first, 0), "frames that devices may write to")
    row = np.repeat(np.arange(len(first)), count)
    return first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count), row
