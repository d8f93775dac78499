"""A dump with a block trace in, how its disks did in plain words out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report.disk_names import disk_names, spelt
from kernlab.report.phrases import listed, several, size, span

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A disk whose requests take so long, half of them, is slow: one that turns needs about 10 ms for each.
_SLOW = pd.Timedelta(milliseconds=20)
#: Of fewer requests with few under way nobody can say how fast the disk is when it is not busy.
_FEWEST = 10
#: Requests take so many times as long in a queue: then it is the queue that they wait for.
_QUEUED = 2.0
_MOST_DISKS = 3
#: A trace whose last event is older does not go on to the end.
_QUIET = pd.Timedelta(milliseconds=100)


@dataclass(frozen=True)
class Disk:
    """How one disk did. Times are Timedeltas, NaT where no request was completed."""

    name: str
    rows: pd.DataFrame
    middle: pd.Timedelta
    slowest: pd.Timedelta
    #: Half of the requests that were alone, or nearly so, took longer; NaT where there were too few.
    alone: pd.Timedelta
    #: Those under way at the end, by age.
    open: pd.DataFrame

    @property
    def slow(self) -> bool:
        """Did half of its requests take long?"""
        return bool(self.middle > _SLOW)

    @property
    def overloaded(self) -> bool:
        """Was it slow because so many requests were under way at a time?"""
        return self.slow and bool(self.alone * _QUEUED < self.middle)

    @property
    def overdue(self) -> pd.DataFrame:
        """Requests that were under way for longer than any that was completed."""
        return self.open[self.open["age"] > self.slowest]

    @property
    def notable(self) -> bool:
        """Is there anything to say of it but how much it did?"""
        return self.slow or bool(len(self.overdue))


def requests(dump: Dump) -> pd.DataFrame | None:
    """The requests to disks that the dump's traces recorded; None where they recorded none."""
    try:
        found: pd.DataFrame = dump.replay().requests
    except KernlabError:
        return None
    return found if len(found) else None


def disks(dump: Dump) -> list[Disk]:
    """The disks that the traces saw at work, the busiest first."""
    table = requests(dump)
    if table is None:
        return []
    try:
        names = disk_names(dump.kernel)
    except KernlabError:
        names = {}
    crash = dump.replay().crash
    groups = sorted(table.groupby("device"), key=lambda one: -len(one[1]))
    return [
        _disk(_name(str(rows["disk"].iloc[0]), int(rows["device"].iloc[0]), names), rows, crash)
        for _, rows in groups
    ]


def _name(disk: str, device: int, names: dict[str, str]) -> str:
    """`vda (254:0)`, or the number alone where it has no name."""
    number = spelt(device)
    name = names.get(number, disk)
    return show_controls(number if name == number else f"{name} ({number})")


def _disk(name: str, rows: pd.DataFrame, crash: pd.Timedelta) -> Disk:
    rows = rows.sort_values("start", kind="stable")
    took = rows["latency"].dropna()
    begun = rows.dropna(subset=["start"])
    start, end = begun["start"].to_numpy(), np.sort(rows["end"].dropna().to_numpy())
    depth = np.arange(1, len(start) + 1) - np.searchsorted(end, start, side="right")
    few = begun["latency"][depth <= 1].dropna()
    open_ = rows[rows["end"].isna()]
    return Disk(
        name,
        rows,
        pd.Timedelta(took.median()),
        pd.Timedelta(took.max()),
        pd.Timedelta(few.median()) if len(few) >= _FEWEST else pd.Timedelta("NaT"),
        open_.assign(age=crash - open_["start"]).sort_values("age", ascending=False),
    )


def slow_disks(dump: Dump) -> list[Disk]:
    """The disks that were slow, by the traces."""
    return [disk for disk in disks(dump) if disk.slow]


def answer(dump: Dump, *, notable: bool = False) -> list[str]:
    """What the traces tell of each disk, the busiest first, a few sentences a disk; [] without traces.

    notable: only of those that were slow, or did not answer.
    """
    return [_said(dump, disk) for disk in disks(dump)[:_MOST_DISKS] if disk.notable or not notable]


def _said(dump: Dump, disk: Disk) -> str:
    rows, crash = disk.rows, dump.replay().crash
    held = float(rows["bytes"].astype("float64").sum())
    words = f"Disk {disk.name}: {several(len(rows), 'request')} ({size(held)})"
    first = rows["start"].dropna().min()
    if not pd.isna(first):
        quiet = crash - max(rows["start"].dropna().max(), rows["end"].dropna().max())
        until = f" to {span(quiet)}" if quiet > _QUIET else ""
        words += f" from {span(crash - first)}{until} before the end" + ("" if until else " on")
    if not pd.isna(disk.middle):
        words += f"; half of them took more than {span(disk.middle)}, the slowest {span(disk.slowest)}"
    words += "."
    if disk.slow:
        words += f" {_why_slow(disk)}"
    words += _under_way(disk)
    who = rows["process"].dropna().value_counts()
    if len(who):
        names = [_maker(str(name)) for name in who.index[:3]]
        words += f" Most were made by {listed(names)}."
    return words


def _why_slow(disk: Disk) -> str:
    if pd.isna(disk.alone):
        return (
            "That is slow; whether the disk is, or its queue was long, the trace does not tell: too few of its "
            "requests were alone."
        )
    if disk.overloaded:
        return (
            f"That is slow, and it is the queue: a request that found the disk idle took {span(disk.alone)}. More was "
            "asked of the disk at a time than it could do."
        )
    return (
        f"That is slow, and it is not the queue: a request that found the disk idle took as long ({span(disk.alone)}). "
        "The disk, or what stands behind it, answers late."
    )


def _under_way(disk: Disk) -> str:
    count, late = len(disk.open), len(disk.overdue)
    if not count:
        return " None was under way when the machine died."
    oldest = span(disk.open["age"].iloc[0])
    was = "was" if count == 1 else "were"
    begin = f" {several(count, 'request')} {was} under way when the machine died, "
    if late:
        whose = "it" if count == 1 else several(late, "of them", "of them")
        return (
            f"{begin}{whose} for longer than any that was answered (the oldest for {oldest}): the disk may have "
            "stopped."
        )
    since = f"for {oldest}" if count == 1 else f"the oldest for {oldest}"
    return f"{begin}{since}: no longer than others took, so nothing is wrong with that."


def _maker(process: str) -> str:
    """A process as the traces know it: of one that had ended often nothing but its pid."""
    said = show_controls(process)
    return f"a process that had ended ({said})" if re.fullmatch(r"pid \d+", process) else said
