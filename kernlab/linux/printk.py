"""The kernel's log since Linux 5.10: the records of its lockless ring buffer (kernel/printk/printk_ringbuffer.c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import Type
from kernlab.debuginfo.vmcoreinfo_types import log_types
from kernlab.errors import KernlabError, TypeNotFoundError, TypesLostError
from kernlab.util import text

#: Larger rings are taken for damage (CONFIG_LOG_BUF_SHIFT ends at 25, log_buf_len= at 2 GiB).
_LARGEST_TEXT_BITS, _MOST_DESCRIPTOR_BITS = 31, 26

# kernel/printk/printk_ringbuffer.h
_STATE_SHIFT = 62
_RESERVED, _COMMITTED, _FINALIZED, _REUSABLE = 0, 1, 2, 3
_ID_MASK = np.uint64((1 << _STATE_SHIFT) - 1)
_NO_TEXT = np.uint64(1)
_FAILED = np.uint64(1)

#: A text block begins with an id of 8 bytes.
_ID_BITS = 3

#: How far behind the newest record one may be that is not yet written: all CPUs may be at it.
_MOST_WRITERS = 64


def log_type(kernel: Kernel, name: str) -> Type:
    """A type of the log: the kernel's own, or where these are lost what VMCOREINFO says of it, as makedumpfile does.

    Raises TypesLostError, TypeNotFoundError where neither is there.
    """
    try:
        return kernel.find_type(name)
    except (TypesLostError, TypeNotFoundError):
        known = log_types(kernel.vmcoreinfo).get(name)
        if known is None:
            raise
        return known


@dataclass(frozen=True)
class Records:
    """Records, oldest first: their descriptors and infos, `ids` uint64[n] by which the ring knows them, and
    `sequence` uint64[n], the numbers by which its readers do."""

    descriptors: StructArray
    infos: StructArray
    ids: npt.NDArray[np.uint64]
    sequence: npt.NDArray[np.uint64]


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
        prb = StructArray(kernel, log_type(kernel, "struct printk_ringbuffer"), [pointer])

        def number(path: str) -> int:
            column = prb[path]
            if not column.valid[0]:
                raise KernlabError(
                    f"the log cannot be read: {path} of printk_ringbuffer at {pointer:#x} is missing"
                )
            return int(column.values[0])

        count_bits, size_bits = number("desc_ring.count_bits"), number("text_data_ring.size_bits")
        each = sum(log_type(kernel, name).size for name in ("struct prb_desc", "struct printk_info"))
        records = 0 < count_bits <= _MOST_DESCRIPTOR_BITS and kernel.budget.holds(1 << count_bits, each)
        texts = _ID_BITS <= size_bits <= _LARGEST_TEXT_BITS and kernel.budget.holds(1 << size_bits, 1)
        if not (records and texts):
            raise KernlabError(
                f"the log cannot be read: printk_ringbuffer at {pointer:#x} claims 2^{count_bits} records and "
                f"2^{size_bits} bytes of text"
            )
        data, readable = kernel.memory.read_partial(number("text_data_ring.data"), 1 << size_bits)
        head, tail = number("desc_ring.head_id.counter"), number("desc_ring.tail_id.counter")
        return cls(kernel, prb, count_bits, head, tail, size_bits, data, readable)

    def records(self) -> Records:
        """The records that are whole, and those of which only the descriptor is damaged: their info and their text say
        the same number.

        Each slot of the ring says its id in the descriptor, its sequence number in the info, and its text the id
        again. Ids and sequence numbers are given out together (prb_reserve), so all of a ring differ by the same.
        """
        count = 1 << self.count_bits
        slots = np.arange(count, dtype=np.uint64)
        descriptors = self._ring("desc_ring.descs", "struct prb_desc", slots)
        infos = self._ring("desc_ring.infos", "struct printk_info", slots)
        # Most slots hold no record, and of those that do it is said here.
        with self.kernel.quiet():
            var, sequence = descriptors["state_var.counter"], infos["seq"]
        bits = var.values.view(np.uint64)
        state, own = bits >> np.uint64(_STATE_SHIFT), bits & _ID_MASK
        done = var.valid & ((state == _COMMITTED) | (state == _FINALIZED))
        ahead = sequence.values - own & _ID_MASK
        in_place = done & sequence.valid & ((own & np.uint64(count - 1)) == slots)
        distance = _most_common(ahead[in_place])
        if distance is not None:
            in_place &= ahead == distance
        ids = self._window(own[in_place], count)
        at = (ids & np.uint64(count - 1)).astype(np.int64)
        state, own, done, known = state[at], own[at], done[at], sequence.valid[at]
        mine = own == ids
        whole = done & mine
        # The ring begins with a descriptor of no record, which the first lap keeps as its oldest.
        nothing = mine & (state == _REUSABLE) & (np.arange(len(ids)) == 0)
        # What a writer has just taken still shows the record of one lap ago, or is its own and not yet committed.
        young = ids[-1:] - ids < np.uint64(_MOST_WRITERS)
        begun = young & (
            (mine & (state == _RESERVED)) | ((own == ids - np.uint64(count)) & (state == _REUSABLE))
        )
        unread = ~var.valid[at] | (whole & ~known)
        damaged = ~(whole | nothing | begun | unread)
        if distance is None:
            distance = _most_common((sequence.values[at] - ids & _ID_MASK)[damaged & known])
        numbered = known & (sequence.values[at] - ids & _ID_MASK == np.uint64(distance or 0))
        rescued = damaged & numbered
        asked = np.flatnonzero(rescued)
        if len(asked):
            rescued[asked] = self._has_text(descriptors[at[asked]], infos[at[asked]], ids[asked])
        tell = self.kernel.lost
        tell("records of the log lie on pages that the dump lacks", mask=unread)
        tell("records of the log were still being written, and are left out", mask=begun)
        tell("records of the log have a damaged descriptor, and are left out", mask=damaged & ~rescued)
        tell(
            "records of the log have a damaged descriptor; their text and number tell that they are records",
            mask=rescued,
        )
        shown = (whole & ~unread) | rescued
        tell(
            "records of the log have an info that is not theirs: time, level and caller may be wrong",
            mask=shown & ~numbered,
        )
        rows = np.flatnonzero(shown)
        numbers = ids[rows] + np.uint64(distance or 0) & _ID_MASK
        return Records(descriptors[at[rows]], infos[at[rows]], ids[rows], numbers)

    def _window(self, found: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.uint64]:
        """The ids from the oldest record to the newest: from tail to head, unless the ids that descriptors have, and
        that fit their places, say otherwise."""
        head = np.uint64(self.head & int(_ID_MASK))
        # Ids wrap at 62 bits; the ring holds at most `count` of them.
        span = ((self.head - self.tail) & int(_ID_MASK)) + 1
        low, high = 1 - min(span, count), 0
        behind = np.sort((found - head << np.uint64(2)).view(np.int64) >> 2)
        if len(behind):
            # Of all stretches as long as the ring the one that has most of them.
            first = np.searchsorted(behind, behind - (count - 1))
            last = int(np.argmax(np.arange(len(behind)) - first))
            oldest, newest = int(behind[first[last]]), int(behind[last])
            if span > count or oldest < low or newest > high:
                self.kernel.lost(
                    f"the log: head and tail lie {span:,} ids apart in a ring of {count:,}, and are not those of its "
                    "descriptors: all that these have is shown"
                )
                low, high = oldest, newest
        elif span > count:
            self.kernel.lost(f"the log: head and tail lie {span:,} ids apart in a ring of {count:,}")
        return head + np.arange(low, high + 1).astype(np.uint64) & _ID_MASK

    def _has_text(
        self, descriptors: StructArray, infos: StructArray, ids: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        """Does a text of its own lie where the descriptor says? Its id stands before it."""
        with self.kernel.quiet():
            blocks = self._blocks(descriptors, infos)
        found: npt.NDArray[np.bool_] = ~blocks.empty & (blocks.ids == ids)
        return found

    def _ring(self, path: str, type_name: str, slots: npt.NDArray[np.uint64]) -> StructArray:
        base = self.prb[path]
        element = log_type(self.kernel, type_name)
        start = np.uint64(base.values[0])
        where = start + slots * np.uint64(element.size)
        return StructArray(self.kernel, element, where, np.repeat(base.valid, len(slots)))

    def _blocks(self, descriptors: StructArray, infos: StructArray) -> _Blocks:
        """Where the texts lie in the data (printk_ringbuffer.c, get_data)."""
        begin, after = descriptors["text_blk_lpos.begin"].values, descriptors["text_blk_lpos.next"].values
        size = np.uint64(1 << self.size_bits)
        first, last = begin & (size - np.uint64(1)), after & (size - np.uint64(1))
        # A block that would cross the end of the ring lies at its start instead; its id word lies there too.
        # Positions begin one ring below 2^64, so the first wrap is one of 64 bits as well.
        wrapped = (begin + size) >> np.uint64(self.size_bits) == after >> np.uint64(self.size_bits)
        wrapped &= last != 0
        # Each block begins with its descriptor's id.
        before = resolve(log_type(self.kernel, "struct prb_data_block"), "data").hops[-1]
        start = np.where(wrapped, np.uint64(0), first).astype(np.int64) + before
        end = np.where((last == 0) & ~wrapped, size, last).astype(np.int64)
        words = self.data.view("<u8")
        ids = words[np.clip(start - before, 0, int(size) - 8) // 8] & _ID_MASK
        return _Blocks(
            begin=begin,
            after=after,
            start=start,
            end=end,
            length=infos["text_len"].int64,
            ids=ids,
            empty=((begin & _NO_TEXT) != 0) & ((after & _NO_TEXT) != 0),
        )

    def texts(self, records: Records) -> Column:
        """The records' texts; those that were overwritten or damaged are missing, and told."""
        blocks = self._blocks(records.descriptors, records.infos)
        empty, length, there = blocks.empty, blocks.length.filled(0), blocks.length.valid.copy()
        # Another one's id means that the text was overwritten.
        own = ~empty & (blocks.ids == records.ids)
        gone = ~empty & (~own | ((blocks.begin - self._oldest_text(blocks, own)).view(np.int64) < 0))
        # The ring had no room for these texts; an empty line is marked otherwise.
        gone |= (blocks.begin == _FAILED) & (blocks.after == _FAILED)
        # No text is longer than its block, or there without one.
        there &= ~gone & (length <= np.where(empty, 0, blocks.end - blocks.start))
        there[there] = self._readable(blocks.start[there], length[there])
        values = np.full(len(there), "", dtype=object)
        rows = np.flatnonzero(there)
        data = self.data.data
        for row, begin, size in zip(
            rows.tolist(), blocks.start[rows].tolist(), length[rows].tolist(), strict=True
        ):
            values[row] = text.decode(bytes(data[begin : begin + size]))
        column = Column(values, there, "text")
        self.kernel.lost(
            "records of the log have lost their text: it was overwritten or damaged, or lies on pages that the dump "
            "lacks",
            mask=~column.valid,
        )
        return column

    def _readable(self, start: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Could all of these bytes of the data be read?"""
        if self.readable.all():
            return np.ones(len(start), dtype=bool)
        lost = np.append(0, np.cumsum(~self.readable))
        begin, end = (np.minimum(bound, len(self.data)) for bound in (start, start + length))
        answer: npt.NDArray[np.bool_] = lost[begin] == lost[end]
        return answer

    def _oldest_text(self, blocks: _Blocks, own: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
        """Where the oldest text begins that was not overwritten, uint64[1]; `own` are the blocks with their own id."""
        tail = self.prb["text_data_ring.tail_lpos.counter"].values.view(np.uint64)
        head = self.prb["text_data_ring.head_lpos.counter"].values.view(np.uint64)
        size = np.uint64(1 << self.size_bits)
        ends = blocks.after[own]
        # What begins a ring before the head made room: its id may still stand where a block that wraps leaves a rest.
        held = ends[head - blocks.begin[own] <= size]
        # The newest text ends where the ring does, or before what is being written.
        if not len(ends) or ((head - tail <= size).all() and (held - tail <= size).all()):
            return tail
        self.kernel.lost(
            "the log: where its oldest text begins is damaged; texts of a whole ring were looked for"
        )
        return ends[-1:] - size


@dataclass(frozen=True)
class _Blocks:
    """Where texts lie, one value a record: logical positions `begin` and `after` as the descriptor has them; `start`
    and `end` in the data, without the id in front, which `ids` are; `length`; `empty` for what has no block."""

    begin: npt.NDArray[np.uint64]
    after: npt.NDArray[np.uint64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    length: Column
    ids: npt.NDArray[np.uint64]
    empty: npt.NDArray[np.bool_]


def _most_common(values: npt.NDArray[np.uint64]) -> np.uint64 | None:
    """The value that most have; None for no values."""
    if not len(values):
        return None
    found, times = np.unique(values, return_counts=True)
    return np.uint64(found[times.argmax()])
