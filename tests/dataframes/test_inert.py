"""Text of a dump in what pandas itself prints, styles and writes: shown as it is, never acted on."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import kernlab
from kernlab.dataframes import builder  # noqa: F401 - what it puts into pandas is tested here
from kernlab.escape import escape_csv, escape_sheet, show_controls

NAMES = [
    '<img id=harm src=x onerror="window.harm=1">',
    "</td></table></style><script>harm()</script>",
    "$\\href{javascript:harm()}{x}$",
    "{{7*7}}{% raw %}{0.__class__}%s",
    "\x1b]0;owned\x07\x1b[31mred",
    "\x1b]8;;http://a.invalid\x1b\\link\x9b2J",
    "\u202egnp.exe\u2066",
    "\u05e9\u05dc\u05d5\u05dd 12",
    "Z\u0335" * 3 + "\u0301" * 90,
    "a\r\n\tb\0c",
    '=HYPERLINK("http://a.invalid","x")',
    "+1+cmd|' /C calc'!A0",
    "-1+2",
    "@SUM(A1:A2)",
    "\t=1",
    "#N/A",
    "a;=1+1",
    "_x003D_1",
    "\\input{/etc/passwd} & \\\\ %",
    "A" * 300,
]
#: What a terminal acts on; line feeds and tabs are the table's own.
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def table():
    """Every name as a cell, as a label, as an item of a list, and some as names of columns."""
    made = pd.DataFrame(
        {
            "text": pd.array(NAMES, dtype="str"),
            "kind": pd.Categorical(NAMES),
            "list": [[name] for name in NAMES],
            NAMES[0]: range(len(NAMES)),
            NAMES[10]: np.linspace(-1, 1, len(NAMES)),
        }
    )
    made.index = pd.Index(NAMES, dtype="str", name=NAMES[0])
    return made


@pytest.mark.parametrize(
    "printed",
    [
        repr,
        str,
        pd.DataFrame.to_string,
        lambda t: repr(t["text"]),
        lambda t: t["text"].to_string(),
        lambda t: repr(t["kind"]),
        lambda t: repr(t["kind"].array),
        lambda t: repr(t.index),
        lambda t: repr(t["text"].array),
        lambda t: repr(t.groupby("text").size()),
        lambda t: repr(t.set_index("kind", append=True).index),
        lambda t: repr(t["text"].value_counts().to_frame().T),
        lambda t: t.style.to_string(),
        lambda t: repr(t.groupby("text").size().index),
    ],
)
def test_a_terminal(table, printed):
    with pd.option_context("display.max_columns", None, "display.width", 500, "display.max_rows", 100):
        said = printed(table)
    assert not ACTING.search(said)
    assert "\u241b" in said


def test_a_buffer_gets_what_there_is(table):
    buffer = io.StringIO()
    table.to_string(buffer, columns=["text"], header=False, index=False)
    assert "\x1b]0;owned" in buffer.getvalue()


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.handlers = set(), "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


TITLES = dict.fromkeys(NAMES[:1], NAMES)

STYLED = {
    "as it is": lambda t: t.style,
    "formats": lambda t: t.style.format(precision=2, na_rep="-").format("{}", subset=["text"]),
    "bars": lambda t: t.style.bar(subset=[NAMES[0]]).highlight_max(subset=[NAMES[0]]).hide(axis="index"),
    "labels": lambda t: t.style.format_index(str.upper).format_index(axis=1),
    "grouped": lambda t: t.groupby("text").size().to_frame("n").style,
    "counted": lambda t: t["text"].value_counts().to_frame().T.style.background_gradient(axis=None),
    "transposed": lambda t: t.T.style,
    "tooltips": lambda t: t.style.set_tooltips(pd.DataFrame(TITLES, index=t.index)),
    "titles": lambda t: t.style.set_tooltips(pd.DataFrame(TITLES, index=t.index), as_title_attribute=True),
    "joined": lambda t: t.head(2).style.concat(t.tail(2).style),
}


@pytest.mark.parametrize("styled", STYLED)
def test_styler(table, styled):
    made = STYLED[styled](table)
    for html in (made._repr_html_(), made.to_html(), made.to_html(doctype_html=True)):
        page = Page(html)
        assert page.tags <= {
            "style",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "span",
            "html",
            "head",
            "meta",
            "body",
        }
        assert page.handlers == []
        assert not ACTING.search(html)
        assert re.search(r"<table [^>]*class=\"tex2jax_ignore mathjax_ignore", html)
    if styled not in ("tooltips",):
        assert show_controls(NAMES[0])[:12].casefold() in page.text.casefold()


def test_markup_in_a_styler_is_for_who_asks_for_it(table):
    plain = table[["text"]].reset_index(drop=True)
    assert "<img" in plain.style.format(escape=None).to_html()
    assert "&lt;img" not in plain.style.format(escape=None).to_html()
    assert "\\textbackslash" in plain.style.format(escape="latex").to_latex()


def test_a_notebook_without_the_extension(table):
    html = table._repr_html_()
    page = Page(html)
    assert page.tags <= {"div", "style", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert page.handlers == []
    assert html.startswith('<div class="tex2jax_ignore mathjax_ignore">')
    assert not ACTING.search(html)


def test_latex(table):
    made = table[["text"]].to_latex()
    assert "\\input{" not in made
    assert "\\textbackslash input" in made


@pytest.mark.parametrize("engine", ["openpyxl", "xlsxwriter"])
@pytest.mark.parametrize("made", ["table", "counts", "styler"])
def test_excel(table, engine, made, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip(engine)
    shown = {"table": table, "counts": table["text"].value_counts().to_frame(), "styler": table.style}[made]
    shown.to_excel(tmp_path / "t.xlsx", engine=engine)
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").active
    cells = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    assert not any(cell.hyperlink for cell in cells)
    texts = {cell.value for cell in cells if cell.data_type == "s"}
    for name in NAMES:
        assert {escape_sheet(name), show_controls(name, keep="\n\t")} & texts
    # Whoever goes into the cell and out again has text, too.
    assert all(cell.number_format == "@" for cell in cells if str(cell.value).startswith(("=", "+", "@")))
    with (tmp_path / "t.xlsx").open("rb") as file:
        import zipfile

        with zipfile.ZipFile(file) as parts:
            inside = b"".join(parts.read(name) for name in parts.namelist())
    assert b"<f>" not in inside
    assert b"hyperlink " not in inside


def test_csv_for_spreadsheets(table):
    written = list(csv.reader(io.StringIO(kernlab.for_spreadsheets(table).to_csv())))
    assert len(written) == len(NAMES) + 1
    for cell in [cell for row in written for cell in row[:4]]:
        assert not re.match(r"\s*[=+\-@]|\r", cell), cell
        assert not ACTING.search(cell)
    assert [row[1] for row in written[1:]] == [escape_csv(name) for name in NAMES]
    assert written[0] == [escape_csv(name) for name in (NAMES[0], *table.columns)]
    assert [float(row[5]) for row in written[1:]] == table.iloc[:, 4].tolist(), (
        "numbers stay, less than none, too"
    )


def test_csv_for_programs_is_exact(table):
    back = pd.read_csv(io.StringIO(table[["text"]].to_csv(index=False)), keep_default_na=False)
    assert back["text"].tolist() == NAMES


def test_for_spreadsheets_keeps_what_is_no_text():
    times = pd.DataFrame(
        {"a": pd.to_timedelta([1, -1], unit="s"), "b": pd.array([1, None], dtype="Int64"), "c": [True, False]}
    )
    pd.testing.assert_frame_equal(kernlab.for_spreadsheets(times), times)
    empty = pd.DataFrame({"a": pd.array([], dtype="str")})
    pd.testing.assert_frame_equal(kernlab.for_spreadsheets(empty), empty)
    several = pd.DataFrame({"n": [1]}, index=pd.MultiIndex.from_tuples([("=1", 2)], names=["@a", None]))
    found = kernlab.for_spreadsheets(several)
    assert found.index.tolist() == [("'=1", 2)]
    assert list(found.index.names) == ["'@a", None]


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_columns_of_bytes_are_exact(table, kind, tmp_path):
    pytest.importorskip("pyarrow")
    plain = table[["text", "kind"]].reset_index(drop=True)
    getattr(plain, f"to_{kind}")(tmp_path / "t")
    back = getattr(pd, f"read_{kind}")(tmp_path / "t")
    assert back["text"].tolist() == back["kind"].tolist() == NAMES


def test_what_python_says_of_an_error():
    for error in (
        kernlab.KernlabError("\x1b[31mred\u202e\nnext"),
        kernlab.errors.DumpFileError(2, "no", "\x1b[31m"),
    ):
        assert not ACTING.search(str(error))
    assert str(kernlab.KernlabError("a\nb")) == "a\nb"
    assert not ACTING.search(str(kernlab.errors.TruncatedDumpWarning("\x1b[31mred")))
