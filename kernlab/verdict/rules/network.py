"""Network devices whose driver does not send what it was given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.util.text import human_bytes, human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import seconds
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import kernel_text

#: A queue that is stopped for so many seconds is stuck: twice what a device may take by default before the kernel's
#: watchdog calls it so (net/sched/sch_generic.c, dev_watchdog: watchdog_timeo of 5 seconds).
_STOPPED = 10.0
#: Devices that are told at most, those of the most lines.
_MOST = 20
# net/sched/sch_generic.c, dev_watchdog, until 6.4 and since (netdev_crit: driver, bus address and name of the device).
_OLD = re.compile(
    r"NETDEV WATCHDOG: (?:CPU: \d{1,5}: )?(?P<device>\S{1,32}) \((?P<driver>[^)\s]{1,64})\): "
    r"transmit queue \d{1,6} timed out"
)
_NEW = re.compile(
    r"(?:(?P<driver>\S{1,64}) \S{1,64} )?(?P<device>\S{1,32}): NETDEV WATCHDOG: CPU: \d{1,5}: "
    r"transmit queue \d{1,6} timed out"
)


@rule
def stuck_queues(case: Case) -> Iterator[Finding]:
    """A transmit queue that the kernel's watchdog called stuck, or that is stopped for long with packets in it."""
    reported: dict[str, list[tuple[int, str, str | None]]] = {}
    text = kernel_text(case)
    for label in text.index[text.str.contains("NETDEV WATCHDOG: ", regex=False)].tolist():
        for line in str(text[label]).splitlines():
            if found := _OLD.match(line) or _NEW.match(line):
                reported.setdefault(found["device"], []).append((int(label), line, found["driver"]))
    often = sorted(reported, key=lambda device: (not _is_end(case, device), -len(reported[device])))
    for device in often[:_MOST]:
        lines = reported[device]
        labels = tuple(label for label, _, _ in lines[:100])
        said, module = lines[0][1], lines[0][2]
        evidence = [Evidence("log", show_short(said, 200), labels)]
        row = _device(case, device)
        against: tuple[str, ...] = ()
        if row is not None:
            evidence.append(Evidence("netdevs", _says(row), rows_of(case.netdevs, [row.name])))  # type: ignore[list-item]
            if not _stands(row):
                against = ("When the machine died, its queues were not stopped any more: it had gone on.",)
        gone_on = bool(against) and not _is_end(case, device)
        yield _finding(
            case,
            device,
            0.45 if gone_on else 0.95,
            evidence,
            module,
            against,
            case.before_end(case.log.loc[labels[0], "timestamp"]),
        )
    if not case.has_dump:
        return
    for _, row in case.netdevs.iterrows():
        if str(row["name"]) in reported or not _stands(row):
            continue
        since = seconds(row["last_tx"])
        if since is None or since < _STOPPED or pd.isna(row["queued_packets"]) or row["queued_packets"] == 0:
            continue
        if pd.isna(row["carrier"]) or not row["carrier"]:
            continue  # without a carrier nothing is sent, and the watchdog does not look (netif_carrier_ok)
        evidence = [Evidence("netdevs", _says(row), rows_of(case.netdevs, [row.name]))]  # type: ignore[list-item]
        against = ("The kernel's own watchdog has not called it stuck.",)
        yield _finding(case, str(row["name"]), 0.7, evidence, None, against, since)


def _finding(
    case: Case,
    device: str,
    confidence: float,
    evidence: list[Evidence],
    module: str | None,
    against: tuple[str, ...],
    since: float | None,
) -> Finding:
    row = _device(case, device)
    if module is None and row is not None and not pd.isna(row["driver"]) and row["driver"]:
        module = str(row["driver"])
    return Finding(
        "network queue stuck",
        show_controls(device),
        confidence,
        tuple(evidence),
        f"dump.netdevs[dump.netdevs.name == {device!r}]"
        if row is not None
        else f"dump.log.loc[{list(evidence[0].rows)}]",
        module=module,
        device=device,
        against=against,
        explains=frozenset({"network stall"}) if _is_end(case, device) else frozenset(),
        since=since,
    )


def _is_end(case: Case, device: str) -> bool:
    """Did the machine end for what the watchdog said of a device (with panic_on_warn)?"""
    report = case.end.report
    if report is None or case.end.kind != "network stall":
        return False
    return bool(report["details"].get("device") == device)


def _device(case: Case, name: str) -> pd.Series[Any] | None:
    """A network device by its name, where there is only one of it."""
    if not case.has_dump:
        return None
    rows = case.netdevs[case.netdevs["name"] == name]
    return rows.iloc[0] if len(rows) == 1 else None


def _stands(row: pd.Series[Any]) -> bool:
    return not pd.isna(row["tx_stopped"]) and int(row["tx_stopped"]) > 0


def _says(row: pd.Series[Any]) -> str:
    stopped = "?" if pd.isna(row["tx_stopped"]) else f"{int(row['tx_stopped']):,}"
    every = "?" if pd.isna(row["tx_queues"]) else f"{int(row['tx_queues']):,}"
    parts = [f"{stopped} of {every} transmit queues of {row['name']} are stopped"]
    if not pd.isna(row["queued_packets"]):
        size = "" if pd.isna(row["queued_bytes"]) else f" ({human_bytes(int(row['queued_bytes']))})"
        parts.append(f"{int(row['queued_packets']):,} packets{size} wait")
    since = seconds(row["last_tx"])
    if since is not None:
        parts.append(f"the last one was sent {human_time(since)} before the end")
    return show_controls(", ".join(parts))
