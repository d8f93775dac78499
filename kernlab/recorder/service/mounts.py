"""tracefs and debugfs: mounted where they are not, and unmounted again."""

from __future__ import annotations

import ctypes
import errno
import os

from .state import State
from .telling import RefusedError


def mount(state: State, kind: str, path: str) -> None:
    """Mount tracefs or debugfs where it is not, and remember it; RefusedError."""
    if os.path.ismount(path):
        return  # it lacks what was looked for, and is not the recorder's to unmount
    before = state.known.get("mounts", [])
    state.save(mounts=[*before, path])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), path.encode(), kind.encode(), 0, None):
        why = os.strerror(ctypes.get_errno())
        state.save(mounts=before)
        raise RefusedError(f"{kind} is not mounted at {path} and cannot be: {why}.")


def unmount(state: State) -> list[str]:
    """Unmount what was mounted, the last first; sentences on what could not be."""
    libc = ctypes.CDLL(None, use_errno=True)
    return [
        f"{path} cannot be unmounted: {os.strerror(ctypes.get_errno())}."
        for path in reversed(state.known.get("mounts", []))
        if libc.umount2(path.encode(), 0) and ctypes.get_errno() != errno.EINVAL
    ]
