"""The disks that are traced by blktrace: those that are there, and those that come later."""

from __future__ import annotations

import errno
import os

from .blktrace import Disk
from .mounts import mount
from .settings import Settings
from .state import State, note
from .telling import RefusedError


def start_disks(state: State, settings: Settings) -> list[Disk]:
    """Trace the disks that are there; those that are not are noted, and awaited."""
    machine = state.machine
    if settings.disks and not os.path.isdir(f"{machine.debugfs}/block"):
        try:
            mount(state, "debugfs", machine.debugfs)
        except RefusedError as error:
            note(state, str(error))
    disks: list[Disk] = []
    for name in settings.disks:
        disk = Disk(machine, name)
        if os.path.exists(f"{machine.dev}/{disk.name}"):
            _start_disk(state, disk, disks)
        else:  # at boot a driver may find its disks later
            note(state, disk.awaited)
    return disks


def _start_disk(state: State, disk: Disk, disks: list[Disk]) -> None:
    """Trace it, too; why not is noted."""
    try:
        disk.start()
    except OSError as error:
        busy = "another blktrace has it" if error.errno == errno.EBUSY else error.strerror
        note(state, f"{disk.name} is not traced by blktrace: {busy}.")
        return
    disks.append(disk)
    state.save(disks=[each.name for each in disks])


def start_awaited(state: State, settings: Settings, disks: list[Disk]) -> None:
    """Trace those that have come since."""
    for name in settings.disks:
        disk = Disk(state.machine, name)
        if disk.awaited in state.known["problems"] and os.path.exists(f"{state.machine.dev}/{disk.name}"):
            state.save(problems=[each for each in state.known["problems"] if each != disk.awaited])
            _start_disk(state, disk, disks)
