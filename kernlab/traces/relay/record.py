"""Relay files of the running kernel in, files of their bytes with a description out, until told to stop."""

from __future__ import annotations

import errno
import json
import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.traces.relay.mapped import is_live
from kernlab.traces.relay.paths import METADATA, channel_name, read_dropped
from kernlab.util.files import naming, write_whole
from kernlab.util.progress import progress

#: Seconds between looks at what is not yet a whole sub-buffer: those wake nobody.
_INTERVAL = 0.5
_PIECE = 1 << 20


def record(
    paths: Mapping[int, Path],
    folder: Path,
    *,
    seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Save what the files give, until interrupted (Ctrl-C), `seconds` are over, `stop()` is true, or all have ended.

    Writes one file per CPU into `folder` (`<device>.blktrace.<cpu>` of block traces, `<base><cpu>` of others) and
    relay.json, which is also returned: name, started and ended (UTC), monotonic_ns and realtime_ns at the start,
    release, ended_by, dropped (where the client counts them in a file of its own), files (cpu, source, file, bytes).
    Files that are there already are not overwritten. Raises KernlabError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = channel_name(next(iter(paths.values())))
    described: dict[str, Any] = {
        "kernlab": 1,
        "name": name,
        "started": _now(),
        "monotonic_ns": time.monotonic_ns(),
        "realtime_ns": time.time_ns(),
        "release": os.uname().release,
    }
    with ExitStack() as stack:
        streams = [
            _Stream(cpu, path, folder / _file_name(name, path, cpu), stack) for cpu, path in paths.items()
        ]
        bar = stack.enter_context(progress(f"Recording {name}", None, "B"))
        try:
            ended_by = _run(streams, seconds, stop, bar.advance)
        except KeyboardInterrupt:
            ended_by = "interrupt"
        for stream in streams:
            # What came in between the last look and the end.
            if stream.is_live:
                bar.advance(stream.drain())
    described |= {
        "ended": _now(),
        "ended_by": ended_by,
        "dropped": read_dropped(next(iter(paths.values()))),
        "files": [
            {"cpu": s.cpu, "source": str(s.source), "file": s.target.name, "bytes": s.bytes} for s in streams
        ],
    }
    write_whole(folder / METADATA, (json.dumps(described, indent=2) + "\n").encode())
    return described


class _Stream:
    """One CPU's file and where its bytes go."""

    def __init__(self, cpu: int, source: Path, target: Path, stack: ExitStack):
        self.cpu, self.source, self.target = cpu, source, target
        self.bytes = 0
        self.ended = False
        try:
            # A pipe without a writer would otherwise keep us waiting here.
            self.file = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            hint = "; files of debugfs are root's" if isinstance(error, PermissionError) else ""
            raise KernlabError(f"{source} cannot be opened: {error.strerror}{hint}") from error
        stack.callback(os.close, self.file)
        self.is_live = is_live(self.file)
        try:
            self._out: BinaryIO = stack.enter_context(target.open("xb", buffering=0))
        except FileExistsError as error:
            raise KernlabError(f"{target} is there already: record into another folder") from error

    def drain(self) -> int:
        """Copy what there is now; how many bytes that were."""
        count = 0
        while True:
            try:
                piece = os.read(self.file, _PIECE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                raise
            if not piece:
                # A relay file has an end for now only.
                self.ended = not self.is_live
                break
            # A raw file may take less than it was given.
            rest = memoryview(piece)
            with naming(self.target):
                while rest:
                    rest = rest[self._out.write(rest) :]
            count += len(piece)
            self.bytes += len(piece)
        return count


def _run(
    streams: list[_Stream],
    seconds: float | None,
    stop: Callable[[], bool] | None,
    advance: Callable[[int], None],
) -> str:
    """Copy until something ends it; says what."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        active = [stream for stream in streams if not stream.ended]
        if not active:
            return "end of data"
        for stream in active:
            advance(stream.drain())
        if stop is not None and stop():
            return "request"
        left = _INTERVAL if end is None else min(_INTERVAL, end - time.monotonic())
        if left <= 0:
            return "time"
        poll = select.poll()
        for stream in active:
            if not stream.ended:
                poll.register(stream.file, select.POLLIN)
        poll.poll(left * 1000)


def _file_name(name: str, path: Path, cpu: int) -> str:
    directory, _, base = name.rpartition("/")
    if base == "trace" and (path.resolve().parent.parent.name == "block" or ".blktrace." in path.name):
        return f"{show_controls(directory or base).replace('/', '!')}.blktrace.{cpu}"
    return f"{show_controls(base).replace('/', '!')}{cpu}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
