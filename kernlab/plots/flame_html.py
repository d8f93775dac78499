"""Boxes of a flame graph in, HTML out: an SVG that follows its page's theme and width, and zooms where one clicks.

Self-contained: without scripts (an untrusted notebook, a mail) it is the same picture with tooltips.
"""

from __future__ import annotations

import secrets

from kernlab.escape import NO_MATH, escape_html
from kernlab.plots import style
from kernlab.plots.stacks import KERNEL, KINDS, ROOT, Box, Flames, captions, colours_of, ink_of, told
from kernlab.util.text import shorten

#: Pixels of a row.
_ROW = 18
_LONGEST = 300

_STYLE = """
#ID{font:12px/1.4 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--ink);background:var(--ground);
padding:8px 10px;max-width:1200px}
#ID .title{font-weight:700;font-size:14px}#ID .soft{color:var(--soft)}
#ID svg{display:block}#ID>svg{width:100%;margin:6px 0 4px}
#ID .b{cursor:pointer}#ID .b rect{stroke:var(--ground);stroke-width:1}
#ID .b:hover rect{stroke:var(--ink);stroke-width:3}
#ID text{font:11px var(--jp-code-font-family,ui-monospace,monospace);pointer-events:none;fill:var(--on)}
#ID .dim{opacity:.6}
#ID .keys{display:flex;flex-wrap:wrap;gap:2px 16px}
#ID .keys i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px;vertical-align:-1px}
#ID .said{min-height:2.8em;overflow-wrap:anywhere}
#ID .k0 text{fill:var(--ink)}
#ID .thin text{display:none}
"""
_FILL = "#ID .kN rect{fill:var(--kN)}#ID i.kN{background:var(--kN)}"
#: A box that is narrower than this share of the picture has no room for a name.
_THIN = 0.035

# Zooming only sets places: what is drawn stays the same elements. The root takes the reader back.
_SCRIPT = """
(() => {
  const root = document.getElementById("ID");
  if (!root) return;
  const boxes = [...root.querySelectorAll(".b")];
  const said = root.querySelector(".said");
  const before = said.textContent;
  const place = (box) => [Number(box.dataset.x), Number(box.dataset.w)];
  const zoom = (to) => {
    const [left, wide] = place(to);
    for (const box of boxes) {
      const [x, w] = place(box);
      const below = x <= left && x + w >= left + wide && Number(box.dataset.d) < Number(to.dataset.d);
      const inside = x >= left && x + w <= left + wide && !below;
      box.style.display = below || inside ? "" : "none";
      box.classList.toggle("dim", below);
      box.classList.toggle("thin", !below && w / wide < THIN);
      box.setAttribute("x", below ? "0%" : `${(100 * (x - left)) / wide}%`);
      box.setAttribute("width", below ? "100%" : `${(100 * w) / wide}%`);
    }
  };
  root.addEventListener("click", (event) => {
    const box = event.target.closest(".b");
    if (box) zoom(box);
  });
  root.addEventListener("mouseover", (event) => {
    const box = event.target.closest(".b");
    said.textContent = box ? box.querySelector("title").textContent : before;
  });
  root.addEventListener("mouseleave", () => (said.textContent = before));
})();
"""


def flame_html(found: Flames) -> str:
    """The graph as one element. Names of the dump are escaped; the script holds none of them."""
    name = f"kernlab-flames-{secrets.token_hex(6)}"
    head, below = captions(found)
    height = found.depth * _ROW
    boxes = "".join(_box(box, found) for box in found.boxes)
    used = sorted({box.kind for box in found.boxes} - {ROOT})
    keys = "".join(f'<span><i class="k{kind}"></i>{escape_html(KINDS[kind])}</span>' for kind in used)
    return (
        f'<div id="{name}" class="{NO_MATH}"><style>{_sheet(name)}</style>'
        f'<div class="title">{escape_html(head)}</div><div class="soft">{escape_html(below)}</div>'
        f'<svg height="{height}" role="img" aria-label="{escape_html(head)}">{boxes}</svg>'
        f'<div class="keys soft">{keys}</div>'
        '<div class="said soft">Point at a function for its threads; click to see what stands on it, '
        "on the bottom row to see all again.</div>"
        f"<script>{_SCRIPT.replace('ID', name).replace('THIN', str(_THIN))}</script></div>"
    )


def _box(box: Box, found: Flames) -> str:
    left, width = box.start / found.threads, box.count / found.threads
    top = (found.depth - 1 - box.depth) * _ROW
    # Clipped by its own viewport: a name never runs into its neighbour.
    thin = " thin" if width < _THIN else ""
    return (
        f'<svg class="b k{box.kind}{thin}" x="{left:.4%}" y="{top}" width="{width:.4%}" height="{_ROW}" '
        f'data-x="{box.start}" data-w="{box.count}" data-d="{box.depth}">'
        f"<title>{escape_html(shorten(told(box, found.threads), _LONGEST))}</title>"
        f'<rect width="100%" height="100%"/><text x="4" y="13">{escape_html(shorten(box.name, 100))}</text></svg>'
    )


def _sheet(name: str) -> str:
    """Light, and in a dark page dark."""
    dark = f'[data-jp-theme-light="false"] #{name},.vscode-dark #{name}'
    fills = "".join(_FILL.replace("N", str(kind)) for kind in range(len(KINDS)))
    sheet = (_STYLE + fills).replace("ID", name)
    return f"#{name}{{{_colours(style.LIGHT)}}}{dark}{{{_colours(style.DARK)}}}{sheet}"


def _colours(theme: style.Theme) -> str:
    fills = "".join(f"--k{kind}:{colour};" for kind, colour in enumerate(colours_of(theme)))
    return f"{fills}--ink:{theme.ink};--soft:{theme.soft};--ground:{theme.background};--on:{ink_of(theme, KERNEL)}"
