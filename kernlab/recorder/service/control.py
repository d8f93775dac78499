"""A recorder seen from outside: how it goes, and its end."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import signal
import time
from typing import Any

from .files import read_bytes, read_text
from .lock import is_running, only_one
from .machine import Machine
from .state import State
from .teardown import take_down
from .telling import RefusedError


def stop(machine: Machine, seconds: float = 30.0) -> list[str]:
    """End the recorder, or take down what a killed one left; sentences on what could not be undone."""
    deadline = time.monotonic() + seconds
    pid = State.load(machine).known.get("pid")
    if is_running(machine) and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while True:
        try:
            with only_one(machine):
                return take_down(State.load(machine))
        except RefusedError as error:
            if time.monotonic() > deadline:
                return [f"{error} It did not end within {seconds:.0f} seconds."]
        time.sleep(0.05)


def status(machine: Machine) -> dict[str, Any]:
    """What runs, how full its buffers are, how far back they reach, what was lost, and what it costs."""
    state = State.load(machine)
    found: dict[str, Any] = {"running": is_running(machine), **state.known, "cpus": {}}
    found.pop("boot", None)
    with contextlib.suppress(ValueError):
        found["figures"] = json.loads(read_bytes(f"{machine.run}/figures.json") or b"{}")
    for path in sorted(
        glob.glob(f"{machine.instance}/per_cpu/cpu[0-9]*"), key=lambda path: (len(path), path)
    ):
        stats = dict(re.findall(r"^([\w ]+): +([0-9.]+)$", read_text(f"{path}/stats"), re.MULTILINE))
        if "entries" not in stats:
            continue
        cpu: dict[str, Any] = {
            name.replace(" ", "_"): int(stats[name])
            for name in ("entries", "overrun", "bytes")
            if name in stats
        }
        cpu["lost"] = sum(int(stats.get(name, 0)) for name in ("commit overrun", "dropped events"))
        size = re.match(r"[0-9]+", read_text(f"{path}/buffer_size_kb"))
        cpu["size_bytes"] = int(size[0]) << 10 if size else None
        with contextlib.suppress(KeyError, ValueError):
            cpu["reach_seconds"] = round(float(stats["now ts"]) - float(stats["oldest event ts"]), 3)
        found["cpus"][path.rpartition("cpu")[2]] = cpu
    return found
