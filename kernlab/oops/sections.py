"""The lines of one report in, its stacks out: whose each is, and its frames in order."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Literal

from kernlab.oops.frames import Frame, frames_of, is_user
from kernlab.oops.lines import Line

#: What a stack tells: how the CPU or task came here, who allocated, freed or stored what is wrong, how locks
#: depend, what another CPU does.
What = Literal[
    "stack", "allocated", "freed", "stored", "variable", "dependency", "cpu", "panic", "kthread", "other"
]

_HEADS: tuple[tuple[What, re.Pattern[str]], ...] = (
    (
        "stack",
        re.compile(
            r"\s*+(?:Call [Tt]race|Backtrace|stack backtrace|backtrace|CPU: \d{1,5} (?:UID: \d{1,10} )?PID: )"
        ),
    ),
    ("cpu", re.compile(r"\s*+(?:NMI backtrace for cpu (?P<cpu>\d{1,5})|Task dump for CPU \d)")),
    (
        "allocated",
        re.compile(
            r"\s*+(?:INFO: )?(?:page last allocated via|Allocated (?:by task (?P<pid>\d{1,8})|in |by:)|"
            r"allocated by task|Uninit was created at|Allocated:)|"
            r"allocated by task"
        ),
    ),
    (
        "freed",
        re.compile(
            r"\s*+(?:INFO: )?(?:page last free|Freed (?:by task (?P<pid>\d{1,8})|in |by:)|freed by task|Freed:)"
        ),
    ),
    (
        "stored",
        re.compile(
            r"\s*+(?:Uninit was stored to memory at|Last potentially related work creation|Second to last)"
        ),
    ),
    ("variable", re.compile(r"\s*+Local variable ")),
    (
        "dependency",
        re.compile(
            r"\s*+(?:-> #\d|the existing dependency|the dependencies between|the shortest dependencies|\.\.\. key)"
        ),
    ),
    ("panic", re.compile(r"Kernel panic - not syncing")),
    ("kthread", re.compile(r"\s*+(?:rcu: )?(?:RCU grace-period kthread stack dump|Showing all locks held)")),
    (
        "other",
        re.compile(
            r"\s*+(?:last function|(?:hard|soft)irqs last|page_owner|Preemption disabled at|"
            r"\{[A-Z-]{4,40}\} state was registered at|\d{1,3} locks? held by|"
            r"hardirqs last|CPU: \d{1,5} (?:UID: \d{1,10} )?PID: \d{1,8} Comm: \S{1,64} at )"
        ),
    ),
)
#: Which CPU a stack says that it is of.
_OF_CPU = re.compile(
    r"\s*+(?:CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: |NMI backtrace for cpu (?P<asked>\d{1,5})\b)"
)
#: The program counter of arm and arm64 in no function, and the register that says who called.
_NOWHERE = re.compile(r" *+(?:PC is at|pc :) 0x[0-9a-f]{1,16}")
_RETURNS = re.compile(r" *+(?:LR is at|lr :) (?P<symbol>[A-Za-z_]\S{0,600})")


@dataclasses.dataclass(slots=True)
class Section:
    """A stack of a report."""

    what: What
    head: str
    frames: list[Frame] = dataclasses.field(default_factory=list)
    user: bool = False  # ended in user space: whole
    cpu: int | None = None  # that it says it is of


def sections_of(lines: Iterable[Line]) -> list[Section]:
    """The stacks of a report, in order; each head begins one, frames before any head are of the first."""
    found = [Section("stack", "")]
    nowhere = False
    for line in lines:
        text = line.text
        frame = frames_of(text)
        current = found[-1]
        if frame is None and (returns := _RETURNS.match(text)):
            # Where a jump to nowhere came from.
            if nowhere:
                frame = frames_of(f"pc : {returns['symbol']}")
            nowhere = False
        elif frame is None:
            nowhere = nowhere or bool(_NOWHERE.match(text))
        if frame is not None:
            if not (current.user and current.frames):
                current.frames.append(frame)
            continue
        if is_user(text):
            current.user = bool(current.frames)
            continue
        if text == "" or text.isspace():
            continue
        for what, pattern in _HEADS:
            match = pattern.match(text)
            if match:
                # "CPU: 1 PID: 2" and "Call Trace:" are lines of one stack.
                if what == "stack" and (
                    (current.what == "stack" and not current.frames) or _continues(current, text)
                ):
                    if not current.head:
                        current.head = text
                    break
                found.append(Section(what, text))
                break
        if found[-1].cpu is None and (of := _OF_CPU.match(text)):
            found[-1].cpu = int(of["cpu"] or of["asked"])
    return found


def _continues(current: Section, text: str) -> bool:
    """Whether "Call Trace:" follows the registers of the same stack."""
    if not re.match(r"\s*+(?:Call [Tt]race|Backtrace|stack backtrace|backtrace|CPU: )", text):
        return False
    return current.what in ("stack", "cpu", "panic", "kthread") and all(
        frame.register for frame in current.frames
    )
