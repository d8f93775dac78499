"""Disks that do not answer, and volumes that keep what they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import FOR_DISKS, say_rows, seconds
from kernlab.verdict.disk_timeouts import is_of, late_by_log
from kernlab.verdict.disks import Unanswered, above, granted, unanswered
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: Disks that are told by the log alone, at most.
_MOST = 5
#: A loaded disk may leave a request for later so many times as long as a driver grants; then it would be tried again
#: (drivers/scsi/sd.h, SD_MAX_RETRIES).
_SLOW = 4


@rule
def stuck_requests(case: Case) -> Iterator[Finding]:
    """A disk whose driver has had requests for longer than drivers wait does not answer any more."""
    for stuck in unanswered(case):
        labels = rows_of(case.inflight, list(stuck.rows.index))
        name, number = show_controls(stuck.disk), len(stuck.rows)
        ages = stuck.rows["driver_age"].fillna(stuck.rows["age"])
        oldest = str(
            stuck.rows["op"].iloc[int(ages.reset_index(drop=True).fillna(pd.Timedelta(0)).argmax())]
        ).lower()
        said = f"a {oldest}, the oldest of {number:,} requests," if number > 1 else f"a {oldest}"
        said = f"{said} is out to {name} for {human_time(stuck.oldest)}"
        evidence = [Evidence("inflight", said, labels)]
        paths = [show_short(str(path)) for path in stuck.rows["path"].dropna().unique()]
        if paths:
            evidence.append(Evidence("inflight", f"they are of {', '.join(paths[:5])}", labels))
        waiting = _waiting(case, stuck)
        told = _told(case, stuck)
        evidence += [
            one for one in (waiting, told, _state(case, stuck.disk), _carries(case, stuck.disk)) if one
        ]
        yield Finding(
            "stuck I/O",
            name,
            _sure(case, stuck, waiting is not None, told is not None),
            tuple(evidence),
            f"dump.inflight[dump.inflight.disk == {stuck.disk!r}]",
            device=stuck.disk,
            against=(_slow(case, stuck),) if stuck.young else (),
            explains=frozenset() if waiting is None else frozenset({"hung task"}),
            since=stuck.oldest,
        )


@rule
def late_disks(case: Case) -> Iterator[Finding]:
    """A disk of which a driver said that it did not answer in time may be why threads hang, where no table tells."""
    if case.end.kind != "hung task" or case.has("inflight"):
        return
    for name, lines in list(late_by_log(case).items())[:_MOST]:
        labels = tuple(label for label, _ in lines)
        said = f"{len(lines):,} such lines" if len(lines) > 1 else "once"
        yield Finding(
            "stuck I/O",
            show_controls(name),
            0.45,
            (Evidence("log", f"{show_short(lines[0][1], 200)}: {said}", labels),),
            f"dump.log.loc[{list(labels[:20])}]",
            device=name,
            against=("It may have answered since: the requests that it has are only in a dump.",),
            explains=frozenset({"hung task"}),
            since=case.before_end(case.log.loc[labels[0], "timestamp"]),
        )


@rule
def suspended_volumes(case: Case) -> Iterator[Finding]:
    """A volume of device-mapper that is suspended keeps all I/O until somebody resumes it."""
    kept = case.inflight[case.inflight["state"] == "suspended"]
    for disk, rows in kept.groupby("disk", sort=False):
        mine = case.volumes[(case.volumes["disk"] == disk) & (case.volumes["state"] == "suspended")]
        asleep = case.waits[(case.waits["state"] == "D") & case.waits["pid"].isin(rows["pid"].dropna())]
        longest = seconds(asleep["since"].max())
        if mine.empty or longest is None or longest < case.hung_after:
            continue
        name = mine["name"].iloc[0]
        called = show_short(str(disk) if pd.isna(name) else f"{name} ({disk})")
        yield Finding(
            "stuck I/O",
            called,
            0.9,
            (
                Evidence("volumes", f"{called} is suspended", rows_of(mine, list(mine.index))),
                Evidence(
                    "inflight",
                    f"it keeps {len(rows):,} request{'s' if len(rows) > 1 else ''} back",
                    rows_of(rows, list(rows.index)),
                ),
                Evidence(
                    "waits",
                    show_controls(
                        f"{say_rows(asleep)} waited for that, the longest for {human_time(longest)}"
                    ),
                    rows_of(asleep, list(asleep.index)),
                ),
            ),
            f"dump.inflight[dump.inflight.disk == {str(disk)!r}]",
            device=str(disk),
            against=("Who suspended it, and why it was not resumed, is not known.",),
            explains=frozenset({"hung task"}),
            since=longest,
        )


def _waiting(case: Case, stuck: Unanswered) -> Evidence | None:
    """The threads that sleep for a disk, those that made its requests or wait for pages in them, and all behind."""
    waits = case.waits
    asleep = waits[waits["type"].isin(FOR_DISKS) & (waits["state"] == "D")]
    # Who waits for a page or a journal does not say of which disk: it counts where it has done so for long.
    long = asleep["since"].dt.total_seconds() >= granted(case)
    mine = asleep["pid"].isin(stuck.rows["pid"].dropna()) | (long & (asleep["type"] != "request"))
    asleep = asleep[mine]
    if asleep.empty:
        return None
    said = f"{say_rows(asleep)} {'sleeps' if len(asleep) == 1 else 'sleep'} until it answers"
    pids = asleep["pid"].astype(int).tolist()
    more = case.chains.behind(pids) - set(pids)
    if more:
        wait, these = "waits" if len(more) == 1 else "wait", "that one" if len(asleep) == 1 else "these"
        said += f", and {len(more):,} more {wait} for {these}"
    return Evidence("waits", show_controls(said), rows_of(waits, list(asleep.index)))


def _sure(case: Case, stuck: Unanswered, waited_for: bool, told: bool) -> float:
    """How sure it is that a disk does not answer: one that got other requests since may only be slow."""
    if stuck.young and not told and stuck.oldest < _SLOW * granted(case):
        return 0.45
    if not waited_for and not told:
        return 0.8
    return 0.85 if stuck.young else 0.95


def _told(case: Case, stuck: Unanswered) -> Evidence | None:
    """What the driver said in the log of a disk, or the controller that it is of, since its oldest request."""
    lines = [each for name, own in late_by_log(case).items() if is_of(stuck.disk, name) for each in own]
    recent = [
        (label, line)
        for label, line in lines
        if (ago := case.before_end(case.log.loc[label, "timestamp"])) is not None and ago <= stuck.oldest
    ]
    if not recent:
        return None
    return Evidence("log", show_short(recent[-1][1], 200), tuple(label for label, _ in recent))


def _state(case: Case, disk: str) -> Evidence | None:
    """What the driver says of a disk, where that is not the usual."""
    rows = case.disks[(case.disks["name"] == disk) & case.disks["state"].notna()]
    if rows.empty or rows["state"].iloc[0] in ("running", "live"):
        return None
    said = f"its driver calls it {show_short(str(rows['state'].iloc[0]))}"
    return Evidence("disks", said, rows_of(rows, list(rows.index)))


def _carries(case: Case, disk: str) -> Evidence | None:
    """The volumes that lie on a disk."""
    names = above(case, disk)
    rows = case.volumes[case.volumes["disk"].isin(names)]
    if rows.empty:
        return None
    called = [
        str(one) if pd.isna(name) else f"{name} ({one})"
        for one, name in zip(rows["disk"], rows["name"], strict=True)
    ]
    said = f"{', '.join(called[:5])} {'lies' if len(called) == 1 else 'lie'} on it"
    return Evidence("volumes", show_controls(said), rows_of(rows, list(rows.index)))


def _slow(case: Case, stuck: Unanswered) -> str:
    verb = "is" if stuck.young == 1 else "are"
    return f"{stuck.young:,} of the requests {verb} younger than {human_time(granted(case) / 2)}: it may be slow."
