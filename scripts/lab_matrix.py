"""Every kernel of the lab in every format, each dump's tables against what its guest said of itself.

    python scripts/lab_matrix.py docs/compatibility.md [--kernels 6.1 6.1-rt …] [--captures FOLDER] [--capture-only]
        [--makedumpfile FILE] [--also FOLDER …]

One crash of a guest gives all of makedumpfile's formats from the same memory; one more guest, stopped and dumped by
QEMU, gives QEMU's, and goes on to read its trace buffers: there the bytes themselves are compared. Each kernel runs
with page tables of four levels and of five (of arm64: with addresses of 48 bits and of 52); the formats are all tried
with four, which most machines have. More guests
die where stacks are hard to follow: behind locks, with interrupts off, in an NMI, under probes; and more in all the
ways that a verdict has to tell apart, each way on two kernels. Captures are kept in
the lab's cache: what was captured before is only compared.

The report has a section for each machine, and one of what every suite of the mirror had on that day; a run of some
kernels leaves the sections of other machines, and all that others wrote into the file, as they are.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import kinds_truth, stack_truth  # noqa: E402
from support.truth import Truth, same_comm  # noqa: E402
from support.verdict_truth import truth_of_capture, wrong  # noqa: E402

import kernlab  # noqa: E402
from kernlab.lab.apt_root import cache_folder  # noqa: E402
from kernlab.lab.capture_options import SYMBOLS, Capture, Options  # noqa: E402
from kernlab.lab.dump_check import absent_of, split_sets  # noqa: E402
from kernlab.lab.guest_kernel import KERNELS, find_package  # noqa: E402
from kernlab.lab.kept_captures import kept_capture, read_capture  # noqa: E402
from kernlab.lab.machine import AMD64, ARM64, MACHINES  # noqa: E402
from kernlab.lab.steps import LabError, Progress  # noqa: E402


class Row(NamedTuple):
    """One kernel of the matrix: a series of the lab's, a flavour, a machine; has it larger addresses as well?"""

    series: str
    flavour: str
    machine: str = AMD64.name
    larger: bool = True


#: The kernels. 7.3 is in backports only.
MATRIX = {
    "5.10": Row("5.10", "cloud"),
    "6.1": Row("6.1", "cloud"),
    "6.12": Row("6.12", "cloud"),
    "sid": Row("sid", "cloud"),
    "backports": Row("backports", "generic"),
    "6.1-rt": Row("6.1", "rt"),
    "6.1-arm64": Row("6.1", "cloud", ARM64.name, larger=False),
    "6.12-arm64": Row("6.12", "cloud", ARM64.name),
    "sid-arm64": Row("sid", "cloud", ARM64.name),
    "backports-arm64": Row("backports", "cloud", ARM64.name),
    "6.12-16k-arm64": Row("6.12", "16k", ARM64.name),
    "6.12-rt-arm64": Row("6.12", "rt", ARM64.name),
}
#: The first of each is what is tried with five levels too.
CRASH_FORMATS = ("zlib", "lzo", "elf", "flattened", "split")
#: Those of QEMU's that Debian's is built with.
QEMU_FORMATS = ("elf", "kdump-zlib", "kdump-raw-zlib")

#: What each machine is called, and its larger addresses and the usual ones.
TITLES = {"amd64": "x86-64", "arm64": "arm64"}
ADDRESSES = {"amd64": ("5 levels", "4 levels"), "arm64": ("52 bits", "48 bits")}

#: The stories whose stacks are hard to follow, and how they are told.
STACKS: dict[str, dict[str, str | int]] = {
    "deadlock": {},
    "waits": {},
    "lockup": {},
    "irq": {"WHERE": "nmi"},
    "probes": {},
}

