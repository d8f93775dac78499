"""The frames of a replay in, what the browser plays out: facts as JSON, and one block of bytes with all columns.

Strings of the dump have their control characters made visible here; the front end sets them as text, never as markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.escape import show_controls
from kernlab.player.columns import Axis, Block, ns_of, numbers, thinned
from kernlab.player.names import Names
from kernlab.plots.replay import memory
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay

#: Kinds of memory, as they are stacked.
KINDS = tuple(column.removesuffix("_bytes") for column, _, _ in memory.KINDS)
#: Readings that are sent; of more, those that make the shape.
_MOST_READINGS, _MOST_OF_ALL, _MOST_OF_ONE, _MOST_PROCESSES = 40_000, 300_000, 2_000, 400
_MOST_LINES, _MOST_MARKS, _LONGEST = 20_000, 2_000, 400

_DETAILS = ("anon", "file", "shmem", "swap")


@dataclass(frozen=True, slots=True)
class Packed:
    """What is sent: `meta` is plain JSON; `data` the block that its columns lie in; `tasks` the task_struct of each
    name of `meta["tasks"]`, 0 where the dump has none."""

    meta: dict[str, Any]
    data: bytes
    tasks: list[int]


def pack(frames: Replay, since: int | None = None, until: int | None = None) -> Packed:
    """All frames. since and until are the ends of the axis, ns since boot; None is the first of all, and the crash."""
    crash = int(pd.Timedelta(frames.crash).value)
    axis = Axis.over(_first(frames, crash) if since is None else since, crash if until is None else until)
    block, names = Block(), Names()
    kept: dict[str, list[int]] = {}
    cpus = _running(frames.running, axis, block, names)
    processes = _processes(frames.memory_by_process, axis, block, names, kept)
    disks = _requests(frames.requests, axis, block, names)
    meta = {
        "tick_ns": axis.tick,
        "origin_ns": axis.origin,
        "crash_ns": crash,
        "end": axis.tick_of(axis.end),
        "trusted": _instant(frames.trusted_from, axis),
        "trusted_reason": _text(frames.trusted_reason),
        "cpus": cpus,
        "idle_told": names.has_idle,
        "memory": _memory(frames.memory, axis, block, kept),
        "processes": processes,
        "disks": disks,
        "pressure": _lines(
            frames.pressure, ("resource", "kind"), "share", "pressure", axis, block, np.float32, kept
        ),
        "runnable": _lines(frames.runnable, ("cpu",), "count", "runnable", axis, block, np.float32, kept),
        "log": _log(frames.log, axis, block),
        "marks": [
            {"time": _instant(row["time"], axis), "kind": _text(row["kind"]), "text": _text(row["text"])}
            for row in _rows(frames.marks, _MOST_MARKS)
        ],
        "breaks": [
            {
                "time": _instant(row["time"], axis),
                "until": _instant(row.get("until", row["time"]), axis),
                "source": _text(row["source"]),
                "cpu": None if pd.isna(row["cpu"]) else int(row["cpu"]),
                "reason": _text(row["reason"]),
            }
            for row in _rows(frames.breaks, _MOST_MARKS)
        ],
        "thinned": kept,
        "problems": [_text(said) for said in frames.problems][:50],
        "tasks": names.entries(),
    }
    meta["columns"] = {name: list(place) for name, place in block.columns.items()}
    return Packed(meta, block.bytes(), names.addresses)


def _first(frames: Replay, crash: int) -> int:
    """The first instant before the crash that anything but the log tells of; the log's where nothing else does."""
    begins = [("memory", "time"), ("running", "start"), ("requests", "start"), ("pressure", "time")]
    begins += [("runnable", "time"), ("memory_by_process", "time")]
    firsts = [
        int(found.min())
        for name, column in begins
        if len(found := _known(ns_of(getattr(frames, name)[column]))) and found.min() < crash
    ]
    if not firsts and len(frames.log):
        firsts = [int(found.min()) for found in [_known(ns_of(frames.log["time"]))] if len(found)]
    return min(firsts, default=crash - 1)


