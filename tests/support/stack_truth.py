"""Stacks as the guest's own kernel told them: /proc/PID/stack of sleeping threads, and the log's trace of the panic.

Dumps with such truth are the bundled samples, the whole server's, and the lab's captures where
KERNLAB_TEST_CAPTURES names their folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from support.truth import Truth

from kernlab import Dump
from kernlab.linux.stacks.unwind import Unwound, unwound

_FRAME = re.compile(r"\s*(\? )?(\S+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)\s*")
_INTERRUPTED = re.compile(r"RIP: 0010:(\S+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)")
_SECTION = re.compile(r"\s*<(/?)(\S+)>\s*")
_TRACE_ENDS = ("Modules linked in", "---[ ", "Kernel Offset", "Kernel panic", "CR2: ")
#: What the kernel calls when it has panicked: where it printed the trace, and where it left its registers.
_LAST_CALLS = ("dump_stack", "dump_stack_lvl", "__crash_kexec", "vpanic")


@dataclass(frozen=True)
class StackDump:
    """A dump whose guest told stacks: where it lies, and its truth."""

    name: str
    vmcore: Path
    truth: Truth


def stack_dumps(samples: Path, server: Path) -> Iterator[StackDump]:
    """All that there are on this machine."""
    folders = [samples / name for name in ("hung", "io", "oom", "oops", "panic")]
    captures = os.environ.get("KERNLAB_TEST_CAPTURES")
    folders += [server, *sorted(Path(captures).iterdir() if captures else ())]
    for folder in folders:
        names = (
            "vmcore.xz",
            "vmcore",
            "vmcore.zst",
            "vmcore.zlib",
            "vmcore.qemu-elf",
            "vmcore.qemu-kdump-zlib",
        )
        archive = folder / "truth.tar.xz"
        for name in names:
            if archive.is_file() and (folder / name).is_file():
                yield StackDump(f"{folder.name}-{name}", folder / name, Truth(archive))


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
        frames = [line.split(None, 1)[1] for line in truth.lines(f"{folder}/stack") if line.startswith("[<")]
        found[int(number)] = (switches, frames, truth.files.get(f"{folder}/wchan", b"").decode())
    return found


def stacks_without_scheduler(dump: Dump) -> dict[int, tuple[int, list[str]]]:
    """By pid, of threads that did not run: how often each was switched from, and its frames as its /proc has them.

    That leaves out what lies in the scheduler's own code and in that of spinlocks (kernel/sched/core.c,
    in_sched_functions).
    """
    found = unwound(dump.kernel)
    shown = (found.cpu < 0) & found.reliable
    for what in ("sched", "lock"):
        start, end = (dump.kernel.symbols.get(f"__{what}_text_{edge}") for edge in ("start", "end"))
        if start is not None and end is not None:
            shown &= (found.ip < np.uint64(start)) | (found.ip >= np.uint64(end))
    names = dump.kernel.symbolize(found.ip, ~found.exact)
    switches = (found.task["nvcsw"] + found.task["nivcsw"]).tolist()
    pids = found.task["pid"].tolist()
    stacks: dict[int, tuple[int, list[str]]] = {
        pid: (count, []) for pid, count in zip(pids, switches, strict=True) if pid
    }
    for row in np.flatnonzero(shown).tolist():
        pid = pids[found.thread[row]]
        if pid:
            stacks[pid][1].append(str(names[row]))
    return stacks


def logged_trace(log: pd.DataFrame) -> list[tuple[str, str]] | None:
    """The log's last call trace without what it doubts itself: each frame's section ("TASK", "IRQ" …) and name.

    A frame that was interrupted stands in the line of its registers; that of the panic itself is the first then.
    """
    lines = [line for text in log["text"] for line in str(text).split("\n")]
    begins = [row for row, line in enumerate(lines) if line.startswith("Call Trace:")]
    if not begins:
        return None
    frames, section = [], "TASK"
    oops = next(
        (row for row in range(begins[-1] - 1, max(begins[-1] - 40, 0), -1) if "RIP: 00" in lines[row]), None
    )
    if oops is not None and (match := _INTERRUPTED.search(lines[oops])):
        frames.append((section, match[1]))
    for line in lines[begins[-1] + 1 :]:
        if line.startswith(_TRACE_ENDS):
            break
        if match := _SECTION.fullmatch(line):
            section = "TASK" if match[1] else match[2]
        elif (match := _FRAME.fullmatch(line)) and not match[1]:
            frames.append((section, match[2]))
        elif match := _INTERRUPTED.search(line):
            frames.append((section, match[1]))
    return frames


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
    return found, rows.tolist(), dump.kernel.symbolize(found.ip[rows], ~found.exact[rows])
