"""Tables with the tools that people use beside pandas: what works by itself, and `kernlab.plain` for the rest."""

from __future__ import annotations

import io
import json
import sqlite3

import numpy as np
import pandas as pd
import pytest

import kernlab
from kernlab.dataframes.address import AddressArray


@pytest.fixture(scope="module")
def tasks(opened):
    found = opened("debian-6.1").tasks
    # Some are missing: threads of the kernel have no address space.
    return found.assign(mm=found.mm.mask(found.mm == 0))


@pytest.fixture(scope="module")
def init(tasks):
    return int(tasks.address[tasks.pid == 1].iloc[0])


class TestPlain:
    def test_every_dtype_is_one_of_pandas_own(self, opened):
        dump = opened("debian-6.1")
        for name in (
            "tasks",
            "maps",
            "slabs",
            "pages",
            "symbols",
            "modules",
            "log",
            "vmalloc",
            "zones",
            "files",
        ):
            if name not in dir(dump):
                continue
            table = getattr(dump, name)
            for found in (kernlab.plain(table), kernlab.plain(table, addresses="text", times="seconds")):
                assert type(found) is pd.DataFrame
                assert found.shape == table.shape
                assert not [d for d in found.dtypes if str(d) == "address" or "kernlab" in type(d).__module__]
                assert not [a for _, c in found.items() for a in [c.array] if "kernlab" in type(a).__module__]
                assert found.attrs == table.attrs
                assert json.loads(json.dumps(found.attrs)) == found.attrs

    def test_addresses_stay_exact(self, tasks):
        found = kernlab.plain(tasks)
        assert found.address.dtype == np.uint64
        assert found.mm.dtype == "UInt64"
        assert found.mm.isna().tolist() == tasks.mm.isna().tolist()
        assert found.address.tolist() == [int(address) for address in tasks.address]
        text = kernlab.plain(tasks, addresses="text")
        assert text.address.tolist() == [str(address) for address in tasks.address]
        assert text.mm.isna().tolist() == tasks.mm.isna().tolist()
        # And back.
        for form in (found, text):
            assert form.address.astype("address").tolist() == tasks.address.tolist()

    def test_index_series_and_names(self, tasks):
        table = tasks.set_index("address")
        assert kernlab.plain(table).index.dtype == np.uint64
        assert kernlab.plain(table).index.name == "address"
        assert kernlab.plain(tasks.set_index(["pid", "address"])).index.get_level_values(1).dtype == np.uint64
        column = kernlab.plain(tasks.address, addresses="text")
        assert column.name == "address"
        assert column[0] == str(tasks.address[0])
        twice = pd.concat([tasks[["address"]], tasks[["address"]]], axis=1)
        assert kernlab.plain(twice).columns.tolist() == ["address", "address"]
        assert kernlab.plain(tasks, times="seconds").utime.tolist() == tasks.utime.dt.total_seconds().tolist()

    def test_it_shares_nothing_that_writing_would_change(self, tasks):
        before = tasks.address.tolist()
        found = kernlab.plain(tasks)
        found.loc[0, "address"] = 1
        assert tasks.address.tolist() == before

    def test_what_it_does_not_know_is_refused(self, tasks):
        with pytest.raises(kernlab.KernlabError, match="'uint64', 'text'"):
            kernlab.plain(tasks, addresses="hex")


def test_sqlite_by_itself(tasks, init):
    with sqlite3.connect(":memory:") as connection:
        tasks.drop(columns=tasks.columns[[dtype.kind == "m" for dtype in tasks.dtypes]]).to_sql(
            "tasks", connection, index=False
        )
        found = connection.execute("select address from tasks where pid = 1").fetchone()
        assert found == (f"{init:#018x}",)
        back = pd.read_sql("select address, mm from tasks", connection)
    assert back.address.astype("address").tolist() == tasks.address.tolist()
    assert back.mm.astype("address").isna().tolist() == tasks.mm.isna().tolist()


def test_excel_by_itself(tasks, init):
    pytest.importorskip("openpyxl")
    stream = io.BytesIO()
    tasks.to_excel(stream, index=False)
    stream.seek(0)
    back = pd.read_excel(stream)
    # A cell's number is a float, which drops the low bits.
    assert back.address.tolist() == [str(address) for address in tasks.address]


def test_duckdb(tasks, init):
    duckdb = pytest.importorskip("duckdb")
    # DuckDB finds it by its name.
    every = kernlab.plain(tasks)
    assert len(every) > 50
    assert duckdb.sql("select address from every where pid = 1").fetchall() == [(init,)]
    joined = duckdb.sql("select count(*) from every a join every b on a.mm = b.mm")
    assert joined.fetchall() == [(int((tasks.mm.dropna().value_counts() ** 2).sum()),)]
    assert duckdb.sql("select max(utime) from every").fetchall() == [(tasks.utime.max(),)]


def test_dask(tasks, init):
    dd = pytest.importorskip("dask.dataframe")
    table = dd.from_pandas(kernlab.plain(tasks), npartitions=3)
    assert table[table.pid == 1].address.compute().tolist() == [init]
    assert table.groupby("mm").pid.count().compute().sort_index().tolist() == (
        tasks.groupby("mm").pid.count().tolist()
    )


def test_polars_by_itself_and_plain(tasks, init):
    polars = pytest.importorskip("polars")
    table = polars.from_pandas(tasks)
    assert isinstance(table.to_pandas().address.array, AddressArray)
    plain = polars.from_pandas(kernlab.plain(tasks))
    assert plain["address"].dtype == polars.UInt64
    assert plain.filter(polars.col("pid") == 1)["address"].to_list() == [init]
    assert plain["address"].to_list() == [int(address) for address in tasks.address]


def test_altair(tasks, init):
    altair = pytest.importorskip("altair")
    table = kernlab.plain(tasks, addresses="text", times="seconds")
    chart = (
        altair.Chart(table).mark_bar().encode(x="pid", y="rss_bytes", tooltip=["comm", "address"]).to_dict()
    )
    rows = next(iter(chart["datasets"].values()))
    # JavaScript's numbers are floats.
    assert [row["address"] for row in rows if row["pid"] == 1] == [f"{init:#018x}"]


def test_parquet_keeps_what_the_table_says_of_itself(tasks):
    pytest.importorskip("pyarrow")
    for table in (tasks, kernlab.plain(tasks)):
        stream = io.BytesIO()
        table.to_parquet(stream)
        stream.seek(0)
        assert pd.read_parquet(stream).attrs == tasks.attrs
