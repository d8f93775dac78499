"""Events of a block trace in, which of them belong to which request out, one by one, as btt has it.

Requests with sectors are known by these. Those without (flushes, zone commands) are known by what they are and where
they begin, and end in the order in which they were issued.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

#: The steps, by btt's names: from one moment of a request to another.
STEPS = {
    "Q2G": ("queued", "allocated"),
    "G2I": ("allocated", "inserted"),
    "Q2M": ("queued", "merged"),
    "I2D": ("inserted", "issued"),
    "M2D": ("merged", "issued"),
    "D2C": ("issued", "completed"),
    "Q2C": ("queued", "completed"),
    # Not btt's: with blk-mq and no scheduler nothing is ever inserted.
    "G2D": ("allocated", "issued"),
}
MOMENTS = ("queued", "allocated", "inserted", "merged", "issued", "completed")

Q, M, F, G, R, D, C, I = 1, 2, 3, 4, 6, 7, 8, 12  # noqa: E741 - blkparse's letters
ACTS = (Q, M, F, G, R, D, C, I)

#: Requests that all issues and completions together may cover, per event: a bound for damaged extents.
_MOST_COVERED = 32

#: The kind of a request that has bytes.
SIZED = -1

#: A moment that the trace does not tell.
NONE = -(1 << 63)
_LONGEST = (1 << 63) - 1


class Part(NamedTuple):
    """Of a request that was split, what one event issued: sectors [start, stop); moments in ns or `NONE`."""

    event: int
    request: int
    start: int
    stop: int
    allocated: int
    inserted: int
    merged: int


class Matcher:
    """Which event belongs to which request: the requests that wait, per device, by their first sector.

    Of each request: `first`, its first event; `sized`, whether it has sectors; `moments`, in ns or `NONE`; `issue`, the
    event that issued it as a whole, -1 without one or where it was put back. `samples` has for each step the (request,
    ns) of each time that it was taken. `parts` are those of requests of which an event issued no more than that.
    """

    def __init__(self, events: int, most_waiting: int):
        self.first: list[int] = []
        self.sized: list[bool] = []
        self.issue: list[int] = []
        self.parts: list[Part] = []
        self.moments: tuple[list[int], ...] = ([], [], [], [], [], [])
        self.samples: dict[str, tuple[list[int], list[int]]] = {step: ([], []) for step in STEPS}
        self.untracked = 0
        self._most_waiting = most_waiting
        self._budget = _MOST_COVERED * (events + 1024)

    def run(
        self,
        acts: Sequence[int],
        devices: Sequence[int],
        starts: Sequence[int],
        stops: Sequence[int],
        times: Sequence[int],
        kinds: Sequence[int],
    ) -> None:
        """Go through the events in their order; each by action, device, first sector, sector after the last, time.

        `kinds` is `SIZED` for events that have bytes, and tells the others apart: those of the same kind and first
        sector are alike.
        """
        waiting: dict[int, _Waiting] = {}
        lot = None
        last_device = -1
        events = zip(acts, devices, starts, stops, times, kinds, strict=True)
        for event, (act, device, start, stop, time, kind) in enumerate(events):
            if device != last_device or lot is None:
                last_device = device
                lot = waiting.get(device)
                if lot is None:
                    lot = waiting[device] = _Waiting(self._most_waiting)
            if kind != SIZED:
                self._without_sectors(lot, act, event, (kind, start), time)
            elif act == Q:
                self._begin(lot, event, start, stop, time)
            elif act in (D, C):
                inside = lot.inside(start, stop)
                self._budget -= len(inside)
                if self._budget < 0:
                    self.untracked += len(inside)
                elif act == C:
                    self._complete(inside, time)
                    lot.drop(inside, start, stop)
                    if not inside:
                        lot.part_came_back(start, stop)
                else:
                    if inside:
                        self._issue(inside, event, time)
                    elif not lot.overlaps(start, stop):
                        # What was queued before the trace began, or where it has no Q.
                        self._begin(lot, event, start, stop, NONE, time)
                        continue
                    self.parts += lot.parts_in(event, start, stop)
            elif act == R:
                for back in lot.inside(start, stop):
                    self.issue[back] = -1
            else:
                request = lot.at(start)
                if request >= 0:
                    self._pass(act, request, time)
                    if stop - start < lot.length_at(start):
                        lot.part_steps[request, act, start] = time

    def _without_sectors(self, lot: _Waiting, act: int, event: int, key: tuple[int, int], time: int) -> None:
        alike = lot.alike(key)
        if act == Q:
            if lot.room():
                alike.queue(self._new(event, time, NONE, sized=False))
            else:
                self.untracked += 1
        elif act == D and alike.queued:
            alike.out.append(alike.queued.popleft())
            self._issue([alike.out[-1]], event, time)
        elif act == D:
            # A flush of the device is nobody's request: several that ask for one share it (block/blk-flush.c).
            if lot.room():
                alike.out.append(self._new(event, NONE, time, sized=False))
            else:
                self.untracked += 1
        elif act == C:
            waits = alike.out or alike.queued
            if waits:
                self._complete([waits.popleft()], time)
                lot.gone()
        elif act == R:
            if alike.out:
                back = alike.out.pop()
                self.moments[4][back], self.issue[back] = NONE, -1
                alike.queued.appendleft(back)
        elif act in alike.before:
            before, completed = alike.before[act], self.moments[5]
            while before and completed[before[0]] != NONE:
                before.popleft()
            if before:
                self._pass(act, before.popleft(), time)

    def _begin(
        self, lot: _Waiting, event: int, start: int, stop: int, queued: int, issued: int = NONE
    ) -> None:
        if not lot.add(len(self.first), start, stop):
            self.untracked += 1
            return
        self._new(event, queued, issued, sized=True)

    def _new(self, event: int, queued: int, issued: int, *, sized: bool) -> int:
        self.first.append(event)
        self.sized.append(sized)
        self.issue.append(-1 if issued == NONE else event)
        for moment, time in zip(self.moments, (queued, NONE, NONE, NONE, issued, NONE), strict=True):
            moment.append(time)
        return len(self.first) - 1

    def _pass(self, act: int, request: int, time: int) -> None:
        queued, allocated, inserted, merged, _, _ = self.moments
        if act == G:
            allocated[request] = time
            self._took("Q2G", request, queued[request], time)
        elif act == I:
            inserted[request] = time
            self._took("G2I", request, allocated[request], time)
        else:
            merged[request] = time
            self._took("Q2M", request, queued[request], time)

    def _issue(self, requests: Sequence[int], event: int, time: int) -> None:
        _, allocated, inserted, merged, issued, _ = self.moments
        for request in requests:
            self.issue[request] = event
            if inserted[request] != NONE:
                self._took("I2D", request, inserted[request], time)
            else:
                self._took("M2D", request, merged[request], time)
            self._took("G2D", request, allocated[request], time)
            issued[request] = time

    def _complete(self, requests: Sequence[int], time: int) -> None:
        queued, _, _, _, issued, completed = self.moments
        for request in requests:
            completed[request] = time
            self._took("Q2C", request, queued[request], time)
            self._took("D2C", request, issued[request], time)

    def _took(self, step: str, request: int, since: int, time: int) -> None:
        if since != NONE:
            requests, gaps = self.samples[step]
            requests.append(request)
            gaps.append(min(time - since, _LONGEST) if time > since else 1)


class _Alike:
    """The requests without sectors of one kind and place, the oldest first: not yet issued, and issued."""

    def __init__(self) -> None:
        self.queued: deque[int] = deque()
        self.out: deque[int] = deque()
        #: Those that are not yet allocated, or inserted, by that action.
        self.before: dict[int, deque[int]] = {G: deque(), I: deque()}

    def queue(self, request: int) -> None:
        """One more, queued just now."""
        for waits in (self.queued, *self.before.values()):
            waits.append(request)


class _Waiting:
    """The requests of one device that wait, ascending by their first sector, each of which only one has."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._requests: list[int] = []
        self._alike: dict[tuple[int, int], _Alike] = {}
        self._without = 0
        #: When a part of a request took a step: (request, action, first sector of the part).
        self.part_steps: dict[tuple[int, int, int], int] = {}
        self._came_back: dict[int, int] = {}

    def add(self, request: int, start: int, stop: int) -> bool:
        """Put a request in its place, or in that of one which begins alike; False where too many wait."""
        place = bisect_left(self._starts, start)
        if place < len(self._starts) and self._starts[place] == start:
            self._stops[place], self._requests[place] = stop, request
            return True
        if len(self._starts) >= self._most:
            return False
        self._starts.insert(place, start)
        self._stops.insert(place, stop)
        self._requests.insert(place, request)
        return True

    def at(self, sector: int) -> int:
        """The request that a sector lies in, -1 where there is none."""
        place = bisect_right(self._starts, sector) - 1
        return self._requests[place] if place >= 0 and sector < self._stops[place] else -1

    def length_at(self, sector: int) -> int:
        """How many sectors the request has that a sector lies in; 0 where there is none."""
        place = bisect_right(self._starts, sector) - 1
        return self._stops[place] - self._starts[place] if place >= 0 and sector < self._stops[place] else 0

    def part_came_back(self, start: int, stop: int) -> None:
        """A part of the request that `start` lies in was completed."""
        request = self.at(start)
        if request >= 0:
            self._came_back[request] = self._came_back.get(request, 0) + stop - start

    def parts_in(self, event: int, start: int, stop: int) -> list[Part]:
        """The parts, in [start, stop), of requests that do not lie in it as a whole and have not all come back."""
        found: list[Part] = []
        for sector in (start, stop - 1):
            place = bisect_right(self._starts, sector) - 1
            if place < 0 or sector >= self._stops[place]:
                continue
            first, last, request = self._starts[place], self._stops[place], self._requests[place]
            if (start <= first and last <= stop) or (found and found[0].request == request):
                continue
            if self._came_back.get(request, 0) < last - first:
                first, last = max(first, start), min(last, stop)
                steps = (self.part_steps.get((request, act, first), NONE) for act in (G, I, M))
                found.append(Part(event, request, first, last, *steps))
        return found

    def overlaps(self, start: int, stop: int) -> bool:
        """Does a request lie in [start, stop) with some of its sectors?"""
        return self.at(start) >= 0 or bisect_left(self._starts, stop) > bisect_left(self._starts, start)

    def alike(self, key: tuple[int, int]) -> _Alike:
        """The requests without sectors of one kind and place."""
        found = self._alike.get(key)
        if found is None:
            found = self._alike[key] = _Alike()
        return found

    def room(self) -> bool:
        """Make room for one more request without sectors; False where too many wait."""
        if self._without >= self._most:
            return False
        self._without += 1
        return True

    def gone(self) -> None:
        """One request without sectors is taken out."""
        self._without -= 1

    def inside(self, start: int, stop: int) -> list[int]:
        """The requests that lie in [start, stop) with all their sectors."""
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, stop, lo=first)
        return [self._requests[place] for place in range(first, last) if self._stops[place] <= stop]

    def drop(self, requests: list[int], start: int, stop: int) -> None:
        """Take these out, which `inside` found."""
        if not requests:
            return
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, stop, lo=first)
        kept = [place for place in range(first, last) if self._stops[place] > stop]
        for column in (self._starts, self._stops, self._requests):
            column[first:last] = [column[place] for place in kept]
