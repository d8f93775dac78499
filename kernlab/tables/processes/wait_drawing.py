"""The drawing of a graph of waits: an SVG of its own, in the house's colours, for light and dark pages."""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.escape import escape_attribute, show_controls
from kernlab.util.text import few, shorten

#: Pixels: a letter of the font is at most so wide, a box so high, and so much lies between two of them.
_LETTER, _HEIGHT, _GAP_X, _GAP_Y, _PAD = 7.2, 26, 56, 12, 10
#: A label that is longer is cut: names of files can be of any length.
_LONGEST = 46
#: Of a line below the drawing, and of a tooltip.
_LONGEST_NOTE = 500
#: More boxes than this nobody reads: the rest is counted.
MOST_BOXES = 400
#: Circles that the drawing's description names.
_NOTES = 4

#: The colours of plots/style.py on light and on dark pages.
_LIGHT = (
    "--ink: #1B1F24; --soft: #5B636D; --line: #8A929C; --thread: #56B4E9; --lock: #DDE1E6; --bad: #D55E00; "
    "--page: #FFFFFF"
)
_DARK = (
    "--ink: #E8EAED; --soft: #A3ABB5; --line: #77808B; --thread: #3D94D1; --lock: #3A414A; --bad: #EE7A38; "
    "--page: #14181D"
)
_STYLE = f"""
.kl-waits {{ font: 12px ui-monospace, monospace; background: var(--page); {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ .kl-waits {{ {_DARK} }} }}
[data-jp-theme-light="true"] .kl-waits, .vscode-light .kl-waits {{ {_LIGHT} }}
[data-jp-theme-light="false"] .kl-waits, .vscode-dark .kl-waits {{ {_DARK} }}
.kl-waits text {{ fill: var(--ink) }}
.kl-waits .thread {{ fill: var(--page); stroke: var(--thread); stroke-width: 1.5 }}
.kl-waits .lock {{ fill: var(--lock) }}
.kl-waits path {{ fill: none; stroke: var(--line); stroke-width: 1.2 }}
.kl-waits .bad {{ stroke: var(--bad); stroke-width: 2 }}
.kl-waits .note {{ fill: var(--soft) }}
"""


@dataclass
class Box:
    """A thread or a lock: `key` names it, `label` is what is written in it, `bad`: part of a circle."""

    key: str
    label: str
    lock: bool
    bad: bool = False
    column: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def text(self) -> str:
        """The label as it is shown."""
        return shorten(show_controls(self.label), _LONGEST)

    @property
    def width(self) -> float:
        """How wide the box is."""
        return len(self.text) * _LETTER + 2 * _PAD


def draw(boxes: dict[str, Box], arrows: list[tuple[str, str]], notes: list[str]) -> str:
    """An SVG of boxes and arrows (pairs of keys, each from who waits to what is waited for); notes stand below.

    Columns run from who waits on the left to who is waited for on the right; all text is escaped.
    """
    left_out = max(0, len(boxes) - MOST_BOXES)
    if left_out:
        kept = dict(list(boxes.items())[:MOST_BOXES])
        boxes, arrows = kept, [pair for pair in arrows if pair[0] in kept and pair[1] in kept]
        notes = [*notes, f"{left_out:,} more threads and locks are not drawn"]
    width, height = 0.0, 0.0
    for part in _parts(boxes, arrows):
        own = [pair for pair in arrows if pair[0] in part]
        _columns(part, own)
        part_width, height = _place(part, own, height)
        width = max(width, part_width)
    notes = [shorten(show_controls(note), _LONGEST_NOTE) for note in notes]
    lines = [
        f'<path d="{_path(boxes[start], boxes[end])}" '
        + (_BAD_ARROW if boxes[start].bad and boxes[end].bad else 'marker-end="url(#kl-arrow)"')
        + "/>"
        for start, end in arrows
    ]
    shapes = [_shape(box) for box in boxes.values()]
    text = [
        f'<text class="note" x="8" y="{height + 18 * (row + 1):.0f}">{escape_attribute(note)}</text>'
        for row, note in enumerate(notes)
    ]
    whole = height + 18 * len(notes) + 12
    width = max(width, *(8 + len(note) * _LETTER for note in notes), 200) if notes else max(width, 200)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kl-waits" width="{width:.0f}" height="{whole:.0f}" '
        f'viewBox="0 0 {width:.0f} {whole:.0f}" role="img" '
        f'aria-label="{escape_attribute(_label(boxes, notes))}" style="max-width:none"><style>{_STYLE}</style>'
        f"<defs>{_marker('kl-arrow', 'line')}{_marker('kl-bad-arrow', 'bad')}</defs>"
        + "".join([*lines, *shapes, *text])
        + "</svg>"
    )


def _label(boxes: dict[str, Box], notes: list[str]) -> str:
    """What somebody who cannot see it is told."""
    threads = [box.text for box in boxes.values() if not box.lock]
    return "; ".join([f"Who waits for whom, {len(threads):,} threads: {few(threads)}", *notes[:_NOTES]])


