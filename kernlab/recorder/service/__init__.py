"""The recorder's service: it holds a tracefs instance that always has the newest events, and writes marks into it.

Python's standard library (3.9 or newer) is all that its modules import, beside each other: a machine without kernlab
runs an archive of them (`__main__`). Here are the names that the rest of kernlab uses.
"""

from .control import status, stop
from .lock import is_running
from .machine import INSTANCE, Machine
from .options import arguments_of, settings_of
from .previous_boot import copy_trace, holds_previous_boot
from .recording import run
from .settings import DEFAULT_EVENTS, Settings
from .systemd import LEFT, REFUSED, UNIT, has_systemd, stop_unit
from .telling import RefusedError

__all__ = [
    "DEFAULT_EVENTS",
    "INSTANCE",
    "LEFT",
    "REFUSED",
    "UNIT",
    "Machine",
    "RefusedError",
    "Settings",
    "arguments_of",
    "copy_trace",
    "has_systemd",
    "holds_previous_boot",
    "is_running",
    "run",
    "settings_of",
    "status",
    "stop",
    "stop_unit",
]
