"""What the previous boot left in an instance that was mapped at boot, copied before it is recorded over."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil

from .files import read_bytes, read_text
from .machine import Machine
from .settings import GROUPS, Settings, wanted_events
from .state import State, note


def holds_previous_boot(machine: Machine) -> bool:
    """Does the instance hold what the previous boot recorded, and not yet this one's?"""
    info = read_text(f"{machine.instance}/last_boot_info")
    used = read_bytes(f"{machine.run}/mapped.json") == json.dumps(machine.boot).encode()
    if not info or info.startswith("# Current") or used:
        return False
    stats = [read_text(path) for path in glob.glob(f"{machine.instance}/per_cpu/cpu[0-9]*/stats")]
    return any(re.search(r"^entries: +[1-9]", text, re.MULTILINE) for text in stats)


def keep_previous(state: State, settings: Settings) -> None:
    """Copy it to where the settings say; why that cannot be is noted."""
    try:
        copy_trace(state.machine, settings.keep_previous, settings.events)
    except OSError as error:
        note(
            state, f"What the previous boot recorded could not be kept in {settings.keep_previous}: {error}."
        )


def copy_trace(machine: Machine, folder: str, events: tuple[str, ...] = ()) -> None:
    """Copy the instance's buffers, which empties them, and what decodes them, in tracefs' own layout; OSError."""
    base, new = machine.instance, f"{folder}.new"
    shutil.rmtree(new, ignore_errors=True)
    names = ["events/header_page", "events/header_event"]
    wanted = {name for name, _ in wanted_events((*GROUPS, *events))}
    names += [f"events/{name}/format" for name in sorted(wanted)]
    names += [path[len(base) + 1 :] for path in glob.glob(f"{base}/events/ftrace/*/format")]
    names += ["trace_clock", "last_boot_info"]
    for name in names:
        # Formats lie in every instance, headers in the main one only.
        content = read_bytes(f"{base}/{name}") or read_bytes(f"{machine.tracefs}/{name}")
        if content is not None:
            os.makedirs(os.path.dirname(f"{new}/{name}"), exist_ok=True)
            with open(f"{new}/{name}", "wb") as stream:
                stream.write(content)
    size = read_text(f"{base}/buffer_subbuf_size_kb")
    for path in glob.glob(f"{base}/per_cpu/cpu[0-9]*"):
        target = f"{new}/{path[len(base) + 1 :]}"
        os.makedirs(target, exist_ok=True)
        raw = os.open(f"{path}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with open(f"{target}/trace_pipe_raw", "wb") as stream:
                while True:
                    try:
                        page = os.read(raw, int(size) << 10 if size.isdigit() else os.sysconf("SC_PAGE_SIZE"))
                    except BlockingIOError:
                        break
                    if not page:
                        break
                    stream.write(page)
        finally:
            os.close(raw)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(new, folder)
