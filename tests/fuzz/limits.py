"""What a case may cost: CPU seconds a step, and memory beyond what the undamaged step needs."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

#: CPU seconds of one step.
SECONDS = 60
#: Memory beyond the undamaged run.
MEMORY = 2 << 30


class HangError(BaseException):
    """A step that used up its CPU time; no `except Exception` of the code under test may catch it."""


@dataclass
class Peak:
    """Memory at its highest, beyond what there was at the start."""

    bytes: int = 0


def _status(name: str) -> int:
    with open("/proc/self/status") as stream:
        for line in stream:
            if line.startswith(name):
                return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def peak_beyond() -> Iterator[Peak]:
    """Measure how far resident memory rises within the block."""
    peak = Peak()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # VmHWM begins anew
    start = _status("VmRSS:")
    try:
        yield peak
    finally:
        peak.bytes = max(_status("VmHWM:") - start, 0)


@contextlib.contextmanager
def cpu_seconds(seconds: float) -> Iterator[None]:
    """Raise HangError in the block when it used up so much CPU time, all threads together."""

    def expired(_: int, frame: FrameType | None) -> Any:
        raise HangError

    before = signal.signal(signal.SIGPROF, expired)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(beyond: int) -> None:
    """Let this process map no more than `beyond` bytes more than it has: what asks for more gets a MemoryError."""
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize:") + beyond, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
