"""One address, given in every way that people and programs have it, to everything that takes one."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.errors import AddressError, KernlabError, SymbolNotFoundError
from kernlab.util import addresses

TOP = 1 << 64
NAME = "init_task"


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


def ways(address: int, struct: Any = None) -> dict[str, Any]:
    """One address as Python, NumPy, C, a log and a person write it."""
    return {
        "int": address,
        "negative": address - TOP,
        "numpy": np.uint64(address),
        "numpy signed": np.int64(address - TOP),
        "no dimensions": np.array(address, dtype=np.uint64),
        "text": f"{address:#x}",
        "as a log prints it": f"{address:016x}",
        "decimal": str(address),
        "symbol": NAME,
        **({"struct": struct} if struct is not None else {}),
    }


TAKERS = {
    "read": lambda dump, given: dump.read(given, 16),
    "struct": lambda dump, given: dump.struct("task_struct", given).address_,
    "structs": lambda dump, given: dump.structs("task_struct", given).addresses.tolist(),
    "translate": lambda dump, given: dump.translate(given),
    "symbolize": lambda dump, given: dump.symbolize(given),
    "owner": lambda dump, given: dump.owner(given)["name"],
    "identify": lambda dump, given: dump.identify(given).label.tolist(),
    "entries": lambda dump, given: dump.entries(given).value.tolist(),
    "explore": lambda dump, given: repr(dump.explore(given)).split("@")[0],
}


@pytest.mark.parametrize("taker", list(TAKERS))
def test_every_way_is_taken_and_means_the_same(sample, taker):
    address = sample.symbol(NAME)
    take = TAKERS[taker]
    wanted = take(sample, address)
    given = ways(address, sample.struct("task_struct", address))
    assert {name: take(sample, way) for name, way in given.items()} == dict.fromkeys(given, wanted)


@pytest.mark.parametrize("taker", ["structs", "translate", "symbolize", "owner", "identify", "search"])
def test_many_are_taken_in_every_way(sample, taker):
    address = sample.symbol(NAME)
    takers = {
        "structs": lambda given: sample.structs("task_struct", given).addresses.tolist(),
        "translate": lambda given: sample.translate(given).tolist(),
        "symbolize": sample.symbolize,
        "owner": lambda given: sample.owner(given).name.tolist(),
        "identify": lambda given: sample.identify(given).label.tolist(),
        "search": lambda given: len(sample.search(given)),
    }
    take = takers[taker]
    many: dict[str, Any] = {name: [way, way] for name, way in ways(address).items()}
    many |= {
        "int64": np.array([address - TOP] * 2),
        "Int64": pd.array([address - TOP] * 2, dtype="Int64"),
        "column": pd.Series([address] * 2, dtype="address"),
        "index": pd.Index([address - TOP] * 2),
        "text column": pd.Series([f"{address:#x}"] * 2, dtype="str"),
        "table": pd.DataFrame({"address": pd.array([address] * 2, dtype="address"), "x": [1, 2]}),
    }
    wanted = take([address, address])
    assert {name: take(way) for name, way in many.items()} == dict.fromkeys(many, wanted)


@pytest.mark.parametrize("taker", list(TAKERS))
@pytest.mark.parametrize(
    "bad",
    [1.5, 1.8446612682070032e19, TOP, -(1 << 63) - 1, True, np.True_, pd.NA, float("nan"), b"x", object()],
    ids=lambda bad: type(bad).__name__,
)
def test_the_rest_is_refused_and_says_why(sample, taker, bad):
    with pytest.raises(KernlabError, match=r"not an address|low bits"):
        TAKERS[taker](sample, bad)


@pytest.mark.parametrize("taker", list(TAKERS))
def test_a_symbol_that_is_not_there_names_the_nearest(sample, taker):
    with pytest.raises(SymbolNotFoundError, match="init_task"):
        TAKERS[taker](sample, "init_tsk")


def test_a_per_cpu_variable_lies_at_no_single_address(sample):
    for taker in ("read", "struct", "owner", "translate"):
        with pytest.raises(KernlabError, match=r"per-CPU variable.*dump\.percpu\('runqueues'\)"):
            TAKERS[taker](sample, "runqueues")


def test_a_symbol_is_no_physical_address(sample):
    with pytest.raises(AddressError, match="'init_task' is not an address"):
        sample.read(NAME, 8, physical=True)


def test_missing_among_many_stays_missing(sample):
    address = sample.symbol(NAME)
    column = pd.Series([address, None], dtype="address")
    found = sample.owner(column)
    assert found.address.isna().tolist() == found.kind.isna().tolist() == [False, True]
    assert sample.identify([address, None]).address.isna().tolist() == [False, True]
    assert sample.symbolize(column) == ["init_task+0x0/0x2600", None]
    assert sample.translate(column).isna().tolist() == [False, True]


def test_text_that_reads_as_an_address_is_not_searched_for_as_text(sample):
    with pytest.raises(KernlabError, match=r"the address or these characters\?.*search\(b'0xffff"):
        sample.search("0xffff888000000000")


@given(st.integers(-(1 << 63), TOP - 1))
def test_the_rule(number):
    wanted = number % TOP
    given_ways = [number, f"{number}", f"{wanted:#x}", f"{wanted:#018X}"]
    assert [addresses.number(way) for way in given_ways] == [wanted] * 4
    assert addresses.several(given_ways).values.tolist() == [wanted] * 4


@given(st.one_of(st.integers(max_value=-(1 << 63) - 1), st.integers(min_value=TOP)))
def test_no_address_has_more_than_64_bits(number):
    for way in (number, str(number), hex(number), [number]):
        with pytest.raises(AddressError, match="64 bits"):
            addresses.several(way)


@given(st.text())
def test_any_text_is_an_address_or_refused(text):
    with contextlib.suppress(AddressError):
        assert 0 <= addresses.number(text) < TOP
