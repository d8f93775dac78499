"""Frames that hold data of the network: pages of sk_buffs, of page pools and of their spares, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.vmemmap import PageChunk, compound_heads, page_type_is
from kernlab.linux.slab_pages import ALLOCATED, SlabPages
from kernlab.linux.slab_states import object_states
from kernlab.linux.tasks import find_tasks
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_NOTHING: U64 = np.zeros(0, dtype=np.uint64)

#: An sk_buff's own buffer is no longer: kmalloc ends at 4 MiB.
_LONGEST_BUFFER = np.uint64(4 << 20)

#: include/linux/poison.h and mm_types.h, PP_SIGNATURE: 0x40 above POISON_POINTER_DELTA. Since 6.16 the bits between
#: hold an index for DMA, and the lowest two are never a part of it.
_POOL_MARK = np.uint64(0xDEAD000000000040)
_POOL_MASK = np.uint64(~(0xFFFFFFFF << 7 | 3) % (1 << 64))

#: include/linux/skbuff.h, SKB_FCLONE_ORIG: the first of a pair.
_ORIGINAL = 1

#: Of a compound page the first struct says that it is one, the second how large.
_STRUCTS = 2


@dataclass(frozen=True, slots=True)
class NetworkPages:
    """Slabs of sk_buffs and pages of page pools among a chunk's page structs, by the addresses of these."""

    slabs: U64
    pool: U64


