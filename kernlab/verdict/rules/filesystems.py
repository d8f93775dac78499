"""File systems that found themselves damaged or went read-only, and disks that failed what they were asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import say_rows, seconds
from kernlab.verdict.disks import below, in_frozen
from kernlab.verdict.file_servers import hung_by_server, silent_by_log
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: Lines that tell that a file system takes no more writes: ext4_handle_error, xfs_do_force_shutdown,
#: btrfs_handle_fs_error, f2fs_handle_critical_error.
_READ_ONLY = (
    "Remounting filesystem read-only",
    "remounted read-only",
    "Filesystem has been shut down",
    "forced readonly",
)
#: What a disk need not be able to do: file systems ask for it and do without (block/blk-core.c, blk_op_name).
_HINTED = re.compile(
    r"operation not supported error| op 0x[0-9a-f]{1,2}:\((?:DISCARD|SECURE_ERASE|WRITE_ZEROES)\)"
)
#: Drives that may have no medium in them (drivers/scsi/sr.c, drivers/block/floppy.c).
_REMOVABLE = re.compile(r"(?:sr|fd)\d{1,3}")
#: What is told at most: file servers, and devices of a kind of report.
_MOST, _MOST_DEVICES = 5, 20


@rule
def damaged_file_systems(case: Case) -> Iterator[Finding]:
    """A file system that reports an error of its own is damaged, or what lies below it is."""
    failures = _failures(case)
    for device, rows in _by_device(case, "file system error"):
        if _is_end(case, rows):
            continue
        labels = _labels(case, rows)
        lines = _lines(case, labels)
        evidence = [Evidence("log", show_short(lines[labels[0]], 300), tuple(labels[:100]))]
        read_only = [label for label, line in lines.items() if any(word in line for word in _READ_ONLY)]
        where = _mounted(case, device)
        if read_only:
            said = f"{where} takes no writes since" if where else "it takes no writes since"
            evidence.append(Evidence("log", show_short(said), tuple(read_only[:100])))
        failed = _failed_below(case, device, failures)
        if failed:
            number = f"{len(failed):,} requests" if len(failed) > 1 else "a request"
            said = f"{show_short(device)} lies on a disk that failed {number}"
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
        lines = _lines(case, _labels(case, rows))
        labels = [label for label, line in lines.items() if not _HINTED.search(line)]
        against = "A drive without a medium in it says so, too." if _REMOVABLE.fullmatch(device) else ""
        if not labels:
            labels, against = (
                list(lines),
                "A disk need not be able to discard or to zero: file systems do without.",
            )
        yield Finding(
            "I/O error",
            show_controls(device),
            0.45 if against else 0.9,
            (
                Evidence("log", show_short(lines[labels[0]], 300), (labels[0],)),
                *(
                    [Evidence("log", f"{len(labels):,} such errors", tuple(labels[:100]))]
                    if len(labels) > 1
                    else ()
                ),
            ),
            f"dump.log.loc[{labels[:20]}]",
            device=device,
            against=(against,) if against else (),
            since=case.before_end(case.log.loc[labels[0], "timestamp"]),
        )


@rule
def frozen_file_systems(case: Case) -> Iterator[Finding]:
    """A frozen file system that threads have long waited to write to was not thawed."""
    asleep = case.waits[case.waits["state"] == "D"]
    of = in_frozen(case, asleep)
    for label, rows in asleep[of >= 0].groupby(of[of >= 0], sort=True):
        longest = seconds(rows["since"].max())
        if longest is None or longest < case.hung_after:
            continue
        row = case.filesystems.loc[label]
        where = show_short(str(row["name"] if pd.isna(row["mount"]) else row["mount"]))
        verb = "waits" if len(rows) == 1 else "wait"
        said = f"{say_rows(rows)} {verb} to write, the longest for {human_time(longest)}"
        yield Finding(
            "file system frozen",
            where,
            0.95,
            (
                Evidence(
                    "filesystems", f"{where} is frozen: {show_short(str(row['frozen']))}", (int(str(label)),)
                ),
                Evidence("waits", show_controls(said), rows_of(rows, list(rows.index))),
            ),
            'dump.filesystems[dump.filesystems.frozen != "no"]',
            device=None if pd.isna(row["device"]) else str(row["device"]).removeprefix("/dev/"),
            against=("Who froze it, and why it was not thawed, is not known.",),
            explains=frozenset({"hung task"}),
            since=longest,
        )


@rule
def silent_servers(case: Case) -> Iterator[Finding]:
    """A file server of which the log says that it does not respond, and not that it did again, is silent."""
    silent = silent_by_log(case)
    hung = hung_by_server(case) if silent else []
    for each in silent[:_MOST]:
        evidence = [Evidence("log", show_short(each.line, 200), (each.label,))]
        if hung:
            rows = case.waits[case.waits["pid"].isin(hung[:100])]
            many = f"{len(hung):,} threads" if len(hung) > len(rows) else say_rows(rows)
            said = f"{many} {'waits' if len(hung) == 1 else 'wait'} for an answer"
            more = case.chains.behind(hung) - set(hung)
            if more:
                said += f", and {len(more):,} more wait for {'that one' if len(hung) == 1 else 'these'}"
            evidence.append(Evidence("waits", show_controls(said), rows_of(rows, list(rows.index))))
        # A mount that gives up says so, and never that the server is back.
        doubtful = not hung and not each.would_tell
        against = ["The log does not say whether it has answered since."] if doubtful else []
        if hung and len(silent) > 1:
            against.append(f"{len(silent):,} servers are silent: who waits for which is not known.")
        yield Finding(
            "file server silent",
            show_short(each.server),
            0.45 if doubtful else 0.8 if not hung else 0.95 if len(silent) == 1 else 0.7,
            tuple(evidence),
            f"dump.log.loc[{each.label}:{each.label}]",
            device=each.server,
            against=tuple(against),
            explains=frozenset({"hung task"}) if hung else frozenset(),
            since=case.before_end(case.log.loc[each.label, "timestamp"]),
        )


def _by_device(case: Case, kind: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The reports of a kind by the device that they name, the first one first: of many devices those that the panic is
    of, and those of the most reports. Reports that name none are left out."""
    own = case.reports[case.reports["kind"] == kind]
    named = _devices(own).replace(case.ata_disks if kind == "I/O error" else {})
    often = named[named != ""].value_counts()
    most = sorted(often.index, key=lambda device: (not _panicked(case, device), -int(often[device])))
    for device, rows in own.groupby(named.where(named.isin(most[:_MOST_DEVICES])), sort=False):
        yield str(device), rows