#: The stories that end for a reason of their own, which the verdict on each has to find; dealt out to the kernels.
DECOYS = "warn kill mutex sleepers large"
DEATHS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("fault", {"FAULT": fault, "DECOYS": "warn mutex"})
        # Kernels with sheaves do not notice a double free: its place is that of two that have none.
        for fault in (
            *("wild", "bad-page", "execute", "opcode", "bug", "divide", "stack", "list", "double-free"),
            *(
                "refcount",
                "warn",
                "deliberate",
                "softlock",
                "rcu",
                "workqueue",
                "softirq-bug",
                "softirq-spin",
            ),
            "refuse",
        )
    ),
    ("fault", {"FAULT": "null", "DECOYS": DECOYS}),
    ("fault", {"FAULT": "use-after-free", "CACHE": "mill_checked_job"}),
    ("fault", {"FAULT": "redzone", "CACHE": "mill_checked_job"}),
    ("memcg", {"PANIC": 1, "DECOYS": "warn large"}),
    ("memcg", {"DECOYS": "mutex large"}),
    ("order", {}),
    ("stuck", {"DECOYS": "mutex large"}),
    ("readonly", {"DECOYS": "warn kill"}),
    ("readonly", {"ERRORS": "panic"}),
    *(("leak", {"KIND": kind, "DECOYS": "large"}) for kind in ("kmalloc", "vmalloc", "percpu")),
    *((story, {}) for story in ("hung", "oom", "oops", "io")),
]
#: Facts that hold, and all that were compared.
Share = tuple[int, int]


def tasks(dump: kernlab.Dump, truth: Truth) -> Share:
    """Name, parent, user, nice value and priority of every process that both know, and that both know all."""
    ours = dump.tasks[dump.tasks["pid"] == dump.tasks["tgid"]].set_index("pid")
    told = truth.tasks().set_index("pid")
    told = told[[not passing(comm) for comm in told["comm"]]]
    held = compared = 0
    for pid, row in told.iterrows():
        compared += 5
        if pid not in ours.index:
            continue
        mine: Any = ours.loc[int(str(pid))]
        held += same_comm(mine["comm"], row["comm"], bool(row["kthread"]))
        held += sum(int(mine[name]) == int(row[name]) for name in ("ppid", "uid", "nice", "prio"))
    return held, compared


def maps(dump: kernlab.Dump, truth: Truth) -> Share:
    """Every line of every process's maps: bounds, permissions, offset, device, inode and path."""
    names = ["pid", "start", "end", "perms", "offset_bytes", "dev", "inode", "path"]
    going = truth.tasks().set_index("pid")["comm"].map(passing)
    told = truth.maps()
    told = told[~told["pid"].map(going).fillna(True).astype(bool)]
    mine = dump.maps[names].astype({"start": "uint64", "end": "uint64"})
    # The kernel writes a newline as \\012 and a backslash as it is: only so written are two paths comparable.
    mine["path"], told = mine["path"].str.replace("\n", "\\012"), told[names].copy()
    told["path"] = told["path"].str.replace("\n", "\\012")
    ours = {tuple(map(str, row)) for row in mine.itertuples(index=False)}
    return sum(tuple(map(str, row)) in ours for row in told.itertuples(index=False)), len(told)


def slabs(dump: kernlab.Dump, truth: Truth) -> Share:
    """Size, objects and pages per slab exactly; the number of objects within four slabs or 6 %, but for the caches of
    the results disk (buffer heads, ext4's, jbd2's), which is written and put away between the truth and the end, and
    for open files (filp, and what kernfs has of each), of which the taking of the truth leaves hundreds to be freed."""
    both = truth.slabinfo().merge(dump.slabs, on="name", how="left", suffixes=("_t", ""))
    held = 0
    for name in ("size", "objects_per_slab", "pages_per_slab"):
        held += int((both[f"{name}_t"] == both[name]).sum())
    stays = both[
        ~both["name"].str.match(r"buffer_head$|ext4_|jbd2_|filp$") & ~both["name"].isin(_of_kernfs(dump))
    ]
    room = (4 * stays["objects_per_slab_t"]).clip(lower=(stays["num_objs"] * 0.06).astype(int))
    held += int(((stays["objects"] - stays["num_objs"]).abs() <= room).sum())
    return held, 3 * len(both) + len(stays)


