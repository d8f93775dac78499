"""pandas' own conformance suite for extension arrays, run on the address dtype."""

from __future__ import annotations

import pandas as pd
import pytest
from pandas.tests.extension import base
from pandas.tests.extension.conftest import (  # noqa: F401 - fixtures of the suite
    all_arithmetic_operators,
    all_boolean_reductions,
    all_numeric_accumulations,
    all_numeric_reductions,
    all_reductions,
    as_array,
    as_frame,
    as_series,
    box_in_series,
    comparison_op,
    fillna_method,
    groupby_apply_op,
    invalid_scalar,
    na_value,
    use_numpy,
    using_nan_is_na,
)

from kernlab.dataframes.address import AddressArray, AddressDtype

KERNEL = 0xFFFF_8880_0000_0041


def make(*values: int | None) -> AddressArray:
    return AddressArray._from_sequence(list(values), dtype=AddressDtype())


@pytest.fixture
def dtype():
    return AddressDtype()


@pytest.fixture
def data():
    # Neighbours that differ in bits that a float would drop.
    return make(*(KERNEL + 2 * i for i in range(10)))


@pytest.fixture
def data_for_twos():
    return make(*[2] * 10)


@pytest.fixture
def data_missing():
    return make(None, KERNEL)


@pytest.fixture
def data_for_sorting():
    return make(KERNEL + 1, KERNEL + 2, KERNEL)


@pytest.fixture
def data_missing_for_sorting():
    return make(KERNEL + 2, None, KERNEL)


@pytest.fixture
def na_cmp():
    return lambda a, b: a is pd.NA and b is pd.NA


@pytest.fixture
def data_for_grouping():
    b, a, c = KERNEL + 1, KERNEL, KERNEL + 2
    return make(b, b, None, None, a, a, b, c)


@pytest.fixture(params=["data", "data_missing"])
def all_data(request, data, data_missing):
    return data if request.param == "data" else data_missing


@pytest.fixture
def data_repeated(data):
    return lambda count: (data for _ in range(count))


#: What addresses do not do: a product, a quotient in floats, a number divided by an address.
REFUSED = ("mul", "truediv", "pow", "rmul", "rtruediv", "rpow", "rfloordiv", "rmod")


class TestAddress(base.ExtensionTests):
    def _get_expected_exception(self, op_name, obj, other):
        return TypeError if op_name.strip("_") in (*REFUSED, "divmod", "rdivmod") else None

    def _cast_pointwise_result(self, op_name, obj, other, pointwise_result):
        # The suite computes with Python's ints; ours wrap at 64 bits, and quotients are UInt64.
        name = op_name.strip("_")
        if isinstance(pointwise_result, pd.DataFrame):
            return pointwise_result.apply(lambda one: self._cast_pointwise_result(op_name, obj, other, one))
        if name in ("add", "radd"):
            return pointwise_result.map(lambda value: value % (1 << 64)).astype("address")
        if name == "sub" and getattr(other, "dtype", None) == "uint64":
            return pointwise_result.astype("UInt64").astype("address")
        kind = {"floordiv": "UInt64", "mod": "UInt64", "sub": "Int64", "rsub": "Int64"}.get(name)
        return pointwise_result.astype(kind) if kind else pointwise_result

    def _supports_reduction(self, ser, op_name):
        return op_name in ("min", "max", "count")

    def check_reduce(self, ser, op_name, skipna):
        if op_name == "count":
            assert ser.count() == ser.array._reduce("count") == ser.notna().sum()
            return
        assert getattr(ser, op_name)(skipna=skipna) == getattr(ser.astype("UInt64"), op_name)(skipna=skipna)

    def _get_expected_reduction_dtype(self, arr, op_name, skipna):
        return arr.dtype

    def _supports_accumulation(self, ser, op_name):
        return op_name in ("cummin", "cummax")

    _combine_le_expected_dtype = "boolean"

    def test_combine_add(self, data_repeated):
        pytest.skip("Series.combine adds Python's ints: their sum needs 65 bits, an address has 64")

    def test_plot_on_y_axis(self):
        pytest.skip("addresses are not numbers to pandas, so DataFrame.plot leaves them out")
