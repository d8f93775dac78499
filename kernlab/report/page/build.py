"""A notebook in, its page's parts out: sections of cells with their outputs, folded code, what could not be made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from kernlab.escape import show_controls
from kernlab.report.page import code, markdown, outputs
from kernlab.report.page.cleaning import author_link, parse
from kernlab.report.page.headings import Entry, Outline, slug_of
from kernlab.report.page.report_data import REPORT_MIME, ReportData, gathered
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_PARAMETERS = frozenset(("parameters", "injected-parameters"))
_LONGEST_TITLE = 300


@dataclass(frozen=True)
class Failure:
    """A cell that raised: in which section, its last words, and the traceback; `anchor` is the box's id."""

    anchor: str
    section: str
    last: str
    traceback: str


@dataclass(frozen=True)
class Part:
    """A piece of a section: `kind` is html (cleaned), code (highlighted) or failure."""

    kind: str
    html: str = ""
    failure: Failure | None = None


@dataclass
class Section:
    """What stands below one heading of the second level; without `anchor` there is no heading."""

    title: str = ""
    anchor: str = ""
    parts: list[Part] = field(default_factory=list)


@dataclass
class Page:
    """All that the template shows. Strings are plain text but for those of parts, `styles` and `parameters`."""

    title: str
    kicker: str
    data: ReportData
    sections: list[Section]
    outline: Outline
    failures: list[Failure]
    parameters: list[str]
    styles: str
    language: str


def build(notebook: Any, name: str, *, with_code: bool = True) -> Page:
    """The page of a notebook (nbformat 4). `name` is its title where neither the notebook nor its report has one.

    `with_code` False leaves the code out, as nbconvert's --no-input asks for.
    """
    return _Builder(notebook, with_code).page(name)


