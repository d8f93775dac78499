"""Stacks that the kernel keeps (lib/stackdepot.c), laid out in the memory of a test."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from support.heap import PAGE, Heap


def handle_of(name: str, index: int, offset: int, extra: int = 0) -> int:
    """A depot_stack_handle_t as lib/stackdepot.c packs it."""
    if name == "debian-6.1":
        # slabindex:16, offset:10, valid:1, extra:5
        return index | offset << 16 | 1 << 26 | extra << 27
    # pool_index_plus_1:17, offset:10, extra:5
    return index + 1 | offset << 17 | extra << 27


def depot(heap: Heap, name: str, stacks: Iterable[list[int]]) -> list[int]:
    """Records of stacks in the depot's third pool; their handles."""
    dump, kernel = heap.overlay.below, heap.overlay.kernel
    pool = heap.alloc(4 * PAGE, align=PAGE)
    handles = []
    at = 0
    entries = heap.overlay.where("struct stack_record", pool, "entries")[0] - pool
    for stack in stacks:
        handle = handle_of(name, 2, at >> 4)
        heap.member("struct stack_record", pool + at, "size", len(stack))
        heap.member("struct stack_record", pool + at, "handle.handle", handle)
        heap.put(pool + at + entries, struct.pack(f"<{len(stack)}Q", *stack))
        handles.append(handle)
        at += -(-(entries + 8 * len(stack)) // 16) * 16
    if kernel.find_symbol("stack_max_pools") is not None:
        heap.overlay.word(dump.symbol("stack_pools"), heap.words([0, 0, pool, 0]))
        heap.overlay.word(dump.symbol("stack_max_pools"), 4, 4)
    else:
        symbol = "stack_slabs" if name == "debian-6.1" else "stack_pools"
        heap.overlay.word(dump.symbol(symbol) + 16, pool)
    return handles
