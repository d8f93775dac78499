"""Starting the recorder's service on this machine: settings in, a process that records (or the reason why not) out."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from kernlab.errors import KernlabError
from kernlab.recorder import service
from kernlab.recorder.program import FOLDER

_SECONDS = 60.0


def need_root() -> None:
    """A KernlabError for who is not root: tracefs is closed to all others."""
    if os.geteuid() != 0:
        raise KernlabError("the recorder needs root: tracefs is closed to others. Try it with sudo.")


def words_of(settings: service.Settings) -> list[str]:
    """The words of the service's command line that say what these settings do."""
    usual = service.Settings()
    words = [f"--interval-ms={settings.interval_ms}"] if settings.interval_ms != usual.interval_ms else []
    words += [f"--size-kb={settings.size_kb}"] if settings.size_kb else []
    words += [f"--event={event}" for event in settings.events] if settings.events != usual.events else []
    words += [f"--disk={disk}" for disk in settings.disks]
    words += [f"--tasks={settings.tasks}"] if settings.tasks != usual.tasks else []
    words += [f"--share={settings.share:g}"] if settings.share != usual.share else []
    words += [f"--keep-previous={settings.keep_previous}"] if settings.keep_previous else []
    return words + (["--take"] if settings.take else [])


def start(words: list[str], machine: service.Machine | None = None) -> int:
    """Run the service with these words of its command line, apart from this process; gives its pid once it records.

    KernlabError with the service's own sentence where it cannot record.
    """
    run = Path((machine or service.Machine()).run)
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    told, tell = os.pipe()
    try:
        with open(run / "log", "w+b") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", str(FOLDER), "run", *words, f"--ready-fd={tell}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(tell,),
                start_new_session=True,
                cwd="/",
            )
            os.close(tell)
            tell = -1
            ready, _, _ = select.select([told], [], [], _SECONDS)
            if ready and os.read(told, 16) == b"ready\n":
                return process.pid
            process.terminate()
            process.wait()
            log.seek(0)
            said = log.read().decode("utf-8", "backslashreplace").strip()
    finally:
        os.close(told)
        if tell >= 0:
            os.close(tell)
    why = (
        said.removeprefix("kernlab recorder: ") or f"it did not begin to record within {_SECONDS:.0f} seconds"
    )
    raise KernlabError(f"the recorder did not start: {why}")