class _Builder:
    def __init__(self, notebook: Any, with_code: bool):
        self._cells = [cell for cell in notebook.cells if "remove-cell" not in _tags(cell)]
        language = notebook.metadata.get("language_info", {})
        self._lexer = str(language.get("pygments_lexer") or language.get("name") or "python")
        self._with_code = with_code
        self._dress = outputs.Dress()
        self._sections = [Section()]
        self._failures: list[Failure] = []
        self._parameters: list[str] = []
        self._code: list[str] = []
        self._written = [self._markdown(number, cell) for number, cell in enumerate(self._cells)]
        self._first = self._title()
        levels = [
            int(heading.name[1]) for soup in self._written if soup for heading in soup.find_all(_HEADINGS)
        ]
        self._outline = Outline(levels)

    def page(self, name: str) -> Page:
        data = gathered(_said(self._cells))
        for number, cell in enumerate(self._cells):
            soup = self._written[number]
            if soup is not None:
                self._flush()
                self._prose(soup)
            elif cell.cell_type == "code":
                self._cell(number, cell)
        self._flush()
        kept = [section for section in self._sections if section.parts or section.anchor]
        self._own_links(kept)
        return Page(
            title=data.title or self._first or name,
            kicker=self._first if data.title and self._first != data.title else "",
            data=data,
            sections=kept,
            outline=self._outline,
            failures=self._failures,
            parameters=self._parameters,
            styles=self._dress.styles.sheet(),
            language="en",
        )

    # -- prose

    def _markdown(self, number: int, cell: Any) -> BeautifulSoup | None:
        if cell.cell_type != "markdown":
            return None
        source = markdown.to_html(cell.source, cell.get("attachments"))
        return self._dress.soup(source, f"m{number}", "the text", _link)

    def _title(self) -> str:
        """The first heading, if it is of the first level: it leaves its cell and becomes the page's."""
        for soup in filter(None, self._written):
            heading = soup.find(_HEADINGS)
            if heading is not None:
                if heading.name != "h1":
                    return ""
                title = heading.get_text(" ", strip=True)
                heading.decompose()
                return shorten(title, _LONGEST_TITLE)
        return ""

    def _prose(self, soup: BeautifulSoup) -> None:
        from bs4.element import Tag

        for node in list(soup.children):
            if isinstance(node, Tag):
                if node.name in _HEADINGS:
                    self._heading(node, self._outline.place)
                    continue
                for heading in node.find_all(_HEADINGS):
                    heading.name = f"h{self._outline.inside(int(heading.name[1]))}"
            self._add(Part("html", str(node)))

    def _heading(self, heading: Tag, place: Callable[[int, str], Entry]) -> None:
        text = heading.get_text(" ", strip=True)
        if not text:
            return
        entry = place(int(heading.name[1]), shorten(text, _LONGEST_TITLE))
        if entry.level == 2:
            self._sections.append(Section(entry.text, entry.anchor))
            return
        heading.name = f"h{entry.level}"
        heading["id"] = entry.anchor
        self._add(Part("html", str(heading)))

    def _own_links(self, sections: list[Section]) -> None:
        """Links within the notebook lead to the page's anchors; to what is not there, nowhere."""
        known = {entry.anchor for entry in self._outline.entries}
        for section in sections:
            section.parts = [_relinked(part, known) for part in section.parts]

    # -- code cells

    def _cell(self, number: int, cell: Any) -> None:
        tags = _tags(cell)
        source = code.highlighted(str(cell.source), self._lexer) if self._with_code else ""
        if tags & _PARAMETERS:
            if source.strip():
                self._parameters.append(source)
            return
        if source.strip() and "remove-input" not in tags:
            self._code.append(source)
        given = [] if "remove-output" in tags else _joined(cell.get("outputs", ()))
        errors = [output for output in given if output.get("output_type") == "error"]
        shown = [self._output(f"o{number}-{place}", output) for place, output in enumerate(given)]
        if errors or "section-failed" in tags:
            self._fail(number, errors[-1] if errors else {})
        if errors or any(shown):
            self._flush()

    def _output(self, space: str, output: Mapping[str, Any]) -> bool:
        """Add what an output shows; False for nothing."""
        if output.get("output_type") == "error" or REPORT_MIME in (output.get("data") or {}):
            return False
        html = outputs.shown(output, self._dress, space, self._section.title or "the beginning")
        if not any(f"<{name}" in html for name in _HEADINGS):
            self._add(Part("html", html))
            return bool(html)
        soup = parse(html)
        own = soup.find("div", class_="kernlab-report", recursive=False)
        if own is not None:
            self._report_section(own)
            return True
        for heading in soup.find_all(_HEADINGS):
            heading.name = f"h{self._outline.inside(int(heading.name[1]))}"
        self._add(Part("html", str(soup)))
        return True

    def _report_section(self, own: Tag) -> None:
        """What a section function of kernlab.report shows: its headings are the page's."""
        together: list[str] = []
        for node in list(own.children):
            if getattr(node, "name", None) in _HEADINGS:
                self._add(Part("html", "".join(together)))
                together = []
                self._heading(cast("Tag", node), self._outline.section)
            else:
                together.append(str(node))
        self._add(Part("html", "".join(together)))

    def _fail(self, number: int, error: Mapping[str, Any]) -> None:
        last, traceback = outputs.failure(error)
        section = self._section.title or "the beginning"
        failure = Failure(
            f"failed-{number}", section, shorten(show_controls(last, keep="\n"), 2000), traceback
        )
        self._failures.append(failure)
        self._add(Part("failure", code.preformatted(traceback), failure))

    # -- parts

    @property
    def _section(self) -> Section:
        return self._sections[-1]

    def _add(self, part: Part) -> None:
        if part.html.strip() or part.failure:
            self._section.parts.append(part)

    def _flush(self) -> None:
        """The code since the last outputs, in one fold."""
        if self._code:
            self._add(Part("code", "\n\n".join(self._code)))
            self._code = []


def _tags(cell: Any) -> frozenset[str]:
    tags = cell.get("metadata", {}).get("tags", ())
    return frozenset(map(str, tags)) if isinstance(tags, list | tuple) else frozenset()


def _joined(given: Iterable[Any]) -> list[dict[str, Any]]:
    """The outputs, what was printed in pieces as one."""
    joined: list[dict[str, Any]] = []
    for output in given:
        last = joined[-1] if joined else {}
        if output.get("output_type") == "stream" and output.get("name") == last.get("name", ""):
            last["text"] = outputs.text_of(last["text"]) + outputs.text_of(output.get("text"))
        else:
            joined.append(dict(output))
    return joined


def _said(cells: list[Any]) -> Iterator[Any]:
    for cell in cells:
        for output in cell.get("outputs", ()):
            yield (output.get("data") or {}).get(REPORT_MIME)


def _link(target: str) -> str:
    return f"#{slug_of(target[1:])}" if target[:1] == "#" else author_link(target)


def _relinked(part: Part, known: set[str]) -> Part:
    if part.kind != "html" or 'href="#at-' not in part.html:
        return part
    soup = parse(part.html)
    for link in soup.select('a[href^="#at-"]'):
        if str(link["href"])[1:] not in known:
            link.unwrap()
    return Part("html", str(soup))
