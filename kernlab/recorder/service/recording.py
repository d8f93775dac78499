"""A recorder from its begin to its end: set up, the loop, taken down."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import time

from .blktrace import Disk
from .disks import start_disks
from .files import write_text
from .instance import set_up
from .lock import only_one
from .loop import SIGNALS, loop
from .machine import Machine
from .marks import Marks
from .settings import Settings
from .state import State
from .systemd import tell_ready
from .teardown import take_down
from .telling import RefusedError


def run(machine: Machine, settings: Settings, ready: int | None = None) -> list[str]:
    """Record until SIGTERM or SIGINT, then take everything down; sentences on what could not be."""
    with only_one(machine, tries=5):  # who asks for the status holds the lock for a moment
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        state = State.load(machine)
        for name in state.known.get("disks", []):
            Disk(machine, name).stop()
        state.save(pid=os.getpid(), disks=[], problems=[], settings=vars(settings), started=time.time())
        try:
            set_up(state, settings)
            marks = Marks(machine, settings.tasks)
            disks = start_disks(state, settings)
        except (RefusedError, OSError):
            take_down(state)
            raise
        _be_dependable()
        tell_ready(ready)
        try:
            loop(state, settings, marks, disks)
        finally:
            marks.close()
            for disk in disks:
                disk.stop()
        return take_down(state)


def _be_dependable() -> None:
    """Be neither swapped out, nor killed for memory, nor late, where the system lets it; have a name in traces."""
    with contextlib.suppress(OSError):
        write_text("/proc/self/oom_score_adj", "-999")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -5)  # not os.nice: the unit has set it already
    gc.freeze()
    libc = ctypes.CDLL(None)
    libc.mlockall(1 | 2 | 4)  # MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT
    libc.prctl(15, b"kernlab-record", 0, 0, 0)  # PR_SET_NAME
