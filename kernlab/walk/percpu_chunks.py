"""The chunks of the per-CPU allocator: which virtual addresses they have on every CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]

#: More slots (lists of chunks by the room that they have) than this are damage; kernels have about twenty.
_MOST_SLOTS = 1 << 10

#: Each CPU's unit of a chunk has at least so much memory of its own that is in use.
_SMALLEST_UNIT = 1 << 8

#: No unit is larger than this many pages (PCPU_MIN_UNIT_SIZE is 32 KiB, usual ones are 2 MiB).
_MOST_UNIT_PAGES = 1 << 20


@fact
def percpu_units(kernel: Kernel) -> tuple[U64, U64]:
    """Every CPU's unit of every chunk: (start uint64[m], end uint64[m], exclusive), ascending.

    The first chunk is among them; where it lies in the direct map its pages are reserved ones. Mirrors mm/percpu.c
    (pcpu_chunk_addr); chunks that are full, or kept for reserved areas, hang on the same lists.
    """
    nothing = np.zeros(0, dtype=np.uint64)
    try:
        slots = kernel.word("pcpu_nr_slots", 4)
        # Linux commit 3c7be18ac9a0 ("mm: memcg/percpu: account percpu memory to memory cgroups") (in v5.9).
        old = kernel.symbols.get("pcpu_chunk_lists") is None and kernel.symbols.get("pcpu_slot") is not None
        lists = kernel.word("pcpu_slot" if old else "pcpu_chunk_lists")
        offsets = kernel.word("pcpu_unit_offsets")
        units = kernel.word("pcpu_nr_units", 4)
        pages = kernel.word("pcpu_unit_pages", 4)
    except KernlabError as error:
        kernel.lost(f"the chunks of per-CPU memory cannot be found: {error}")
        return nothing, nothing
    # From v5.9 to v5.13 chunks for memory cgroups had lists of their own.
    slots *= kernel.types.enumerator_or_none("PCPU_NR_CHUNK_TYPES") or 1
    if slots > _MOST_SLOTS or units > kernel.arch.most_cpus or pages > _MOST_UNIT_PAGES:
        kernel.lost("the per-CPU allocator's own numbers are damaged; its chunks were not looked for")
        return nothing, nothing
    size = kernel.find_type("struct list_head").size
    heads = np.uint64(lists) + np.arange(slots, dtype=np.uint64) * np.uint64(size)
    _, chunk = list_entries(kernel, heads, "struct pcpu_chunk", "list", what="the chunks of per-CPU memory")
    if not kernel.budget.holds(len(chunk) * units, _SMALLEST_UNIT):
        kernel.lost("the per-CPU allocator's own numbers are damaged; its chunks were not looked for")
        return nothing, nothing
    base = chunk["base_addr"]
    offset, read = kernel.words(
        np.uint64(offsets) + np.arange(units, dtype=np.uint64) * np.uint64(8), what="places of per-CPU units"
    )
    start = np.sort((base.values[base.valid][:, None] + offset[read][None, :]).reshape(-1))
    return start, start + np.uint64(pages * kernel.page_size)
