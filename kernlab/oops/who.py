"""The lines of a report in, whom it is about out: CPU, task, release of the kernel, taint."""

from __future__ import annotations

import re
from typing import Any

from kernlab.oops.details import ACCESSED
from kernlab.oops.report import Report

#: "CPU: 1 PID: 2 Comm: a Not tainted 6.1.0 #1" (lib/dump_stack.c, dump_stack_print_info), and how other reports say
#: it.
_CPU = re.compile(
    r"(?:CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,8}) )?(?:Comm: (?P<comm>[^\n]{1,64}?)|"
    r"WARNING: CPU: \d+ PID: \d+ at) "
    r"(?:Kdump: \w{1,16} )?(?P<taint>Not tainted|"
    r"Tainted: [A-Z \[\]=,0-9a-z_]{1,80}?)\s++(?P<release>\d[\w.+~-]{2,100})"
)
_WARNED = re.compile(r"WARNING: CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,8}) at ")
_WARNED_NEW = re.compile(
    r"WARNING: [^\n]{1,200}, CPU#(?P<cpu>\d{1,5}): (?P<comm>[^\n]{1,64})/(?P<pid>\d{1,8})\s*$"
)
_TASK = re.compile(
    r"(?P<comm>[^\n]{1,64}?)[/:](?P<pid>\d{1,8})(?: \[[^\]\n]{1,60}\])? (?:is trying to|is freeing|takes|"
    r"just changed|is leaving|still has)"
)
_NOT_TAINTED = re.compile(
    r"\s*+(?P<taint>Not tainted|Tainted: [A-Z \[\]=,0-9a-z_]{1,80}?)\s++(?P<release>\d[\w.+~-]{2,100})"
)
_RELEASE = re.compile(
    r"(?P<release>\d{1,2}\.\d{1,3}[\w.+~-]{0,100}) (?:#\S{1,20} )?(?P<taint>Not tainted|"
    r"Tainted: [A-Z \[\]=,0-9a-z_]{1,80})"
)
_SLEPT = re.compile(r"in_atomic\(\):? ?\d[^\n]{0,80}?pid: (?P<pid>\d{1,8}), name: (?P<comm>[^\n]{1,64}?)\s*$")
_ATOMIC = re.compile(r"BUG: scheduling while atomic: (?P<comm>[^\n]{1,64})/(?P<pid>\d{1,8})/0x")
_LEAKED = re.compile(r'\s*+comm "(?P<comm>[^"\n]{1,64})", pid (?P<pid>\d{1,8})')
_SPUN = re.compile(
    r"BUG: \w{1,16} [\w ]{1,30} on CPU#(?P<cpu>\d{1,5}), (?P<comm>[^\n]{1,64})/(?P<pid>\d{1,8})"
)
_TELLERS = (
    _CPU,
    _WARNED,
    _WARNED_NEW,
    ACCESSED,
    _TASK,
    _SLEPT,
    _ATOMIC,
    _LEAKED,
    _SPUN,
    _NOT_TAINTED,
    _RELEASE,
)
#: A word that stands in each line that a teller reads: the others are not tried.
_WORTH = re.compile(
    r"ainted|PID|pid|by task|is trying|is freeing|takes|just changed|is leaving|still has|atomic:|on CPU#|"
    r"comm \"|CPU#"
)


def who(report: Report, panic_is_of_it: bool = True) -> dict[str, Any]:
    """cpu, pid, comm, release and taint, each by the first line that says it.

    Of a stack that is of another CPU than the report, or of who found it and panicked (not `panic_is_of_it`), release
    and taint only.
    """
    said: dict[str, Any] = {}
    groups = report.match.groupdict()
    for name in ("cpu", "pid"):
        if groups.get(name):
            said[name] = int(groups[name])
    comm = groups.get("comm") or groups.get("task")
    if comm:
        said["comm"] = comm
    fixed = set(said)
    of_another = False
    for line in report.lines:
        of_another = of_another or (not panic_is_of_it and line.text.startswith("Kernel panic"))
        if not _WORTH.search(line.text):
            continue
        for teller in _TELLERS:
            match = teller.match(line.text)
            if not match:
                continue
            found = match.groupdict()
            elsewhere = "cpu" in fixed and found.get("cpu") is not None and int(found["cpu"]) != said["cpu"]
            for name, value in found.items():
                if value is None or name in fixed or name in ("access", "size", "address") or name in said:
                    continue
                if (of_another or elsewhere) and name not in ("release", "taint"):
                    continue
                said[name] = int(value) if name in ("cpu", "pid") else value.strip()
        if len(said) >= 5:
            break
    return said
