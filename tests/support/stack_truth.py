"""Stacks as the guest's own kernel told them: /proc/PID/stack of sleeping threads, and the log's trace of the panic.

Dumps with such truth are the bundled samples, the whole server's, and the lab's captures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support.captures import captures, dumps_in
from support.truth import Truth

from kernlab import Dump
from kernlab.linux.stacks.unwind import Unwound, unwound

_FRAME = re.compile(r"\s*(\? )?(\S+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)\s*(?:\([A-Z]+\))?\s*")
_BEGINS = ("Call Trace:", "Call trace:")
_INTERRUPTED = re.compile(r"RIP: 0010:(\S+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)")
_REGISTERS = re.compile(r"\s*RIP: (00\S+.*)")
_REGISTER = re.compile(r"\b(R[0-9A-Z][0-9A-Z]|EFLAGS|ORIG_RAX): ((?:[0-9a-f]{4}:)?[0-9a-f]{8,16})\b")
_SECTION = re.compile(r"\s*<(/?)(\S+)>\s*")
_TRACE_ENDS = ("Modules linked in", "---[ ", "Kernel Offset", "Kernel panic", "CR2: ")
#: What the kernel calls when it has panicked: where it printed the trace, and where it left its registers.
_LAST_CALLS = ("dump_stack", "dump_stack_lvl", "__crash_kexec", "vpanic")
#: Where a function returns to whose return address function_graph or a kretprobe took.
TRAMPOLINES = (
    "return_to_handler",
    "arch_rethook_trampoline",
    "__kretprobe_trampoline",
    "kretprobe_trampoline",
)


@dataclass(frozen=True)
class StackDump:
    """A dump whose guest told stacks: where it lies, and its truth."""

    name: str
    vmcore: Path
    truth: Truth


def stack_dumps(samples: Path, server: Path) -> Iterator[StackDump]:
    """All that there are on this machine."""
    names = ("arm64", "deadlock", "hung", "io", "lockup", "oom", "oops", "panic")
    for folder in [*(samples / name for name in names), server, *captures()]:
        archive = folder / "truth.tar.xz"
        if archive.is_file():
            yield from (
                StackDump(f"{folder.name}-{dump.name}", dump, Truth(archive)) for dump in dumps_in(folder)
            )


def sleeping_threads(truth: Truth) -> dict[int, tuple[int, list[str], str]]:
    """By thread: how often it was switched from, its stack's frames from the innermost on, and its wchan."""
    found = {}
    for name in truth.files:
        folder, _, file = name.rpartition("/")
        kind, _, number = folder.partition("/")
        if kind not in ("p", "t") or file != "stack":
            continue
        if not truth.files.get(f"{folder}/status"):
            continue
        status = dict(line.split(":", 1) for line in truth.lines(f"{folder}/status") if ":" in line)
        switches = int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])
        # Before v5.2 the end of a stack is a line, too: "[<0>] 0xffffffffffffffff".
        frames = [
            line.split(None, 1)[1]
            for line in truth.lines(f"{folder}/stack")
            if line.startswith("[<") and not line.endswith(" 0xffffffffffffffff")
        ]
        found[int(number)] = (switches, frames, truth.files.get(f"{folder}/wchan", b"").decode())
    return found


@dataclass(frozen=True)
class Slept:
    """A thread that did not run at the end: how often it was switched from, its frames' names from the innermost on,
    and what lay on its stack where each one's return address had been."""

    switches: int
    names: list[str]
    lay: list[int]


def stacks_without_scheduler(dump: Dump) -> dict[int, Slept]:
    """By pid, of threads that did not run: their frames as /proc/PID/stack has them.

    That leaves out what lies in the scheduler's own code and in that of spinlocks (kernel/sched/core.c,
    in_sched_functions).
    """
    found = unwound(dump.kernel)
    shown = (found.cpu < 0) & found.reliable
    for what in ("sched", "lock"):
        start, end = (dump.kernel.symbols.get(f"__{what}_text_{edge}") for edge in ("start", "end"))
        if start is not None and end is not None:
            shown &= (found.ip < np.uint64(start)) | (found.ip >= np.uint64(end))
    names = names_of(dump, found)
    ran = set(found.thread[found.cpu >= 0].tolist())
    switches = (found.task["nvcsw"] + found.task["nivcsw"]).tolist()
    pids = found.task["pid"].tolist()
    stacks = {
        pid: Slept(count, [], [])
        for row, (pid, count) in enumerate(zip(pids, switches, strict=True))
        if pid and row not in ran
    }
    for row in np.flatnonzero(shown).tolist():
        slept = stacks.get(pids[found.thread[row]])
        if slept:
            slept.names.append(str(names[row]))
            slept.lay.append(return_address(dump, found, row))
    return stacks


def names_of(dump: Dump, found: Unwound) -> list[str | None]:
    """Every frame as the kernel prints it: for BPF's code it names no module, though /proc/kallsyms has one (%pS and
    %pB ask __bpf_address_lookup, kernel/bpf/core.c)."""
    names = dump.kernel.symbolize(found.ip, ~found.exact)
    return [name and name.removesuffix(" [bpf]") for name in names]


