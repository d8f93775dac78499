"""Everything at one instant of a replay: who ran, what disks had been asked, where memory was, what the log said."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.dataframes import frame, nullable
from kernlab.dataframes.builder import describe
from kernlab.escape import NO_MATH, escape_html, show_controls
from kernlab.replay.columns import by_kind
from kernlab.replay.kinds import KINDS
from kernlab.replay.memory import SOURCES
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay

#: Last lines of the log that are shown.
_LINES = 10
_SHOWN = 8


class Moment:
    """One instant: `time` and `before_crash`; `running`, one row per CPU; `requests` that were out; `memory`, a Series;
    `processes`, the largest first; `log`, its last lines up to then."""

    def __init__(self, replay: Replay, ns: int):
        self._replay = replay
        self._ns = ns
        self.time = pd.Timedelta(ns, "ns")
        self.before_crash = replay.crash - self.time

    @cached_property
    def running(self) -> pd.DataFrame:
        """What ran on each CPU: as `Replay.running`; a CPU of which that is not known is not there."""
        table = self._replay.running
        start, end = (table[name].to_numpy().view(np.int64) for name in ("start", "end"))
        crash = self._replay.crash.value
        rows = np.flatnonzero(
            (start <= self._ns) & ((end > self._ns) | ((end == self._ns) & (self._ns == crash)))
        )
        rows = rows[np.argsort(table["cpu"].to_numpy()[rows], kind="stable")]
        found: pd.DataFrame = table.iloc[rows].reset_index(drop=True)
        return found

    @cached_property
    def requests(self) -> pd.DataFrame:
        """Requests that had been issued and had not come back, as `Replay.requests`."""
        table = self._replay.requests
        start, end = (table[name].to_numpy().astype("m8[ns]") for name in ("start", "end"))
        now = np.timedelta64(self._ns, "ns")
        out = (start <= now) & (np.isnat(end) | (end > now))
        found: pd.DataFrame = table[out].reset_index(drop=True)
        return found

    @cached_property
    def memory(self) -> pd.Series[Any]:
        """Bytes by kind, as a row of `Replay.memory`; missing where nothing tells, or events are missing."""
        sources = self._replay._sources
        with self._replay._scope():
            values, known, source = sources.memory.at(np.array([self._ns], dtype=np.int64))
            total = sources.end.total
            there = bool(known.any())
            names = [*(f"{kind}_bytes" for kind in KINDS), "swap_bytes"]
            row: dict[str, Any] = {
                name: int(value) if is_known else pd.NA
                for name, value, is_known in zip(names, values[0], known[0], strict=True)
            }
            row["total_bytes"] = total if there and total is not None else pd.NA
            row["source"] = SOURCES[int(source[0])] if there else pd.NA
            found = pd.Series(row, dtype=object, name="memory")
            found.attrs.update(describe(self._replay._kernel, "memory at an instant"))
        return found

    @cached_property
    def processes(self) -> pd.DataFrame:
        """Resident memory of each process of which it is known, the largest first: pid, comm, rss_bytes, anon_bytes,
        file_bytes, shmem_bytes, swap_bytes, source."""
        sources = self._replay._sources
        with self._replay._scope():
            points = sources.points
            of, values, known, source = points.at(self._ns)
            resident = np.asarray(known[:, :3].all(axis=1))
            rss = values[:, :3].sum(axis=1)
            order = np.argsort(np.where(resident, -rss, 1), kind="stable")
            of, values, known, source = of[order], values[order], known[order], source[order]
            anon, file, shmem, swap = by_kind(values, known)
            names: Any = list(SOURCES)
            comm = np.array([*points.comm, None], dtype=object)[of]
            return frame(
                self._replay._kernel,
                "processes at an instant",
                pid=nullable(points.pid[of]),
                comm=pd.array(comm, dtype="str"),
                rss_bytes=nullable(rss[order], resident[order]),
                anon_bytes=anon,
                file_bytes=file,
                shmem_bytes=shmem,
                swap_bytes=swap,
                source=pd.Categorical.from_codes(source, categories=names),
            )

    @cached_property
    def log(self) -> pd.DataFrame:
        """The last lines of the log up to then: timestamp, level, text."""
        table = self._replay._log
        count = int((table["timestamp"].to_numpy() <= np.timedelta64(self._ns, "ns")).sum())
        return table.iloc[max(count - _LINES, 0) : count][["timestamp", "level", "text"]].reset_index(
            drop=True
        )

    def _parts(self) -> list[tuple[str, list[str]]]:
        """What is shown, by heading."""
        running = [
            f"CPU {cpu}: {comm} ({pid})" for cpu, pid, comm in _columns(self.running, "cpu", "pid", "comm")
        ]
        memory = [
            f"{str(name).removesuffix('_bytes').replace('_', ' ')} {human_bytes(int(value))}"
            for name, value in self.memory.items()
            if isinstance(value, int)
        ]
        source = self.memory["source"]
        if isinstance(source, str):
            memory.append(f"({source})")
        largest = [
            f"{comm} ({pid}): {'?' if pd.isna(size) else human_bytes(int(size))}"
            for pid, comm, size in _columns(self.processes.head(_SHOWN), "pid", "comm", "rss_bytes")
        ]
        requests = [
            f"{disk}: {op} of {size:,} bytes at sector {sector:,} by {process}"
            for disk, op, size, sector, process in _columns(
                self.requests.head(_SHOWN), "disk", "op", "bytes", "sector", "process"
            )
        ]
        if len(self.requests) > _SHOWN:
            requests.append(f"and {len(self.requests) - _SHOWN:,} more")
        log = [str(text).split("\n")[0] for text in self.log["text"].fillna("?")]
        return [
            ("running", running),
            ("memory", memory),
            ("largest processes", largest),
            ("requests out", requests),
            ("log", log),
        ]

    @property
    def _title(self) -> str:
        before = self.before_crash.total_seconds()
        return f"{self.time.total_seconds():,.6f} s after boot, {before:,.6f} s before the crash"

    def __repr__(self) -> str:
        lines = [self._title]
        for name, values in self._parts():
            lines.append(f"{name}:")
            lines += [
                f"  {show_controls(value)}"
                for value in values or ["not known" if name != "requests out" else "none"]
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = "".join(
            f"<dt>{escape_html(name)}</dt>"
            + "".join(f"<dd>{escape_html(value)}</dd>" for value in values or ["none"])
            for name, values in self._parts()
        )
        return (
            f'<div class="kernlab-moment {NO_MATH}"><b>{escape_html(self._title)}</b><dl>{parts}</dl></div>'
        )


def _columns(table: pd.DataFrame, *names: str) -> Any:
    return zip(*(table[name].tolist() for name in names), strict=True)
