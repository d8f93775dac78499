"""The documentation site is built without a warning, whole, and works from a folder; its pictures are there."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from support.jupyterlab import find_chromium

pytest.importorskip("furo", reason="Sphinx and furo are not installed (the extra 'docs')")
pytest.importorskip("myst_parser", reason="myst-parser is not installed (the extra 'docs')")

from scripts.docs_site import columns, sources
from scripts.docs_site.build import Built, build
from scripts.docs_site.docstrings import markdown, parse, restructured
from scripts.docs_site.pack import pack

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::sphinx.deprecation.RemovedInSphinx11Warning"),
]

#: Hosts that a page may lead to; nothing is loaded from anywhere.
KNOWN_HOSTS = {
    "github.com",
    "keepachangelog.com",
    "semver.org",
    "mybinder.org",
    "pypi.org",
    "pradyunsg.me",
    "repo2docker.readthedocs.io",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Built:
    built = build(ROOT, tmp_path_factory.mktemp("docs"))
    assert built.problems == []
    return built


@pytest.fixture(scope="module")
def pages(site: Built) -> dict[str, str]:
    return {
        path.relative_to(site.html).as_posix(): path.read_text("utf-8") for path in site.html.rglob("*.html")
    }


def test_every_table_is_in_the_reference(pages: dict[str, str]) -> None:
    from kernlab.dump import TABLES

    for name, entry in TABLES.items():
        page = pages[f"columns/{entry.group}.html"]
        assert re.search(rf'<span class="pre">dump\.{name}\b', page), name
        assert f'id="table-{name.replace("_", "-")}' in page, name


def test_columns_have_what_the_contract_says(pages: dict[str, str]) -> None:
    from scripts.docs_site.contract import read

    promises = read(ROOT / "docs" / "design.md")
    reference = "".join(text for name, text in pages.items() if name.startswith("columns/"))
    shown = set(
        re.findall(r'<td><p><code class="docutils literal notranslate"><span class="pre">([^<]+)', reference)
    )
    for promise in promises:
        for name, _, _ in promise.rows:
            assert name.strip("`").replace("<", "&lt;") in shown, f"{promise.heading}: {name}"


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(
    pages: dict[str, str], site: Built
) -> None:
    broken = []
    for name, text in pages.items():
        here = (site.html / name).parent
        for attribute, target in re.findall(r'\b(href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:", target):
                host = re.match(r"https://([\w.-]+)/", f"{target}/")
                if not (host and host[1] in KNOWN_HOSTS and attribute == "href") and target[:5] != "data:":
                    broken.append(f"{name}: {target}")
                continue
            path, _, anchor = target.partition("#")
            file = (here / path.partition("?")[0]).resolve() if path else site.html / name
            if not file.is_file():
                broken.append(f"{name}: {target}")
            elif anchor and file.suffix == ".html":
                there = pages.get(file.relative_to(site.html.resolve()).as_posix(), "") if path else text
                if f'id="{anchor}"' not in there:
                    broken.append(f"{name}: {target}")
    assert broken == []


def test_a_table_without_text_fails_the_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kernlab.tables.system import modules

    known = columns.TABLES["modules"].load().function
    assert known is modules.modules
    monkeypatch.setattr(known, "__doc__", None)
    page = (ROOT / "docs" / "design.md").read_text("utf-8").replace("### `zones`", "### `zonez`")
    (tmp_path / "design.md").write_text(page, "utf-8")
    said = columns.write_reference(tmp_path / "design.md", tmp_path / "columns")
    assert "modules: its docstring lacks a text" in said
    assert "zones has no section in docs/design.md" in said
    assert any("zonez" in line and "no page" in line for line in said)


def test_links_are_moved_with_their_pages(tmp_path: Path) -> None:
    root, source = tmp_path / "checkout", tmp_path / "source"
    for name in ("docs", "samples", "notebooks"):
        (root / name).mkdir(parents=True)
    for page in sources.BESIDE:
        (root / page).parent.mkdir(parents=True, exist_ok=True)
        (root / page).write_text("# Page\n", "utf-8")
    (root / "README.md").write_text("# Readme\n", "utf-8")
    (root / "docs" / "index.md").write_text("# Index\n\n```{toctree}\ndeep/page\nsecurity\n```\n", "utf-8")
    (root / "notebooks" / "a.ipynb").write_text("{}", "utf-8")
    text = (
        "[a](../CONTRIBUTING.md#add-a-table) [b](../samples/) [c](../notebooks/a.ipynb) [d](#here) [e](../README.md)\n"
        "```\n[f](../gone.md)\n```\n[g](https://semver.org)\n"
    )
    (root / "docs" / "deep").mkdir()
    (root / "docs" / "deep" / "page.md").write_text(text.replace("](../", "](../../"), "utf-8")
    (root / "docs" / "page.md").write_text(text, "utf-8")
    sources.collect(root, source)
    sources.relink(root, source)
    assert (source / "page.md").read_text("utf-8") == (
        "[a](contributing.md#add-a-table) [b](samples.md) [c](files/notebooks/a.ipynb) [d](#here) [e](index.md)\n"
        "```\n[f](../gone.md)\n```\n[g](https://semver.org)\n"
    )
    assert "[c](../files/notebooks/a.ipynb)" in (source / "deep" / "page.md").read_text("utf-8")
    listed = (source / "index.md").read_text("utf-8")
    assert "\npage\nrecorder-service\nsamples\n```" in listed.partition(":caption: More")[2]
    assert listed.count("security") == 1
    (root / "docs" / "page.md").write_text("[f](../gone.md)", "utf-8")
    again = tmp_path / "again"
    sources.collect(root, again)
    with pytest.raises(sources.BrokenLinkError, match=r"^docs/page\.md: \.\./gone\.md is not there$"):
        sources.relink(root, again)


def test_docstrings_stand_for_themselves() -> None:
    said = parse("One *row*.\n\n`a|b` and IO_* or x_. Mirrors fs/proc/array.c and\nmm/slub.c.\n\n>>> 1\n1")
    assert (said.summary, said.mirrors, said.example) == (
        "One *row*.",
        "fs/proc/array.c and mm/slub.c",
        ">>> 1\n1",
    )
    assert markdown(said.text) == r"`a|b` and IO\_\* or x\_."
    lines = ["`a|b` and *", "", "    dump.x(*y)", "", ">>> f(*a)", "1"]
    made = [line for line in restructured(lines) if line]
    assert made == [r"``a|b`` and \*", ".. code-block:: python", "    dump.x(*y)", ">>> f(*a)", "1"]


def test_the_archive_depends_on_the_files_alone(tmp_path: Path, site: Built) -> None:
    first = pack(site.html, tmp_path / "kernlab-docs-1.tar.gz").read_bytes()
    (site.html / "index.html").touch()
    archive = pack(site.html, tmp_path / "kernlab-docs-1.tar.gz")
    assert archive.read_bytes() == first
    with tarfile.open(archive) as tar:
        assert "kernlab-docs-1/index.html" in tar.getnames()
        assert {member.mtime for member in tar} == {0}


def test_pictures_come_in_two_and_none_is_left_over(pages: dict[str, str], site: Built) -> None:
    pictures = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    named = set(re.findall(r'pictures/([\w-]+\.png)"', (ROOT / "docs" / "gallery.md").read_text("utf-8")))
    shown = set(re.findall(r'docs/pictures/([\w-]+\.png)"', (ROOT / "README.md").read_text("utf-8")))
    assert named | shown == pictures
    for name in sorted(named):
        theme = name.removesuffix(".png").rpartition("-")[2]
        assert re.search(
            rf'<img alt="[^"]{{20,}}" class="only-{theme}" src="_images/{name}"', pages["gallery.html"]
        ), name
    sizes = [(site.html / "_images" / name).stat().st_size for name in named]
    assert max(sizes) <= 250_000
    assert sum(sizes) <= 3_000_000


@pytest.fixture
def reader() -> Iterator[Any]:
    """A telephone's page without a network; what its console calls an error is in `reader.said`."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: scripts/install-system-packages.sh browser installs it")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (the extra 'dev')"
    )
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=flags)
        page = browser.new_context(viewport={"width": 390, "height": 800}, offline=True).new_page()
        page.said = []
        page.on(
            "console", lambda message: page.said.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: page.said.append(str(error)))
        yield page
        browser.close()


