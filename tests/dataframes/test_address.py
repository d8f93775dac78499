"""The address dtype: the traps that plain uint64 falls into, and arithmetic against Python's integers."""

from __future__ import annotations

import io
import operator
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.dataframes import merging  # noqa: F401 - as every table of kernlab's brings it
from kernlab.dataframes.address import AddressArray, AddressDtype
from kernlab.dataframes.origin import MIXED
from kernlab.errors import KernlabError
from kernlab.util.text import Address

# Two bits that a float would drop.
HERE, NEXT = 0xFFFF_8880_0000_0041, 0xFFFF_8880_0000_0042
TOP = 1 << 64


def make(*values, origin="", target=""):
    return AddressArray._from_sequence(list(values), dtype=AddressDtype(origin, target))


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "address": make(HERE, None, NEXT, HERE, 5, origin="dump-1", target="struct task_struct"),
            "x": range(5),
            "g": list("aabbc"),
        }
    )


def exactly(found, *expected):
    """It is an address column of just these values."""
    assert isinstance(found.dtype, AddressDtype)
    assert [None if v is pd.NA else int(v) for v in found] == list(expected)


class TestShown:
    def test_text_html_index_and_csv_are_hexadecimal(self, table):
        shown = "0xffff888000000041"
        assert shown in repr(table)
        assert shown in table._repr_html_()
        assert shown in repr(table.address)
        assert shown in repr(table.address.array)
        assert shown in repr(table.set_index("address"))
        assert shown in repr(pd.Index(table.address))
        assert shown in repr(pd.MultiIndex.from_frame(table[["g", "address"]]))
        assert shown in table.style.to_html()
        assert shown in str(table.describe(include="all"))
        assert str(table.address[0]) == shown
        for kind in (0, 1, 2, 3):
            assert f",{shown}," in table.assign(y=1)[["x", "address", "y"]].to_csv(quoting=kind).replace(
                '"', ""
            )

    def test_csv_in_full_and_back(self, table):
        text = table[["address", "x"]].to_csv(index=False)
        assert text.split() == [
            "address,x",
            "0xffff888000000041,0",
            ",1",
            "0xffff888000000042,2",
            "0xffff888000000041,3",
            "0x0000000000000005,4",
        ]
        back = pd.read_csv(io.StringIO(text), dtype={"address": "address"})
        exactly(back.address, HERE, None, NEXT, HERE, 5)
        exactly(pd.read_csv(io.StringIO(text)).address.astype("address"), HERE, None, NEXT, HERE, 5)

    def test_csv_of_an_index(self, table):
        assert "\n0xffff888000000042,2" in table.set_index("address").to_csv()

    def test_json_is_strings_because_its_numbers_are_floats(self, table):
        assert '"0xffff888000000041"' in table.to_json()
        assert "null" in table.to_json()


