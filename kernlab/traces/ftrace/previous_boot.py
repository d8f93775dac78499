"""What the boot before left in memory that outlives a reboot: which sub-buffers are its, where its addresses lie now.

Mirrors kernel/trace/ring_buffer.c (rb_meta_validate_events: a kernel that finds sound sub-buffers takes them over) and
kernel/trace/trace.c (trace_adjust_address, setup_trace_scratch). Kernels empty such a buffer before they record into
it, but for 6.12 where it was put to the same place as before, and for marks of user space.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.traces.ftrace.buffers import MAIN, Instance, Ring
from kernlab.traces.ftrace.pages import commits
from kernlab.traces.ftrace.shift import Piece, Shift
from kernlab.traces.ftrace.source import NATIVE
from kernlab.util.addresses import wrapped

Mask = npt.NDArray[np.bool_]

#: Counters that are of both boots where a ring has events of both.
_SHARED = ("entries", "overrun", "read")
#: A module ends where the next one begins; the last one no later than this (MODULES_VADDR to MODULES_END is less).
_MOST_MODULE = 1 << 30
#: ring_buffer.c, RING_BUFFER_META_MAGIC.
_MAGIC = 0xBADFEED
#: There are fewer reserved regions with names (mm/memblock.c, RESERVE_MEM_MAX_ENTRIES).
_MOST_REGIONS = 64
#: A larger scratch area is damage (trace.c makes it of a page).
_MOST_SCRATCH = 1 << 20


def part_boots(kernel: Kernel, instances: list[Instance]) -> list[Instance]:
    """Instances, those with events of two boots parted in two; `previous` and `shift` are filled in."""
    found: list[Instance] = []
    for instance in instances:
        found.append(instance)
        rings = [ring for ring in instance.rings if ring.buffer == MAIN and ring.untouched is not None]
        if not rings:
            continue
        held = [_holds_events(kernel, ring) for ring in rings]
        old = [holds & _untouched(ring) for ring, holds in zip(rings, held, strict=True)]
        if not any(pages.any() for pages in old):
            continue
        mixed = any((holds & ~pages).any() for holds, pages in zip(held, old, strict=True))
        before = replace(instance, name=f"{instance.name} (previous boot)", rings=[]) if mixed else instance
        before.previous, before.shift = True, _shift(kernel, instance)
        before.clock_id = _clock(kernel, instance)
        if mixed:
            kernel.lost(
                f"trace instance {instance.name!r} holds events of two boots: those of the boot before are in "
                f"{before.name!r}; how many of each there should be is not known where a CPU has both"
            )
            for ring, pages, holds in zip(rings, old, held, strict=True):
                _part(ring, before, pages, both=bool((holds & ~pages).any()))
            found.append(before)
        kernel.lost(
            f"trace instance {before.name!r} holds events of the boot before, by the clock of that boot; they are read "
            "by the formats of this boot's kernel: if another kernel recorded them, they are not what they seem"
        )
    return found


def tell_untaken(kernel: Kernel, instances: list[Instance]) -> None:
    """Tell of reserved memory (reserve_mem=) that holds a trace which this boot's kernel was not told to take over."""
    table, kind = kernel.symbols.get("reserved_mem_table"), kernel.types.get("struct reserve_mem_table")
    if table is None or not isinstance(kind, StructType):
        return
    count = min(kernel.symbols.room(table) // kind.size, _MOST_REGIONS)
    rows = np.arange(count, dtype=np.uint64)
    regions = StructArray(kernel, kind, np.uint64(table) + rows * np.uint64(kind.size))
    with kernel.quiet():
        start, size, names = regions["start"], regions["size"], regions["name"].text
    where = start.filled(0).astype(np.uint64) + np.uint64(kernel.layout.direct_start)
    magic, status = kernel.gather(where, 4, "")
    begins = (status == 0) & (size.filled(0) > 0) & (magic.view("<u4")[:, 0] == _MAGIC)
    # Until 6.15 instances lie in a mapping of their own, later in the direct one.
    ranges = np.array([instance.range_start or 0 for instance in instances], dtype=np.uint64)
    physical, mapped = kernel.memory.translate(ranges)
    taken = set(physical[(mapped == 0) & (ranges != 0)].tolist())
    for row in np.flatnonzero(begins).tolist():
        if int(start.values[row]) not in taken:
            told = f"{names[row]!r} at {int(start.values[row]):#x} ({int(size.values[row]):,} bytes)"
            kernel.lost(
                f"reserved memory {told} holds a trace of an earlier boot that no instance of this boot took over "
                "(trace_instance=): it is left out"
            )


def _untouched(ring: Ring) -> Mask:
    return np.zeros(len(ring.pages), dtype=bool) if ring.untouched is None else ring.untouched


def _holds_events(kernel: Kernel, ring: Ring) -> Mask:
    headers, status = kernel.gather(ring.pages, NATIVE.header, "")
    there: Mask = (status == 0) & (commits(headers) > 0)
    return there


def _part(ring: Ring, before: Instance, old: Mask, *, both: bool) -> None:
    """Give the sub-buffers of the boot before to an instance of its own; what the ring counted, if it had no others."""
    if not old.any():
        return
    counters = {name: count for name, count in ring.counters.items() if name not in _SHARED}
    consumed = ring.consumed if old[0] else 0
    theirs = dict(counters) if both else ring.counters
    before.rings.append(
        replace(ring, instance=before, pages=ring.pages[old], consumed=consumed, counters=theirs)
    )
    ring.pages, ring.counters, ring.consumed = ring.pages[~old], counters, ring.consumed - consumed


def _clock(kernel: Kernel, instance: Instance) -> int | None:
    """The number of the clock that the boot before took times by, None where this kernel does not keep it (6.12)."""
    array = StructArray(kernel, "struct trace_array", [instance.address])
    if array.has("scratch"):
        scratch = array.follow("scratch", "struct trace_scratch")
        if scratch.has("clock_id"):
            with kernel.quiet():
                number: int | None = scratch["clock_id"][0]
            return number
    return None


def _shift(kernel: Kernel, instance: Instance) -> Shift:
    """Where addresses that the boot before recorded lie now."""
    array = StructArray(kernel, "struct trace_array", [instance.address])
    text_delta = array["text_delta"].int64[0] if array.has("text_delta") else None
    # 6.12 tells of data by itself; later both are what the kernel as a whole was moved by.
    data_delta = array["data_delta"].int64[0] if array.has("data_delta") else text_delta
    label = f"trace instance {instance.name!r}: where addresses of the boot before lie now is not known"
    if text_delta is None or data_delta is None:
        kernel.lost(f"{label}: the dump lacks by how much the kernel was moved")
        return Shift([])
    try:
        found = image(kernel, text_delta, data_delta)
    except KernlabError as error:
        kernel.lost(f"{label}: {error}")
        return Shift([])
    if array.has("module_delta"):
        found += _modules(kernel, array, label)
    return Shift(found)


def image(kernel: Kernel, text_delta: int, data_delta: int) -> list[Piece]:
    """The kernel's own image. Raises KernlabError."""
    start, middle, end = (kernel.symbol(name) for name in ("_text", "_etext", "_end"))
    return [
        Piece((start - text_delta) % (1 << 64), (middle - text_delta) % (1 << 64), text_delta),
        Piece((middle - data_delta) % (1 << 64), (end - data_delta) % (1 << 64), data_delta),
    ]


def _modules(kernel: Kernel, array: StructArray, label: str) -> list[Piece]:
    """Modules that the boot before had (since 6.15): where each began, and how much further on it lies now."""
    scratch = array.follow("scratch", "struct trace_scratch")
    entry = kernel.find_type("struct trace_mod_entry")
    room, claimed = array["scratch_size"][0], scratch["nr_entries"][0]
    deltas = array["module_delta"][0]
    if room is None or claimed is None or deltas is None:
        kernel.lost(f"{label} in modules: the dump lacks their table")
        return []
    room = min(room, _MOST_SCRATCH) - scratch.type.size
    if not deltas or not claimed:
        return []
    if claimed * entry.size > room:
        kernel.lost(f"{label} in modules: {claimed:,} of them is more than their table has room for")
        return []
    number = np.arange(claimed, dtype=np.uint64)
    entries = StructArray(
        kernel, entry, scratch.addresses[0] + np.uint64(scratch.type.size) + np.uint64(entry.size) * number
    )
    begins, names = entries["mod_addr"], entries["mod_name"].text
    first = wrapped(deltas + kernel.find_type("struct trace_module_delta").size)
    moved, read = kernel.words(first + np.uint64(8) * number, what="")
    rows = np.flatnonzero(begins.true & names.valid & read)
    # They are sorted by where they begin; damage is not.
    rows = rows[np.argsort(begins.values[rows], kind="stable")]
    starts = begins.values[rows].tolist()
    ends = [*starts[1:], min(starts[-1] + _MOST_MODULE, (1 << 64) - 1)] if starts else []
    columns = zip(starts, ends, moved[rows].view(np.int64).tolist(), names.values[rows].tolist(), strict=True)
    return [Piece(start, end, delta, str(name)) for start, end, delta, name in columns]
