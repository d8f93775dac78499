"""A dump in, how its machine died out: of what kind the end was, where in the kernel, and who was running."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.tables.system.last_report import last_report
from kernlab.verdict.ending import TRAPS

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Ends in which the instruction that failed says where to look.
FAULTS = TRAPS | {"WARNING", "use after free", "refcount", "UBSAN"}
#: Ends in which a watchdog panicked, for what others did.
WATCHED = frozenset({"hung task", "soft lockup", "hard lockup", "RCU stall", "workqueue stall"})

_ADDRESS = re.compile(r"address:? (?P<address>(?:0x)?[0-9a-f]{8,16})")


@dataclass(frozen=True)
class Death:
    """How a machine died. Strings are the dump's; what is not known is '' or None."""

    #: The finding of the verdict's row that is the end; "panic" where it has none, "stopped" where nothing panicked.
    kind: str
    #: The line of the log that names the cause.
    message: str
    #: The function that failed and its module ('' for the kernel itself), where the kind has one.
    function: str
    module: str
    #: The address that was followed, as the log says it.
    address: str
    comm: str
    pid: int | None
    cpu: int | None
    #: Positions in `dump.log` of the last report and of the panic; None where the log tells of no trouble.
    report: tuple[int, int] | None

    @property
    def who(self) -> str:
        """The thread that was running when the kernel gave up: `init (1)`; '' where that is not known."""
        return (
            show_controls(say_thread(self.comm, "?" if self.pid is None else self.pid)) if self.comm else ""
        )


def death(dump: Dump) -> Death:
    """How the machine of `dump` died, as its verdict has it. What cannot be read stays unknown."""
    facts = dump.info
    message = known(facts["panic_message"])
    log = dump.log
    report = last_report(log) if len(log) else None
    rows = dump.verdict
    ends = rows[rows["role"] == "end"]
    unnamed = "panic" if message or known(facts["panic_cpu"]) else "stopped"
    kind = str(ends["finding"].iloc[0]) if len(ends) else unnamed
    is_fault = kind in FAULTS and len(ends) > 0
    address = _ADDRESS.search(message)
    return Death(
        kind=kind,
        message=message,
        function=known(ends["function"].iloc[0]) if is_fault else "",
        module=known(ends["module"].iloc[0]) if is_fault else "",
        address=address["address"] if address else "",
        comm=known(facts["panic_comm"]),
        pid=number(facts["panic_pid"]),
        cpu=number(facts["panic_cpu"]),
        report=report,
    )


def known(value: Any) -> str:
    """A fact as text, '' where it is not known."""
    return "" if value is None or pd.isna(value) else str(value)


def number(value: Any) -> int | None:
    """A fact as a number, None where it is not known."""
    return None if value is None or pd.isna(value) else int(value)


def callers(dump: Dump, function: str) -> list[str]:
    """The functions that called the one that failed, the nearest first; [] where the stack is not known."""
    try:
        frames = dump.stack.of_panic().frames
    except KernlabError:
        return []
    names = [str(name) for name in frames.loc[frames["reliable"], "symbol"].dropna()]
    bare = [re.split(r"[+.]", name)[0] for name in names]
    at = bare.index(function.split(".")[0]) if function.split(".")[0] in bare else -1
    return names[at + 1 :]
