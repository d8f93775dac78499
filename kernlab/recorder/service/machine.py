"""The machine that is recorded: where its files are, and which boot this is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .files import read_bytes

INSTANCE = "kernlab"
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True)
class Machine:
    """Where the machine's files are; tests name folders of their own."""

    proc: str = "/proc"
    tracefs: str = "/sys/kernel/tracing"
    debugfs: str = "/sys/kernel/debug"
    run: str = "/run/kernlab-recorder"
    dev: str = "/dev"

    @property
    def instance(self) -> str:
        """The folder of the recorder's instance."""
        return f"{self.tracefs}/instances/{INSTANCE}"

    @property
    def boot(self) -> str:
        """The kernel's name of this boot: state of another one means nothing."""
        return (
            (read_bytes(f"{self.proc}/sys/kernel/random/boot_id") or b"").decode("ascii", "replace").strip()
        )
