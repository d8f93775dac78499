"""The log of a machine that died in, where its last trouble begins out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.oops.interleaving import reports_of
from kernlab.oops.lines import Log, own_text
from kernlab.tables.system.last_words import cause_row

#: What stands above the first line of some reports (kernel/panic.c).
_CUT = "------------[ cut here ]"
_PANIC = "Kernel panic - not syncing"

#: Reports that follow each other so closely belong together.
_TOGETHER = pd.Timedelta(seconds=5)
#: Records of one report: a list of all tasks, or of all CPUs' stacks, is longer than what is read of it.
_FARTHEST = 4000


def last_report(log: pd.DataFrame) -> tuple[int, int] | None:
    """Positions of the first line of the last report before the machine died, and of the panic that ended it.

    `log` is `dump.log`. Where nothing panicked the second is the log's last record; None where the log tells of no
    trouble. Reports that follow each other within five seconds count as one: tasks that hang are told one by one.
    """
    text = own_text(log)
    panics = np.flatnonzero(text.str.startswith(_PANIC))
    end = int(panics[0]) if len(panics) else len(log) - 1
    top = max(0, end - _FARTHEST)
    reports, _ = reports_of(Log(log.iloc[top : end + 1]))
    starts = {top + report.lines[0].number for report in reports}
    # What names the cause begins a report, whatever its words.
    cause = cause_row(text)
    if cause is not None and cause <= end:
        starts.add(cause)
    first = end
    for place in sorted(starts, reverse=True):
        begin = place - 1 if place and str(text.iloc[place - 1]).startswith(_CUT) else place
        if _longest_silence(log["timestamp"].iloc[begin : first + 1]) > _TOGETHER:
            break
        first = begin
    return (first, end) if len(panics) or first != end else None


def _longest_silence(times: pd.Series[pd.Timedelta]) -> pd.Timedelta:
    """The longest time between two records that follow each other."""
    gaps = times.dropna().diff()
    longest = gaps.max()
    return pd.Timedelta(0) if pd.isna(longest) else pd.Timedelta(longest)
