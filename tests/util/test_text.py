"""Kernel bytes become text without loss, and dump strings are harmless in HTML, terminals and plots."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.escape import escape_html, escape_plot, escape_terminal, show_controls
from kernlab.util import text

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\"'><script>alert(1)</script>",
    "$x^2$ \\(y\\) $$z$$",
    "\x1b[31mred\x1b[0m\x07\x9b2J",
    "abc\u202egnp.exe\u2066\u200f",
    "line\nbreak\ttab\r\x00nul\x7f",
    "&amp; &lt;b&gt;",
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
    page.feed(f"<p title='{escaped}' class=\"{escaped}\">{escaped}</p>")
    page.close()
    assert page.tags == ["p"]
    assert page.text == show_controls(hostile)
    assert escaped.isprintable()


@given(st.text())
def test_what_is_escaped_is_printable(anything):
    assert escape_html(anything).isprintable()
    assert escape_terminal(anything).isprintable()
    assert not set(escape_html(anything)) & set("<>\"'")


def test_controls_are_seen_not_dropped():
    assert show_controls("\x1b[31m") == "␛[31m"
    assert show_controls("a\u202eb\x9b") == "a\\u202eb\\x9b"
    assert escape_terminal("one\ntwo\x1b", lines=True) == "one\ntwo␛"
    assert escape_terminal("one\ntwo") == "one␊two"


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
