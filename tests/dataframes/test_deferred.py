"""Columns that are made when they are looked at: what makes them, what does not, and that they stay what they are."""

from __future__ import annotations

import ast
import copy
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.alike import assert_same

import kernlab
from kernlab import KernlabError
from kernlab.dataframes import AddressArray, AddressDtype, deferred, element_addresses, frame
from kernlab.dataframes.deferred import DeferredText, deferred_text
from kernlab.dataframes.elements import ElementAddresses
from kernlab.util import losses

N = 100


class Origin:
    """A kernel that makes strings, and says of which rows it made them."""

    token, source = "", "vmcore"

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.asked: list[list[int]] = []
        self.is_closed = False
        self.fails: BaseException | None = None

    def check_open(self) -> None:
        if self.is_closed:
            raise KernlabError("vmcore was closed")

    def make(self, rows):
        self.asked.append(rows.tolist())
        if self.fails is not None:
            raise self.fails
        losses.lost("one text in three is not known")
        return [None if row % 3 == 0 else f"text {row}" for row in rows.tolist()]


@pytest.fixture
def origin(monkeypatch) -> Origin:
    monkeypatch.setattr(deferred, "FEW_ROWS", 0)
    origin = Origin()
    if not isinstance(deferred_text(origin, 1, origin.make), DeferredText):
        pytest.skip("pandas keeps no Arrow strings here (pyarrow is not installed): columns are made at once")
    return origin


class Kind:
    """A table with a column `a` that is made when looked at, and the same with a plain one."""

    def __init__(self, origin: Origin, kind: str):
        self.number = np.arange(N)
        if kind == "text":
            made = deferred_text(origin, N, origin.make)
            plain = pd.array(Origin().make(self.number), dtype="str")
        else:
            made = element_addresses(origin, 0xFFFF_EA00_0000_0000, self.number, 64, "struct page")
            values = np.uint64(0xFFFF_EA00_0000_0000) + self.number.astype(np.uint64) * np.uint64(64)
            plain = AddressArray(values, None, AddressDtype("", "struct page"))
        self.table = frame(origin, "t", x=self.number, a=made)
        self.plain = frame(None, "t", x=self.number, a=plain)
        self.kind = type(made)

    @property
    def is_made(self) -> bool:
        return self.table["a"].array.is_made


@pytest.fixture(params=["text", "address"])
def late(request, origin) -> Kind:
    return Kind(origin, request.param)


@pytest.fixture
def text(origin) -> Kind:
    return Kind(origin, "text")


CHEAP: dict[str, Callable[[pd.DataFrame], object]] = {
    "len": len,
    "dtypes": lambda f: f.dtypes.astype(str),
    "another column": lambda f: f["x"].sum(),
    "the column itself": lambda f: f["a"],
    "a selection": lambda f: f[["x", "a"]],
    "a copy": lambda f: f.copy(),
    "assign": lambda f: f.assign(y=1),
    "rename": lambda f: f.rename(columns={"a": "c"}),
    "drop": lambda f: f.drop(columns="a"),
    "a filter": lambda f: f[f["x"] > 90],
    "rows by number": lambda f: f.iloc[[1, 2]],
    "rows by label": lambda f: f.loc[[1, 2]],
    "a mask": lambda f: f["a"].array[np.arange(N) > 97],
    "head": lambda f: f.head(2),
    "sorted by another": lambda f: f.sort_values("x", ascending=False),
}
DEAR: dict[str, Callable[[pd.DataFrame], object]] = {
    "repr": lambda f: repr(f.head(2)),
    "html": lambda f: f.to_html(),
    "list": lambda f: f["a"].tolist(),
    "numpy": lambda f: f["a"].to_numpy(),
    "comparison": lambda f: f["a"] == f["a"].iloc[7],
    "a group": lambda f: f.groupby("a")["x"].sum(),
    "groups of it": lambda f: f.groupby("x")["a"].first(),
    "counts": lambda f: f["a"].value_counts(),
    "merge": lambda f: f.dropna().merge(f.dropna(), on="a"),
    "concat": lambda f: pd.concat([f, f.head(3)]),
    "reindex": lambda f: f.reindex([1, 500]),
    "sorted": lambda f: f.sort_values("a"),
    "unique": lambda f: f["a"].unique(),
    "isin": lambda f: f["a"].isin([f["a"].iloc[7]]),
    "describe": lambda f: f.describe(),
    "csv": lambda f: f.to_csv(),
    "json": lambda f: f.to_json(),
    "as text": lambda f: f.astype({"a": "str"}),
    "where": lambda f: f["a"].where(f["x"] > 3),
    "one value": lambda f: f.loc[4, "a"],
    "a row": lambda f: f.iloc[4].tolist(),
    "missing": lambda f: f["a"].isna(),
    "maximum": lambda f: f["a"].max(),
    "hash": pd.util.hash_pandas_object,
    "deep copy": copy.deepcopy,
}


