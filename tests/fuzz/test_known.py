"""Cases that failed once: known.txt has their names, and what each was.

Those of thousands of copies take ten seconds each: one of them is tried, the next one with the next KERNLAB_SEED
(support/seed.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.seed import SEED

from fuzz import child, files, kinds, subjects
from fuzz.fork_server import serve
from fuzz.verdicts import failures

pytestmark = pytest.mark.long


def _known() -> dict[str, list[str]]:
    """Names of cases, and the steps that each is about."""
    found = {}
    for line in (Path(__file__).parent / "known.txt").read_text().splitlines():
        case, _, about = line.partition(" # ")[0].partition(" : ")
        if case.strip() and not case.startswith("#"):
            found[case.strip()] = about.split()
    return found


KNOWN = _known()
COPIES = [name for name in KNOWN if name.startswith("copies:")]
for _name in set(COPIES) - {COPIES[SEED % len(COPIES)]}:
    del KNOWN[_name]


@pytest.mark.parametrize("dump", subjects.NAMES)
def test_mended_cases_stay_mended(dump: str, dump_files: Callable[[str], object]) -> None:
    names = [name for name in KNOWN if kinds.dump_of(name) == dump]
    if not names:
        pytest.skip(f"no known case damages {dump}")
    dump_files(f"debian-{dump}")
    about = sorted({step for name in names for step in KNOWN[name]})
    opened = {dump: subjects.load(dump, about, record=False)}
    found = []

    def run(name: str, slot: int, tell: Callable[[str], None]) -> None:
        child.run(opened, name, slot, tell, KNOWN[name])

    try:
        for result in serve(run, iter(names)):
            rule = next((str(one["rule"]) for one in result.outcomes if "rule" in one), "none")
            found += failures(result, rule)
    finally:
        files.remove_copies()
    assert not found, "\n".join(f"{one.what}: {one.cause}\n  {one.case}\n  {one.detail}" for one in found)
