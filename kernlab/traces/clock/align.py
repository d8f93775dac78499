"""How fast a counter runs that the dump ties to the axis at its last tick only: by events that two sources saw.

Where sched_clock is not stable, each tick ties it to CLOCK_MONOTONIC anew, and only the last tick is in the dump. How
much faster one runs than the other is told by what a trace stamped with sched_clock, and another source by a clock that
is on the axis: a request (blktrace), a line of the log (the event console), a fork (the child's start time).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.kernel_log import read_log
from kernlab.linux.tasks import find_tasks
from kernlab.traces.blktrace.names import device_name
from kernlab.traces.clock.relation import FAR, Relation
from kernlab.traces.ftrace.rows import Rows, clocks_of, recorded_names
from kernlab.traces.ftrace.view import Ftrace
from kernlab.traces.relay.view import Relay

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
#: Of one kind of event: what the counter said in ns, and the instant on the axis.
Points = tuple[I64, I64]
#: A trace's times in ns of sched_clock.
ToRaw = Callable[[npt.NDArray[np.integer]], tuple[I64, I64]]

#: Fewer pairs than this tell no rate.
_LEAST = 8
#: The console's own prefix of a line.
_PREFIX = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")


@dataclass(frozen=True)
class Drift:
    """ns on the axis for each that the counter says, how far off that may be, and who says so."""

    rate: float
    doubt: float
    source: str
    #: Requests, which both saw within microseconds: what the counter said of each, and when it was.
    shared: Points | None = None


def drift(kernel: Kernel, mono: Relation, clocks: Mapping[str, ToRaw]) -> Drift | None:
    """How fast sched_clock runs against the axis, of events that two sources saw; None where there are too few.

    `mono` is CLOCK_MONOTONIC; `clocks` are trace clocks that count sched_clock.
    """
    ftrace = Ftrace(kernel)
    counting = {name: clocks[clock] for name, clock in clocks_of(ftrace).items() if clock in clocks}
    # Nothing is decoded where nothing counts it.
    traces = (
        [(name, counting[name]) for name in recorded_names(ftrace) if name in counting] if counting else []
    )
    # The log's own clock is held to one tick's length, and so off by as much: its lines tell where nothing else does.
    for kinds in ({"requests": _requests, "forks": _forks}, {"lines of the log": _lines}):
        slopes, weights, told, shared = [], [], [], []
        for kind, find in kinds.items():
            count = 0
            for instance, to_raw in traces:
                with suppress(KernlabError), kernel.quiet():
                    points = find(kernel, Rows(ftrace, instance), to_raw, mono)
                    if points is not None:
                        slope, weight = _slopes(*points)
                        count += 2 * len(slope)
                        slopes.append(slope)
                        weights.append(weight)
                        shared += [points] if find is _requests else []
            if count:
                told.append(f"{count:,} {kind}")
        if sum(map(len, slopes)) >= _LEAST:
            low, middle, high = _quantiles(np.concatenate(slopes), np.concatenate(weights), (0.25, 0.5, 0.75))
            if low > 0:
                both = tuple(np.concatenate(column) for column in zip(*shared, strict=True)) if shared else ()
                doubt = max(high - middle, middle - low)
                return Drift(middle, doubt, " and ".join(told), (both[0], both[1]) if both else None)
    return None


def aligned(relation: Relation, found: Drift) -> Relation:
    """A relation by the last tick that runs at the rate that events tell, and through the middle of what both saw."""
    rate = Fraction(found.rate).limit_denominator(1 << 40)
    made = Relation(relation.zero, relation.axis, rate, relation.error, found.doubt)
    if found.shared is None or len(found.shared[0]) < _LEAST:
        return made
    counter, instant = found.shared
    at, error = made.apply(counter)
    away = int(np.median((instant - at)[error < FAR]))
    return replace(made, axis=made.axis + away, error=made.error + abs(away))


def _slopes(counter: I64, axis: I64) -> tuple[F64, F64]:
    """(rates, weights) of pairs half of the trace apart: what one source is always late by does not count."""
    order = np.argsort(counter, kind="stable")
    counter, axis = counter[order], axis[order]
    half = len(counter) // 2
    first, last = slice(0, half), slice(len(counter) - half, None)
    span = (counter[last] - counter[first]).astype(np.float64)
    wide = span > 0
    return (axis[last] - axis[first])[wide] / span[wide], span[wide]


def _quantiles(values: F64, weights: F64, wanted: tuple[float, ...]) -> list[float]:
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return [float(values[order][np.searchsorted(share, share[-1] * one)]) for one in wanted]


def _of(rows: Rows, event: str, fields: tuple[str, ...]) -> pd.DataFrame | None:
    """The chosen fields of one kind of event, with its times; None without any."""
    codes, names = rows.events()
    if event not in names:
        return None
    rows.keep(codes == names.index(event))
    found = dict(rows.fields("", ()))
    if len(rows) == 0 or not set(fields) <= set(found):
        return None
    return pd.DataFrame({"when": rows.times, **{name: found[name] for name in fields}})


def _unique(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return table[~table.duplicated(keys, keep=False)]


def _joined(
    mine: pd.DataFrame, theirs: pd.DataFrame, keys: list[str], to_raw: ToRaw, axis: Relation
) -> Points:
    """What both have once."""
    both = _unique(mine, keys).merge(_unique(theirs, keys), on=keys)
    instant, error = axis.apply(both["then"].to_numpy())
    counter, doubt = to_raw(both["when"].to_numpy().astype(np.uint64))
    good = (error < FAR) & (doubt < FAR)
    return counter[good], instant[good]


def _requests(kernel: Kernel, rows: Rows, to_raw: ToRaw, mono: Relation) -> Points | None:
    mine = _of(rows, "block_rq_issue", ("dev", "sector"))
    relay = Relay(kernel)
    if mine is None or not relay.block_traces:
        return None
    traces = [relay.blktrace(name, mode="all").events for name in relay.block_traces]
    events = pd.concat([trace[trace["action"] == "D"] for trace in traces])
    mine["dev"] = [device_name(int(device)) for device in mine["dev"]]
    mine["sector"] = mine["sector"].astype("uint64")
    theirs = pd.DataFrame(
        {
            "dev": events["device"].astype(object).to_numpy(),
            "sector": events["sector"].to_numpy(),
            "then": events["timestamp"].to_numpy().view(np.int64),
        }
    )
    return _joined(mine, theirs, ["dev", "sector"], to_raw, mono)


def _lines(kernel: Kernel, rows: Rows, to_raw: ToRaw, _: Relation) -> Points | None:
    mine = _of(rows, "console", ("msg",))
    if mine is None:
        return None
    log = read_log(kernel)
    said = [_line(str(text)) for text in log.texts().tolist()]
    stamps = log.infos["ts_nsec"].int64
    mine["line"] = [_line(str(text)) for text in mine["msg"]]
    theirs = pd.DataFrame({"line": said, "then": stamps.filled(0)})[stamps.valid]
    return _joined(mine, theirs, ["line"], to_raw, Relation(0, 0))


def _line(text: str) -> str:
    return _PREFIX.sub("", text.strip()).strip()


def _forks(kernel: Kernel, rows: Rows, to_raw: ToRaw, mono: Relation) -> Points | None:
    mine = _of(rows, "sched_process_fork", ("child_pid",))
    if mine is None:
        return None
    tasks = find_tasks(kernel)
    pid: Column = tasks["pid"]
    began = tasks["start_time"].int64
    there = pid.true & began.valid
    theirs = pd.DataFrame(
        {"child_pid": pid.filled(0)[there].astype(np.int64), "then": began.filled(0)[there]}
    )
    mine["child_pid"] = mine["child_pid"].astype("int64")
    # Numbers are used again: the task that is there is the last one.
    mine = mine.drop_duplicates("child_pid", keep="last")
    return _joined(mine, theirs, ["child_pid"], to_raw, mono)
