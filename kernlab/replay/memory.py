"""Memory at any instant: readings, a curve of what events changed, and breaks in; bytes by kind out.

From the next reading back (or the last one on) the curve is followed. Between two readings what it does not explain is
spread evenly over the time between them; where it explains nothing it is not used. No value crosses a break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.replay.curves import Curve
from kernlab.replay.kinds import KINDS, OTHER
from kernlab.replay.readings import Readings
from kernlab.replay.recording import Break

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SOURCES = ("dump", "sample", "events", "interpolated", "break")
DUMP, SAMPLE, EVENTS, INTERPOLATED, BREAK = range(5)
_WIDTH = len(KINDS) + 1
#: A curve that is not exact is followed where what it leaves over is less than this part of what it went up and down.
_LITTLE = 4


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of memory over time; `breaks` are those of its own sources, the earliest first."""

    readings: Readings
    curve: Curve | None
    breaks: list[Break]

    def at(self, times: I64) -> tuple[I64, Mask, npt.NDArray[np.int8]]:
        """Bytes int64[n, kinds + 1] at each instant (the last column is swap), which are known, and the source."""
        values = np.zeros((len(times), _WIDTH), dtype=np.int64)
        known = np.zeros(values.shape, dtype=bool)
        exact = np.zeros(values.shape, dtype=bool)
        for kind in range(_WIDTH):
            values[:, kind], known[:, kind], exact[:, kind] = self._kind(kind, times)
        total = self.readings.total
        if total is not None:
            # The kinds are all of memory: what rounding and guesses leave is the rest's.
            whole = known[:, :OTHER].all(axis=1)
            rest = total - values[:, :OTHER].sum(axis=1)
            values[:, OTHER] = np.where(whole & (rest >= 0), rest, 0)
            known[:, OTHER] = whole & (rest >= 0)
        read = self.readings.time
        place = np.searchsorted(read, times).clip(max=len(read) - 1)
        source = np.where((exact | ~known)[:, :-1].all(axis=1), EVENTS, INTERPOLATED).astype(np.int8)
        source[read[place] == times] = SAMPLE
        source[times >= read[-1]] = DUMP
        return values, known, source

    def _kind(self, kind: int, times: I64) -> tuple[I64, Mask, Mask]:
        """One kind: (bytes, which are known, which of them follow from events alone)."""
        has = self.readings.known[:, kind]
        time, value = self.readings.time[has], self.readings.values[has, kind]
        if not len(time):
            none = np.zeros(len(times), dtype=bool)
            return np.zeros(len(times), dtype=np.int64), none, none
        bounds = np.array(sorted({one.until for one in self.breaks}), dtype=np.int64)
        part, of = np.searchsorted(bounds, times, side="right"), np.searchsorted(bounds, time, side="right")
        after = np.searchsorted(time, times)
        before = np.searchsorted(time, times, side="right") - 1
        left, right = before.clip(min=0), after.clip(max=len(time) - 1)
        has_left = (before >= 0) & (of[left] == part)
        has_right = (after < len(time)) & (of[right] == part)
        curve = self.curve
        told = curve is not None and bool(curve.told[kind])
        exact = told and curve is not None and bool(curve.exact[kind])
        gained = [
            np.zeros(len(at), dtype=np.int64) if not told or curve is None else curve.at(at, kind)
            for at in (times, time)
        ]
        here, there = gained
        begin = np.where(has_left, time[left], times)
        end = np.where(has_right, time[right], times)
        whole = self._whole(begin, end)
        both = has_left & has_right
        # What the curve leaves over between two readings, and whether that is little beside what happened there.
        change = value[right] - value[left]
        rest = change - (there[right] - there[left])
        way = curve.way(time, kind) if told and curve is not None else np.zeros(len(time), dtype=np.int64)
        fits = (np.abs(rest) < np.abs(change)) | (np.abs(rest) * _LITTLE < way[right] - way[left])
        used = whole & told & (exact | fits)
        rest, here_left = np.where(used, rest, change), np.where(used, here - there[left], 0)
        share = (times - begin) / np.maximum(end - begin, 1)
        found = value[left] + here_left + np.rint(rest * share).astype(np.int64)
        alone = whole & exact
        back = value[right] - (there[right] - here)
        on = value[left] + (here - there[left])
        result = np.where(both, found, np.where(has_right, back, on))
        at_left, at_right = has_left & (time[left] == times), has_right & (time[right] == times)
        result = np.where(at_left, value[left], np.where(at_right, value[right], result))
        known = both | at_left | at_right | (alone & (has_left | has_right))
        # No kind is ever less than nothing: pages of unknown use were taken for another.
        return np.where(known, result.clip(min=0), 0), known, known & exact & whole

    def _whole(self, begin: I64, end: I64) -> Mask:
        """Between which instants no event is missing."""
        good = np.ones(len(begin), dtype=bool)
        for one in self.breaks:
            good &= (end <= one.since if one.since is not None else False) | (begin >= one.until)
        return good

    @property
    def begin(self) -> int:
        """The first instant since which everything is known up to the crash."""
        since = max((one.until for one in self.breaks), default=None)
        times = self.readings.time
        known = self.readings.known[:, :-1].any(axis=1)
        candidates = [
            int(times[row]) for row in np.flatnonzero(known) if since is None or times[row] >= since
        ]
        if self.curve is not None and self.curve.exact[:OTHER].all() and len(self.curve.time):
            candidates.append(
                int(self.curve.time[0]) if since is None else max(since, int(self.curve.time[0]))
            )
        return min(candidates, default=int(times[-1]))
