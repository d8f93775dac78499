"""What `suspects` says of the kernel's own reports of errors in its code: each kind and place in its log once."""

from __future__ import annotations

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.oops import parse
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import is_boilerplate, normal
from kernlab.tables.suspects.evidence import Evidence, Lead
from kernlab.util.text import human_time

#: Kinds that other rules tell of from tables, and ends that are no error.
_NOT_OURS = frozenset(
    {
        *("OOM", "hung task", "soft lockup", "hard lockup", "RCU stall", "workqueue stall", "lock bug"),
        *("sysrq", "panic", "unexpected reboot", "memory leak", "network stall"),
    }
)
#: Healthy machines say these and go on.
_USUAL = frozenset({"WARNING", "UBSAN", "data race"})
#: What the machine died in stands above all; an earlier report, which it outlived, below what explains a lack.
_DIED, _OUTLIVED = 12.0, 0.6
#: Lines that may follow what a machine died in: with panic_on_oops no panic is logged (arch/*, oops_end).
_BEHIND = 20
#: A panic for what was reported follows within this, also where the report is long and the console slow.
_AT_ONCE = pd.Timedelta(seconds=1)
_MOST = 5


def error_reports(memory: Evidence) -> list[Lead]:
    """Errors of the kernel's code that its log tells of: where, and whether the machine went on after it."""
    log = memory.log
    every = parse(log)
    reports = every[~every["kind"].isin(_NOT_OURS)]
    found = []
    for _, rows in reports.groupby(["kind", "title"], sort=False):
        last = rows.iloc[-1]
        died = "panic" in last["details"] or len(log) - int(last["end"]) <= _BEHIND or _panicked(every, last)
        if not died and last["kind"] in _USUAL:
            continue
        said = [show_short(str(last["title"]), 300)]
        if isinstance(last["comm"], str) and not pd.isna(last["pid"]):
            said.append(f"on top of {show_controls(say_thread(last['comm'], int(last['pid'])))}")
        if len(rows) > 1:
            said.append(f"the last of {len(rows):,}")
        end = log["timestamp"].max()
        if not died and not pd.isna(end) and not pd.isna(last["timestamp"]):
            ago = human_time((end - last["timestamp"]).total_seconds())
            said.append(f"{ago} before the log's end, and the machine went on")
        first = int(last["offset"])
        found.append(
            Lead(
                str(last["kind"]),
                _place(last),
                f"{'; '.join(said)}.",
                f"dump.log.iloc[{first}:{int(last['end'])}]",
                (_DIED if died else _OUTLIVED) + first * 1e-9,
            )
        )
    return sorted(found, key=lambda lead: -lead.weight)[:_MOST]


def _panicked(reports: pd.DataFrame, report: pd.Series) -> bool:
    """Did the CPU or thread that reported it panic at once (panic_on_taint, oops=panic)? Then it did not go on."""
    panics = reports[(reports["kind"] == "panic") & (reports["offset"] > report["offset"])]
    if panics.empty or not isinstance(report["caller"], str) or not report["caller"]:
        return False
    first = panics.iloc[0]
    waited = first["timestamp"] - report["timestamp"]
    return bool(first["caller"] == report["caller"] and not pd.isna(waited) and waited <= _AT_ONCE)


def _place(report: pd.Series) -> str:
    """The function and the module that a report is about; the report's title where it names none."""
    if not isinstance(report["function"], str):
        return show_short(str(report["title"]), 120)
    function, module = report["function"], report["module"]
    # A stack that is full is so by whom it ends at, not by the first frame that tells of a fault.
    at = frame_of(str(report["details"].get("at", ""))) if report["kind"] == "stack overflow" else None
    if at is not None and not is_boilerplate(normal(at.name)):
        function, module = normal(at.name), at.module or None
    return (
        f"{show_short(function)} [{show_short(module)}]" if isinstance(module, str) else show_short(function)
    )
