"""The lock of the one recorder that runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Any

from .machine import Machine
from .state import State
from .telling import RefusedError


@contextlib.contextmanager
def only_one(machine: Machine, tries: int = 1) -> Any:
    """Holds the lock of the running recorder, which the kernel frees with its process; RefusedError where one runs."""
    os.makedirs(machine.run, mode=0o755, exist_ok=True)
    with open(f"{machine.run}/lock", "a") as lock:
        while True:
            tries -= 1
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if tries <= 0:
                    pid = State.load(machine).known.get("pid")
                    raise RefusedError(
                        f"A recorder runs already{f' as process {pid}' if pid else ''}."
                    ) from error
            time.sleep(0.1)
        yield


def is_running(machine: Machine) -> bool:
    """Does a recorder hold the lock?"""
    try:
        with only_one(machine):
            return False
    except RefusedError:
        return True