@pytest.mark.parametrize("what", CHEAP)
def test_these_make_nothing(late, origin, what):
    CHEAP[what](late.table)
    assert not late.is_made
    assert origin.asked == []


@pytest.mark.parametrize("what", [*DEAR, *CHEAP])
def test_what_it_gives_and_what_it_is_does_not_change(late, what):
    action = (CHEAP | DEAR)[what]
    array, dtype = late.table["a"].array, late.table.dtypes["a"]
    assert_same(action(late.table), action(late.plain))
    assert late.table["a"].array is array
    assert type(array) is late.kind
    assert late.table.dtypes["a"] == dtype == late.plain.dtypes["a"]
    assert_same(late.table, late.plain)


def test_only_rows_that_are_looked_at_are_made(text, origin):
    some = text.table[text.table["x"] > 96].sort_values("x", ascending=False).assign(more=1)
    assert some["a"].isna().tolist() == [True, False, False]
    assert origin.asked == [[99, 98, 97]]
    assert text.table["a"].iloc[50] == "text 50"
    assert origin.asked[1:] == [[50]]
    origin.asked.clear()
    assert "text 98" in repr(text.table)
    assert sum(map(len, origin.asked)) <= 30


def test_all_rows_are_made_once_whoever_looks(text, origin):
    before, other = text.table.assign(y=1), text.table[["a"]].copy()
    for table in (text.table, before, other, text.table.head(3)):
        table["a"].tolist()
    assert [len(rows) for rows in origin.asked] == [N]
    assert before["a"].equals(text.plain["a"])


def test_threads_make_it_once(text, origin):
    threads = [threading.Thread(target=text.table["a"].tolist) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(rows) for rows in origin.asked] == [N]


def test_a_failure_is_no_result(text, origin):
    origin.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        text.table["a"].tolist()
    origin.fails = None
    assert text.table["a"].tolist()[1] == "text 1"


def test_equals_is_pandas_own_from_both_sides(late):
    assert late.plain.equals(late.table)
    assert late.table.equals(late.plain)
    assert late.table.copy().equals(late.table)
    other = late.plain.copy()
    other.loc[3, "a"] = other.loc[7, "a"]
    assert not other.equals(late.table)
    assert not late.table.equals(other)


@pytest.mark.parametrize("look", [False, True], ids=["not looked at", "looked at"])
class TestTakenAway:
    """What leaves the process holds the values, and nothing of what makes them."""

    @pytest.fixture
    def table(self, late, look) -> pd.DataFrame:
        if look:
            late.table["a"].tolist()
        return late.table

    def test_pickle(self, table, late):
        pickled = pickle.dumps(table)
        again = pickle.loads(pickled)
        assert type(again["a"].array) is type(late.plain["a"].array)
        assert again.equals(table)
        assert again.attrs == table.attrs
        assert b"test_deferred" not in pickled

    def test_pickle_of_some_rows(self, table, late):
        assert pickle.loads(pickle.dumps(table.tail(3))).equals(late.plain.tail(3))

    def test_file(self, table, late, tmp_path):
        table.to_pickle(tmp_path / "t.pkl")
        assert pd.read_pickle(tmp_path / "t.pkl").equals(late.plain)

    def test_parquet(self, table, late, tmp_path):
        table.to_parquet(tmp_path / "t.parquet")
        assert pd.read_parquet(tmp_path / "t.parquet").equals(late.plain)

    def test_plain(self, table, late):
        plain = kernlab.plain(table)
        assert type(plain["a"].array).__module__.startswith("pandas.")
        assert_same(plain, kernlab.plain(late.plain))


