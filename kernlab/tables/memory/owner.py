"""Addresses in, what lies there out: symbol, slab object, thread's stack, area of vmalloc, page of some kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses as address_column
from kernlab.dataframes import frame, table
from kernlab.linux.files import mapping_paths
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.page.owners import area_kinds
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.page.vmemmap import PageChunk, compound_heads, page_type_is
from kernlab.linux.slab_caches import cache_names, type_of_cache
from kernlab.linux.slab_pages import ALLOCATED, UNKNOWN, SlabPages
from kernlab.linux.slab_states import object_states
from kernlab.linux.tasks import find_tasks
from kernlab.linux.thread_stacks import thread_size
from kernlab.linux.vmalloc import mapped_frames, vm_areas, vmalloc_space
from kernlab.walk.cpus import possible_cpus
from kernlab.walk.percpu_chunks import percpu_units

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_NOT_ASKED = 3  # beside ALLOCATED, FREE, UNKNOWN: no slab object


@table
def owner(kernel: Kernel, addresses: Any) -> pd.DataFrame | pd.Series[Any]:
    """What lies at each of many kernel addresses, one row each in their order; for one address its row, a Series.

    `addresses`: an integer, a struct, a symbol's name, hexadecimal text, or a list, array or column of them. kind says
    what is there: "symbol", "slab object", "kernel stack", "percpu", "page struct", an area of "vmalloc" or "vmap",
    else the page's kind as in `pages` ("anon", "file", "page table", …), "user address", "not mapped". name: the
    symbol, the slab cache, the thread ("comm (pid)"), the area's caller, the file's path. start, size_bytes: of the
    whole symbol, object, stack or area; offset: of the address in it; allocated: of slab objects, as in
    `slab_objects`; type: where it is known. All are missing where the address is.
    An address in the direct map is told by what its frame is used for, be it mapped elsewhere too.

    >>> dump.owner("init_task")["kind"]
    'symbol'
    >>> dump.owner(dump.tasks.address.head(2))[["kind", "offset", "type"]]
              kind  offset                type
    0  slab object       0  struct task_struct
    1       symbol       0                 NaN
    """
    wanted = kernel.addresses(addresses)
    unique, of = np.unique(wanted.values, return_inverse=True)
    found = Finder(kernel, unique)
    found.run()
    result = found.frame(of, wanted.values, wanted.missing)
    if not wanted.single:
        return result
    row = result.iloc[0]
    row.name = f"{int(wanted.values[0]):#018x}"
    row.attrs.update(result.attrs)
    return row


class Finder:
    """Finds what lies at N distinct addresses, most telling answer first; all of them go through a step together."""

    def __init__(self, kernel: Kernel, addresses: U64):
        self.kernel = kernel
        self.address = addresses
        # Where the address is looked for: what the direct map shows twice is told by its other address.
        self.place = addresses.copy()
        count = len(addresses)
        self.kind = np.full(count, "", dtype=object)
        self.name = np.full(count, None, dtype=object)
        self.start = np.zeros(count, dtype=np.uint64)
        self.size = np.full(count, -1, dtype=np.int64)
        self.state = np.full(count, _NOT_ASKED, dtype=np.uint8)
        self.type = np.full(count, "", dtype=object)
        self.layout = kernel.layout
        self.page_size = np.uint64(kernel.page_size)
        self.page_kind = np.full(count, Kind.EXCLUDED, dtype=np.uint8)
        self.mapping = np.zeros(count, dtype=np.uint64)

    @property
    def open(self) -> Mask:
        """Addresses of which nothing is known yet."""
        unknown: Mask = self.kind == ""
        return unknown

    def run(self) -> None:
        """Find what can be found."""
        if not len(self.address):
            return
        self._say(np.flatnonzero(~self.kernel.arch.is_kernel(self.address)), "user address")
        frames = self._direct()
        self._symbols()
        if not self.open.any():
            return
        self._areas()
        self._page_structs()
        rows = np.flatnonzero(self.open & (frames >= 0))
        self._slabs(rows, frames[rows])
        rows = np.flatnonzero(self.open & (frames >= 0))
        self._pages(rows)
        rest = np.flatnonzero(self.open)
        if len(rest):
            _, status = self.kernel.memory.translate(self.address[rest])
            self._say(rest[status == 0], "other mapping")
            self._say(rest[status != 0], "not mapped")

    def frame(self, rows: I64, shown: U64, missing: Mask | None = None) -> pd.DataFrame:
        """The table, of these rows; `missing` are those of which the address itself is."""
        has_start = (self.start != 0)[rows]
        kinds, names, types = self.kind[rows], self.name[rows], self.type[rows]
        known = None if missing is None else ~missing
        kinds[(kinds == "") | (False if known is None else ~known)] = None
        start, size, state = self.start[rows], self.size[rows], self.state[rows]
        offset = np.where(has_start, (self.place[rows] - start), np.uint64(0)).astype(np.int64)
        return frame(
            self.kernel,
            "owner",
            address=address_column(self.kernel, shown, known),
            kind=pd.array(kinds, dtype="str"),
            name=pd.array(names, dtype="str"),
            start=address_column(self.kernel, start, has_start),
            size_bytes=pd.arrays.IntegerArray(np.maximum(size, 0), size < 0),
            offset=pd.arrays.IntegerArray(offset, ~has_start),
            allocated=pd.arrays.BooleanArray(state == ALLOCATED, state >= UNKNOWN),
            type=pd.array([text or None for text in types], dtype="str"),
        )

    def _say(self, rows: I64, kind: Any, name: Any = None, start: Any = None, size: Any = None) -> None:
        self.kind[rows] = kind
        if name is not None:
            self.name[rows] = name
        if start is not None:
            self.start[rows] = start
        if size is not None:
            self.size[rows] = size

    def _direct(self) -> I64:
        """The frame of addresses in the direct map, -1 for others; what is mapped elsewhere is looked for there."""
        layout = self.layout
        frames = layout.direct_frames(self.address)
        rows = np.flatnonzero(frames >= 0)
        if not len(rows):
            return frames
        self.survey = PageSurvey(self.kernel)
        self.page_kind, self.mapping = self._kinds(frames)
        kind = self.page_kind[rows]
        physical = self.address[rows] - np.uint64(layout.direct_start)
        image = (
            np.uint64(layout.image_start) + physical - np.uint64(layout.image_physical(layout.image_start))
        )
        in_image = (image >= np.uint64(layout.image_start)) & (image < np.uint64(layout.image_end))
        use = in_image & (kind == Kind.RESERVED)
        self.place[rows[use]] = image[use]
        mapped = np.isin(kind, (Kind.KERNEL_STACK, Kind.VMALLOC, Kind.VMAP, Kind.PERCPU))
        self._elsewhere(rows[mapped], frames[rows[mapped]])
        return frames

    def _kinds(self, frames: I64) -> tuple[npt.NDArray[np.uint8], U64]:
        """The page kind and the mapping of each frame (EXCLUDED for -1): only their chunks are gone through."""
        kinds = np.full(len(frames), Kind.EXCLUDED, dtype=np.uint8)
        mapping = np.zeros(len(frames), dtype=np.uint64)
        for chunk in self.survey:
            rows = np.flatnonzero((frames >= chunk.first_pfn) & (frames < chunk.first_pfn + len(chunk)))
            if len(rows):
                at = frames[rows] - chunk.first_pfn
                kinds[rows], mapping[rows] = chunk.kind[at], chunk.mapping_of(at)
        return kinds, mapping

    def _elsewhere(self, rows: I64, frames: I64) -> None:
        """Take addresses of the direct map for those at which the vmalloc space maps their frames."""
        space = vmalloc_space(self.kernel)
        if not len(rows) or space is None:
            return
        # Modules lie in areas of their own, outside of the vmalloc space.
        areas = vm_areas(self.kernel)
        low, high = (np.uint64(bound) for bound in space)
        outside = (areas.start < low) | (areas.start >= high)
        start, end = np.append(areas.start[outside], low), np.append(areas.end[outside], high)
        order = np.argsort(start)
        mapped = mapped_frames(self.kernel, start[order], end[order])
        order = np.argsort(mapped.pfn, kind="stable")
        pfn, count, virtual = mapped.pfn[order], mapped.frames[order], mapped.virtual[order]
        at = np.searchsorted(pfn, frames, side="right") - 1
        hit = (at >= 0) & (frames < pfn[at] + count[at])
        rows, frames, at = rows[hit], frames[hit], at[hit]
        inside = self.address[rows] & (self.page_size - np.uint64(1))
        self.place[rows] = virtual[at] + (frames - pfn[at]).astype(np.uint64) * self.page_size + inside

    def _symbols(self) -> None:
        self.kernel.with_modules()
        rows = np.flatnonzero(self.open)
        symbol, offset, size = self.kernel.symbols.lookup(self.place[rows])
        hit = symbol >= 0
        rows, start, size = rows[hit], self.place[rows[hit]] - offset[hit], size[hit]
        # Many addresses share a symbol: each is named once.
        unique, of = np.unique(start, return_inverse=True)
        names = np.empty(len(unique), dtype=object)
        names[:] = [_bare(name) for name in self.kernel.symbols.symbolize(unique)]
        self._say(rows, "symbol", names[of], start, size.astype(np.int64))

    def _areas(self) -> None:
        """Stacks, per-CPU chunks and areas of vmalloc."""
        rows = np.flatnonzero(self.open)
        if not len(rows):
            return
        task = find_tasks(self.kernel)
        stack = task["stack"]
        order = np.flatnonzero(stack.valid & (stack.values != 0))
        order = order[np.argsort(stack.values[order], kind="stable")]
        start = stack.values[order]
        stack_bytes = thread_size(self.kernel)
        end = start + np.uint64(stack_bytes)
        comm, pid = task["comm"], task["pid"]
        hit, at = _inside(self.place[rows], start, end)
        who = np.empty(len(order), dtype=object)
        who[:] = [f"{comm.values[row]} ({pid.values[row]})" for row in order.tolist()]
        self._say(rows[hit], "kernel stack", who[at], start[at], stack_bytes)
        rows = rows[~hit]
        if not len(rows):
            return
        # The first chunk lies in the direct map; what it did not need of its units went to the page allocator.
        direct = self.layout.in_direct_map(self.place[rows])
        mine = rows[~direct | (self.page_kind[rows] == Kind.RESERVED)]
        mine = self._static_percpu(mine)
        start, end = percpu_units(self.kernel)
        hit, at = _inside(self.place[mine], start, end)
        self._say(mine[hit], "percpu", None, start[at], (end - start)[at].astype(np.int64))
        rows = np.flatnonzero(self.open)
        # What is neither in the direct map nor a symbol; the direct map itself is no area.
        rows = rows[(self.place[rows] != self.address[rows]) | ~self.layout.in_direct_map(self.address[rows])]
        if not len(rows):
            return
        areas = vm_areas(self.kernel)
        hit, at = _inside(self.place[rows], areas.start, areas.end)
        kinds = np.array(KIND_NAMES, dtype=object)[area_kinds(areas, np.sort(stack.values[order]))]
        caller = areas.vm["caller"]
        names = self.kernel.symbols.symbolize(caller.values[at])
        named = np.empty(len(names), dtype=object)
        named[:] = [_bare(name) for name in names]
        kind = np.where(kinds[at] == KIND_NAMES[Kind.OTHER], "vmalloc area", kinds[at])
        size = (areas.end - areas.start)[at].astype(np.int64)
        named[~caller.valid[at]] = None
        self._say(rows[hit], kind, named, areas.start[at], size)

    def _static_percpu(self, rows: I64) -> I64:
        """Per-CPU variables of the kernel itself; the rows that are none."""
        symbols, kernel = self.kernel.symbols, self.kernel
        low, high = symbols.get("__per_cpu_start"), symbols.get("__per_cpu_end")
        if low is None or high is None or not len(rows):
            return rows
        numbers = possible_cpus(kernel)
        start = kernel.percpu_offsets[numbers] + np.uint64(low)
        order = np.argsort(start)
        hit, at = _inside(self.place[rows], start[order], start[order] + np.uint64(high - low))
        mine = rows[hit]
        if not len(mine):
            return rows
        inside = self.place[mine] - start[order][at] + np.uint64(low)
        known = np.flatnonzero((symbols.addresses >= np.uint64(low)) & (symbols.addresses < np.uint64(high)))
        known = known[np.argsort(symbols.addresses[known], kind="stable")]
        value = symbols.addresses[known]
        which = np.maximum(np.searchsorted(value, inside, side="right") - 1, 0)
        ends = np.append(value[1:], np.uint64(high))
        every = symbols.names()
        names = np.empty(len(mine), dtype=object)
        names[:] = [
            f"{every[row]} (cpu {cpu})"
            for row, cpu in zip(known[which].tolist(), numbers[order][at].tolist(), strict=True)
        ]
        first = self.place[mine] - (inside - value[which])
        self._say(mine, "percpu", names, first, (ends - value)[which].astype(np.int64))
        return rows[~hit]

    def _page_structs(self) -> None:
        size = self.kernel.find_type("struct page").size
        rows = np.flatnonzero(self.open)
        base = np.uint64(self.kernel.vmemmap)
        pfn = (self.address[rows] - base) // np.uint64(size)
        hit = (self.address[rows] >= base) & (pfn < np.uint64(self.kernel.file.max_pfn))
        rows, pfn = rows[hit], pfn[hit]
        names = np.empty(len(rows), dtype=object)
        names[:] = [f"pfn {number:#x}" for number in pfn.tolist()]
        self._say(rows, "page struct", names, base + pfn * np.uint64(size), size)
        self.type[rows] = "struct page"

    def _slabs(self, rows: I64, frames: I64) -> None:
        rows, frames = rows[self.page_kind[rows] == Kind.SLAB], frames[self.page_kind[rows] == Kind.SLAB]
        if not len(rows):
            return
        kernel = self.kernel
        size = np.uint64(kernel.find_type("struct page").size)
        pages = np.unique(np.uint64(kernel.vmemmap) + frames.astype(np.uint64) * size)
        heads = np.unique(_heads(kernel, pages))
        slabs = SlabPages.read(kernel, heads)
        states = object_states(kernel, slabs, whole=False)
        slab, index, _ = slabs.locate(self.place[rows])
        hit = slab >= 0
        rows, slab, index = rows[hit], slab[hit], index[hit]
        names = np.array(cache_names(kernel, slabs.caches), dtype=object)
        sizes = slabs.caches["object_size"].values.astype(np.int64)
        types = np.array(
            [type_of_cache(kernel, name, int(size)) for name, size in zip(names, sizes, strict=True)],
            dtype=object,
        )
        cache = slabs.cache[slab]
        start = slabs.first[slab] + (index * slabs.stride[slab]).astype(np.uint64)
        self._say(rows, "slab object", names[cache], start, sizes[cache])
        self.state[rows] = states[slabs.offsets[slab] + index]
        self.type[rows] = types[cache]

    def _pages(self, rows: I64) -> None:
        kind = self.page_kind[rows]
        start = self.address[rows] & ~(self.page_size - np.uint64(1))
        self._say(rows, np.array(KIND_NAMES, dtype=object)[kind], None, start, self.kernel.page_size)
        cached = np.isin(kind, (Kind.FILE, Kind.SHMEM))
        rows = rows[cached]
        if len(rows):
            path = mapping_paths(self.kernel, self.mapping[rows])
            self.name[rows[path.valid]] = path.values[path.valid]


def _heads(kernel: Kernel, pages: U64) -> U64:
    """The page structs of slabs' heads for any of their pages."""
    size = kernel.find_type("struct page").size
    rows, status = kernel.gather(pages, size)
    heads = compound_heads(kernel, pages, PageChunk.of_rows(kernel, 0, rows, status == 0).links())
    rows, status = kernel.gather(heads, size)
    return heads[page_type_is(PageChunk.of_rows(kernel, 0, rows, status == 0), "slab")]


def _inside(address: U64, start: U64, end: U64) -> tuple[Mask, I64]:
    """Which addresses lie in one of the ranges (ascending), and for those in which: (bool[n], int64[hits])."""
    if not len(start):
        return np.zeros(len(address), dtype=bool), np.zeros(0, dtype=np.int64)
    at = np.searchsorted(start, address, side="right").astype(np.int64) - 1
    hit = (at >= 0) & (address < end[at])
    return hit, at[hit]


def _bare(name: str | None) -> str | None:
    """`name [module]` of `name+0x0/0x80 [module]`."""
    if name is None:
        return None
    head, _, rest = name.partition("+")
    module = rest.partition(" ")[2]
    return f"{head} {module}" if module else head