class TestTraps:
    """The table in research/jupyter.md: what numpy's uint64 does to addresses."""

    def test_reindex_and_left_merge_with_a_miss(self, table):
        exactly(table.address.reindex([2, 9]), NEXT, None)
        right = pd.DataFrame({"x": [0, 7], "mm": make(NEXT, HERE)})
        exactly(table.merge(right, on="x", how="left").mm, NEXT, None, None, None, None)

    def test_a_series_with_none(self):
        exactly(pd.Series([HERE, None, np.nan, pd.NA], dtype="address"), HERE, None, None, None)

    def test_minus_a_signed_column(self, table):
        exactly(table.address - table.x, HERE, None, NEXT - 2, HERE - 3, 1)

    def test_masks(self, table):
        found = table.address & 0xFFF
        assert found.dtype == "UInt64"
        assert found.tolist() == [0x41, pd.NA, 0x42, 0x41, 5]
        exactly(table.address & ~0xFFF, HERE - 0x41, None, HERE - 0x41, HERE - 0x41, 0)

    def test_difference_of_addresses(self, table):
        found = table.address - HERE
        exactly(found, 0, None, 1, 0, (5 - HERE) % TOP)
        apart = table.address - table.address[0]
        assert apart.dtype == "Int64"
        assert apart.tolist()[:4] == [0, pd.NA, 1, 0]
        assert (table.address - table.address.shift()).tolist()[3] == -1
        assert table.address.diff().tolist()[3] == -1

    def test_query_and_eval(self, table):
        assert table.query("address == 0xffff888000000041").x.tolist() == [0, 3]
        assert table.query("address in [0xffff888000000041, 5]").x.tolist() == [0, 3, 4]
        assert table.query(f"address == {HERE - TOP}").x.tolist() == [0, 3]
        assert table.query(f"address in [{HERE - TOP}, 5]").x.tolist() == [0, 3, 4]
        assert table.query("address > @NEXT - 1", local_dict={"NEXT": NEXT}).x.tolist() == [2]
        exactly(table.eval("address + 4096"), HERE + 4096, None, NEXT + 4096, HERE + 4096, 4101)
        assert table.eval("address - address").dtype == "Int64"

    def test_groupby(self, table):
        found = table.groupby("g").address.agg(["first", "last", "min", "max", "nunique", "count"])
        exactly(found["first"], HERE, NEXT, 5)
        exactly(found["last"], HERE, HERE, 5)
        exactly(found["min"], HERE, HERE, 5)
        exactly(found["max"], HERE, NEXT, 5)
        assert found["nunique"].tolist() == [1, 2, 1]
        assert found["count"].tolist() == [1, 2, 1]
        exactly(table.groupby("g").address.transform("max"), HERE, HERE, NEXT, NEXT, 5)
        exactly(table.groupby("g").first().address, HERE, NEXT, 5)
        sums = table.groupby("address").x.sum()
        exactly(sums.index, 5, HERE, NEXT)
        assert sums.tolist() == [4, 3, 2]
        assert len(table.groupby("address", dropna=False).size()) == 4

    def test_sums_and_means_are_refused(self, table):
        for operation in ("sum", "mean", "std", "median", "prod"):
            with pytest.raises(TypeError, match="does not support operation"):
                getattr(table.address, operation)()
        with pytest.raises(TypeError, match="UInt64"):
            table.groupby("g").address.mean()
        assert table.groupby("g").sum(numeric_only=True).columns.tolist() == ["x"]
        assert table.describe().columns.tolist() == ["x"]

    def test_describe_counts(self, table):
        assert table.address.describe().to_dict() == {"count": 4, "unique": 3, "top": HERE, "freq": 2}

    def test_concat(self, table):
        exactly(pd.concat([table, pd.DataFrame({"x": [9]})]).address, HERE, None, NEXT, HERE, 5, None)
        exactly(
            pd.concat([table.address, pd.Series([NEXT], dtype="uint64")]), HERE, None, NEXT, HERE, 5, NEXT
        )
        exactly(pd.concat([table.address[:1], pd.Series([NEXT - TOP])]), HERE, NEXT)

    def test_sort_rank_unique_and_counts(self, table):
        exactly(table.sort_values("address").address, 5, HERE, HERE, NEXT, None)
        assert table.address.rank().tolist()[:1] == [2.5]
        exactly(table.address.unique(), HERE, None, NEXT, 5)
        assert table.address.nunique() == 3
        counts = table.address.value_counts()
        exactly(counts.index, HERE, NEXT, 5)
        assert counts.tolist() == [2, 1, 1]
        codes, uniques = pd.factorize(table.address)
        assert codes.tolist() == [0, -1, 1, 0, 2]
        exactly(uniques, HERE, NEXT, 5)
        assert table.drop_duplicates("address").x.tolist() == [0, 1, 2, 4]
        exactly(pd.Series([table.address.min(), table.address.max()], dtype="address"), 5, NEXT)

    def test_isin(self, table):
        expected = [True, False, False, True, False]
        wanted = [
            [HERE],
            [Address(HERE)],
            ["0xffff888000000041"],
            np.array([HERE], dtype=np.uint64),
            {HERE, -1},
            [HERE - TOP],
            np.array([HERE - TOP]),
        ]
        for values in [*wanted, make(HERE), pd.Series(make(HERE)), pd.Series([HERE], dtype="UInt64")]:
            assert table.address.isin(values).tolist() == expected
        assert table.address.isin([None]).tolist() == [False, True, False, False, False]
        # A float that lies near is not an address, and finding nothing would look like an answer.
        for bad in (float(HERE), TOP, "init_task"):
            with pytest.raises(KernlabError, match="is not an address"):
                table.address.isin([bad])

    def test_fill_shift_where_mask(self, table):
        column = table.address
        exactly(column.fillna(0), HERE, 0, NEXT, HERE, 5)
        exactly(column.ffill(), HERE, HERE, NEXT, HERE, 5)
        exactly(column.shift(), None, HERE, None, NEXT, HERE)
        exactly(column.where(column == HERE), HERE, None, None, HERE, None)
        exactly(column.where(column == HERE, 0), HERE, 0, 0, HERE, 0)
        exactly(column.mask(column.isin([HERE]), NEXT), NEXT, None, NEXT, NEXT, 5)
        exactly(column.replace({HERE: NEXT}), NEXT, None, NEXT, NEXT, 5)
        exactly(column.clip(lower=NEXT), NEXT, None, NEXT, NEXT, NEXT)

    def test_index_and_join(self, table):
        indexed = table.set_index("address")
        assert indexed.loc[NEXT, "x"] == 2
        assert indexed.loc[Address(HERE), "x"].tolist() == [0, 3]
        assert indexed.loc[[NEXT, HERE], "x"].tolist() == [2, 0, 3]
        right = pd.DataFrame({"y": [7]}, index=pd.Index(make(NEXT), name="address"))
        joined = indexed.join(right)
        assert joined.y.tolist()[2] == 7
        assert joined.y.isna().sum() == 4
        exactly(joined.reset_index().address, HERE, None, NEXT, HERE, 5)
        wide = table.dropna().pivot_table(index="address", columns="g", values="x")
        exactly(wide.index, 5, HERE, NEXT)
        exactly(table.set_index(["g", "x"]).address.unstack()[0], HERE, None, None)  # noqa: PD010
        assert pd.DataFrame({"a": table.address}).stack().dtype == "address"

    def test_merge_of_addresses_with_other_integers(self, table):
        for kind in ("uint64", "UInt64", "object"):
            right = pd.DataFrame({"address": pd.Series([HERE, 5], dtype=kind), "y": [1, 2]})
            merged = table.merge(right, on="address", how="left")
            assert merged.y.fillna(0).tolist() == [1, 0, 0, 1, 2]
            assert merged.address[0] == HERE

    def test_merge_reads_other_integers_as_addresses(self, table):
        signed = pd.DataFrame({"address": [HERE - TOP, 5, 9], "y": [1, 2, 3]})
        assert table.merge(signed, on="address").y.tolist() == [1, 1, 2]
        exactly(table.merge(signed, on="address", how="right").address, HERE, HERE, 5, 9)
        assert signed.merge(table, on="address").x.tolist() == [0, 3, 4]
        named = table.merge(signed.rename(columns={"address": "p"}), left_on="address", right_on="p")
        assert named.p.tolist() == [HERE - TOP] * 2 + [5]
        assert table.merge(pd.DataFrame({"address": [hex(HERE)]})).x.tolist() == [0, 3]
        assert table.set_index("address").join(signed.set_index("address")).y.count() == 3
        with pytest.raises(KernlabError, match="low bits"):
            table.merge(signed.astype({"address": float}), on="address")

    def test_a_missing_key_does_not_merge_with_null(self, table):
        right = pd.DataFrame({"address": make(0, 5), "y": [1, 2]})
        assert table.merge(right, on="address").y.tolist() == [2]
        assert table.merge(right, on="address", how="left").y.isna().tolist() == [
            True,
            True,
            True,
            True,
            False,
        ]

    def test_the_symbol_below_each_address(self):
        symbols = pd.DataFrame({"address": make(HERE - 1, NEXT), "name": ["a", "b"]})
        found = pd.merge_asof(pd.DataFrame({"address": make(HERE - 2, HERE, NEXT)}), symbols, on="address")
        assert found.name.fillna("").tolist() == ["", "a", "b"]

    def test_map(self, table):
        assert table.address.map({HERE: "one", NEXT: "two"}).fillna("").tolist() == [
            "one",
            "",
            "two",
            "one",
            "",
        ]
        assert table.address.dropna().map(hex).tolist()[0] == hex(HERE)
        assert table.address.map(lambda a: a + 1, na_action="ignore").tolist()[0] == HERE + 1
        exactly(table.address.map(lambda a: a), HERE, None, NEXT, HERE, 5)


