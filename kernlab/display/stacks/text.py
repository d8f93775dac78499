"""One thread's frames in, a call trace as the kernel prints it out (arch/x86/kernel/dumpstack.c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kernlab.display.stacks.parts import Frame
from kernlab.escape import escape_terminal
from kernlab.linux.stacks.saved_registers import LINES, spelt

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
    rip, *more = registers(frame)
    yield from _inlined(frame)
    yield f"{rip}{_line(frame)}"
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
    values = frame.registers
    yield f"RIP: {segment(frame)}{'' if frame.reliable else '? '}{frame.symbol}"
    if "sp" in values:
        stack = f"{values['ss'] & 0xFFFF:04x}:" if "ss" in values else ""
        flags = f" EFLAGS: {values['flags']:08x}" if "flags" in values else ""
        call = values.get("orig_ax", _NO_CALL)
        yield f"RSP: {stack}{values['sp']:016x}{flags}" + (
            "" if call == _NO_CALL else f" ORIG_RAX: {call:016x}"
        )
    for names in LINES:
        known = [f"{spelt(name)}: {values[name]:016x}" for name in names if name in values]
        if known:
            yield " ".join(known)
    for name, _, label in frame.known:
        yield f"     {spelt(name)} = {label}"


def segment(frame: Frame) -> str:
    """`0010:` of the kernel's code, `0033:` of a program's; '' where it is not known."""
    return f"{frame.registers['cs'] & 0xFFFF:04x}:" if "cs" in frame.registers else ""


#: pt_regs.orig_ax where no system call was made and no error code was pushed.
_NO_CALL = (1 << 64) - 1
