"""Did an earlier report lead to the end? Where the kernel's own mechanism or the same thread ties the two together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.verdict.ending import TRAPS

if TYPE_CHECKING:
    from kernlab.verdict.case import Case

#: Ends that memory which was damaged before leads to. Somebody's SysRq, or a machine without memory, is none.
_OF_DAMAGE = TRAPS | {
    "WARNING",
    "use after free",
    "out of bounds",
    "invalid free",
    "memory corruption",
    "refcount",
    "bad page",
    "uninitialised value",
}
#: Settings that make a panic of a report (kernel/panic.c; mm/kfence, mm/kasan: check_panic_on_warn).
_SET = re.compile(r"panic_on_(?:warn|taint)|KASAN|kasan\.fault|kfence")
#: A report that ends the machine by a setting is printed in one go with the panic.
_AT_ONCE = 2.0
#: What was damaged is met again soon, by the same thread or in the same module.
_SOON = 10.0
#: Lines between two reports that are one event.
_LINES = 30


def why_it_leads(case: Case, report: pd.Series[Any]) -> str | None:
    """Why the end follows from a report of memory that is damaged, as a sentence; None where nothing shows that.

    '' where the report is the end itself.
    """
    end = case.end.report
    if end is None or int(report["offset"]) > int(end["offset"]):
        return None
    if int(report["offset"]) == int(end["offset"]):
        return ""
    between = _seconds(report["timestamp"], end["timestamp"])
    if between is None:
        # A log without times: what stands this close together was printed in one go.
        between = 0.0 if int(end["offset"]) - int(report["end"]) <= _LINES else _SOON + 1
    # Each CPU's idle thread is number 0.
    known = not pd.isna(report["pid"]) and not pd.isna(end["pid"])
    same_thread = known and report["pid"] == end["pid"] != 0
    if _SET.search(case.end.panic) and between <= _AT_ONCE:
        return "the kernel is set to panic at such a report"
    if case.end.kind not in _OF_DAMAGE:
        return None
    if same_thread and between <= _SOON:
        return "the same thread met the end soon after it"
    module = report["module"]
    if not pd.isna(module) and module and module == end["module"] and between <= _SOON:
        return f"the end came soon after it, in the same module, {module}"
    return None


def _seconds(first: object, last: object) -> float | None:
    if pd.isna(first) or pd.isna(last):  # type: ignore[call-overload]
        return None
    return float((pd.Timedelta(last) - pd.Timedelta(first)).total_seconds())  # type: ignore[arg-type]
