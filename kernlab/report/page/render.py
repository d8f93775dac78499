"""A page's parts in, the HTML file out: template and style sheet in one, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from kernlab.escape import escape_html
from kernlab.report.page.build import Page

_HERE = Path(__file__).parent
_SHEETS = ("page.css", "outputs.css", "print.css")
#: Nothing runs and nothing is fetched; pictures lie in the page, and of styles only its own sheet counts.
_POLICY = "default-src 'none'; img-src data:; style-src '{sheet}'; base-uri 'none'; form-action 'none'"


def render(page: Page) -> str:
    """The file. Equal pages give equal bytes."""
    sheet = f"{_base_sheet()}\n{page.styles}\n"
    return str(_template().render(page=page, sheet=sheet, policy=_POLICY.format(sheet=digest(sheet))))


def digest(source: str) -> str:
    """A style sheet as the policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode('ascii')}"


@cache
def _base_sheet() -> str:
    return "\n".join((_HERE / name).read_text("utf-8").strip() for name in _SHEETS)


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shown"] = _shown
    return environment.get_template("page.html.j2")


def _shown(text: str) -> Any:
    """Text of a dump as HTML whose words from right to left reorder nothing beside them; line feeds stay."""
    from markupsafe import Markup

    return Markup("\n".join(map(escape_html, text.split("\n"))))
