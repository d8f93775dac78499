"""kernlab and drgn side by side on the same dump: cold processes in alternation, medians and their ratios.

    python benchmarks/compare.py [CASE ...] [--dump VMCORE ...] [--pairs 7]

Each side is a fresh interpreter from start to exit. See benchmarks/README.md for what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path

from oracle import NoOracleError, identify, vmlinux_for

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "samples" / "debian-6.1" / "vmcore"


@dataclass(frozen=True)
class Case:
    """What is measured. `kernlab` is an expression of an open `dump` ('' for the import alone), `drgn` a script beside
    this one (DUMP VMLINUX); `figures`, a function of figures.py, checks that both did the same.
    """

    says: str
    kernlab: str = ""
    drgn: str | None = None
    figures: str | None = None


CASES = {
    "import": Case("import kernlab, and nothing heavy with it"),
    "tasks": Case("the tasks DataFrame", "dump.tasks", "drgn_tasks.py", "task_figures"),
    "stacks": Case(
        "every frame of every thread's stack, with symbols (kernlab's table says more)",
        "dump.stacks",
        "drgn_stacks.py",
        "stack_figures",
    ),
    "slabs": Case(
        "the slab caches (drgn's do not look at per-CPU freelists)",
        "dump.slabs",
        "drgn_slabs.py",
        "slab_figures",
    ),
    "maps": Case("all memory maps of all processes, with paths", "dump.maps", "drgn_maps.py", "map_figures"),
    "files": Case(
        "all descriptors of all processes, with paths (kernlab's table says more)",
        "dump.files",
        "drgn_files.py",
        "file_figures",
    ),
    "pages": Case(
        "flags, refcount and mapcount of every page frame (kernlab's table says more)",
        "dump.pages",
        "drgn_pages.py",
        "page_figures",
    ),
    "slab_objects": Case(
        "every allocated slab object of every cache (kernlab's table has the free ones, too)",
        "dump.slab_objects()",
        "drgn_slab_objects.py",
        "object_figures",
    ),
    "usage": Case(
        "the resident bytes of every mapping, by all page tables (kernlab: pss_bytes and swap_bytes as well)",
        "dump.map_usage",
        "drgn_usage.py",
        "usage_figures",
    ),
    "sockets": Case(
        "the sockets that processes have open, with holder, queues and peer (kernlab: all others, and tcp's state)",
        "dump.sockets",
        "drgn_sockets.py",
        "socket_figures",
    ),
    "search": Case(
        "every pointer to the first task in all memory, and the slab cache it lies in (kernlab: whatever it lies in)",
        "dump.search(dump.symbol('init_task'))",
        "drgn_search.py",
        "search_figures",
    ),
}
# What `import kernlab` must leave alone.
HEAVY = ("pandas", "matplotlib", "IPython", "ipywidgets")
LIGHT_IMPORT = f"import sys, kernlab; sys.exit(', '.join(m for m in {HEAVY} if m in sys.modules) or None)"


#: As an installed program runs: with its modules compiled, which the check before the measuring does.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

WORK = """
import json, sys, time
import pandas, kernlab
dump = kernlab.open(sys.argv[1])
begun = time.perf_counter()
table = {work}
seconds = time.perf_counter() - begun
print(json.dumps({{"seconds": seconds, "table_bytes": int(table.memory_usage(deep=True).sum())}}))
"""
FIGURES = """
import sys, kernlab
sys.path.insert(0, {here!r})
from figures import {figures}
dump = kernlab.open(sys.argv[1])
print({figures}({work}))
"""


@dataclass(frozen=True)
class Run:
    """One process from start to exit; `work_seconds` from the opened dump to the table."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    work_seconds: float
    table_mib: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument(
        "--dump",
        type=Path,
        action="append",
        help="default: the bundled debian-6.1; several show how work grows",
    )
    parser.add_argument("--pairs", type=int, default=7, help="runs of each side; default 7")
    parser.add_argument("--alone", action="store_true", help="kernlab only, without drgn")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (there are {', '.join(CASES)})")
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    return max(run_all(dump, options) for dump in options.dump or [SAMPLE])