def _of_kernfs(dump: kernlab.Dump) -> list[str]:
    """The kmalloc caches with what kernfs has of open files, where kfree_rcu() frees that: up to 5 s after they closed.

    fs/kernfs/file.c, struct kernfs_open_node: so since v6.0 (rcu_head is a macro for callback_head), before at once.
    """
    if not dump.kernel.types.has_member("struct kernfs_open_node", "callback_head"):
        return []
    size = dump.kernel.find_type("struct kernfs_open_node").size
    general = dump.slabs[dump.slabs["name"].str.fullmatch(r"kmalloc-(rnd-\d+-)?\d+k?")]
    fits = general[general["size"] >= size]
    return [str(name) for name in fits.loc[fits["size"] == fits["size"].min(), "name"]]


def modules(dump: kernlab.Dump, truth: Truth) -> Share:
    """Every column of /proc/modules (the results disk is put away before the end: its drivers lose their user)."""
    names = ["size_bytes", "refcount", "used_by", "state", "base", "taint"]
    both = truth.modules().merge(dump.modules, on="name", how="left", suffixes=("_t", ""))
    ended = both["name"].isin(["virtio_blk", "ext4", "crc32c_generic"]) & (
        both["refcount"] < both["refcount_t"]
    )
    both.loc[ended, "refcount_t"] = both["refcount"]
    return sum(int((both[f"{name}_t"] == both[name]).sum()) for name in names), len(names) * len(both)


def symbols(dump: kernlab.Dump, truth: Truth) -> Share:
    """Every name at its address, of the kernel and its modules; what the kernel makes up at run time is left out."""
    told = truth.kallsyms()
    known = {"", *dump.modules["name"].dropna()}
    told = told[told["module"].isin(known)]
    ours = set(zip(dump.symbols["name"], dump.symbols["address"].astype("uint64"), strict=True))
    return sum(pair in ours for pair in zip(told["name"], told["address"], strict=True)), len(told)


def log(dump: kernlab.Dump, truth: Truth) -> Share:
    """Every line that dmesg printed before the crash."""
    texts = {line for text in dump.log["text"].dropna() for line in text.split("\n")}
    lines = [line.split("] ", 1)[1] for line in truth.lines("dmesg") if "] " in line and line.startswith("<")]
    # dmesg writes what is no printable character as \xNN.
    lines = [line for line in lines if "\\x" not in line]
    return sum(line in texts or line.split("] ", 1)[-1] in texts for line in lines), len(lines)


def bytes_of_traces(dump: kernlab.Dump, truth: Truth) -> Share:
    """Relay channels: the bytes that the guest read after it went on, one fact a byte."""
    held = compared = 0
    for name, cpu in dump.relay.channels[["name", "cpu"]].itertuples(index=False):
        told = truth.files.get(f"after/{name.replace('/', '.')}{cpu}")
        if told is not None:
            compared += len(told)
            held += len(told) if dump.relay.read(name, cpu) == told else 0
    return held, compared


def kinds(dump: kernlab.Dump, truth: Truth) -> Share:
    """Pages of each kind against the kernel's own counters at the machine's end: present, managed, free and per-CPU
    free pages of each zone; file, shmem, anonymous, page-table and slab pages of each node; vmalloc and stacks."""
    compared = kinds_truth.kinds(dump)
    return sum(each.holds for each in compared), len(compared)


def resident(dump: kernlab.Dump, truth: Truth) -> Share:
    """Every mapping's resident bytes, from page tables, equal smaps, of processes that waited."""
    both = kinds_truth.rss(dump, truth)
    both = both[~both["comm"].map(passing)]
    return int((both["off"] == 0).sum()), len(both)


