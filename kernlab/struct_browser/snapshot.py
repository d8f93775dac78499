"""What was opened of a struct in, a tree of it as HTML and as text out: for pages without a kernel, or JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernlab.escape import NO_MATH, escape_html, escape_terminal

#: JupyterLab's renderer of such trees is extensions/vmcore-explorer/src/mime.ts.
MIME = "application/vnd.kernlab.struct+json"
#: What the renderer draws of a row; the rest is for who can ask a kernel.
_DRAWN = ("name", "type", "value", "summary", "why", "note", "offset")

#: Rows of one tree as text; and how deep any tree goes.
_MOST_TEXT_ROWS, _DEEPEST = 400, 20

_STYLE = """\
.kernlab-tree{color:var(--jp-ui-font-color1,inherit);overflow-x:auto;line-height:1.5;text-align:left}
.kernlab-tree details>:not(summary){margin-left:1.4em}
.kernlab-tree .r{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;\
font-family:var(--jp-code-font-family,monospace);font-size:12px}
.kernlab-tree .l{padding-left:1em}
.kernlab-tree .t{opacity:.75}
.kernlab-tree .w{font-style:italic;color:#b34700}
[data-jp-theme-light="false"] .kernlab-tree .w{color:#ffb26b}"""


def as_data(view: Mapping[str, Any], captured: Mapping[str, Any]) -> dict[str, Any]:
    """The same as plain JSON, for the renderer of `MIME`: what was opened, without what is empty."""
    known = set(captured)
    return {
        "view": {
            "title": view["title"],
            "address": view["address"],
            "root": _drawn(view["root"], known),
            "page": _drawn_page(view["page"], known),
        },
        "captured": {key: _drawn_page(page, known) for key, page in captured.items()},
    }


def _drawn_page(page: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    told = {key: page[key] for key in ("note", "problem", "question", "next", "total") if page.get(key)}
    if "question" in told:
        told["question"] = True
    return {**told, "rows": [_drawn(row, known) for row in page["rows"]]}


def _drawn(row: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    told = {key: row[key] for key in _DRAWN if row.get(key)}
    return {"id": row["id"], **told} if str(row["id"]) in known else told


def as_html(view: Mapping[str, Any], captured: Mapping[str, Any], *, why: str = "") -> str:
    """One `<div>` of nested `<details>`: no script, nothing fetched, every string escaped.

    `view` and the pages in `captured` (by a row's id, as text) are what a browse Session gives; `why` is said below.
    """
    root = view["root"]
    head = (
        f"<b>{escape_html(view['title'])}</b> <code>{escape_html(view['address'])}</code> "
        f"{escape_html(root['summary'] or root['value'])}"
    )
    body = _page(view["page"], captured, 0)
    told = f'<div class="t">{escape_html(why)}</div>' if why else ""
    failed = f'<div class="w">{escape_html(root["why"])}</div>' if root["why"] else ""
    return (
        f'<div class="kernlab-tree {NO_MATH}"><style>{_STYLE}</style>'
        f"<details open><summary>{head}</summary>{failed}{body}</details>{told}</div>"
    )


def _page(page: Mapping[str, Any], captured: Mapping[str, Any], depth: int) -> str:
    parts = [f'<div class="r l t">{escape_html(page["note"])}</div>'] if page.get("note") else []
    for row in page["rows"]:
        inner = captured.get(str(row["id"])) if depth < _DEEPEST else None
        if inner is None:
            parts.append(f'<div class="r l">{_row(row)}</div>')
        else:
            parts.append(
                f'<details open><summary class="r">{_row(row)}</summary>{_page(inner, captured, depth + 1)}</details>'
            )
    if page.get("question"):
        parts.append('<div class="r l t">what this holds is not known</div>')
    if page.get("problem"):
        parts.append(f'<div class="r l w">{escape_html(page["problem"])}</div>')
    if page.get("next") is not None:
        of = f" of {page['total']:,}" if page.get("total") else ""
        parts.append(f'<div class="r l t">… the first {len(page["rows"]):,}{of}</div>')
    return "".join(parts)


def _row(row: Mapping[str, Any]) -> str:
    value = " ".join(filter(None, (row["value"], row["summary"])))
    said = [
        f"<b>{escape_html(row['name'])}</b> = {escape_html(value)}"
        if value
        else f"<b>{escape_html(row['name'])}</b>"
    ]
    if row["why"] or row["note"]:
        said.append(f'<span class="w">{escape_html(row["why"] or row["note"])}</span>')
    place = f", {row['offset']}" if row["offset"] else ""
    said.append(f'<span class="t">· {escape_html(row["type"])}{escape_html(place)}</span>')
    return " ".join(said)


def as_text(view: Mapping[str, Any], captured: Mapping[str, Any]) -> str:
    """The same for a terminal, cut after 400 rows."""
    root = view["root"]
    lines = [f"{view['title']} {view['address']} {root['summary'] or root['value']}".rstrip()]
    if root["why"]:
        lines.append(f"  <{root['why']}>")
    _text(view["page"], captured, 1, lines)
    if len(lines) > _MOST_TEXT_ROWS:
        lines = [*lines[:_MOST_TEXT_ROWS], f"… and {len(lines) - _MOST_TEXT_ROWS:,} more"]
    return "\n".join(escape_terminal(line) for line in lines)


def _text(page: Mapping[str, Any], captured: Mapping[str, Any], depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    for row in page["rows"]:
        if len(lines) > 2 * _MOST_TEXT_ROWS:
            return
        value = " ".join(filter(None, (row["value"], row["summary"])))
        why = f" <{row['why']}>" if row["why"] else ""
        lines.append(f"{indent}{row['name']}: {value or row['type']}{why}")
        inner = captured.get(str(row["id"]))
        if inner is not None and depth < _DEEPEST:
            _text(inner, captured, depth + 1, lines)
    if page.get("problem"):
        lines.append(f"{indent}<{page['problem']}>")
    if page.get("next") is not None:
        lines.append(f"{indent}…")
