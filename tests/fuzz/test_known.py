"""Cases that failed once: known.txt has their names, and what each was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import child, files, kinds, subjects
from fuzz.fork_server import serve
from fuzz.verdicts import failures

KNOWN = [
    line.split("  #")[0].strip()
    for line in (Path(__file__).parent / "known.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.mark.parametrize("dump", subjects.NAMES)
def test_mended_cases_stay_mended(dump: str, dump_files: Callable[[str], object]) -> None:
    names = [name for name in KNOWN if kinds.dump_of(name) == dump]
    if not names:
        pytest.skip(f"no known case damages {dump}")
    dump_files(f"debian-{dump}")
    # Of those steps only that the cases are aimed at.
    aimed = {"info", *(name.split(":")[2] for name in names)}
    opened = {dump: subjects.load(dump, sorted(aimed), record=False)}
    found = []
    try:
        for result in serve(lambda name, slot, tell: child.run(opened, name, slot, tell), iter(names)):
            rule = next((str(one["rule"]) for one in result.outcomes if "rule" in one), "none")
            found += failures(result, rule)
    finally:
        files.remove_copies()
    assert not found, "\n".join(f"{one.what}: {one.cause}\n  {one.case}\n  {one.detail}" for one in found)
