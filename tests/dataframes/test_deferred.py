"""Columns that are computed when they are looked at: what computes them, what does not, and that all is Int64."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from support.alike import assert_same

from kernlab.dataframes.deferred import deferred


class Counting:
    """Two columns of ten rows, and how often they were computed."""

    def __init__(self) -> None:
        self.calls = 0
        self.before = []
        columns = deferred(("a", "b"), 10, self.compute, self.before)
        self.frame = pd.DataFrame({"x": np.arange(10), **columns}, copy=False)

    def compute(self):
        self.calls += 1
        known = np.ones(10, dtype=bool)
        known[3] = False
        return {"a": (np.arange(10), known), "b": (np.arange(10) * 2, np.ones(10, dtype=bool))}


@pytest.fixture
def counting():
    return Counting()


EXPECTED = pd.DataFrame(
    {
        "x": np.arange(10),
        "a": pd.array([0, 1, 2, None, 4, 5, 6, 7, 8, 9], dtype="Int64"),
        "b": pd.array(np.arange(10) * 2, dtype="Int64"),
    }
)

CHEAP = {
    "len": len,
    "dtypes": lambda f: f.dtypes,
    "another column": lambda f: f["x"].sum(),
    "the column itself": lambda f: f["a"],
    "a selection": lambda f: f[["x", "a"]],
    "a copy": lambda f: f.copy(),
    "assign": lambda f: f.assign(y=1),
    "rename": lambda f: f.rename(columns={"a": "c"}),
    "drop": lambda f: f.drop(columns="a"),
    "a filter": lambda f: f[f["x"] > 3],
    "rows by number": lambda f: f.iloc[[1, 2]],
    "head": lambda f: f.head(2),
    "sorted by another": lambda f: f.sort_values("x", ascending=False),
    "memory": lambda f: f.memory_usage(),
}

DEAR = {
    "a sum": lambda f: f["a"].sum(),
    "repr": repr,
    "html": lambda f: f.to_html(),
    "arithmetic": lambda f: f["a"] + f["b"],
    "a comparison": lambda f: f["a"] > 2,
    "isna": lambda f: f["a"].isna(),
    "numpy": lambda f: f["a"].to_numpy(dtype="int64", na_value=0),
    "a group": lambda f: f.groupby("x")["a"].sum(),
    "merge": lambda f: f.merge(f, on="a"),
    "concat": lambda f: pd.concat([f, f]),
    "sorted": lambda f: f.sort_values("a"),
    "pickle": pickle.dumps,
    "describe": lambda f: f.describe(),
    "csv": lambda f: f.to_csv(),
    "fillna": lambda f: f["a"].fillna(0),
    "astype": lambda f: f.astype({"a": "float64"}),
    "largest": lambda f: f.nlargest(2, "a"),
    "one value": lambda f: f.loc[4, "a"],
}


@pytest.mark.parametrize("what", CHEAP)
def test_these_compute_nothing(counting, what):
    CHEAP[what](counting.frame)
    assert counting.calls == 0


@pytest.mark.parametrize("what", DEAR)
def test_these_compute_both_columns_once_and_give_what_int64_gives(counting, what):
    got, expected = DEAR[what](counting.frame), DEAR[what](EXPECTED.copy())
    assert counting.calls == 1
    if what != "pickle":
        assert_same(got, expected)
    assert counting.frame["b"].sum() == 90
    assert counting.calls == 1


@pytest.mark.parametrize(
    "what", [name for name in CHEAP if name not in ("len", "dtypes", "another column", "memory")]
)
def test_what_was_made_before_computing_holds_the_same(counting, what):
    made, expected = CHEAP[what](counting.frame), CHEAP[what](EXPECTED.copy())
    equal = (
        pd.testing.assert_frame_equal if isinstance(made, pd.DataFrame) else pd.testing.assert_series_equal
    )
    equal(made, expected)
    assert counting.calls == 1


def test_a_pickle_holds_plain_columns(counting):
    again = pickle.loads(pickle.dumps(counting.frame))
    assert type(again["a"].array) is type(counting.frame["a"].array) is pd.arrays.IntegerArray
    pd.testing.assert_frame_equal(again, EXPECTED)


def test_writing_to_a_copy_leaves_the_other_alone(counting):
    other = counting.frame.assign(y=1)
    other.loc[0, "a"] = 5
    assert other["a"].tolist()[0] == 5
    assert counting.frame["a"].tolist()[0] == 0


def test_rows_that_reindex_adds_are_missing(counting):
    made = counting.frame.reindex([1, 30])
    assert counting.calls == 0
    assert made["a"].tolist()[0] == 1
    assert made["a"].isna().tolist() == [False, True]


def test_equals_is_pandas_own(counting):
    assert counting.frame["a"].equals(Counting().frame["a"])
    assert counting.frame["a"].equals(EXPECTED["a"])
    assert EXPECTED["a"].equals(counting.frame["a"])
    assert not counting.frame["a"].equals(counting.frame["b"])


def test_threads_compute_once(counting):
    threads = [threading.Thread(target=counting.frame["a"].sum) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counting.calls == 1


def test_a_failure_is_no_result():
    calls = []

    def compute():
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"a": (np.arange(2), np.ones(2, dtype=bool))}

    column = deferred(("a",), 2, compute, [])["a"]
    with pytest.raises(KeyboardInterrupt):
        column.sum()
    assert column.sum() == 1


def test_what_will_go_away_is_computed_before_and_only_where_it_is_used(counting):
    kept = counting.frame[counting.frame["x"] > 3]
    for finish in counting.before:
        finish()
    assert counting.calls == 1
    assert kept["a"].tolist() == [4, 5, 6, 7, 8, 9]
    other = Counting()
    del other.frame
    for finish in other.before:
        finish()
    assert other.calls == 0
