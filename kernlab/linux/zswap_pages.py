"""Pages that zswap keeps in front of a swap area: their bytes, as far as they can be unpacked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.formats.swap_codecs import decompress
from kernlab.linux.zsmalloc import ZsPool
from kernlab.walk.rbtree import rbtree_entries
from kernlab.walk.strings import c_strings
from kernlab.walk.xarray import xarray_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


_OFFSET = np.uint64((1 << 58) - 1)
#: include/linux/hash.h: GOLDEN_RATIO_64.
_GOLDEN = 0x61C8864680B583EB
#: An entry in front of what evictable allocators kept, until v6.5 (struct zswap_header).
_HEADER = 8


@dataclass
class Zswap:
    """zswap's entries for one swap area; what cannot be read, and why, stands in `problems`."""

    kernel: Kernel
    area: int
    problems: list[str] = field(default_factory=list)
    _pools: dict[int, ZsPool] = field(default_factory=dict)

    def _say(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)

    @cached_property
    def _entries(self) -> tuple[U64, StructArray]:
        """Its entries: (page of the area uint64[n], ascending; struct zswap_entry)."""
        kernel, what = self.kernel, "zswap's trees"
        none = np.zeros(0, dtype=np.uint64)
        symbol = kernel.find_symbol("zswap_trees")
        if symbol is None or kernel.type_or_none("struct zswap_entry") is None:
            return none, StructArray(kernel, "struct page", none)
        (tree,), (read,) = kernel.words([symbol + 8 * self.area], what=what)
        if not read or not tree:
            return none, StructArray(kernel, "struct zswap_entry", none)
        # Linux commit 44c7c734a513 ("mm/zswap: split zswap rb-tree") (in v6.8): a tree for so many pages each.
        count = 1
        if (numbers := kernel.find_symbol("nr_zswap_trees")) is not None:
            (told,), _ = kernel.words([numbers + 4 * self.area], 4, what=what)
            count = kernel.budget.count(int(told), 16, what)
        # Linux commit 796c2c23e14e ("zswap: replace RB tree with xarray") (in v6.9).
        kind = kernel.type_or_none("struct zswap_tree")
        if kind is not None:
            roots = StructArray(
                kernel, kind, tree + np.arange(count, dtype=np.uint64) * np.uint64(kind.size)
            ).follow("rbroot")
            _, entry = rbtree_entries(kernel, roots.addresses, "struct zswap_entry", "rbnode", what=what)
            where = entry["swpentry.val"] if entry.has("swpentry") else entry["offset"]
            offset = where.filled(0).astype(np.uint64) & _OFFSET
        else:
            size = kernel.find_type("struct xarray").size
            places = tree + np.arange(count, dtype=np.uint64) * np.uint64(size)
            _, index, pointers = xarray_entries(kernel, places, what=what)
            # Indexes are those of the area, whichever tree they are in.
            offset, entry = index, StructArray(kernel, "struct zswap_entry", pointers)
        order = np.argsort(offset, kind="stable")
        return offset[order], entry[order]

    def read(self, offset: U64) -> tuple[U8, Mask, Mask]:
        """Pages of the area by number uint64[n]: (uint8[n, page size], which could be read, which zswap has)."""
        rows = np.zeros((len(offset), self.kernel.page_size), dtype=np.uint8)
        known, here = np.zeros((2, len(offset)), dtype=bool)
        try:
            known_at, entry = self._entries
            if len(known_at):
                at = np.minimum(np.searchsorted(known_at, offset), len(known_at) - 1)
                here = known_at[at] == offset
                mine = np.flatnonzero(here)
                if len(mine):
                    rows[mine], known[mine] = self._read(entry[at[mine]])
        except KernlabError as error:
            self._say(f"zswap: {error}")
        return rows, known, here

    def _read(self, entry: StructArray) -> tuple[U8, Mask]:
        kernel = self.kernel
        rows = np.zeros((len(entry), kernel.page_size), dtype=np.uint8)
        known = np.zeros(len(entry), dtype=bool)
        length, handle = entry["length"].int64, entry["handle"]
        good = length.valid & handle.valid
        # Until v6.12 a page of one word all over has no length, and the word where others have their handle.
        same = good & (length.values == 0)
        words = np.ascontiguousarray(handle.values[same].astype("<u8")).view(np.uint8).reshape(-1, 8)
        rows[same], known[same] = np.tile(words, kernel.page_size // 8), True
        left = np.flatnonzero(good & ~same & (length.values > 0) & (length.values <= kernel.page_size))
        pools, of = np.unique(entry["pool"].filled(0)[left], return_inverse=True)
        for number, pool in enumerate(pools.tolist()):
            mine = left[of == number]
            if pool:
                pool_of = StructArray(kernel, "struct zswap_pool", [pool])
                rows[mine], known[mine] = self._of_pool(
                    pool_of, entry.addresses[mine], handle.values[mine].astype(np.uint64), length.values[mine]
                )
        return rows, known

    def _of_pool(self, pool: StructArray, entry: U64, handle: U64, length: I64) -> tuple[U8, Mask]:
        kernel = self.kernel
        algorithm = str(pool["tfm_name"].values[0])
        rows = np.zeros((len(handle), kernel.page_size), dtype=np.uint8)
        known = np.zeros(len(handle), dtype=bool)
        allocators, which = self._allocators(pool, entry)
        headed = kernel.type_or_none("struct zswap_header") is not None
        for number, allocator in enumerate(allocators):
            mine = np.flatnonzero(which == number)
            if allocator is None or not len(mine):
                continue
            more = np.minimum(length[mine] + (_HEADER if headed else 0), kernel.page_size)
            data, here = allocator.read(handle[mine], more)
            if headed and not here.all():
                data, here = allocator.read(handle[mine], length[mine])
            for at, row in enumerate(mine.tolist()):
                if not here[at]:
                    self._say("zswap: the compressed bytes of some pages are not in the dump")
                    continue
                size = int(length[row])
                page, why = _unpacked(algorithm, data[at].tobytes(), size, kernel.page_size, headed)
                if page is None:
                    self._say(f"zswap: {why}")
                else:
                    rows[row], known[row] = np.frombuffer(page, dtype=np.uint8), True
        return rows, known

    def _allocators(self, pool: StructArray, entry: U64) -> tuple[list[ZsPool | None], I64]:
        """What keeps the pool's pages, and which of them each entry's."""
        kernel, first = self.kernel, np.zeros(len(entry), dtype=np.int64)
        # In 6.18 zpool went, a layer between zswap and its allocators, of which only zsmalloc was left.
        if pool.has("zs_pool"):
            return [self._pool(int(pool["zs_pool"].filled(0)[0]))], first
        # From 6.6 to 6.10 a pool was made of several zpools, chosen by the entry's address (hash_ptr).
        if pool.has("zpools"):
            pointers = pool["zpools"].values[0].astype(np.uint64)
            bits = max(len(pointers).bit_length() - 1, 1)
            first = ((entry * np.uint64(_GOLDEN)) >> np.uint64(64 - bits)).astype(np.int64)
        else:
            pointers = pool["zpool"].filled(0).astype(np.uint64)
        return [
            self._allocator(StructArray(kernel, "struct zpool", [one])) for one in pointers.tolist()
        ], first

    def _pool(self, address: int) -> ZsPool:
        if address not in self._pools:
            self._pools[address] = ZsPool(self.kernel, address)
        return self._pools[address]

    def _allocator(self, zpool: StructArray) -> ZsPool | None:
        name = c_strings(self.kernel, zpool["driver->type"].filled(0).astype(np.uint64), 32)
        inside = zpool["pool"]
        if name[0] == "zsmalloc" and inside.true[0]:
            return self._pool(int(inside.values[0]))
        self._say(f"zswap: pages that {name[0] or 'an unknown allocator'} keeps cannot be read")
        return None


def _unpacked(algorithm: str, data: bytes, length: int, size: int, headed: bool) -> tuple[bytes | None, str]:
    """A page from what lies in front of it or not."""
    if length == size:
        return data[:size], ""
    page, why = decompress(algorithm, data[:length], size)
    if page is None and headed:
        page, _ = decompress(algorithm, data[_HEADER : _HEADER + length], size)
    return page, why
