"""kernlab and trace-cmd on the same trace.dat: a table of every event, one of sched_switch's fields, and text.

    python benchmarks/ftrace.py [--millions 1] [--runs 3] [--folder FOLDER]

The trace is made up: four CPUs, two sched_switch and one sched_wakeup in turns. Each side is a fresh process from start
to exit, in turns; kernlab's own time for the decoding alone (its imports done) is printed, too. trace-cmd prints what
kernlab's lines(style="trace-cmd") prints: both must have the same lines.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
from blktrace import timed

CPUS, PAGE = 4, 4096
SWITCH, WAKEUP = 300, 301
#: struct trace_entry, then the event's own fields, behind the event's head.
HEAD = [("head", "<u4"), ("type", "<u2"), ("flags", "u1"), ("preempt", "u1"), ("pid", "<i4")]
SWITCHES = np.dtype(
    [*HEAD, ("prev_comm", "S16"), ("prev_pid", "<i4"), ("prev_prio", "<i4"), ("prev_state", "<i8"),
     ("next_comm", "S16"), ("next_pid", "<i4"), ("next_prio", "<i4")]
)  # fmt: skip
WAKEUPS = np.dtype([*HEAD, ("comm", "S16"), ("wakes", "<i4"), ("prio", "<i4"), ("target", "<i4")])
#: Two of the first and one of the second are repeated.
GROUP = np.dtype([("a", SWITCHES), ("b", SWITCHES), ("c", WAKEUPS)])

COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
)

KERNLAB = """
import hashlib, sys, time
import kernlab
import pandas
began = time.perf_counter()
trace = kernlab.ftrace.open(sys.argv[1])
if sys.argv[2] == "all":
    count = len(trace.all)
elif sys.argv[2] == "events":
    count = len(trace.events("sched_switch"))
else:
    lines = trace.lines(style="trace-cmd")
    count = hashlib.sha256("\\n".join(lines).encode()).hexdigest()
print(count, time.perf_counter() - began)
"""


def form(name: str, number: int, kind: np.dtype, text: str) -> bytes:
    """An event's format, of the dtype of its records."""
    lines = []
    for field in kind.names[len(HEAD) :]:
        inner, offset = kind.fields[field][:2]
        name_of = {"wakes": "pid", "target": "target_cpu"}.get(field, field)
        said = (
            f"char {name_of}[16]"
            if inner.kind == "S"
            else f"{'long' if inner.itemsize == 8 else 'int'} {name_of}"
        )
        signed = int(inner.kind != "S")
        lines.append(f"\tfield:{said};\toffset:{offset - 4};\tsize:{inner.itemsize};\tsigned:{signed};\n")
    said = f"name: {name}\nID: {number}\nformat:\n{COMMON}{''.join(lines)}\nprint fmt: {text}\n".encode()
    return struct.pack("<Q", len(said)) + said


def make(path: Path, events: int) -> int:
    """Write a trace.dat of version 6 with about so many events; how many they are."""
    chance = np.random.default_rng(7)
    groups = (PAGE - 16) // GROUP.itemsize
    pages = events // CPUS // (3 * groups)
    data = []
    for cpu in range(CPUS):
        rows = np.zeros(pages * groups, dtype=GROUP)
        pids = chance.integers(100, 140, (len(rows), 3))
        names = np.array([f"worker/{pid}" for pid in range(140)], dtype="S16")
        delta = chance.integers(50, 4000, (len(rows), 3)).astype(np.uint32)
        for row, member in enumerate("abc"):
            part = rows[member]
            length = (part.dtype.itemsize - 4) // 4
            part["head"] = delta[:, row] << 5 | length
            part["flags"], part["preempt"], part["pid"] = 1, 2, pids[:, row]
            part["type"] = WAKEUP if member == "c" else SWITCH
            if member == "c":
                part["comm"], part["wakes"], part["prio"], part["target"] = (
                    names[pids[:, 0]],
                    pids[:, 0],
                    120,
                    cpu,
                )
            else:
                part["prev_comm"], part["prev_pid"], part["prev_prio"] = (
                    names[pids[:, row]],
                    pids[:, row],
                    120,
                )
                part["prev_state"] = chance.choice([0, 1, 2], len(rows))
                part["next_comm"], part["next_pid"] = names[pids[:, row + 1]], pids[:, row + 1]
                part["next_prio"] = 120
        time = 10**9 + np.cumsum(delta.sum(axis=1, dtype=np.int64))
        out = np.zeros((pages, PAGE), dtype=np.uint8)
        # A page's time is that of what came before it.
        out[:, :8] = (
            np.concatenate([[10**9], time[groups - 1 : -1 : groups]]).astype("<u8")[:, None].view(np.uint8)
        )
        out[:, 8:16] = np.array([groups * GROUP.itemsize], dtype="<u8").view(np.uint8)
        out[:, 16 : 16 + groups * GROUP.itemsize] = rows.view(np.uint8).reshape(pages, -1)
        data.append(out.tobytes())
    write(path, data)
    return CPUS * pages * groups * 3


