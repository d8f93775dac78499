"""N addresses in, what lies at each out: the most telling answer first, all addresses together a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.variables import spelt
from kernlab.errors import KernlabError
from kernlab.linux.files import mapping_paths
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.slab_caches import cache_names, type_of_cache
from kernlab.linux.slab_pages import SlabPages
from kernlab.linux.whatis.answers import SLAB_OBJECT, SYMBOL, Answers
from kernlab.linux.whatis.areas import (
    bare,
    inside,
    mapped_elsewhere,
    percpu_variables,
    stacks,
    vmalloc_areas,
)
from kernlab.linux.whatis.frames import slab_heads_of, use_of_frames
from kernlab.linux.whatis.known_structs import known_structs
from kernlab.memory import Status
from kernlab.walk.percpu_chunks import percpu_units

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ELSEWHERE = (Kind.KERNEL_STACK, Kind.VMALLOC, Kind.VMAP, Kind.PERCPU)
_KINDS = np.array(KIND_NAMES, dtype=object)


def what_lies_at(kernel: Kernel, addresses: U64, *, quick: bool = False) -> Answers:
    """What lies at each address uint64[n], in their order: symbol, slab object, stack, per-CPU variable, area, page.

    An address in the direct map is told by what its frame is used for, be it mapped elsewhere too. `quick`: of pages
    that only a look at all of memory tells apart the kind stays None; no answer differs otherwise. What could not be
    read is reported as lost, and what it would have told stays None.
    """
    unique, of = np.unique(addresses, return_inverse=True)
    finder = _Finder(kernel, unique, quick)
    finder.run()
    return finder.answers.at(of)


class _Finder:
    """Finds what lies at N distinct addresses."""

    def __init__(self, kernel: Kernel, addresses: U64, quick: bool):
        count = len(addresses)
        self.kernel, self.quick = kernel, quick
        self.answers = Answers(
            kernel,
            addresses,
            addresses.copy(),
            np.full(count, None, dtype=object),
            np.full(count, None, dtype=object),
            np.zeros(count, dtype=np.uint64),
            np.full(count, -1, dtype=np.int64),
            np.full(count, "", dtype=object),
            np.zeros(count, dtype=np.uint64),
            np.full(count, -1, dtype=np.int64),
            np.zeros(count, dtype=np.int64),
            None,
            quick,
        )
        self.open = np.ones(count, dtype=bool)
        # Frames of the direct map, -1 of what lies outside; what they are used for once that was asked.
        self.frames = np.full(count, -1, dtype=np.int64)
        self.page_kind = np.full(count, Kind.EXCLUDED, dtype=np.uint8)
        self.unsure = np.zeros(count, dtype=bool)

    def run(self) -> None:
        """Find what can be found."""
        user = np.flatnonzero(~self.kernel.arch.is_kernel(self.answers.address))
        self._say(user, "user address")
        self.frames = self.kernel.layout.direct_frames(self.answers.address)
        self._attempt(self._slabs)
        # Of objects of kmalloc, too, the lists tell what they are.
        self._attempt(self._known)
        for step in (
            self._frame_use,
            self._aliases,
            self._symbols,
            self._stacks,
            self._percpu,
            self._areas,
            self._page_structs,
            self._pages,
        ):
            if not self.open.any():
                return
            self._attempt(step)
        self._rest()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except KernlabError as error:
            self.answers.failed = True
            self.kernel.lost(f"what lies at some addresses is not known: {error}")

    def _say(
        self, rows: I64, kind: Any, name: Any = None, start: Any = None, size: Any = None, type_name: Any = ""
    ) -> None:
        answers = self.answers
        answers.kind[rows], answers.name[rows], answers.type[rows] = kind, name, type_name
        if start is not None:
            answers.start[rows], answers.size[rows] = start, size
        self.open[rows] = False

    def _slabs(self) -> None:
        """Objects of slab caches, allocated or not."""
        kernel, answers = self.kernel, self.answers
        rows = np.flatnonzero(self.frames >= 0)
        if not len(rows):
            return
        heads, of_slab = slab_heads_of(kernel, self.frames[rows])
        rows = rows[of_slab]
        if not len(rows):
            return
        slabs = SlabPages.read(kernel, np.unique(heads[of_slab]))
        slab, index, _ = slabs.locate(answers.address[rows])
        hit = slab >= 0
        rows, slab, index = rows[hit], slab[hit], index[hit]
        names = np.array(cache_names(kernel, slabs.caches), dtype=object)
        sizes = slabs.caches["object_size"].int64.filled(0)
        types = [type_of_cache(kernel, name, int(size)) for name, size in zip(names, sizes, strict=True)]
        cache = slabs.cache[slab]
        start = slabs.first[slab] + (index * slabs.stride[slab]).astype(np.uint64)
        self._say(rows, SLAB_OBJECT, names[cache], start, sizes[cache], np.array(types, dtype=object)[cache])
        answers.slabs, answers.slab[rows], answers.index[rows] = slabs, slab, index

    def _known(self) -> None:
        """Structs that the kernel's own lists lead to, in memory that says nothing of them: kmalloc's, reserved."""
        answers = self.answers
        rows = np.flatnonzero(self.open | ((answers.kind == SLAB_OBJECT) & (answers.type == "")))
        if not len(rows):
            return
        known = known_structs(self.kernel)
        hit, at = inside(answers.address[rows], known.start, known.end)
        rows = rows[hit]
        self.open[rows] = False
        answers.type[rows] = known.kind[at]
        other = answers.slab[rows] < 0
        rows, at = rows[other], at[other]
        bare_name = np.array([str(name).removeprefix("struct ") for name in known.kind[at]], dtype=object)
        size = (known.end - known.start)[at].astype(np.int64)
        self._say(rows, "struct", bare_name, known.start[at], size, known.kind[at])

    def _frame_use(self) -> None:
        """What the frames are used for of which no slab was found."""
        rows = np.flatnonzero(self.open & (self.frames >= 0))
        if not len(rows):
            return
        self.unsure[rows] = True
        use = use_of_frames(self.kernel, self.frames[rows], quick=self.quick)
        self.page_kind[rows], self.answers.mapping[rows], self.unsure[rows] = use.kind, use.mapping, ~use.sure

    def _aliases(self) -> None:
        """Where the direct map shows the kernel's image, and what is mapped in the vmalloc space."""
        layout, place = self.kernel.layout, self.answers.place
        rows = np.flatnonzero(self.open & (self.page_kind == Kind.RESERVED))
        start = np.uint64(layout.image_start)
        physical = place[rows] - np.uint64(layout.direct_start)
        image = start + physical - np.uint64(layout.image_physical(layout.image_start))
        within = (image >= start) & (image < np.uint64(layout.image_end))
        place[rows[within]] = image[within]
        rows = np.flatnonzero(self.open & np.isin(self.page_kind, _ELSEWHERE))
        hit, page = mapped_elsewhere(self.kernel, self.frames[rows])
        rows = rows[hit]
        place[rows] = page + (place[rows] & np.uint64(self.kernel.page_size - 1))

    def _symbols(self) -> None:
        kernel, place = self.kernel, self.answers.place
        kernel.with_modules()
        rows = np.flatnonzero(self.open)
        symbol, offset, size = kernel.lookup(place[rows])
        hit = symbol >= 0
        rows, start, size = rows[hit], place[rows[hit]] - offset[hit], size[hit]
        # Many addresses share a symbol: each is named once.
        unique, of = np.unique(start, return_inverse=True)
        names, types = np.empty(len(unique), dtype=object), np.full(len(unique), "", dtype=object)
        names[:] = [bare(name) for name in kernel.symbols.symbolize(unique)]
        for row, name in enumerate(names.tolist()):
            types[row] = spelt(kernel, name)
        self._say(rows, SYMBOL, names[of], start, size.astype(np.int64), types[of])

    def _stacks(self) -> None:
        rows = np.flatnonzero(self.open)
        every = stacks(self.kernel)
        hit, at = every.around(self.answers.place[rows])
        self._say(
            rows[hit],
            every.kind[at],
            every.name[at],
            every.start[at],
            (every.end - every.start)[at].astype(np.int64),
        )

    def _percpu(self) -> None:
        """Per-CPU variables by name, what was allocated in chunks as one piece of a CPU's memory."""
        # The first chunk lies in the direct map; what it did not need of its units went to the page allocator.
        place, layout = self.answers.place, self.kernel.layout
        rows = np.flatnonzero(self.open & (~layout.in_direct_map(place) | (self.page_kind == Kind.RESERVED)))
        known = percpu_variables(self.kernel)
        if known is not None:
            hit, at = inside(place[rows], known.start, known.start + known.bytes)
            mine = rows[hit]
            linked = place[mine] - known.start[at] + known.low
            which = np.maximum(np.searchsorted(known.value, linked, side="right") - 1, 0)
            names, types = np.empty(len(mine), dtype=object), np.empty(len(mine), dtype=object)
            names[:] = [
                f"{known.name[row]} (cpu {cpu})"
                for row, cpu in zip(which.tolist(), known.cpu[at].tolist(), strict=True)
            ]
            types[:] = [known.type[row] for row in which.tolist()]
            first = place[mine] - (linked - known.value[which])
            self._say(mine, "percpu", names, first, (known.end - known.value)[which].astype(np.int64), types)
            rows = rows[~hit]
        start, end = percpu_units(self.kernel)
        hit, at = inside(place[rows], start, end)
        self._say(rows[hit], "percpu", None, start[at], (end - start)[at].astype(np.int64))

    def _areas(self) -> None:
        """Areas of vmalloc; the direct map itself is none."""
        place, address = self.answers.place, self.answers.address
        rows = np.flatnonzero(self.open & ((place != address) | ~self.kernel.layout.in_direct_map(address)))
        if not len(rows):
            return
        areas = vmalloc_areas(self.kernel)
        hit, at = areas.around(place[rows])
        size = (areas.end - areas.start)[at].astype(np.int64)
        self._say(rows[hit], areas.kind[at], areas.name[at], areas.start[at], size)

    def _page_structs(self) -> None:
        size = np.uint64(self.kernel.find_type("struct page").size)
        rows = np.flatnonzero(self.open)
        base, address = np.uint64(self.kernel.vmemmap), self.answers.address
        pfn = (address[rows] - base) // size
        hit = (address[rows] >= base) & (pfn < np.uint64(self.kernel.file.max_pfn))
        rows, pfn = rows[hit], pfn[hit]
        names = np.empty(len(rows), dtype=object)
        names[:] = [f"pfn {number:#x}" for number in pfn.tolist()]
        self._say(rows, "page struct", names, base + pfn * size, int(size), "struct page")

    def _pages(self) -> None:
        rows = np.flatnonzero(self.open & (self.frames >= 0) & ~self.unsure)
        kind = self.page_kind[rows]
        start = self.answers.address[rows] & ~np.uint64(self.kernel.page_size - 1)
        self._say(rows, _KINDS[kind], None, start, self.kernel.page_size)
        rows = rows[np.isin(kind, (Kind.FILE, Kind.SHMEM))]
        if len(rows):
            path = mapping_paths(self.kernel, self.answers.mapping[rows])
            self.answers.name[rows[path.valid]] = path.values[path.valid]

    def _rest(self) -> None:
        """What nothing tells of; where a page table is not in the dump, not even whether it is mapped."""
        rows = np.flatnonzero(self.open & (self.frames < 0))
        _, status = self.kernel.memory.translate(self.answers.address[rows])
        self._say(rows[status == Status.UNMAPPED], "not mapped")
        if not self.answers.failed:
            self._say(rows[status == Status.PRESENT], "other mapping")