def _known(ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.asarray(ns[ns != np.iinfo(np.int64).min])


def _running(frame: pd.DataFrame, axis: Axis, block: Block, names: Names) -> list[dict[str, int]]:
    """Intervals by CPU and time; where each CPU's lie."""
    start, end = ns_of(frame["start"]), ns_of(frame["end"])
    keep = np.flatnonzero((end > start) & (end > axis.origin) & (start < axis.end))
    cpu = frame["cpu"].to_numpy(dtype=np.int64)[keep]
    order = keep[np.lexsort((start[keep], cpu))]
    frame, start, end = frame.iloc[order], start[order], end[order]
    lasted = np.clip(end, axis.origin, axis.end) - np.clip(start, axis.origin, axis.end)
    block.put("running.start", axis.ticks(start))
    block.put("running.end", axis.ticks(end))
    block.put("running.task", names.of(frame, lasted))
    return [
        {"cpu": number, "from": at, "to": to}
        for number, at, to in _groups(frame["cpu"].to_numpy(dtype=np.int64))
    ]


def _groups(codes: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(code, from, to) of each run of equal codes."""
    if not len(codes):
        return []
    edges = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
    return [(int(codes[at]), int(at), int(to)) for at, to in pairwise(edges)]


def _memory(frame: pd.DataFrame, axis: Axis, block: Block, kept: dict[str, list[int]]) -> dict[str, Any]:
    frame = _inside(frame, axis)
    if not len(frame):
        return {"kinds": [], "total": 0}
    values = {kind: numbers(frame[f"{kind}_bytes"]) for kind in KINDS}
    total, swap = numbers(frame["total_bytes"]), numbers(frame["swap_bytes"])
    broken = np.isnan(np.array(list(values.values()))).all(axis=0)
    rows = np.arange(len(frame), dtype=np.int64)
    if len(rows) > _MOST_READINGS:
        share = _MOST_READINGS // len(KINDS)
        chosen = [thinned(np.nan_to_num(each), share) for each in values.values()]
        rows = np.unique(np.concatenate([*chosen, np.flatnonzero(broken), rows[-1:]]))
        kept["memory"] = [len(rows), len(frame)]
    block.put("memory.time", axis.ticks(ns_of(frame["time"])[rows]))
    block.put("memory.break", broken[rows].astype(np.uint8))
    for name, each in (*values.items(), ("total", total), ("swap", swap)):
        block.put(f"memory.{name}", each[rows].astype(np.float32))
    present = [kind for kind in KINDS if np.nan_to_num(values[kind]).any()]
    source = [_text(each) for each in frame["source"].iloc[rows].astype(str).unique()]
    return {"kinds": present, "total": float(np.nanmax(np.append(total, 0))), "sources": source}


def _processes(
    frame: pd.DataFrame, axis: Axis, block: Block, names: Names, kept: dict[str, list[int]]
) -> list[dict[str, Any]]:
    """Readings by process and time, of those that were ever the largest; what breaks all breaks each."""
    frame = _inside(frame, axis)
    everywhere = frame["pid"].isna().to_numpy()
    whole_breaks = ns_of(frame["time"])[everywhere]
    # What is not said of one is not a break.
    frame = frame[~everywhere & (frame["rss_bytes"].notna() | (frame["source"] == "break")).to_numpy()]
    if not len(frame):
        return []
    starts, started = pd.factorize(ns_of(frame["start_time"]))
    codes = frame["pid"].to_numpy(dtype=np.int64) * len(started) + starts
    order = np.argsort(codes, kind="stable")
    frame, rss, time = frame.iloc[order], numbers(frame["rss_bytes"])[order], ns_of(frame["time"])[order]
    runs = _groups(codes[order])
    peaks = [float(np.nanmax(np.append(rss[at:to], 0))) for _, at, to in runs]
    most = _MOST_OF_ONE if len(frame) > _MOST_OF_ALL else len(frame)
    shown = sorted(sorted(range(len(runs)), key=lambda run: -peaks[run])[:_MOST_PROCESSES])
    if len(shown) < len(runs):
        kept["processes"] = [len(shown), len(runs)]
    found: list[dict[str, Any]] = []
    times, places, size = [], [], 0
    for run in shown:
        _, at, to = runs[run]
        rows = at + thinned(np.nan_to_num(rss[at:to]), most)
        rows = np.union1d(rows, at + np.flatnonzero(np.isnan(rss[at:to])))
        between = whole_breaks[(whole_breaks > time[at]) & (whole_breaks <= time[to - 1])]
        stamps = np.concatenate([time[rows], between])
        put = np.concatenate([rows, np.full(len(between), -1, dtype=np.int64)])
        by_time = np.argsort(stamps, kind="stable")
        times.append(stamps[by_time])
        places.append(put[by_time])
        last = frame.iloc[to - 1]
        who = names.one(last["pid"], last["comm"], weight=peaks[run])
        found.append({"who": who, "from": size, "to": size + len(put), "peak": peaks[run]})
        size += len(put)
    all_rows = np.concatenate(places)
    if most == _MOST_OF_ONE and size < len(frame):
        kept["memory by process"] = [size, len(frame)]
    block.put("processes.time", axis.ticks(np.concatenate(times)))
    for name in ("rss", *_DETAILS):
        each = numbers(frame[f"{name}_bytes"])
        block.put(f"processes.{name}", np.where(all_rows < 0, np.nan, each[all_rows]).astype(np.float32))
    return found


def _requests(frame: pd.DataFrame, axis: Axis, block: Block, names: Names) -> list[dict[str, Any]]:
    start, end = ns_of(frame["start"]), ns_of(frame["end"])
    nat = np.iinfo(np.int64).min
    keep = np.flatnonzero((start < axis.end) & ((end == nat) | (end >= axis.origin)) & (start != nat))
    disk = frame["disk"].astype(object).where(frame["disk"].notna(), frame["device"].astype(str))
    codes, disks = pd.factorize(disk.to_numpy(dtype=object)[keep], sort=True)
    order = np.lexsort((start[keep], codes))
    rows, codes = keep[order], codes[order].astype(np.int64)
    frame = frame.iloc[rows]
    sector, size = numbers(frame["sector"]), numbers(frame["bytes"])
    flush = frame["flush"].fillna(False).to_numpy(dtype=bool)
    op = frame["op"].astype(str).str.lower()
    kind = np.select([op.str.contains("write"), op.str.contains("read")], [1, 0], 2).astype(np.uint8)
    block.put("requests.start", axis.ticks(start[rows]))
    # What comes back after the axis' end is out at its end.
    ends = axis.ticks(end[rows])
    block.put("requests.end", np.where((end[rows] != nat) & (end[rows] > axis.end), ends + 1, ends))
    block.put("requests.offset", sector * 512)
    block.put("requests.bytes", size.astype(np.float32))
    block.put("requests.kind", (kind | flush.astype(np.uint8) << 2).astype(np.uint8))
    block.put("requests.who", names.of(frame, np.zeros(len(frame), dtype=np.int64)))
    found = []
    for code, at, to in _groups(codes):
        known = sector[at:to][~np.isnan(sector[at:to]) & (size[at:to] > 0)] * 512
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        found.append({"name": _text(disks[code]), "from": at, "to": to, "low": low, "high": high})
    # The busiest first.
    return sorted(found, key=lambda each: each["from"] - each["to"])


def _lines(
    frame: pd.DataFrame,
    keys: tuple[str, ...],
    value: str,
    name: str,
    axis: Axis,
    block: Block,
    dtype: type[Any],
    kept: dict[str, list[int]],
) -> list[dict[str, Any]]:
    """A line of values over time for each of the keys' values: where its points lie."""
    frame = _inside(frame, axis)
    found: list[dict[str, Any]] = []
    times, values, size = [], [], 0
    groups: Any = frame.groupby(list(keys), sort=True, dropna=False, observed=True)
    for key, rows in groups:
        y = numbers(rows[value])
        chosen = np.union1d(thinned(np.nan_to_num(y), _MOST_READINGS // 8), np.flatnonzero(np.isnan(y)))
        if len(chosen) < len(y):
            before = kept.get(name, [0, 0])
            kept[name] = [before[0] + len(chosen), before[1] + len(y)]
        times.append(ns_of(rows["time"])[chosen])
        values.append(y[chosen])
        given = {
            label: None if pd.isna(part) else int(part) if label == "cpu" else _text(part)
            for label, part in zip(keys, key, strict=True)
        }
        found.append({**given, "from": size, "to": size + len(chosen)})
        size += len(chosen)
    if found:
        block.put(f"{name}.time", axis.ticks(np.concatenate(times)))
        block.put(f"{name}.{value}", np.concatenate(values).astype(dtype))
    return found


def _log(frame: pd.DataFrame, axis: Axis, block: Block) -> list[str]:
    """The lines up to the axis' end; those from before its beginning are at negative ticks."""
    time = ns_of(frame["time"])
    frame = frame[(time != np.iinfo(np.int64).min) & (time <= axis.end)].tail(_MOST_LINES)
    if not len(frame):
        return []
    block.put("log.time", (ns_of(frame["time"]) - axis.origin) / axis.tick)
    block.put("log.level", frame["level"].fillna(6).to_numpy(dtype=np.int64).clip(0, 7).astype(np.uint8))
    return [_text(line) for line in frame["text"]]


def _inside(frame: pd.DataFrame, axis: Axis) -> pd.DataFrame:
    """The rows on the axis, and the last before it, in the order of time; those of one instant in their own."""
    time = ns_of(frame["time"])
    return frame[(time >= axis.origin) & (time <= axis.end)].sort_values("time", kind="stable")


def _rows(frame: pd.DataFrame, most: int) -> list[dict[str, Any]]:
    ordered = frame[frame["time"].notna()].sort_values("time", kind="stable")
    return [{str(key): value for key, value in row.items()} for row in ordered.tail(most).to_dict("records")]


def _instant(time: Any, axis: Axis) -> float | None:
    return None if pd.isna(time) else axis.tick_of(pd.Timedelta(time).value)


def _text(value: Any) -> str:
    return "?" if pd.isna(value) else show_controls(shorten(str(value), _LONGEST))
