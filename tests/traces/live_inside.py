"""Runs inside a guest of the lab (see live_guest.py): kernlab.relay on a running kernel's channels, both ways.

Prints one JSON line: what was compared, and what did not agree. The driver kernlab_story writes numbered records; each
channel is read through mmap() first, which takes nothing away, and then through read().
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np

import kernlab

EVENT = np.dtype(
    [
        ("time_ns", "<u8"),
        ("sequence", "<u4"),
        ("cpu", "<u2"),
        ("kind", "<u2"),
        ("comm", "S16"),
        ("value", "<u8"),
    ]
)
FOLDER = "/sys/kernel/debug/story"
LAYOUTS = {"drop": (1000, 4), "flight": (4096, 8), "global": (2000, 4)}


def write(cpu: int, channel: str, count: int) -> None:
    """Let the driver write records on a CPU."""
    os.sched_setaffinity(0, {cpu})
    with open("/proc/kernlab_story", "w", buffering=1) as story:
        story.write(f"relay {channel} {count}")


def records(channel: str, mode: str) -> dict[int, tuple]:
    """The records of all CPUs by their number, read by kernlab in one of its two ways."""
    size, count = LAYOUTS[channel]
    layout = {"subbuf_size": size, "n_subbufs": count} if mode == "mmap" else {}
    with kernlab.relay.open(f"{FOLDER}/{channel}*", mode, **layout) as relay:
        events = relay.events(EVENT)
    names = [name for name in EVENT.names or () if name in events.columns]
    found = {}
    for row in events[names].itertuples(index=False):
        # What no record was written to yet is zeros.
        if row.sequence:
            found[int(row.sequence)] = tuple(map(str, row))
    return found


def compare(channel: str) -> dict[str, object]:
    """Both ways on one channel, mapped first."""
    mapped = records(channel, "mmap")
    read = records(channel, "read")
    again = records(channel, "mmap")
    only_read = sorted(set(read) - set(mapped))
    older = sorted(set(mapped) - set(read))
    return {
        "channel": channel,
        "read": len(read),
        "mapped": len(mapped),
        "only_by_read": only_read[:5],
        "only_by_mmap": len(older),
        "only_by_mmap_all_older": not older or (bool(read) and max(older) < max(read)),
        "differing": sum(read[number] != mapped[number] for number in read if number in mapped),
        "mapped_after_read_the_same": again == mapped,
        "left_for_a_second_read": len(records(channel, "read")),
    }


def main() -> int:
    told = []
    # One after the other: half full, full and refusing, lapped.
    for channel, cpu, count in (("drop", 0, 70), ("drop", 1, 200), ("flight", 1, 333), ("global", 0, 120)):
        write(cpu, channel, count)
    told += [compare(channel) for channel in LAYOUTS]
    for channel, cpu, count in (("flight", 0, 1900), ("flight", 1, 500), ("global", 1, 333)):
        write(cpu, channel, count)
    told += [compare(channel) for channel in ("flight", "global")]
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