def test_everybody_can_read_it(site: Built, reader: Any) -> None:
    """axe-core finds nothing serious, in light and dark."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed (the extra 'dev')",
    ).Axe()
    found: list[str] = []
    looked = {
        "light": ("index", "first-dump", "columns/system", "api/plots"),
        "dark": ("first-dump", "columns/system"),
    }
    for theme, names in looked.items():
        reader.emulate_media(color_scheme=theme)
        for name in names:
            reader.goto((site.html / f"{name}.html").as_uri())
            found += [
                f"{name}, {theme}: {violation['id']}: {violation['nodes'][0]['html'][:200]}"
                for violation in axe.run(reader).response["violations"]
                if violation["impact"] in ("serious", "critical")
            ]
    assert found == []


def test_it_works_from_a_folder(site: Built, reader: Any) -> None:
    for path in sorted(site.html.rglob("*.html")):
        reader.goto(path.as_uri(), wait_until="load")
        assert reader.evaluate("document.documentElement.scrollWidth") <= 390, path
    reader.goto(f"{(site.html / 'search.html').as_uri()}?q=deadlock")
    reader.locator("#search-results li a").first.wait_for()
    assert reader.said == []


def test_every_table_is_in_the_readme() -> None:
    """Where people look first; by group, in the order of `dump.tables`' own list."""
    from kernlab.dump import TABLES

    part = (ROOT / "README.md").read_text("utf-8").partition("## Every table\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+) \| (`.+`) \|$", part, re.MULTILINE))
    groups: dict[str, list[str]] = {}
    for name, entry in TABLES.items():
        groups.setdefault(columns.GROUPS[entry.group].title, []).append(f"`{name}`")
    found = {title: cell for title, cell in rows.items() if title != "about"}
    assert found == {title: ", ".join(names) for title, names in groups.items()}
