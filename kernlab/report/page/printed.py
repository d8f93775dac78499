"""Preformatted text of cleaned outputs in, the page's out: lines are broken, columns scrolled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

#: Letters of a line that a phone shows; lines that print keeps on one page.
_NARROW, _SHORT = 40, 40
#: Lines of what is folded up to which paper has it, too: more would be pages that nobody asked for.
_UNFOLDED = 200
#: What folds up its own parts, many of them.
_OWN_FOLDS = re.compile(r"\bkernlab-(stack|tree)\b")
_GAP = re.compile(r"\S {2,}(?=\S)")


def unfold(soup: BeautifulSoup) -> None:
    """Mark what a report folds up and is short enough to be open on paper, where nobody can open it."""
    for folded in soup.select(".kernlab-report details"):
        if folded.find_parent(["details"]) or folded.find_parent(class_=_OWN_FOLDS):
            continue
        lines = len(folded.find_all(["tr", "li", "p"]))
        lines += sum(text.get_text().count("\n") for text in folded.find_all(["pre", "td"]))
        if lines <= _UNFOLDED:
            folded["class"] = f"{folded.get('class', '')} r-unfolded".strip()


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
