"""Records of a log in, lines as dmesg prints them out; and of a kernel's report those that say something to most."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from kernlab.escape import show_controls

#: What is read of a line: some hold a whole table.
_LONGEST = 400
_STAMP = 15

#: What only who debugs a kernel reads, behind the time: registers, code, calls, what was loaded, counts of pages.
_DETAIL = re.compile(
    r"(?:R(?!IP)[A-Z0-9]{2}|E(?!IP)[A-Z]{2}|[CDEFG]S|[CD]R\d|PKRU|ORIG_RAX|Code|Modules linked in|Hardware name|"
    r"Tainted|Call Trace|Workqueue|x\d+ ?|sp|lr|pstate|task|Mem-Info|#PF): ?|PGD |RIP: 0033:|</?(?:TASK|IRQ|NMI)>|"
    r"(?:\? )?[\w.$]+\+0x[0-9a-f]+/0x[0-9a-f]+|\"echo 0 > |CPU: \d+ |lowmem_reserve|-+\[ |\[ *\d+\] +\d+ |"
    r"\[ +pid +\]|Node \d+ |(?:[a-z_]+:\d+ ?)+$|[a-z_]+:\d+ |\d+ pages |\d+ total pagecache pages|Tasks state"
)


def log_lines(log: pd.DataFrame, first: int, last: int) -> list[str]:
    """Records `first` to `last` (not with it) of `dump.log` as dmesg prints them; one of many lines stays many."""
    lines = []
    for time, text in zip(log["timestamp"].iloc[first:last], log["text"].iloc[first:last], strict=True):
        stamp = " " * (_STAMP - 1) if pd.isna(time) else f"[{time.total_seconds():12.6f}]"
        said = text if isinstance(text, str) else "(this record cannot be read)"
        for line in said.split("\n"):
            shown = show_controls(line)
            lines.append(f"{stamp} {shown[:_LONGEST]}{'…' if len(shown) > _LONGEST else ''}")
    return lines


def telling(lines: Sequence[str]) -> list[str]:
    """Those lines of a report that say what happened, and to whom."""
    return [line for line in lines if not _DETAIL.match(line[_STAMP:].strip())]
