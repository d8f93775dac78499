"""What was replayed and a window of it in; time, colours and breaks as all lanes of one figure share them, out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.plots.style import Theme
from kernlab.plots.time_axis import seconds
from kernlab.traces.clock.clocks import Clocks
from kernlab.traces.clock.window import instant

if TYPE_CHECKING:
    from kernlab.traces.clock.window import Instant

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

#: Threads of the kernel that are told apart by a number only; one name for all of them.
_ALIKE = ("kworker", "ksoftirqd", "migration", "rcuop", "rcuog", "rcuos", "cpuhp", "irq", "scsi_eh")


class Frames(Protocol):
    """What is drawn: the frames of `dump.replay()`, each with the columns that are documented there."""

    @property
    def memory(self) -> pd.DataFrame:
        """By instant and kind."""

    @property
    def memory_by_process(self) -> pd.DataFrame:
        """By instant and process."""

    @property
    def running(self) -> pd.DataFrame:
        """Who ran where, from when to when."""

    @property
    def requests(self) -> pd.DataFrame:
        """What the disks were asked."""

    @property
    def pressure(self) -> pd.DataFrame:
        """Which share of the time tasks waited."""

    @property
    def runnable(self) -> pd.DataFrame:
        """How many threads wanted a CPU."""

    @property
    def log(self) -> pd.DataFrame:
        """The kernel's log."""

    @property
    def breaks(self) -> pd.DataFrame:
        """Where nothing is known, and why."""

    @property
    def trusted_from(self) -> Any:
        """From when on memory is known without a break."""

    @property
    def trusted_reason(self) -> str:
        """Why not before."""

    @property
    def crash(self) -> Any:
        """When the machine died."""


@dataclass(frozen=True, slots=True)
class People:
    """The processes that have a colour of their own, the most important first; all others share one."""

    names: tuple[str, ...]
    fills: tuple[str, ...]
    others: str

    def codes(self, names: pd.Series[str]) -> I64:
        """The place of each name, `len(self.names)` for all others."""
        numbers, known = pd.factorize(names)
        place = {name: at for at, name in enumerate(self.names)}
        codes = np.array(
            [place.get(name, len(self.names)) for name in known] + [len(self.names)], dtype=np.int64
        )
        return codes[numbers]

    def colour(self, name: str) -> str:
        """The colour of a process in every lane."""
        return self.fills[self.names.index(name)] if name in self.names else self.others

    @property
    def colours(self) -> list[str]:
        """One for each code."""
        return [*self.fills, self.others]


@dataclass(frozen=True, slots=True)
class Scene:
    """A window of what was replayed: times in ns on the axis; `cells` is how many pixels a lane is wide."""

    frames: Frames
    first: int
    last: int
    crash: int
    theme: Theme
    cells: int
    people: People
    #: Names of processes by the pids of their threads, where these are known.
    processes: Mapping[int, str]

    @property
    def span(self) -> float:
        """The window in seconds."""
        return (self.last - self.first) / 1e9

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the x axis, in seconds."""
        return float(seconds(self.first)), float(seconds(self.last))

    def during(
        self, frame: pd.DataFrame, *, lead: bool = False, follow: bool = False
    ) -> tuple[pd.DataFrame, I64]:
        """The rows of the window, in the order of time, and their times; with `lead` those of the last instant before
        it, with `follow` those of the first one after it, too."""
        at = nanoseconds(frame["time"])
        order = np.argsort(at, kind="stable")
        at = at[order]
        low, high = np.searchsorted(at, self.first), np.searchsorted(at, self.last, side="right")
        # Several rows may be of that instant.
        low = np.searchsorted(at, at[low - 1]) if lead and low else low
        high = np.searchsorted(at, at[high], side="right") if follow and high < len(at) else high
        return frame.iloc[order[low:high]], at[low:high]

    def names(self, frame: pd.DataFrame) -> pd.Series[str]:
        """What the threads of some rows (pid, comm) are called in all lanes: by their process."""
        return called(frame, self.processes)


def called(frame: pd.DataFrame, processes: Mapping[int, str]) -> pd.Series[str]:
    """The process of each row (pid, comm), or the thread's own name; kernel threads without their number."""
    comm = frame["process"] if "process" in frame else frame["comm"]
    numbers, known = pd.factorize(comm.fillna("?"))
    names = np.array([common(str(name)) for name in known], dtype=object)[numbers]
    if processes and len(frame):
        pids, which = np.unique(frame["pid"].fillna(-1).to_numpy(dtype=np.int64), return_inverse=True)
        own = np.array([processes.get(int(pid)) if pid > 0 else None for pid in pids], dtype=object)[which]
        names = np.where(pd.isna(own), names, own)
    return pd.Series(names, index=frame.index, dtype="str")


