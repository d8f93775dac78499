"""Text of traces in (tracefs' file trace, what `trace-cmd report` prints), its events and their fields out.

What text does not say is missing: a field that is not printed as key=value, a time below what was printed, the system
of an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: `comm-pid (tgid) [cpu] flags time: event: text`; trace-cmd puts an instance's name before, and may leave out flags.
_LINE = re.compile(
    r"^(?: *(?P<instance>[^\s:]+):(?= ))?(?P<comm>.*?)-(?P<pid>\d{1,10}) +(?:\( *(?P<tgid>\d{1,10}|-+)\) +)?"
    r"\[(?P<cpu>\d{1,5})\] +(?:(?P<flags>[A-Za-z.#?\d]{4,8}) +)?(?P<time>\d{1,12}\.\d{1,9}|\d{1,19}): (?P<said>.*)$",
    re.DOTALL,
)

_EVENT = re.compile(r"^(?P<event>[A-Za-z_]\w*): *(?P<text>.*)$", re.DOTALL)

_LOST = re.compile(
    r"^ *(?:(?P<instance>[^\s:]+): +)?CPU: ?(?P<cpu>\d{1,5}) "
    r"\[(?:LOST )?(?:(?P<count>\d{1,18}) )?EVENTS(?: DROPPED)?\]"
)

_KEY = re.compile(r"(?<![^\s(,\[{])([A-Za-z_]\w*)=")

_WRITTEN = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)")
_TRACER = re.compile(r"^# tracer: (\S+)")

_DECIMAL, _HEXADECIMAL = re.compile(r"-?\d{1,19}"), re.compile(r"0x[0-9a-fA-F]{1,16}")

#: A text may go on for so many lines (stack traces).
_MOST_LINES = 1 << 10


@dataclass
class Parsed:
    """The events of a text, a list each."""

    instance: list[str] = field(default_factory=list)
    comm: list[str | None] = field(default_factory=list)
    pid: list[int] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    #: Nanoseconds, where the text has seconds; else the clock's own units.
    time: list[int] = field(default_factory=list)
    event: list[str | None] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    #: (instance, CPU) to events that the text says were lost, None where it does not say how many.
    lost: dict[tuple[str, int], int | None] = field(default_factory=dict)
    tracer: str | None = None
    #: Entries in the buffer, and written in all, as the header has it.
    written: tuple[int, int] | None = None
    in_seconds: bool = True
    #: Lines that are none of these.
    strange: int = 0

    def __len__(self) -> int:
        return len(self.pid)


def is_trace_text(start: str) -> bool:
    """Does a file that begins so hold the text of a trace?"""
    lines = start.split("\n")
    if lines and lines[0].startswith("# tracer:"):
        return True
    return any(_LINE.match(line) for line in lines[:64])


def parse_lines(lines: Iterable[str], instance: str = "") -> Parsed:
    """The events of a text; what says nothing of an event continues the one before it, or is counted as strange."""
    found = Parsed()
    more = 0
    for line in lines:
        if line.startswith("#"):
            if match := _WRITTEN.match(line):
                found.written = int(match[1]), int(match[2])
            elif match := _TRACER.match(line):
                found.tracer = match[1]
            continue
        match = _LINE.match(line)
        if match is not None:
            _take(found, match, instance)
            found.line.append(line)
            more = 0
        elif lost := _LOST.match(line):
            key = lost["instance"] or instance, int(lost["cpu"])
            before, count = found.lost.get(key, 0), lost["count"]
            found.lost[key] = None if before is None or count is None else before + int(count)
        elif len(found) and more < _MOST_LINES and line:
            found.text[-1] += "\n" + line
            found.line[-1] += "\n" + line
            more += 1
        elif line and not line.startswith(("cpus=", "version =")):
            found.strange += 1
    return found


def _take(found: Parsed, match: re.Match[str], instance: str) -> None:
    comm = match["comm"].strip(" ")
    seconds, point, rest = match["time"].partition(".")
    found.instance.append(match["instance"] or instance)
    found.comm.append(None if comm == "<...>" else comm)
    found.pid.append(int(match["pid"]))
    found.cpu.append(int(match["cpu"]))
    found.flags.append(match["flags"] or "")
    found.time.append(int(seconds) * 10**9 + int(rest.ljust(9, "0")) if point else int(seconds))
    found.in_seconds = found.in_seconds and bool(point)
    event, text = _named(match["said"])
    found.event.append(event)
    found.text.append(text)


def _named(said: str) -> tuple[str | None, str]:
    """The event's name and text. Of ftrace's own events and of system calls the trace file prints no names."""
    if said.startswith("sys_"):
        call, paren, _ = said.partition("(")
        if paren and re.fullmatch(r"\w+", call):
            return f"sys_enter_{call[4:]}", said
        call, arrow, _ = said.partition(" -> ")
        if arrow and re.fullmatch(r"\w+", call):
            return f"sys_exit_{call[4:]}", said
    if said.startswith("<stack trace>"):
        return "kernel_stack", said
    if said.startswith("tracing_mark_write: "):
        return "print", said
    if match := _EVENT.match(said):
        return match["event"], match["text"]
    return ("function", said) if re.fullmatch(r"\S+ (?:\[\w+\] )?<-\S+(?: \[\w+\])?", said) else (None, said)


#: Events whose text somebody wrote: what looks like a field there is a part of a message.
MESSAGES = ("print", "bprint", "bputs")


def fields_of(text: str) -> Iterator[tuple[str, str]]:
    """`key=value` of a text, in its order: a value goes on to the next key, or to sched_switch's arrow before it."""
    keys = list(_KEY.finditer(text))
    ends = [after.start() for after in keys[1:]] + [len(text)]
    for match, end in zip(keys, ends, strict=False):
        yield match[1], text[match.end() : end].rstrip().removesuffix("==>").rstrip()


def values_of(texts: list[str | None]) -> list[Any]:
    """Texts of one field as numbers, if all of them are; else as they are."""
    known = [text for text in texts if text is not None]
    if known and all(_DECIMAL.fullmatch(text) for text in known):
        return [None if text is None else int(text) for text in texts]
    if known and all(_HEXADECIMAL.fullmatch(text) for text in known):
        return [None if text is None else int(text, 16) for text in texts]
    return list(texts)
