"""Frames that no page struct tells of: what the kernel maps in its vmalloc area, by whose areas they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.page.classifier import Kind
from kernlab.linux.tasks import find_tasks
from kernlab.linux.thread_stacks import thread_size
from kernlab.linux.vmalloc import VM_ALLOC, VM_MAP, VmAreas, mapped_frames, vm_areas, vmalloc_space
from kernlab.walk.percpu_chunks import percpu_units

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

Kinds = npt.NDArray[np.uint8]


def kernel_owned(kernel: Kernel) -> tuple[tuple[I64, Kinds], bool]:
    """Frames of kernel stacks, vmalloc, vmap and per-CPU chunks: (pfn int64[m], ascending, each once; `Kind`), and
    whether all vmalloc areas are known.

    They are what the page tables map in the areas; whether a frame is in fact something else (vmap maps pages that
    have owners of their own) only its page struct can tell. What cannot be read is reported as lost.
    """
    try:
        with kernel.watched() as losses:
            areas = vm_areas(kernel)
            units = percpu_units(kernel)
            mapped = mapped_frames(kernel, *_ranges(kernel, areas))
    except KernlabError as error:
        kernel.lost(f"which pages are vmalloc's, per-CPU or stacks is not known: {error}")
        return (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)), False
    complete = not losses
    stack_bytes = thread_size(kernel)
    stacks = _stacks(kernel)
    kinds = area_kinds(areas, stacks)
    # What is mapped there belongs to vmalloc even where its area is not known.
    kind = np.full(len(mapped.virtual), Kind.VMALLOC, dtype=np.uint8)
    inside, area = _place(mapped.virtual, areas.start, areas.end)
    kind[inside] = kinds[area]
    inside, _ = _place(mapped.virtual, stacks, stacks + np.uint64(stack_bytes))
    kind[inside] = Kind.KERNEL_STACK
    inside, _ = _place(mapped.virtual, *units)
    kind[inside] = Kind.PERCPU
    known = kind != Kind.OTHER
    pfns = mapped.pfn[known]
    frames = kernel.budget.frames(mapped.frames[known], "frames that the kernel maps")
    ends = np.cumsum(frames)
    total = int(ends[-1]) if len(ends) else 0
    pfn = np.repeat(pfns, frames) + np.arange(total) - np.repeat(ends - frames, frames)
    kind = np.repeat(kind[known], frames)
    pfn, kind = _add_direct_stacks(kernel, stacks, pfn, kind, stack_bytes)
    return each_once(pfn, kind), complete


def each_once(pfn: I64, kind: Kinds) -> tuple[I64, Kinds]:
    """Frames in order, each with one kind: what allocated it rather than what only maps it, else the first given."""
    order = np.lexsort((kind == Kind.VMAP, pfn))
    pfn, kind = pfn[order], kind[order]
    first = np.ones(len(pfn), dtype=bool)
    first[1:] = pfn[1:] != pfn[:-1]
    return pfn[first], kind[first]


def _ranges(kernel: Kernel, areas: VmAreas) -> tuple[U64, U64]:
    """The whole vmalloc space, and areas that lie elsewhere (modules): ascending and apart."""
    space = vmalloc_space(kernel)
    if space is None:
        return areas.start, areas.end
    base, end = space
    outside = (areas.start < np.uint64(base)) | (areas.start >= np.uint64(end))
    start = np.append(areas.start[outside], np.uint64(base))
    ends = np.append(areas.end[outside], np.uint64(end))
    order = np.argsort(start)
    return start[order], ends[order]


def area_kinds(areas: VmAreas, stacks: U64) -> Kinds:
    """What each area is for: KERNEL_STACK, VMALLOC, VMAP, or OTHER (I/O memory, freed areas).

    `stacks` are the lowest addresses of the threads' stacks.
    """
    flags, caller, size = areas.vm["flags"], areas.vm["caller"], areas.vm["size"]
    kinds = np.full(len(areas.start), Kind.OTHER, dtype=np.uint8)
    kinds[flags.has(VM_MAP).true] = Kind.VMAP
    kinds[flags.has(VM_ALLOC).true] = Kind.VMALLOC
    # An area without a vm_struct is one of vm_map_ram, whose pages come from somewhere else.
    kinds[(areas.vm.addresses == 0) & ~areas.unpurged] = Kind.VMAP
    is_stack = np.isin(areas.start, stacks)
    # Stacks that wait for the next thread (cached_stacks) or for a grace period were made in the same place.
    made_by = np.unique(caller.values[is_stack & caller.true])
    sizes = np.unique(size.values[is_stack & size.valid])
    alike = caller.valid & np.isin(caller.values, made_by) & size.valid & np.isin(size.values, sizes)
    kinds[(is_stack | alike) & (kinds == Kind.VMALLOC)] = Kind.KERNEL_STACK
    return kinds


def _stacks(kernel: Kernel) -> U64:
    """The lowest addresses of all threads' stacks; what the tasks table has to say of them is not repeated here."""
    try:
        stack = find_tasks(kernel)["stack"]
    except KernlabError:
        return np.zeros(0, dtype=np.uint64)
    return np.unique(stack.values[stack.true])


def _add_direct_stacks(
    kernel: Kernel, stacks: U64, pfn: I64, kind: Kinds, stack_bytes: int
) -> tuple[I64, Kinds]:
    """Without CONFIG_VMAP_STACK stacks are plain pages of the direct map."""
    first = kernel.layout.direct_frames(stacks)
    first = first[first >= 0]
    frames = (first[:, None] + np.arange(stack_bytes // kernel.page_size)).reshape(-1)
    return np.concatenate([pfn, frames]), np.concatenate(
        [kind, np.full(len(frames), Kind.KERNEL_STACK, dtype=np.uint8)]
    )


def _place(address: U64, start: U64, end: U64) -> tuple[npt.NDArray[np.bool_], I64]:
    """Which addresses lie in one of the ranges [start, end), ascending and apart, and of those in which: (bool[n],
    index int64[k])."""
    if not len(start):
        return np.zeros(len(address), dtype=bool), np.zeros(0, dtype=np.int64)
    place = np.searchsorted(end, address, side="right")
    within: npt.NDArray[np.bool_] = place < len(start)
    within[within] = start[place[within]] <= address[within]
    return within, place[within]
