"""blktrace of a disk, kept fresh: its relay channels hold the newest events."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import struct
from typing import Any

from .files import read_text
from .machine import Machine


class Disk:
    """blktrace of one disk whose relay channels always hold the newest events.

    The kernel's channels refuse events once they are full. So the oldest are read, just ahead of need, and thrown away;
    an inode's size says how much was written. Where reading is not allowed (lockdown closes relay's files in debugfs),
    the trace begins anew when it is full, which loses what it held.
    """

    SETUP, START, STOP, TEARDOWN = 0xC0481273, 0x1274, 0x1275, 0x1276  # include/uapi/linux/fs.h
    FORMAT = struct.Struct("=32sH2xII4xQQI4x")  # struct blk_user_trace_setup
    ACTIONS = 0x10 | 0x20 | 0x40 | 0x80 | 0x400  # BLK_TC_QUEUE, _REQUEUE, _ISSUE, _COMPLETE, _NOTIFY
    BUFFER, BUFFERS = 64 << 10, 16
    SECONDS = 0.05 * max(1, (os.cpu_count() or 1) // 16)  # between looks at how full they are

    def __init__(self, machine: Machine, name: str):
        self.machine, self.name = machine, name.rpartition("/")[2]
        self.files: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.restarts = 0
        self.folder = f"{machine.debugfs}/block/{self.name}"
        self.awaited = f"{self.name} is not there; its trace begins when it comes."

    def start(self) -> None:
        """Begin to trace; OSError as the kernel answers (EBUSY: another blktrace has the disk)."""
        given = bytearray(self.FORMAT.pack(b"", self.ACTIONS, self.BUFFER, self.BUFFERS, 0, (1 << 64) - 1, 0))
        with self._device() as device:
            fcntl.ioctl(device, self.SETUP, given)
            folder = self.FORMAT.unpack(given)[0].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            self.folder = f"{self.machine.debugfs}/block/{folder}"
            fcntl.ioctl(device, self.START)
        for path in glob.glob(f"{glob.escape(self.folder)}/trace[0-9]*"):
            self.read[path] = self.written[path] = 0
            with contextlib.suppress(OSError):
                self.files[path] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def refresh(self) -> None:
        """Make room for what the next interval may bring; OSError where the disk is gone."""
        for path in self.read:
            written = os.stat(path).st_size
            grown, self.written[path] = written - self.written[path], written
            if path not in self.files:
                if written >= (self.BUFFERS - 1) * self.BUFFER:
                    self.restart()
                    return
                continue
            spare = min(max(2 * grown, 4 * self.BUFFER), self.BUFFERS // 2 * self.BUFFER)
            while written - self.read[path] > self.BUFFERS * self.BUFFER - spare:
                taken = len(os.read(self.files[path], self.BUFFER))
                if not taken:
                    break
                self.read[path] += taken

    def restart(self) -> None:
        """Let the trace begin anew."""
        self.stop()
        self.restarts += 1
        self.start()

    def stop(self) -> None:
        """Take the trace down."""
        for file in self.files.values():
            os.close(file)
        self.files, self.read, self.written = {}, {}, {}
        with contextlib.suppress(OSError), self._device() as device:
            for command in (self.STOP, self.TEARDOWN):
                with contextlib.suppress(OSError):
                    fcntl.ioctl(device, command)

    def figures(self) -> dict[str, Any]:
        """How it goes: how it is kept fresh, what the kernel dropped."""
        dropped = read_text(f"{self.folder}/dropped")
        return {
            "kept_by": "reading" if self.files else "beginning anew",
            "written_bytes": sum(self.written.values()),
            "dropped": int(dropped) if dropped.isdigit() else None,
            "restarts": self.restarts,
        }

    @contextlib.contextmanager
    def _device(self) -> Any:
        device = os.open(f"{self.machine.dev}/{self.name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield device
        finally:
            os.close(device)
