"""What /proc/meminfo adds up, number by number (fs/proc/meminfo.c)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux import vm_counters, zones, zswap
from kernlab.linux.hugetlb import default_hstate, hstates, huge_sizes
from kernlab.linux.swap import MOST_AREAS, SWP_WRITEOK, has_swap, pages_in_use, swap_areas
from kernlab.walk.lists import list_entries
from kernlab.walk.percpu_counters import percpu_sums

#: A value in bytes or a count; None where it is not known.
Value = int | None


_OVERCOMMIT_PERCENT = 100


class Summary:
    """All that /proc/meminfo adds up, read once."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        #: Why global numbers could not be read.
        self.why: list[str] = []
        self.types = kernel.types
        node = zones.nodes(kernel)
        _, self.zone = zones.zones(kernel, node)
        self.of_zones = vm_counters.zone_counters(kernel, self.zone)
        self.of_nodes = vm_counters.node_counters(kernel, node)
        self.huge_scale = 1 if vm_counters.in_pages(kernel) else kernel.arch.huge_pages

    def pages(self, *names: str, scale: int = 1) -> Value:
        """A counter of pages in bytes, by the first of its names that this kernel has; 0 where it has none of them."""
        for name in names:
            for counters in (self.of_nodes, self.of_zones):
                if counters.get(name) is not None:
                    return times(counters.total(name), self.kernel.page_size * scale)
        return 0

    def _total(self, name: str) -> Value:
        """A counter that is of nodes, and was of zones once (until v5.8, nr_kernel_stack)."""
        of = self.of_nodes if self.of_nodes.get(name) is not None else self.of_zones
        return of.total(name)

    def word(self, name: str, size: int = 8, absent: Value = None) -> Value:
        """A global number; `absent` where this kernel does not have it, None where it cannot be read."""
        return vm_counters.global_word(self.kernel, name, size, why=self.why, absent=absent)

    def in_bytes(self, name: str, size: int = 8) -> Value:
        """A global number of pages in bytes."""
        return times(self.word(name, size), self.kernel.page_size)

    def has_counter(self, name: str) -> bool:
        """Does this kernel have the counter?"""
        return any(counters.get(name) is not None for counters in (self.of_nodes, self.of_zones))

    def keys(self) -> dict[str, Value]:
        """Every key with its value, in the file's order; keys that this kernel's configuration lacks are left out."""
        kernel = self.kernel
        file_pages, buffers = self.pages("nr_file_pages"), self._buffers()
        swapped = self._swap_cached()
        lru = {
            name: self.pages(f"nr_{name}")
            for name in ("active_anon", "inactive_anon", "active_file", "inactive_file", "unevictable")
        }
        reclaimable, unreclaimable = self.pages("nr_slab_reclaimable"), self.pages("nr_slab_unreclaimable")
        misc = self.pages("nr_kernel_misc_reclaimable")
        swap_total, swap_free = self._swap()
        found: dict[str, Value] = {
            "MemTotal": self.in_bytes(vm_counters.total_ram(self.kernel)),
            "MemFree": self.pages("nr_free_pages"),
            "MemAvailable": self._available(lru, plus(reclaimable, misc)),
            "Buffers": buffers,
            "Cached": at_least_0(minus(file_pages, swapped, buffers)),
            "SwapCached": swapped,
            "Active": plus(lru["active_anon"], lru["active_file"]),
            "Inactive": plus(lru["inactive_anon"], lru["inactive_file"]),
            "Active(anon)": lru["active_anon"],
            "Inactive(anon)": lru["inactive_anon"],
            "Active(file)": lru["active_file"],
            "Inactive(file)": lru["inactive_file"],
            "Unevictable": lru["unevictable"],
            "Mlocked": self.pages("nr_mlock"),
            "SwapTotal": swap_total,
            "SwapFree": swap_free,
        }
        found |= self._zswap()
        found |= {
            "Dirty": self.pages("nr_dirty"),
            "Writeback": self.pages("nr_writeback"),
            "AnonPages": self.pages("nr_anon_pages"),
            "Mapped": self.pages("nr_mapped"),
            "Shmem": self.pages("nr_shmem"),
            **(
                {"KReclaimable": plus(reclaimable, misc)}
                if self.has_counter("nr_kernel_misc_reclaimable")
                else {}
            ),
            "Slab": plus(reclaimable, unreclaimable),
            "SReclaimable": reclaimable,
            "SUnreclaim": unreclaimable,
            "KernelStack": times(self._total("nr_kernel_stack"), 1024),
        }
        if self.has_counter("nr_shadow_call_stack"):
            found["ShadowCallStack"] = times(self.of_nodes.total("nr_shadow_call_stack"), 1024)
        found["PageTables"] = self.pages("nr_page_table_pages")
        if self.has_counter("nr_sec_page_table_pages"):
            found["SecPageTables"] = self.pages("nr_sec_page_table_pages")
        found |= {
            "NFS_Unstable": 0,
            "Bounce": self.pages("nr_bounce"),
            "WritebackTmp": self.pages("nr_writeback_temp"),
            "CommitLimit": self._commit_limit(),
            "Committed_AS": self._committed(),
            "VmallocTotal": self._vmalloc_total(),
            "VmallocUsed": self.pages("nr_vmalloc")
            if self.has_counter("nr_vmalloc")
            # Linux commit 97105f0ab7b8 ("mm: vmalloc: show number of vmalloc pages in /proc/meminfo") (in v5.3).
            else times(self.word("nr_vmalloc_pages", absent=0), kernel.page_size),
            "VmallocChunk": 0,
            "Percpu": times(self.in_bytes("pcpu_nr_populated"), self.word("pcpu_nr_units", 4)),
        }
        found |= self._configured()
        found |= self._huge_pages()
        found |= self._direct_map()
        # The file prints kB, and rounds down what is not a whole number of them.
        counts = {"HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"}
        assert kernel.page_size % 1024 == 0
        return {
            key: value if value is None or key in counts else value // 1024 * 1024
            for key, value in found.items()
        }

    def _available(self, lru: dict[str, Value], reclaimable: Value) -> Value:
        """mm/show_mem.c, si_mem_available."""
        low_mark, managed = zones.watermark(self.zone, 1), zones.managed_pages(self.zone)
        free, reserve = self.pages("nr_free_pages"), self.in_bytes("totalreserve_pages")
        cache = plus(lru["active_file"], lru["inactive_file"])
        if free is None or reserve is None or cache is None or reclaimable is None:
            return None
        if low_mark is None or not low_mark.valid.all():
            return None
        mark = low_mark[managed.true].sum()
        low = (mark or 0) * self.kernel.page_size
        available = free - reserve + cache - min(cache // 2, low) + reclaimable - min(reclaimable // 2, low)
        return max(available, 0)

    def _buffers(self) -> Value:
        """Page cache of block devices (block/bdev.c, nr_blockdev_pages)."""
        kernel = self.kernel
        # Without CONFIG_BLOCK there are no block devices.
        pointer = self.word("blockdev_superblock", absent=0)
        if not pointer:
            return pointer
        block = StructArray(kernel, "struct super_block", [pointer])
        with kernel.watched() as losses:
            _, inode = list_entries(
                kernel,
                block.follow("s_inodes").addresses,
                "struct inode",
                "i_sb_list",
                what="the inodes of block devices",
            )
        pages = inode["i_mapping->nrpages"]
        return None if losses else times(pages.sum(), kernel.page_size)

    def _swap_cached(self) -> Value:
        """Pages in the swap cache (mm/swap_state.c, total_swapcache_pages)."""
        # Linux commit b6038942480e ("mm: memcg: add swapcache stat for memcg v2") (in v5.12) made it a counter.
        if self.has_counter("nr_swapcached"):
            return self.pages("nr_swapcached")
        kernel = self.kernel
        counts, spaces = (kernel.find_symbol(name) for name in ("nr_swapper_spaces", "swapper_spaces"))
        if counts is None or spaces is None:
            return 0
        # Both arrays are as long as there can be areas, which depends on the configuration; those in use come first.
        areas = self.word("nr_swapfiles", 4)
        if areas is None:
            return None
        number = np.arange(min(areas, MOST_AREAS), dtype=np.uint64)
        numbers, read = kernel.words(np.uint64(counts) + number * np.uint64(4), 4, "counts of swap spaces")
        pointers, readable = kernel.words(
            np.uint64(spaces) + number * np.uint64(8), what="pointers to swap spaces"
        )
        rows = np.flatnonzero(read & readable & (pointers != 0) & (numbers > 0) & (numbers < 1 << 20))
        kind = kernel.find_type("struct address_space")
        each = numbers[rows].astype(np.int64)
        if not kernel.budget.holds(int(each.sum()), kind.size):
            return None
        base = np.repeat(pointers[rows], each)
        step = np.arange(int(each.sum())) - np.repeat(np.cumsum(each) - each, each)
        space = StructArray(kernel, kind, base + step.astype(np.uint64) * np.uint64(kind.size))
        pages = space["nrpages"]
        return times(pages.sum(), kernel.page_size) if read.all() and readable.all() else None

    def _swap(self) -> tuple[Value, Value]:
        """Total and free swap, with what swapoff is about to empty (mm/swapfile.c, si_swapinfo)."""
        size = self.kernel.page_size
        if not has_swap(self.kernel):
            return 0, 0
        area = swap_areas(self.kernel)
        used = pages_in_use(area)
        leaving = ~area["flags"].has(SWP_WRITEOK)
        rest = times(used[leaving.true].sum(), size) if used.valid.all() else None
        return plus(self.in_bytes("total_swap_pages"), rest), plus(self.in_bytes("nr_swap_pages"), rest)

    def _zswap(self) -> dict[str, Value]:
        kernel = self.kernel
        # Linux commit f6498b776d28 ("mm: zswap: add basic meminfo and vmstat coverage") (in v5.19) brought the lines,
        # and with them events that the types know.
        if "zswap_stored_pages" not in kernel.symbols or self.types.enumerator_or_none("ZSWPIN") is None:
            return {}
        stored = times(zswap.stored_pages(kernel), kernel.page_size)
        return {"Zswap": zswap.pool_bytes(kernel), "Zswapped": stored}

    def _commit_limit(self) -> Value:
        """mm/util.c, vm_commit_limit."""
        ram, swap = self.word(vm_counters.total_ram(self.kernel)), self.word("total_swap_pages", absent=0)
        ratio = self.word("sysctl_overcommit_ratio", 4)
        fixed = self.word("sysctl_overcommit_kbytes")
        huge = self._hugetlb_bytes()
        if ram is None or swap is None or ratio is None or fixed is None or huge is None:
            return None
        size = self.kernel.page_size
        allowed = fixed * 1024 // size if fixed else (ram - huge // size) * ratio // _OVERCOMMIT_PERCENT
        return (allowed + swap) * size

    def _committed(self) -> Value:
        """`vm_committed_as`, what every CPU keeps of it added (lib/percpu_counter.c, percpu_counter_sum)."""
        kernel = self.kernel
        symbol = kernel.symbol("vm_committed_as")
        counter = StructArray(kernel, "struct percpu_counter", [symbol])
        total: Value = (percpu_sums(kernel, counter).clip(0) * kernel.page_size)[0]
        return total

    def _vmalloc_total(self) -> Value:
        return self.kernel.arch.vmalloc_total

    def _configured(self) -> dict[str, Value]:
        """Keys of features that a kernel may be built without."""
        found: dict[str, Value] = {}
        symbols, types = self.kernel.symbols, self.types
        if "early_memtest_bad_size" in symbols:
            done = self.word("early_memtest_done", 1)
            if done is None or done:
                found["EarlyMemtestBad"] = self.word("early_memtest_bad_size")
        if "num_poisoned_pages" in symbols:
            found["HardwareCorrupted"] = self.in_bytes("num_poisoned_pages")
        if "transparent_hugepage_flags" in symbols:
            for key, name in (
                ("AnonHugePages", "nr_anon_transparent_hugepages"),
                ("ShmemHugePages", "nr_shmem_hugepages"),
                ("ShmemPmdMapped", "nr_shmem_pmdmapped"),
                ("FileHugePages", "nr_file_hugepages"),
                ("FilePmdMapped", "nr_file_pmdmapped"),
            ):
                # Files' came with v5.4.
                if self.has_counter(name):
                    found[key] = self.pages(name, scale=self.huge_scale)
        if types.enumerator_or_none("MIGRATE_CMA") is not None:
            found["CmaTotal"] = self.in_bytes("totalcma_pages")
            found["CmaFree"] = self.pages("nr_free_cma")
        for key, name in (
            ("Unaccepted", "nr_unaccepted"),
            ("Balloon", "nr_balloon_pages"),
            ("GPUActive", "nr_gpu_active"),
            ("GPUReclaim", "nr_gpu_reclaim"),
        ):
            if self.has_counter(name):
                found[key] = self.pages(name)
        return found

    @cached_property
    def _hstates(self) -> StructArray | None:
        """The pools of huge pages; None where they cannot be known."""
        try:
            return hstates(self.kernel)
        except KernlabError as error:
            self.why.append(str(error))
            return None

    def _hugetlb_bytes(self) -> Value:
        state = self._hstates
        if state is None:
            return None
        if not len(state):
            return 0
        return (state["nr_huge_pages"] * huge_sizes(self.kernel, state)).sum()

    def _huge_pages(self) -> dict[str, Value]:
        state = self._hstates
        if state is not None and not len(state):
            return {}
        keys = {
            "HugePages_Total": "nr_huge_pages",
            "HugePages_Free": "free_huge_pages",
            "HugePages_Rsvd": "resv_huge_pages",
            "HugePages_Surp": "surplus_huge_pages",
        }
        index = None if state is None else default_hstate(self.kernel, len(state))
        if state is None or index is None:
            return dict.fromkeys([*keys, "Hugepagesize", "Hugetlb"])
        default = state[index : index + 1]
        found: dict[str, Value] = {}
        for key, member in keys.items():
            column = default[member]
            found[key] = column[0]
        found["Hugepagesize"] = huge_sizes(self.kernel, default)[0]
        found["Hugetlb"] = self._hugetlb_bytes()
        return found

    def _direct_map(self) -> dict[str, Value]:
        """How much of the direct map is mapped with pages of which size (arch/x86/mm/pat/set_memory.c)."""
        kernel = self.kernel
        symbol = kernel.find_symbol("direct_pages_count")
        if symbol is None:
            return {}
        sizes = kernel.arch.page_sizes
        # By enum pg_level: none, then the smallest first.
        levels = np.arange(1, len(sizes) + 1, dtype=np.uint64)
        counts, read = kernel.words(
            np.uint64(symbol) + levels * np.uint64(8), what="counts of pages of the direct map"
        )
        found: dict[str, Value] = {
            _direct_map_key(size): int(count) * size if known else None
            for size, count, known in zip(sizes, counts, read, strict=True)
        }
        if self.word("direct_gbpages", 4, absent=0) == 0:
            found.pop(_direct_map_key(1 << 30), None)
        return found


def _direct_map_key(size: int) -> str:
    """As /proc/meminfo names pages of a size: DirectMap4k, DirectMap2M, DirectMap1G."""
    step = (size.bit_length() - 1) // 10
    return f"DirectMap{size >> 10 * step}{'kMG'[step - 1]}"


def plus(*parts: Value) -> Value:
    """The sum, unknown where a part is."""
    return None if any(part is None for part in parts) else sum(part for part in parts if part is not None)


def minus(first: Value, *others: Value) -> Value:
    """The first less the others, unknown where one is."""
    rest = plus(*others)
    return None if first is None or rest is None else first - rest


def times(value: Value, factor: Value) -> Value:
    """The product, unknown where one is."""
    return None if value is None or factor is None else value * factor


def at_least_0(value: Value) -> Value:
    """No less than 0."""
    return None if value is None else max(value, 0)
