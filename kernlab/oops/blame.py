"""A report and its stacks in, the stack that it is about and the functions to blame out."""

from __future__ import annotations

import re

from kernlab.oops.boilerplate import REPORTING, TICKING
from kernlab.oops.frames import Frame, frames_of, symbol_in
from kernlab.oops.functions import Stack, is_boilerplate, normal, telling
from kernlab.oops.report import Report
from kernlab.oops.sections import Section, sections_of

#: What an NMI calls on the CPU that is locked up (kernel/watchdog_perf.c, arch/powerpc/kernel/watchdog.c).
_OF_THE_LOCKED = {"watchdog_overflow_callback", "soft_nmi_interrupt"}
#: The program counter of x86 in no function, in the kernel's code segment.
_NOWHERE = re.compile(r" *+[RE]?IP: (?:0010:|0060:)? *+(?:0x[0-9a-f]{1,16}|\(null\))")


def main_stack(report: Report, sections: list[Section]) -> list[Frame]:
    """The frames of the stack that a report is about.

    Where another report broke it off before it had one, that of the other, which ran on top of it.
    """
    found = _main(report, sections)
    if found is None and report.nested is not None and report.naming[0].blame != "none":
        inner = sections_of(report.nested.lines)
        found = next((part for part in inner if part.what in ("stack", "panic") and part.frames), None)
    return found.frames if found else []


def _main(report: Report, sections: list[Section]) -> Section | None:
    blame = report.form.blame
    with_frames = [section for section in sections if section.frames]
    if blame == "stalled":
        if not panic_is_of_it(report, sections):
            with_frames = [section for section in with_frames if section.what != "panic"]
        cpu = report.match.groupdict().get("cpu")
        if cpu is not None:
            with_frames = [section for section in with_frames if section.cpu in (None, int(cpu))]
        cpus = [section for section in with_frames if section.what in ("cpu", "stack", "panic")]
        # A stack that a tick interrupted, or of another CPU, before that of RCU's own thread.
        telling_one = (
            section
            for section in cpus
            if any(not is_boilerplate(normal(frame.name), "wait") for frame in section.frames)
        )
        return next(telling_one, cpus[0] if cpus else with_frames[0] if with_frames else None)
    if blame == "traced":
        return with_frames[0] if with_frames else None
    stacks = [section for section in with_frames if section.what == "stack"]
    # Of a trap the stack with registers: another CPU that writes at once may come between.
    stacks.sort(key=lambda section: blame == "top" and not any(frame.register for frame in section.frames))
    if blame == "head":
        # A place that the first lines name ("at: [<…>] lock+0x1/0x2") is no stack.
        stacks.sort(key=lambda section: not section.head)
    for section in stacks:
        if blame == "top" and not _is_nowhere(report):
            # What stands above the registers of a trap is somebody else's.
            first = next((place for place, frame in enumerate(section.frames) if frame.register), 0)
            del section.frames[:first]
        return section
    for section in with_frames:
        if section.what == "panic":
            return section
    return None


def panic_is_of_it(report: Report, sections: list[Section]) -> bool:
    """Whether the stack behind a report's "Kernel panic" is of the thread that the report is about.

    kernel/panic.c, vpanic, prints the stack of whoever panics: of a watchdog's it is its own, unless it had
    interrupted whom it watched. Where a console shows urgent lines only, it is the only stack that is seen.
    """
    if report.kind in ("hung task", "workqueue stall"):
        return False
    if report.form.mark == "detected" and report.kind == "RCU stall":
        return "self-detected" in report.match[0]  # others are detected by any CPU (kernel/rcu/tree_stall.h)
    if report.kind not in ("soft lockup", "hard lockup"):
        return report.form.blame != "waiting"
    panic = next((section for section in sections if section.what == "panic"), None)
    if panic is None:
        return True
    names = {normal(frame.name) for frame in panic.frames}
    if not any(TICKING.match(name) for name in names):
        return False
    cpu = report.match.groupdict().get("cpu")
    if cpu is not None and panic.cpu is not None:
        return int(cpu) == panic.cpu
    # Since 6.5 another CPU's tick may have seen it (kernel/watchdog_buddy.c).
    return report.kind == "soft lockup" or not names.isdisjoint(_OF_THE_LOCKED)


def blamed(report: Report, frames: list[Frame]) -> list[Frame]:
    """The frames that tell, the one to blame first."""
    naming, match = report.naming
    if naming.blame == "none":
        return []
    told = telling(frames, _stack_of(report)) if frames else []
    if report.form.blame == "top" and _is_nowhere(report):
        # Who called through a bad pointer: a dispatcher, too, that was given one.
        sure = [frame for frame in frames if frame.reliable and not REPORTING.match(normal(frame.name))]
        return sure or told
    if report.form.blame == "head" or naming.blame == "head":
        head = _in_head(report, match)
        if head is not None:
            return [head, *(frame for frame in told if normal(frame.name) != normal(head.name))]
    if report.form.blame in ("top", "reported", "traced"):
        helpless = not told or is_boilerplate(normal(told[0].name)) or report.nested is not None
        head = symbol_in(report.match.string) if helpless or report.form.mark == "WARNING: " else None
        if head is not None and (not told or not is_boilerplate(normal(head.name))):
            rest = [frame for frame in told if normal(frame.name) != normal(head.name)]
            return [head, *rest]
    return told


def _in_head(report: Report, match: re.Match[str]) -> Frame | None:
    """The function that the report's own lines name: where a lock was taken, which two functions race."""
    name = match.groupdict().get("function")
    if name:
        return _named(name)
    if report.form.mark == "BUG: workqueue leaked":
        last = next((line.text for line in report.lines[1:6] if "last function: " in line.text), "")
        return _named(last.partition("last function: ")[2].strip())
    where = match.groupdict().get("where")
    if where:
        found = symbol_in(where) or _named(re.split(r"[\s/]", where.strip())[0])
        return None if found is not None and is_boilerplate(normal(found.name)) else found
    for line in report.lines[1:24]:
        if ", at: " in line.text or line.text.startswith((" at: ", "[<")) or "at:" in line.text:
            found = symbol_in(line.text)
            if found is not None and not is_boilerplate(normal(found.name)):
                return found
    return None


def _is_nowhere(report: Report) -> bool:
    """Whether the CPU stood in no function: it jumped there."""
    for line in report.lines[:40]:
        if _NOWHERE.match(line.text):
            return True
        frame = frames_of(line.text)
        if frame is not None and frame.register:
            return False
    return False


def _named(name: str) -> Frame | None:
    return Frame(name) if re.fullmatch(r"[\w.$]{1,512}", name) else None


def _stack_of(report: Report) -> Stack:
    form = report.form
    if form.blame == "stalled":
        return "stall" if form.kind == "RCU stall" else "spin"
    if report.kind == "information leak":
        return "leak"
    if report.kind == "memory leak":
        return "lost"
    if report.kind == "lock bug":
        return "lock"
    if form.blame == "waiting":
        return "wait"
    if report.kind == "sleeping in atomic":
        return "sleep"
    return "fault" if form.blame == "top" else "report"
