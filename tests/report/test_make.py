"""Reports made whole, in a Jupyter kernel of their own: what is in the file, what is not, and what goes wrong well."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kernlab
from kernlab.commands.main import main
from kernlab.errors import KernlabError
from kernlab.report import make
from kernlab.report.pdf import browser, to_pdf

pytestmark = pytest.mark.long

LIMIT = 5_000_000
HOSTILE = "a'b\"; import os; $(x) {vmcore} <script>.xz"


def notebook(*cells: tuple[str, list[str]]) -> str:
    """A notebook of code cells with tags, as JSON."""
    listed = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {"tags": tags},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, (source, tags) in enumerate(cells)
    ]
    return json.dumps({"cells": listed, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The triage report of a sample, by the command line."""
    folder = tmp_path_factory.mktemp("hung")
    path, secret = folder / "hung.html", folder / "map.json"
    assert main(["report", str(kernlab.sample("hung")), "-o", str(path), "--map", str(secret), "-q"]) == 0
    return path


def test_the_page_says_what_died_and_where_it_comes_from(hung: Path) -> None:
    page = hung.read_text(encoding="utf-8")
    assert re.search(r"<title>inventoryd \(\d+\) keeps inventory_lock", page)
    digest = hashlib.sha256(kernlab.sample("hung").read_bytes()).hexdigest()
    for words in (
        digest,
        "SHA-256 of vmcore.xz",
        "What to do next",
        "6.12.118+deb13-cloud-amd64",
        "triage (SHA-256",
    ):
        assert words in page
    assert len(page) < LIMIT
    # What the runner needed is in no cell, and no cell says where this machine has its files.
    for secret in (
        "kernlab.report.opening",
        str(kernlab.sample("hung").parent),
        str(hung.parent),
        os.getcwd(),
    ):
        assert secret not in page


def test_it_is_redacted_and_says_so_and_the_map_stays_at_home(hung: Path) -> None:
    page = hung.read_text(encoding="utf-8")
    assert "kernlab-guest" not in page
    assert "What was redacted" in page
    secret = hung.with_name("map.json")
    assert "kernlab-guest" in secret.read_text(encoding="utf-8")
    assert secret.stat().st_mode & 0o077 == 0
    assert "map.json" not in page


def own(folder: Path, *cells: tuple[str, list[str]]) -> Path:
    path = folder / "my own.ipynb"
    path.write_text(notebook(*cells), encoding="utf-8")
    return path


OPEN = ("import kernlab\ndump = kernlab.open(vmcore, redact=redact)", [])


def test_an_own_notebook_goes_on_behind_a_cell_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file's name cannot become code, times and paths are in no output, two runs give the same bytes."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    # What lies beside the notebook is no module of the kernel's.
    (tmp_path / "tqdm.py").write_text("raise SystemExit('imported')")
    vmcore = tmp_path / HOSTILE
    shutil.copyfile(kernlab.sample("panic"), vmcore)
    template = own(
        tmp_path,
        ("vmcore = redact = None", ["parameters"]),
        OPEN,
        ("print('opened', dump.info.file)", []),
        ("1 / 0", []),
        ("open('data.txt').read()", []),
    )
    (tmp_path / "data.txt").write_text("beside")
    written = []
    for name in ("one.ipynb", "two.ipynb"):
        made = make(vmcore, tmp_path / name, template=template, redact="none")
        assert made.failed == ("1 / 0",)
        written.append(made.path.read_bytes())
    assert written[0] == written[1]
    cells = json.loads(written[0])["cells"]
    assert "section-failed" in cells[4]["metadata"]["tags"]
    assert cells[4]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert "beside" in str(cells[5]["outputs"])
    assert str(tmp_path) not in written[0].decode()
    assert os.path.realpath(kernlab.__file__).removesuffix("__init__.py") not in written[0].decode()
    assert "papermill" not in json.loads(written[0])["metadata"]
    assert not any({"execution", "papermill"} & set(cell["metadata"]) for cell in cells)
    # It had no provenance of its own: that was added.
    assert hashlib.sha256(vmcore.read_bytes()).hexdigest() in str(cells[-1]["outputs"])
    assert "2026-09-21 14:13:20 UTC" in str(cells[-1]["outputs"])


def test_a_notebook_that_opens_a_dump_unredacted_makes_no_shared_report(tmp_path: Path) -> None:
    template = own(tmp_path, ("import kernlab\ndump = kernlab.open(vmcore)", []))
    with pytest.raises(
        KernlabError, match=r"opened a dump with redact='none'.*kernlab.open\(vmcore, redact=redact\)"
    ):
        make(kernlab.sample("panic"), tmp_path / "r.html", template=template)
    assert not (tmp_path / "r.html").exists()


