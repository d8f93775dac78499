"""The frames of a replay (dump.replay()) that no dump had to hold: a leak that fills memory until the machine dies.

    frames = story()                                  # 30 s, 4 CPUs, two disks, a hole in the trace
    frames = story(intervals=1_000_000, requests=200_000)

Same columns, dtypes and meanings as `kernlab.replay.Replay`'s; all of it made up, the same at each call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

NS = 1_000_000_000
KINDS = ("free", "anon", "file", "shmem", "slab", "page_tables", "kernel_stacks", "other")
#: pid, comm, address of its task_struct, its share of the CPUs' time.
TASKS = (
    (0, "swapper", 0xFFFF_8880_0000_1000, 0.22),
    (812, "leak", 0xFFFF_8880_0410_0000, 0.3),
    (640, "postgres", 0xFFFF_8880_0420_0000, 0.14),
    (655, "nginx", 0xFFFF_8880_0430_0000, 0.09),
    (71, "kswapd0", 0xFFFF_8880_0440_0000, 0.08),
    (1, "systemd", 0xFFFF_8880_0450_0000, 0.02),
    (233, "kworker/u8:3", 0xFFFF_8880_0460_0000, 0.05),
    (418, "journald", 0xFFFF_8880_0470_0000, 0.03),
    (1204, "dd", None, 0.05),
    (990, "backup", None, 0.02),
)


@dataclass
class Frames:
    """What the attributes of a Replay are."""

    memory: pd.DataFrame
    memory_by_process: pd.DataFrame
    running: pd.DataFrame
    requests: pd.DataFrame
    pressure: pd.DataFrame
    runnable: pd.DataFrame
    log: pd.DataFrame
    breaks: pd.DataFrame
    marks: pd.DataFrame
    trusted_from: pd.Timedelta
    trusted_reason: str
    crash: pd.Timedelta
    problems: list[str] = field(default_factory=list)

    @property
    def peaks(self) -> pd.DataFrame:
        """The peaks among the marks."""
        return self.marks[self.marks["kind"].astype(str).str.startswith("peak")]


def story(
    *,
    seconds: float = 30,
    boot: float = 95.25,
    cpus: int = 4,
    intervals: int = 6_000,
    requests: int = 3_000,
    readings: int = 300,
    names: dict[str, str] | None = None,
    texts: list[str] | None = None,
    broken: bool = True,
    seed: int = 15,
) -> Frames:
    """A replay of `seconds` that ends at a crash.

    intervals: rows of `running`, of all CPUs; readings: instants of `memory`; names: comms to give other names;
    texts: lines to put into the log; broken: whether events were lost in the middle.
    """
    random = np.random.default_rng(seed)
    crash = int((boot + seconds) * NS)
    first = int(boot * NS)
    hole = (crash - int(seconds * 0.62 * NS), crash - int(seconds * 0.58 * NS)) if broken else None
    comms = [(names or {}).get(comm, comm) for _, comm, _, _ in TASKS]
    running = _running(random, first, crash, hole, cpus, intervals, comms)
    memory = _memory(first, crash, hole, readings)
    processes = _processes(first, crash, hole, readings, comms)
    asked = _requests(random, first, crash, requests, comms)
    pressure = _pressure(first, crash)
    log = _log(first, crash, texts or [])
    runnable = _runnable(random, first, crash, cpus)
    breaks = _breaks(hole, crash, cpus)
    marks = _marks(memory, log, asked, breaks)
    trusted = pd.Timedelta(first + int(seconds * 0.12 * NS), "ns")
    reason = (
        "the oldest reading of all kinds of memory is of that instant; before it some events were overwritten"
    )
    return Frames(
        memory, processes, running, asked, pressure, runnable, log, breaks, marks, trusted, reason,
        pd.Timedelta(crash, "ns"),
    )  # fmt: skip


def _times(ns: npt.NDArray[Any], crash: int) -> dict[str, Any]:
    at = np.asarray(ns, dtype=np.int64)
    return {"time": at.astype("timedelta64[ns]"), "before_crash": (crash - at).astype("timedelta64[ns]")}


def _running(
    random: np.random.Generator, first: int, crash: int, hole: Any, cpus: int, count: int, comms: list[str]
) -> pd.DataFrame:
    parts = []
    share = np.array([each[3] for each in TASKS])
    for cpu in range(cpus):
        n = max(count // cpus, 2)
        lengths = random.exponential(1.0, n) * np.where(random.random(n) < 0.03, 12, 1)
        edges = first + np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum() * (crash - first)
        edges = edges.astype(np.int64)
        edges[-1] = crash
        late = (edges[:-1] - first) / (crash - first)
        # The leak and kswapd have more and more of the time.
        which = random.choice(len(TASKS), n, p=share / share.sum())
        which = np.where((late > 0.6) & (random.random(n) < (late - 0.6) * 1.6), 4, which)
        which = np.where((cpu == 1) & (late > 0.9), 1, which)
        start, end = edges[:-1], edges[1:]
        keep = end > start
        if hole is not None and cpu in (0, 2):
            start, end = _cut(start, end, hole)
            keep = end > start
        parts.append(
            pd.DataFrame(
                {
                    "cpu": np.int64(cpu),
                    "pid": pd.array(np.array([each[0] for each in TASKS])[which], dtype="Int64"),
                    "comm": pd.Series(np.array(comms, dtype=object)[which], dtype="str"),
                    "start": start.astype("timedelta64[ns]"),
                    "end": end.astype("timedelta64[ns]"),
                    "task": pd.array(
                        [None if TASKS[each][2] is None else TASKS[each][2] for each in which], dtype="UInt64"
                    ),
                }
            )[keep]
        )
    return pd.concat(parts, ignore_index=True).sort_values("start", kind="stable", ignore_index=True)


def _cut(start: Any, end: Any, hole: tuple[int, int]) -> tuple[Any, Any]:
    """Nothing is known of the hole: what began before ends there, what ended after begins there."""
    inside = (start >= hole[0]) & (end <= hole[1])
    end = np.where((start < hole[0]) & (end > hole[0]), hole[0], end)
    start = np.where((start >= hole[0]) & (start < hole[1]), np.minimum(hole[1], end), start)
    return start, np.where(inside, start, end)


def _memory(first: int, crash: int, hole: Any, readings: int) -> pd.DataFrame:
    at = np.linspace(first, crash, readings).astype(np.int64)
    share = (at - first) / (crash - first)
    total = 2 << 30
    # Grows, is killed at 0.8, grows again.
    leak = np.where(share < 0.8, share / 0.8 * 1.25, 0.35 + (share - 0.8) * 2.6)
    wave = 0.03 * np.sin(share * 60)
    file = np.clip(0.55 - share * 0.5 + wave, 0.04, 1)
    parts = {
        "anon": 0.12 + leak,
        "file": file,
        "shmem": np.full(readings, 0.02),
        "slab": 0.09 + 0.03 * share,
        "page_tables": 0.008 + 0.01 * share,
        "kernel_stacks": np.full(readings, 0.006),
        "other": 0.05 + 0.002 * np.cos(share * 31),
    }
    pages = {
        name: (np.asarray(size) * (1 << 30)).astype(np.int64) // 4096 * 4096 for name, size in parts.items()
    }
    used = sum(pages.values())
    over = np.maximum(used - total + (24 << 20), 0)
    pages["file"] = np.maximum(pages["file"] - over, 16 << 20)
    used = sum(pages.values())
    pages["anon"] -= np.maximum(used - total + (16 << 20), 0)
    pages["free"] = total - sum(pages.values())
    frame = pd.DataFrame(_times(at, crash))
    for name in KINDS:
        frame[f"{name}_bytes"] = pd.array(pages[name], dtype="Int64")
    frame["total_bytes"] = pd.array(np.full(readings, total), dtype="Int64")
    frame["swap_bytes"] = pd.array((np.clip(share - 0.4, 0, 1) * (300 << 20)).astype(np.int64), dtype="Int64")
    frame["source"] = [
        "dump" if row == readings - 1 else "events" if row % 7 else "sample" for row in range(readings)
    ]
    if hole is not None:
        frame = frame[(at < hole[0]) | (at >= hole[1])]
        broken = pd.DataFrame(_times(np.array([hole[0]]), crash) | {"source": ["break"]})
        frame = pd.concat([frame, broken], ignore_index=True).sort_values("time", ignore_index=True)
    frame["source"] = frame["source"].astype("category")
    return frame


def _processes(first: int, crash: int, hole: Any, readings: int, comms: list[str]) -> pd.DataFrame:
    parts = []
    at = np.linspace(first, crash, readings).astype(np.int64)
    share = (at - first) / (crash - first)
    sizes = {
        1: np.where(share < 0.8, 0.05 + share / 0.8 * 1.2, 0.3 + (share - 0.8) * 2.6),
        2: 0.09 + 0.01 * np.sin(share * 20),
        3: np.full(readings, 0.045),
        5: np.full(readings, 0.012),
        7: 0.02 + 0.02 * share,
        8: np.where((share > 0.2) & (share < 0.5), 0.03, 0.0),
        9: np.where(share > 0.5, 0.05, 0.0),
    }
    for which, gib in sizes.items():
        rss = (np.asarray(gib) * (1 << 30)).astype(np.int64) // 4096 * 4096
        keep = (rss > 0) | np.append(rss[:-1] > 0, False) | (np.roll(rss, 1) > 0)
        if hole is not None:
            keep &= (at < hole[0]) | (at >= hole[1])
        frame = pd.DataFrame(_times(at[keep], crash))
        frame["pid"] = pd.array(np.full(int(keep.sum()), TASKS[which][0]), dtype="Int64")
        frame["comm"] = pd.Series([comms[which]] * len(frame), dtype="str")
        frame["start_time"] = np.full(len(frame), 3 * NS, dtype=np.int64).astype("timedelta64[ns]")
        for name, of in (("rss", 1.0), ("anon", 0.8), ("file", 0.18), ("shmem", 0.02), ("swap", 0.0)):
            frame[f"{name}_bytes"] = pd.array((rss[keep] * of).astype(np.int64), dtype="Int64")
        frame["source"] = "sample"
        if hole is not None and (rss[at < hole[0]] > 0).any():
            row = _times(np.array([hole[0]]), crash) | {
                "pid": pd.array([TASKS[which][0]], dtype="Int64"), "comm": [comms[which]],
                "start_time": np.array([3 * NS], dtype=np.int64).astype("timedelta64[ns]"), "source": ["break"],
            }  # fmt: skip
            frame = pd.concat([frame, pd.DataFrame(row)], ignore_index=True)
        parts.append(frame)
    found = pd.concat(parts, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)
    found["source"] = found["source"].astype("category")
    return found


def _requests(
    random: np.random.Generator, first: int, crash: int, count: int, comms: list[str]
) -> pd.DataFrame:
    start = np.sort(random.integers(first, crash - 1, count))
    share = (start - first) / (crash - first)
    took = (random.lognormal(0, 0.7, count) * 8e5 * (1 + 12 * np.clip(share - 0.7, 0, 1))).astype(
        np.int64
    ) + 1
    disk = random.choice(2, count, p=(0.75, 0.25))
    write = random.random(count) < 0.35
    flush = random.random(count) < 0.01
    head = np.where(disk == 0, (share * 3 % 1) * 6e7, 4e7) + random.normal(0, 6e5, count)
    sector = np.clip(head, 0, 8e7).astype(np.int64)
    who = np.where(write, 7, np.where(random.random(count) < 0.4, 2, random.choice([4, 8, 9], count)))
    end = start + took
    lost = (end >= crash) | ((random.random(count) < 0.002) & (share > 0.5)) | ((disk == 1) & (share > 0.992))
    ends = end.astype("timedelta64[ns]")
    ends[lost] = np.timedelta64("NaT")
    latency = took.astype("timedelta64[ns]")
    latency[lost] = np.timedelta64("NaT")
    pid = np.array([each[0] for each in TASKS])[who]
    return pd.DataFrame(
        {
            "device": pd.array(np.where(disk == 0, 254 << 20, 254 << 20 | 16), dtype="Int64"),
            "disk": pd.Series(np.where(disk == 0, "vda", "vdb"), dtype="str"),
            "sector": pd.array(np.where(flush, 0, sector), dtype="Int64"),
            "bytes": pd.array(np.where(flush, 0, random.choice([4096, 16384, 131072, 524288], count)), dtype="Int64"),
            "op": pd.Series(np.where(flush, "flush", np.where(write, "write", "read")), dtype="str"),
            "flush": flush,
            "pid": pd.array(pid, dtype="Int64"),
            "comm": pd.Series(np.array(comms, dtype=object)[who], dtype="str"),
            "start": start.astype("timedelta64[ns]"),
            "end": ends,
            "latency": latency,
            "process": pd.Series(np.array(comms, dtype=object)[who], dtype="str"),
        }
    )  # fmt: skip


def _pressure(first: int, crash: int) -> pd.DataFrame:
    at = np.arange(first, crash, NS // 4)
    share = (at - first) / (crash - first)
    lines = {
        ("cpu", "some"): 0.08 + 0.1 * share,
        ("memory", "some"): np.clip(share - 0.55, 0, 1) * 2,
        ("memory", "full"): np.clip(share - 0.65, 0, 1) * 1.8,
        ("io", "some"): 0.1 + np.clip(share - 0.7, 0, 1) * 1.5,
        ("io", "full"): np.clip(share - 0.75, 0, 1) * 1.5,
    }
    parts = [
        pd.DataFrame(_times(at, crash) | {"resource": resource, "kind": kind, "share": np.clip(value, 0, 1)})
        for (resource, kind), value in lines.items()
    ]
    return pd.concat(parts, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)


def _runnable(random: np.random.Generator, first: int, crash: int, cpus: int) -> pd.DataFrame:
    at = np.arange(first, crash, NS // 10)
    share = (at - first) / (crash - first)
    parts = []
    for cpu in range(cpus):
        count = random.poisson(0.8 + 3 * np.clip(share - 0.6, 0, 1))
        parts.append(
            pd.DataFrame(
                _times(at, crash) | {"cpu": pd.array(np.full(len(at), cpu), dtype="Int64"), "count": count}
            )
        )
    return pd.concat(parts, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)


def _log(first: int, crash: int, texts: list[str]) -> pd.DataFrame:
    said = [
        (0.02, 6, "EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none."),
        (0.31, 4, "systemd-journald[418]: Under memory pressure, flushing caches."),
        (0.55, 4, "hrtimer: interrupt took 4110233 ns"),
        (0.72, 3, "I/O error, dev vdb, sector 40211968 op 0x1:(WRITE) flags 0x800 phys_seg 4 prio class 2"),
        (0.795, 4, "postgres invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0"),
        (0.8, 3, "Out of memory: Killed process 812 (leak) total-vm:1540096kB, anon-rss:1310720kB, file-rss:0kB"),
        (0.93, 3, "INFO: task dd:1204 blocked for more than 10 seconds."),
        (0.9996, 0, "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"),
        (0.9998, 0, "CPU: 1 PID: 812 Comm: leak Not tainted 6.12.0-9-amd64 #1"),
    ]  # fmt: skip
    said += [(0.4 + 0.01 * number, 3, line) for number, line in enumerate(texts)]
    said += [(0.05 * number, 6, f"eth0: renamed from veth{number}") for number in range(1, 12)]
    said.sort()
    at = np.array([first + int(share * (crash - first)) for share, _, _ in said])
    frame = pd.DataFrame(_times(at, crash))
    frame["level"] = pd.array([level for _, level, _ in said], dtype="Int64")
    frame["text"] = pd.Series([line for _, _, line in said], dtype="str")
    return frame


def _breaks(hole: Any, crash: int, cpus: int) -> pd.DataFrame:
    rows = []
    if hole is not None:
        rows = [
            (hole[0], "ftrace", cpu, "812 events were overwritten before anybody read them")
            for cpu in (0, 2)
            if cpu < cpus
        ]
        rows.append((hole[0], "ftrace", None, "the chain of memory events ends here: events are missing"))
    frame = pd.DataFrame({"time": np.array([row[0] for row in rows], dtype="timedelta64[ns]")})
    frame["source"] = pd.Series([row[1] for row in rows], dtype="str")
    frame["cpu"] = pd.array([row[2] for row in rows], dtype="Int64")
    frame["reason"] = pd.Series([row[3] for row in rows], dtype="str")
    return frame


def _marks(
    memory: pd.DataFrame, log: pd.DataFrame, requests: pd.DataFrame, breaks: pd.DataFrame
) -> pd.DataFrame:
    used = memory["total_bytes"] - memory["free_bytes"]
    peak = memory.loc[used.astype("Float64").idxmax()]
    rows = [
        (
            peak["time"],
            "peak memory",
            f"{int(used.max()) >> 20} MiB of {int(peak['total_bytes']) >> 20} MiB in use",
        )
    ]
    rows += [(row["time"], "log error", row["text"]) for _, row in log.iterrows() if row["level"] <= 3]
    rows += [
        (
            row["start"],
            "unanswered request",
            f"{row['disk']} {row['op']} of {row['bytes']} bytes by {row['comm']}",
        )
        for _, row in requests[requests["end"].isna()].tail(200).iterrows()
    ]
    rows += [(row["time"], "break", row["reason"]) for _, row in breaks.iterrows()]
    rows += [
        (row["time"], "oom kill", row["text"]) for _, row in log.iterrows() if "Killed process" in row["text"]
    ]
    frame = pd.DataFrame(rows, columns=["time", "kind", "text"])
    frame["time"] = frame["time"].astype("timedelta64[ns]")
    return frame.sort_values("time", kind="stable", ignore_index=True)