def cgroups(dump: kernlab.Dump, truth: Truth) -> Share:
    """Of every memory cgroup that had files: its limit and its events exactly, and its usage within what two CPUs hold
    back of its charges."""
    held = compared = 0
    named = [name.split("/")[1:-1] for name in truth.files if name.startswith("cgroup/")]
    paths = {"/".join(parts) for parts in named if f"cgroup/{'/'.join(parts)}/memory.current" in truth.files}
    if not paths:
        return 0, 0
    ours = dump.memory_by_cgroup.set_index("path")

    def told(path: str, file: str) -> str:
        return truth.text(f"cgroup/{path}/{file}").strip()

    for path in paths:
        events = dict(line.split() for line in told(path, "memory.events").splitlines())
        compared += 2 + len(events)
        if f"/{path}" not in ours.index:
            continue
        row = ours.loc[f"/{path}"]
        limit: str = "max" if pd.isna(row["limit_bytes"]) else str(row["limit_bytes"])
        held += limit == told(path, "memory.max")
        held += abs(int(told(path, "memory.current")) - row["usage_bytes"]) <= 2 * 64 * 4096
        held += sum(name in row and row[name] == int(count) for name, count in events.items())
    return held, compared


def stacks(dump: kernlab.Dump, truth: Truth) -> Share:
    """Every frame in /proc/PID/stack (function, offset, size, module) of every thread that slept on, and of the log's
    call trace of the panic all that the kernel does not doubt; up to where its own unwinder stops at a trampoline."""
    known, held, compared = stack_truth.stacks_without_scheduler(dump), 0, 0
    pairs = [
        (frames, known[pid].names)
        for pid, (switches, frames, _) in stack_truth.sleeping_threads(truth).items()
        if pid in known and known[pid].switches == switches
    ]
    cpu = dump.info["panic_cpu"]
    trace = None if cpu is None else stack_truth.logged_trace(dump)
    if trace:
        found, rows, names = stack_truth.frames_of(dump, dump.info["panic_pid"])
        here = [str(name) for row, name in zip(rows, names, strict=True) if found.cpu[row] == cpu]
        if dump.info["machine"] == "aarch64":
            rows = stack_truth.with_records(found, [row for row in rows if found.cpu[row] == cpu])
            here = [str(name) for name in dump.kernel.symbolize(found.ip[rows])]
        pairs.append(
            (
                stack_truth.without_last_calls([name for _, name in trace]),
                stack_truth.without_last_calls(here),
            )
        )
    for told, ours in pairs:
        stops = stack_truth.until_trampoline(dump, told)
        compared += max(len(told), len(ours)) if stops is None else stops
        held += sum(_one_place(one, other) for one, other in zip(told[:stops], ours, strict=False))
    return held, compared


def _one_place(told: str, ours: str) -> bool:
    """Is it the same frame? Where a call ends its function, a kernel of arm64 prints the one that lies behind it."""
    ends = re.search(r"\+(0x[0-9a-f]+)/(0x[0-9a-f]+)( |$)", ours)
    return told == ours or ("+0x0/" in told and ends is not None and ends[1] == ends[2])


def verdict(dump: kernlab.Dump, truth: Truth) -> Share:
    """Of captures whose guest said what a right verdict is: is it that, and nothing else that is not so?"""
    told = truth_of_capture(truth.archive.parent)
    return (0, 0) if told is None else (int(not wrong(dump.verdict, told)), 1)


class Told(Truth):
    """A truth that several dumps are compared with: what was read of it last is kept."""

    tasks, maps, smaps, slabinfo, modules, kallsyms = (
        functools.lru_cache(maxsize=1)(read)
        for read in (Truth.tasks, Truth.maps, Truth.smaps, Truth.slabinfo, Truth.modules, Truth.kallsyms)
    )


FACTS: dict[str, Callable[[kernlab.Dump, Truth], Share]] = {
    "tasks": tasks,
    "maps": maps,
    "slabs": slabs,
    "modules": modules,
    "symbols": symbols,
    "log": log,
    "relay bytes": bytes_of_traces,
    "kinds": kinds,
    "RSS": resident,
    "cgroups": cgroups,
    "stacks": stacks,
    "verdict": verdict,
}


def passing(comm: str) -> bool:
    """Does it come and go while the guest goes on to its end? Its shell's helpers, and who serves the results disk."""
    return comm in (
        "truthtar",
        "sleep",
        "sync",
        "cut",
        "jbd2/vdb-8",
        "ext4-rsv-conver",
        "ext4lazyinit",
    ) or comm.startswith(("kworker/", "umount", "cp"))


