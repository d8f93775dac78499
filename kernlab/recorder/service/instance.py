"""The tracefs instance: made or taken over, and set up to record."""

from __future__ import annotations

import contextlib
import errno
import os
import re

from .files import read_bytes, read_text, write_json, write_text
from .machine import Machine
from .mounts import mount
from .previous_boot import holds_previous_boot, keep_previous
from .settings import Settings, wanted_events
from .state import State
from .telling import RefusedError

_CLOSED = "tracefs does not let the recorder in: the kernel is locked down for confidentiality."


def set_up(state: State, settings: Settings) -> None:
    """Make the instance record, or take over the one that a killed recorder left; RefusedError where it cannot."""
    machine, base = state.machine, state.machine.instance
    events = wanted_events(settings.events)
    if _is_closed(machine):  # before any mount: 6.12 oopses where its empty tracefs is unmounted
        raise RefusedError(_CLOSED)
    if not os.path.isdir(f"{machine.tracefs}/instances"):
        mount(state, "tracefs", machine.tracefs)
    main = f"{machine.tracefs}/buffer_size_kb"
    unused = re.fullmatch(r"([0-9]+) \(expanded: ([0-9]+)\)", read_text(main))
    try:
        if not os.path.isdir(base):
            state.save(created=True)
            os.mkdir(base)
        elif "created" not in state.known:
            mapped = os.path.exists(f"{base}/last_boot_info")
            if mapped and holds_previous_boot(machine):
                if settings.keep_previous:
                    keep_previous(state, settings)
                # 6.12 empties it by itself only where the kernel lies elsewhere than in the previous boot.
                write_text(f"{base}/trace", "")
            if not mapped and not settings.take:
                raise RefusedError(
                    f"{base} is there already, and no recorder of this boot made it. Remove it (rmdir), or take it "
                    "over with --take."
                )
            state.save(created=not mapped, tracing_on=read_text(f"{base}/tracing_on"))
            if mapped:
                write_json(f"{machine.run}/mapped.json", machine.boot)  # from here on it is this boot's
        _fill(state, settings, events)
        # Older kernels (6.1, 5.10) note for all instances at once that sizes are as users want them. The main buffer,
        # still tiny, would then stay so for whoever traces next: it gets the size that its first use gives it.
        if unused and read_text(main) == unused[1]:
            write_text(main, unused[2])
    except OSError as error:
        if _is_closed(machine):
            raise RefusedError(_CLOSED) from error
        raise RefusedError(f"tracefs does not let the recorder in: {error}.") from error


def _is_closed(machine: Machine) -> bool:
    return "[confidentiality]" in read_text(f"{os.path.dirname(machine.tracefs)}/security/lockdown")


def _fill(state: State, settings: Settings, events: list[tuple[str, str]]) -> None:
    base = state.machine.instance
    for name, value in (("options/overwrite", "1"), ("options/markers", "1")):
        with contextlib.suppress(FileNotFoundError):
            write_text(f"{base}/{name}", value)
    if "[local]" not in read_text(f"{base}/trace_clock"):  # writing it empties the buffer
        write_text(f"{base}/trace_clock", "local")
    size = settings.size_kb or _size_kb(state.machine)
    while read_text(f"{base}/buffer_size_kb") != str(size):
        try:
            write_text(f"{base}/buffer_size_kb", str(size))
            break
        except OSError as error:
            if error.errno != errno.ENOMEM or size < 128:
                break  # a buffer that was mapped at boot keeps its size
            size //= 2
    wanted, missing = dict(events), []
    for name in state.known.get("events", []):  # of a recorder before, with other settings
        if name not in wanted:
            with contextlib.suppress(OSError):
                write_text(f"{base}/events/{name}/enable", "0")
    state.save(events=list(wanted))
    for name, condition in events:
        try:
            write_text(f"{base}/events/{name}/filter", condition or "0")
            write_text(f"{base}/events/{name}/enable", "1")
        except OSError:
            missing.append(name)
    state.save(missing=missing, size_kb=read_text(f"{base}/buffer_size_kb"))
    write_text(f"{base}/tracing_on", "1")


def _size_kb(machine: Machine) -> int:
    """8 MiB for each CPU, and no more than a 64th of memory for all."""
    found = re.search(rb"^MemTotal: +([0-9]+)", read_bytes(f"{machine.proc}/meminfo") or b"", re.MULTILINE)
    total = int(found[1]) if found else 1 << 20
    return max(256, min(8192, total // 64 // (os.cpu_count() or 1)))
