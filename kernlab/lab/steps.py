"""What every step of the lab shares: its error, its progress lines, and running a program within a time limit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal


class LabError(KernlabError):
    """A step of the lab did not do what it should: which, why, and what the user can do."""


class Progress:
    """One line per step, with the seconds since the start, to standard error (or `stream`; None is quiet)."""

    def __init__(self, stream: TextIO | None = sys.stderr):
        self.stream = stream
        self.started = time.monotonic()

    def __call__(self, text: str) -> None:
        """Say that a step begins or ended."""
        if self.stream is not None:
            seconds = time.monotonic() - self.started
            print(f"[{seconds:6.1f} s] {escape_terminal(text)}", file=self.stream, flush=True)


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    limit_seconds: float,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program to its end and return what it printed (stdout); `what` names the step in an error.

    Its whole process group is ended when the time is over or the user interrupts: no orphans.
    """
    try:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise LabError(
            f"{what}: the program {command[0]} is not installed. "
            "Install it (scripts/install-system-packages.sh lab names the Debian packages)."
        ) from error
    try:
        stdout, stderr = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"{what}: {command[0]} did not finish within {limit_seconds:.0f} s and was stopped."
        ) from error
    finally:
        end_group(process)
    if process.returncode:
        said = "\n".join((stderr.strip() or stdout.strip()).splitlines()[-12:])
        raise LabError(
            f"{what}: {command[0]} ended with status {process.returncode}:\n{escape_terminal(said, lines=True)}"
        )
    return stdout


def write_new(path: Path, text: str) -> None:
    """Let a file hold `text`: replaced in one step, and left alone where it holds it."""
    try:
        if path.read_text() == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    partial.write_text(text)
    partial.rename(path)


def check_room(folder: Path, size_bytes: int, what: str) -> None:
    """A LabError where a folder's disk has less free than `what` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise LabError(
            f"{what}: {size_bytes / 1e6:,.1f} MB are needed in {folder}, where {free / 1e6:,.1f} MB are free. "
            "Make room, or name a folder on another disk (--cache, XDG_CACHE_HOME)."
        )


def end_group(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process that was started in a session of its own, and all that it started, if still there."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
