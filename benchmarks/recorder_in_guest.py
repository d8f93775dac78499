"""Run in a guest by recorder.py: loops with and without the recorder, in pairs. Standard library only.

python3 recorder_in_guest.py OUTPUT PAIRS CONFIGURATION=EVENT,EVENT … -- LOOP=TURNS …
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

sys.path.insert(0, "/host/boot")
import recorder as service

FILES = {"copy": ["/tmp/copied"], "direct": ["/dev/nullb0"]}


def recording(settings: Any) -> int:
    """A recorder as a process of its own, once it records."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            service.run(service.Machine(), settings, tell)
        finally:
            os._exit(0)
    os.close(tell)
    assert os.read(told, 16) == b"ready\n"
    os.close(told)
    time.sleep(0.3)
    return pid


def turn(loop: str, turns: str) -> float:
    """Nanoseconds of one turn."""
    return float(
        subprocess.run(["loops", loop, turns, *FILES.get(loop, [])], capture_output=True, check=True).stdout
    )


def main() -> None:
    cut = sys.argv.index("--")
    loops = [word.split("=") for word in sys.argv[cut + 1 :]]
    output, pairs = sys.argv[1], int(sys.argv[2])
    found = []
    for loop, turns in loops:
        turn(loop, turns)  # what is slow once: programs that are read, caches that grow
    for word in sys.argv[3:cut]:
        name, _, events = word.partition("=")
        disks = ("vda",) if "disk" in name else ()
        settings = replace(service.Settings(), events=tuple(filter(None, events.split(","))), disks=disks)
        for _ in range(pairs):
            without = {loop: turn(loop, turns) for loop, turns in loops}
            pid = recording(settings)
            begun, used = time.monotonic(), cpu_of(pid)
            beside = {loop: turn(loop, turns) for loop, turns in loops}
            share = (cpu_of(pid) - used) / (time.monotonic() - begun)
            told = service.status(service.Machine())
            written = sum(cpu["entries"] + cpu["overrun"] for cpu in told["cpus"].values())
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            found.append(
                {"name": name, "without": without, "with": beside, "share": share, "events": written}
            )
    with open(output, "w") as stream:
        json.dump(found, stream)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process used, to the nanosecond (schedstat)."""
    with open(f"/proc/{pid}/schedstat") as stream:
        return int(stream.read().split()[0]) / 1e9


if __name__ == "__main__":
    main()
