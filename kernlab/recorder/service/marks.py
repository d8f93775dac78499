"""Marks: what they say into lines of text, and these into the instance."""

from __future__ import annotations

import os
import time

from .machine import Machine
from .memory import Memory
from .tasks import Tasks

#: tracing_mark_write() of kernels before 6.8 cuts at TRACE_BUF_SIZE (1024).
LONGEST_MARK = 1000


def mark_lines(kind: str, number: int, items: list[str], separator: str) -> list[bytes]:
    """`kernlab/1 KIND NUMBER item item …`, gone on in another line of the same number where one is full."""
    start = f"kernlab/1 {kind} {number} "
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(separator) + len(item) < LONGEST_MARK:
            lines[-1] += separator + item
        else:
            lines.append(start + item)
    return [line.encode("ascii") + b"\n" for line in lines]


class Marks:
    """Writes marks into the instance: each is one line of text or a few, all with the mark's number.

    kernlab/1 vmstat NUMBER nr_free_pages=123 … mem_total=131072 psi.cpu.some=… procs_running=… took_us=…
    kernlab/1 tasks NUMBER pid,start,anon,file,shmem,swap,comm;pid,…
    """

    def __init__(self, machine: Machine, most_tasks: int):
        self.memory, self.tasks = Memory(machine), Tasks(machine, most_tasks)
        self.number = self.failed = 0
        self.marker = os.open(f"{machine.instance}/trace_marker", os.O_WRONLY | os.O_CLOEXEC)

    def write(self) -> None:
        """Write the next mark; what the kernel does not take is counted."""
        self.number += 1
        begun = time.monotonic()
        values = self.memory.read(self.number)
        # Between what the values say and the mark's own time lies as long as reading them took.
        values.append(f"took_us={round((time.monotonic() - begun) * 1e6)}")
        self._put(mark_lines("vmstat", self.number, values, " "))
        self._put(mark_lines("tasks", self.number, self.tasks.read(), ";"))

    def _put(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                os.write(self.marker, line)
            except OSError:  # tracing was turned off
                self.failed += 1

    def close(self) -> None:
        """Close what is held open: an instance in use cannot be removed."""
        os.close(self.marker)
        self.tasks.close()
