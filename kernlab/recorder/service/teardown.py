"""Taking down what a recorder set up, its own or a killed one's: what the state tells of is undone."""

from __future__ import annotations

import contextlib
import os

from .blktrace import Disk
from .files import write_text
from .mounts import unmount
from .state import State


def take_down(state: State) -> list[str]:
    """Undo all that the state tells of; sentences on what could not be undone (then the state stays)."""
    machine, base, left = state.machine, state.machine.instance, []
    for name in state.known.get("disks", []):
        Disk(machine, name).stop()
    if "created" in state.known and os.path.isdir(base):
        with contextlib.suppress(OSError):
            write_text(f"{base}/events/enable", "0")
        if state.known["created"]:
            try:
                os.rmdir(base)
            except OSError as error:
                left.append(f"{base} cannot be removed: {error.strerror} (is a reader of it still open?).")
        else:  # mapped at boot: it cannot be removed
            for name in state.known.get("events", []):
                with contextlib.suppress(OSError):
                    write_text(f"{base}/events/{name}/filter", "0")
            with contextlib.suppress(OSError):
                write_text(f"{base}/tracing_on", state.known.get("tracing_on") or "0")
    left += unmount(state)
    if not left:
        state.forget()
    return left
