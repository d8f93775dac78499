"""Code tags of memory allocation profiling (lib/alloc_tag.c): every place in the source that allocates, summed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.walk.cpus import percpu_many, possible_cpus
from kernlab.walk.xarray import idr_entries

I64 = npt.NDArray[np.int64]

#: Parts of counters that are read at a time.
_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class CodeTags:
    """N places: their struct alloc_tag, and what each has allocated and not freed (bytes, and how many times)."""

    tag: StructArray
    bytes: Column
    calls: Column


def why_none(kernel: Kernel) -> str:
    """Why nobody counts; '' where there are tags."""
    # The type is in kernels without the option, too, and so are the section's symbols.
    place = kernel.find_symbol("alloc_tag_cttype")
    if place is None or kernel.type_or_none("struct codetag_type") is None:
        return "memory allocation profiling is off in this kernel (CONFIG_MEM_ALLOC_PROFILING)"
    pointer, read = kernel.words([place], what="")
    # codetag_register_type gives an error's number where it failed.
    if not read[0] or pointer[0] < kernel.page_size or pointer[0] > np.uint64((1 << 64) - 4096):
        return (
            "memory allocation profiling is off on this machine: it was switched off at boot (mem_profiling)"
        )
    return ""


def code_tags(kernel: Kernel) -> CodeTags:
    """All tags, the kernel's own first, then each module's, as /proc/allocinfo lists them; where `why_none` is ''."""
    kind = StructArray(kernel, "struct codetag_type", [kernel.word("alloc_tag_cttype")])
    _, _, pointer = idr_entries(kernel, kind.follow("mod_idr").addresses, what="modules with code tags")
    module = StructArray(kernel, "struct codetag_module", pointer)
    start, stop = module["range.start"], module["range.stop"]
    size = kernel.find_type("struct alloc_tag").size
    # A module that was removed leaves its place without a range.
    span = (stop - start).int64.filled(0)
    counts = kernel.budget.counts(span.clip(min=0) // size, size, "code tags")
    owner = np.repeat(np.arange(len(module)), counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = start.filled(0).astype(np.uint64)
    inner = first[owner] + index.astype(np.uint64) * np.uint64(size)
    tag = container(kernel, "struct alloc_tag", "ct", inner)
    sums = _sums(kernel, tag)
    return CodeTags(tag, *sums)


def _sums(kernel: Kernel, tag: StructArray) -> tuple[Column, Column]:
    """The CPUs' counters of each tag, added (alloc_tag_read); a CPU that only frees has less than nothing."""
    pointer = tag["counters"]
    numbers = possible_cpus(kernel)
    kind = kernel.find_type("struct alloc_tag_counters")
    totals = [np.zeros(len(tag), dtype=np.int64) for _ in range(2)]
    known = pointer.true
    rows = np.flatnonzero(known)
    step = max(1, _AT_ONCE // max(len(numbers), 1))
    for begin in range(0, len(rows), step):
        piece = rows[begin : begin + step]
        where = percpu_many(kernel, pointer.values[piece].astype(np.uint64), numbers)
        parts = StructArray(kernel, kind, where.reshape(-1)).prefetch("bytes", "calls")
        for total, member in zip(totals, ("bytes", "calls"), strict=True):
            column = parts[member]
            # They wrap round, so that the sum is right though a part is not.
            total[piece] = column.values.view(np.int64).reshape(where.shape).sum(axis=1)
            known[piece] &= column.valid.reshape(where.shape).all(axis=1)
    return Column.of(totals[0], known), Column.of(totals[1], known)
