"""The loop: a mark, a pause in which blktrace's channels are kept fresh, the next mark, until a signal."""

from __future__ import annotations

import contextlib
import signal
import time

from .blktrace import Disk
from .disks import start_awaited
from .files import write_json
from .marks import Marks
from .settings import Settings
from .state import State, note

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FIGURES_SECONDS = 5.0


def loop(state: State, settings: Settings, marks: Marks, disks: list[Disk]) -> None:
    """Write marks, and every few seconds how it goes, until SIGTERM or SIGINT."""
    interval, begun = settings.interval_ms / 1000, time.monotonic()
    told, longest, before = 0.0, 0.0, begun
    while True:
        now, used = time.monotonic(), time.process_time()
        longest, before = max(longest, now - before), now
        marks.write()
        if now >= told + FIGURES_SECONDS:
            told = now
            figures = {
                "marks": marks.number,
                "marks_refused": marks.failed,
                "longest_gap_seconds": round(longest, 3),
                "seconds": round(now - begun, 3),
                "cpu_seconds": round(time.process_time(), 3),
                "disks": {disk.name: disk.figures() for disk in disks},
            }
            with contextlib.suppress(OSError):
                write_json(f"{state.machine.run}/figures.json", figures)
            start_awaited(state, settings, disks)
        # A mark that took long is followed by a longer pause: the service never takes more than its share.
        if _pause(state, disks, now + max(interval, (time.process_time() - used) * 100 / settings.share)):
            return


def _pause(state: State, disks: list[Disk], until: float) -> bool:
    """Wait for the next mark, and make room in the relay channels meanwhile; True where the service is to end."""
    while True:
        for disk in list(disks):
            try:
                disk.refresh()
            except OSError:
                disks.remove(disk)
                disk.stop()
                note(state, f"{disk.name} is gone; its trace ended.")
        left = until - time.monotonic()
        # A burst fills what is kept free within a tenth of a second.
        slept = min(left, Disk.SECONDS) if disks else left
        if signal.sigtimedwait(SIGNALS, max(slept, 0.001)) is not None:
            return True
        if left <= slept:
            return False
