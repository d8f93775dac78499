"""Columns become the dtypes of the public contract, whatever this dump happens to lack."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.dataframes import addresses, describe, frame, lookup, nullable, series, spread
from kernlab.dataframes.builder import MOST_PROBLEMS
from kernlab.debuginfo.types import EnumType, PointerType, StructType, VoidType
from kernlab.errors import KernlabError
from kernlab.util.losses import scope

KERNEL = SimpleNamespace(token="dump-7", source="/crash/vmcore", problems=["the file is cut"])


def column(values, kind, valid=None, type=None):  # noqa: A002
    values = np.asarray(values)
    valid = np.ones(len(values), bool) if valid is None else np.array(valid)
    return SimpleNamespace(values=values, valid=valid, kind=kind, type=type)


def built(values):
    return frame(KERNEL, "test", one=values).one


@pytest.mark.parametrize(
    ("values", "kind", "plain", "missing"),
    [
        (np.array([1, -2], np.int32), "int", "int64", "Int64"),
        (np.array([1, 2], np.uint32), "uint", "int64", "Int64"),
        (np.array([1, 2**64 - 1], np.uint64), "uint", "uint64", "UInt64"),
        (np.array([True, False]), "bool", "bool", "boolean"),
        (np.array([1.5, 2.5]), "float", "float64", "float64"),
        (np.array(["a", "b"], dtype=object), "text", "str", "str"),
        (np.array([1, 2], np.uint64), "address", "address", "address"),
    ],
)
def test_dtypes(values, kind, plain, missing):
    whole = built(column(values, kind))
    assert whole.dtype == plain
    assert whole.tolist() == values.tolist()
    cut = built(column(values, kind, [True, False]))
    assert cut.dtype == missing
    assert cut.isna().tolist() == [False, True]
    # Declared nullable, the dtype is the same whether or not something is missing.
    assert built(nullable(column(values, kind))).dtype == missing
    assert built(nullable(column(values, kind, [True, False]))).dtype == missing


def test_small_products_do_not_overflow():
    assert (built(column(np.array([1 << 20], np.uint32), "uint")) * 4096).tolist() == [1 << 32]


def test_arrays_lists_and_times():
    assert built(np.array([1, 2], np.int16)).dtype == "int16"
    assert built(["a", None]).isna().tolist() == [False, True]
    assert built([]).dtype == "str"
    assert built([1, 2]).dtype == "int64"
    assert built(np.array(["a", "b"])).dtype == "str"
    assert built(pd.array([1, None], dtype="Int64")).dtype == "Int64"
    assert built(nullable(np.array([1, 2]), np.array([True, False]))).isna().tolist() == [False, True]
    times = np.array([5, 7], dtype="timedelta64[ns]")
    assert built(times).dtype == "timedelta64[ns]"
    assert built(nullable(times, np.array([True, False]))).isna().tolist() == [False, True]
    assert times.astype(int).tolist() == [5, 7]


def test_addresses_know_dump_and_type():
    task = StructType("task_struct", 8, False, list)
    pointer, wild = PointerType(lambda: task), PointerType(VoidType)
    structs = SimpleNamespace(
        addresses=np.array([1, 0], np.uint64), valid=np.array([True, False]), type=task, kernel=None
    )
    table = frame(
        KERNEL,
        "test",
        address=structs,
        parent=column(np.array([0, 3], np.uint64), "address", [True, False], pointer),
        data=column(np.array([0, 3], np.uint64), "address", type=wild),
        text=addresses(KERNEL, [4, 5], np.array([False, True])),
    )
    for name, target in (("address", task.c_name), ("parent", task.c_name), ("data", ""), ("text", "")):
        assert (table[name].array.dtype.origin, table[name].array.dtype.target) == ("dump-7", target)
    assert table.address.isna().tolist() == table.parent.isna().tolist() == [False, True]
    # NULL that was read is 0, not missing.
    assert table.parent[0] == 0


def test_enums_by_name_keep_unknown_numbers():
    state = EnumType("state", 4, True, lambda: {"FREE": 0, "USED": 1, "ALIAS": 1, "GONE": 7})
    found = built(column(np.array([1, 0, 5, 7], np.int32), "enum", [True, True, True, False], state))
    assert found.dtype == "category"
    assert found.astype(object).fillna("-").tolist() == ["USED", "FREE", "5", "-"]
    assert found.cat.categories.tolist() == ["FREE", "USED", "GONE", "5"]
    assert built(column(np.array([], np.int32), "enum", type=state)).cat.categories.tolist()[:1] == ["FREE"]


def test_bytes_and_shared_text():
    rows = np.array([[1, 2], [3, 4]], np.uint8)
    assert built(column(rows, "bytes", [True, False])).tolist() == [b"\1\2", None]
    paths = built(lookup(np.array([1, 0, -1, 1]), ["/bin/sh", "/lib/libc.so"]))
    assert paths.dtype == "str"
    assert paths.fillna("-").tolist() == ["/lib/libc.so", "/bin/sh", "-", "/lib/libc.so"]


def test_hostile_text_is_kept_as_it_is():
    names = ["\x1b[31m", "<b>", "\\xff", "a\0b", "x" * 10_000, "\u202e"]
    assert built(column(np.array(names, dtype=object), "text")).tolist() == names


def test_attrs_are_plain_json():
    with scope("test") as here:
        here.lost("lost 3", "lost 3")
        table = frame(KERNEL, "tasks", pid=[1])
    assert json.loads(json.dumps(table.attrs)) == {
        "kernlab": 1,
        "table": "tasks",
        "source": "/crash/vmcore",
        "problems": ["the file is cut", "lost 3"],
    }
    assert isinstance(table.index, pd.RangeIndex)
    with scope("test") as here:
        here.lost(*(f"problem {i}" for i in range(1000)))
        many = describe(None, "t")["problems"]
    assert len(many) == MOST_PROBLEMS
    assert many[-1] == "and 901 more problems of this kind"


def test_what_is_no_column():
    with pytest.raises(KernlabError, match="differ in length: a 1, b 2"):
        frame(KERNEL, "t", a=[1], b=[1, 2])
    with pytest.raises(KernlabError, match="elements per row"):
        built(column(np.zeros((2, 3), np.int32), "int"))
    with pytest.raises(KernlabError, match="2 dimensions"):
        built(np.zeros((2, 3)))
    with pytest.raises(KernlabError, match="holds no value per row"):
        built(object())
    assert len(frame(KERNEL, "t", name=["a"], table=["b"], kernel=["c"]).columns) == 3


def test_arrays_are_not_copied():
    values = np.arange(10)
    where = np.arange(10, dtype=np.uint64)
    table = frame(KERNEL, "t", a=values, b=addresses(KERNEL, where))
    assert np.shares_memory(table.a.to_numpy(), values)
    assert np.shares_memory(table.b.array._data, where)


OURS = ["node", "free", "address"]


@given(
    st.lists(st.sampled_from([*OURS, "", "self", "table", "kernel", "problems", "free (2)", "size", 0, 1]))
)
def test_columns_that_the_dump_names_never_take_anothers_place(names):
    own = [(name, np.array([number])) for number, name in enumerate(names)]
    table = frame(KERNEL, "t", node=[-1], counters=spread(own), free=[-2], address=addresses(KERNEL, [16]))
    assert len(table.columns) == len(set(table.columns)) == len(names) + 3
    assert [table["node"][0], table["free"][0], int(table["address"][0])] == [-1, -2, 16]
    assert table.iloc[0, 1 : len(names) + 1].tolist() == list(range(len(names)))
    assert table.kern.column == "address"


@given(st.lists(st.tuples(st.sampled_from(["", "free", "free (2)", "problems"]), st.none() | st.integers())))
def test_a_series_keeps_every_row_and_loses_only_what_does_not_fit(rows):
    with scope("test"):
        found = series(KERNEL, "vmstat", rows)
    fits = [value is not None and -(1 << 63) <= value < 1 << 63 for _, value in rows]
    assert found.index.is_unique
    assert found.notna().tolist() == fits
    assert [value for value in found if value is not pd.NA] == [
        value for (_, value), good in zip(rows, fits, strict=True) if good
    ]
    large = sum(value is not None and not good for (_, value), good in zip(rows, fits, strict=True))
    assert sum("does not fit into 64 bits" in said for said in found.attrs["problems"]) == large


def test_an_enumerator_that_is_called_like_a_number():
    state = EnumType("state", 4, False, lambda: {"7": 1, "B": 2})
    found = built(column(np.array([1, 7, 2]), "enum", type=state))
    assert found.tolist() == ["7", "7 (2)", "B"]
