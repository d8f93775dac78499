"""What trace buffers are set to: their clocks, the size of their sub-buffers, and the CPUs that have a ring.

Each of these the kernel keeps in two places or more; what one of them cannot be, or the others contradict, is decided
for the rest, and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.core.variables import nameless_type
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import PointerType
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: A larger order of a sub-buffer is damage.
LARGEST_ORDER = 10

#: There are fewer clocks than this (kernel/trace/trace.c, trace_clocks).
_MOST_CLOCKS = 32

#: What lies before the events of a sub-buffer (struct buffer_data_page), and before the data of the largest event.
_PAGE_HEADER, _EVENT_HEADER = 16, 8


def _clocks(kernel: Kernel) -> StructArray | None:
    """The table of trace clocks; None where it is not known where it lies."""
    table, kind = (
        kernel.symbols.get("trace_clocks"),
        nameless_type(kernel, "trace_clocks", "func", "name", "in_ns"),
    )
    if table is None or kind is None:
        return None
    count = min(kernel.symbols.room(table) // kind.size, _MOST_CLOCKS)
    return StructArray(
        kernel, kind, np.uint64(table) + np.arange(count, dtype=np.uint64) * np.uint64(kind.size)
    )


def read_clocks(kernel: Kernel) -> list[tuple[str, bool]]:
    """(name, whether it counts nanoseconds) of every trace clock by its number; ('', True) where it cannot be read."""
    clocks = _clocks(kernel)
    if clocks is None:
        return []
    names, in_ns = c_strings(kernel, clocks["name"], 64), clocks["in_ns"]
    return [
        ("", True) if name is None or flag is None else (name, bool(flag))
        for name, flag in zip(names, in_ns, strict=True)
    ]


def clock_numbers(
    kernel: Kernel, labels: Sequence[str], arrays: StructArray, buffers: StructArray
) -> list[int | None]:
    """The number of each trace instance's clock, None where it is not known; `buffers` are its trace buffers.

    The instance says the number, its buffer the function, by which the times were taken (tracing_set_clock).
    """
    said = arrays["clock_id"].tolist()
    clocks = _clocks(kernel)
    if clocks is None:
        return said
    functions, used = clocks["func"].tolist(), buffers["clock"].tolist()
    found: list[int | None] = []
    for label, number, function in zip(labels, said, used, strict=True):
        listed = number is not None and 0 <= number < len(functions)
        real = functions.index(function) if function and function in functions else None
        if real is not None and real != number:
            was = "cannot be read" if number is None else f"is {number:,}"
            kernel.lost(
                f"{label}: the number of its clock {was}, but its buffer takes times by the clock {real}"
            )
        elif real is None and not listed:
            was = "cannot be read" if number is None else f"is {number:,}, of which there is none"
            kernel.lost(f"{label}: its clock is not known: its number {was}")
        found.append(real if real is not None else number if listed else None)
    return found


def subbuf_sizes(kernel: Kernel, labels: Sequence[str], buffers: StructArray) -> list[int | None]:
    """Bytes of each trace buffer's sub-buffers, None where they are not known.

    Since v6.8 they are a setting (buffer_subbuf_size_kb), which the order, the sizes that follow from it and each
    sub-buffer say; before, each sub-buffer is a page.
    """
    if not buffers.has("subbuf_order"):
        return [kernel.page_size if valid else None for valid in buffers.valid.tolist()]
    page = kernel.page_size
    sizes = {1 << order: order for order in range(LARGEST_ORDER + 1)}
    votes: list[list[int | None]] = [
        [order if order is not None and order <= LARGEST_ORDER else None for order in buffers["subbuf_order"]]
    ]
    for member, before in (("subbuf_size", _PAGE_HEADER), ("max_data_size", _PAGE_HEADER + _EVENT_HEADER)):
        if buffers.has(member):
            whole = (buffers[member] + before).tolist()
            votes.append([None if size is None or size % page else sizes.get(size // page) for size in whole])
    with kernel.quiet():
        votes.append(_of_reader_pages(kernel, buffers))
    found: list[int | None] = []
    for label, valid, *orders in zip(labels, buffers.valid.tolist(), *votes, strict=True):
        known = Counter(order for order in orders if order is not None)
        if not valid:
            found.append(None)
        elif not known:
            kernel.lost(f"{label}: the size of its sub-buffers is not known, so that its events are not")
            found.append(None)
        else:
            order = known.most_common(1)[0][0]
            if orders[0] is None or len(known) > 1:
                kernel.lost(
                    f"{label}: what it says of the size of its sub-buffers cannot be true; they are taken for "
                    f"{page << order:,} bytes, as most of it says"
                )
            found.append(page << order)
    return found


def _of_reader_pages(kernel: Kernel, buffers: StructArray) -> list[int | None]:
    """The order of a sub-buffer of each trace buffer: of the reader's page of its first ring."""
    slots = buffers["buffers"]
    count = len(kernel.percpu_offsets)
    where = slots.values[:, None] + np.arange(count, dtype=np.uint64)[None, :] * np.uint64(8)
    pointers, read = kernel.words(where.reshape(-1))
    rows = np.where(read, pointers, np.uint64(0)).reshape(len(buffers), count)
    first = np.array([next((p for p in row.tolist() if p), 0) for row in rows], dtype=np.uint64)
    rings = StructArray(kernel, "struct ring_buffer_per_cpu", first, slots.valid)
    page = rings.follow("reader_page", "struct buffer_page")
    if not page.has("order"):
        return [None] * len(buffers)
    orders: list[int | None] = page["order"].tolist()
    return [order if order is not None and order <= LARGEST_ORDER else None for order in orders]


def ring_cpus(kernel: Kernel, buffers: StructArray) -> tuple[Mask, Mask]:
    """Which CPUs have a ring in each trace buffer, by its mask: (bool[n, CPUs], bool[n] of what is known)."""
    count = len(kernel.percpu_offsets)
    # With CONFIG_CPUMASK_OFFSTACK a pointer, else the mask itself, in an array of one.
    access = resolve(buffers.type, "cpumask")
    if isinstance(access.type, PointerType):
        with kernel.quiet():
            column = buffers["cpumask"]
        where, known = column.values, column.true
    else:
        _, inside = buffers.elements("cpumask")
        where, known = inside.addresses, inside.valid
    found = np.zeros((len(buffers), count), dtype=bool)
    with kernel.quiet():
        owner, cpu, read = bitmap_bits(kernel, where, count)
    found[owner, cpu] = True
    return found, known & read
