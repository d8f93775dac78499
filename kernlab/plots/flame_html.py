"""Boxes of a flame graph in, HTML out: an SVG that follows its page's theme and width, zooms, and can be searched.

Self-contained: without scripts (an untrusted notebook, a mail) it is the same picture with tooltips.
"""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from kernlab.escape import NO_MATH, escape_attribute, escape_html, show_short
from kernlab.plots import style
from kernlab.plots.stacks import (
    KERNEL,
    KINDS,
    ROOT,
    Box,
    Flames,
    captions,
    colours_of,
    described,
    ink_of,
    told,
)
from kernlab.util.text import shorten

#: Pixels of a row.
_ROW = 18
_LONGEST, _LONGEST_NAME = 300, 100
#: Pixels that the picture has in most pages, and of a letter: without scripts names are cut to what they leave.
_USUAL_WIDTH, _LETTER = 1100, 6.7
#: Narrower than so many pixels, a box is all border.
_HAIR = 4

_STYLE = """
#ID{font:12px/1.4 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--ink);background:var(--ground);
padding:8px 10px;max-width:1200px}
#ID .title{font-weight:700;font-size:14px}#ID .soft{color:var(--soft)}
#ID .head{display:flex;flex-wrap:wrap;gap:4px 16px;justify-content:space-between;align-items:flex-start}
#ID .tools{display:flex;gap:8px}
#ID .tools>*{font:inherit;color:var(--ink);background:var(--ground);border:1px solid var(--line);border-radius:3px;
padding:2px 8px;height:24px;box-sizing:border-box}
#ID .tools>[hidden]{display:none}#ID .tools button{cursor:pointer}#ID .tools input{width:15em}
#ID .tools ::placeholder{color:var(--soft);opacity:1}
#ID .tools :focus-visible{outline:2px solid var(--ink);outline-offset:1px}
#ID svg{display:block}#ID .flames{width:100%;margin:6px 0 4px}
#ID .b{cursor:pointer;outline:none}#ID .b rect{stroke:var(--ground);stroke-width:1}
#ID .b.hair rect{stroke:none}
#ID .b:hover rect,#ID .b:focus-visible rect{stroke:var(--ink);stroke-width:3}
#ID text{font:11px var(--jp-code-font-family,ui-monospace,monospace);pointer-events:none;fill:var(--on)}
#ID .below rect{opacity:.6}#ID.finding .b:not(.hit){opacity:.35}
#ID .keys{display:flex;flex-wrap:wrap;gap:2px 16px}
#ID .keys i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px;vertical-align:-1px}
#ID .said{min-height:2.8em;overflow-wrap:anywhere}
#ID .k0 text{fill:var(--ink)}
"""
_FILL = "#ID .kN rect{fill:var(--kN)}#ID i.kN{background:var(--kN)}"


def flame_html(found: Flames) -> str:
    """The graph as one element. Names of the dump are escaped; the script holds none of them."""
    name = f"kernlab-flames-{secrets.token_hex(6)}"
    head, below = captions(found)
    height = found.depth * _ROW
    boxes = "".join(_box(box, found) for box in found.boxes)
    used = sorted({box.kind for box in found.boxes} - {ROOT})
    keys = "".join(f'<span><i class="k{kind}"></i>{escape_html(KINDS[kind])}</span>' for kind in used)
    return (
        f'<div id="{name}" class="kernlab-flames {NO_MATH}" data-lm-suppress-shortcuts="true">'
        f"<style>{_sheet(name)}</style>"
        f'<div class="head"><div><div class="title" id="{name}-title">{escape_html(head)}</div>'
        f'<div class="soft">{escape_html(below)}</div></div><div class="tools"></div></div>'
        f'<svg class="flames" height="{height}" role="img" aria-labelledby="{name}-title" '
        f'aria-describedby="{name}-desc">'
        f'<desc id="{name}-desc">{escape_attribute(described(found))}</desc>{boxes}</svg>'
        f'<div class="keys soft">{keys}</div>'
        '<div class="said soft" role="status">Point at a function for its threads.</div>'
        f'<script>({_script()})("{name}")</script></div>'
    )


@cache
def _script() -> str:
    return Path(__file__).with_name("flames.js").read_text("utf-8").rstrip()


def _box(box: Box, found: Flames) -> str:
    left, width = box.start / found.threads, box.count / found.threads
    top = (found.depth - 1 - box.depth) * _ROW
    room, name = int((width * _USUAL_WIDTH - 7) / _LETTER), shorten(box.name, _LONGEST_NAME)
    label = show_short(name, room) if room >= 3 else ""
    whole = "" if label == name else f' data-name="{escape_attribute(name)}"'
    hair = " hair" if width * _USUAL_WIDTH < _HAIR else ""
    # Clipped by its own viewport: in a narrower page, too, a name never runs into its neighbour.
    return (
        f'<svg class="b k{box.kind}{hair}" x="{left:.4%}" y="{top}" width="{width:.4%}" height="{_ROW}" '
        f'data-x="{box.start}" data-w="{box.count}" data-d="{box.depth}"{whole}>'
        f"<title>{escape_attribute(shorten(told(box, found.threads), _LONGEST))}</title>"
        f'<rect width="100%" height="100%"/><text x="4" y="13">{escape_attribute(label)}</text></svg>'
    )


def _sheet(name: str) -> str:
    """Light, and in a dark page dark."""
    dark = f'[data-jp-theme-light="false"] #{name},.vscode-dark #{name}'
    fills = "".join(_FILL.replace("N", str(kind)) for kind in range(len(KINDS)))
    sheet = (_STYLE + fills).replace("ID", name)
    return f"#{name}{{{_colours(style.LIGHT)}}}{dark}{{{_colours(style.DARK)}}}{sheet}"


def _colours(theme: style.Theme) -> str:
    fills = "".join(f"--k{kind}:{colour};" for kind, colour in enumerate(colours_of(theme)))
    return (
        f"{fills}--ink:{theme.ink};--soft:{theme.soft};--line:{theme.mute};--ground:{theme.background};"
        f"--on:{ink_of(theme, KERNEL)}"
    )
