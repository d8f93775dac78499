"""The report's page in a real browser: it asks for nothing, runs nothing, and can be read anywhere, by everybody.

Pictures of it land in build/browser/: look at them.
"""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("nbconvert", reason="nbconvert is not installed (the extra 'report')")

from hypothesis import HealthCheck, Phase, given, settings
from support.hostile_html import HTML_SOUP, KNOWN
from support.jupyterlab import PICTURES
from support.report_pages import REPORT, code, data, error, html, markdown, page, png, said

from kernlab.report.page.allowed import EVERYWHERE, HTML, OWN, SVG, SVG_OWN
from kernlab.report.page.cleaning import clean, parse
from kernlab.report.page.inline_styles import InlineStyles

LONG = "Killed process 237 (reports) total-vm:50148kB, anon-rss:39040kB, file-rss:0kB, shmem-rss:256kB, UID:0"


def _wide_table():
    heads = "".join(f"<th>column_{n}</th>" for n in range(18))
    rows = "".join(
        f"<tr><th>{n}</th>{'<td>0xffff888003c50000</td>' * 16}<td>{LONG}</td></tr>" for n in range(30)
    )
    head = f"<caption>tasks</caption><thead><tr>{heads}</tr></thead>"
    return f"<table class='dataframe'>{head}<tbody>{rows}</tbody></table>"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with everything in it that may be too wide, too long, or meant ill."""
    head = {
        "title": "Out of memory: reporting (pid 124) took 72 % of it",
        "subtitle": f"Linux 6.1 on <b id=harm>host</b>. {'An_unbroken_word' * 20}",
        "leads": [{"what": "large process", "why": LONG, "next": "dump.maps.query('pid == 124')"}] * 3,
        "provenance": [["file", "vmcore"], ["SHA-256", "0123456789abcdef" * 4]],
        "redaction": {"level": "share", "counts": {"IPv4 address": 12}},
    }
    made = page(
        code("head(dump)", data({REPORT: head})),
        markdown("## Evidence\n\nText, `code` and a [link](https://example.invalid/)."),
        code("dump.tasks", html(_wide_table())),
        code("plot()", data({"image/png": png(1000, 400)}, {"image/png": {"alt": "memory"}})),
        code(
            "print()",
            said(f"{LONG}\n" * 3 + "a    b    c\n1    2    3\n" * 3 + "x" * 400),
            said("progress", "stderr"),
        ),
        code(
            "last_words()",
            html(f"<div class='kernlab-report'><h2>Last words</h2><pre>{LONG * 3}</pre></div>"),
        ),
        code("boom()", error("KernlabError", "the slab is cut", "Traceback", "line 1")),
        markdown("## Harm\n\n" + "\n\n".join(KNOWN)),
        *(code("x", html(source)) for source in KNOWN),
        markdown("### A deeper part"),
        code("x", html("<details><summary>More</summary><p>Evidence within.</p></details>")),
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(made, "utf-8")
    return path


@pytest.fixture
def shown(browser, report):
    """`shown(width, scheme)`: the page, offline. At a test's end it has asked for nothing and complained of nothing."""
    asked, said, contexts = [], [], []

    def show(width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        opened = context.new_page()
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("dialog", lambda dialog: said.append(dialog.message))
        opened.goto(report.as_uri())
        return opened

    yield show
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith(("file:", "data:"))} == set()
    assert said == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_it_can_be_read_by_everybody(shown, width, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed (the extra 'dev')"
    )
    opened = shown(width, scheme)
    opened.screenshot(path=PICTURES / f"report-{width}-{scheme}.png", full_page=True)
    found = axe.Axe().run(opened).response
    assert len(found["passes"]) > 20
    told = [
        (one["impact"], one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found["violations"]
    ]
    assert told == []
    assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_nothing_of_an_output_runs_or_leaves_its_place(shown):
    opened = shown()
    assert opened.evaluate("window.harm === undefined && document.getElementById('harm') === null")
    # Each element that an output brought is where its text is: nothing lies over the page.
    moved = opened.evaluate(
        "[...document.querySelectorAll('.r-part *')].map(e => getComputedStyle(e)).map(s => [s.position, s.zIndex])"
        ".filter(([p, z]) => !(p === 'static' || p === 'sticky') || z !== 'auto').length"
    )
    assert moved == 0


def test_the_keyboard_reaches_what_scrolls(shown):
    opened = shown(390)
    names = opened.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.checkVisibility())"
        ".map(e => [e.tabIndex, e.getAttribute('aria-label')])"
    )
    assert len(names) >= 2
    assert all(tab == 0 and label for tab, label in names)
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert opened.evaluate("document.activeElement.getBoundingClientRect().top") >= 0


def test_print_is_light_whole_and_without_code(shown):
    opened = shown(1280, "dark")
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.locator(".r-code:visible").count()
    assert opened.get_by_text("More", exact=True).is_visible()
    assert not opened.get_by_text("Evidence within.").is_visible()
    folded = "getComputedStyle(document.querySelector('.r-part details > summary'), '::after').content"
    assert opened.evaluate(folded) == '" (folded; the page has it)"'
    pdf = opened.pdf(path=PICTURES / "report.pdf", prefer_css_page_size=True)
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", pdf)}
    assert {(round(box[2]), round(box[3])) for box in boxes} == {(595, 842)}
    # At the width of a page's text no cell and no picture is cut at its edge.
    opened.set_viewport_size({"width": 688, "height": 1000})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 688
    assert opened.evaluate(
        "[...document.querySelectorAll('td, th, img, pre')]"
        ".every(e => e.getBoundingClientRect().right <= innerWidth + 1)"
    )


def test_a_browsers_own_parser_finds_no_more_than_ours(browser):
    """Chromium repairs markup in its own way: in what is cleaned it, too, finds only what is allowed."""
    sources = list(KNOWN)

    @settings(
        max_examples=150, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None
    )
    @given(HTML_SOUP)
    def collect(source):
        sources.append(source)

    collect()
    texts = [str(clean(parse(source), space="o1", styles=InlineStyles())) for source in sources]
    opened = browser.new_page()
    found = opened.evaluate(
        """texts => {
            const elements = text => new DOMParser()
                .parseFromString(`<!doctype html><div>${text}</div>`, "text/html")
                .body.querySelectorAll("*");
            const lower = names => names.map(name => name.toLowerCase());
            const told = e => [e.localName.toLowerCase(), lower(e.getAttributeNames())];
            return texts.map(text => [...elements(text)].map(told));
        }""",
        texts,
    )
    opened.close()
    assert len(found) == len(texts)
    assert sum(map(len, found)) > 100
    for text, elements in zip(texts, found, strict=True):
        for name, attributes in elements:
            allowed = EVERYWHERE | OWN.get(name, set()) | (SVG_OWN if name in SVG else set())
            assert name in HTML | SVG, json.dumps(text)
            assert set(attributes) <= allowed, json.dumps(text)
