"""Our tables as HTML: nothing of a dump becomes markup, and what is cut or lost is said."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from kernlab.dataframes import describe, frame, nullable
from kernlab.display.html import is_ours, to_html
from kernlab.escape import show_controls
from kernlab.util.losses import scope
from kernlab.util.text import decode

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\"'><script>alert(1)</script>",
    "$x$ \\(y\\)",
    "\x1b[31mred\x1b[0m",
    "abc\u202egnp.exe",
    "</td></table><b>",
    "n" * 10_000,
    decode(b"\xff\xfe\x9b"),
    "two\nlines",
    "<svg onload=alert(1)>" * 200,
]


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += attrs
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


KNOWN_TAGS = {"div", "style", "table", "caption", "b", "thead", "tbody", "tr", "th", "td", "ul", "li", "code"}


def harmless(html):
    page = Page(html)
    assert set(page.tags) <= KNOWN_TAGS
    assert {name for name, _ in page.attributes} <= {"class", "title"}
    assert page.open == []
    assert "http" not in html
    assert html.replace("\n", "").isprintable()
    return page


def test_hostile_strings_are_inert_everywhere():
    with scope("test") as here:
        here.lost(*HOSTILE)
        table = frame(None, HOSTILE[0], name=HOSTILE, **{HOSTILE[1]: HOSTILE, HOSTILE[3]: HOSTILE})
    table["category"] = pd.Categorical(HOSTILE)
    table["object"] = pd.Series([HOSTILE, *HOSTILE[1:]], dtype=object)
    table["bytes"] = [h.encode() for h in HOSTILE]
    for shown in (table, table.set_index("name"), table.name, table.set_index("name").object):
        page = harmless(to_html(shown))
        assert show_controls(HOSTILE[0]) in page.text
        assert ("class", "kernlab-frame tex2jax_ignore mathjax_ignore") in page.attributes
        assert all(len(cell) <= 120 for cell in page.cells)
    harmless(to_html(table, title=HOSTILE[1]))


def test_lists_of_sentences_are_one_below_the_other():
    """As of a verdict's evidence; a list of something else, and a table that names no such column, stay as they are."""
    says = [{"table": "waits", "rows": [1], "says": said} for said in HOSTILE]
    table = pd.DataFrame({"name": ["a", "b"], "evidence": [says, []], "against": [["Old news."], [1, 2]]})
    table.attrs["sentences"] = ["evidence", "against"]
    html = to_html(table)
    page = harmless(html)
    assert html.count('<td class="said">') == 3
    assert html.count("<div>waits: ") == 8
    assert f"… {len(HOSTILE) - 8} more" in html
    assert "<div>waits: abc" in html
    assert "[1, 2]" in page.cells
    assert "'says'" not in page.text
    del table.attrs["sentences"]
    plain = to_html(table)
    assert ".said" not in plain
    assert "waits: abc" in plain, "one behind the other"


def test_a_long_text_is_cut_and_says_its_length():
    page = harmless(to_html(frame(None, "t", path=["/" + "n" * 10_000])))
    title = dict(page.attributes)["title"]
    assert title.startswith("10,001 characters: /nnn")
    assert len(title) < 2_100


def test_values():
    table = frame(
        None,
        "tasks",
        address=pd.array([0xFFFF888000000041, None], dtype="address"),
        pid=np.array([1, 1234567]),
        rss_bytes=nullable(np.array([4 << 20, 0]), np.array([True, False])),
        seen=np.array([True, False]),
        load=np.array([0.123456789, 2]),
        start_time=np.array([90_061_000_001_000, -5_000_000], dtype="timedelta64[ns]"),
    )
    html = to_html(table)
    page = harmless(html)
    assert page.cells[:7] == ["", "address", "pid", "rss_bytes", "seen", "load", "start_time"]
    assert page.cells[7:14] == [
        "0", "0xffff888000000041", "1", "4.0 MiB", "True", "0.123457", "1 day 01:01:01.000001",
    ]  # fmt: skip
    assert page.cells[14:] == ["1", "–", "1234567", "–", "False", "2", "-00:00:00.005000"]
    assert '<td class="n" title="4,194,304 bytes">4.0 MiB</td>' in html
    assert '<th class="n">rss_bytes</th>' in html
    assert "<th>address</th>" in html
    assert "tasks · 2 rows × 6 columns" in page.text


