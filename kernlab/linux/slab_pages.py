"""Slab pages in, every object on them out: where it lies, and whether a freelist holds it; all slabs together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.allocations.kfence import sampled_pages
from kernlab.linux.page.vmemmap import page_chunks, page_type_is
from kernlab.linux.slub import LONGEST_FREELIST, decoded, slab_type

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: An object is no smaller and no larger (KMALLOC_MAX_CACHE_SIZE and every cache's order-3 slabs lie far below).
_SMALLEST_OBJECT, _LARGEST_OBJECT = 8, 1 << 22

_OF_SLAB = ("slab_cache", "freelist", "objects", "inuse")
_OF_CACHE = ("size", "object_size", "offset", "red_left_pad", "random", "name")

#: What is known of an object: it is in use; a freelist, a sheaf or a barn holds it; its slab's freelist is damaged.
ALLOCATED, FREE, UNKNOWN = 0, 1, 2


def slab_heads(kernel: Kernel) -> U64:
    """Addresses of the page structs of all slabs, ascending: one for each, the head's (uint64[n])."""
    found = [np.zeros(0, dtype=np.uint64)]
    for chunk in page_chunks(kernel):
        marked = np.flatnonzero(page_type_is(chunk, "slab"))
        # Before 6.10 the flag stands on tails too, which are not slabs of their own.
        own = chunk.heads()[marked] == marked
        found.append(chunk.addresses[marked[own]])
    return np.concatenate(found)


