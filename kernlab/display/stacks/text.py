"""One thread's frames in, a call trace as the kernel prints it out (arch/x86/kernel/dumpstack.c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kernlab.display.stacks.parts import Frame
from kernlab.escape import escape_terminal

#: The states as /proc/PID/status says them (fs/proc/array.c, task_state_array), by ps' letters.
STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk sleep",
    "T": "stopped",
    "t": "tracing stop",
    "X": "dead",
    "Z": "zombie",
    "P": "parked",
    "I": "idle",
}


def call_trace(head: str, frames: Sequence[Frame], problems: Sequence[str], *, whole: bool = True) -> str:
    """One line a frame, and the registers of what was interrupted if `whole`; nothing in it acts on a terminal."""
    lines = [head, *_trace(frames, whole), *(f" ({problem})" for problem in problems)]
    return "\n".join(escape_terminal(line) for line in lines)


def _trace(frames: Sequence[Frame], whole: bool) -> Iterator[str]:
    if frames and frames[0].interrupted:
        # What a CPU did itself comes first, as in an oops.
        yield from _interrupted(frames[0], whole)
        frames = frames[1:]
    if not frames:
        return
    yield "Call Trace:"
    mark = ""
    for frame in frames:
        if frame.mark != mark:
            if mark:
                yield f" </{mark}>"
            mark = frame.mark
            yield f" <{mark}>"
        if frame.interrupted:
            yield from _interrupted(frame, whole)
        else:
            yield from _inlined(frame)
            yield f" {'' if frame.reliable else '? '}{frame.symbol}{_line(frame)}"
    yield f" </{mark}>"


def _interrupted(frame: Frame, whole: bool) -> Iterator[str]:
    first, *more = registers(frame)
    yield from _inlined(frame)
    yield f"{first}{_line(frame)}"
    if whole:
        yield from more


def _inlined(frame: Frame) -> Iterator[str]:
    """What was called there and has no frame of its own."""
    return (f" {one.function} (inlined) {one}" for one in frame.lines[:-1])


def _line(frame: Frame) -> str:
    """As scripts/decode_stacktrace.sh writes it."""
    return f" ({frame.lines[-1]})" if frame.lines else ""


def registers(frame: Frame) -> Iterator[str]:
    """What was interrupted, in the kernel's own format, and which of its registers point to something known."""
    yield frame.headline
    yield from frame.machine.report(frame.registers)
    for name, _, label in frame.known:
        yield f"     {frame.machine.spelt(name)} = {label}"
