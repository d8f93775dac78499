"""A dump that is redacted already: opened or redacted at a level that hides no more, it stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nbformat import writes
from nbformat.v4 import new_code_cell, new_notebook

import kernlab
from kernlab.commands.redact import told
from kernlab.redacted_dump import Redacted, redact
from kernlab.report import make

pytestmark = pytest.mark.long
PAGE = 4096


@pytest.fixture(scope="module")
def once(dump_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Redacted:
    folder = tmp_path_factory.mktemp("once")
    return redact(dump_files("debian-6.1").vmcore, folder / "vmcore", map_path=folder / "map", verify=False)


def _pages(dump: Any) -> bytes:
    parts = []
    for pfns in dump.kernel.file.present(4096):
        out = np.empty((len(pfns), PAGE), dtype=np.uint8)
        assert not dump.kernel.file.read_into(dump.kernel.file.find(pfns.astype("u8")), out).any()
        parts.append(out)
    return np.concatenate(parts).tobytes()


def test_its_memory_stays_as_it_is(once: Redacted) -> None:
    with kernlab.open(once.path) as plain, kernlab.open(once.path, redact="share") as dump:
        assert plain.redaction is None
        assert (dump.redaction.level, dump.redaction.before) == ("share", "share")
        assert dump.info["nodename"] == plain.info["nodename"]
        assert _pages(dump) == _pages(plain)
        assert dump.redaction.counts == {}
        assert dump.redaction.columns == {"info": ["file"]}
        assert repr(dump.redaction) == "<redaction share: as it was written>"
        assert "was redacted when it was written (level share)" in dump.problems[0]
        # What is beside the dump was never redacted.
        assert "carol" not in dump.redaction.text("carol@example.org")


def test_redacted_again_it_is_the_same_and_says_so(once: Redacted, tmp_path: Path) -> None:
    again = redact(once.path, tmp_path / "again", map_path=once.path.parent / "map", verify=False)
    assert again.manifest["level"] == again.manifest["redacted_before"] == "share"
    assert once.manifest["redacted_before"] is None
    assert again.manifest["hidden"] == {}
    assert again.manifest["frames_left_out"] == 0
    assert next(told(again)) == "Redacted at level share already: its memory is as it was."
    with kernlab.open(once.path) as first, kernlab.open(again.path) as second:
        assert _pages(first) == _pages(second)
        assert second.info["redacted"] == "share"
    assert json.loads((once.path.parent / "map").read_text())["seen"]


def test_a_higher_level_hides_more_and_a_lower_one_keeps_it(once: Redacted, tmp_path: Path) -> None:
    strict = redact(once.path, tmp_path / "strict", level="strict", verify=False)
    assert (strict.manifest["level"], strict.manifest["redacted_before"]) == ("strict", "share")
    assert next(told(strict)) == "Hidden at level strict, beyond share:"
    assert strict.manifest["hidden"]["name of a program"] > 0
    with kernlab.open(once.path) as first, kernlab.open(strict.path) as second:
        assert set(first.tasks["comm"]) - set(second.tasks["comm"])
    less = redact(strict.path, tmp_path / "less", verify=False)
    assert (less.manifest["level"], less.manifest["redacted_before"]) == ("strict", "strict")
    with kernlab.open(less.path, redact="share") as dump:
        assert dump.info["redacted"] == dump.redaction.level == "strict"


def test_a_report_of_one_that_was_redacted_more_tells_it(once: Redacted, tmp_path: Path) -> None:
    """Here a redacted dump that says that it is strict; its kernel opens it at the report's own level."""
    vmcore, template = tmp_path / "vmcore", tmp_path / "own.ipynb"
    data = once.path.read_bytes()
    assert data.count(b"KERNLAB_REDACTED=share") == 1
    # The line keeps its length.
    version = f" kernlab {kernlab.__version__}".encode()
    old, new = b"share" + version, b"strict" + version[:-1]
    vmcore.write_bytes(data.replace(b"KERNLAB_REDACTED=" + old, b"KERNLAB_REDACTED=" + new))
    cells = [
        new_code_cell("vmcore = redact = None", metadata={"tags": ["parameters"]}),
        new_code_cell("import kernlab.report\ndump = kernlab.open(vmcore, redact=redact)"),
        new_code_cell("kernlab.report.provenance(dump)"),
    ]
    template.write_text(writes(new_notebook(cells=cells)))
    page = make(vmcore, tmp_path / "r.html", template=template).path.read_text()
    assert "Level <code>strict</code>: the dump had been redacted when its file was written" in page