_BAD_ARROW = 'class="bad" marker-end="url(#kl-bad-arrow)"'


def _marker(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" class="{colour}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" style="fill: var(--{colour}); stroke: none"/></marker>'
    )


def _parts(boxes: dict[str, Box], arrows: list[tuple[str, str]]) -> list[dict[str, Box]]:
    """The boxes that hang together: those with a circle first, then the largest."""
    near: dict[str, list[str]] = {key: [] for key in boxes}
    for start, end in arrows:
        near[start].append(end)
        near[end].append(start)
    seen: set[str] = set()
    parts: list[dict[str, Box]] = []
    for key in boxes:
        reached, new = {key}, [key] if key not in seen else []
        while new:
            new = list(dict.fromkeys(one for at in new for one in near[at] if one not in reached))
            reached.update(new)
        if key not in seen:
            parts.append({one: boxes[one] for one in boxes if one in reached})
            seen |= reached
    return sorted(parts, key=lambda part: (not any(box.bad for box in part.values()), -len(part)))


def _columns(boxes: dict[str, Box], arrows: list[tuple[str, str]]) -> None:
    """Each box as many columns left of where its way ends as there are steps; a circle counts as one row of steps."""
    onward = dict(arrows)
    for key in boxes:
        seen: dict[str, None] = {}
        at: str | None = key
        while at is not None and at not in seen:
            seen[at] = None
            at = onward.get(at)
        boxes[key].column = -len(seen)
    circles = {key for key in boxes if boxes[key].bad}
    for row, key in enumerate(_in_order(circles, onward)):
        boxes[key].column = row - len(circles)
    for key in boxes:
        if key not in circles and _ends_in(key, onward, circles):
            steps, at = 0, key
            while at not in circles:
                steps, at = steps + 1, onward[at]
            boxes[key].column = boxes[at].column - steps
    first = min((box.column for box in boxes.values()), default=0)
    for box in boxes.values():
        box.column -= first


def _in_order(circle: set[str], onward: dict[str, str]) -> list[str]:
    """The boxes of all circles, each in the order of its arrows."""
    order: dict[str, None] = {}
    for start in sorted(circle):
        at = start
        while at in circle and at not in order:
            order[at] = None
            at = onward.get(at, "")
    return list(order)


def _ends_in(key: str, onward: dict[str, str], circles: set[str]) -> bool:
    seen: set[str] = set()
    at: str | None = key
    while at is not None and at not in seen:
        if at in circles:
            return True
        seen.add(at)
        at = onward.get(at)
    return False


def _place(boxes: dict[str, Box], arrows: list[tuple[str, str]], start: float) -> tuple[float, float]:
    """Give each box its place from a height `start` on; how far they reach. Those that wait for one thing lie together,
    it beside them."""
    columns: dict[int, list[Box]] = {}
    for box in boxes.values():
        columns.setdefault(box.column, []).append(box)
    onward = dict(arrows)
    x, height = 8.0, start
    # A circle lies in the first row, and its way back above that.
    top = start + (40.0 if any(box.bad for box in boxes.values()) else 8.0)
    for number in sorted(columns):
        for box in columns[number]:
            box.x = x
        x += max(box.width for box in columns[number]) + _GAP_X
    rank: dict[str, float] = {}
    for number in sorted(columns, reverse=True):
        column = sorted(
            columns[number], key=lambda box: (not box.bad, rank.get(onward.get(box.key, ""), 0.0))
        )
        for row, box in enumerate(column):
            rank[box.key] = rank.get(onward.get(box.key, ""), 0.0) + row * 1e-3
            box.y = top + row * (_HEIGHT + _GAP_Y)
        height = max(height, top + len(column) * (_HEIGHT + _GAP_Y))
    return x - _GAP_X + 8, height


def _shape(box: Box) -> str:
    kind = "lock" if box.lock else "thread"
    radius = 3 if box.lock else _HEIGHT / 2
    return (
        f"<g><title>{escape_attribute(shorten(box.label, _LONGEST_NOTE))}</title>"
        f'<rect class="{kind}{" bad" if box.bad else ""}" '
        f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{_HEIGHT}" rx="{radius:.0f}"/>'
        f'<text x="{box.x + _PAD:.1f}" y="{box.y + _HEIGHT / 2 + 4:.1f}">{escape_attribute(box.text)}</text></g>'
    )


def _path(start: Box, end: Box) -> str:
    """From the right side of one to the left of the next, or around where that lies behind."""
    x0, y0 = start.x + start.width, start.y + _HEIGHT / 2
    x1, y1 = end.x, end.y + _HEIGHT / 2
    if end.column > start.column:
        bend = (x1 - x0) / 2
        return f"M{x0:.1f},{y0:.1f} C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1 - 2:.1f},{y1:.1f}"
    high = min(start.y, end.y) - 36
    x0, x1 = start.x + start.width / 2, end.x + end.width / 2
    return f"M{x0:.1f},{start.y:.1f} C{x0:.1f},{high:.1f} {x1:.1f},{high:.1f} {x1:.1f},{end.y - 2:.1f}"
