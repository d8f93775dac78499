"""Runs inside a guest of the lab (see live_guest.py): kernlab.ftrace on the running kernel's tracefs, both ways.

Prints JSON: the text, which takes nothing from the buffers, and then the events themselves, consumed, against the
file `trace` as it was before.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import kernlab

TRACING = Path("/sys/kernel/tracing")
MORE = TRACING / "instances" / "more"
EVENTS = (
    "sched/sched_switch",
    "sched/sched_wakeup",
    "irq/softirq_entry",
    "kmem/kmem_cache_alloc",
    "timer/hrtimer_expire_entry",
)

#: The kernel hashes pointers that it prints.
POINTER = re.compile(r"\b(?:0x)?[0-9a-f]{16}\b")


def record() -> None:
    """Something to look at: events of both instances, a marker, and the tracer of stacks."""
    MORE.mkdir(exist_ok=True)
    for folder in (TRACING, MORE):
        (folder / "tracing_on").write_text("0")
        (folder / "trace").write_text("")
        for event in EVENTS:
            (folder / "events" / event / "enable").write_text("1")
        (folder / "tracing_on").write_text("1")
    for cpu in range(os.cpu_count() or 1):
        os.sched_setaffinity(0, {cpu})
        for number in range(20):
            time.sleep(0.002)
            (TRACING / "trace_marker").write_text(f"marker {number} of {cpu}\n")
    for folder in (TRACING, MORE):
        (folder / "tracing_on").write_text("0")
        for event in EVENTS:
            (folder / "events" / event / "enable").write_text("0")


def lines(folder: Path) -> list[str]:
    """The kernel's own lines."""
    return [line for line in (folder / "trace").read_text().split("\n") if line and line[0] != "#"]


def differing(ours: list[str], theirs: list[str]) -> list[list[str]]:
    """Lines that are not the same, but for pointers."""
    pairs = zip("\n".join(ours).split("\n"), theirs, strict=False)
    return [[one, other] for one, other in pairs if POINTER.sub("X", one) != POINTER.sub("X", other)][:3]


def main() -> int:
    record()
    truth = {"": lines(TRACING), "more": lines(MORE)}
    text = kernlab.ftrace.open(TRACING)
    told: dict[str, object] = {
        "lines": {name: len(held) for name, held in truth.items()},
        "text_differs": [differing(text.lines(name), held) for name, held in truth.items()],
        "text_problems": text.problems,
        "text_exact": bool((text.lost.missing == 0).all()),
        "instances": text.instances.to_dict("list"),
        "still_there": lines(TRACING) == truth[""] and lines(MORE) == truth["more"],
        "states": sorted(set(text.events("sched_switch").prev_state)),
    }
    taken = kernlab.ftrace.open(TRACING, consume=True)
    told |= {
        "events": {name: int((taken.all.instance == name).sum()) for name in truth},
        "taken_differs": [differing(taken.lines(name), held) for name, held in truth.items()],
        "taken_problems": taken.problems,
        "taken_exact": bool(taken.lost.exact.all()),
        "left": [len(lines(TRACING)), len(lines(MORE))],
        "repr": repr(taken),
        "fields": taken.events("hrtimer_expire_entry").head(1).astype(str).to_dict("list"),
    }
    taken.save("/tmp/taken.dat", version=7, compression="zlib")
    with kernlab.ftrace.open("/tmp/taken.dat") as again:
        told["saved"] = again.lines() == taken.lines()
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
