"""Why a machine died, in the words of its log: which line names the cause."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

Rows = npt.NDArray[np.int64]

#: How a panic begins; what follows is its own reason.
_PANIC = "Kernel panic - not syncing:"

#: Panics whose words name no cause: it stands above them (arch/*/kernel/traps.c, kernel/panic.c, kernel/exit.c).
_CONSEQUENCE = (
    rf"{_PANIC} (?:.*Fatal exception|.*panic_on_warn set|Machine halted|Aiee, killing interrupt handler)"
)

#: A panic that follows from a trap in init, if there was one just before (within so many rows), or from its own end.
_INIT, _JUST_BEFORE = rf"{_PANIC} Attempted to kill (?:init|the idle task)", 200

#: The line of a trap, which counts them: "invalid opcode: 0000 [#1] SMP", "Oops: Oops: 0002 [#3]" (die_header, die).
_TRAP = r"[^\n]{0,120}: [0-9a-f]{4,16} \[#\d+\]"

#: How the kernel names what went wrong (arch/x86/kernel/traps.c, arch/*/mm/fault.c, lib/bug.c, kernel/watchdog.c …).
_CAUSE = (
    r"(?:(?:NMI )?watchdog: )?(?:Oops: )?(?:BUG: |general protection fault|divide error|invalid opcode|int3|"
    r"stack segment|double fault|PANIC: |alignment check|bounds|Kernel stack overflow)|kernel BUG at |"
    r"sysrq: Trigger a crash|Unable to handle kernel |Unhandled fault|Internal error: |mce: \[Hardware Error\]|Oops"
)
_WARNING = r"WARNING: |UBSAN: "

#: What is said just before BUG() by who calls it (lib/list_debug.c, mm/usercopy.c, mm/debug.c, net/core/skbuff.c).
_BEFORE_BUG = (
    r"(?:list_add|list_del) (?:double add|corruption)|usercopy: |.*dumped because: |"
    r"(?:skbuff: )?skb_(?:over|under)_panic|slab: |kobject: "
)

#: Where a report begins and ends that has a mark for it (kernel/panic.c).
_CUT, _END = r"-+\[ cut here \]-+", r"---\[ end "

#: From the first line of a report to that of its trap there are no more lines than this (arm64 says most between them),
#: and no more between what is said before BUG() and its mark.
_HEAD, _BEFORE = 24, 3


def cause_row(texts: pd.Series[str]) -> int | None:
    """The row of a log that names what the machine died of; None where none does.

    A panic says it by itself, unless it only follows from a report. Then, and without a panic, it is the first line of
    the last report that names a cause: "kernel BUG at …" or "BUG: kernel NULL pointer dereference …", not the trap
    behind it; "list_del corruption …" where that is what BUG() was called for. Earlier reports the machine outlived.
    """
    panics = _rows(texts, re.escape(_PANIC))
    pattern = f"{_CAUSE}|{_TRAP}"
    if not len(panics):
        causes = _rows(texts, pattern)
        return _first_of_report(texts, causes) if len(causes) else None
    end = int(panics[0])
    panic, before = texts.iloc[end], texts.iloc[:end]
    trapped = re.match(_INIT, panic) and len(_rows(before.iloc[-_JUST_BEFORE:], _TRAP))
    if not trapped and not re.match(_CONSEQUENCE, panic):
        return end
    causes = _rows(before, f"{pattern}|{_WARNING}" if "panic_on_warn" in panic else pattern)
    return _first_of_report(before, causes) if len(causes) else end


def panic_message(texts: pd.Series[str]) -> str | None:
    """The line of a log that says why the machine died; None where none does."""
    row = cause_row(texts)
    return None if row is None else str(texts.iloc[row]).splitlines()[0]


def _rows(texts: pd.Series[str], pattern: str) -> Rows:
    found: Rows = np.flatnonzero(texts.str.match(pattern, na=False).to_numpy(dtype=bool))
    return found


def _first_of_report(texts: pd.Series[str], causes: Rows) -> int:
    """The first line of the last report that names a cause, by the rows of all lines that do."""
    last = int(causes[-1])
    ends, cuts = _rows(texts, _END), _rows(texts, _CUT)
    begin: int = max([0, *(ends[ends < last] + 1).tolist()])
    # What goes wrong while a report is printed belongs to it: its own trap came first.
    traps = begin + _rows(texts.iloc[begin : last + 1], _TRAP)
    trap = int(traps[0]) if len(traps) else last
    cut: int = max([-1, *cuts[(cuts >= max(begin, trap - _HEAD)) & (cuts < trap)].tolist()])
    head = causes[(causes >= max(begin, trap - _HEAD)) & (causes > cut) & (causes <= trap)]
    found = int(head[0]) if len(head) else trap
    if texts.iloc[found].startswith("kernel BUG at "):
        top = max(begin, (cut if cut >= 0 else found) - _BEFORE)
        said = _rows(texts.iloc[top:found], _BEFORE_BUG)
        if len(said):
            return top + int(said[-1])
    return found
