"""Issues (D), completions (C) and requeues (R) in, the requests that a device was given and what ended each, out.

A request is what was issued: one bio may be split into many of them, and many bios be merged into one. It is known by
where it begins, and ends with the completion that follows there; one that completes in parts (blk_update_request in
block/blk-mq.c) with its last part. Of one that was issued again before it came back (a requeue) the last issue counts.
Those without bytes (flushes, zone commands) that begin alike end in the order of their issue.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.traces.blktrace.match import C, D, R
from kernlab.traces.blktrace.names import FLUSH, WRITE
from kernlab.util import integers

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What a device's own flush is, what any other request without bytes is, and what is none of a device's requests.
_FLUSH, _OTHER, _NONE = 0, 1, -1


@dataclass(frozen=True, slots=True)
class Issued:
    """Requests by the places of their events: `issue`, ascending, and `end`, -1 where it never came back.

    `alone` are the completions with bytes, ascending, whose issue is not there.
    """

    issue: I64
    end: I64
    alone: I64


def by_issue(
    act: npt.NDArray[Any],
    device: npt.NDArray[Any],
    sector: npt.NDArray[np.uint64],
    size: npt.NDArray[Any],
    kind: npt.NDArray[Any],
) -> Issued:
    """The requests among events in the order in which they happened.

    act: D, C or R (anything else is passed over); device: any number; size in bytes; kind: what tells those without
    bytes apart, as `kinds_without` and `kinds_by_letters` have it.
    """
    steps = np.flatnonzero(np.isin(act, (D, C, R)))
    plain = steps[size[steps] > 0]
    order = plain[np.lexsort((plain, sector[plain], device[plain]))]
    step = act[order]
    follows = (device[order[1:]] == device[order[:-1]]) & (sector[order[1:]] == sector[order[:-1]])
    then = np.where(follows, step[1:], 0)
    then = np.append(then, 0)[: len(order)]
    answered = np.flatnonzero((step == D) & (then == C))
    waiting = np.flatnonzero((step == D) & (then == 0))
    issue = np.concatenate([order[answered], order[waiting]])
    end = np.concatenate([order[answered + 1], np.full(len(waiting), -1, dtype=np.int64)])
    alone = np.setdiff1d(order[step == C], order[answered + 1], assume_unique=True)
    end, alone = _in_parts(act, device, sector, size, issue, end, alone)
    others = steps[(size[steps] == 0) & (kind[steps] != _NONE)]
    pairs = _without_bytes(others, act[others], device[others], sector[others], kind[others])
    issue, end = np.concatenate([issue, pairs[0]]), np.concatenate([end, pairs[1]])
    place = np.argsort(issue, kind="stable")
    return Issued(issue[place], end[place], np.sort(alone))


def _in_parts(
    act: npt.NDArray[Any],
    device: npt.NDArray[Any],
    sector: npt.NDArray[np.uint64],
    size: npt.NDArray[Any],
    issue: I64,
    end: I64,
    alone: I64,
) -> tuple[I64, I64]:
    """(ends, completions that are alone) where what answered a request may be shorter than that.

    The rest completes where that part ended, or is issued again from there: then it is a request of its own.
    """
    long = -(-size.astype(np.int64) // 512)
    done = end >= 0
    parts = np.flatnonzero(done)[long[end[done]] < long[issue[done]]]
    if not len(parts):
        return end, alone
    stops = sector + long.astype(np.uint64)
    answers = dict(zip(end[parts].tolist(), parts.tolist(), strict=True))
    reached = stops[np.concatenate([end[parts], alone])]
    again = np.flatnonzero(np.isin(act, (D, R)) & (size > 0))
    walk = np.concatenate([end[parts], *(some[np.isin(sector[some], reached)] for some in (again, alone))])
    rests: dict[tuple[int, int], int] = {}
    out, used = set(parts.tolist()), set()
    end = end.copy()
    for place in np.sort(walk).tolist():
        number = int(device[place])
        request = answers.get(place)
        if request is None:
            request = rests.pop((number, int(sector[place])), None)
            if request is None:
                continue
            if act[place] != C:
                out.discard(request)
                continue
            end[request] = place
            used.add(place)
        if stops[place] < stops[issue[request]]:
            rests[number, int(stops[place])] = request
        else:
            out.discard(request)
    end[sorted(out)] = -1
    return end, alone[~np.isin(alone, sorted(used))]


def _without_bytes(
    places: I64,
    act: npt.NDArray[Any],
    device: npt.NDArray[Any],
    sector: npt.NDArray[np.uint64],
    kind: npt.NDArray[Any],
) -> tuple[I64, I64]:
    """(issue, end or -1) of each flush and zone command.

    What ends though nothing like it was issued is the end of a write with a flush around it, or of a process's request.
    """
    out: dict[tuple[int, int, int], deque[int]] = {}
    found: list[tuple[int, int]] = []
    alike = zip(device.tolist(), sector.tolist(), kind.tolist(), strict=True)
    for place, step, key in zip(places.tolist(), act.tolist(), alike, strict=True):
        if step == D:
            out.setdefault(key, deque()).append(place)
        elif waiting := out.get(key):
            if step == C:
                found.append((waiting.popleft(), place))
            else:
                waiting.pop()
    found += [(place, -1) for waiting in out.values() for place in waiting]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def of_events(events: pd.DataFrame) -> Issued:
    """The requests of a table of events in the order of time (`BlkTrace.events`), by the positions of its rows."""
    letters = events["action"].astype("category").cat
    codes = [{"D": D, "C": C, "R": R}.get(str(name), 0) for name in letters.categories]
    return by_issue(
        np.array([*codes, 0])[letters.codes.to_numpy()],
        events["device"].astype("category").cat.codes.to_numpy(),
        events["sector"].to_numpy(dtype=np.uint64),
        events["bytes"].to_numpy(),
        kinds_by_letters(events["rwbs"]),
    )


def credible(found: Issued, times: I64, whole: int) -> Issued:
    """Without what missing events make doubtful; times: of all events (ns), whole: as `whole_from` has it.

    What completed one that was issued before `whole` may be missing. One whose issue is missing though it completed
    long after that is what is left where events were lost.
    """
    back = found.end >= 0
    gaps = integers.apart(times[found.issue[back]], times[found.end[back]])
    kept = back | (times[found.issue] >= whole)
    alone = found.alone
    if len(gaps):
        alone = alone[times[alone] <= min(whole + int(gaps.max()), integers.I64_RANGE[1])]
    return Issued(found.issue[kept], found.end[kept], alone)


def whole_from(times: I64, cpu: npt.NDArray[Any], sequence: npt.NDArray[Any], remaps: tuple[Any, Any]) -> int:
    """The moment (ns) from which on the events of all CPUs are there, of one device's in the order of time.

    Each CPU counts its events from 1: one whose first event here has another number had earlier ones. `remaps` are the
    CPUs and numbers of the trace's events A: they are counted with these, but may be of another device.
    """
    _, heads = np.unique(cpu, return_index=True)
    earlier = sequence[heads].astype(np.int64) - 1
    for row, number in enumerate(cpu[heads].tolist()):
        own = remaps[1][remaps[0] == number]
        earlier[row] -= int((own <= earlier[row]).sum())
    late = times[heads][earlier > 0]
    return int(late.max()) if len(late) else int(times[0])


def kinds_without(category: npt.NDArray[np.uint32]) -> npt.NDArray[np.int8]:
    """What tells requests without bytes apart that begin at the same sector: flushes of the device, and all others.

    A process's request for a flush is a write (FWS) and ends as one without the flush (WS), the device's is none (FN).
    """
    flush = (category & np.uint32(FLUSH | WRITE)) == FLUSH
    return np.where(flush, _FLUSH, _OTHER).astype(np.int8)


def kinds_by_letters(rwbs: pd.Series[Any]) -> npt.NDArray[np.int8]:
    """The same by letters. The device's flush is "FN" of blkparse and "FF" of the kernel's events.

    "N" alone is of commands that are not a file system's.
    """
    letters = rwbs.astype("category").cat
    names = [str(name) for name in letters.categories]
    kinds = [
        _NONE if name[:1] not in tuple("FWDZ") else _FLUSH if name[:2] in ("FN", "FF") else _OTHER
        for name in names
    ]
    return np.array([*kinds, _NONE], dtype=np.int8)[letters.codes.to_numpy()]
