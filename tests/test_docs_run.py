"""The pages that teach kernlab are true: every cell and command on them runs, and prints what stands below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT

from scripts.docs_site import examples

pytestmark = pytest.mark.long

PAGES = sorted([ROOT / "docs" / "first-dump.md", *(ROOT / "docs" / "how-to").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_prints_what_it_says(page: Path) -> None:
    differences = examples.check(page)
    assert not differences, "\n\n".join(str(one) for one in differences)


def test_a_page_that_lies_is_found_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- vmcore: panic -->\n"
        "```python\nfrom pathlib import Path\n\nprint(Path('vmcore').stat().st_size > 1 << 20)\n```\n\n"
        "```text\n6.66\n```\n\n```python\n1 + 1\n```\n\n```text\n...\n```\n```text\nnot of a cell\n```\n",
        "utf-8",
    )
    (lie,) = examples.check(page)
    assert (lie.line, lie.expected) == (4, "6.66\n")
    assert lie.got == "True\n"
    examples.write(page)
    assert examples.check(page) == []
    text = page.read_text("utf-8")
    assert f"```\n\n```text\n{lie.got}```" in text
    assert text.endswith("```text\n...\n```\n```text\nnot of a cell\n```\n")


def test_a_cell_that_fails_fails_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n1 / 0\n```\n", "utf-8")
    with pytest.raises(ZeroDivisionError):
        examples.check(page)
    page.write_text("```console\n$ rm -rf .\n```\n", "utf-8")
    with pytest.raises(ValueError, match="only kernlab is run here"):
        examples.check(page)
