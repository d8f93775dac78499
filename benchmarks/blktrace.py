"""kernlab and blkparse on the same block trace: per-CPU files to a time-merged DataFrame, and to blkparse's text.

    python benchmarks/blktrace.py [--millions 5] [--runs 5] [--folder FOLDER]

The trace is made up: four CPUs, requests of Q, G, I, D, C, one in twenty with a remap (16 bytes more), one with a plug
and an unplug (8 bytes more). Both sides are fresh processes from start to exit, in turns; kernlab's own time for the
decoding alone (its imports done) is printed, too. Both must have seen the same number of events.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RECORD = np.dtype(
    [("magic", "<u4"), ("sequence", "<u4"), ("time", "<u8"), ("sector", "<u8"), ("bytes", "<u4"), ("action", "<u4"),
     ("pid", "<u4"), ("device", "<u4"), ("cpu", "<u4"), ("error", "<u2"), ("pdu_len", "<u2")]
)  # fmt: skip
CPUS = 4
DEVICE = (8 << 20) | 16
# Action, categories (READ or WRITE is added), bytes of its own.
STEPS = [(1, 0x10, 0), (4, 0, 0), (12, 0x10, 0), (7, 0x40, 0), (8, 0x80, 0)]
REMAP, PLUG, UNPLUG = (15, 0x10, 16), (9, 0, 0), (10, 0, 8)

KERNLAB = """
import sys, time
import kernlab
import pandas
relay = kernlab.relay
began = time.perf_counter()
events = relay.open(sys.argv[1] + "/sdb.blktrace.*").events()
took = time.perf_counter() - began
assert events["timestamp"].is_monotonic_increasing
print(len(events), took)
"""


def make(folder: Path, records: int) -> int:
    """Write sdb.blktrace.0 … 3 with about so many records; how many they are."""
    chance = np.random.default_rng(7)
    total = 0
    for cpu in range(CPUS):
        requests = records // CPUS // 6
        kind = chance.random(requests)
        # One row per event: request, action, categories, length of its pdu.
        parts = [np.tile(np.array(STEPS), (requests, 1))]
        owner = [np.repeat(np.arange(requests), len(STEPS))]
        place = [np.tile(np.arange(len(STEPS)) * 2, requests)]
        for chosen, step, where in (
            (np.flatnonzero(kind < 0.35), REMAP, 1),
            (np.flatnonzero(kind > 0.65), PLUG, 3),
            (np.flatnonzero(kind > 0.65), UNPLUG, 5),
        ):
            parts.append(np.tile(np.array(step), (len(chosen), 1)))
            owner.append(chosen)
            place.append(np.full(len(chosen), where))
        steps, who = np.concatenate(parts), np.concatenate(owner)
        order = np.lexsort((np.concatenate(place), who))
        steps, who = steps[order], who[order]
        rows = np.zeros(len(who), dtype=RECORD)
        rows["magic"] = 0x65617407
        rows["sequence"] = np.arange(1, len(who) + 1)
        rows["time"] = 10**9 + np.cumsum(chance.integers(50, 2000, len(who)))
        sector, size = chance.integers(0, 1 << 31, requests) * 8, chance.integers(1, 257, requests) * 4096
        rows["sector"], rows["bytes"] = sector[who], size[who]
        write = chance.integers(0, 2, requests)[who]
        rows["action"] = steps[:, 0] | (steps[:, 1] | np.where(write, 2, 1)) << 16
        rows["pid"] = chance.integers(100, 140, requests)[who]
        rows["device"], rows["cpu"], rows["pdu_len"] = DEVICE, cpu, steps[:, 2]
        note = np.zeros(40, dtype=RECORD)
        note["magic"], note["time"], note["action"] = 0x65617407, 10**9, 0x400 << 16
        note["pid"], note["cpu"], note["pdu_len"] = np.arange(100, 140), cpu, 16
        named = b"".join(row.tobytes() + b"worker".ljust(16, b"\0") for row in note)
        (folder / f"sdb.blktrace.{cpu}").write_bytes(named + with_pdus(rows))
        total += len(rows)
    return total


def with_pdus(rows: np.ndarray) -> bytes:
    """The records, each followed by its own bytes: a remap's devices and sector, an unplug's depth, big-endian."""
    length = rows["pdu_len"].astype(np.int64)
    stops = np.cumsum(48 + length)
    out = np.zeros(int(stops[-1]), dtype=np.uint8)
    starts = stops - length - 48
    out[starts[:, None] + np.arange(48)] = rows.view(np.uint8).reshape(-1, 48)
    for size, pdu in (
        (16, np.array([DEVICE, (253 << 20) | 1, 0, 77], dtype=">u4")),
        (8, np.array([3], dtype=">u8")),
    ):
        at = starts[length == size] + 48
        out[at[:, None] + np.arange(size)] = pdu.view(np.uint8)
    return out.tobytes()


def timed(command: list[str], **options: object) -> tuple[float, float, str]:
    """(seconds from start to exit, seconds of CPU that it took, what it printed)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, check=True, text=True, **options)  # type: ignore[call-overload]
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout or ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, default=5, help="records; default 5")
    parser.add_argument("--runs", type=int, default=5, help="of each side; default 5")
    parser.add_argument("--folder", type=Path, help="where the trace is written; default: a temporary folder")
    options = parser.parse_args()
    program = shutil.which("blkparse")
    if program is None:
        print("blkparse is not installed (package blktrace): kernlab only")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        count = make(folder, int(options.millions * 1e6))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{count:,} events of {CPUS} CPUs, {size / 1e6:.0f} MB, {options.runs} runs a side")
        decoding, whole, parsing, cpu, parsing_cpu = [], [], [], [], []
        for _ in range(options.runs):
            took, used, printed = timed([sys.executable, "-c", KERNLAB, name], capture_output=True)
            events, inside = printed.split()
            if int(events) != count:
                print(f"NOT THE SAME: kernlab has {events} events of {count}")
                return 1
            whole.append(took)
            cpu.append(used)
            decoding.append(float(inside))
            if program:
                with (folder / "text").open("w") as text:
                    took, used, _ = timed([program, "-q", "-i", "sdb"], cwd=folder, stdout=text)
                parsing.append(took)
                parsing_cpu.append(used)
                with (folder / "text").open() as text:
                    lines = sum(1 for line in text if not line.startswith("Input file"))
                if lines != count:
                    print(f"NOT THE SAME: blkparse printed {lines} lines of {count}")
                    return 1
    for what, times in (
        ("kernlab, decoding alone", decoding),
        ("kernlab, process from start to exit", whole),
        ("blkparse, text to a file", parsing),
        ("kernlab's process, CPU time", cpu),
        ("blkparse, CPU time", parsing_cpu),
    ):
        if times:
            median = statistics.median(times)
            spread = f"{min(times):.2f} to {max(times):.2f} s"
            print(f"{what:38} {median:6.2f} s ({spread})  {count / median / 1e6:5.2f} M events/s")
    if parsing:
        slow = statistics.median(parsing)
        print(f"blkparse takes {slow / statistics.median(decoding):.1f} × kernlab's decoding,", end=" ")
        print(f"{slow / statistics.median(whole):.1f} × its whole process,", end=" ")
        print(f"{statistics.median(parsing_cpu) / statistics.median(cpu):.1f} × its CPU time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
