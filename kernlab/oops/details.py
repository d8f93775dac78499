"""A report in, what only some say out: addresses, accesses, seconds, devices, stacks of who allocated and freed."""

from __future__ import annotations

import re
from typing import Any

from kernlab.oops.frames import Frame
from kernlab.oops.lines import Line
from kernlab.oops.report import Report
from kernlab.oops.sections import Section

#: mm/kasan/report.c, print_error_description: "Write of size 8 at addr ffff888012345678 by task a/1".
ACCESSED = re.compile(
    r"(?P<access>Read|Write|Free) (?:of size (?P<size>\d{1,20}) )?(?:at addr "
    r"(?:0x)?(?P<address>[0-9a-f]{1,16}) )?by task (?P<comm>[^\n]{1,64})/(?P<pid>\d{1,8})"
)
_ADDRESS = re.compile(
    r"(?:at virtual address|at address:?|for address:|, address:|dereference at|paging request at|by NULL at|"
    r"for non-canonical address|at addr|memory range|Faulting data address:|Failing address:|on (?:read|write) at) ?"
    r"(?:0x)?(?P<address>[0-9a-f]{4,16})"
)
_PF = re.compile(r"#PF: \w{1,16} (?P<access>read|write|instruction fetch) ")
#: arch/powerpc/mm/fault.c: "on write at 0x18"; arch/arm/mm/fault.c: "address 00000018 when write".
_WHEN = re.compile(r"[^\n]{1,80} (?:on|when) (?P<access>read|write|execute)\b")
_WNR = re.compile(r"\s*+CM = \d, WnR = (?P<write>[01])")
_MODULES = re.compile(r"Modules linked in:(?P<modules>[^\n]{0,4096})")
#: Lines in which an address and an access stand.
_HEAD = 40


def details_of(report: Report, sections: list[Section], frames: list[Frame]) -> dict[str, Any]:
    """What only some reports say; `frames` are those of the stack that it is about."""
    details: dict[str, Any] = {}
    for source in (report.naming[1], report.match):
        for name, value in source.groupdict().items():
            if value and name in ("seconds", "sector", "line"):
                details[name] = int(value)
            elif value and name in ("device", "file", "flavour", "reason", "cache", "fs"):
                details[name] = value.strip()
    when = _WHEN.match(report.lines[0].text)
    if when and report.form.blame == "top":
        details["access"] = when["access"]
    for line in report.lines[:_HEAD]:
        text = line.text
        if "address" not in details and any(
            word in text for word in ("ddress", "addr ", "dereference", "paging")
        ):
            found = _ADDRESS.search(text)
            if found:
                details["address"] = int(found["address"], 16)
        by = ACCESSED.match(text) if "by task" in text else None
        if by and "access" not in details:
            details["access"] = {"Read": "read", "Write": "write", "Free": "free"}[by["access"]]
            if by["size"]:
                details["size"] = int(by["size"])
            if by["address"]:
                details["address"] = int(by["address"], 16)
        if "#PF: " in text and (pf := _PF.match(text)):
            details.setdefault("access", {"instruction fetch": "execute"}.get(pf["access"], pf["access"]))
        if "WnR" in text and (wnr := _WNR.match(text)):
            details.setdefault("access", "write" if wnr["write"] == "1" else "read")
    for section in sections:
        if section.what in ("allocated", "freed") and section.frames and section.what not in details:
            details[section.what] = [str(frame) for frame in section.frames]
            pid = re.search(r"by task (\d{1,8})", section.head)
            if pid:
                details[f"{section.what}_by"] = int(pid[1])
    # Below a lockup's panic stands the stack that the watchdog interrupted.
    places = [sections[0].frames, frames if report.form.blame == "stalled" else []]
    register = next((frame for place in places for frame in place if frame.register), None)
    if register:
        details["at"] = str(register)
    tainting = _tainting(report.lines)
    if tainting:
        details["tainting_modules"] = tainting
    if report.kind == "OOM":
        details |= _killed(report.lines)
    if report.panic:
        details["panic"] = report.panic
    if report.inside is not None:
        details["inside"] = report.inside.lines[0].number
    return details


def _tainting(lines: list[Line]) -> list[str]:
    """Modules that are marked in "Modules linked in:": "foo(OE)" (kernel/module, module_flags)."""
    for line in lines:
        found = _MODULES.match(line.text) if line.text.startswith("Modules linked in") else None
        if found:
            return re.findall(r"([\w-]{1,64})\([A-Z+-]{1,16}\)", found["modules"])
    return []


#: mm/oom_kill.c, __oom_kill_process and dump_oom_summary.
_KILLED = re.compile(
    r"(?P<cgroup>Memory cgroup )?[Oo]ut of memory: Kill(?:ed)? process (?P<pid>\d{1,8}),? \((?P<comm>[^\n]{1,64}?)\)"
)


def _killed(lines: list[Line]) -> dict[str, Any]:
    """Who was killed, and whether a control group's limit or the whole machine ran out of memory."""
    for line in reversed(lines):
        found = _KILLED.match(line.text) if "ut of memory" in line.text else None
        if found:
            return {
                "killed_pid": int(found["pid"]),
                "killed_comm": found["comm"],
                "cgroup": bool(found["cgroup"]),
            }
    return {}
