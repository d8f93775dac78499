"""An output of a cell in, cleaned HTML out: the richest form without scripts, else a sentence that says what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kernlab.escape import NO_MATH, escape_html, show_controls
from kernlab.report.page import code, markdown, printed
from kernlab.report.page.cleaning import clean, parse
from kernlab.report.page.figures import Figures, both_themes, picture
from kernlab.report.page.inline_styles import InlineStyles
from kernlab.report.page.tables import Tables
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")
#: An SVG above so many letters gives way to a picture of dots where there is one.
_HEAVY_SVG = 600_000
_UNTYPESET = {
    "text/latex": "A formula",
    "application/javascript": "A script",
    "application/pdf": "A PDF",
    "application/vnd.plotly.v1+json": "A Plotly figure",
    "application/vnd.vegalite.v5+json": "A Vega figure",
}


@dataclass
class Dress:
    """What all outputs of one page share."""

    styles: InlineStyles = field(default_factory=InlineStyles)
    figures: Figures = field(default_factory=Figures)
    tables: Tables = field(default_factory=Tables)

    def html(self, source: str, space: str, section: str, link: Any = None) -> str:
        """HTML of an output as the page has it: cleaned, tables and pictures dressed. '' if nothing is left."""
        soup = self.soup(source, space, section, link)
        return str(soup) if _shows(soup) else ""

    def soup(self, source: str, space: str, section: str, link: Any = None) -> BeautifulSoup:
        """The same as a tree."""
        soup = parse(source)
        _still_grids(soup)
        both_themes(soup)
        clean(soup, space=space, styles=self.styles, link=link)
        printed.dress(soup, section)
        printed.unfold(soup)
        self.tables.dress(soup, section)
        self.figures.dress(soup, space, section)
        return soup


def shown(output: Mapping[str, Any], dress: Dress, space: str, section: str) -> str:
    """An output that is no error as HTML; '' for one that shows nothing."""
    if output.get("output_type") == "stream":
        return _stream(str(output.get("name")), text_of(output.get("text")), dress, space, section)
    data = output.get("data")
    if not isinstance(data, Mapping):
        return ""
    for made in _forms(data, output.get("metadata"), dress, space, section):
        if made:
            return made
    return ""


def _forms(data: Mapping[str, Any], metadata: Any, dress: Dress, space: str, section: str) -> Iterable[str]:
    """What the output can be shown as, the best first."""
    if "text/html" in data:
        yield dress.html(text_of(data["text/html"]), space, section)
    if "application/vnd.kernlab.struct+json" in data:
        yield dress.html(_struct_tree(data["application/vnd.kernlab.struct+json"]), space, section)
    svg = text_of(data.get("image/svg+xml"))
    pictures = [picture(kind, data[kind], metadata) for kind in _PICTURES if kind in data]
    if svg and not (pictures and len(svg) > _HEAVY_SVG):
        yield _figure(dress.html(svg, space, section))
    for image in pictures:
        yield _figure(dress.html(image, space, section))
    if "text/markdown" in data:
        yield dress.html(markdown.to_html(text_of(data["text/markdown"])), space, section)
    if WIDGET in data:
        what = shorten(show_controls(text_of(data.get("text/plain")).partition("(")[0]), 60)
        yield _left_out(
            f"A widget ({what}) has no form without a kernel."
            if what
            else "A widget has no form without a kernel."
        )
    plain = text_of(data.get("text/plain"))
    if plain and not plain.startswith("<IPython.core.display."):
        yield dress.html(_pre(plain), space, section)
    for kind, what in _UNTYPESET.items():
        if kind in data:
            yield _left_out(f"{what} is left out: this page runs and typesets nothing.")
    if "text/html" in data:
        yield _left_out("An output that is nothing without scripts is left out: this page runs none.")


def failure(error: Mapping[str, Any]) -> tuple[str, str]:
    """An error output as its last line and its traceback, both plain text."""
    lines = [code.plain(str(line)) for line in error.get("traceback", ()) or ()]
    name, value = code.plain(str(error.get("ename", ""))), code.plain(str(error.get("evalue", "")))
    last = ": ".join(filter(None, (name, value.strip())))
    return last or "it says no reason", "\n".join(lines)


def _stream(name: str, text: str, dress: Dress, space: str, section: str) -> str:
    made = dress.html(_pre(text), space, section)
    if name != "stderr" or not made:
        return made
    return f'<details class="r-said"><summary>Messages while this was made</summary>{made}</details>'


def _pre(text: str) -> str:
    return f'<pre class="{NO_MATH}">{code.preformatted(text)}</pre>'


def text_of(data: Any) -> str:
    """A text that nbformat may have kept as a list of lines."""
    return "".join(map(str, data)) if isinstance(data, list | tuple) else "" if data is None else str(data)


def _figure(html: str) -> str:
    return f'<figure class="r-figure">{html}</figure>' if html else ""


def _left_out(sentence: str) -> str:
    return f'<p class="r-left-out">{escape_html(sentence)}</p>'


def _shows(soup: BeautifulSoup) -> bool:
    return bool(soup.get_text(strip=True)) or soup.find(("img", "svg", "hr")) is not None


def _still_grids(soup: BeautifulSoup) -> None:
    """Before cleaning: of a grid (kernlab.show) only the plain table that stands in for it."""
    for grid in soup.select(".kernlab-grid"):
        plain = grid.select_one(".kernlab-plain")
        if plain is not None:
            for note in plain.find_all("small"):
                note.decompose()
            grid.replace_with(plain.extract())
    for table in soup.select("table[id^=itables_]"):
        if table.find("td") is None or "Loading" in table.get_text():
            left = soup.new_tag("p")
            left.string = "An interactive table is left out: this page runs no scripts."
            table.replace_with(left)


def _struct_tree(data: Any) -> str:
    """A struct tree of which only the data is there."""
    from kernlab.struct_browser.snapshot import as_html

    try:
        view = data["view"]
        captured = {key: _page(page) for key, page in data.get("captured", {}).items()}
        whole = {"title": str(view["title"]), "address": str(view["address"])}
        return as_html({**whole, "root": _row(view["root"]), "page": _page(view["page"])}, captured)
    except (KeyError, TypeError, AttributeError):
        return ""


def _page(page: Any) -> dict[str, Any]:
    told = {key: str(page[key]) for key in ("note", "problem") if page.get(key)}
    numbers = {key: int(page[key]) for key in ("next", "total") if isinstance(page.get(key), int)}
    return {
        **told,
        **numbers,
        "question": bool(page.get("question")),
        "rows": [_row(row) for row in page["rows"]],
    }


def _row(row: Any) -> dict[str, str]:
    return {
        key: str(row.get(key, ""))
        for key in ("id", "name", "type", "value", "summary", "why", "note", "offset")
    }
