"""CONTRIBUTING.md is true: its examples run, the files that it names are there."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: Which test runs the examples of a section.
RUN_BY = {
    "Add a table": "tests/test_plugins.py::test_a_table_is_added_as_contributing_says",
    "Add a decoder": "tests/test_plugins.py::test_a_decoder_is_added_as_contributing_says",
    "Add a format": "tests/test_contributing.py::test_a_format_is_added_as_contributing_says",
    "Add an architecture": "tests/memory/test_architecture.py::example",
}
#: What a page may name by a pattern, or before it is there.
MADE = {"kernlab/formats/ranges.py", "kernlab/tables/system/clocksources.py"}


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(section: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_every_example_is_run_by_a_test() -> None:
    with_examples = {heading for heading, text in sections().items() if blocks(text)}
    assert with_examples == set(RUN_BY)
    for place in RUN_BY.values():
        file, _, function = place.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


def test_each_section_names_the_test_that_runs_it() -> None:
    for heading, place in RUN_BY.items():
        assert f"`{place.partition('::')[0]}`" in sections()[heading], heading


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "README.md", "docs/design.md", "docs/lab.md", "docs/recorder.md"]
)
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|sh|md|toml|ipynb))`", text))
    links = set(re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text))
    missing = [
        name for name in named - MADE if not any((root / name).exists() for root in (ROOT, ROOT / "kernlab"))
    ]
    missing += [name for name in links if not ((ROOT / page).parent / name).exists()]
    assert missing == []


def test_links_within_pages_lead_somewhere() -> None:
    headings = re.findall(
        r"^#+ (.*)$", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    for page in ("CONTRIBUTING.md", "docs/design.md"):
        for anchor in re.findall(
            r"\]\((?:docs/design\.md)?#([\w-]+)\)", (ROOT / page).read_text(encoding="utf-8")
        ):
            assert anchor in anchors, f"{page}: #{anchor}"


def write_ranges(file: Any, path: Path) -> None:
    """A dump's frames as the format of the example has them."""
    pfns = np.concatenate(list(file.present(1 << 16))).astype(np.int64)
    # Ranges are few: small gaps become zeros.
    cuts = np.flatnonzero(np.diff(pfns) > 64)
    start, end = pfns[np.append(0, cuts + 1)], pfns[np.append(cuts, len(pfns) - 1)] + 1
    with path.open("wb") as out:
        out.write(b"RANGES\0\1" + len(start).to_bytes(8, "little"))
        out.write((np.stack([start, end - start], axis=1) << 12).astype("<u8").tobytes())
        for a, b in zip(start.tolist(), end.tolist(), strict=True):
            for at in range(a, b, 4096):
                frames = np.arange(at, min(at + 4096, b), dtype=np.uint64)
                rows = np.zeros((len(frames), 4096), dtype=np.uint8)
                found = file.find(frames)
                data = np.empty((int((found >= 0).sum()), 4096), dtype=np.uint8)
                file.read_into(found[found >= 0], data)
                rows[found >= 0] = data
                out.write(rows.tobytes())


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's module, as if it were kernlab's."""
    from kernlab.formats import recognise

    (text,) = blocks(sections()["Add a format"])
    name = text.splitlines()[0].removeprefix("# ").removesuffix(".py").replace("/", ".")
    module = ModuleType(name)
    exec(compile(text, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(recognise, "MODULES", (*recognise.MODULES, name))
    recognise.formats.cache_clear()
    yield module
    recognise.formats.cache_clear()


def test_a_format_is_added_as_contributing_says(
    ranges: ModuleType, opened: Callable[[str], Any], tmp_path: Path
) -> None:
    import kernlab

    whole = opened("debian-6.1")
    write_ranges(whole.kernel.file, tmp_path / "image")
    with kernlab.open(tmp_path / "image") as dump:
        assert dump.info["format"] == "ranges"
        columns = ["pid", "comm", "state", "start_time"]
        pd.testing.assert_frame_equal(dump.tasks[columns], whole.tasks[columns])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"RANGES\0\1" + bytes(8), "claims 0 ranges"),
        (b"RANGES\0\1" + b"\xff" * 8, "claims 18,446,744,073,709,551,615 ranges"),
        (b"RANGES\0\1" + (2).to_bytes(8, "little") + bytes(16), "within its list of ranges"),
        (b"RANGES\0\1" + (1).to_bytes(8, "little") + b"\xff" * 16, "above 0x10000000000000"),
    ],
)
def test_the_format_of_the_example_refuses_damage(
    ranges: ModuleType, tmp_path: Path, content: bytes, told: str
) -> None:
    import kernlab

    (tmp_path / "image").write_bytes(content)
    with pytest.raises(kernlab.KernlabError, match=told):
        kernlab.open(tmp_path / "image")
