"""Ranges of the kernel's address space that somebody owns: threads' stacks, per-CPU variables, areas of vmalloc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.variables import percpu_type
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.page.owners import area_kinds
from kernlab.linux.thread_stacks import thread_size
from kernlab.linux.vmalloc import mapped_frames, vm_areas, vmalloc_space
from kernlab.linux.whatis.threads import threads
from kernlab.walk.cpus import possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Ranges:
    """M ranges [start, end), ascending: uint64[m] each; what to call each one and what kind of thing it is."""

    start: U64
    end: U64
    name: Texts
    kind: Texts

    def around(self, address: U64) -> tuple[Mask, I64]:
        """Which addresses lie in one of them, and those in which: (bool[n], int64[hits])."""
        return inside(address, self.start, self.end)


def inside(address: U64, start: U64, end: U64) -> tuple[Mask, I64]:
    """Which addresses lie in one of the ranges (ascending), and those in which: (bool[n], int64[hits])."""
    if not len(start):
        return np.zeros(len(address), dtype=bool), np.zeros(0, dtype=np.int64)
    at = np.searchsorted(start, address, side="right").astype(np.int64) - 1
    hit = (at >= 0) & (address < end[at])
    return hit, at[hit]


@fact
def stacks(kernel: Kernel) -> Ranges:
    """The kernel stack of each thread, called by it: "comm (pid)"."""
    every = threads(kernel)
    stack = every.task["stack"]
    order = np.flatnonzero(stack.true)
    order = order[np.argsort(stack.values[order], kind="stable")]
    start = stack.values[order]
    end = start + np.uint64(thread_size(kernel))
    return Ranges(start, end, every.name[order], _same("kernel stack", len(order)))


@fact
def vmalloc_areas(kernel: Kernel) -> Ranges:
    """Areas of vmalloc and of modules, called by the function that asked for each."""
    areas = vm_areas(kernel)
    kinds = np.array(KIND_NAMES, dtype=object)[area_kinds(areas, stacks(kernel).start)]
    kinds[kinds == KIND_NAMES[Kind.OTHER]] = "vmalloc area"
    caller = areas.vm["caller"]
    names = np.array([bare(name) for name in kernel.symbolize(caller.values)], dtype=object)
    names[~caller.valid] = None
    return Ranges(areas.start, areas.end, names, kinds)


def mapped_elsewhere(kernel: Kernel, frames: I64) -> tuple[Mask, U64]:
    """Where the vmalloc space maps frames int64[n]: (bool[n], uint64[hits], the virtual addresses of their pages)."""
    space = vmalloc_space(kernel)
    if not len(frames) or space is None:
        return np.zeros(len(frames), dtype=bool), np.zeros(0, dtype=np.uint64)
    # Modules lie in areas of their own, outside of the vmalloc space.
    areas = vm_areas(kernel)
    low, high = (np.uint64(bound) for bound in space)
    outside = (areas.start < low) | (areas.start >= high)
    start, end = np.append(areas.start[outside], low), np.append(areas.end[outside], high)
    order = np.argsort(start)
    mapped = mapped_frames(kernel, start[order], end[order])
    order = np.argsort(mapped.pfn, kind="stable")
    pfn, count, virtual = mapped.pfn[order], mapped.frames[order], mapped.virtual[order]
    hit, at = inside(frames.astype(np.uint64), pfn.astype(np.uint64), (pfn + count).astype(np.uint64))
    return hit, virtual[at] + (frames[hit] - pfn[at]).astype(np.uint64) * np.uint64(kernel.page_size)


@dataclass(frozen=True, slots=True)
class PercpuVariables:
    """The kernel's own per-CPU variables: where each begins and ends in the image (uint64[m], ascending), its name and
    C type; and where each CPU's copy of them all begins, `start` uint64[cpus] (ascending) of the CPUs `cpu`."""

    value: U64
    end: U64
    name: list[str]
    type: list[str]
    start: U64
    cpu: I64
    low: np.uint64
    bytes: np.uint64


@fact
def percpu_variables(kernel: Kernel) -> PercpuVariables | None:
    """The per-CPU variables that are linked into the kernel; None where its symbols do not say where they are."""
    symbols = kernel.symbols
    low, high = symbols.get("__per_cpu_start"), symbols.get("__per_cpu_end")
    if low is None or high is None:
        return None
    cpu = possible_cpus(kernel)
    start = kernel.percpu_offsets[cpu] + np.uint64(low)
    by_start = np.argsort(start)
    rows = np.flatnonzero((symbols.addresses >= np.uint64(low)) & (symbols.addresses < np.uint64(high)))
    rows = rows[np.argsort(symbols.addresses[rows], kind="stable")]
    if not len(rows):
        return None
    value = symbols.addresses[rows]
    every = symbols.names()
    names = [every[row] for row in rows.tolist()]
    types = [kind.c_name if (kind := percpu_type(kernel, name)) is not None else "" for name in names]
    return PercpuVariables(
        value,
        np.append(value[1:], np.uint64(high)),
        names,
        types,
        start[by_start],
        cpu[by_start],
        np.uint64(low),
        np.uint64(high - low),
    )


def bare(name: str | None) -> str | None:
    """`name [module]` of `name+0x0/0x80 [module]`."""
    if name is None:
        return None
    head, _, rest = name.partition("+")
    module = rest.partition(" ")[2]
    return f"{head} {module}" if module else head


def _same(text: str, count: int) -> Texts:
    return np.full(count, text, dtype=object)
