"""kernlab and drgn side by side on the same dump: cold processes in alternation, medians and their ratios.

    python benchmarks/compare.py [CASE ...] [--dump VMCORE] [--pairs 7]

Each side is a fresh interpreter from start to exit. See benchmarks/README.md for what the figures mean.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from oracle import NoOracleError, identify, vmlinux_for

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "samples" / "debian-6.1" / "vmcore"


@dataclass(frozen=True)
class Case:
    """What is measured. `drgn` is a script beside this one (DUMP VMLINUX), `figures` checks that both did the
    same.
    """

    says: str
    kernlab: str
    drgn: str | None = None
    figures: str | None = None


CASES = {
    "import": Case("import kernlab, and nothing heavy with it", "import kernlab"),
    "tasks": Case(
        "cold process to the tasks DataFrame",
        "import sys, kernlab; tasks = kernlab.open(sys.argv[1]).tasks",
        "drgn_tasks.py",
        "task_figures(tasks)",
    ),
    "slabs": Case(
        "cold process to the slab caches (drgn's do not look at per-CPU freelists)",
        "import sys, kernlab; slabs = kernlab.open(sys.argv[1]).slabs",
        "drgn_slabs.py",
        "slab_figures(slabs)",
    ),
    "maps": Case(
        "cold process to all memory maps of all processes",
        "import sys, kernlab; maps = kernlab.open(sys.argv[1]).maps",
        "drgn_maps.py",
        "map_figures(maps)",
    ),
    "pages": Case(
        "cold process to flags, refcount and mapcount of every page frame (kernlab's table says more)",
        "import sys, kernlab; pages = kernlab.open(sys.argv[1]).pages",
        "drgn_pages.py",
        "page_figures(pages)",
    ),
    "slab_objects": Case(
        "cold process to every allocated slab object of every cache",
        "import sys, kernlab; objects = kernlab.open(sys.argv[1]).slab_objects()",
        "drgn_slab_objects.py",
        "object_figures(objects)",
    ),
    "usage": Case(
        "cold process to the resident bytes of every mapping, by all page tables",
        "import sys, kernlab; maps = kernlab.open(sys.argv[1]).maps; maps['rss_bytes'].sum()",
        "drgn_usage.py",
        "usage_figures(maps)",
    ),
}
# What `import kernlab` must leave alone.
HEAVY = ("pandas", "matplotlib", "IPython", "ipywidgets")
LIGHT_IMPORT = f"import sys, kernlab; sys.exit(', '.join(m for m in {HEAVY} if m in sys.modules) or None)"


@dataclass(frozen=True)
class Run:
    """One process from start to exit."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--dump", type=Path, default=SAMPLE, help="default: the bundled debian-6.1")
    parser.add_argument("--pairs", type=int, default=7, help="runs of each side; default 7")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (there are {', '.join(CASES)})")
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")

    release = identify(options.dump).release
    print(f"{options.dump} (Linux {release}), {options.pairs} runs a side, {os.cpu_count()} CPUs")
    vmlinux = None
    try:
        vmlinux = vmlinux_for(options.dump)
        print(f"drgn with {vmlinux}, {vmlinux.stat().st_size / 1e6:.0f} MB\n")
    except NoOracleError as error:
        print(f"kernlab only: {error}\n")

    failed = False
    for name in options.cases or CASES:
        try:
            compare(name, CASES[name], options.dump, vmlinux, options.pairs)
        except subprocess.CalledProcessError as error:
            failed = True
            print(f"{name}: failed: {(error.stderr or '').strip().splitlines()[-1:] or error}")
    return 1 if failed else 0


def compare(name: str, case: Case, dump: Path, vmlinux: Path | None, pairs: int) -> None:
    if name == "import":
        answer([sys.executable, "-c", LIGHT_IMPORT])
    ours = [sys.executable, "-c", case.kernlab, str(dump)]
    theirs = (
        [sys.executable, str(HERE / case.drgn), str(dump), str(vmlinux)] if case.drgn and vmlinux else None
    )
    print(f"{name}: {case.says}")
    if case.figures:
        # Also fills the page cache and writes the .pyc files, before anything is measured.
        function = case.figures.partition("(")[0]
        path = f"sys.path.insert(0, {str(HERE)!r})"
        check = f"{case.kernlab}\n{path}\nfrom figures import {function}\nprint({case.figures})"
        mine = answer([sys.executable, "-c", check, str(dump)])
        if theirs:
            other = answer([*theirs, "--figures"])
            print(
                "  both give " + mine
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
            f" {run.cpu_seconds:7.3f} s CPU, {run.peak_mib:6.0f} MiB peak"
        )
    if "drgn" in medians:
        we, they = medians["kernlab"], medians["drgn"]
        print(
            f"  kernlab / drgn: wall {we.wall_seconds / they.wall_seconds:.2f}, CPU"
            f" {we.cpu_seconds / they.cpu_seconds:.2f}, peak memory {we.peak_mib / they.peak_mib:.2f}"
        )
    print()


def answer(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def measure(command: list[str]) -> Run:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    # wait4 has taken the child away from Popen.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    # ru_maxrss is in KiB on Linux.
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(runs: list[Run]) -> Run:
    return Run(
        statistics.median(run.wall_seconds for run in runs),
        statistics.median(run.cpu_seconds for run in runs),
        statistics.median(run.peak_mib for run in runs),
    )


if __name__ == "__main__":
    sys.exit(main())
