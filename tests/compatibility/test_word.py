"""kernel_check keeps its word: what it says of tables, by types and symbols alone, the kernel's dump bears out."""

from __future__ import annotations

import pytest
from configurations.options import OPTIONS, Changed, Refused
from conftest import ALL_DUMPS, SAMPLES
from support.seed import SEED

from kernlab.compatibility.judge import judged
from kernlab.compatibility.subjects import of_kernel
from kernlab.compatibility.trial import trial

DUMPS = (*ALL_DUMPS, *sorted(path.parent.name for path in SAMPLES.glob("*/truth.tar.xz")))
#: Options that some table is refused for, or loses columns for; each run takes a few of them.
TOLD = [
    name
    for name, option in OPTIONS.items()
    if any(isinstance(one, Refused) or getattr(one, "gone", ()) for one in option.tables.values())
]
_SHARE = 8


def differences(row, made):
    """In what a table of a dump is another than it was said to be."""
    if row.state == "cannot":
        return (
            [] if str(made.error) == row.reason else [f"{row.table}: {made.error!r} instead of {row.reason}"]
        )
    if made.error is not None:
        return [f"{row.table}: said to read, and {made.error!r}"]
    return [f"{row.table}: has {name}" for name in row.without if made.columns.get(name)]


@pytest.mark.parametrize("name", [DUMPS[SEED % len(DUMPS)]])
def test_of_a_dump(opened, name):
    dump = opened(name)
    rows = judged(of_kernel(dump.kernel))
    assert len(rows) > 70
    assert sum(row.state == "cannot" for row in rows) == 0
    assert {row.table: row.untried for row in rows if row.untried} == {}
    assert [wrong for row in rows for wrong in differences(row, trial(dump, row.table))] == []


@pytest.mark.parametrize("option", TOLD[SEED % _SHARE :: _SHARE])
def test_of_a_kernel_without(opened, option):
    """What stands in options.py of a kernel built without an option is said before there is a dump of it."""
    dump = OPTIONS[option].absence.of(opened("debian-6.1"))
    expected = OPTIONS[option].tables
    rows = judged(of_kernel(dump.kernel), expected)
    assert [wrong for row in rows for wrong in differences(row, trial(dump, row.table))] == []
    refused = {name for name, one in expected.items() if isinstance(one, Refused)}
    assert {row.table for row in rows if row.state == "cannot"} == refused
    for row in rows:
        told = expected[row.table]
        if isinstance(told, Changed) and told.gone:
            assert row.state == "reads without"