def compare(folder: Path, dumps: list[Path], problems: list[str]) -> list[dict[str, str]]:
    """One row per dump of a capture: its file's name, its format, and each table's share."""
    truth = Told(folder / "truth.tar.xz")
    rows = []
    for name, pieces in split_sets(dumps).items():
        row = {"file": name, "format": "", "absent": ""}
        symbols = folder / SYMBOLS if (folder / SYMBOLS).exists() else None
        with kernlab.open(pieces if len(pieces) > 1 else pieces[0], symbols=symbols) as dump:
            row["format"] = f"{dump.info['format']} -d {dump.info['dump_level']}".replace(
                " -d None", ""
            ).replace(" -d <NA>", "")
            row["absent"] = str(sum(count or 0 for count in absent_of(dump.info).values()))
            for fact, measure in FACTS.items():
                try:
                    held, compared = measure(dump, truth)
                except kernlab.KernlabError as error:
                    problems.append(f"{folder.name}/{name}, {fact}: {error}")
                    row[fact] = "error"
                    continue
                row[fact] = percent(held, compared)
                if held < compared:
                    problems.append(f"{folder.name}/{name}, {fact}: {held:,} of {compared:,} facts hold")
                if fact == "verdict" and held < compared and (told := truth_of_capture(folder)) is not None:
                    problems += [
                        f"{folder.name}/{name}, verdict: {said}" for said in wrong(dump.verdict, told)
                    ]
        rows.append(row)
    return rows


def percent(held: int, compared: int) -> str:
    """A share that is rounded down: 100 means all."""
    return "–" if not compared else f"{int(held * 1000 / compared) / 10:g} %"


def table(rows: list[dict[str, str]]) -> str:
    """Rows as Markdown."""
    frame = pd.DataFrame(rows).fillna("–")
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def captures(kernel: str) -> Iterator[tuple[str, Options]]:
    """The guests of one kernel: scenario and options."""
    series, flavour, machine, larger = MATRIX[kernel]
    for scenario, options in _guests(kernel, series, flavour, larger):
        settings = dict(options.settings)
        if machine == ARM64.name and settings.get("WHERE") == "nmi":
            settings["WHERE"] = "hardirq"  # an emulated arm64 has no NMI
        yield scenario, replace(options, machine=machine, settings=settings)


