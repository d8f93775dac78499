"""Rows and columns that somebody asks for: against what pandas says, and nothing of what is asked is evaluated."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES

import kernlab
from kernlab.commands.selecting import Selection, select
from kernlab.errors import KernlabError


@pytest.fixture(scope="module")
def dump() -> kernlab.Dump:
    return kernlab.open(SAMPLES / "debian-6.1" / "vmcore")


def numbers(table: pd.DataFrame) -> list[int]:
    return table.index.to_list()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("kthread and pid > 2", lambda t: t.kthread & (t.pid > 2)),
        ("kthread == true", lambda t: t.kthread),
        ('state == "S" or pid == 1', lambda t: (t.state == "S") | (t.pid == 1)),
        ('comm =~ "kworker*"', lambda t: t.comm.str.startswith("kworker")),
        ("rss_bytes > 1M", lambda t: (t.rss_bytes > 1 << 20).fillna(False)),
        ("not rss_bytes > 1M", lambda t: (t.rss_bytes <= 1 << 20).fillna(False)),
        ("start_time > 13.5", lambda t: (t.start_time.dt.total_seconds() > 13.5).fillna(False)),
        ("mm == 0", lambda t: (t.mm == 0).fillna(False)),
        ("vsz_bytes / 4096 % 2 == 1", lambda t: (t.vsz_bytes // 4096 % 2 == 1).fillna(False)),
        ("prio < nice + 120", lambda t: (t.prio < t.nice + 120).fillna(False)),
        ("pid", lambda t: t.pid != 0),
    ],
)
def test_formulas_over_columns(dump: kernlab.Dump, where: str, expected) -> None:
    tasks = dump.tasks
    held = tasks[expected(tasks).to_numpy(dtype=bool)]
    assert numbers(select(tasks, Selection(where=where))) == numbers(held)


def test_members_are_names_too(dump: kernlab.Dump) -> None:
    tasks = dump.tasks
    expected = tasks.kern.where("mm->map_count > 10 and signal->nr_threads == 1")
    found = select(
        tasks, Selection(where="mm->map_count > 10 and signal->nr_threads == 1", columns="pid,mm->map_count")
    )
    assert len(found)
    assert numbers(found) == numbers(expected)
    assert found["mm->map_count"].to_list() == expected.kern.field("mm->map_count").to_list()
    # Of a table of structs of another type, others.
    assert len(select(dump.slabs, Selection(where="object_size == 192 and refcount > 0")))


def test_sort_limit_and_columns_are_done_in_this_order(dump: kernlab.Dump) -> None:
    tasks = dump.tasks
    found = select(
        tasks, Selection("kthread", "comm, pid", sort="state, mm->map_count,pid", descending=True, limit=7)
    )
    expected = tasks[tasks.kthread].sort_values(["state", "pid"], ascending=False, kind="stable").head(7)
    assert list(found.columns) == ["comm", "pid"]
    assert found.pid.to_list() == expected.pid.to_list()
    assert found.attrs == tasks.attrs
    assert len(select(tasks, Selection(limit=0))) == 0


@pytest.mark.parametrize(
    "where",
    [
        "comm.__class__",
        "comm.__class__.__mro__",
        "comm.str.len() > 3",
        "@pid > 1",
        "@os.system('touch owned')",
        "__import__('os').system('touch owned')",
        "pid.to_csv('owned')",
        "comm.values.tofile('owned')",
        "pid.array._ndarray",
        "`pid` > 1",
        "[pid for pid in pid]",
        "pid if pid else pid",
        "lambda: 0",
        "pid; pid",
        "pid := 1",
        "f'{pid}'",
        "pid.index",
        "index > 3",
        "pid > 'x'",
        "comm > 3",
    ],
)
def test_nothing_of_python_is_reached(
    dump: kernlab.Dump, where: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KernlabError) as refused:
        select(dump.tasks, Selection(where=where))
    assert str(refused.value).startswith(f"--where {where}: ")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "asked", [{"where": "rss_byte > 1"}, {"sort": "rss_byte"}, {"columns": "pid,rss_byte"}]
)
def test_the_nearest_column_is_named(dump: kernlab.Dump, asked: dict[str, str]) -> None:
    with pytest.raises(KernlabError, match="no column 'rss_byte'; did you mean rss_bytes"):
        select(dump.tasks, Selection(**asked))


def test_columns_of_all_kinds_and_none() -> None:
    held = pd.DataFrame(
        {
            "flag": pd.array([True, None, False], dtype="boolean"),
            "count": pd.array([1, None, 1 << 63], dtype="UInt64"),
            "share": [0.5, np.nan, -1.0],
            "name": pd.array(["a", None, ""], dtype="str"),
            "when": pd.to_datetime(["2026-11-23", None, "2026-11-24"]),
            "kind": pd.Categorical(["x", None, "y"]),
            "bits": [[1], None, [2, 3]],
        }
    )
    for where, expected in {
        "flag": [0],
        "not flag": [2],
        "count > 0x7fffffffffffffff": [2],
        "share < 0": [2],
        "name": [0],
        'name == ""': [2],
        'when < "2026-11-24"': [0],
        'kind =~ "[xy]"': [0, 2],
        "count == count": [0, 2],
    }.items():
        assert numbers(select(held, Selection(where=where))) == expected, where
    with pytest.raises(KernlabError, match="bits holds neither numbers nor text"):
        select(held, Selection(where="bits == 1"))
    with pytest.raises(KernlabError, match="no column 'x'"):
        select(held, Selection(where="x"))
    none = select(held, Selection(where="share > 9"))
    assert len(none) == 0
    assert list(none.columns) == list(held.columns)
