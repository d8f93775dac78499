"""A shell at a terminal of its own: text is typed into it, keys are pressed, and what it shows is waited for."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self


class Shell:
    """An interactive shell; `typed` writes to it, `until` waits for what it shows."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]):
        self.shown = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execvpe(argv[0], list(argv), dict(environment))

    def typed(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, wanted: str, seconds: float = 60) -> bool:
        """Read what is shown until `wanted` stands in it; what was shown up to there is let go."""
        end = time.monotonic() + seconds
        while wanted not in self.shown:
            ready, _, _ = select.select([self._terminal], [], [], max(0, end - time.monotonic()))
            if not ready:
                return False
            try:
                read = os.read(self._terminal, 1 << 16)
            except OSError:
                return False
            # Shells move the cursor; only what they write matters here.
            self.shown += read.decode(errors="replace")
        self.shown = self.shown.partition(wanted)[2]
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)
