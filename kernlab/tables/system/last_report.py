"""The log of a machine that died in, where its last trouble begins out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.tables.system.last_words import cause_row

#: First lines of the kernel's reports: lib/bug.c, arch/x86/kernel/{traps,dumpstack}.c, arch/x86/mm/fault.c,
#: kernel/{panic,watchdog,hung_task}.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, lib/{list_debug,ubsan}.c, mm/usercopy.c.
_BEGINS = (
    r"-+\[ cut here \]-+|BUG: |WARNING: |Oops|general protection fault|kernel BUG at |invalid opcode|divide error|"
    r"double fault|int3|stack segment|Kernel stack overflow|PANIC: |INFO: task .* blocked |rcu: INFO: |INFO: rcu_|"
    r"(?:NMI )?watchdog: (?:BUG: |Watchdog detected hard LOCKUP)|list_(?:add|del) corruption|UBSAN: |"
    r"sysrq: (?:SysRq : )?Trigger a crash|.* invoked oom-killer: |(?:Memory cgroup o|O)ut of memory|"
    r"mce: \[Hardware Error\]|Unable to handle kernel |usercopy: "
)
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
    text = log["text"].fillna("")
    panics = np.flatnonzero(text.str.startswith(_PANIC))
    end = int(panics[0]) if len(panics) else len(log) - 1
    starts = np.flatnonzero(text.iloc[max(0, end - _FARTHEST) : end + 1].str.match(_BEGINS)) + max(
        0, end - _FARTHEST
    )
    # What names the cause begins a report, whatever its words.
    cause = cause_row(text)
    starts = np.union1d(starts, [] if cause is None or cause > end else [cause]).astype(np.int64)
    first = end
    for place in starts[::-1].tolist():
        if _longest_silence(log["timestamp"].iloc[place : first + 1]) > _TOGETHER:
            break
        first = place
    return (first, end) if len(panics) or first != end else None


def _longest_silence(times: pd.Series[pd.Timedelta]) -> pd.Timedelta:
    """The longest time between two records that follow each other."""
    gaps = times.dropna().diff()
    longest = gaps.max()
    return pd.Timedelta(0) if pd.isna(longest) else pd.Timedelta(longest)
