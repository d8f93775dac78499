"""A dump file in, the same as others may see it out: frames left out, places rewritten, text swept as it is read."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.redaction.plan import Plan
from kernlab.redaction.sweep import STRIP, goes_on

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Frames that are swept at a time, and frames of which the first and last bytes are kept.
_BATCH, _MOST_STRIPS = 512, 1 << 14


class RedactedFile(DumpFile):
    """Frames that the plan drops are EXCLUDED, as by a dump level; all others come without what it hides.

    `counts` says what was hidden so far, by kind: what is dropped and rewritten at once, what is found in text as its
    frame is read for the first time.
    """

    def __init__(self, below: DumpFile, plan: Plan):
        self.below, self.plan = below, plan
        self.format, self.page_size, self.machine = below.format, below.page_size, below.machine
        self.max_pfn, self.frame_count = below.max_pfn, below.frame_count
        self.vmcoreinfo = below.vmcoreinfo
        self.path = Path(plan.text(str(below.path)))
        self.header = {name: plan.header(name, value) for name, value in below.header.items()}
        self.notes = [plan.note(note) for note in below.notes]
        self.counts: Counter[str] = Counter(plan.counts)
        self._counted = np.zeros(below.frame_count, dtype=bool)
        self._strips: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far, by the file below and by the plan."""
        return [*(self.plan.text(problem) for problem in self.below.problems), *self.plan.told]

    @property
    def filled_count(self) -> int:
        """See DumpFile.filled_count: as of the file below, since the plan's bounds are its."""
        return self.below.filled_count

    def find(self, pfns: npt.NDArray[np.uint64]) -> I64:
        """See DumpFile.find."""
        found = self.below.find(pfns)
        there = np.flatnonzero(found >= 0)
        found[there[self.plan.dropped[found[there]]]] = -int(FrameStatus.EXCLUDED)
        return found

    def present(self, most: int) -> Iterator[I64]:
        """See DumpFile.present."""
        for pfns in self.below.present(most):
            kept = pfns[self.find(pfns.astype(np.uint64)) >= 0]
            if len(kept):
                yield kept

    def read_into(self, indices: I64, out: U8) -> U8:
        """See DumpFile.read_into."""
        status = np.empty(len(indices), dtype=np.uint8)
        for begin in range(0, len(indices), _BATCH):
            part = slice(begin, begin + _BATCH)
            status[part] = self._read(indices[part], out[part])
        return status

    def _read(self, indices: I64, out: U8) -> U8:
        status = self._edited(indices, out)
        # What was dropped has an index all the same: nobody gets its bytes by that.
        dropped = self.plan.dropped[indices]
        out[dropped], status[dropped] = 0, FrameStatus.EXCLUDED
        mine = np.flatnonzero((status == 0) & self.plan.swept[indices])
        if not len(mine):
            return status
        rows = out if len(mine) == len(indices) else out[mine]
        where = indices[mine]
        heads, tails = rows[:, :STRIP].copy(), rows[:, -STRIP:].copy()
        counts = self.plan.sweeper.sweep(rows)
        numbers = self.plan.words.replace(rows)
        self._join(where, rows, heads, tails, counts)
        if rows is not out:
            out[mine] = rows
        for row, count in enumerate(numbers.tolist()):
            if count:
                counts[row]["IPv4 address"] += count
        with self._lock:
            for row in np.flatnonzero(~self._counted[where]).tolist():
                if counts[row]:
                    self.counts.update(counts[row])
            self._counted[where] = True
        return status

    def _edited(self, indices: I64, out: U8) -> U8:
        status = self.below.read_into(indices, out)
        self.plan.edits.apply(indices, out)
        lost = status != 0
        if lost.any():
            out[lost] = 0
        return status

    def _join(self, where: I64, rows: U8, heads: U8, tails: U8, counts: list[Counter[str]]) -> None:
        """Sweep across the ends of pages, with what lies before and behind each."""
        known = {index: (head, tail) for index, head, tail in zip(where.tolist(), heads, tails, strict=True)}
        last, first = goes_on(tails[:, -1]), goes_on(heads[:, 0])
        pairs: list[tuple[int, int, bool]] = []
        for row, ahead in self.plan.behind(where[last]):
            pairs.append((int(np.flatnonzero(last)[row]), ahead, True))
        for row, back in self.plan.before(where[first]):
            pairs.append((int(np.flatnonzero(first)[row]), back, False))
        wanted = {other for _, other, _ in pairs if other not in known}
        others = self._strips_of(wanted)
        strips, owners = [], []
        for row, other, is_behind in pairs:
            head, tail = known[other] if other in known else others.get(other, (None, None))
            if head is None or tail is None or not len(head):
                continue
            mine = tails[row] if is_behind else heads[row]
            yours = head if is_behind else tail
            if not goes_on(yours[:1] if is_behind else yours[-1:])[0]:
                continue
            strips.append(np.concatenate([mine, yours] if is_behind else [yours, mine]))
            owners.append((row, is_behind))
        if not strips:
            return
        size = rows.shape[1]
        for strip, hit in self.plan.sweeper.across(np.ascontiguousarray(strips)):
            row, is_behind = owners[strip]
            new = np.frombuffer(hit.new, dtype=np.uint8)
            if is_behind:
                rows[row, size - STRIP + hit.start :] = new[: STRIP - hit.start]
                # Once for both pages: where it begins.
                counts[row][hit.kind] += 1
            else:
                rows[row, : hit.end - STRIP] = new[STRIP - hit.start :]

    def _strips_of(self, wanted: set[int]) -> dict[int, tuple[U8, U8]]:
        """The first and last bytes of other frames, as they are before they are swept."""
        found: dict[int, tuple[U8, U8]] = {}
        missing = []
        with self._lock:
            for index in wanted:
                kept = self._strips.get(index)
                if kept is None:
                    missing.append(index)
                else:
                    found[index] = np.frombuffer(kept[0], np.uint8), np.frombuffer(kept[1], np.uint8)
        if missing:
            indexes = np.array(sorted(missing), dtype=np.int64)
            rows = np.empty((len(indexes), self.page_size), dtype=np.uint8)
            status = self._edited(indexes, rows)
            for row, index in enumerate(indexes.tolist()):
                good = not status[row] and not self.plan.dropped[index]
                pair = (rows[row, :STRIP], rows[row, -STRIP:]) if good else (rows[row, :0], rows[row, :0])
                found[index] = pair
                with self._lock:
                    self._strips[index] = pair[0].tobytes(), pair[1].tobytes()
                    while len(self._strips) > _MOST_STRIPS:
                        self._strips.popitem(last=False)
        return found

    def close(self) -> None:
        """See DumpFile.close."""
        self.below.close()
