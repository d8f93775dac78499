"""Disks that have had requests for too long, and which disks lie below and above one another."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from kernlab.verdict.case import Case

#: A driver that has a request for so long has lost it: what SCSI and nvme grant a device before they reset it
#: (drivers/scsi/sd.h, SD_TIMEOUT; drivers/nvme/host/nvme.h, NVME_IO_TIMEOUT), in seconds.
_TIMEOUT = 30.0
#: No super_block is larger, in bytes.
_SUPER_BLOCK = 2048
#: What a healthy disk does at once; it may take minutes to discard, to format or to test itself.
_QUICK = ("READ", "WRITE", "FLUSH")


@dataclasses.dataclass(frozen=True)
class Unanswered:
    """A disk whose driver has had requests for too long: its `rows` of `inflight`, and for how many seconds the oldest
    of them; `young` of its requests are younger than half of what is granted."""

    disk: str
    rows: pd.DataFrame
    oldest: float
    young: int


def granted(case: Case) -> float:
    """How long a disk may take for a request, in seconds: no longer than a sleep that is called hung."""
    return min(_TIMEOUT, float(case.hung_after))


def unanswered(case: Case) -> list[Unanswered]:
    """The disks that do not answer, of those that are stacked the lowest ones only; the longest silent ones first."""
    requests = case.inflight
    own = requests[(requests["state"] == "driver") & requests["op"].isin(_QUICK)]
    found: dict[str, Unanswered] = {}
    for disk, rows in own.groupby("disk", sort=False):
        ages = rows["driver_age"].fillna(rows["age"]).dt.total_seconds()
        if pd.isna(ages.max()) or ages.max() < granted(case):
            continue
        young = int((ages < granted(case) / 2).sum())
        found[str(disk)] = Unanswered(str(disk), rows, float(ages.max()), young)
    if len(found) > 1:
        for disk in list(found):
            if any(lower in found for lower in below(case, disk)):
                del found[disk]
    return sorted(found.values(), key=lambda each: -each.oldest)


def below(case: Case, disk: str) -> set[str]:
    """The disks that one is made of, directly or not: of dm and md, and below a loop device's file."""
    return _reached(_members(case), disk)


def above(case: Case, disk: str) -> set[str]:
    """The disks that are made of one, directly or not."""
    made: dict[str, set[str]] = {}
    for upper, members in _members(case).items():
        for lower in members:
            made.setdefault(lower, set()).add(upper)
    return _reached(made, disk)


def _reached(edges: dict[str, set[str]], start: str) -> set[str]:
    seen, new = {start}, [start]
    while new:
        new = [other for one in new for other in edges.get(one, ()) if other not in seen]
        seen.update(new)
    return seen - {start}


def _members(case: Case) -> dict[str, set[str]]:
    """The disks that each volume is made of; of partitions their disks."""
    whole = {
        str(name): str(parent)
        for name, parent in zip(case.disks["name"], case.disks["parent"], strict=True)
        if not pd.isna(parent)
    }
    found: dict[str, set[str]] = {}
    for disk, members, path in zip(
        case.volumes["disk"], case.volumes["members"], case.volumes["path"], strict=True
    ):
        lower = [] if pd.isna(members) else str(members).split(",")
        if not pd.isna(path) and (device := disk_of_path(case, str(path))) is not None:
            lower.append(device)
        found[str(disk)] = {whole.get(name, name) for name in lower if name}
    return found


def disk_of_path(case: Case, path: str) -> str | None:
    """The disk or partition that a file lies on, by where file systems are mounted; None where that is not known."""
    best, device = "", None
    for mount, name in zip(case.filesystems["mount"], case.filesystems["device"], strict=True):
        if pd.isna(mount) or len(str(mount)) < len(best):
            continue
        inside = path == mount or path.startswith(str(mount).rstrip("/") + "/")
        if inside:
            best, device = str(mount), None if pd.isna(name) else str(name).removeprefix("/dev/")
    return device


def in_frozen(case: Case, waits: pd.DataFrame) -> pd.Series[Any]:
    """For rows of `waits`, the label in `filesystems` of the frozen one whose own lock each waits for, else -1
    (struct super_block, s_writers.rw_sem)."""
    found = pd.Series(-1, index=waits.index, dtype="int64")
    mine = waits[(waits["type"] == "percpu_rwsem") & waits["object"].notna()]
    if mine.empty:
        return found  # the table of file systems counts all inodes of the machine, which takes long
    kept = case.filesystems["frozen"]
    frozen = case.filesystems[kept.notna() & (kept != "no") & case.filesystems["address"].notna()]
    locks = np.array([int(lock) for lock in mine["object"]], dtype=np.uint64)
    for label, address in frozen["address"].items():
        # An address below wraps round to a large number.
        inside = locks - np.uint64(int(address)) < _SUPER_BLOCK
        found[mine.index[inside]] = int(str(label))
    return found
