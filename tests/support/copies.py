"""Many structs side by side in a test's heap, whose members are set for all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.heap import Heap

from kernlab.debuginfo.member_path import resolve


class Copies:
    """`count` copies of the struct that lies at `like`, or of zeros where that is 0; `addresses` uint64[count].

    `rows` uint8[count, bytes] are their bytes in the heap: what is written there, or set, is in the dump.
    """

    def __init__(self, heap: Heap, type_name: str, like: int, count: int, align: int = 64):
        kernel = heap.overlay.kernel
        self._type = kernel.find_type(type_name).strip()
        step = -(-self._type.size // align) * align
        base = heap.alloc(step * count, align)
        whole = np.frombuffer(heap.bytes, dtype=np.uint8)
        self.rows = whole[base - heap.base :][: step * count].reshape(count, step)
        if like:
            data, _ = kernel.memory.read_partial(like, self._type.size)
            self.rows[:, : len(data)] = data
        self.addresses = np.uint64(base) + np.arange(count, dtype=np.uint64) * np.uint64(step)

    def at(self, path: str) -> tuple[int, int]:
        """Where in the struct a member lies, and its size."""
        access = resolve(self._type, path)
        assert len(access.hops) == 1, path
        assert not access.bit_size, path
        return access.hops[0], access.type.size

    def set(self, path: str, values: Any, rows: Any = slice(None)) -> None:
        """Write a number at a member path of all structs, or of some: one for all, or one for each."""
        start, size = self.at(path)
        chosen = np.arange(len(self.rows))[rows]
        given = np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype="<u8"), len(chosen)))
        self.rows[chosen, start : start + size] = given.view(np.uint8).reshape(-1, 8)[:, :size]

    def texts(self, path: str, texts: list[str]) -> None:
        """Write each struct's own text into an array of char."""
        start, size = self.at(path)
        raw = np.array([text.encode() for text in texts], dtype=f"S{size}")
        self.rows[:, start : start + size] = raw.view(np.uint8).reshape(-1, size)

    def empty_lists(self, path: str) -> None:
        """Make list heads that lead to themselves."""
        own = self.addresses + np.uint64(self.at(path)[0])
        self.set(f"{path}.next", own)
        self.set(f"{path}.prev", own)

    def link(self, path: str, before: int, after: int) -> tuple[int, int]:
        """Link all of them, in their order, between two nodes; the first and the last of their own nodes."""
        nodes = self.addresses + np.uint64(self.at(path)[0])
        self.set(f"{path}.next", np.append(nodes[1:], np.uint64(after)))
        self.set(f"{path}.prev", np.append(np.uint64(before), nodes[:-1]))
        return int(nodes[0]), int(nodes[-1])
