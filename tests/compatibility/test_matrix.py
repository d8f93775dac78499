"""Kernels whose types are at hand: each table reads, or docs/compatibility.md says that it does not, and for what."""

from __future__ import annotations

import pytest
from conftest import ROOT
from support.seed import SEED

from kernlab.compatibility.judge import judged
from kernlab.compatibility.subjects import of_types
from kernlab.debuginfo.btf import Btf
from scripts.layouts_checked import BEGIN, END, FOLDER, blobs, lines, unpacked

PAGE = (ROOT / "docs" / "compatibility.md").read_text()


def named(name):
    """What the page says of a kernel: {(table, for what)}."""
    part = PAGE.partition(BEGIN)[2].partition(END)[0]
    assert f"\n### {name}\n" in part, "python -m scripts.layouts_checked docs/compatibility.md"
    return _rows(part.partition(f"\n### {name}\n")[2].partition("\n### ")[0].split("\n"))


def _rows(written):
    found, first = set(), ""
    for line in written:
        cells = [cell.strip() for cell in line.replace("\\|", "∣").strip("|").split("|")]
        if len(cells) != 2 or cells[0].startswith("---"):
            continue
        if cells in (["cannot be made", "for"], ["not tried without", "by"]):
            first = cells[0]
            continue
        tables, reason = cells if first == "cannot be made" else reversed(cells)
        found |= {(table, reason) for table in tables.split(", ")}
    return found


@pytest.mark.parametrize("place", [SEED % 5, (SEED + 2) % 5])
def test_what_is_not_covered_is_named(place):
    if not FOLDER.is_dir():
        pytest.skip(f"there are no types of other kernels: expected in {FOLDER}")
    every = list(blobs().items())
    if place >= len(every):
        pytest.skip("there are fewer")
    name, path = every[place]
    one = of_types(name, Btf(unpacked(path)))
    rows = judged(one)
    assert len(rows) > 70
    found = _rows(lines(name, one.like, one.machine, rows))
    # A mend makes the page say too much, which is no harm until it is written anew.
    assert found - named(name) == set()