def write(path: Path, data: list[bytes]) -> None:
    page = (
        b"\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        b"\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
        b"\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        b"\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
    )
    states = '__print_flags(REC->prev_state & 0xff, "|", { 0x1, "S" }, { 0x2, "D" })'
    switch = form(
        "sched_switch", SWITCH, SWITCHES,
        '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d", '
        f'REC->prev_comm, REC->prev_pid, REC->prev_prio, (REC->prev_state & 0xff) ? {states} : "R", "", '
        "REC->next_comm, REC->next_pid, REC->next_prio",
    )  # fmt: skip
    wakeup = form(
        "sched_wakeup", WAKEUP, WAKEUPS,
        '"comm=%s pid=%d prio=%d target_cpu=%03d", REC->comm, REC->pid, REC->prio, REC->target_cpu',
    )  # fmt: skip
    comms = "".join(f"{pid} worker/{pid}\n" for pid in range(100, 140)).encode()
    out = b"\x17\x08\x44tracing6\0" + bytes([0, 8]) + struct.pack("<I", PAGE)
    out += b"header_page\0" + struct.pack("<Q", len(page)) + page + b"header_event\0" + struct.pack("<Q", 0)
    out += struct.pack("<I", 0) + struct.pack("<I", 1) + b"sched\0" + struct.pack("<I", 2) + switch + wakeup
    out += struct.pack("<II", 0, 0) + struct.pack("<Q", len(comms)) + comms
    out += struct.pack("<I", CPUS) + b"options  \0" + struct.pack("<H", 0) + b"flyrecord\0"
    place = -(-(len(out) + 16 * CPUS) // PAGE) * PAGE
    for piece in data:
        out += struct.pack("<QQ", place, len(piece))
        place += len(piece)
    with path.open("wb") as file:
        file.write(out.ljust(-(-len(out) // PAGE) * PAGE, b"\0"))
        file.writelines(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, default=1, help="events; default 1")
    parser.add_argument("--runs", type=int, default=3, help="of each side; default 3")
    parser.add_argument("--folder", type=Path, help="where the trace is written; default: a temporary folder")
    options = parser.parse_args()
    program = shutil.which("trace-cmd")
    if program is None:
        print("trace-cmd is not installed: kernlab only")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        path = Path(name) / "trace.dat"
        count = make(path, int(options.millions * 1e6))
        print(
            f"{count:,} events of {CPUS} CPUs, {path.stat().st_size / 1e6:.0f} MB, {options.runs} runs a side"
        )
        meant = {"all": str(count), "events": str(count * 2 // 3)}
        times: dict[str, list[float]] = {}
        for _ in range(options.runs):
            if program:
                with (Path(name) / "text").open("wb") as text:
                    took, used, _ = timed([program, "report", "-i", str(path)], stdout=text)
                times.setdefault("trace-cmd report, text to a file", []).append(took)
                times.setdefault("trace-cmd, CPU time", []).append(used)
                said = (Path(name) / "text").read_bytes().partition(b"\n")[2].removesuffix(b"\n")
                meant["lines"] = hashlib.sha256(said).hexdigest()
            for what in ("all", "events", "lines"):
                took, used, printed = timed(
                    [sys.executable, "-c", KERNLAB, str(path), what], capture_output=True
                )
                found, inside = printed.split()
                if found != meant.get(what, found):
                    print(f"NOT THE SAME: kernlab's {what} is {found}, not {meant[what]}")
                    return 1
                times.setdefault(f"kernlab, {what}, decoding alone", []).append(float(inside))
                times.setdefault(f"kernlab, {what}, start to exit", []).append(took)
                times.setdefault(f"kernlab, {what}, CPU time", []).append(used)
    for what, several in times.items():
        median = statistics.median(several)
        spread = f"{min(several):.2f} to {max(several):.2f} s"
        print(f"{what:38} {median:6.2f} s ({spread})  {count / median / 1e6:5.2f} M events/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
