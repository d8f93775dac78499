"""A notebook becomes one page: what died, the cells in their order, how it was made; the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise

import pytest

pytest.importorskip("nbconvert", reason="nbconvert is not installed (the extra 'report')")

from bs4 import BeautifulSoup
from support.report_pages import REPORT, code, data, error, html, markdown, notebook, page, png, said

WIDGET = "application/vnd.jupyter.widget-view+json"


def soup(*cells):
    return BeautifulSoup(page(*cells), "html.parser")


def report(**told):
    return code("head(dump)", data({REPORT: told, "text/html": "<p>fallback</p>"}))


LEAD = {"what": "A process took 72 % of memory", "why": "reporting has 210.5 MiB", "next": "ask its owner"}


def test_the_head_says_what_died_and_the_leads_come_first():
    made = soup(
        markdown("# My analysis"),
        report(title="Out of memory: reporting took it", subtitle="at 13:22", leads=[LEAD]),
        markdown("## Evidence"),
        report(title="A better title", provenance=[["kernel", "6.1"]]),
    )
    assert made.title.string == "A better title"
    assert [heading.get_text() for heading in made.find_all("h1")] == ["A better title"]
    assert made.select_one(".r-kicker").get_text() == "My analysis"
    assert made.select_one(".r-subtitle").get_text() == "at 13:22"
    headings = [heading.get_text() for heading in made.find_all("h2")]
    assert headings == ["What to look at first", "Contents", "Evidence", "How this report was made"]
    lead = made.select_one(".r-leads li").get_text(" ", strip=True)
    assert lead == "A process took 72 % of memory reporting has 210.5 MiB Next ask its owner"
    assert "fallback" not in made.get_text()
    assert made.select_one(".r-provenance dt").get_text() == "kernel"


def test_without_report_data_the_first_heading_is_the_title():
    made = soup(markdown("# Where it *hangs*\n\nText."), markdown("## One"))
    assert made.h1.get_text() == made.title.get_text() == "Where it hangs"
    assert [heading.get_text() for heading in made.find_all("h2")] == ["One"]
    assert soup(code("1", said("x"))).h1.get_text() == "crash"


def test_report_data_of_another_form_is_left_out():
    hostile = {
        "title": 1,
        "leads": "x",
        "provenance": [["a"], 3, ["<b>", "<i>"]],
        "redaction": {"counts": [1]},
    }
    made = soup(report(**hostile), report(title="<script>x</script>\u202e"))
    assert made.title.get_text() == "<script>x</script>\\u202e"
    assert made.find("script") is None
    assert [made.select_one(f".r-provenance {name}").get_text() for name in ("dt", "dd")] == ["<b>", "<i>"]


def test_what_was_redacted_is_counted():
    counts = {"IPv4 address": 1204, "host name": 3}
    made = soup(report(redaction={"level": "share", "counts": counts}))
    rows = [row.get_text(" ", strip=True) for row in made.select(".r-counts tbody tr")]
    assert rows == ["IPv4 address 1,204", "host name 3"]
    assert "as it is" in soup(report(redaction={"level": "none", "counts": {}})).get_text()


@pytest.mark.parametrize(("level", "kept"), [("strict", True), ("none", True), ("share", False)])
def test_a_dump_that_was_redacted_when_it_was_written_is_told(level, kept):
    counts = {} if kept else {"host name": 3}
    text = soup(report(redaction={"level": level, "counts": counts, "before": "strict"})).get_text()
    assert ("is shown as it is" in text) is kept
    assert "had been redacted" in text
    assert "nothing that it covers was met" not in text
    assert "Nothing: this report" not in text


def test_headings_have_no_jumps_and_contents_lead_to_them():
    made = soup(
        markdown("# Title"),
        markdown("## One\n\n#### Deep\n\n## Two"),
        code("x", html("<h1>Inside</h1><h6>Deeper</h6>")),
        markdown("### Three\n\n## Two"),
    )
    levels = [int(heading.name[1]) for heading in made.find_all(re.compile("^h[1-6]$"))]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    links = [link["href"][1:] for link in made.select(".r-contents a")]
    assert links == ["at-one", "at-deep", "at-two", "at-three", "at-two-2"]
    assert all(len(made.select(f'[id="{link}"]')) == 1 for link in links)


def test_sections_of_a_report_are_the_pages():
    section = (
        '<div class="kernlab-report"><h2>In short</h2><p>a</p><h3>Why</h3><p>b</p><h2>Last words</h2>'
        "<pre>[ 1.0] one\n[ 2.0] two</pre></div>"
    )
    made = soup(
        markdown("# T"),
        code("head"),
        code("in_short(dump)", html(section)),
        code("", html("<div class='kernlab-card'><h3>A card</h3></div>")),
    )
    assert [link.get_text() for link in made.select(".r-contents a")] == ["In short", "Why", "Last words"]
    sections = made.select("section.r-section")
    assert [part.h2.get_text() for part in sections] == ["In short", "Last words"]
    assert sections[0].get_text(" ", strip=True) == "In short a Why b"
    assert sections[1].find("code").get_text() == "head\n\nin_short(dump)"
    assert sections[1].h3.get_text() == "A card"


def test_columns_scroll_and_lines_break():
    table = "comm          pid     rss_bytes       state\n" + "systemd         1       1,234        S\n" * 50
    made = soup(code("", said(table)), code("", html(f"<pre>{'word ' * 80}</pre>")))
    first, second = made.select("pre.r-text")
    assert first["class"] == ["tex2jax_ignore", "mathjax_ignore", "r-text", "r-columns"]
    assert (first["tabindex"], first["aria-label"]) == ("0", "Printed in “the beginning”")
    assert second["class"] == ["r-text", "r-short"]
    assert not second.has_attr("tabindex")


def test_links_of_the_author_stay_and_those_of_outputs_do_not():
    made = soup(
        markdown(
            "# T\n\n[web](https://example.invalid/) [here](#Section-one) [gone](#nowhere) [file](x.ipynb)\n\n"
            "## Section one"
        ),
        code(
            "x",
            html('<a href="https://example.invalid/">out</a>'),
            data({"text/markdown": "[md](https://example.invalid)"}),
        ),
    )
    links = {link.get_text(): link["href"] for link in made.select(".r-section a")}
    assert links == {"web": "https://example.invalid/", "here": "#at-section-one"}
    assert "gone file" in made.get_text()


def test_a_failed_cell_is_a_box_and_the_rest_goes_on():
    made = soup(
        markdown("# T\n\n## Slabs"),
        code(
            "boom()",
            said("before\n"),
            error("KernlabError", "cut <here>", "\x1b[31mTrace\x1b[0m", "line $x$"),
            tags=("section-failed",),
        ),
        markdown("## Tasks"),
        code("ok()", said("after\n")),
    )
    box = made.select_one(".r-failed")
    assert box.select_one(".r-last").get_text() == "KernlabError: cut <here>"
    assert box.find("pre").get_text() == "Trace\nline $x$"
    assert box.find("details").get("open") is None
    head = made.select_one(".r-failures")
    assert "One part of this report could not be made" in head.get_text(" ", strip=True)
    assert head.a["href"][1:] == box["id"]
    assert head.a.get_text() == "Slabs"
    assert "before" in made.get_text()
    assert "after" in made.get_text()


def test_code_is_folded_and_parameters_are_for_the_end():
    made = soup(
        code("vmcore = 'x'", tags=("parameters",)),
        code("secret", said("gone"), tags=("remove-cell",)),
        markdown("## A"),
        code("import kernlab  # <why>"),
        code("dump.tasks", said("rows")),
    )
    folds = made.select("details.r-code")
    assert [fold.find("code").get_text() for fold in folds] == [
        "import kernlab  # <why>\n\ndump.tasks",
        "vmcore = 'x'",
    ]
    assert not any(fold.has_attr("open") for fold in folds)
    assert folds[1].find_parent("section")["aria-labelledby"] == "provenance"
    assert "secret" not in made.get_text()
    assert "gone" not in made.get_text()


def test_no_input_leaves_the_code_out():
    from kernlab.report.exporter import ReportExporter

    made, _ = ReportExporter(exclude_input=True).from_notebook_node(
        notebook(code("dump.tasks", said("rows")))
    )
    assert "rows" in made
    assert "dump.tasks" not in made


def test_printed_text_has_no_terminal_escapes_and_no_overwritten_lines():
    made = soup(
        code(
            "x",
            said("\x1b[1mbold\x1b[0m <b>$x$</b> \x07\u202e\n  0%\r 50%\r100%\n"),
            said("one ", "stderr"),
            said("line", "stderr"),
        )
    )
    assert made.select_one("pre.r-text").get_text() == "bold <b>$x$</b> ␇\\u202e\n100%"
    assert made.select_one("details.r-said pre").get_text() == "one line"


def test_the_richest_form_without_scripts():
    pictured = {"image/png": png(8, 8)}
    cases = [
        ({WIDGET: {"model_id": "a"}, "text/html": "<p>tree</p>", "text/plain": "T()"}, "tree"),
        (
            {WIDGET: {"model_id": "a"}, "text/plain": "IntSlider(value=1)"},
            "A widget (IntSlider) has no form without a kernel.",
        ),
        (
            {"text/html": "<script>1</script>", "text/plain": "<IPython.core.display.HTML object>"},
            "An output that is nothing without scripts",
        ),
        (
            {"application/javascript": "alert(1)", "text/plain": "<IPython.core.display.Javascript object>"},
            "A script is left out",
        ),
        ({"text/latex": "$x$"}, "A formula is left out"),
        ({"text/plain": "$x^2$ <b>"}, "$x^2$ <b>"),
        ({"text/markdown": "**m** $y$"}, "m $y$"),
        ({"text/html": "<script>plotly</script>", **pictured}, ""),
    ]
    for bundle, expected in cases:
        made = soup(code("", data(bundle)))
        text = made.select_one(".r-part").get_text(" ", strip=True)
        assert text.startswith(expected), bundle
        assert made.find("script") is None
        assert (made.find("img") is not None) == ("image/png" in bundle)


def test_what_is_folded_is_open_on_paper_where_it_is_short():
    def folded(lines, inside=""):
        rows = "".join("<tr><td>line</td></tr>" for _ in range(lines))
        return f"<details><summary>{lines}</summary><table>{rows}</table>{inside}</details>"

    nested = '<div class="kernlab-stack"><details><summary>frames</summary></details></div>'
    html = f'<div class="kernlab-report">{folded(200)}{folded(201)}{nested}</div>{folded(3)}'
    made = soup(code("x", data({"text/html": html})))
    opened = [one.find("summary").get_text() for one in made.select("details.r-unfolded")]
    assert opened == ["200"]
    assert "details.r-unfolded::details-content { content-visibility: visible" in str(made.find("style"))


def test_a_struct_tree_without_html_is_drawn():
    row = {"id": 1, "name": "pid", "type": "int", "value": "7<b>"}
    tree = {
        "view": {"title": "init_task", "address": "0x1", "root": {"id": 0}, "page": {"rows": [row]}},
        "captured": {},
    }
    kind = "application/vnd.kernlab.struct+json"
    assert "pid = 7<b>" in soup(code("", data({kind: tree}))).select_one(".kernlab-tree").get_text()
    for broken in (
        {},
        {"view": 1},
        [],
        {"view": {"title": 1, "address": 2, "root": 3, "page": {"rows": [4]}}},
    ):
        assert (
            "plain"
            in soup(code("", data({kind: broken, "text/plain": "plain"}))).select_one(".r-part").get_text()
        )


def test_tables_have_scopes_names_and_frames():
    pandas = (
        '<div><style scoped>x</style><table border="1" class="dataframe"><thead>'
        '<tr style="text-align: right;"><th></th>'
        "<th>pid</th><th>comm</th><th>address</th></tr></thead><tbody><tr><th>0</th><td>1,234</td><td>systemd-journald</td>"
        "<td>0xffff888000000000</td></tr></tbody></table><p>1 rows × 3 columns</p></div>"
    )
    made = soup(markdown("## Tasks"), code("", html(pandas)), code("", html(pandas)))
    table = made.find("table")
    assert [head["scope"] for head in table.find_all("th")] == ["col", "col", "col", "row"]
    assert table.find("thead").find("td").get_text() == ""
    assert [cell.get("class") for cell in table.select("tbody td")] == [["n"], None, ["a"]]
    frames = made.select(".r-scroll")
    assert [frame["aria-label"] for frame in frames] == ["Table in “Tasks”", "Table in “Tasks” (2)"]
    assert all(frame["tabindex"] == "0" and frame["role"] == "region" for frame in frames)


def test_long_cells_are_broken_and_short_ones_are_not():
    texts = ["x" * 61, "many words " * 8, "some words in a row", "one_long_word_of_40", "few words"]
    cells = "".join(f"<td>{text}</td>" for text in texts) + f'<td class="lines">{"a b " * 30}</td>'
    made = soup(code("", html(f"<table><tr>{cells}</tr></table>")))
    kept = [
        [name for name in cell.get("class", []) if name in ("r-long", "r-wraps")]
        for cell in made.find_all("td")
    ]
    assert kept == [["r-long"], ["r-long"], ["r-wraps"], [], [], []]


def test_a_first_row_of_heads_is_the_head():
    made = soup(
        code(
            "",
            html(
                "<table><caption>Sizes</caption><tr><td></td><th>a</th><th>b</th></tr><tr><th>x</th><td>1</td><td>2</td></tr></table>"
            ),
        )
    )
    assert [head["scope"] for head in made.select("thead th")] == ["col", "col"]
    assert made.select_one("tbody th, table > tr th")["scope"] == "row"


def test_pictures_of_both_themes_are_two_images_with_one_text():
    pytest.importorskip("matplotlib")
    from kernlab.plots.both_themes import swapped

    light, dark = base64.b64decode(png(colour="#ffffff")), base64.b64decode(png(colour="#14181d"))
    for own, other, is_light in ((light, dark, True), (dark, light, False)):
        made = soup(code("", html(swapped(own, other, "memory by <kind>", is_light=is_light))))
        first, second = made.select("img.kernlab-light, img.kernlab-dark")
        shown = {image["class"][0]: image["src"] for image in (first, second)}
        assert shown["kernlab-light"].endswith(base64.b64encode(light).decode())
        assert shown["kernlab-dark"].endswith(base64.b64encode(dark).decode())
        assert first["alt"] == second["alt"] == "memory by <kind>"
        assert (first["width"], first["height"]) == ("640", "360")
        assert first.parent["tabindex"] == "0"


def test_alternative_texts_and_repeated_pictures():
    made = soup(
        markdown("## Memory"),
        code("", data({"image/png": png()}, {"image/png": {"alt": "bars of <memory>"}})),
        code("", data({"image/png": png(colour="#123456")})),
        code("", data({"image/png": png()})),
    )
    images = made.find_all("img")
    assert [image["alt"] for image in images] == [
        "bars of <memory>",
        "A figure that says nothing of itself in words, in “Memory”",
    ]
    again = made.find("a", string="The same picture as above.")
    assert again["href"][1:] == images[0]["id"]


def test_drawings_are_described():
    made = soup(
        code(
            "",
            data(
                {
                    "image/svg+xml": "<svg viewBox='0 0 9 9' width='900'><text>a lock</text><script>x</script></svg>"
                }
            ),
        )
    )
    drawn = made.find("svg")
    assert (drawn["role"], drawn["aria-label"]) == ("img", "A drawing with the words: a lock")
    assert "script" not in str(drawn)


def test_a_grid_is_its_plain_table():
    grid = (
        '<div class="kernlab-grid"><script>1</script><div class="kernlab-told">told</div><table id="itables_1"></table>'
        '<div class="kernlab-plain"><table><tr><td>cell</td></tr></table><small>run it again</small></div></div>'
    )
    text = soup(code("", html(grid))).select_one(".r-part").get_text()
    assert text == "cell"
    loading = soup(
        code("", html("<table id='itables_2'><tbody><tr><td>Loading ITables v2</td></tr></tbody></table>"))
    )
    assert "An interactive table is left out" in loading.get_text()


def test_the_policy_names_the_only_style_sheet_and_allows_nothing_else():
    made = page(markdown("# T"), code("x", html('<p style="color:red">a</p><style>p{color:blue}</style>')))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)[1].replace(
        "&#39;", "'"
    )
    sheets = re.findall(r"<style>(.*?)</style>", made, re.DOTALL)
    assert len(sheets) == 1
    digest = base64.b64encode(hashlib.sha256(sheets[0].encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert made.index("Content-Security-Policy") < made.index("<style>")
    assert "color:red" in sheets[0]
    assert "color:blue" not in made
    assert not re.search(r"\sstyle=", made)
    assert not re.search(r"<(script|link|iframe|object|embed|base|form)\b|https?://", made)


def test_the_same_notebook_gives_the_same_bytes():
    pytest.importorskip("matplotlib")
    from kernlab.plots.both_themes import swapped

    def made():
        both = swapped(b"\x89PNG\r\n\x1a\n" + bytes(16), b"\x89PNG\r\n\x1a\n" + bytes(17), "alt")
        return page(
            markdown("# T\n\n## A"), code("x", html(both), html('<p id="random" style="color:red">a</p>'))
        )

    assert made() == made()


def test_nothing_of_nbconverts_own_page_is_taken_over():
    made = page(markdown("# T"), code("1", said("x")))
    assert "jp-" not in re.sub(r"--jp-[\w-]+", "", made)
    assert "In [" not in made
    assert len(made) < 40_000


def test_colours_of_flames_are_those_of_the_plots():
    pytest.importorskip("matplotlib")
    from kernlab.plots import style
    from kernlab.plots.stacks import colours_of

    made = page(markdown("# T"))
    rules = re.findall(r"\.kernlab-flames \{ (--k0[^}]*?);? \}", made)
    expected = [
        ";".join(f"--k{n}:{colour}" for n, colour in enumerate(colours_of(theme)))
        for theme in (style.LIGHT, style.DARK)
    ]
    assert rules == expected


def test_the_page_reads_what_the_report_says():
    from kernlab import report
    from kernlab.report.page.report_data import REPORT_MIME

    assert REPORT_MIME == report.REPORT_MIME == REPORT
