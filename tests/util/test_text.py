"""Kernel bytes become text without loss, and dump strings are harmless in HTML, terminals and plots."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.escape import (
    LONGEST_SHEET_CELL,
    escape_attribute,
    escape_csv,
    escape_html,
    escape_plot,
    escape_sheet,
    escape_terminal,
    show_controls,
)
from kernlab.util import text

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\"'><script>alert(1)</script>",
    "$x^2$ \\(y\\) $$z$$",
    "\x1b[31mred\x1b[0m\x07\x9b2J",
    "abc\u202egnp.exe\u2066\u200f",
    "line\nbreak\ttab\r\x00nul\x7f",
    "&amp; &lt;b&gt;",
    "Zalgo" + "\u0301" * 200,
    "\u05e9\u05dc\u05d5\u05dd 12",
]


def rows(strings: list[bytes], width: int) -> np.ndarray:
    return np.array([list(s.ljust(width, b"\0")) for s in strings], dtype=np.uint8).reshape(
        len(strings), width
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"kworker/0:1", "kworker/0:1"),
        (b"", ""),
        ("Grüße 文".encode(), "Grüße 文"),
        (b"bad\xff\xfe", "bad\\xff\\xfe"),
        (b"surrogate \xed\xa0\x80", "surrogate \\xed\\xa0\\x80"),
        (b"esc \x1b[0m\n", "esc \x1b[0m\n"),
        (b"a\0b", "a\0b"),
    ],
)
def test_decode_keeps_everything(raw, expected):
    assert text.decode(raw) == expected


def test_decode_cuts_at_the_first_nul_when_asked():
    assert text.decode(b"comm\0old name", cut=True) == "comm"


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_decode_rows_is_decode_of_each_row(raw):
    found = text.decode_rows(rows(raw, 16))
    assert found.dtype == object
    assert found.tolist() == [text.decode(r, cut=True) for r in raw]


def test_decode_rows_of_views_and_of_nothing():
    wide = rows([b"swapper/0", b"a\nb", b"x\0y"], 32)
    assert text.decode_rows(wide[:, :16]).tolist() == ["swapper/0", "a\nb", "x"]
    assert text.decode_rows(wide[::2]).tolist() == ["swapper/0", "x"]
    assert text.decode_rows(np.zeros((0, 16), np.uint8)).tolist() == []
    assert text.decode_rows(np.zeros((2, 0), np.uint8)).tolist() == ["", ""]


def test_decode_rows_goes_on_after_a_full_chunk(monkeypatch):
    monkeypatch.setattr(text, "_CHUNK_BYTES", 64)
    names = [b"task%d" % i for i in range(50)]
    assert text.decode_rows(rows(names, 16)).tolist() == [n.decode() for n in names]


class Content(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("hostile", HOSTILE)
def test_html_holds_no_markup_and_no_controls(hostile):
    escaped = escape_html(hostile)
    page = Content()
    attribute = escape_attribute(hostile)
    page.feed(f"<p title='{attribute}' class=\"{attribute}\">{escaped}</p>")
    page.close()
    assert page.tags in (["p"], ["p", "bdi"])
    assert page.text == show_controls(hostile)
    assert escaped.isprintable()


#: Text as Unicode has it, with more of what acts, or hides, than chance would draw.
TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "<>&\"'$=+-@;,_x0\t\n\r\0\x1b\x9b\u202e\u2066\u0301\u034f\u20dd\u05d0\u0627\u3164\u200b\ud800"
        ),
    )
)


@given(TEXT)
def test_what_is_escaped_is_printable(anything):
    assert escape_html(anything).isprintable()
    assert escape_terminal(anything).isprintable()
    assert not set(escape_attribute(anything)) & set("<>\"'")
    assert show_controls(show_controls(anything)) == show_controls(anything)


@given(TEXT)
def test_html_says_the_same_and_isolates_each_word_from_right_to_left(anything):
    page = Content()
    page.feed(f"<p>{escape_html(anything)}</p>")
    page.close()
    assert page.text == show_controls(anything)
    outside = re.sub("<bdi>.*?</bdi>", "", escape_html(anything))
    assert not {unicodedata.bidirectional(c) for c in outside} & {"R", "AL"}


@given(TEXT)
def test_no_flood_of_marks(anything):
    marks = 0
    for before, c in zip(" " + show_controls(anything), show_controls(anything), strict=False):
        if unicodedata.category(c) in ("Mn", "Me"):
            assert before.isalnum() or not before.isascii(), "it would stand on what is before the text"
            marks += 1
        else:
            marks = 0
        assert marks <= 4


def test_marks_and_scripts_that_people_write_stay():
    for written in (
        "Vie\u0302\u0323t",
        "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u65e5\u672c.txt",
        "Gr\u00fc\u00dfe",
    ):
        assert show_controls(written) == written
    assert show_controls("\u0301x") == "\\u0301x"
    assert show_controls("e" + "\u0301" * 6) == "e" + "\u0301" * 4 + "\\u0301" * 2
    assert show_controls("a\u3164b") == "a\\u3164b"


#: What a spreadsheet's import begins a formula with, in the locales whose separator is a comma or a semicolon.
COMPUTED = re.compile(r"(^|[;\t\n\r])\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@given(TEXT)
def test_no_cell_of_csv_is_a_formula(anything):
    escaped = escape_csv(anything)
    assert not COMPUTED.search(escaped)
    assert escape_csv(escaped) == escaped
    assert escaped.replace("'", "") == show_controls(anything, keep="\n\t").replace("'", "")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('=HYPERLINK("http://a.invalid")', '\'=HYPERLINK("http://a.invalid")'),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-1+2", "'-1+2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "\t'=1"),
        ("\r=1", "\u240d=1"),
        ("  =1", "  '=1"),
        ("a;=1", "a;'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("kworker/0:1-events", "kworker/0:1-events"),
        ("a=b", "a=b"),
    ],
)
def test_csv_for_spreadsheets(cell, expected):
    assert escape_csv(cell) == expected


@given(TEXT)
def test_cells_of_excel_hold_what_its_files_can(anything):
    openpyxl = pytest.importorskip("openpyxl")
    cell = escape_sheet(anything)
    assert not openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.search(cell)
    assert openpyxl.utils.escape.unescape(cell) == show_controls(anything, keep="\n\t")


def test_cells_of_excel_are_short():
    assert len(escape_sheet("x" * 100_000)) == LONGEST_SHEET_CELL


@given(TEXT)
def test_nothing_in_a_plot_is_a_formula(anything):
    math = pytest.importorskip("matplotlib.cbook").is_math_text
    assert math(escape_plot(anything)) is False
    assert not escape_plot(anything).startswith("_")


def test_controls_are_seen_not_dropped():
    assert show_controls("\x1b[31m") == "\u241b[31m"
    assert show_controls("a\u202eb\x9b") == "a\\u202eb\\x9b"
    assert escape_terminal("one\ntwo\x1b", lines=True) == "one\ntwo\u241b"
    assert escape_terminal("one\ntwo") == "one\u240atwo"


@pytest.mark.parametrize(
    "name", ["$\\foo$", "$a_$", "$}$", "a$b", "cost $5 and $6", "\\$x$", "_do_fork", "\x1b[1m"]
)
def test_matplotlib_draws_the_text_itself(name):
    figure_module = pytest.importorskip("matplotlib.figure")
    figure = figure_module.Figure()
    axes = figure.add_subplot()
    axes.plot([1], label=escape_plot(name))
    drawn = axes.set_title(escape_plot(name))
    legend = axes.legend()
    figure.canvas.draw()
    shown, math = drawn._preprocess_math(drawn.get_text())
    assert not math
    assert shown.strip("\u200a") == show_controls(name)
    assert len(legend.get_texts()) == 1


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (4 * 1024**3, "4.0 GiB"),
        (-2048, "-2.0 KiB"),
        (2**64, "16.0 EiB"),
        (np.int64(4096), "4.0 KiB"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_human_bytes(count, expected):
    assert text.human_bytes(count) == expected


def test_human_bytes_of_pandas_missing():
    pandas = pytest.importorskip("pandas")
    assert text.human_bytes(pandas.NA) == ""


def test_shorten():
    assert text.shorten("abcdef", 6) == "abcdef"
    assert text.shorten("abcdefg", 6) == "abcde…"
    assert len(text.shorten("x" * 10_000, 120)) == 120


def test_address_shows_hexadecimal_and_stays_an_int():
    address = text.Address(0xFFFF_8880_0000_0041)
    assert repr(address) == str(address) == f"{address}" == "0xffff888000000041"
    assert address == 0xFFFF_8880_0000_0041
    assert hash(address) == hash(0xFFFF_8880_0000_0041)
    assert f"{address:x}" == "ffff888000000041"
    assert str(text.Address(0)) == "0x0000000000000000"


def test_importing_text_imports_no_pandas():
    code = "import sys, kernlab.util.text, kernlab.dataframes.registry; print('pandas' in sys.modules)"
    assert re.fullmatch("False", subprocess.check_output([sys.executable, "-c", code], text=True).strip())
