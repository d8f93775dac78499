"""Tables of cleaned outputs in, tables of the page out: heads with a scope, a name, a frame that keys scroll."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING

from kernlab.util.text import shorten

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_NUMBER = re.compile(
    r"[+\-−]?[\d,_.]+(?:e[+-]?\d+)?\s?(?:%|[KMGTPE]?i?B|[mµn]?s)?|–|NaN|<NA>|NaT|None|…|", re.ASCII
)
_HEXADECIMAL = re.compile(r"0x[0-9a-f]+", re.IGNORECASE)
#: Letters in a row that a phone shows without scrolling; that fit a page in print, in a small print, in the smallest.
_NARROW, _PRINTED, _SMALL, _SMALLEST = 34, 105, 130, 165
_LONGEST_NAME = 120
#: Letters from which on a cell's text is broken on a phone, and everywhere; in print a word, by its table's width.
_PHRASE, _LONG, _WORDS = 16, 60, (26, 11, 6, 3)


class Tables:
    """Dresses the tables of cleaned outputs; their names are unique in the page."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}

    def dress(self, soup: BeautifulSoup, section: str) -> None:
        """Give each table's heads their scope, and wrap it where it may be wider than its page."""
        for table in list(soup.find_all("table")):
            _heads(soup, table)
            rows = _rows(table)
            classes = str(table.get("class", "")).split()
            if "dataframe" in classes:
                _numbers(rows)
            table["class"] = " ".join([*classes, "r-table", *_printed(rows)])
            for cell in (cell for row in rows for cell in row):
                _breaks(cell)
            _caption(soup, table)
            if table.find_parent("table") is None and _letters(rows) > _NARROW:
                frame = soup.new_tag(
                    "div",
                    attrs={
                        "class": "r-scroll",
                        "role": "region",
                        "tabindex": "0",
                        "aria-label": self._name(table, section),
                    },
                )
                table.wrap(frame)

    def _name(self, table: Tag, section: str) -> str:
        caption = table.find("caption")
        said = shorten(caption.get_text(" ", strip=True), _LONGEST_NAME) if caption else ""
        name = f"Table: {said}" if said else f"Table in “{section}”"
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name} ({self._names[name]})"


def _rows(table: Tag) -> list[list[Tag]]:
    return [row.find_all(("td", "th"), recursive=False) for row in table.find_all("tr")]


def _heads(soup: BeautifulSoup, table: Tag) -> None:
    if table.find("thead") is None:
        _make_head(soup, table)
    for head in table.find_all("th"):
        if not head.get_text(strip=True) and head.find(("img", "svg")) is None:
            head.name = "td"
            head.attrs.pop("scope", None)
        elif not head.has_attr("scope"):
            above = head.find_parent("thead") is not None
            several = str(head.get("colspan", "1")) != "1"
            head["scope"] = ("colgroup" if several else "col") if above else "row"


def _make_head(soup: BeautifulSoup, table: Tag) -> None:
    """A first row of heads alone is the head, which print repeats on each page."""
    first = table.find("tr")
    if first is None:
        return
    cells = first.find_all(("td", "th"), recursive=False)
    heads = [cell for cell in cells if cell.name == "th"]
    others = [cell for cell in cells if cell.name == "td" and cell.get_text(strip=True)]
    if len(heads) < 2 or others or table.find_all("tr")[1:] == []:
        return
    head = soup.new_tag("thead")
    caption = table.find("caption", recursive=False)
    head.append(first.extract())
    if caption is not None:
        caption.insert_after(head)
    else:
        table.insert(0, head)


def _breaks(cell: Tag) -> None:
    """Say which texts go on in a second line: long ones everywhere, phrases on a phone."""
    text, classes = cell.get_text(), str(cell.get("class", "")).split()
    if "lines" in classes or len(text) <= _PHRASE or (len(text) <= _LONG and " " not in text.strip()):
        return
    cell["class"] = " ".join([*classes, "r-long" if len(text) > _LONG else "r-wraps"])


def _printed(rows: list[list[Tag]]) -> list[str]:
    """Classes for print, by the letters of each column that cannot be broken."""
    words = [[_longest_word(cell) for cell in row] for row in rows]

    def letters(most: int) -> int:
        return sum(min(max(column), most) + 2 for column in zip_longest(*words, fillvalue=0))

    needed = letters(_WORDS[0])
    most = next((most for most in _WORDS if letters(most) <= _SMALLEST), 1)
    for row, lengths in zip(rows, words, strict=True):
        for cell, length in zip(row, lengths, strict=True):
            if length > most and "lines" not in str(cell.get("class", "")).split():
                cell["class"] = f"{cell.get('class', '')} r-word".strip()
    if needed <= _PRINTED:
        return []
    return ["r-wide"] if needed <= _SMALL else ["r-widest"]


def _longest_word(cell: Tag) -> int:
    text = cell.get_text()
    if "n" in str(cell.get("class", "")).split():
        return len(text)
    return max(map(len, text.split()), default=0)


def _caption(soup: BeautifulSoup, table: Tag) -> None:
    """Its words stay where they can be seen while the table is scrolled."""
    caption = table.find("caption", recursive=False)
    if caption is not None:
        words = soup.new_tag("span", attrs={"class": "r-caption"})
        for node in list(caption.contents):
            words.append(node.extract())
        caption.append(words)


def _numbers(rows: list[list[Tag]]) -> None:
    """Columns of pandas' own tables that are numbers throughout stand at the right, addresses in the font of code."""
    plain = [
        row
        for row in rows
        if all(not cell.has_attr("colspan") and not cell.has_attr("rowspan") for cell in row)
    ]
    if not plain:
        return
    width = max(len(row) for row in plain)
    plain = [row for row in plain if len(row) == width]
    for place in range(width):
        column = [row[place] for row in plain]
        said = [cell.get_text(strip=True) for cell in column if cell.find_parent("thead") is None]
        if not said:
            continue
        kind = (
            "n"
            if all(map(_NUMBER.fullmatch, said))
            else "a"
            if all(map(_HEXADECIMAL.fullmatch, said))
            else ""
        )
        for cell in column if kind else ():
            cell["class"] = f"{cell.get('class', '')} {kind}".strip()


def _letters(rows: list[list[Tag]]) -> int:
    """Letters of the widest row, more or less."""
    return max((sum(min(len(cell.get_text()), 60) + 2 for cell in row) for row in rows), default=0)
