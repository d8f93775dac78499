"""Every table of a redacted dump is that of the dump itself, but for the columns that the redaction names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kernlab
from kernlab.formats.register_sets import AARCH64
from kernlab.redaction.columns import columns as columns_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def hidden(dump_files: Any) -> Iterator[Any]:
    with kernlab.open(dump_files("debian-6.1").vmcore, redact="share") as dump:
        yield dump


def _frame(dump: Any, name: str) -> pd.DataFrame | None:
    table = getattr(dump, name)
    if isinstance(table, pd.Series):
        # By names, which are data: two may be alike.
        return pd.DataFrame([table.tolist()], columns=table.index.tolist())
    return table if isinstance(table, pd.DataFrame) else None


def _alike(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    """Whether two columns of numbers have the same bytes: each value in words takes a hundred times as long.

    Of objects it says False: what is equal need not be of the same type.
    """
    if one.dtype != other.dtype or one.dtype == object:
        return False
    return bool(one.equals(other))


def _tables(dump: Any) -> list[str]:
    return [name for name in dump.tables["name"] if _frame(dump, name) is not None]


def test_tables_are_the_same(opened: Any, hidden: Any) -> None:
    dump = opened("debian-6.1")
    named = hidden.redaction.columns
    names = _tables(dump)
    assert {"tasks", "stacks", "waits", "maps", "pages", "slabs", "log", "info"} <= set(names)
    different = {}
    for name in names:
        before, after = _frame(dump, name), _frame(hidden, name)
        assert before is not None
        assert after is not None
        assert list(before.columns) == list(after.columns), name
        assert len(before) == len(after), name
        for place, column in enumerate(before.columns):
            if _alike(before.iloc[:, place], after.iloc[:, place]):
                continue
            one, other = (
                table.iloc[:, place].astype(object).map(repr).to_numpy() for table in (before, after)
            )
            if (one != other).any() and column not in named.get(name, []):
                different[name, column] = list(zip(one[one != other], other[one != other], strict=True))[:3]
        losses = set(after.attrs.get("problems", [])) - set(before.attrs.get("problems", []))
        assert not losses, name
    assert different == {}


def test_columns_that_are_named_exist(hidden: Any) -> None:
    for level in ("share", "strict"):
        for name, columns in columns_of(level).items():
            frame = _frame(hidden, name)
            if frame is not None:
                # Registers are those of every machine.
                other = set(AARCH64.names) if name == "registers" else set()
                assert set(columns) - other <= set(map(str, frame.columns)), (level, name)


def test_every_page_is_the_same_when_it_is_read_again(hidden: Any) -> None:
    file = hidden.kernel.file
    pfns = np.concatenate([*file.present(1 << 16)])[::37]
    index = file.find(pfns.astype("u8"))
    together = np.empty((len(index), file.page_size), dtype=np.uint8)
    file.read_into(index, together)
    for row in range(0, len(index), 29):
        alone = np.empty((1, file.page_size), dtype=np.uint8)
        file.read_into(index[row : row + 1], alone)
        assert (alone[0] == together[row]).all()
