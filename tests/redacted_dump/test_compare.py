"""Tables held against each other cell by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.errors import KernlabError
from kernlab.redacted_dump import compare as module
from kernlab.redacted_dump.compare import cells_that_differ, compare


@pytest.mark.parametrize(
    ("one", "other", "cells"),
    [
        ([1, 2, 3], [1, 2, 4], 1),
        ([1.5, float("nan")], [1.5, float("nan")], 0),
        ([1.5, float("nan")], [float("nan"), 1.5], 2),
        (["a", None], ["a", "b"], 1),
        ([pd.NA, None], [None, pd.NA], 0),
        ([[1, 2], np.array([1, 2])], [[1, 2], [1, 3]], 1),
        ([[1, 2]], [[1, 2, 3]], 1),
        ([[1]], [1], 1),
        ([{"a": 1}], [{"a": 2}], 1),
        ([pd.NaT], [pd.Timestamp(0)], 1),
    ],
)
def test_cells(one: list[Any], other: list[Any], cells: int) -> None:
    assert cells_that_differ(one, other) == cells
    assert cells_that_differ(pd.Series(one, dtype=object), pd.Series(other, dtype=object)) == cells


def test_the_same_in_another_type_is_the_same() -> None:
    assert cells_that_differ(pd.Series([1, 2]), pd.Series([1, 2], dtype="Int64")) == 0
    assert cells_that_differ(pd.Series([1, 2]), pd.Series([1], dtype="Int64")) == 2


def test_one_byte_of_the_dump(opened: Any) -> None:
    """A name of a task that was changed is found in the columns that show it, and nowhere else."""
    first = opened("debian-6.1")
    task = first.tasks[first.tasks.comm == "wrk-2"].iloc[0]
    overlay = Overlay(first)
    overlay.write(overlay.where("struct task_struct", int(task.address), "comm")[0], b"wrk-9")
    with overlay.dump() as second:
        found = {one.table: one for one in compare(first, second)}
        assert found["tasks"].differ == {"comm": 1}
        assert found["tasks"].rows == len(first.tasks)
        assert not any(one.problem for one in found.values())
        changed = {name for name, one in found.items() if one.differ}
        assert {"tasks", "stacks"} <= changed
        assert not changed & {"symbols", "slabs", "iomem", "zones", "modules"}
        assert all("comm" in column or "task" in column for name in changed for column in found[name].differ)


def test_what_cannot_be_made_of_one(monkeypatch: pytest.MonkeyPatch, opened: Any) -> None:
    dump = opened("debian-6.1")
    lost = KernlabError("lost")

    def tables() -> Any:
        yield "first only", lambda given: dump.zones if given is dump else _raised(lost)
        yield "neither", lambda given: _raised(lost)
        yield "fewer rows", lambda given: dump.zones if given is dump else dump.zones.head(1)
        yield "other columns", lambda given: dump.zones if given is dump else dump.nodes

    monkeypatch.setattr(module, "_tables", tables)
    with kernlab.open(dump.kernel.file.path) as other:
        found = {one.table: one.problem for one in compare(dump, other)}
    assert "cannot be made of the redacted dump: lost" in found["first only"]
    assert found["neither"] == ""
    assert "1 rows instead of" in found["fewer rows"]
    assert found["other columns"] == "it has other columns"


def _raised(error: KernlabError) -> Any:
    raise error
