"""Preformatted text of cleaned outputs in, the page's out: lines are broken, columns scrolled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

#: Letters of a line that a phone shows; lines that print keeps on one page.
_NARROW, _SHORT = 40, 40
_GAP = re.compile(r"\S {2,}(?=\S)")


def dress(soup: BeautifulSoup, section: str) -> None:
    """Lines are broken where they are too long, but for columns: these scroll, by keyboard, too."""
    for text in soup.find_all("pre"):
        lines = text.get_text().strip("\n").split("\n")
        classes = [*str(text.get("class", "")).split(), "r-text"]
        if len(lines) <= _SHORT:
            classes.append("r-short")
        columns = sum(len(_GAP.findall(line.strip())) > 1 for line in lines)
        if columns > 1 and max(map(len, lines)) > _NARROW:
            classes.append("r-columns")
            text["role"], text["tabindex"], text["aria-label"] = "group", "0", f"Printed in “{section}”"
        text["class"] = " ".join(classes)
