"""The kernel's log: the records of its lockless ring buffer and their texts (kernel/printk/printk_ringbuffer.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import Type
from kernlab.debuginfo.vmcoreinfo_types import log_types
from kernlab.errors import KernlabError, TypesLostError
from kernlab.util import text

#: Larger rings are taken for damage (CONFIG_LOG_BUF_SHIFT ends at 25, log_buf_len= at 2 GiB).
_LARGEST_TEXT = 1 << 31


_MOST_DESCRIPTORS = 1 << 26


# kernel/printk/printk_ringbuffer.h
_STATE_SHIFT = 62


_COMMITTED, _FINALIZED = 1, 2


_ID_MASK = np.uint64((1 << _STATE_SHIFT) - 1)


_NO_TEXT = np.uint64(1)


_FAILED = np.uint64(1)


_CALLER_IS_CPU = 0x80000000


def _type(kernel: Kernel, name: str) -> Type:
    """A type of the log: the kernel's own, or where these are lost what VMCOREINFO says of it, as makedumpfile does."""
    try:
        return kernel.find_type(name)
    except TypesLostError:
        known = log_types(kernel.vmcoreinfo).get(name)
        if known is None:
            raise
        return known


def callers(infos: StructArray) -> list[str]:
    """`T12` or `C0` per record, '' where the kernel was built without CONFIG_PRINTK_CALLER (print_caller)."""
    if not infos.has("caller_id"):
        return [""] * len(infos)
    ids = infos["caller_id"].values.tolist()
    return [f"C{i & ~_CALLER_IS_CPU}" if i & _CALLER_IS_CPU else f"T{i}" for i in ids]


@dataclass(frozen=True)
class Ring:
    """One printk_ringbuffer: its descriptor ring and its text."""

    kernel: Kernel
    prb: StructArray
    count_bits: int
    head: int
    tail: int
    size_bits: int
    data: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, kernel: Kernel) -> Ring:
        """The ring that `prb` points to. Raises KernlabError where its frame is damaged."""
        if kernel.find_symbol("prb") is None:
            raise KernlabError("this kernel keeps no log (CONFIG_PRINTK is off)")
        pointer = kernel.word("prb")
        prb = StructArray(kernel, _type(kernel, "struct printk_ringbuffer"), [pointer])

        def number(path: str) -> int:
            column = prb[path]
            if not column.valid[0]:
                raise KernlabError(
                    f"the log cannot be read: {path} of printk_ringbuffer at {pointer:#x} is missing"
                )
            return int(column.values[0])

        count_bits, size_bits = number("desc_ring.count_bits"), number("text_data_ring.size_bits")
        if not 0 < count_bits < 32 or 1 << count_bits > _MOST_DESCRIPTORS or 1 << size_bits > _LARGEST_TEXT:
            raise KernlabError(
                f"the log cannot be read: printk_ringbuffer at {pointer:#x} claims 2^{count_bits} records and "
                f"2^{size_bits} bytes of text"
            )
        data, readable = kernel.memory.read_partial(number("text_data_ring.data"), 1 << size_bits)
        head, tail = number("desc_ring.head_id.counter"), number("desc_ring.tail_id.counter")
        return cls(kernel, prb, count_bits, head, tail, size_bits, data, readable)

    def records(self) -> tuple[StructArray, StructArray, npt.NDArray[np.uint64]]:
        """Descriptors, infos and sequence numbers of the records between tail and head that are whole."""
        count = 1 << self.count_bits
        # Ids wrap at 62 bits; the ring holds at most `count` of them.
        span = ((self.head - self.tail) & int(_ID_MASK)) + 1
        if span > count:
            self.kernel.lost(
                f"the log: head and tail lie {span:,} ids apart in a ring of {count:,}; all were read"
            )
            span = count
        ids = np.uint64(self.head & int(_ID_MASK)) - np.arange(span, dtype=np.uint64)[::-1] & _ID_MASK
        slots = ids & np.uint64(count - 1)
        descriptors = self._ring("desc_ring.descs", "struct prb_desc", slots)
        infos = self._ring("desc_ring.infos", "struct printk_info", slots)
        var = descriptors["state_var.counter"]
        bits = var.values.view(np.uint64)
        state = bits >> np.uint64(_STATE_SHIFT)
        whole = (state == _COMMITTED) | (state == _FINALIZED)
        mine = var.valid & whole & ((bits & _ID_MASK) == ids)
        sequence = infos["seq"]
        lost = int((~var.valid | (mine & ~sequence.valid)).sum())
        if lost:
            self.kernel.lost(f"the log: {lost:,} of {span:,} records lie on pages that the dump lacks")
        keep = np.flatnonzero(mine & sequence.valid)
        keep = keep[np.argsort(sequence.values[keep], kind="stable")]
        return descriptors[keep], infos[keep], sequence.values[keep]

    def _ring(self, path: str, type_name: str, slots: npt.NDArray[np.uint64]) -> StructArray:
        base = self.prb[path]
        element = _type(self.kernel, type_name)
        start = np.uint64(base.values[0])
        where = start + slots * np.uint64(element.size)
        return StructArray(self.kernel, element, where, np.repeat(base.valid, len(slots)))

    def texts(self, descriptors: StructArray, infos: StructArray) -> tuple[Column, int]:
        """The records' texts, and how many are lost (printk_ringbuffer.c, get_data)."""
        begin, after = descriptors["text_blk_lpos.begin"].values, descriptors["text_blk_lpos.next"].values
        length = infos["text_len"].int64.filled(0)
        size = np.uint64(1 << self.size_bits)
        first, last = begin & (size - np.uint64(1)), after & (size - np.uint64(1))
        # A block that would cross the end of the ring lies at its start instead; its id word lies there too.
        # Positions begin one ring below 2^64, so the first wrap is one of 64 bits as well.
        wrapped = (begin + size) >> np.uint64(self.size_bits) == after >> np.uint64(self.size_bits)
        wrapped &= last != 0
        # Each block begins with its descriptor's id.
        before = resolve(_type(self.kernel, "struct prb_data_block"), "data").hops[-1]
        start = np.where(wrapped, np.uint64(0), first).astype(np.int64) + before
        end = np.where((last == 0) & ~wrapped, size, last).astype(np.int64)
        empty = ((begin & _NO_TEXT) != 0) & ((after & _NO_TEXT) != 0)
        stored = np.clip(np.minimum(length, end - start), 0, None)
        ids = descriptors["state_var.counter"].values.view(np.uint64) & _ID_MASK
        oldest = np.uint64(self.prb["text_data_ring.tail_lpos.counter"].values.view(np.uint64)[0])
        gone = ~empty & ((begin - oldest).view(np.int64) < 0)
        # The ring had no room for these texts; an empty line is marked otherwise.
        gone |= (begin == _FAILED) & (after == _FAILED)
        words = self.data.view("<u8")
        # Another one's id means that the text was overwritten.
        gone |= ~empty & ((words[np.clip(start - before, 0, int(size) - 8) // 8] & _ID_MASK) != ids)
        values: list[Any] = []
        valid = np.ones(len(descriptors), dtype=bool)
        for row in range(len(descriptors)):
            if empty[row] and not gone[row]:
                values.append("")
                continue
            part = slice(int(start[row]), int(start[row] + stored[row]))
            if gone[row] or not self.readable[part].all():
                values.append("")
                valid[row] = False
                continue
            values.append(text.decode(self.data[part].tobytes()))
        return Column.of(values, valid, "text"), int((~valid).sum())
