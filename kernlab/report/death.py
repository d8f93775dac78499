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

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Kinds of ends by the line that names the cause (Dump.info.panic_message), the first that matches.
_KINDS = (
    ("oom", r"Out of memory|System is deadlocked on memory|out of memory"),
    ("hung", r"hung_task|blocked for more than"),
    ("hard lockup", r"[Hh]ard LOCKUP"),
    ("lockup", r"soft ?lockup|RCU Stall|rcu_.*stall|rcu: INFO"),
    ("sysrq", r"sysrq triggered crash|[Ss]ys[Rr]q ?: (?:SysRq : )?Trigger a crash"),
    ("null pointer", r"NULL pointer dereference"),
    ("bad pointer", r"[Uu]nable to handle|page fault|general protection fault|KASAN|stack segment"),
    ("overflow", r"stack overflow|stack-protector|corrupted stack end|double fault|stack guard page"),
    ("bug", r"kernel BUG at|list_(?:add|del)|usercopy|invalid opcode|refcount_t|UBSAN|dumped because"),
    ("divide", r"divide error"),
    ("warning", r"WARNING: |panic_on_warn"),
    ("hardware", r"\[Hardware Error\]|Machine check|machine check|Uncorrected|NMI: Not continuing|NMI IOCK"),
    ("no root", r"Unable to mount root|No working init|Attempted to kill init|killing init"),
)
#: Kinds in which the instruction that failed says where to look.
FAULTS = frozenset({"null pointer", "bad pointer", "overflow", "bug", "divide", "warning"})
#: Kinds in which a watchdog panicked, for what others did.
WATCHED = frozenset({"hung", "lockup", "hard lockup"})

#: Where it happened, as the report in the log says it (arch/*/kernel/{dumpstack,process}.c).
_WHERE = re.compile(
    r"(?:RIP: 0010:|pc : |NIP \[\w+\] |epc : )(?P<function>[\w.$]+)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?"
    r"(?: \[(?P<module>[^\]\s]+)\])?"
)
_ADDRESS = re.compile(r"address:? (?P<address>(?:0x)?[0-9a-f]{8,16})")


@dataclass(frozen=True)
class Death:
    """How a machine died. Strings are the dump's; what is not known is '' or None."""

    #: One of the kinds above; "panic" for one that is none of them, "stopped" where nothing panicked.
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
    """How the machine of `dump` died. What cannot be read stays unknown."""
    facts = dump.info
    message = known(facts["panic_message"])
    log = dump.log
    report = last_report(log) if len(log) else None
    kind = next((name for name, words in _KINDS if re.search(words, message)), "panic")
    if not message and known(facts["panic_cpu"]) == "":
        kind = "stopped"
    told = list(log["text"].iloc[report[0] : report[1] + 1].dropna()) if report is not None else []
    where = next((found for line in told if (found := _WHERE.search(line))), None)
    address = _ADDRESS.search(message)
    return Death(
        kind=kind,
        message=message,
        function=where["function"] if where and kind in FAULTS else "",
        module=(where["module"] or "") if where and kind in FAULTS else "",
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
