"""`kernlab notebook`: a notebook that is one, that runs, and that has nothing of the dump in it before."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from conftest import SAMPLES

import kernlab
from kernlab.commands import main

DUMP = SAMPLES / "debian-6.1" / "vmcore"


@pytest.fixture(autouse=True)
def _open() -> None:
    """Cells keep what they open: it is not shared with other tests (conftest.py)."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "it's a dump").symlink_to(DUMP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_a_notebook_whose_cells_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["notebook", "it's a dump", "-o", "look.ipynb"]) == 0
    assert capsys.readouterr().out == "look.ipynb\n"
    text = (folder / "look.ipynb").read_text()
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(text, as_version=4))
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert "dump.relay.channels" in sources
    seen: dict[str, object] = {}
    for source in sources:
        # %load_ext is IPython's; the rest is Python.
        lines = [line for line in source.splitlines() if not line.startswith("%")]
        exec("\n".join(lines[:-1]), seen)
        eval(lines[-1], seen)
    assert isinstance(seen["dump"], kernlab.Dump)
    seen["dump"].close()
    # The name of the machine and of its threads are the dump's; only code is in the file.
    assert "sysrq" not in text
    assert "kcompactd" not in text


def test_how_it_opens_the_dump_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["notebook", "it's a dump", "--dump-format", "kdump"]) == 0
    assert capsys.readouterr().out == "it's a dump.ipynb\n"
    text = (folder / "it's a dump.ipynb").read_text()
    # Beside the notebook: both may move. The link is followed, and lies elsewhere.
    assert json.dumps(f"kernlab.open({str(DUMP.resolve())!r}, format='kdump')")[1:-1] in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere/vmcore"], "/nowhere/vmcore"),
        (["it's a dump", "-o", "look.html"], "call it look.html.ipynb"),
        (["it's a dump", "-o", "there.ipynb"], "--force replaces it"),
        (["it's a dump", "-o", "no/folder/x.ipynb"], "no/folder"),
        ([__file__], "kernlab: "),
    ],
)
def test_what_cannot_be_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    (folder / "there.ipynb").write_text("mine")
    assert main.main(["notebook", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert (folder / "there.ipynb").read_text() == "mine"
    assert len(list(folder.iterdir())) == 2


def test_open_becomes_jupyterlab(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jupyterlab")
    became: list[object] = []
    monkeypatch.setattr(os, "execv", lambda program, argv: became.append((program, argv)))
    assert main.main(["notebook", "it's a dump", "-o", "look.ipynb", "--open", "--force"]) == 0
    assert became == [(sys.executable, [sys.executable, "-m", "jupyterlab", "look.ipynb"])]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main.main(["notebook", "it's a dump", "-o", "other.ipynb", "--open"]) == 2
    assert not (folder / "other.ipynb").exists()
