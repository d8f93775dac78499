"""docs/design.md in, the column contract out: for each table a text, and name, dtype and meaning of its columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PART = "\n## The column contract\n"


@dataclass(frozen=True, slots=True)
class Promise:
    """A section of the contract. `heading` is what follows `dump.`; rows are (name, dtype, meaning), in Markdown."""

    heading: str
    text: str
    rows: list[tuple[str, str, str]]

    @property
    def name(self) -> str:
        """The attribute of a dump that it begins with: `replay` of `replay().memory`."""
        return re.split(r"[(.]", self.heading, maxsplit=1)[0]


def read(page: Path) -> list[Promise]:
    """All sections, in the page's order."""
    part = page.read_text("utf-8").split(_PART, 1)[1].split("\n## ", 1)[0]
    found = []
    for section in part.split("\n### ")[1:]:
        heading, _, body = section.partition("\n")
        lines = body.splitlines()
        rows = [_cells(line) for line in lines if line.startswith("| `")]
        text = "\n".join(line for line in lines if not line.startswith("|")).strip()
        found.append(Promise(heading.strip().strip("`"), text, rows))
    return found


def _cells(line: str) -> tuple[str, str, str]:
    name, dtype, meaning = (cell.strip() for cell in line.strip().strip("|").split("|", 2))
    return name, dtype, meaning