class NetworkSearch:
    """The search for frames of the network: `pages` of each chunk, then `frames` of all, whose work grows with the
    sk_buffs.

    Found are fragments and buffers of sk_buffs in whole pages, what CPUs and threads hold to make more of them, and the
    pages of page pools. What a driver posted to its device by other means stays unknown.
    """

    def __init__(self, kernel: Kernel, layout: PageLayout):
        self._kernel = kernel
        self._layout = layout
        self._pool: int | None = None
        # Linux commit c07aea3ef4d4 ("mm: add a signature in struct page") (in v5.14).
        if kernel.types.has_member("struct page", "pp_magic"):
            self._pool = resolve(kernel.find_type("struct page"), "pp_magic").hops[-1]

    @cached_property
    def caches(self) -> tuple[U64, U64]:
        """The kmem_caches of single sk_buffs, and of pairs for those that will be cloned."""
        return self._caches("skbuff_cache", "skbuff_head_cache"), self._caches("skbuff_fclone_cache")

    def _caches(self, *names: str) -> U64:
        kernel = self._kernel
        where = [address for name in names if (address := kernel.symbols.get(name)) is not None]
        hot, kind = kernel.symbols.get("net_hotdata"), kernel.types.get("struct net_hotdata")
        if hot is not None and kind is not None:
            # In v6.9 struct net_hotdata gathered what were variables of their own.
            where += [
                hot + resolve(kind, name).hops[-1]
                for name in names
                if kernel.types.has_member("struct net_hotdata", name)
            ]
        stored, read = kernel.words(np.array(where, dtype=np.uint64), what="pointers to caches of sk_buffs")
        return np.unique(stored[read & (stored != 0)])

    def pages(self, chunk: PageChunk) -> NetworkPages:
        """What a chunk shows."""
        named = self._layout.slab_caches(chunk)
        rows = [np.flatnonzero(named == cache) for caches in self.caches for cache in caches]
        slabs = np.unique(np.concatenate([*rows, np.zeros(0, dtype=np.int64)]))
        if len(slabs):
            # A page that is not a slab any more may still name the cache that it was of.
            few = PageChunk(chunk.kernel, 0, np.ascontiguousarray(chunk.words[:, slabs]), chunk.valid[slabs])
            slabs = slabs[page_type_is(few, "slab")]
        pool = slabs[:0]
        if self._pool is not None:
            pool = np.flatnonzero((chunk.number(self._pool, 8) & _POOL_MASK) == _POOL_MARK)
        return NetworkPages(self._addresses(chunk, slabs), self._addresses(chunk, pool))

    def _addresses(self, chunk: PageChunk, rows: I64) -> U64:
        base = wrapped(self._kernel.vmemmap + chunk.first_pfn * self._layout.size)
        return base + rows.astype(np.uint64) * np.uint64(self._layout.size)

    def frames(self, found: Iterable[NetworkPages]) -> I64:
        """The frames, int64[k] ascending, once the pages of all chunks are known; what cannot be read is reported."""
        parts = list(found)
        pages = [part.pool for part in parts]
        if self._kernel.types.get("struct sk_buff") is None:
            # A kernel without CONFIG_NET.
            return self._whole(np.unique(np.concatenate([_NOTHING, *pages])))
        try:
            skb = self._skbs(np.concatenate([_NOTHING, *(part.slabs for part in parts)]))
            pages += [*self._buffers(skb), *self._spares()]
        except KernlabError as error:
            self._kernel.lost(f"which pages hold the network's data is not known in full: {error}")
        return self._whole(np.unique(np.concatenate([_NOTHING, *pages])))

    def mapped_pools(self, found: Iterable[NetworkPages]) -> I64:
        """The frames of page pools that a device may write to: those with an address for it (page.dma_addr)."""
        pages = np.unique(np.concatenate([_NOTHING, *(part.pool for part in found)]))
        if not len(pages) or not self._kernel.types.has_member("struct page", "dma_addr"):
            return np.zeros(0, dtype=np.int64)
        mapped = StructArray(self._kernel, "struct page", pages)["dma_addr"]
        return self._whole(pages[mapped.true])

    def sk_buffs(self, found: Iterable[NetworkPages]) -> StructArray:
        """All sk_buffs that are in use, once the pages of all chunks are known."""
        return self._skbs(np.concatenate([_NOTHING, *(part.slabs for part in found)]))

    def _skbs(self, heads: U64) -> StructArray:
        """All sk_buffs that are in use."""
        kernel = self._kernel
        kind = kernel.find_type("struct sk_buff")
        if not len(heads):
            return StructArray(kernel, kind, _NOTHING)
        slabs = SlabPages.read(kernel, np.unique(heads))
        states = object_states(kernel, slabs, whole=False)
        used = slabs.addresses()[states == ALLOCATED]
        of = slabs.caches.addresses[np.repeat(slabs.cache, slabs.objects)][states == ALLOCATED]
        paired = np.isin(of, self.caches[1])
        pair = StructArray(kernel, "struct sk_buff_fclones", used[paired])
        both, origin = pair["fclone_ref.refs.counter"], pair["skb1.fclone"]
        # SLUB merges this cache with others of its size: what is not a pair does not say of itself that it is one.
        real = both.valid & np.isin(both.values, (1, 2)) & (origin == _ORIGINAL).true
        # net/core/skbuff.c, skb_clone: the second is in use while two count.
        second = pair.follow("skb2").addresses[real & (both == 2).true]
        found = np.concatenate([used[~paired], pair.addresses[real], second])
        return StructArray(kernel, kind, found[~np.isin(found, self._idle())])

    def _idle(self) -> U64:
        """sk_buffs that CPUs keep for the next packet: their pointers are of an earlier one."""
        caches = self._percpu("napi_alloc_cache", "struct napi_alloc_cache")
        if caches is None:
            return _NOTHING
        count = caches["skb_count"]
        owner, slot = caches.elements("skb_cache")
        index = np.arange(len(slot)) - np.searchsorted(owner, owner)
        held = count.int64.filled(0)
        stored, read = self._kernel.words(
            slot.addresses[index < held[owner]], what="pointers to idle sk_buffs"
        )
        return stored[read]

    def _buffers(self, skb: StructArray) -> list[U64]:
        """The pages of sk_buffs' own buffers and of their fragments, by addresses of page structs."""
        kernel = self._kernel
        if not len(skb):
            return []
        head, end, data, tail = skb["head"], skb["end"], skb["data"], skb["tail"]
        size = end.values.astype(np.uint64)
        good = (
            head.valid
            & end.valid
            & (size <= _LONGEST_BUFFER)
            & self._kernel.layout.in_direct_map(head.values)
        )
        good &= (data.values - head.values <= size) & (tail.values.astype(np.uint64) <= size)
        start, size = head.values[good], size[good]
        shared = StructArray(kernel, "struct skb_shared_info", np.unique(start + size))
        number = shared["nr_frags"]
        owner, frag = shared.elements("frags")
        index = np.arange(len(frag)) - np.searchsorted(owner, owner)
        used = number.int64.filled(0)
        # Linux commit 21d2e6737c97 ("net: add netmem to skb_frag_t") (in v6.9); a bio_vec since 5.4.
        page = frag[index < used[owner]].first("netmem", "bv_page")
        # With bit 0 set it is memory of a device (NET_IOV).
        fragments = page.values[(~page.has(1)).true].astype(np.uint64)
        return [self._covered(start, size + np.uint64(shared.type.size)), fragments]

    def _spares(self) -> list[U64]:
        """What CPUs cut buffers from, and what threads and sockets cut fragments from."""
        kernel = self._kernel
        virtual, pages = [_NOTHING], [_NOTHING]
        for name, kind, paths in (
            ("napi_alloc_cache", "struct napi_alloc_cache", ("page", "page_small")),
            ("netdev_alloc_cache", "struct page_frag_cache", ("",)),
        ):
            caches = self._percpu(name, kind)
            for path in paths if caches is not None else ():
                assert caches is not None
                # In v6.13 encoded_page took va's place: the address with the order in its low bits.
                for member in ("encoded_page", "va"):
                    whole = f"{path}.{member}" if path else member
                    if caches.has(whole):
                        column = caches[whole]
                        value = column.values[column.valid].astype(np.uint64)
                        virtual.append(value & ~np.uint64(kernel.page_size - 1))
                        break
        task = find_tasks(kernel)
        if task.has("task_frag.page"):
            column = task["task_frag.page"]
            pages.append(column.values[column.valid].astype(np.uint64))
        start = np.concatenate(virtual)
        start = start[self._kernel.layout.in_direct_map(start)]
        return [self._covered(start, np.ones(len(start), dtype=np.uint64)), *pages]

    def _percpu(self, name: str, kind: str) -> StructArray | None:
        """A per-CPU variable on every CPU; None where this kernel has none."""
        kernel = self._kernel
        address, known = kernel.symbols.get(name), kernel.types.get(kind)
        if address is None or known is None:
            return None
        return StructArray(kernel, known, percpu(kernel, address, possible_cpus(kernel)))

    def _covered(self, start: U64, size: U64) -> U64:
        """The page structs of all pages that ranges of the direct map touch."""
        kernel = self._kernel
        low, page = np.uint64(kernel.layout.direct_start), np.uint64(kernel.page_size)
        first = (start - low) // page
        last = (start + size - np.uint64(1) - low) // page
        count = (last - first + np.uint64(1)).astype(np.int64)
        count = kernel.budget.frames(count, "pages of network buffers")
        pfns = np.repeat(first, count) + (
            np.arange(count.sum(), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
        ).astype(np.uint64)
        return np.uint64(kernel.vmemmap) + np.unique(pfns) * np.uint64(self._layout.size)

    def _whole(self, pages: U64) -> I64:
        """All frames of the compound pages that some pages are of; what is not a page struct is left out."""
        kernel, size = self._kernel, np.uint64(self._layout.size)
        base = np.uint64(kernel.vmemmap)
        pages = self._page_structs(pages)
        rows, status = kernel.gather(pages, int(size), "page structs")
        chunk = PageChunk.of_rows(kernel, 0, rows, status == 0)
        heads = self._page_structs(np.unique(compound_heads(kernel, pages, chunk.links())[status == 0]))
        where = (heads[:, None] + np.arange(_STRUCTS, dtype=np.uint64) * size).reshape(-1)
        rows, status = kernel.gather(where, int(size), "page structs")
        chunk = PageChunk.of_rows(kernel, 0, rows, status == 0)
        first = np.arange(len(heads), dtype=np.int64) * _STRUCTS
        compound = (self._layout.flags(chunk)[first] & self._layout.bit("PG_head")) != 0
        order = np.where(compound, self._layout.compound_order(chunk, first), 0).astype(np.int64)
        pfns = ((heads - base) // size).astype(np.int64)
        return each_once(kernel, pfns, pfns + (np.int64(1) << order))

    def _page_structs(self, addresses: U64) -> U64:
        """Those of some addresses that are page structs of the machine."""
        size, base = np.uint64(self._layout.size), np.uint64(self._kernel.vmemmap)
        inside = addresses - base
        good = (addresses >= base) & (inside % size == 0)
        found: U64 = addresses[good & (inside // size < np.uint64(self._kernel.file.max_pfn))]
        return found


def each_once(kernel: Kernel, first: I64, last: I64) -> I64:
    """The frames of ranges that may overlap: ascending, each once, and none behind the last of the machine."""
    order = np.argsort(first, kind="stable")
    first, last = first[order], np.minimum(np.maximum.accumulate(last[order]), kernel.file.max_pfn)
    # Each range begins behind all that came before it.
    first[1:] = np.maximum(first[1:], last[:-1])
    count = kernel.budget.frames(np.maximum(last - first, 0), "pages of the network's data")
    inside = np.arange(int(count.sum()), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(first, count) + inside
