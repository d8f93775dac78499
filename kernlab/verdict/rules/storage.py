"""Disks that do not answer, and file systems that found themselves damaged."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: A driver that has a request for so long has lost it: what SCSI and nvme grant a device before they reset it
#: (drivers/scsi/sd.h, SD_TIMEOUT; drivers/nvme/host/nvme.h, NVME_IO_TIMEOUT).
_TIMEOUT = 30.0
#: What waits for a disk, as `waits` calls it.
_FOR_DISKS = ("request", "folio", "jbd2")


@rule
def stuck_requests(case: Case) -> Iterator[Finding]:
    """A disk whose driver has had all its requests for long, with no one ended since, does not answer any more."""
    requests = case.inflight
    own = requests[requests["state"] == "driver"]
    grants = min(_TIMEOUT, float(case.hung_after))
    for disk, rows in own.groupby("disk", sort=False):
        ages = rows["driver_age"].dt.total_seconds()
        if pd.isna(ages.max()) or ages.max() < grants:
            continue
        oldest = rows.loc[ages.idxmax()]
        name = show_controls(str(disk))
        evidence = [
            Evidence(
                "inflight",
                f"{len(rows):,} requests are out to {name}, the oldest, a {str(oldest['op']).lower()}, for "
                f"{human_time(ages.max())}",
                rows_of(requests, list(rows.index)),
            )
        ]
        paths = [show_short(str(path)) for path in rows["path"].dropna().unique()]
        if paths:
            evidence.append(
                Evidence("inflight", f"of {', '.join(paths[:5])}", rows_of(requests, list(rows.index)))
            )
        waiting = _waiting(case, rows)
        if waiting is not None:
            evidence.append(waiting)
        young = int((ages < grants / 2).sum())
        yield Finding(
            "stuck I/O",
            name,
            0.95 if waiting is not None else 0.8,
            tuple(evidence),
            f"dump.inflight[dump.inflight.disk == {str(disk)!r}]",
            device=str(disk),
            against=(f"{young:,} of the requests are younger than {human_time(grants / 2)}: it may be slow.",)
            if young
            else (),
            explains=frozenset({"hung task"}) if waiting is not None else frozenset(),
            since=float(ages.max()),
        )


def _waiting(case: Case, requests: pd.DataFrame) -> Evidence | None:
    """The threads that sleep for a disk: those that made its requests, and those that wait for pages in them."""
    waits = case.waits
    asleep = waits[waits["type"].isin(_FOR_DISKS) & (waits["state"] == "D")]
    asleep = asleep[asleep["pid"].isin(requests["pid"].dropna()) | asleep["type"].isin(("folio", "jbd2"))]
    if asleep.empty:
        return None
    names = say_several(
        [say_thread(str(comm), int(pid)) for comm, pid in zip(asleep["comm"], asleep["pid"], strict=True)]
    )
    said = f"{names} {'sleeps' if len(asleep) == 1 else 'sleep'} until it answers"
    return Evidence("waits", show_controls(said), rows_of(waits, list(asleep.index)))


@rule
def damaged_file_systems(case: Case) -> Iterator[Finding]:
    """A file system that reports an error of its own is damaged, or what lies below it is."""
    reports = case.reports
    own = reports[reports["kind"] == "file system error"]
    ended = case.end.report is not None and case.end.kind == "file system error"
    named: dict[str, list[int]] = {}
    for place, row in own.iterrows():
        device = str(row["details"].get("device", "")) or str(row["title"])
        named.setdefault(device, []).append(int(str(place)))
    for device, places in named.items():
        rows = own.loc[places]
        if (
            ended
            and case.end.report is not None
            and int(case.end.report["offset"]) in rows["offset"].tolist()
        ):
            continue
        labels = [int(case.log.index[int(offset)]) for offset in rows["offset"]]
        first = show_short(str(case.log.loc[labels[0], "text"]).splitlines()[0], 300)
        yield Finding(
            "file system error",
            show_controls(device),
            0.9,
            (Evidence("log", first, tuple(labels[:100])),),
            f"dump.log.loc[{labels[:20]}]",
            device=device,
            function=None if pd.isna(rows["function"].iloc[0]) else str(rows["function"].iloc[0]),
            explains=frozenset({"panic"})
            if f"({device})" in case.end.panic or f"device {device})" in case.end.panic
            else frozenset(),
            since=case.before_end(rows["timestamp"].iloc[0]),
        )