def run_all(dump: Path, options: argparse.Namespace) -> int:
    """All cases on one dump; 1 if one failed."""
    release = identify(dump).release
    print(f"{dump} (Linux {release}), {options.pairs} runs a side, {os.cpu_count()} CPUs")
    vmlinux = None
    try:
        if not options.alone:
            vmlinux = vmlinux_for(dump)
            print(f"drgn with {vmlinux}, {vmlinux.stat().st_size / 1e6:.0f} MB")
    except NoOracleError as error:
        print(f"kernlab only: {error}")
    print()

    failed = 0
    for name in options.cases or CASES:
        try:
            compare(name, CASES[name], dump, vmlinux, options.pairs)
        except subprocess.CalledProcessError as error:
            failed = 1
            print(f"{name}: failed: {(error.stderr or '').strip().splitlines()[-1:] or error}")
    return failed


def compare(name: str, case: Case, dump: Path, vmlinux: Path | None, pairs: int) -> None:
    if not case.kernlab:
        answer([sys.executable, "-c", LIGHT_IMPORT])
    program = WORK.format(work=case.kernlab) if case.kernlab else "import kernlab"
    ours = [sys.executable, "-c", program, str(dump)]
    theirs = (
        [sys.executable, str(HERE / case.drgn), str(dump), str(vmlinux)] if case.drgn and vmlinux else None
    )
    print(f"{name}: {case.says}")
    if case.figures:
        # Also fills the page cache and writes the .pyc files, before anything is measured.
        check = FIGURES.format(here=str(HERE), figures=case.figures, work=case.kernlab)
        mine = answer([sys.executable, "-c", check, str(dump)])
        if theirs:
            other = answer([*theirs, "--figures"])
            print(
                # Thousands of states say no more than that they are the same.
                "  both give " + (mine if len(mine) < 400 else f"{mine[:400]} …")
                if mine == other
                else f"  NOT THE SAME\n    kernlab {mine}\n    drgn    {other}"
            )

    runs: dict[str, list[Run]] = {"kernlab": [], "drgn": []}
    for number in range(pairs):
        pair = [("kernlab", ours)] + ([("drgn", theirs)] if theirs else [])
        # Whoever goes second finds a warmer machine.
        for side, command in pair if number % 2 == 0 else reversed(pair):
            runs[side].append(measure(command))
    medians = {side: median(measured) for side, measured in runs.items() if measured}
    for side, run in medians.items():
        spread = [run.wall_seconds for run in runs[side]]
        print(
            f"  {side:8} {run.wall_seconds:7.3f} s wall ({min(spread):.3f} to {max(spread):.3f}),"
            f" {run.cpu_seconds:7.3f} s CPU, {run.work_seconds:7.3f} s work, {run.peak_mib:6.0f} MiB peak,"
            f" {run.table_mib:6.1f} MiB table"
        )
    if "drgn" in medians:
        we, they = medians["kernlab"], medians["drgn"]
        print(
            f"  drgn / kernlab: wall {they.wall_seconds / we.wall_seconds:.1f}, CPU"
            f" {they.cpu_seconds / we.cpu_seconds:.1f}, work {they.work_seconds / we.work_seconds:.1f},"
            f" peak memory {they.peak_mib / we.peak_mib:.1f}"
        )
    print()


def answer(command: list[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return done.stdout.strip()


def measure(command: list[str]) -> Run:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.stdout.close()
    # wait4 has taken the child away from Popen.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    work = json.loads(said) if said.strip() else {"seconds": wall, "table_bytes": 0}
    # ru_maxrss is in KiB on Linux.
    return Run(
        wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        work["seconds"],
        work["table_bytes"] / (1 << 20),
    )


def median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(values) for values in zip(*(astuple(run) for run in runs), strict=True)))


if __name__ == "__main__":
    sys.exit(main())
