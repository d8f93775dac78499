"""A report, and everything else that leaves a notebook as a page, of a dump whose names are hostile: opened offline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.hostile import ACTING, hostile
from support.jupyterlab import PICTURES

import kernlab
from kernlab.formats.kdump.writer import write_kdump

pytestmark = pytest.mark.long

#: What names would bring if they were taken for markup or formulas.
MADE = "#harm, [onerror], [onload], [onclick], img[src=x], mjx-container, .MathJax, a[href^='javascript:']"
#: Texts that stand outside of the page's width, and what scrolls by itself is none of the page's.
WIDER = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def vmcore(tmp_path_factory):
    """The hostile dump in a file whose name is hostile, too."""
    path = tmp_path_factory.mktemp("hostile") / "<u id=harm>$x$ \u202eexe.vmcore"
    with kernlab.open(kernlab.sample("flight")) as below:
        file = hostile(below).kernel.file
        write_kdump(file, path, vmcoreinfo=below.kernel.file.vmcoreinfo)
    return path


@pytest.fixture
def opened_page(browser):
    """`opened_page(path, width)`: the page with its scripts running and no network, and what went wrong in it."""
    contexts = []

    def show(path: Path, width: int):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        contexts.append(context)
        page = context.new_page()
        wrong: list[str] = []
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url),
        )
        page.on("popup", lambda opened: wrong.append(opened.url))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        return page, wrong

    yield show
    for context in contexts:
        context.close()


def check(page, wrong, longest=0):
    """Nothing ran, nothing was made of a name, and the page is as wide as its window."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    page.wait_for_timeout(300)
    assert wrong == []
    assert page.evaluate("window.harm") is None
    assert page.locator(MADE).count() == 0
    said = page.locator("body").inner_text()
    found = ACTING.search(said)
    assert not found, ascii(said[max(found.start() - 80, 0) : found.end() + 20])
    assert not ACTING.search(page.title())
    assert page.evaluate(WIDER) <= 0
    return said


@pytest.mark.parametrize("redact", ["none"])
def test_a_report(vmcore, opened_page, tmp_path, redact):
    from kernlab import report

    pytest.importorskip("papermill", reason="papermill is not installed (the extra 'report')")
    made = report.make(vmcore, tmp_path / "report.html", redact=redact)
    assert made.failed == ()
    for width in (1280, 390):
        page, wrong = opened_page(made.path, width)
        said = check(page, wrong)
        assert "<u id=harm>x</u> $x$" in page.title()
        assert re.search(r"<img id=harm src=x onerror=.window\.harm=1.>", said)
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"hostile-report-{width}.png", full_page=True)
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed (the extra 'dev')"
    )
    found = axe.Axe().run(page).response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
