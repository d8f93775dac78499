"""Ground truth beside each dump: truth.tar.xz (the guest's /proc seconds before the crash) and
vmcore-dmesg.txt.

Comes in: those two files. Goes out: DataFrames in the files' own words, sizes in bytes where the file says
kB. Nothing here reads a dump, and nothing imports kernlab: the two sides of a comparison share no code.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

PF_KTHREAD = 0x00200000
TICKS_PER_SECOND = 100  # USER_HZ, on every x86

_MAPS_LINE = re.compile(
    r"([0-9a-f]+)-([0-9a-f]+) ([rwxsp-]{4}) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)", re.DOTALL
)
_DMESG_PREFIX = re.compile(r"\[ *(\d+\.\d{6})\] ")
_DMESG_CALLER = re.compile(r"\[ *([TC]\d+)\] ")

# Fields of /proc/PID/stat after the name, by their number in proc(5): 3 is the state.
_STAT_FIELDS = {
    "state": 3,
    "ppid": 4,
    "pgrp": 5,
    "session": 6,
    "flags": 9,
    "minflt": 10,
    "majflt": 12,
    "utime_ticks": 14,
    "stime_ticks": 15,
    "prio": 18,
    "nice": 19,
    "num_threads": 20,
    "start_time_ticks": 22,
    "vsz_bytes": 23,
    "rss_pages": 24,
    "cpu": 39,
    "rt_priority": 40,
    "policy": 41,
}


class Truth:
    """What the guest said of itself. The archive is unpacked into memory when first asked."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Every regular file, by its path below the archive's top folder ("slabinfo", "p/1/stat")."""
        with tarfile.open(self.archive, "r:xz") as archive:
            return {
                member.name.split("/", 1)[1]: archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive
                if member.isfile()
            }

    def text(self, name: str) -> str:
        return decoded(self.files[name])

    def lines(self, name: str) -> list[str]:
        return self.text(name).split("\n")[:-1]

    @cached_property
    def pids(self) -> list[int]:
        """The processes (thread groups), by number."""
        return sorted({int(name.split("/")[1]) for name in self.files if name.startswith("p/")})

    # Tasks

    def tasks(self) -> pd.DataFrame:
        """One row per process (the thread group's leader), from /proc/PID/stat and status; no idle tasks.

        pid, tgid, ppid, comm, state, kthread, num_threads, vsz_bytes, rss_bytes, start_time_ticks (since
        boot, 100 Hz, rounded down), prio (as the kernel's task->prio: stat's + 100), nice, uid, cpu, flags.
        vsz_bytes and rss_bytes are 0 in the file for a task without mm, and missing here. rss_bytes is
        approximate where the kernel counts per CPU (before 6.2 and in `stat` at all times), exact only in
        smaps. utime_ticks and stime_ticks are the whole group's and scaled: no bound for one thread but its
        sum. comm is as printed: a kernel thread's may carry its work's or its full name (see `same_comm`).
        """
        rows = []
        for pid in self.pids:
            # Taken while processes came and went: one may have ended between its files.
            if not self.files.get(f"p/{pid}/stat") or not self.files.get(f"p/{pid}/status"):
                continue
            row = self.stat(pid)
            status = self.status(pid)
            row["tgid"] = int(status["Tgid"])
            row["uid"] = int(status["Uid"].split()[0])
            row["has_mm"] = "VmSize" in status
            rows.append(row)
        tasks = pd.DataFrame(rows)
        tasks["kthread"] = (tasks["flags"] & PF_KTHREAD) != 0
        # fs/proc/array.c prints task->prio - MAX_RT_PRIO.
        tasks["prio"] += 100
        tasks["rss_bytes"] = (tasks["rss_pages"] * 4096).astype("Int64").where(tasks["has_mm"])
        tasks["vsz_bytes"] = tasks["vsz_bytes"].astype("Int64").where(tasks["has_mm"])
        return tasks

    def threads(self) -> pd.DataFrame:
        """tid and tgid of every thread, from the listings of /proc/PID/task."""
        rows = [(int(tid), pid) for pid in self.pids for tid in self.files.get(f"p/{pid}/task", b"").split()]
        return pd.DataFrame(rows, columns=["tid", "tgid"])

    def stat(self, pid: int) -> dict[str, object]:
        """/proc/PID/stat, the fields of _STAT_FIELDS. The name may hold spaces, parentheses and newlines."""
        text = self.text(f"p/{pid}/stat")
        name_from, name_to = text.index("("), text.rindex(")")
        fields = text[name_to + 2 :].split()
        row: dict[str, object] = {"pid": int(text[:name_from]), "comm": text[name_from + 1 : name_to]}
        for name, number in _STAT_FIELDS.items():
            value = fields[number - 3]
            row[name] = value if name == "state" else int(value)
        return row

    def status(self, pid: int) -> dict[str, str]:
        """/proc/PID/status, values as printed (VmSize: "2260 kB"); Name with \\n and \\\\ escaped."""
        return dict(split_at_colon(self.lines(f"p/{pid}/status")))

    def links(self, pid: int) -> dict[str, str]:
        """What exe, cwd and root of a process link to, as readlink prints it; '' where it printed nothing."""
        return {
            name: path for name, _, path in (line.partition(" -> ") for line in self.lines(f"p/{pid}/links"))
        }

    @cached_property
    def stacks(self) -> dict[int, list[str]]:
        """Each thread's frames as /proc/PID/stack printed them, innermost first, without the "[<0>] " before each.

        Threads that ran, and captures of before their stacks were kept, have none.
        """
        found: dict[int, list[str]] = {}
        for name in self.files:
            if match := re.fullmatch(r"[pt]/(\d+)/stack", name):
                lines = [line.split(None, 1)[1] for line in self.lines(name) if line.strip()]
                if lines:
                    found[int(match[1])] = lines
        return found

    def cgroup(self, pid: int) -> str:
        """The path in the unified hierarchy, seen from its root: "/system.slice/cron.service"."""
        return next(line[3:] for line in self.lines(f"p/{pid}/cgroup") if line.startswith("0::"))

    # Control groups

    def cgroups(self, file: str) -> pd.DataFrame:
        """One row per control group, by its path ("/", "/system.slice"): the file's own keys ("memory.events":
        low, high …) as numbers, or `value` of a file with one; "max" is missing.
        """
        rows: dict[str, dict[str, object]] = {}
        for name in self.files:
            if name.startswith("cgroup/") and name.endswith(f"/{file}"):
                path = name.removeprefix("cgroup").removesuffix(f"/{file}") or "/"
                lines = [line.rpartition(" ") for line in self.lines(name)]
                rows[path] = {
                    key or "value": None if value == "max" else int(value) for key, _, value in lines
                }
        return pd.DataFrame.from_dict(rows, orient="index").astype("Int64").rename_axis("path")

    # Memory maps

    def maps(self) -> pd.DataFrame:
        """One row per line of /proc/PID/maps of every process, without [vsyscall] (it is no VMA).

        pid, start, end (exclusive), size_bytes, perms, offset_bytes, dev, inode, path ('' where anonymous),
        unescaped.
        """
        rows = [
            (pid, *row)
            for pid in self.pids
            for row in map(parse_maps_line, self.text(f"p/{pid}/maps").splitlines())
            if row[-1] != "[vsyscall]"
        ]
        columns = ["pid", "start", "end", "size_bytes", "perms", "offset_bytes", "dev", "inode", "path"]
        return pd.DataFrame(rows, columns=columns).astype({"start": "uint64", "end": "uint64"})

    def smaps(self) -> pd.DataFrame:
        """One row per VMA: pid, start, end, and smaps' own keys, kB as bytes (Rss, Pss, Swap …); VmFlags is
        text.
        """
        rows = []
        for pid in self.pids:
            row: dict[str, object] = {}
            for line in self.lines(f"p/{pid}/smaps"):
                if match := _MAPS_LINE.fullmatch(line):
                    row = {"pid": pid, "start": int(match[1], 16), "end": int(match[2], 16), "path": match[7]}
                    rows.append(row)
                    continue
                key, _, value = line.partition(":")
                row[key] = value.strip() if key == "VmFlags" else in_bytes(value)
        frame = pd.DataFrame([row for row in rows if row["path"] != "[vsyscall]"])
        return frame.astype({"start": "uint64", "end": "uint64"})

    # Slabs

    def slabinfo(self) -> pd.DataFrame:
        """/proc/slabinfo: name, active_objs, num_objs, size (its objsize: with metadata), objects_per_slab,
        pages_per_slab, active_slabs, num_slabs. active_objs counts per-CPU and sheaf objects as active."""
        rows = []
        for line in self.lines("slabinfo")[2:]:
            counts, _, slabdata = line.partition(": tunables")
            *name, active, objects, size, per_slab, pages = counts.split()
            active_slabs, slabs, _ = slabdata.partition("slabdata")[2].split()
            numbers = (active, objects, size, per_slab, pages, active_slabs, slabs)
            rows.append((" ".join(name), *map(int, numbers)))
        columns = [
            "name",
            "active_objs",
            "num_objs",
            "size",
            "objects_per_slab",
            "pages_per_slab",
            "active_slabs",
            "num_slabs",
        ]
        return pd.DataFrame(rows, columns=columns)

    def sysfs_slab(self) -> pd.DataFrame:
        """/sys/kernel/slab, one row per cache: objects (allocated), total (slots), slabs, partial (counts of
        all nodes), object_size, size (with metadata), order. Caches that SLUB may merge stand under their
        unique id (":0000032"), not under the name that slabinfo gives.
        """
        rows = []
        for line in self.lines("sysfs_slab"):
            name, *words = line.split()
            # "objects=510 N0=510 total=…": what follows a count are its nodes' shares.
            values = dict(word.split("=") for word in words if not re.match(r"N\d+=", word))
            rows.append(
                {"name": name, **{key: int(value) for key, value in values.items() if value.isdigit()}}
            )
        # The guest wrote the listing twice; the later one is nearer to the crash.
        frame = pd.DataFrame(rows).drop_duplicates("name", keep="last", ignore_index=True)
        return frame.rename(columns={"osize": "object_size", "ssize": "size"})

    # Symbols

    def modules(self) -> pd.DataFrame:
        """/proc/modules: name, size_bytes, refcount, used_by (joined by commas), state, base, taint."""
        rows = []
        for line in self.lines("modules"):
            name, size, refcount, used_by, state, base, *taint = line.split()
            users = ",".join(user for user in used_by.split(",") if user and user != "-")
            rows.append(
                (name, int(size), int(refcount), users, state, int(base, 16), "".join(taint).strip("()"))
            )
        columns = ["name", "size_bytes", "refcount", "used_by", "state", "base", "taint"]
        return pd.DataFrame(rows, columns=columns).astype({"base": "uint64"})

    def kallsyms(self) -> pd.DataFrame:
        """/proc/kallsyms: address, type (one letter), name, module ('' for the kernel; "bpf",
        "__builtin__kprobes" and "__builtin__ftrace" for what the kernel itself makes up at run time).
        """
        rows = []
        for line in self.lines("kallsyms"):
            symbol, _, module = line.partition("\t")
            address, kind, name = symbol.split(" ", 2)
            rows.append((int(address, 16), kind, name.strip(), module.strip().strip("[]")))
        return pd.DataFrame(rows, columns=["address", "type", "name", "module"]).astype({"address": "uint64"})

    # Memory

    def meminfo(self) -> pd.Series[int]:
        """/proc/meminfo: kB keys in bytes, HugePages_* as counts."""
        return pd.Series({key: in_bytes(value) for key, value in split_at_colon(self.lines("meminfo"))})

    def vmstat(self) -> pd.Series[int]:
        """/proc/vmstat: its counters, as printed."""
        return pd.Series({key: int(value) for key, value in map(str.split, self.lines("vmstat"))})

    def zoneinfo(self) -> pd.DataFrame:
        """/proc/zoneinfo: one row per populated or empty zone: node, zone, free, min, low, high, spanned,
        present, managed (pages), start_pfn (missing in an empty zone), and the zone's nr_* counters in pages.
        """
        rows: list[dict[str, object]] = []
        skipping = False
        for line in self.lines("zoneinfo"):
            words = line.split()
            if match := re.fullmatch(r"Node (\d+), zone +(\w+)", line):
                rows.append({"node": int(match[1]), "zone": match[2]})
                skipping = False
            elif line.startswith(("  per-node stats", "  pagesets")):
                skipping = True
            elif line.startswith("  pages free"):
                rows[-1]["free"] = int(words[2])
                skipping = False
            elif words[0] == "start_pfn:":
                rows[-1]["start_pfn"] = int(words[1])
            elif not skipping and len(words) == 2 and words[1].isdigit():
                rows[-1][words[0]] = int(words[1])
        return pd.DataFrame(rows).astype({"start_pfn": "Int64"})

    def node_stats(self) -> pd.DataFrame:
        """/proc/zoneinfo's per-node counters in pages: one row per node."""
        rows: dict[int, dict[str, int]] = {}
        current: dict[str, int] | None = None
        for line in self.lines("zoneinfo"):
            if match := re.match(r"Node (\d+), zone", line):
                node, current = int(match[1]), None
            elif line.startswith("  per-node stats"):
                current = rows.setdefault(node, {})
            elif not line.startswith("      "):
                current = None
            elif current is not None:
                name, value = line.split()
                current[name] = int(value)
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("node")

    def buddyinfo(self) -> pd.DataFrame:
        """/proc/buddyinfo: node, zone, and free blocks per order in columns 0 to 10."""
        rows = []
        for line in self.lines("buddyinfo"):
            match = re.match(r"Node (\d+), zone +(\w+) +(.*)", line)
            assert match, line
            row: dict[object, object] = {"node": int(match[1]), "zone": match[2]}
            row.update(enumerate(map(int, match[3].split())))
            rows.append(row)
        return pd.DataFrame(rows)

    def iomem(self) -> pd.DataFrame:
        """/proc/iomem: start, end (inclusive), name, depth (two spaces a level)."""
        rows = []
        for line in self.lines("iomem"):
            span, _, name = line.partition(" : ")
            start, end = span.strip().split("-")
            rows.append((int(start, 16), int(end, 16), name, (len(span) - len(span.lstrip())) // 2))
        return pd.DataFrame(rows, columns=["start", "end", "name", "depth"]).astype(
            {"start": "uint64", "end": "uint64"}
        )

    def vmallocinfo(self) -> pd.DataFrame:
        """/proc/vmallocinfo: size_bytes, caller ('' if none), pages (0 if not said), kind (the remaining
        words), physical.

        The addresses in the file are hashed (%p), so they tell nothing and are left out.
        """
        rows = []
        for line in self.lines("vmallocinfo"):
            match = re.match(r"0x[0-9a-f]+-0x[0-9a-f]+ +(\d+) ?(.*)", line)
            assert match, line
            words = match[2].split()
            caller = words.pop(0) if words and "+0x" in words[0] else ""
            if caller and words and words[0].startswith("["):
                caller += f" {words.pop(0)}"
            named = dict(word.split("=", 1) for word in words if "=" in word)
            rows.append(
                {
                    "size_bytes": int(match[1]),
                    "caller": caller,
                    "pages": int(named.get("pages", "0")),
                    "physical": int(named["phys"], 16) if "phys" in named else None,
                    "kind": " ".join(word for word in words if "=" not in word),
                }
            )
        return pd.DataFrame(rows).astype({"physical": "UInt64"})

    # The machine

    def uptime(self) -> float:
        """Seconds since boot when the truth was taken (before the crash)."""
        return float(self.text("uptime").split()[0])

    def version(self) -> str:
        """/proc/version without its newline: the kernel's banner."""
        return self.text("version").strip()

    def release(self) -> str:
        return self.version().split()[2]

    def cmdline(self) -> str:
        return self.text("cmdline").strip()

    def cpus(self) -> int:
        """CPUs online."""
        return sum(line.startswith("processor") for line in self.lines("cpuinfo"))


@dataclass(frozen=True)
class DmesgRecord:
    """One record of makedumpfile's vmcore-dmesg.txt: seconds as printed ("89.519927", rounded down to µs),
    the caller ("T12", "C0", or '' where the kernel or makedumpfile did not say), the text's lines.
    """

    timestamp: str
    caller: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def read_dmesg(path: Path) -> list[DmesgRecord]:
    r"""The records of a vmcore-dmesg.txt, in order.

    makedumpfile prints "[%5d.%06d] " and, where records carry it, "[%*s] " with the caller; a newline inside
    a record becomes a newline and as many spaces as the prefix has characters. Bytes that are neither
    printable nor white space stand as \xNN. A line that starts with a prefix of its own is always taken for a
    new record.
    """
    lines = decoded(path.read_bytes()).split("\n")[:-1]
    prefixes = [match for line in lines if (match := _DMESG_PREFIX.match(line))]
    # Callers are printed for all records or for none; a text that only looks like one is not taken for one.
    with_callers = all(_DMESG_CALLER.match(match.string, match.end()) for match in prefixes)
    records: list[DmesgRecord] = []
    indent = 0
    for number, line in enumerate(lines, 1):
        match = _DMESG_PREFIX.match(line)
        if match:
            caller = _DMESG_CALLER.match(line, match.end()) if with_callers else None
            indent = (caller or match).end()
            records.append(DmesgRecord(match[1], caller[1] if caller else "", (line[indent:],)))
        elif records and not line[:indent].strip(" "):
            last = records[-1]
            records[-1] = DmesgRecord(last.timestamp, last.caller, (*last.lines, line[indent:]))
        else:
            raise ValueError(f"{path} line {number} is neither a record nor the rest of one: {line!r}")
    return records


def same_comm(comm: str, printed: str, kthread: bool) -> bool:
    """Does task_struct.comm agree with a name that /proc printed?

    For kernel threads /proc adds what a kworker works on ("kworker/0:1-events") or gives the full name of a
    thread whose comm was cut at 15 characters ("kworker/R-ext4-rsv-conversion").
    """
    return printed == comm or (
        kthread and printed.startswith(comm) and (len(comm) == 15 or comm.startswith("kworker/"))
    )


def parse_maps_line(line: str) -> tuple[int, int, int, str, int, str, int, str]:
    r"""start, end, size, perms, offset, dev, inode, path of a line of /proc/PID/maps; \012 is unescaped."""
    match = _MAPS_LINE.fullmatch(line)
    assert match, line
    start, end = int(match[1], 16), int(match[2], 16)
    # seq_file_path() escapes newlines only.
    path = match[7].replace("\\012", "\n")
    return start, end, end - start, match[3], int(match[4], 16), match[5], int(match[6]), path


def split_at_colon(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        key, _, value = line.partition(":")
        yield key, value.strip()


def in_bytes(value: str) -> int:
    """'  2260 kB' is 2,314,240; a number without a unit is a count."""
    number, _, unit = value.strip().partition(" ")
    return int(number) * (1024 if unit == "kB" else 1)


def decoded(data: bytes) -> str:
    """As kernlab decodes text: what is no UTF-8 stands as backslash escapes."""
    return data.decode("utf-8", "backslashreplace")