@dataclass
class SlabPages:
    """N slabs: `page` (addresses of their page structs, ascending), `start` (of their memory), cache by index.

    `caches` are the distinct kmem_cache that they name; `first` (uint64[n]) is where the first object lies, `stride`
    (int64[n]) the bytes from one to the next, `objects` (int64[n]) how many there are: 0 where the slab or its cache
    could not be read, or made no sense. `sampled` (bool[n]) are pages of KFENCE's pool: they lend a cache one object,
    which may lie anywhere on its page, and have none while nothing uses it.
    """

    kernel: Kernel
    page: U64
    start: U64
    cache: I64
    caches: StructArray
    first: U64
    stride: I64
    objects: I64
    inuse: I64
    freelist: U64
    sampled: Mask

    @classmethod
    def read(cls, kernel: Kernel, heads: U64) -> SlabPages:
        """The slabs whose page structs lie at `heads`, uint64[n] ascending; what makes no sense is reported as lost."""
        slab = StructArray(kernel, slab_type(kernel), heads).prefetch(*_OF_SLAB)
        pointer, freelist = slab["slab_cache"], slab["freelist"]
        objects, inuse = slab["objects"], slab["inuse"]
        unique, cache = np.unique(pointer.filled(0), return_inverse=True)
        caches = StructArray(kernel, "struct kmem_cache", unique).prefetch(*_OF_CACHE)
        size = caches["size"]
        stride = size.int64.values
        pad = (
            caches["red_left_pad"].values.astype(np.uint64)
            if caches.has("red_left_pad")
            else np.zeros(len(unique), dtype=np.uint64)
        )
        sane = ((size >= _SMALLEST_OBJECT) & (size <= _LARGEST_OBJECT)).true
        cache = cache.reshape(-1).astype(np.int64)
        struct_size = np.uint64(kernel.find_type("struct page").size)
        start = kernel.layout.direct_addresses((heads - np.uint64(kernel.vmemmap)) // struct_size)
        good = sane[cache] & objects.valid & inuse.valid & freelist.valid
        count = objects.where(good).int64.filled(0)
        lent = sampled_pages(kernel, start)
        good |= lent.pages
        count = np.where(lent.pages, lent.used & sane[cache], count)
        if not good.all():
            bad = heads[~good]
            kernel.lost(
                f"slabs: {len(bad):,} slab pages are left out: they, or the caches that they name, cannot be read "
                f"or are none (the first at {int(bad[0]):#018x})"
            )
        count = kernel.budget.counts(count, _SMALLEST_OBJECT, "objects of slabs")
        return cls(
            kernel,
            heads,
            start,
            cache,
            caches,
            np.where(lent.pages, lent.object, start + pad[cache]),
            np.where(lent.pages, kernel.page_size, np.where(sane[cache], stride[cache], 1)),
            count,
            np.where(lent.pages, count, inuse.int64.values),
            np.where(lent.pages, np.uint64(0), freelist.values),
            lent.pages,
        )

    def __len__(self) -> int:
        return len(self.page)

    def only(self, caches: npt.ArrayLike) -> SlabPages:
        """The slabs of some caches only, by the caches' addresses."""
        keep = np.isin(self.caches.addresses, np.asarray(caches, dtype=np.uint64))[self.cache]
        return SlabPages(
            self.kernel,
            self.page[keep],
            self.start[keep],
            self.cache[keep],
            self.caches,
            self.first[keep],
            self.stride[keep],
            self.objects[keep],
            self.inuse[keep],
            self.freelist[keep],
            self.sampled[keep],
        )

    @property
    def offsets(self) -> I64:
        """Where each slab's objects begin among all of them, int64[n]."""
        offsets: I64 = np.cumsum(self.objects) - self.objects
        return offsets

    def addresses(self) -> U64:
        """The address of every object, slab by slab: uint64[m], m = objects.sum()."""
        index = np.arange(int(self.objects.sum()), dtype=np.int64) - np.repeat(self.offsets, self.objects)
        index *= np.repeat(self.stride, self.objects)
        result: U64 = np.repeat(self.first, self.objects)
        result += index.astype(np.uint64)
        return result

    def locate(self, addresses: U64) -> tuple[I64, I64, I64]:
        """Which object each address lies in: (slab int64[k], object in the slab, bytes into it); slab -1: in none.

        The bytes behind an object, up to the next, count as its own (red zone, tracking, padding).
        """
        if not len(self):
            none = np.full(len(addresses), -1, dtype=np.int64)
            return none, none, none
        slab = np.searchsorted(self.start, addresses, side="right").astype(np.int64) - 1
        row = np.maximum(slab, 0)
        inside = addresses - self.first[row]
        index = (inside // self.stride[row].astype(np.uint64)).astype(np.int64)
        rest = (inside % self.stride[row].astype(np.uint64)).astype(np.int64)
        known = (slab >= 0) & (addresses >= self.first[row]) & (index < self.objects[row])
        return np.where(known, slab, -1), index, rest


class ObjectStates:
    """What is known of each object of some slabs: `state` uint8[m], one of ALLOCATED, FREE, UNKNOWN.

    Filled step by step: the slabs' own freelists by `walk`, then what CPUs keep (`walk` again) and sheaves (`mark`).
    A freelist that leads out of its slab, onto itself or to memory that cannot be read ends there, is counted, and
    makes what is left of its slab UNKNOWN; so no walk takes more steps than there are objects.
    """

    def __init__(self, slabs: SlabPages):
        self.slabs = slabs
        self.state = np.zeros(int(slabs.objects.sum()), dtype=np.uint8)
        self._offsets = slabs.offsets
        self._damaged = np.zeros(len(slabs), dtype=bool)
        kernel, caches = slabs.kernel, slabs.caches
        self._link = caches["offset"].values.astype(np.uint64)
        self._hardened = caches.has("random")
        self._secret = caches["random"].values if self._hardened else np.zeros(len(caches), dtype=np.uint64)
        self._words = kernel.words

    def walk(self, slab: I64, heads: U64) -> tuple[I64, Mask]:
        """Mark the objects on freelists: slab (int64[k], each list's slab) and its first object (0: an empty list).

        Returns (length int64[k], bool[k]: False where the list is damaged). Mirrors mm/slub.c, get_freepointer.
        """
        slabs = self.slabs
        lengths = np.zeros(len(heads), dtype=np.int64)
        good = np.ones(len(heads), dtype=bool)
        lists = np.flatnonzero(heads)
        current = heads[lists]
        for _ in range(LONGEST_FREELIST + 1):
            if not len(lists):
                break
            of = slab[lists]
            inside = current - slabs.first[of]
            stride = slabs.stride[of].astype(np.uint64)
            index = inside // stride
            there = (index < slabs.objects[of].astype(np.uint64)) & (inside % stride == 0)
            place = self._offsets[of] + np.where(there, index, np.uint64(0)).astype(np.int64)
            # An object is on one freelist once; the second visit is a circle, or a list that ran into another.
            there[there] &= self.state[place[there]] != FREE
            good[lists[~there]] = False
            lists, current, of, place = lists[there], current[there], of[there], place[there]
            self.state[place] = FREE
            lengths[lists] += 1
            cache = slabs.cache[of]
            where = current + self._link[cache]
            stored, read = self._words(where, what="")
            good[lists[~read]] = False
            following = (
                decoded(self.slabs.kernel, stored, self._secret[cache], where) if self._hardened else stored
            )
            going = read & (following != 0)
            lists, current = lists[going], following[going]
        good[lists] = False
        self._damaged[slab[~good]] = True
        return lengths, good

    def mark(self, addresses: U64) -> tuple[int, int]:
        """Mark objects free by their addresses uint64[k]: (how many lie in no slab, how many were free already)."""
        slab, index, rest = self.slabs.locate(addresses)
        there = (slab >= 0) & (rest == 0)
        place, times = np.unique(self._offsets[slab[there]] + index[there], return_counts=True)
        twice = int((self.state[place] == FREE).sum()) + int((times - 1).sum())
        self.state[place] = FREE
        return int((~there).sum()), twice

    def doubt(self, caches: I64) -> None:
        """Say of some caches (by index) that not all of their free objects could be found."""
        self._damaged |= np.isin(self.slabs.cache, caches)

    def finish(self) -> None:
        """Say of what is damaged or in doubt that what was not seen free there is not known."""
        doubtful = np.repeat(self._damaged, self.slabs.objects)
        self.state[doubtful & (self.state == ALLOCATED)] = UNKNOWN
