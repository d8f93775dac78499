"""The import rules of pyproject.toml in, a drawing of the rooms out: SVG in the page's own colours, light and dark."""

from __future__ import annotations

import html
import tomllib
from pathlib import Path

WIDTH, ROW, GAP, LEFT = 780, 32, 5, 120
#: What the rows from this room on, down to the next one named, have in common.
BANDS = {
    "__main__": "what people use",
    "display": "to be looked at",
    "dump": "one object",
    "tables": "in pandas",
    "linux": "the kernel",
    "core": "structs",
    "memory": "bytes",
    "util": "for everybody",
}


def layers(root: Path) -> list[list[str]]:
    """The rooms, from what people touch down to what everything uses; neighbours share a row."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    contract = next(
        each
        for each in settings["tool"]["importlinter"]["contracts"]
        if each.get("containers") == ["kernlab"]
    )
    return [[room.strip("() ") for room in row.split("|")] for row in contract["layers"]]


def drawing(root: Path) -> str:
    """An SVG element, as text: one row a layer; imports go downwards only."""
    rows = layers(root)
    height = len(rows) * (ROW + GAP) + 30
    parts = [
        f'<svg class="rooms" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="rooms-title rooms-text" '
        'xmlns="http://www.w3.org/2000/svg">',
        '<title id="rooms-title">The rooms of kernlab</title>',
        f'<desc id="rooms-text">From top to bottom, each may import only from those below: '
        f"{html.escape('; '.join(', '.join(row) for row in rows))}.</desc>",
        '<defs><marker id="rooms-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>',
    ]
    y = 6
    for row in rows:
        width = (WIDTH - LEFT - 8 - GAP * (len(row) - 1)) / len(row)
        band = next((BANDS[room] for room in row if room in BANDS), "")
        if band:
            parts.append(f'<text class="band" x="22" y="{y + 22}">{html.escape(band)}</text>')
        for number, room in enumerate(row):
            x = LEFT + number * (width + GAP)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}" rx="5"/>')
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{y + 22}" text-anchor="middle">{html.escape(room)}</text>'
            )
        y += ROW + GAP
    parts.append(f'<path class="way" d="M10 8V{y - 8}" marker-end="url(#rooms-tip)"/>')
    parts.append(f'<text class="band" x="22" y="{y + 14}">may import ↓, never ↑</text></svg>')
    return "\n".join(parts) + "\n"