def return_address(dump: Dump, found: Unwound, row: int) -> int:
    """What lies on the stack where a frame was returned to: its address, or a trampoline of who took it."""
    return int.from_bytes(dump.read(int(found.sp[row]) - 8, 8), "little")


def trampolines(dump: Dump) -> set[int]:
    """Where functions return to whose return addresses somebody took."""
    return {address for name in TRAMPOLINES if (address := dump.kernel.find_symbol(name)) is not None}


def until_trampoline(dump: Dump, told: list[str]) -> int | None:
    """How many of the kernel's own frames come before a trampoline, at which it stops; None where it met none.

    It takes up the address that one tracer noted. Where that is another tracer's trampoline it stops (and up to v5.14
    at those of all kretprobes): arch/x86/kernel/unwind_orc.c, unwind_next_frame.
    """
    known = trampolines(dump)
    return next((row for row, name in enumerate(told) if _printed(dump, name) in known), None)


def _printed(dump: Dump, line: str) -> int:
    """The address of a frame as the kernel prints it, without the name of its module."""
    name, offset, _ = re.split(r"[+/]", line.split()[0])
    return next(iter(dump.kernel.symbols.all(name)), 0) + int(offset, 16)


def logged_trace(dump: Dump) -> list[tuple[str, str]] | None:
    """The log's trace of the panic without what it doubts itself: each frame's section ("TASK", "IRQ" …) and name.

    A frame that was interrupted stands in the line of its registers; that of the panic itself is the first then. The
    registers lie on the stack of what interrupted it, and are told in that one's section: its own is the next frame's.
    """
    lines = _lines_of_trace(dump)
    if lines is None:
        return None
    frames: list[tuple[str, str]] = []
    interrupted: list[str] = []
    section = "TASK"
    for line in lines:
        if match := _SECTION.fullmatch(line):
            section = "TASK" if match[1] else match[2]
        elif (match := _FRAME.fullmatch(line)) and not match[1]:
            frames += [(section, name) for name in (*interrupted, match[2])]
            interrupted = []
        elif match := _INTERRUPTED.search(line):
            interrupted.append(match[1])
    return frames + [(section, name) for name in interrupted]


def _lines_of_trace(dump: Dump) -> list[str] | None:
    """The lines of the last call trace that the panic printed, and those of the registers before it.

    Other CPUs may have reported something at the same time: who printed a line is its record's caller. An oops is saved
    before it comes to be called a panic.
    """
    log = dump.log
    ends = log["text"].str.startswith("Kernel panic - not syncing")
    if not ends.any():
        ends = log["text"].str.startswith(_BEGINS)
    if not ends.any():
        return None
    own = log["text"][log["caller"] == log["caller"][ends].iloc[-1]]
    lines = [line for text in own for line in str(text).split("\n")]
    begins = [row for row, line in enumerate(lines) if line.startswith(_BEGINS)]
    if not begins:
        return None
    # Each report begins with who ran where.
    who = max((row for row in range(begins[-1]) if lines[row].startswith("CPU: ")), default=0)
    first = next((row for row in range(who, begins[-1]) if "RIP: 00" in lines[row]), begins[-1])
    behind = range(begins[-1] + 1, len(lines))
    return lines[first : next((row for row in behind if lines[row].startswith(_TRACE_ENDS)), None)]


def logged_registers(dump: Dump) -> list[dict[str, str]]:
    """The registers in the log's trace of the panic and before it: of whom was interrupted, and of user mode."""
    return registers_in(_lines_of_trace(dump) or [])


def registers_in(lines: list[str]) -> list[dict[str, str]]:
    """Registers as the kernel prints them (show_regs): by name, of each instruction that RIP tells."""
    found: list[dict[str, str]] = []
    for line in lines:
        if match := _REGISTERS.match(line):
            found.append({"RIP": match[1]})
        elif found:
            found[-1] |= dict(_REGISTER.findall(line))
    return found


def with_records(found: Unwound, rows: list[int]) -> list[int]:
    """Those of a thread's frames that arm64's kernel tells of: not who is known by the link register only, so that it
    is where the one that it called is."""
    return [
        row
        for before, row in zip([-1, *rows], rows, strict=False)
        if before < 0 or not found.exact[before] or found.sp[before] != found.sp[row]
    ]


def without_last_calls(frames: list[str]) -> list[str]:
    """Frames from the one on that called panic(), or that was interrupted: what is the same for who asks then."""
    functions = [frame.partition("+")[0] for frame in frames]
    last = max((row for row, name in enumerate(functions[:5]) if name in _LAST_CALLS), default=-1)
    # Before v6.17 panic() did by itself what vpanic() does.
    if last >= 0 and functions[last] != "vpanic" and functions[last + 1] == "panic":
        last += 1
    return frames[last + 1 :]


def frames_of(dump: Dump, pid: int) -> tuple[Unwound, list[int], list[str | None]]:
    """All stacks, the rows of one thread's frames, and their names."""
    found = unwound(dump.kernel)
    threads = [row for row, number in enumerate(found.task["pid"].tolist()) if number == pid]
    rows = np.flatnonzero(np.isin(found.thread, threads))
    names = names_of(dump, found)
    return found, rows.tolist(), [names[row] for row in rows.tolist()]