class TestConversion:
    def test_from(self):
        for values in (
            [HERE, NEXT],
            np.array([HERE, NEXT], dtype=np.uint64),
            pd.array([HERE, NEXT], dtype="UInt64"),
            [hex(HERE), str(NEXT)],
            [np.uint64(HERE), Address(NEXT)],
            pd.Series(["0xffff888000000041", "0xffff888000000042"]),
        ):
            exactly(pd.Series(values).astype("address"), HERE, NEXT)
            exactly(pd.array(values, dtype="address"), HERE, NEXT)

    def test_a_negative_number_is_64_bits_with_a_sign(self):
        exactly(pd.array([HERE - TOP, -1, str(NEXT - TOP)], dtype="address"), HERE, TOP - 1, NEXT)
        exactly(pd.Series([HERE - TOP]).astype("address"), HERE)
        exactly(pd.Series([HERE - TOP, None], dtype="Int64").astype("address"), HERE, None)
        exactly(pd.array([f"{HERE:x}"], dtype="address"), HERE)

    @pytest.mark.parametrize(
        "bad", [-(1 << 63) - 1, TOP, 1.5, float(HERE), True, "ffff", "0x1ffffffffffffffff", b"1", "init_task"]
    )
    def test_what_is_not_an_address(self, bad):
        with pytest.raises(KernlabError, match=r"not an address|holds no"):
            pd.array([bad], dtype="address")

    def test_to_integers(self, table):
        column = table.address
        assert column.astype("UInt64").tolist() == [HERE, pd.NA, NEXT, HERE, 5]
        assert column.dropna().astype("uint64").tolist() == [HERE, NEXT, HERE, 5]
        assert column.dropna().to_numpy().dtype == np.uint64
        assert np.asarray(column.dropna()).tolist() == [HERE, NEXT, HERE, 5]
        assert column.astype("str").fillna("").tolist()[:2] == ["0xffff888000000041", ""]
        assert column.astype(object).tolist() == [HERE, pd.NA, NEXT, HERE, 5]
        for kind in ("int64", "Int64", "uint32", "UInt32"):
            with pytest.raises(ValueError, match="does not fit"):
                column.dropna().astype(kind)
        with pytest.raises(ValueError, match="missing"):
            column.astype("uint64")

    @pytest.mark.parametrize("kind", [float, "float32", "Float64"])
    def test_never_to_floats(self, table, kind):
        with pytest.raises(TypeError, match="low bits"):
            table.address.dropna().astype(kind)

    def test_numpy_cannot_make_floats_of_it(self, table):
        for operation in (operator.truediv, operator.mul, operator.pow):
            for other in (2, np.uint64(2), np.arange(5), table.x):
                with pytest.raises(TypeError):
                    operation(table.address, other)
                with pytest.raises(TypeError):
                    operation(other, table.address)
        with pytest.raises(TypeError):
            table.address + 1.0

    def test_pickle_and_copies(self, table):
        back = pickle.loads(pickle.dumps(table))
        pd.testing.assert_frame_equal(back, table)
        assert back.address.array.dtype.target == "struct task_struct"
        copied = table.copy()
        copied.loc[0, "address"] = 7
        assert table.address[0] == HERE

    def test_hashes_do_not_hang_on_what_is_missing(self, table):
        both = pd.util.hash_pandas_object(table.address, index=False)
        whole = pd.util.hash_pandas_object(table.address.dropna(), index=False)
        assert both.drop(1).tolist() == whole.tolist()


