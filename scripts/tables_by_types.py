"""A dump's tables by the types of a file against those by its own: each cell of each table, with its own types hidden.

    python scripts/tables_by_types.py samples/debian-6.1/vmcore --vmlinux /usr/lib/debug
    python scripts/tables_by_types.py samples/debian-6.1/vmcore --types linux.json.xz

Prints each table that differs, and how long the tables took by either. Exit status 1 where any differs. Of a vmlinux
its DWARF is read, though it has BTF, too. By DWARF more is known (types of variables name locks and waits), so the
dump's own tables are made with the same file.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.without_types import hidden  # noqa: E402

import kernlab  # noqa: E402
from kernlab.debuginfo.drgn_types import DrgnTypes  # noqa: E402
from kernlab.dump import TABLES, Dump  # noqa: E402
from kernlab.linux import debug_types  # noqa: E402
from kernlab.linux.debug_files import use_debug_files  # noqa: E402
from kernlab.linux.given_files import use_types  # noqa: E402


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vmcore")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--vmlinux", help="a file, or a folder that has the modules' files, too")
    chosen.add_argument("--types", help="BTF, or a symbol file of Volatility")
    given = parser.parse_args()
    own = kernlab.open(given.vmcore)
    other = hidden(own)
    started = time.perf_counter()
    if given.vmlinux:
        vars(debug_types)["types_of_file"] = lambda file, base=None: DrgnTypes(file)
        for dump in (own, other):
            use_debug_files(dump.kernel, given.vmlinux)
    else:
        use_types(other.kernel, given.types)
    kind = type(other.kernel.types).__name__
    print(f"{kind}: types after {time.perf_counter() - started:.2f} s")
    differ = cells = 0
    took = {"own": 0.0, "file": 0.0}
    for name in sorted(name for name, entry in TABLES.items() if not entry.is_method):
        expected, took["own"] = _made(own, name, took["own"])
        got, took["file"] = _made(other, name, took["file"])
        problem = _difference(expected, got)
        cells += getattr(expected, "size", 0)
        if problem:
            differ += 1
            print(f"{name}: {problem}")
    print(
        f"{cells:,} cells of {len(TABLES)} tables and traces compared, {differ} tables differ; {took['own']:.1f} s by "
        f"the dump's own types, {took['file']:.1f} s by the file's"
    )
    return 1 if differ else 0


def _made(dump: Dump, name: str, before: float) -> tuple[Any, float]:
    """A table, or why there is none, and how long all took so far."""
    started = time.perf_counter()
    try:
        found = getattr(dump, name)
    except kernlab.KernlabError as error:
        found = str(error)
    return found, before + time.perf_counter() - started


def _difference(expected: Any, got: Any) -> str:
    if isinstance(expected, str) or isinstance(got, str):
        same = isinstance(expected, str) and isinstance(got, str) and expected == got
        return "" if same else f"{_short(expected)} became {_short(got)}"
    check = (
        pd.testing.assert_series_equal if isinstance(expected, pd.Series) else pd.testing.assert_frame_equal
    )
    try:
        check(got, expected)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    more = [problem for problem in got.attrs["problems"] if problem not in expected.attrs["problems"]]
    return f"it tells {more[0]}" if more else ""


def _short(made: Any) -> str:
    return f"“{made[:150]}”" if isinstance(made, str) else f"a table of {len(made):,} rows"


if __name__ == "__main__":
    sys.exit(main())
