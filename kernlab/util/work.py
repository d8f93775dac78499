"""How much work one table may be: what reads memory counts it here, and ends a walk that nothing else would end."""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.errors import WorkSpentError

#: Calls that a dump allows for each frame that it holds, and in any case. A call goes one step on, of all lists at
#: once; a list through structs of 128 bytes that fill all of memory takes so many. No table of a whole dump was seen
#: to take more than a twentieth of one for each frame.
_CALLS_PER_FRAME, _LEAST_CALLS = 32, 1 << 18

#: Rows, as `rows_of` counts them. Most are asked for by page tables: one full of huge pages is a frame, and maps 2^18.
_ROWS_PER_FRAME, _LEAST_ROWS = 1 << 14, 1 << 26

#: Bytes that cost as much as one row does.
_ROW_SHIFT = 10


def rows_of(count: int, size: int) -> int:
    """How many rows of work `count` reads of `size` bytes are."""
    return count + (count * size >> _ROW_SHIFT)


@dataclass(frozen=True, slots=True)
class Work:
    """What all that one table does may come to: calls, and rows of all of them together."""

    calls: int
    rows: int

    @classmethod
    def of_frames(cls, frames: int) -> Work:
        """What a dump allows that holds so many frames: many times what any whole dump takes, and the same on every
        machine."""
        return cls(_LEAST_CALLS + _CALLS_PER_FRAME * frames, _LEAST_ROWS + _ROWS_PER_FRAME * frames)


@dataclass(slots=True)
class Meter:
    """Counts the work that is done for one table, or for one fact of a kernel; never time, which machines differ in.

    Whoever is stopped may finish with what was found: each stop grants half of what was granted before, so that all
    together never do more than twice as much.
    """

    calls: int = 0
    rows: int = 0
    _stops: int = 0

    def spend(self, rows: int, most: Work) -> None:
        """Count one call. Raises WorkSpentError where all are more than `most`, and again by what was granted then."""
        self.calls += 1
        self.rows += rows
        if self.calls > most.calls or self.rows > most.rows:
            self._end(most)

    def _end(self, most: Work) -> None:
        left = self._stops
        if self.calls > 2 * most.calls - (most.calls >> left) or self.rows > 2 * most.rows - (
            most.rows >> left
        ):
            self._stops += 1
            raise WorkSpentError(
                f"a walk was ended after {self.calls:,} steps through {self.rows:,} places, which is far more than "
                "what this dump holds needs: damage leads it round"
            )
