"""What the service and systemd know of each other: exit statuses, the unit, that it is ready."""

from __future__ import annotations

import contextlib
import os
import socket

#: Exit statuses beside 0, and the unit's name, as the unit has them. systemd has words of its own for 2 to 7.
BROKE, REFUSED, LEFT = 1, 2, 8
UNIT = "kernlab-recorder.service"


def has_systemd() -> bool:
    """Is systemd what runs this machine (sd_booted(3))?"""
    return os.path.isdir("/run/systemd/system")


def stop_unit() -> None:
    """Let systemd end a recorder that is its own, or that it is about to start again."""
    import subprocess  # here only: the service keeps in memory what it has imported

    if has_systemd():
        # Where there is no such unit it fails, and nobody needs to know.
        with contextlib.suppress(OSError):
            subprocess.run(["systemctl", "stop", UNIT], check=False, capture_output=True)


def tell_ready(fd: int | None) -> None:
    """Say that it records: to who started it, and to systemd (sd_notify(3))."""
    if fd is not None:
        os.write(fd, b"ready\n")
        os.close(fd)
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.connect("\0" + address[1:] if address.startswith("@") else address)
            stream.send(b"READY=1")