def test_a_file_that_is_no_dump_makes_no_report(tmp_path: Path) -> None:
    other = tmp_path / "vmcore-dmesg.txt"
    other.write_text("[    0.000000] Linux version 6.1.0\n" * 200)
    with pytest.raises(KernlabError, match=r"vmcore-dmesg\.txt is text"):
        make(other, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_kernel_that_dies_is_an_error_that_names_the_cell(tmp_path: Path) -> None:
    template = own(tmp_path, ("x = 1", []), ("import os; os._exit(3)", []))
    with pytest.raises(KernlabError, match=r"died in cell \d of \d \(import os; os._exit\(3\)\)"):
        make(kernlab.sample("panic"), tmp_path / "r.html", template=template, redact="none")
    assert list(tmp_path.iterdir()) == [template]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": "copy.html"}, "would be overwritten"),
        ({"output": "r.txt"}, r"\.html, \.ipynb or \.pdf"),
        ({"output": "no/r.html"}, "there is no folder"),
        ({"output": "d.html"}, "is a folder"),
        ({"template": "triaga"}, "did you mean triage"),
        ({"template": "no.ipynb"}, "there is no notebook no.ipynb"),
        ({"template": "bad.ipynb"}, "is not a notebook"),
        ({"redact": "some"}, "none, share, strict"),
        ({"vmcore": "no"}, "there is no dump no"),
        ({"redaction_map": "r.html"}, "cannot be the report and the map"),
        ({"redaction_map": "m.json", "redact": "none"}, "no map to write"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.link(kernlab.sample("panic"), "copy.html") if _same_disk(tmp_path) else shutil.copyfile(
        kernlab.sample("panic"), "copy.html"
    )
    Path("d.html").mkdir()
    Path("bad.ipynb").write_text("{")
    given: dict[str, Any] = {"vmcore": "copy.html", "output": "r.html", **change}
    with pytest.raises(KernlabError, match=said):
        make(given.pop("vmcore"), **given)


def _same_disk(folder: Path) -> bool:
    return folder.stat().st_dev == kernlab.sample("panic").stat().st_dev


def test_a_pdf_is_printed_by_a_browser_or_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNLAB_CHROMIUM", "no-such-browser")
    with pytest.raises(KernlabError, match=r"no-such-browser is not there.*apt install chromium"):
        browser()
    monkeypatch.delenv("KERNLAB_CHROMIUM")
    try:
        browser()
    except KernlabError as error:
        pytest.skip(str(error))
    assert to_pdf(b"<!doctype html><title>t</title><p>hello").startswith(b"%PDF-")


def test_the_demo_says_it_in_the_terminal_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--sample", "panic", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "The machine was crashed on purpose (SysRq)" in said
    assert "The largest processes" in said
    assert "accounts" in said
    page = tmp_path / "panic-report.html"
    assert str(page) in said
    assert page.stat().st_size < LIMIT


def test_the_demo_without_samples_says_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KERNLAB_SAMPLES", str(tmp_path))
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "make samples" in capsys.readouterr().err


ALL = ["debian-6.1", "deadlock", "flight", "hung", "io", "lockup", "oom", "oops", "panic"]


@pytest.mark.skipif(
    not os.environ.get("KERNLAB_ALL_REPORTS"), reason="KERNLAB_ALL_REPORTS=1 makes all of them"
)
def test_every_template_of_every_sample(tmp_path: Path) -> None:
    for name in ALL:
        for template in ("triage", "memory", "io", "hang"):
            made = make(kernlab.sample(name), tmp_path / "r.html", template=template)
            assert made.failed == (), (name, template)
            assert made.path.stat().st_size < LIMIT
            assert "kernlab-guest" not in made.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("template", ["memory", "io", "hang"])
def test_sections_of_the_other_templates(template: str, opened: Callable[[str], Any]) -> None:
    """Their cells, in this process: a kernel each would take half a minute."""
    from matplotlib import pyplot

    from kernlab import report
    from kernlab.report import templates

    made, _ = templates.load(templates.find(template))
    given = {"report": report, "dump": opened("debian-6.1")}
    shown = [
        repr(eval(cell.source.splitlines()[-1], given))
        for cell in made.cells
        if "(dump" in cell.source.splitlines()[-1]
    ]
    assert len(shown) >= 6
    assert "What to do next" in shown[1]
    pyplot.close("all")
