"""A row of a verdict in, what its sentences can name out: who, what, where, on which device."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short

#: A thread as people say it: `inventoryd (176)`.
_THREAD = re.compile(r"(?P<comm>.+) \((?:\d+|\?)\)", re.DOTALL)
#: A thread and what it keeps or does, as rules call it.
_DOES = re.compile(
    r"(?P<who>.+? \((?:\d+|\?)\)), which (?:has (?P<lock>.+)|works for (?P<queue>.+))", re.DOTALL
)
#: Reports of before the end, which have no other subject.
_EARLIER = re.compile(r"(?:an earlier report|(?P<count>[\d,]+) earlier reports)\b")
#: What ran on top of a thread that has no part in it, as rules call it.
_BORROWED = re.compile(r"(?:a softirq|an interrupt|an NMI)\b")
#: Checkers that are built into a kernel, as they begin their reports (mm/kasan, mm/kmsan, kernel/kcsan, mm/kfence).
_CHECKER = re.compile(r"(?:KASAN|KMSAN|KCSAN|KFENCE): ")
#: The code of a log alone: which lines.
_LINES = re.compile(
    r"log\.(?:iloc\[(?P<place>\d+):(?P<before>\d*)\]|loc\[(?P<first>\d+):(?P<last>\d*)\]|loc\[\[(?P<each>[\d, ]+)\]\])"
)
#: The code of a finding of a dump.
_OF_A_DUMP = re.compile(r"dump\b")
#: What is known without tables of a dump.
_LOG = ("log", "info")
_PANIC = "Kernel panic - not syncing: "
#: Names of a circle that a title has room for.
_MOST_NAMES = 4
_LONGEST = 300


def fields(row: pd.Series[Any]) -> dict[str, str]:
    """What is known of a finding, by the names that patterns use (`kernlab.verdict.words.word`); '' for what is not.

    subject; who: the subject, where it is a thread; what: the subject, where it is none; lock: what that thread has;
    queue: for which it works; borrowed: what ran on top of a thread; during: what ran meanwhile; times: how often,
    where more than once; earlier: such a report; pid, module, function, device; where: function and module;
    maintainer: to whom to give it; circle: the threads of a deadlock; panic: what the panic said; dump: what code calls
    the dump, where there is one; counted: how, where tables of a dump show it. Nothing in them acts on a terminal.
    """
    subject = show_short(text(row["subject"]), _LONGEST)
    does, earlier = _DOES.fullmatch(subject), _EARLIER.match(subject)
    subject = "" if earlier else subject
    who = does["who"] if does else subject if _THREAD.fullmatch(subject) and "→" not in subject else ""
    borrowed = _BORROWED.match(subject)
    module, function = show_short(text(row["module"])), show_short(text(row["function"]))
    return {
        "subject": subject,
        "who": who,
        # The head of a checker's report is no object.
        "what": "" if who or _CHECKER.match(subject) else subject,
        "lock": (does["lock"] or "") if does else "",
        "queue": (does["queue"] or "") if does else "",
        "borrowed": borrowed[0] if borrowed else "",
        "during": f"while {who} ran" if who else f"in {subject}" if borrowed else "",
        "times": (earlier["count"] or "") if earlier else "",
        "earlier": earlier[0] if earlier else "",
        "pid": text(row["pid"]),
        "module": module,
        "function": function,
        "where": f"{function} of the module {module}" if function and module else function,
        "device": show_short(text(row["device"])),
        "maintainer": f"the maintainers of the module {module}"
        if module
        else "the maintainers of your kernel",
        "circle": _circle(subject),
        "panic": next((said[len(_PANIC) :] for said in says(row) if said.startswith(_PANIC)), ""),
        "dump": "dump" if _OF_A_DUMP.match(text(row["cell"])) else "",
        "counted": "page by page" if any(one["table"] not in _LOG for one in row["evidence"]) else "",
    }


def says(row: pd.Series[Any]) -> list[str]:
    """What the evidence of a finding says, each once."""
    said = (show_short(str(one["says"]), 1000) for one in row["evidence"])
    return list(dict.fromkeys(one for one in said if one))


def text(value: Any) -> str:
    """A cell of a table as text, '' where it is missing."""
    return "" if value is None or pd.isna(value) else show_controls(str(value))


def lines_of(cell: str) -> str:
    """Which lines of a log alone code shows, from 1 on, as editors and sed count; '' of any other code.

    >>> from kernlab.verdict.told import lines_of
    >>> lines_of("log.iloc[405:441]"), lines_of("log.loc[[391, 392]]"), lines_of("log.loc[405:]")
    ('lines 406 to 441 of the log', 'lines 392 and 393 of the log', 'the log from line 406 on')
    """
    found = _LINES.fullmatch(cell)
    if found is None:
        return ""
    if found["each"]:
        numbers = [str(int(each) + 1) for each in found["each"].split(",")]
        return f"line{'s' if len(numbers) > 1 else ''} {listed(numbers)} of the log"
    begin = int(found["place"] or found["first"]) + 1
    if not (found["before"] or found["last"]):
        return f"the log from line {begin} on"
    last = int(found["before"] or int(found["last"]) + 1)
    return f"lines {begin} to {last} of the log" if last > begin else f"line {begin} of the log"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`; '' of none."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _circle(subject: str) -> str:
    if "→" not in subject:
        return ""
    found = (_THREAD.fullmatch(part.strip()) for part in subject.split("→"))
    names = list(dict.fromkeys(one["comm"] for one in found if one))
    more = len(names) - _MOST_NAMES
    return listed([*names[:_MOST_NAMES], *([f"{more:,} more"] if more > 0 else [])])
