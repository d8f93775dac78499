"""Tables of control groups written as the files of /sys/fs/cgroup are, to be held against what a guest read there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from support.truth import Truth

Render = Callable[[Any], str]


def folders(truth: Truth, top: str = "cgroup") -> dict[str, dict[str, str]]:
    """The files of each cgroup below a folder of the truth, by path ("/", "/system.slice") and name."""
    found: dict[str, dict[str, str]] = {}
    for name in truth.files:
        if name.startswith(f"{top}/"):
            path, _, file = name.removeprefix(top).rpartition("/")
            found.setdefault(path or "/", {})[file] = truth.text(name).rstrip("\n")
    return found


def _or_max(value: Any) -> str:
    return "max" if pd.isna(value) else str(int(value))


def _us(value: pd.Timedelta) -> int:
    return value.value // 1000


def _cpu_max(row: Any) -> str:
    quota = "max" if pd.isna(row.cpu_quota) else str(_us(row.cpu_quota))
    return f"{quota} {_us(row.cpu_period)}"


def _lines(**values: Any) -> str:
    """Lines of a file; a number that is missing has none."""
    return "\n".join(f"{name} {int(value)}" for name, value in values.items() if not pd.isna(value))


def _cpu_stat(row: Any) -> str:
    return _lines(
        usage_usec=_us(row.cpu_usage),
        user_usec=_us(row.cpu_user),
        system_usec=_us(row.cpu_system),
        nr_periods=row.periods,
        nr_throttled=row.throttled_periods,
        throttled_usec=_us(row.throttled),
    )


def _memory_events(row: Any) -> str:
    return _lines(
        low=row.low_events,
        high=row.high_events,
        max=row.max_events,
        oom=row.oom_events,
        oom_kill=row.oom_kills,
    )


#: The files that a row of `cgroups` has all lines of, or those lines of them that it has.
FILES: dict[str, Render] = {
    "cgroup.controllers": lambda row: row.controllers,
    "cgroup.stat": lambda row: _lines(
        nr_descendants=row.descendants, nr_dying_descendants=row.dying_descendants
    ),
    "cgroup.events": lambda row: _lines(populated=row.populated, frozen=row.frozen),
    "memory.current": lambda row: str(row.usage_bytes),
    "memory.peak": lambda row: str(row.peak_bytes),
    "memory.swap.current": lambda row: str(row.swap_bytes),
    "memory.min": lambda row: _or_max(row.min_bytes),
    "memory.low": lambda row: _or_max(row.low_bytes),
    "memory.high": lambda row: _or_max(row.high_bytes),
    "memory.max": lambda row: _or_max(row.max_bytes),
    "memory.swap.max": lambda row: _or_max(row.swap_max_bytes),
    "memory.events": _memory_events,
    "cpu.weight": lambda row: str(row.cpu_weight),
    "cpu.max": _cpu_max,
    "cpu.stat": _cpu_stat,
    "pids.current": lambda row: str(row.pids),
    "pids.max": lambda row: _or_max(row.pids_max),
    "pids.events": lambda row: f"max {row.pids_max_events}",
    "cpuset.cpus.effective": lambda row: row.cpus,
    "cpuset.mems.effective": lambda row: row.mems,
}


#: Of files with a number a line, the lines that tables have.
KEYS = {
    "cgroup.stat": {"nr_descendants", "nr_dying_descendants"},
    "cgroup.events": {"populated", "frozen"},
    "memory.events": {"low", "high", "max", "oom", "oom_kill"},
    "cpu.stat": {"usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec"},
}


def differences(row: Any, files: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """(file, ours, theirs) of each file that is not as a row of `cgroups` has it; of lines those that both have."""
    for name, render in FILES.items():
        if name not in files:
            continue
        ours, theirs = render(row).split("\n"), files[name].split("\n")
        if name in KEYS:
            theirs = [line for line in theirs if line.split(" ")[0] in KEYS[name]]
            # Older kernels' files have fewer lines.
            ours = [line for line in ours if line.split(" ")[0] in {other.split(" ")[0] for other in theirs}]
        if ours != theirs:
            yield name, "\n".join(ours), "\n".join(theirs)
    for file, theirs in (("cgroup.procs", row.processes), ("cgroup.threads", row.tasks)):
        if file in files and theirs != len(files[file].split()):
            yield file, str(theirs), str(len(files[file].split()))


def io_lines(rows: pd.DataFrame) -> dict[str, str]:
    """io.stat of one cgroup's rows of `cgroup_io`, by device: devices that nothing was done with have no line."""
    keys = ("read_bytes", "written_bytes", "reads", "writes", "discarded_bytes", "discards")
    names = ("rbytes", "wbytes", "rios", "wios", "dbytes", "dios")
    found = {}
    for row in rows.itertuples():
        values = [int(getattr(row, key)) for key in keys]
        if any(values):
            found[row.dev] = " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
    return found


def io_max(rows: pd.DataFrame) -> list[str]:
    """io.max of one cgroup's rows of `cgroup_io`: the devices that have any limit."""
    keys = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}
    return [
        f"{row.dev} " + " ".join(f"{name}={_or_max(getattr(row, key))}" for name, key in keys.items())
        for row in rows.itertuples()
        if any(not pd.isna(getattr(row, key)) for key in keys.values())
    ]


def pressure_lines(text: str) -> dict[str, dict[str, float]]:
    """A file of pressure: numbers by kind ("some", "full") and key ("avg10", "total")."""
    return {
        words[0]: {key: float(value) for key, value in (word.split("=") for word in words[1:])}
        for words in (line.split() for line in text.split("\n"))
    }