def test_cuts_are_said():
    table = frame(None, "pages", pfn=np.arange(123_456))
    page = harmless(to_html(table))
    assert "123,456 rows × 1 column, the first 10 and the last 10 shown" in page.text
    assert page.cells[2:4] == ["0", "0"]
    assert page.cells[-1] == "123455"
    assert page.cells.count("…") == 2
    assert len(page.cells) == 2 + 2 * 21
    assert "shown" not in Page(to_html(table.head(20))).text
    assert len(Page(to_html(table.head(100), max_rows=None)).cells) == 2 + 200
    assert "the first 1 and the last 0 shown" in Page(to_html(table, max_rows=1)).text
    wide = frame(None, "wide", **{f"c{i}": [i] for i in range(100)})
    assert "1 row × 100 columns, the first 60 columns shown" in harmless(to_html(wide)).text


def test_problems_are_counted_and_the_first_told():
    with scope("test") as here:
        here.lost(*(f"page {i} is lost" for i in range(7)))
        page = harmless(to_html(frame(None, "t", a=[1])))
    assert "7 problems" in page.text
    assert "page 2 is lost" in page.text
    assert "page 3 is lost" not in page.text
    assert 'and 4 more in .attrs["problems"]' in page.text
    assert "problem" not in Page(to_html(frame(None, "t", a=[1]))).text


def test_empty_tables():
    assert "0 rows × 1 column" in harmless(to_html(frame(None, "t", a=[]))).text
    assert "0 rows × 0 columns" in harmless(to_html(frame(None, "t"))).text


def test_a_series_is_names_and_values():
    info = pd.Series(
        {"release": "6.1.0", "memory_bytes": 2 << 30, "uptime": pd.Timedelta("2h"), "taint": None}
    )
    with scope("info") as here:
        here.lost("no panic message")
        info.attrs = describe(None, here.name)
    page = harmless(to_html(info))
    assert page.cells == [
        "release",
        "6.1.0",
        "memory_bytes",
        "2.0 GiB",
        "uptime",
        "02:00:00.000000",
        "taint",
        "–",
    ]
    assert "info · 4 entries" in page.text
    assert "1 problem" in page.text


def test_whose_frames():
    table = frame(None, "t", a=[1, 2], b=["x", "y"])
    assert is_ours(table)
    assert is_ours(table.head(1))
    assert is_ours(table.a)
    assert not is_ours(pd.DataFrame({"a": [1]}))
    assert not is_ours("text")
    assert not is_ours(table.groupby("b").size())


def test_several_levels_are_one_label_each():
    table = frame(None, "t", a=[1, 2], b=["x", "<y>"], rss_bytes=[1 << 20, 2 << 20])
    page = harmless(to_html(table.set_index(["a", "b"])))
    assert page.cells == ["a", "b", "rss_bytes", "1", "x", "1.0 MiB", "2", "<y>", "2.0 MiB"]
    wide = pd.concat({"k": table[["a", "rss_bytes"]]}, axis=1)
    assert harmless(to_html(wide)).cells[1:3] == ["k · a", "k · rss_bytes"]
    assert harmless(to_html(wide)).cells[5] == "1.0 MiB"
    grouped = table.groupby("b")["rss_bytes"].sum()
    assert harmless(to_html(grouped)).cells == ["<y>", "2.0 MiB", "x", "1.0 MiB"]


def test_shares_are_percents_and_flags_are_bits():
    table = frame(
        None,
        "t",
        share=np.array([0.4567, 0.0168, 1e-5, 0.0]),
        flags=np.array([0x17FFFFC0010200, 0, 1, 2], dtype=np.uint64),
        vm_flags=nullable(np.array([0x73, 0, 1, 2]), np.array([True, False, True, True])),
    )
    page = harmless(to_html(table))
    assert page.cells[5:8] == ["46%", "0x17ffffc0010200", "0x73"]
    assert page.cells[9:12] == ["1.7%", "0x0", "–"]
    assert [page.cells[i] for i in (13, 17)] == ["< 0.1%", "0%"]
    titles = [value for name, value in page.attributes if name == "title"]
    assert "0.4567" in titles
    assert f"{0x17FFFFC0010200:,}" in titles


def test_how_sure_is_a_percent():
    assert harmless(to_html(frame(None, "t", confidence=np.array([0.959184])))).cells[-1] == "96%"


@pytest.mark.parametrize(
    ("value", "shown"), [(1234567.89, "1234568"), (0.123456789, "0.123457"), (1e20, "1e+20"), (1e-9, "1e-09")]
)
def test_floats(value, shown):
    assert harmless(to_html(pd.DataFrame({"a": [value]}))).cells[-1] == shown


@pytest.mark.parametrize("rows", [0, 1, 5, 20, 21, 22, 1000])
@pytest.mark.parametrize("most", [1, 2, 3, 20, 21, None])
def test_every_row_is_shown_or_said_to_be_cut(rows, most):
    page = Page(to_html(frame(None, "t", a=np.arange(rows)), max_rows=most))
    shown = len(page.cells) - 2 - 2 * ("…" in page.cells)
    assert shown == 2 * min(rows, rows if most is None else most)