def test_another_process(late):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        hashes = pool.apply(pd.util.hash_pandas_object, (late.table,))
    assert hashes.equals(pd.util.hash_pandas_object(late.plain))


@pytest.mark.parametrize("look", [False, True], ids=["not looked at", "looked at"])
def test_writing_to_a_copy_leaves_the_others_alone(late, look):
    if look:
        late.table["a"].tolist()
    other, third = late.table.assign(y=1), late.table.head(5)
    other.loc[1, "a"] = other.loc[7, "a"]
    assert other["a"].tolist()[1] == late.plain["a"].tolist()[7]
    assert third["a"].tolist() == late.plain["a"].tolist()[:5]
    assert late.table["a"].tolist() == late.plain["a"].tolist()
    late.table.loc[2, "a"] = late.plain.loc[8, "a"]
    assert late.table.head(3)["a"].tolist()[2] == late.table.copy()["a"].tolist()[2] == late.plain.loc[8, "a"]
    assert other["a"].tolist()[2] == late.plain.loc[2, "a"]


def test_after_the_dump_is_closed_it_says_so(text, origin):
    seen = text.table.tail(2)
    assert seen["a"].tolist()[0] == "text 98"
    origin.is_closed = True
    for look in (repr, pickle.dumps, pd.DataFrame.to_csv):
        with pytest.raises(KernlabError, match="nobody looked at this column before its dump was closed"):
            look(text.table)
    assert seen["a"].tolist()[0] == "text 98"
    assert text.table["x"].sum() == sum(range(N))


def test_what_was_looked_at_stays_after_the_dump_is_closed(text, origin):
    derived = text.table.assign(y=1)
    text.table["a"].tolist()
    origin.is_closed = True
    assert derived["a"].tolist() == text.table["a"].tolist()
    assert derived.tail(2)["a"].tolist()[0] == "text 98"


def test_losses_are_told_once_it_is_made(text):
    assert text.table.attrs["problems"] == []
    with losses.scope("another table") as here:
        text.table["a"].head(1).tolist()
        text.table["a"].tolist()
    assert text.table.attrs["problems"] == here.losses == ["one text in three is not known"]


def test_few_rows_are_made_at_once(monkeypatch):
    origin = Origin()
    monkeypatch.setattr(deferred, "FEW_ROWS", N)
    with losses.scope("t"):
        table = frame(origin, "t", a=deferred_text(origin, N, origin.make))
    assert not isinstance(table["a"].array, DeferredText)
    assert [len(rows) for rows in origin.asked] == [N]
    assert table.attrs["problems"] == ["one text in three is not known"]


def test_pages_take_no_memory_for_addresses_that_nobody_looked_at(opened):
    pages = opened("debian-6.1").pages
    array = pages["address"].array.copy()
    assert isinstance(array, ElementAddresses)
    assert array.is_made or array.nbytes == 0
    assert np.diff(array.to_numpy(dtype=np.uint64)[:5]).tolist() == [64] * 4
    assert array.nbytes == 9 * len(pages)


def assigned(tree: ast.AST) -> Iterator[str]:
    """The names of attributes that a module assigns, by whatever means."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "setattr",
            "__setattr__",
        ):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def test_nothing_changes_its_class():
    assert list(assigned(ast.parse("a.__class__ = int"))) == ["__class__"]
    assert list(assigned(ast.parse("object.__setattr__(a, '__class__', int)"))) == ["__class__"]
    modules = list(Path(kernlab.__file__).parent.rglob("*.py"))
    assert len(modules) > 250
    guilty = [str(path) for path in modules if "__class__" in assigned(ast.parse(path.read_text()))]
    assert guilty == []