class TestArithmetic:
    addresses = st.integers(0, TOP - 1)
    integers = st.integers(-(1 << 63), (1 << 63) - 1)

    @given(addresses, st.one_of(integers, addresses))
    def test_with_python_integers(self, a, n):
        column = make(a, None)
        assert (column + n)[0] == (n + column)[0] == (a + n) % TOP
        assert (column - n)[0] == (a - n) % TOP
        assert (column & n)[0] == (a & n) % TOP
        assert (column | n)[0] == (a | n) % TOP
        assert (column ^ n)[0] == (a ^ n) % TOP
        assert (column + n)[1] is pd.NA
        assert isinstance((column + n).dtype, AddressDtype)

    @given(addresses, st.integers(0, 200), st.integers(1, TOP))
    def test_shifts_and_quotients(self, a, shift, divisor):
        column = make(a)
        assert (column >> shift)[0] == a >> shift
        assert (column << shift)[0] == (a << shift) % TOP
        assert (column // divisor)[0] == a // divisor
        assert (column % divisor)[0] == a % divisor

    @given(addresses, addresses)
    def test_with_addresses(self, a, b):
        left, right = make(a, a, None), make(b, None, b)
        difference = left - right
        assert difference.dtype == "Int64"
        assert int(difference[0]) % TOP == (a - b) % TOP
        assert -(1 << 63) <= int(difference[0]) < 1 << 63
        assert difference[1] is difference[2] is pd.NA
        assert (left ^ right)[0] == a ^ b
        assert (left - Address(b))[0] == difference[0]

    @given(addresses, st.one_of(integers, addresses))
    def test_comparisons_are_exact_of_64_bits(self, a, n):
        column = make(a)
        signed = np.array([n]) if -(1 << 63) <= n < 1 << 63 else None
        for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
            assert compare(column, n)[0] == compare(a, n % TOP)
            if signed is not None:
                for other in (signed, pd.Series(signed), pd.array(signed, dtype="Int64")):
                    assert compare(pd.Series(column), other)[0] == compare(a, n % TOP)
        # What needs 65 bits is not an address, and "not equal" would look like an answer.
        for beyond in (n + (TOP << 1), -(TOP << 1) - n):
            with pytest.raises(KernlabError, match="64 bits"):
                operator.eq(column, beyond)

    @given(addresses, integers)
    def test_with_arrays(self, a, n):
        for other in (np.array([n]), pd.array([n], dtype="Int64"), [n]):
            assert (make(a) + other)[0] == (a + n) % TOP
            assert (make(a) - other)[0] == (a - n) % TOP
            assert (other + make(a))[0] == (a + n) % TOP
        assert (np.array([n]) - make(a)).dtype == "Int64"

    def test_zero_and_negative_divisors(self):
        with pytest.raises(ZeroDivisionError):
            make(5) // 0
        assert (make(5, 5) // np.array([0, 2])).tolist() == [pd.NA, 2]
        for operation in (operator.floordiv, operator.mod, operator.rshift, operator.lshift):
            with pytest.raises(ValueError, match="negative"):
                operation(make(5), -1)

    def test_comparison_with_what_is_written(self):
        assert (make(HERE) == "0xffff888000000041")[0]
        assert (make(HERE) == pd.NA)[0] is pd.NA
        assert (make(HERE) == str(HERE - TOP))[0]
        assert not (make(HERE) == object())[0]
        for bad in (1.5, float(HERE), "init_task", np.array([1.5])):
            with pytest.raises(KernlabError, match=r"not an address|holds no"):
                operator.eq(make(HERE), bad)
        with pytest.raises(ValueError, match="lengths differ"):
            operator.eq(make(1, 2), make(1, 2, 3))


class TestWhereItComesFrom:
    def test_pandas_keeps_it(self, table):
        results = [
            table.head(2).address,
            table.sort_values("address").address,
            table[table.x > 2].address,
            table.merge(pd.DataFrame({"x": [1]}), on="x").address,
            pd.concat([table, table]).address,
            table.groupby("g").address.first(),
            table.set_index("address").reset_index().address,
            table.groupby("address").x.sum().reset_index().address,
            table.reindex([0, 9]).address,
            table.assign(y=1).query("x == 1").address,
        ]
        for column in results:
            dtype = column.array.dtype
            assert (dtype.origin, dtype.target) == ("dump-1", "struct task_struct")

    def test_arithmetic_keeps_the_dump_but_not_the_type(self, table):
        dtype = (table.address + 8).array.dtype
        assert (dtype.origin, dtype.target) == ("dump-1", "")

    def test_columns_of_two_dumps(self, table):
        other = pd.DataFrame({"address": make(HERE, 9, origin="dump-2", target="struct task_struct")})
        assert pd.concat([table, other]).address.array.dtype.origin == MIXED
        assert pd.concat([pd.concat([table, other]), table]).address.array.dtype.origin == MIXED
        assert table.merge(other, on="address", how="outer").address.array.dtype.origin == MIXED
        assert table.merge(other, on="address").x.tolist() == [0, 3]
        assert table.address.where(table.x > 2, other.address[1]).array.dtype.origin == "dump-1"

    def test_addresses_of_no_dump_take_on_the_other(self, table):
        plain = pd.DataFrame({"address": make(1)})
        assert pd.concat([plain, table]).address.array.dtype.origin == "dump-1"

    def test_dtypes_are_equal_whatever_they_carry(self):
        assert AddressDtype("dump-1", "struct page") == AddressDtype() == "address"
        assert hash(AddressDtype("dump-1")) == hash(AddressDtype())
        assert str(AddressDtype("dump-1")) == "address"


class TestParquet:
    @pytest.fixture
    def path(self, table, tmp_path):
        pytest.importorskip("pyarrow")
        path = tmp_path / "tasks.parquet"
        table.to_parquet(path)
        return path

    def test_the_dtype_comes_back(self, path, table):
        exactly(pd.read_parquet(path).address, HERE, None, NEXT, HERE, 5)
        indexed = path.with_name("indexed.parquet")
        table.set_index("address").to_parquet(indexed)
        exactly(pd.read_parquet(indexed).index, HERE, None, NEXT, HERE, 5)

    def test_others_read_uint64(self, path):
        code = (
            "import sys, pandas, pyarrow.parquet\n"
            "print(pyarrow.parquet.read_schema(sys.argv[1]).field('address').type)\n"
            "column = pandas.read_parquet(sys.argv[1]).address\n"
            "print(column.dtype, column.tolist(), 'kernlab' in sys.modules)"
        )
        ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        kind, found = ran.stdout.splitlines()
        assert kind == "uint64"
        assert found == f"UInt64 [{HERE}, <NA>, {NEXT}, {HERE}, 5] False"

    def test_whole_columns_are_uint64_for_others(self, table, tmp_path):
        pytest.importorskip("pyarrow")
        path = tmp_path / "whole.parquet"
        table.dropna().to_parquet(path)
        code = "import sys, pandas; print(pandas.read_parquet(sys.argv[1]).address.dtype)"
        ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == "uint64"

    def test_other_columns_are_written_as_ever(self, table, tmp_path):
        pytest.importorskip("pyarrow")
        path = tmp_path / "others.parquet"
        others = table[["x", "g"]].assign(
            t=pd.to_timedelta(table.x),
            c=table.g.astype("category"),
            n=pd.array([1, None, 2, 3, 4], dtype="Int64"),
        )
        others.to_parquet(path)
        pd.testing.assert_frame_equal(pd.read_parquet(path), others)