def _guests(kernel: str, series: str, flavour: str, larger: bool) -> Iterator[tuple[str, Options]]:
    for la57 in (False, True) if larger else (False,):
        crash, qemu = (CRASH_FORMATS[:1], QEMU_FORMATS[:1]) if la57 else (CRASH_FORMATS, QEMU_FORMATS)
        yield "panic", Options(kernel=series, flavour=flavour, la57=la57, formats=crash)
        yield "trace", Options(kernel=series, flavour=flavour, la57=la57, qemu_formats=qemu)
    yield "cgroups", Options(kernel=series, flavour=flavour, la57=False)
    for story, settings in STACKS.items():
        yield story, Options(kernel=series, flavour=flavour, la57=False, settings=settings)
    for place, (story, settings) in enumerate(DEATHS):
        # Two of the machine's kernels each.
        mine = [name for name, row in MATRIX.items() if row.machine == MATRIX[kernel].machine]
        if place % (len(mine) // 2) == mine.index(kernel) % (len(mine) // 2):
            yield story, Options(kernel=series, flavour=flavour, la57=False, settings=settings)


def compared(capture: Capture) -> tuple[list[dict[str, str]], list[str]]:
    """`compare`, in a process of its own: the rows, and what is below 100 %."""
    problems: list[str] = []
    rows = compare(capture.folder, list(capture.dumps), problems)
    told = capture.description
    machine = _machine_of(capture)
    addresses = ADDRESSES[machine][0 if told["options"]["la57"] else 1]
    if not any(row.larger for row in MATRIX.values() if _is_row(row, told)):
        addresses = ADDRESSES[machine][1]
    named = {"kernel": capture.kernel_release, "addresses": addresses, "story": told["scenario"]}
    return [{"machine": machine, **named, **row} for row in rows], problems


def _machine_of(capture: Capture) -> str:
    # What was captured before there were others says nothing of it.
    return str(capture.description["options"].get("machine", AMD64.name))


def _is_row(row: Row, told: dict[str, Any]) -> bool:
    options: dict[str, Any] = told["options"]
    return bool(row.series == options["kernel"] and row.machine == options.get("machine", AMD64.name))


def made_with(capture: Capture) -> str:
    """The packages that a capture was made with."""
    told = capture.description
    saved = f"makedumpfile {told['makedumpfile']}, level {told['dump_level']}"
    day = time.strftime("%d %B %Y", time.localtime((capture.folder / "truth.tar.xz").stat().st_mtime))
    return (
        f"{told['kernel']['package']} {told['kernel']['version']}, {told['scenario']}, {day.lstrip('0')}: "
        f"QEMU {told['qemu']['version']} ({told['qemu']['accelerator']}), "
        f"{'saved by QEMU' if told['dump_level'] is None else saved}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("report", type=Path, help="the Markdown file to write")
    parser.add_argument("--kernels", nargs="*", default=list(MATRIX), choices=list(MATRIX))
    parser.add_argument(
        "--captures", type=Path, help="where captures are kept (default: captures/ in the lab's cache)"
    )
    parser.add_argument("--cache", type=Path, help="where packages are kept")
    parser.add_argument(
        "--makedumpfile", help="for guests of arm64 (scripts/build_makedumpfile.py); without, they are copied"
    )
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="captures that lie elsewhere")
    parser.add_argument("--capture-only", action="store_true", help="make what is missing, compare nothing")
    arguments = parser.parse_args()
    progress = Progress()
    place = arguments.captures or (arguments.cache or cache_folder()) / "captures"
    done: list[tuple[Capture, Future[tuple[list[dict[str, str]], list[str]]] | None]] = []
    problems: list[str] = []
    # Each dump takes a core for some seconds; while a guest runs it shares the machine with them.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for kernel in arguments.kernels:
            for scenario, asked in captures(kernel):
                options = asked
                if options.machine == ARM64.name and not options.qemu_formats:
                    own = arguments.makedumpfile
                    formats = options.formats if own or not MATRIX[kernel].larger else ("vmcore",)
                    options = replace(options, makedumpfile=own, formats=formats)
                try:
                    capture = kept_capture(
                        scenario, options, folder=place, cache=arguments.cache, progress=progress
                    )
                except LabError as error:
                    addresses = ADDRESSES[options.machine][0 if options.la57 else 1]
                    problems.append(
                        f"{scenario} on {kernel} ({addresses}) was not captured: {str(error).splitlines()[0]}"
                    )
                    progress(str(error))
                    continue
                done.append((capture, None if arguments.capture_only else pool.submit(compared, capture)))
        for folder in arguments.also:
            capture = read_capture(folder)
            done.append((capture, None if arguments.capture_only else pool.submit(compared, capture)))
        failed = len(problems)
        rows: list[dict[str, str]] = []
        for capture, future in done:
            if future is not None:
                found, missed = future.result()
                progress(f"Compared {capture.folder.name}: {len(missed)} below 100 %")
                rows += found
                problems += missed
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) if place.is_dir() else 0
    progress(f"{len(done)} captures, {size / 1e9:.1f} GB in {place}; remove what you need no more")
    if arguments.capture_only:
        print("\n".join([*(str(capture.folder) for capture, _ in done), *problems]))
        return 1 if failed else 0
    parts = {SUITES: suites_seen(arguments.cache, progress)}
    for machine in dict.fromkeys(_machine_of(capture) for capture, _ in done):
        mine = [capture for capture, _ in done if _machine_of(capture) == machine]
        theirs = {capture.folder.name for capture, _ in done} - {capture.folder.name for capture in mine}
        parts[TITLES[machine]] = section(
            [row for row in rows if row["machine"] == machine],
            [
                problem
                for problem in problems
                if _about(problem, machine) and problem.partition("/")[0] not in theirs
            ],
            list(dict.fromkeys(made_with(capture) for capture in mine)),
        )
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    before = arguments.report.read_text(encoding="utf-8") if arguments.report.exists() else ""
    arguments.report.write_text(report(before, parts), encoding="utf-8")
    print(table(rows) if rows else "Nothing was captured.")
    print("\n".join(problems))
    return 1 if failed or any(row[fact] == "error" for row in rows for fact in FACTS) else 0


