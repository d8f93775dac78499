"""The kernel's log before Linux 5.10: records of any length, one behind the other in a buffer that wraps.

Each begins with a `struct printk_log`, behind which stand its text and its dictionary (kernel/printk/printk.c,
log_store and log_next). Linux commit 896fbe20b4e2 ("printk: use the lockless ringbuffer") (in v5.10) replaced them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import Type
from kernlab.errors import KernlabError
from kernlab.util import text

#: log_buf_len= ends at 2 GiB (kernel/printk/printk.c, LOG_BUF_LEN_MAX).
_LARGEST = 1 << 31
#: Records begin at multiples of this, and are as long as their text needs, up to less than 8 bytes more (LOG_ALIGN).
_ALIGN, _PADDING = 4, 8
#: Behind damage the next record is looked for in steps of so many bytes.
_WINDOW = 1 << 20
#: Less than a header and an empty text is no record.
_FEWEST = 16


@dataclass(frozen=True)
class Stretch:
    """Records that lie one behind the other: where each begins in the buffer; `behind_gap` if some are lost before."""

    places: list[int]
    behind_gap: bool = False


@dataclass(frozen=True)
class RecordBuffer:
    """The buffer of the log: its bytes, which of them could be read, and where its oldest and its next record begin
    (None where the kernel's own word for it cannot be)."""

    kernel: Kernel
    type: Type
    address: int
    data: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]
    first: int | None
    following: int | None

    @classmethod
    def read(cls, kernel: Kernel, type: Type) -> RecordBuffer:  # noqa: A002
        """The buffer that `log_buf` points to, of records of `type`. Raises KernlabError where that cannot be one."""
        address, size = kernel.word("log_buf"), kernel.word("log_buf_len", 4)
        if not type.size <= size <= _LARGEST or not kernel.budget.holds(size, 1):
            raise KernlabError(f"the log cannot be read: its buffer at {address:#x} claims {size:,} bytes")
        data, readable = kernel.memory.read_partial(address, size)
        places = []
        for name, what in (("log_first_idx", "oldest"), ("log_next_idx", "next")):
            place: int | None = None
            try:
                place = kernel.word(name, 4)
            except KernlabError as error:
                kernel.lost(f"the log: where its {what} record begins cannot be read ({error})")
            else:
                if place >= size or place % _ALIGN:
                    kernel.lost(
                        f"the log: {name} is {place:,}, where no record of a buffer of {size:,} bytes begins; its "
                        f"{what} record was looked for"
                    )
                    place = None
            places.append(place)
        return cls(kernel, type, address, data, readable, places[0], places[1])

    def records(self) -> tuple[StructArray, npt.NDArray[np.uint64]]:
        """All records, oldest first: (their headers, the number of each, uint64[n]).

        Damage costs the records that it lies in: the next one is found by its lengths, and those behind it lead on.
        """
        stretches = list(self._stretches())
        places = np.array([at for one in stretches for at in one.places], dtype=np.uint64)
        headers = StructArray(self.kernel, self.type, np.uint64(self.address) + places)
        return headers, self._numbers(stretches)

    def texts(self, headers: StructArray) -> Column:
        """The records' texts; those on pages that the dump lacks are missing, and told."""
        length = headers["text_len"].int64
        start = (headers.addresses - np.uint64(self.address)).astype(np.int64) + self.type.size
        values, there = np.full(len(start), "", dtype=object), length.valid.copy()
        raw, whole = self.data.data, self.readable.all()
        for row, (begin, size) in enumerate(zip(start.tolist(), length.filled(0).tolist(), strict=True)):
            if whole or self.readable[begin : begin + size].all():
                values[row] = text.decode(bytes(raw[begin : begin + size]))
            else:
                there[row] = False
        self.kernel.lost(
            "records of the log have lost their text: it lies on pages that the dump lacks", mask=~there
        )
        return Column(values, there, "text")

    def _stretches(self) -> Iterator[Stretch]:
        """From the oldest record to the end of the buffer, and from its start to where the next one would begin."""
        size, first, following = len(self.data), self.first, self.following
        if first is not None and following is not None and first <= following:
            # log_store always leaves room between the next record and the oldest: equal is empty.
            if first < following:
                yield from self._between(first, following, ends_at=following)
            return
        # What lies behind the newest record is the oldest; behind the last before the end stands a header of length 0.
        begin = first if first is not None else following if following is not None else 0
        yield from self._between(begin, size, ends_at=None)
        if begin and following is not None:
            yield from self._between(0, following, ends_at=following)
        elif begin:
            # Without log_next_idx the first that is none ends them: behind it lie rests of overwritten ones.
            yield Stretch(self._chain(0, begin)[0])

    def _between(self, at: int, end: int, ends_at: int | None) -> Iterator[Stretch]:
        """Stretches of records from `at` on, to `ends_at` exactly, or to a header of length 0 before `end`."""
        gap = False
        while True:
            places, stopped = self._chain(at, end)
            yield Stretch(places, gap)
            if stopped == ends_at or (ends_at is None and self._is_end(stopped)):
                return
            found = self._next_record(stopped + _ALIGN, end, ends_at)
            self._tell_gap(stopped, end if found is None else found)
            if found is None:
                yield Stretch([], behind_gap=True)
                return
            at, gap = found, True

    def _tell_gap(self, start: int, end: int) -> None:
        why = "are no records" if self.readable[start:end].all() else "cannot be read"
        self.kernel.lost(
            f"the log: {end - start:,} bytes at {self.address + start:#x} {why}; what they held is missing"
        )

    def _chain(self, at: int, end: int) -> tuple[list[int], int]:
        """Records one behind the other from `at` on, and where the first is that is none."""
        halves = self.data[: len(self.data) & ~1].data.cast("H")
        length, words, more = (self._offset(name) // 2 for name in ("len", "text_len", "dict_len"))
        header, whole = self.type.size, bool(self.readable.all())
        places = []
        while at + header <= end:
            place = at >> 1
            size = halves[place + length]
            spare = size - header - halves[place + words] - halves[place + more]
            if size < _FEWEST or not 0 <= spare < _PADDING or size % _ALIGN or at + size > end:
                break
            if not whole and not self.readable[at : at + header].all():
                break
            places.append(at)
            at += size
        return places, at

    def _offset(self, member: str) -> int:
        return resolve(self.type, member).hops[-1]

    def _is_end(self, at: int) -> bool:
        """Does a header of zeros stand here, which says that the next record is the buffer's first?"""
        piece = slice(at, at + self.type.size)
        return bool(self.readable[piece].all()) and not self.data[piece].any()

    def _next_record(self, at: int, end: int, ends_at: int | None) -> int | None:
        """The first place from `at` on that looks like a record, and from which others lead to the end."""
        behind = end - self.type.size + 1
        for begin in range(at, behind, _WINDOW):
            window = np.arange(begin, min(begin + _WINDOW, behind), _ALIGN)
            count, size = len(window), self._sizes(window)
            good = np.flatnonzero(size)
            target = window[good] + size[good]
            leads = np.zeros(count + 1, dtype=bool)
            if ends_at is None:
                leads[good] = [self._is_end(each) for each in target.tolist()]
            else:
                leads[good] = target == ends_at
            if begin + _WINDOW < behind:
                # No more than one record crosses into the next window.
                leads[good] |= target >= begin + _WINDOW
            step = np.full(count + 1, count)
            step[good] = np.minimum(good + size[good] // _ALIGN, count)
            for _ in range(count.bit_length()):
                leads |= leads[step]
                step = step[step]
            found = np.flatnonzero(leads)
            if len(found):
                return int(window[found[0]])
        return None

    def _sizes(self, window: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The length of the record that each place would be the start of; 0 where none can be."""
        header = self.type.size
        halves = self.data[: len(self.data) & ~1].view("<u2").astype(np.int64)
        size, words, more = (
            halves[(window + self._offset(name)) // 2] for name in ("len", "text_len", "dict_len")
        )
        spare = size - header - words - more
        good = (size >= _FEWEST) & (spare >= 0) & (spare < _PADDING) & (size % _ALIGN == 0)
        good &= window + size <= len(self.data)
        read = np.append(0, np.cumsum(self.readable))
        good &= read[window + header] - read[window] == header
        return np.where(good, size, 0)

    def _numbers(self, stretches: list[Stretch]) -> npt.NDArray[np.uint64]:
        """The number of each record: from log_first_seq on, and behind the last gap back from log_next_seq."""
        lengths = np.array([len(one.places) for one in stretches], dtype=np.int64)
        total = int(lengths.sum())
        first, following = (self._number(name) for name in ("log_first_seq", "log_next_seq"))
        if first is None:
            self.kernel.lost(
                "the log: the number of its oldest record is not known; records are numbered from 0"
            )
        numbers = np.uint64(first or 0) + np.arange(total, dtype=np.uint64)
        missing = 0 if first is None or following is None else following - first - total
        gaps = [row for row, one in enumerate(stretches) if one.behind_gap]
        if self.first is None and not gaps:
            gaps = [0]
        if gaps and 0 < missing <= len(self.data) // _FEWEST:
            self.kernel.lost(f"{missing:,} of {total + missing:,} records of the log were lost")
            before, after = (int(lengths[:row].sum()) for row in (gaps[0], gaps[-1]))
            numbers[after:] += np.uint64(missing)
            if len(gaps) > 1:
                self.kernel.lost(
                    f"{after - before:,} records of the log lie between places where some were lost: their numbers "
                    "(seq) may be too low"
                )
        return numbers

    def _number(self, name: str) -> int | None:
        try:
            return self.kernel.word(name) if self.kernel.symbols.get(name) is not None else None
        except KernlabError:
            return None
