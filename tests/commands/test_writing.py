"""Each form of a table, read again by whoever reads such files, holds what the table holds."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES

import kernlab
from kernlab.commands import main, writing
from kernlab.errors import KernlabError

DUMP = str(SAMPLES / "debian-6.1" / "vmcore")


@pytest.fixture(scope="module")
def tasks() -> pd.DataFrame:
    with kernlab.open(DUMP) as dump:
        return dump.tasks


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> tuple[str, str]:
    assert main.main(words) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl", "parquet"])
def test_the_name_of_a_file_says_its_form(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tasks: pd.DataFrame, form: str
) -> None:
    ending = {"table": "txt"}.get(form, form)
    path = tmp_path / f"tasks.{ending}"
    out, err = told(capsys, "table", DUMP, "tasks", "-o", str(path))
    assert out == ""
    assert err == f"Written to {path}.\n"
    text = path.read_bytes()
    if form == "parquet":
        held = pd.read_parquet(path)
        assert list(held.columns) == list(tasks.columns)
        assert held["address"].to_list() == tasks["address"].to_list()
        assert held["rss_bytes"].isna().to_list() == tasks["rss_bytes"].isna().to_list()
        assert held["start_time"].to_list() == tasks["start_time"].to_list()
        return
    # What standard output has in the same form.
    out, err = told(capsys, "table", DUMP, "tasks", "--format", form)
    assert out.encode() == text
    assert err == ""
    readers = {
        "table": lambda text: [line.split()[1] for line in text.splitlines()[1:]],
        "csv": lambda text: [row["pid"] for row in csv.DictReader(io.StringIO(text))],
        "json": lambda text: [row["pid"] for row in json.loads(text)],
        "jsonl": lambda text: [json.loads(line)["pid"] for line in text.splitlines()],
    }
    assert [int(pid) for pid in readers[form](out)] == tasks["pid"].to_list()


def test_the_old_options_still_say_what_they_said(capsys: pytest.CaptureFixture[str]) -> None:
    new = told(capsys, "table", DUMP, "tasks", "--where", "kthread", "--limit", "2", "--format", "csv")
    assert told(capsys, "table", DUMP, "tasks", "--query", "kthread", "--head", "2", "--csv") == new
    assert told(capsys, "info", DUMP, "--json") == told(capsys, "info", DUMP, "--format", "json")
    assert told(capsys, "stack", DUMP) == told(capsys, "bt", DUMP)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "cvs"], "did you mean csv"),
        (["--format", "raw"], "the dump's own format is --dump-format"),
        (["--format", "parquet", "-o", "/nowhere/x"], "/nowhere"),
        (["--csv", "--json"], "choose one with --format"),
        (["--redact", "everything"], "--redact takes none, share, strict"),
    ],
)
def test_what_cannot_be_written_is_one_message(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    out, err = told(capsys, "table", DUMP, "modules", *words, status=2)
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_a_file_that_is_there_stays_when_the_new_one_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("before")
    told(capsys, "table", DUMP, "tasks", "--where", "nonsense", "-o", str(path), status=2)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["tasks.csv"]


def test_quiet_says_nothing_but_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert told(capsys, "table", DUMP, "log", "-q", "-o", str(path)) == ("", "")
    assert len(path.read_text().splitlines()) > 100
    assert told(capsys, "table", DUMP, "nonsense", "--quiet", status=2)[1].startswith("kernlab: ")
    # It ends with the command.
    assert "Written" in told(capsys, "table", DUMP, "log", "-o", str(path))[1]


def test_cells_of_all_kinds() -> None:
    held = pd.DataFrame(
        {
            "big": pd.array([2**64 - 1, None], dtype="UInt64"),
            "share": [0.1, np.inf],
            "span": pd.to_timedelta([1, None], unit="ns"),
            "when": pd.to_datetime(["2026-11-23 08:00:00.5", None]),
            "list": [[1, np.nan], None],
            "text": pd.array(["a\n\x1b", None], dtype="str"),
            "flag": pd.array([True, None], dtype="boolean"),
        }
    )
    rows = [json.loads(line) for line in writing.jsonl_lines(held)]
    assert rows[0] == {
        "big": 2**64 - 1,
        "share": 0.1,
        "span": 1e-9,
        "when": "2026-11-23T08:00:00.500000",
        "list": [1, None],
        "text": "a\n\x1b",
        "flag": True,
    }
    assert set(rows[1].values()) == {None}
    assert json.loads("".join(writing.json_lines(held))) == rows
    lines = list(writing.text_lines(held))
    assert len(lines) == 3
    assert "0.000000001" in lines[1]
    assert "\x1b" not in lines[1]
    assert "".join(writing.json_lines(held.head(0))) == "[\n]\n"
    assert list(writing.jsonl_lines(held.head(0))) == []


def test_csv_computes_nothing_and_json_has_what_the_kernel_held() -> None:
    wild = pd.DataFrame({"comm": ["=1+1", "@sum", "a\r=b"], "nice": [-5, 0, 1], "=x": [1.5, None, -2.5]})
    rows = list(csv.reader(io.StringIO("".join(writing.csv_lines(wild)))))
    assert [row[0] for row in rows] == ["comm", "'=1+1", "'@sum", "a\u240d=b"]
    assert [row[1] for row in rows] == ["nice", "-5", "0", "1"]
    assert [row[2] for row in rows] == ["'=x", "1.5", "", "-2.5"]
    assert [json.loads(line)["comm"] for line in writing.jsonl_lines(wild)] == wild["comm"].to_list()


def test_a_table_that_parquet_cannot_hold_says_so() -> None:
    with pytest.raises(KernlabError, match="does not go into Parquet"):
        writing.parquet(pd.DataFrame({"mixed": [1, "a"]}))


def test_two_columns_of_one_name_are_both_there() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["n", "n"])
    assert list(writing.text_lines(twice)) == ["n  n\n", "1  2\n"]
    assert list(writing.csv_lines(twice)) == ["n,n\n", "1,2\n"]