def _about(problem: str, machine: str) -> bool:
    """Is a problem a machine's? What was not captured is told by the kernel's name in the matrix."""
    lost = re.search(r" on (\S+) \(.*was not captured", problem)
    return lost is None or MATRIX[lost[1]].machine == machine


SUITES = "What the mirror had"


def suites_seen(cache: Path | None, progress: Progress) -> str:
    """The newest kernel of each suite that the lab knows, of each machine: a table, with the day."""
    rows = []
    for series, (suite, _) in KERNELS.items():
        row = {"kernel": series, "suite": suite}
        for machine in MACHINES.values():
            try:
                package = find_package(series, "cloud", cache, progress, machine)[1]
                row[machine.name] = package.version
            except LabError:
                row[machine.name] = "–"
        rows.append(row)
    return (
        f"The newest `linux-image-…-cloud-…` of each suite on {_today()}, by the lab's names of them. Of which "
        f"of them guests were run, the sections above say.\n\n{table(rows)}"
    )


def _today() -> str:
    return time.strftime("%d %B %Y").lstrip("0")


def section(rows: list[dict[str, str]], problems: list[str], versions: list[str]) -> str:
    """A machine's part of the report: the table, each share below 100 %, and what it was captured with."""
    # The formats of one capture are one memory: they miss the same.
    formats: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        place, comma, what = problem.partition(", ")
        folder, slash, file = place.partition("/")
        formats.setdefault((folder, what) if comma and slash else (problem, ""), []).append(file)
    missed = (
        "\n".join(
            f"- {folder}, {what} ({', '.join(files)})" if what else f"- {folder}"
            for (folder, what), files in formats.items()
        )
        or "- nothing"
    )
    kernels = len({row["kernel"] for row in rows})
    ran = "\n".join(f"- {version}" for version in versions)
    shown = [{name: value for name, value in row.items() if name != "machine"} for row in rows]
    return f"""Seen on {_today()}: guests of {kernels} kernels.

{table(shown) if shown else "Nothing was captured."}

Below 100 %:

{missed}

Captured with:

{ran}"""


def report(before: str, parts: dict[str, str]) -> str:
    """docs/compatibility.md: its sections of these names are replaced or appended, those of other names stay."""
    facts = "\n".join(
        f"- **{name}**: {' '.join((measure.__doc__ or '').split())}" for name, measure in FACTS.items()
    )
    head = f"""# Kernels and formats

What `make test-lab` saw last, machine by machine: guests crashed or were stopped and were saved, and each dump's tables
were compared with what the guest had said of itself. Every kernel ran with page tables of four levels, saved in every
format, and of five, saved by makedumpfile and by QEMU in one each (of arm64: with addresses of 48 bits and of 52). A
share is the part of the facts that hold, rounded down; "absent" counts frames of slabs, large kmallocs and page tables
that the dump should hold and does not. Guests went on for some seconds between the truth and the end, so what moves can
differ there.

What is compared:

{facts}
"""
    # What scripts/layouts_checked.py writes lies between marks of its own, and stays at the end.
    checked = re.search(r"<!-- layouts checked: begin -->.*<!-- layouts checked: end -->", before, re.DOTALL)
    before = before.replace(checked[0], "") if checked else before
    sections = dict(re.findall(r"^## (.+)\n\n?((?:(?!## ).*\n?)*)", before, re.MULTILINE))
    sections |= parts
    first = [name for name in (*TITLES.values(), SUITES) if name in sections]
    order = [*first, *(name for name in sections if name not in first)]
    text = head + "".join(f"\n## {name}\n\n{sections[name].strip()}\n" for name in order)
    return text + (f"\n{checked[0]}\n" if checked else "")


if __name__ == "__main__":
    sys.exit(main())