def common(comm: str) -> str:
    """`kworker` of `kworker/u8:3`: the name that a kernel thread shares with those of other CPUs."""
    head, slash, _ = comm.partition("/")
    return head if slash and head in _ALIKE else comm


def nanoseconds(times: pd.Series[Any]) -> I64:
    """Times as ns; what is missing is the smallest number."""
    found: I64 = times.to_numpy().astype("m8[ns]").view(np.int64)
    return found


def floats(values: pd.Series[Any]) -> F64:
    """Numbers, NaN where they are missing."""
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def window(frames: Frames, since: Instant | None, until: Instant | None) -> tuple[int, int, int]:
    """(first, last, crash) of what is drawn: all that was replayed, up to the crash, unless a part is named.

    Raises KernlabError where that is empty.
    """
    crash = int(pd.Timedelta(frames.crash).as_unit("ns").value)
    clocks = Clocks(crash, {})
    last = min(instant(clocks, until), crash) if until is not None else _bound(frames, "until", crash)
    if since is not None:
        first = instant(clocks, since)
    else:
        begun = [
            int(at[at >= 0].min())
            for name, column in (
                ("memory", "time"),
                ("memory_by_process", "time"),
                ("running", "start"),
                ("requests", "start"),
                ("pressure", "time"),
                ("runnable", "time"),
            )
            if (at := nanoseconds(getattr(frames, name)[column])).max(initial=-1) >= 0
        ]
        if not begun:
            begun = [max(crash - 10_000_000_000, 0)]
        first = _bound(frames, "since", min(begun))
    if not first < last:
        raise KernlabError(
            f"nothing can be drawn from {first / 1e9:.9g} s to {last / 1e9:.9g} s: the machine died at "
            f"{crash / 1e9:.9g} s, and a window begins before it ends"
        )
    return first, last, crash


def _bound(frames: Frames, name: str, otherwise: int) -> int:
    """What a replay says of its own window."""
    value = getattr(frames, name, None)
    return otherwise if value is None or value is pd.NaT else int(pd.Timedelta(value).as_unit("ns").value)


def people(
    frames: Frames,
    first: int,
    last: int,
    theme: Theme,
    processes: Mapping[int, str],
    top: int,
    kinds: str = "mcmd",
) -> People:
    """Who gets a colour: in turns who has the most memory, the most of the CPUs' time, and asked the disks for most.

    `kinds` are the turns: of memory (m), of CPUs (c), of disks (d).
    """
    fills = (theme.blue, theme.orange, theme.green, theme.pink, theme.sky)
    ranks = {
        "m": iter(_by_memory(frames, first, last) if "m" in kinds else []),
        "c": iter(_by_time(frames, first, last, processes) if "c" in kinds else []),
        "d": iter(_by_requests(frames, first, last, processes) if "d" in kinds else []),
    }
    chosen: dict[str, None] = {}
    turns = list(kinds)
    while turns and len(chosen) < top:
        turn = turns.pop(0)
        name = next((name for name in ranks[turn] if name not in chosen), None)
        if name is not None:
            chosen[name] = None
            turns.append(turn)
    names = tuple(chosen)
    return People(names, (fills * (1 + len(names) // len(fills)))[: len(names)], theme.mute)


def _by_memory(frames: Frames, first: int, last: int) -> list[str]:
    table = frames.memory_by_process
    at = nanoseconds(table["time"])
    part = table[(at >= first) & (at <= last)]
    size = part.groupby("comm", observed=True)["rss_bytes"].max().dropna().astype("float64")
    size = size[size > 0].sort_values(ascending=False, kind="stable")
    return [common(str(name)) for name in size.index[:20]]


def _by_time(frames: Frames, first: int, last: int, processes: Mapping[int, str]) -> list[str]:
    table = frames.running
    start, end = nanoseconds(table["start"]), nanoseconds(table["end"])
    kept = (start < last) & (end > first) & (table["pid"].fillna(0).to_numpy(dtype=np.int64) != 0)
    took = np.minimum(end[kept], last) - np.maximum(start[kept], first)
    return _largest(called(table[kept], processes), took)


def _by_requests(frames: Frames, first: int, last: int, processes: Mapping[int, str]) -> list[str]:
    table = frames.requests
    at = nanoseconds(table["start"])
    part = table[(at >= first) & (at <= last)]
    return _largest(called(part, processes), floats(part["bytes"]))


def _largest(names: pd.Series[str], weights: npt.NDArray[Any]) -> list[str]:
    numbers, known = pd.factorize(names)
    total = np.bincount(numbers, weights=np.nan_to_num(weights), minlength=len(known))
    return [str(known[at]) for at in np.argsort(-total, kind="stable")[:20] if total[at] > 0]
