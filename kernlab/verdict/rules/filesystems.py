"""File systems that found themselves damaged or went read-only, and disks that failed what they were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.verdict.case import Case
from kernlab.verdict.disks import below
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule

#: Lines that tell that a file system takes no more writes: ext4_handle_error, xfs_do_force_shutdown,
#: btrfs_handle_fs_error, f2fs_handle_critical_error.
_READ_ONLY = (
    "Remounting filesystem read-only",
    "remounted read-only",
    "Filesystem has been shut down",
    "forced readonly",
)


@rule
def damaged_file_systems(case: Case) -> Iterator[Finding]:
    """A file system that reports an error of its own is damaged, or what lies below it is."""
    for device, rows in _by_device(case, "file system error"):
        if _is_end(case, rows):
            continue
        labels = _labels(case, rows)
        evidence = [Evidence("log", show_short(_line(case, labels[0]), 300), tuple(labels[:100]))]
        read_only = [label for label in labels if any(word in _line(case, label) for word in _READ_ONLY)]
        where = _mounted(case, device)
        if read_only:
            said = f"{where} takes no writes since" if where else "it takes no writes since"
            evidence.append(Evidence("log", show_short(said), tuple(read_only[:100])))
        failed = _failed_below(case, device)
        if failed:
            said = f"{show_short(device)} lies on a disk that failed {len(failed):,} requests"
            evidence.append(Evidence("log", said, tuple(failed[:100])))
        since = case.before_end(rows["timestamp"].iloc[0])
        name = show_controls(device)
        yield Finding(
            "file system error",
            f"{name}, mounted at {show_short(where)}" if where else name,
            0.95,
            tuple(evidence),
            f"dump.log.loc[{labels[:20]}]",
            device=device,
            function=None if pd.isna(rows["function"].iloc[0]) else str(rows["function"].iloc[0]),
            explains=frozenset({"panic"}) if _panicked(case, device) else frozenset(),
            since=since,
        )


@rule
def failed_requests(case: Case) -> Iterator[Finding]:
    """A disk that ended requests with an error failed, whatever came of that."""
    for device, rows in _by_device(case, "I/O error"):
        if _is_end(case, rows):
            continue
        labels = _labels(case, rows)
        yield Finding(
            "I/O error",
            show_controls(device),
            0.9,
            (
                Evidence("log", show_short(_line(case, labels[0]), 300), (labels[0],)),
                *(
                    [Evidence("log", f"{len(labels):,} such errors", tuple(labels[:100]))]
                    if len(labels) > 1
                    else ()
                ),
            ),
            f"dump.log.loc[{labels[:20]}]",
            device=device,
            since=case.before_end(rows["timestamp"].iloc[0]),
        )


def _by_device(case: Case, kind: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The reports of a kind by the device that they name, the first one first; those that name none are left out."""
    own = case.reports[case.reports["kind"] == kind]
    named = own["details"].map(lambda details: str(details.get("device", "")))
    for device, rows in own.groupby(named, sort=False):
        if device:
            yield str(device), rows


def _is_end(case: Case, rows: pd.DataFrame) -> bool:
    end: pd.Series[Any] | None = case.end.report
    return end is not None and int(end["offset"]) in rows["offset"].tolist()


def _labels(case: Case, rows: pd.DataFrame) -> list[int]:
    return [int(case.log.index[int(offset)]) for offset in rows["offset"]]


def _line(case: Case, label: int) -> str:
    lines = str(case.log.loc[label, "text"]).splitlines()
    return lines[0].strip() if lines else ""


def _mounted(case: Case, device: str) -> str | None:
    """Where a device is mounted, None where that is not known."""
    if not case.has_dump:
        return None
    rows = case.filesystems[(case.filesystems["name"] == device) & case.filesystems["mount"].notna()]
    return None if rows.empty else str(rows["mount"].iloc[0])


def _failed_below(case: Case, device: str) -> list[int]:
    """The I/O errors of a device and of the disks below it, by their places in the log."""
    names = {device, *(below(case, device) if case.has_dump else ())}
    if case.has_dump:
        parents = case.disks.loc[case.disks["name"].isin(names), "parent"].dropna()
        names |= {str(parent) for parent in parents}
    return [
        label
        for name, rows in _by_device(case, "I/O error")
        if name in names
        for label in _labels(case, rows)
    ]


def _panicked(case: Case, device: str) -> bool:
    """Whether the panic is this file system's own (ext4_handle_error with errors=panic)."""
    return f"({device})" in case.end.panic or f"device {device})" in case.end.panic