def _devices(reports: pd.DataFrame) -> pd.Series[str]:
    """The device that each report names, '' where it names none."""
    return reports["details"].map(lambda details: str(details.get("device", "")))


def _is_end(case: Case, rows: pd.DataFrame) -> bool:
    end: pd.Series[Any] | None = case.end.report
    return end is not None and int(end["offset"]) in rows["offset"].tolist()


def _labels(case: Case, rows: pd.DataFrame) -> list[int]:
    labels: list[int] = case.log.index[rows["offset"].to_numpy()].tolist()
    return labels


def _lines(case: Case, labels: list[int]) -> dict[int, str]:
    """The first line of some records of the log, by their labels."""
    texts = case.log["text"].loc[labels].fillna("")
    return {
        label: (text.splitlines() or [""])[0].strip()
        for label, text in zip(labels, texts.tolist(), strict=True)
    }


def _mounted(case: Case, device: str) -> str | None:
    """Where a device is mounted, None where that is not known."""
    if not case.has_dump:
        return None
    rows = case.filesystems[(case.filesystems["name"] == device) & case.filesystems["mount"].notna()]
    return None if rows.empty else str(rows["mount"].iloc[0])


def _failures(case: Case) -> dict[str, list[int]]:
    """The labels in the log of I/O errors, by device."""
    own = case.reports[case.reports["kind"] == "I/O error"]
    found: dict[str, list[int]] = {}
    for device, label in zip(_devices(own), _labels(case, own), strict=True):
        found.setdefault(device, []).append(label)
    return found


def _failed_below(case: Case, device: str, failures: dict[str, list[int]]) -> list[int]:
    """The labels of those I/O errors that are of a device, or of the disks below it."""
    names = {device}
    if case.has_dump:
        names |= below(case, device)
        parents = case.disks.loc[case.disks["name"].isin(names), "parent"].dropna()
        names |= {str(parent) for parent in parents}
    return [label for name in sorted(names & failures.keys()) for label in failures[name]]


def _panicked(case: Case, device: str) -> bool:
    """Whether the panic is this file system's own (ext4_handle_error with errors=panic)."""
    return f"({device})" in case.end.panic or f"device {device})" in case.end.panic
