"""`kernlab.show`: what a cell becomes before JavaScript sees it."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pandas as pd
import pytest

import kernlab
import kernlab.dataframes.address  # names the dtype
from kernlab.errors import KernlabError

pytest.importorskip("itables", reason="itables is not installed (the extra 'lab')")


def data(grid):
    """The rows as the page's script gets them."""
    page = grid._repr_html_()
    text = re.search(r'"data_json": ("(?:[^"\\]|\\.)*")', page)[1]
    return json.loads(json.loads(text))


@pytest.fixture
def hostile():
    return pd.DataFrame(
        {
            "<b>name</b>": ["<img src=x onerror=alert(1)>", "$x^2$", "a\x1b[31m\u202eb", None],
            "big": pd.array([2**64 - 1, 2**53, 5, None], dtype="UInt64"),
            "signed": pd.array([-(2**63), -(2**53) - 1, 5, None], dtype="Int64"),
            "where": pd.array([0xFFFF888000000041, 1, 0, None], dtype="address"),
            "f": [1.5, float("inf"), float("nan"), -0.0],
        }
    )


def test_integers_and_addresses_are_exact(hostile):
    rows = data(kernlab.show(hostile))
    # A column of which some are larger than a double holds comes as text, all of it.
    assert [row[1] for row in rows] == ["18446744073709551615", str(2**53), "5", ""]
    assert [row[2] for row in rows] == [str(-(2**63)), str(-(2**53) - 1), "5", ""]
    assert [row[3] for row in rows] == ["0xffff888000000041", "0x0000000000000001", "0x0000000000000000", ""]
    assert [str(row[4]).strip() for row in rows] == ["1.5", "inf", "", "-0.0"]


def test_strings_are_inert(hostile):
    grid = kernlab.show(hostile)
    rows = data(grid)
    assert html.unescape(rows[0][0]) == "<img src=x onerror=alert(1)>"
    assert "<" not in rows[0][0]
    assert rows[2][0] == "a␛[31m\\u202eb"
    page = grid._repr_html_()
    assert "<img src=x" not in page
    assert "<b>name" not in page
    assert "mathjax_ignore" in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_a_script_in_a_cell_cannot_close_the_page_s_script():
    page = kernlab.show(pd.DataFrame({"a": ["</script><script>alert(1)</script>"]}))._repr_html_()
    assert "</script><script>alert" not in page


def test_all_that_a_table_says_of_itself(opened):
    dump = opened("damaged-7.2")
    tasks = dump.tasks
    page = kernlab.show(tasks)._repr_html_()
    assert "<b>tasks</b>" in page
    assert f"{len(tasks):,} rows" in page
    for problem in tasks.attrs["problems"][:3]:
        assert html.escape(problem, quote=True)[:80] in page
    assert "the first 2 here" in kernlab.show(tasks, max_rows=2)._repr_html_()
    assert len(data(kernlab.show(tasks, max_rows=2))) == 2


def test_sizes_in_human_units_on_request(opened):
    slabs = opened("debian-6.1").slabs
    assert "'KiB'" not in kernlab.show(slabs)._repr_html_()
    page = kernlab.show(slabs, human_sizes=True)._repr_html_()
    assert "'KiB'" in page
    # The cells themselves stay numbers, which sort.
    column = slabs.columns.get_loc("bytes")
    assert [int(row[column]) for row in data(kernlab.show(slabs, human_sizes=True))] == slabs.bytes.tolist()


def test_shares_are_percents_that_sort_as_numbers_and_flags_are_bits():
    table = pd.DataFrame(
        {
            "share": [0.25, 1e-5, None],
            "flags": pd.array([0x17FFFFC0010200, 0, None], dtype="UInt64"),
        }
    )
    rows = data(kernlab.show(table))
    assert [row[1] for row in rows] == ["0x17ffffc0010200", "0x0", ""]
    assert [float(row[0]) for row in rows[:2]] == [0.25, 1e-5]
    assert "'%'" in kernlab.show(table)._repr_html_()
    assert "'%'" not in kernlab.show(table[["flags"]])._repr_html_()


def test_a_series_and_what_is_no_table(opened):
    rows = data(kernlab.show(opened("debian-6.1").info))
    assert ["release", "6.1.0-56-cloud-amd64"] in rows
    with pytest.raises(KernlabError, match="not a table"):
        kernlab.show([1, 2])
    assert repr(kernlab.show(pd.DataFrame({"a": [1]}))) == "<grid of 1 rows × 1 columns>"


def test_other_indexes_and_dtypes():
    table = pd.DataFrame(
        {
            "t": pd.to_timedelta([1, None], unit="s"),
            "d": pd.to_datetime(["2026-01-01", None]),
            "b": pd.array([True, None], dtype="boolean"),
            "c": pd.Categorical(["x", None]),
            "o": np.array([b"\xff", {"a": 1}], dtype=object),
        },
        index=["<i>", "k"],
    )
    rows = data(kernlab.show(table))
    assert rows[0] == [
        "&lt;i&gt;",
        "00:00:01.000000",
        "2026-01-01 00:00:00",
        "True",
        "x",
        "b&#x27;\\xff&#x27;",
    ] or (
        [html.unescape(str(cell)) for cell in rows[0]]
        == ["<i>", "00:00:01.000000", "2026-01-01 00:00:00", "True", "x", "b'\\xff'"]
    )
    assert rows[1][1:5] == ["", "", "", ""]
    levels = table.set_index(["b", "c"])
    assert len(data(kernlab.show(levels))) == 2
