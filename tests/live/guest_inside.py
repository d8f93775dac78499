"""Runs inside a guest of the lab (see guest.py): the running kernel by kernlab and by its own /proc. Prints JSON.

What stood in /proc before and after a table was read is held against it; what came or went meanwhile is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

#: Under emulation everything takes twenty times as long.
_ROUNDS, _EVERY_SECONDS = 6, 240
_KB = 1024


def say(words: str) -> None:
    """On the guest's console, for who waits."""
    with open("/dev/console", "w") as console:
        console.write(f"live: {words[:4000]}\n")


say("importing")
import kernlab  # noqa: E402
from kernlab.dump import TABLES  # noqa: E402


def processes() -> dict[int, tuple[str, int, int]]:
    """pid to (comm, parent, start in ticks), of every process and thread leader."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                head, _, tail = (place / "stat").read_text().rpartition(")")
            except OSError:
                continue
            words = tail.split()
            found[int(place.name)] = (head.partition("(")[2], int(words[1]), int(words[19]))
    return found


def lasting(table: str, make):
    """What `make()` gives before and after a table is read, where both are equal; the table; and its two views."""
    before = make()
    frame = getattr(live.refresh(), table)
    after = make()
    return (
        frame,
        {key: value for key, value in before.items() if after.get(key) == value},
        {**before, **after},
    )


def tasks(told: dict) -> None:
    """Under churn, many times: processes that lived on must be there, whole; others came or went meanwhile."""
    for _ in range(_ROUNDS):
        frame, stay, ever = lasting("tasks", processes)
        rows = {int(row.pid): row for row in frame[frame.pid == frame.tgid].itertuples() if row.pid}
        for pid, (comm, parent, _) in stay.items():
            row = rows.get(pid)
            if row is None:
                told["differs"]["tasks"].append(f"{pid} {comm} is missing: {frame.attrs['problems']}")
            # /proc has more of a kernel thread's name than its comm.
            elif not comm.startswith(row.comm) or row.ppid != parent:
                told["differs"]["tasks"].append(
                    f"{pid}: {row.comm} {row.ppid}, not {comm} {parent}; torn {row.torn}"
                )
            elif row.torn is True or row.torn == True:  # noqa: E712 - NA is neither
                told["falsely_torn"].append(f"{pid} {comm}")
        told["short_lived"] += len(ever) - len(stay)
        told["torn"] += int(frame.torn.sum())
        told["unknown"] += int(frame.torn.isna().sum())
        told["only_here"] += len(set(rows) - set(ever))
        told["read_again"] += sum("times" in problem for problem in frame.attrs["problems"])
        told["problems"] += [problem for problem in frame.attrs["problems"] if "torn" not in problem]
        told["seconds"].append(frame.attrs["window"]["seconds"])
        say(f"tasks {told['seconds'][-1]} {len(frame)} rows")


def modules() -> dict[str, tuple]:
    lines = (line.split() for line in Path("/proc/modules").read_text().splitlines())
    return {words[0]: (int(words[1]), int(words[2]), words[4]) for words in lines}


def maps_of() -> dict[int, list[str]]:
    """/proc/PID/maps of each process: range and permissions."""
    found = {}
    for pid in processes():
        try:
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError:
            continue
        rows = [line.split()[:2] for line in lines if "[vsyscall]" not in line]
        if rows:
            found[pid] = [" ".join(row) for row in rows]
    return found


def slabinfo() -> dict[str, tuple[int, int, int]]:
    lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    return {(words := line.split())[0]: (int(words[3]), int(words[4]), int(words[2])) for line in lines}


def compare(told: dict) -> None:
    """Other tables against /proc."""
    differs = told["differs"]
    frame, stay, _ = lasting("modules", modules)
    rows = {row.name: (row.size_bytes, row.refcount, row.state) for row in frame.itertuples()}
    differs["modules"] = [
        f"{name}: {rows.get(name)} {stay[name]}" for name in stay if rows.get(name) != stay[name]
    ]
    frame, stay, _ = lasting("maps", maps_of)
    rows = {
        int(pid): [f"{int(row.start):08x}-{int(row.end):08x} {row.perms}" for row in part.itertuples()]
        for pid, part in frame.groupby("pid")
    }
    differs["maps"] = [f"{pid}: {rows.get(pid)} {stay[pid]}" for pid in stay if rows.get(pid) != stay[pid]]
    told["maps"] = len(stay)
    frame, stay, _ = lasting("slabs", slabinfo)
    rows = {row.name: (row.size, row.objects_per_slab, row.objects) for row in frame.itertuples()}
    differs["slabs"] = [
        f"{name}: {rows.get(name)} {stay[name]}" for name in stay if rows.get(name) != stay[name]
    ]
    told["slabs"] = [len(stay), len(rows)]

    def total() -> dict[str, int]:
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        return {words[0].rstrip(":"): int(words[1]) * (_KB if len(words) > 2 else 1) for words in lines}

    found, stay, ever = lasting("meminfo", total)
    differs["meminfo"] = [
        f"{key}: {found[key]} {stay[key]}" for key in stay if key in found and found[key] != stay[key]
    ]
    told["meminfo"] = [len(stay), len(ever)]

    def mounts() -> dict[str, str]:
        return {line.split()[1]: line.split()[2] for line in Path("/proc/1/mounts").read_text().splitlines()}

    frame, stay, _ = lasting("mounts", mounts)
    rows = dict(zip(frame.target, frame.fstype, strict=True))
    differs["mounts"] = [
        f"{name}: {rows.get(name)} {stay[name]}" for name in stay if rows.get(name) != stay[name]
    ]


def every(told: dict) -> None:
    """Each table there is: how long it took, and whether it fails."""
    end = time.monotonic() + _EVERY_SECONDS
    for name, entry in TABLES.items():
        if entry.is_method or time.monotonic() > end:
            told["left_out"] += not entry.is_method
            continue
        began = time.monotonic()
        try:
            found = getattr(live.refresh(), name)
        except Exception as error:
            told["failed"][name] = repr(error)
            continue
        torn = int(found["torn"].sum()) if "torn" in getattr(found, "columns", ()) else 0
        problems = [p for p in found.attrs.get("problems", []) if "torn" not in p]
        told["tables"][name] = [round(time.monotonic() - began, 2), len(found), torn, problems[:2]]


def command_line() -> list[str]:
    """`kernlab table live tasks` and others, as root and as nobody."""
    words = [sys.executable, "-m", "kernlab"]
    said = []
    for line in ("table live tasks --limit 3 --columns pid,comm,torn", "info live", "bt live 1"):
        ran = subprocess.run([*words, *line.split()], capture_output=True, text=True)
        said.append(f"{ran.returncode} {ran.stdout[:1500]} {ran.stderr[-300:]}")
    ran = subprocess.run(
        [*words, "table", "live", "tasks"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.setuid(65534),
    )
    return [*said, f"{ran.returncode} {ran.stderr[-300:]}"]


def main() -> int:
    told: dict = {
        "differs": {"tasks": []},
        "failed": {},
        "tables": {},
        "falsely_torn": [],
        "problems": [],
        "seconds": [],
    }
    told |= dict.fromkeys(("short_lived", "torn", "unknown", "only_here", "read_again", "left_out"), 0)
    told["info"] = {key: str(value) for key, value in live.info.items()}
    for step in (tasks, compare, every):
        began = time.monotonic()
        step(told)
        say(f"{step.__name__}: {time.monotonic() - began:.0f} seconds")
        for key, value in told.items():
            if key != "info":
                say(f"  {key}: {str(value)[:1500]}")
    told["verdict"] = (
        live.refresh().verdict[["finding", "subject", "confidence"]].astype(str).to_dict("records")
    )
    told["stack"] = str(live.stack(os.getpid()))[:2000]
    told["command_line"] = command_line()
    told["problems"] = sorted(set(told["problems"]))[:20]
    told["seconds"] = [min(told["seconds"]), max(told["seconds"])]
    json.dump(told, sys.stdout)
    return 0


say("opening")
live = kernlab.open("live")
say("opened")

if __name__ == "__main__":
    sys.exit(main())
