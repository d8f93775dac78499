"""Addresses of array elements that are computed when they are looked at: what computes them, and that all are plain."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.alike import assert_same

from kernlab.dataframes import AddressArray, AddressDtype
from kernlab.dataframes.elements import ElementAddresses

BASE, SIZE, INDEX = 0xFFFFEA0000000000, 64, np.array([0, 1, 2, 5, 6, 40, 41, 42], dtype=np.int64)
TARGET = AddressDtype("token", "struct page")


def later() -> pd.DataFrame:
    return pd.DataFrame({"pfn": INDEX, "address": ElementAddresses.of(BASE, INDEX, SIZE, TARGET)}, copy=False)


def plain() -> pd.DataFrame:
    values = np.array([BASE + SIZE * int(number) for number in INDEX], dtype=np.uint64)
    return pd.DataFrame({"pfn": INDEX, "address": AddressArray(values, dtype=TARGET)}, copy=False)


CHEAP = {
    "the column itself": lambda f: f["address"],
    "a selection": lambda f: f[["pfn", "address"]],
    "a copy": lambda f: f.copy(),
    "a slice": lambda f: f.iloc[2:7:2],
    "backwards": lambda f: f.iloc[::-1],
    "rename": lambda f: f.rename(columns={"address": "struct"}),
}

DEAR = {
    "repr": repr,
    "a filter": lambda f: f[f["pfn"] > 2],
    "rows by number": lambda f: f.iloc[[1, 2]],
    "reindexed": lambda f: f.reindex([3, 99]),
    "arithmetic": lambda f: f["address"] + 8,
    "a comparison": lambda f: f["address"] > BASE + 100,
    "one value": lambda f: f.loc[3, "address"],
    "isna": lambda f: f["address"].isna(),
    "numpy": lambda f: f["address"].to_numpy(dtype="uint64"),
    "sorted": lambda f: f.sort_values("address", ascending=False),
    "concat": lambda f: pd.concat([f, f]),
    "merge": lambda f: f.merge(f, on="address"),
    "a group": lambda f: f.groupby("address")["pfn"].sum(),
    "largest": lambda f: f["address"].max(),
    "fillna": lambda f: f["address"].fillna(0),
    "text": lambda f: f["address"].astype(str),
    "written to": lambda f: f.assign(address=f["address"].where(f["pfn"] != 5)),
    "pickle": lambda f: pickle.loads(pickle.dumps(f)),
}


@pytest.mark.parametrize("what", CHEAP)
def test_these_compute_nothing_and_give_what_plain_addresses_give(what):
    frame = later()
    got = CHEAP[what](frame)
    assert type(frame["address"].array) is ElementAddresses
    assert frame.memory_usage(index=False).sum() == INDEX.nbytes
    assert_same(got, CHEAP[what](plain()))


@pytest.mark.parametrize("what", DEAR)
def test_these_give_what_plain_addresses_give(what):
    frame = later()
    assert_same(DEAR[what](frame), DEAR[what](plain()))
    assert_same(frame, plain())


def test_looking_at_one_address_computes_no_other():
    array = ElementAddresses.of(BASE, INDEX, SIZE, TARGET)
    assert len(array) == len(INDEX)
    assert array.nbytes == 0
    assert int(array[3]) == BASE + 5 * SIZE
    assert array.nbytes == 0
    assert type(array) is ElementAddresses
    assert array.to_numpy(dtype=np.uint64).max() == BASE + int(INDEX.max()) * SIZE
    assert type(array) is ElementAddresses
    assert (array.dtype.origin, array.dtype.target) == ("token", "struct page")
    assert array.nbytes == len(INDEX) * 9


def test_a_change_of_the_copy_changes_nothing_else():
    frame = later()
    other = frame.copy()
    other.loc[0, "address"] = 0x1000
    assert frame.loc[0, "address"] == BASE
    assert type(later()["address"].array.with_dtype(AddressDtype())) is ElementAddresses


def test_threads_that_look_at_once_all_see_the_addresses():
    expected, wrong = plain()["address"].to_numpy().tolist(), []

    def look(array: ElementAddresses, start: threading.Barrier) -> None:
        start.wait()
        try:
            if array.to_numpy().tolist() != expected or int(array[0]) != BASE:
                wrong.append("other addresses")
        except AttributeError as error:
            wrong.append(str(error))

    for _ in range(100):
        array, start = ElementAddresses.of(BASE, INDEX, SIZE, TARGET), threading.Barrier(6)
        several = [threading.Thread(target=look, args=(array, start)) for _ in range(6)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()
    assert not wrong


@given(
    base=st.integers(0, 2**64 - 1),
    size=st.integers(1, 4096),
    index=st.lists(st.integers(0, 2**52), max_size=20),
)
def test_addresses_are_exact_modulo_64_bits(base, size, index):
    array = ElementAddresses.of(base, np.array(index, dtype=np.int64), size, TARGET)
    assert array.to_numpy().tolist() == [(base + size * number) % 2**64 for number in index]
