"""A checkout in, the site out: collects the pages, generates the reference, runs Sphinx, and tells what is wrong."""

from __future__ import annotations

import io
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from scripts.docs_site.columns import write_reference
from scripts.docs_site.rooms import drawing
from scripts.docs_site.sources import BrokenLinkError, collect, relink
from scripts.docs_site.views import write_views

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Built:
    """The site: its folder, how many pages it has, and what went wrong (nothing, else it must not be published)."""

    html: Path
    pages: int = 0
    problems: list[str] = field(default_factory=list)


def build(root: Path, out: Path) -> Built:
    """Build the site of the checkout `root` in `out`/html. What lay there from an earlier build goes first."""
    source, html = out / "source", out / "html"
    for old in (source, html, out / "doctrees"):
        shutil.rmtree(old, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    collect(root, source)
    problems = write_reference(root / "docs" / "design.md", source / "columns")
    problems += write_views(source / "api" / "views.md")
    generated = source / "generated"
    generated.mkdir()
    generated.joinpath("rooms.svg").write_text(drawing(root), "utf-8")
    try:
        relink(root, source)
    except BrokenLinkError as error:
        problems += str(error).splitlines()
    if problems:
        return Built(html, problems=problems)
    return _sphinx(source, html, out / "doctrees")


def accessible(page: str) -> str:
    """The theme's page, where headings have a level, and a box that scrolls can be scrolled with the keyboard."""
    page = page.replace(
        '<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'
    )
    page = page.replace("<pre>", '<pre tabindex="0">')
    return re.sub(r'<div class="table-wrapper([^"]*)">', r'<div class="table-wrapper\1" tabindex="0">', page)


def _sphinx(source: Path, html: Path, doctrees: Path) -> Built:
    said = io.StringIO()
    # Of autodoc's imports: pictures without a window.
    without_window = patch.dict(os.environ, MPLBACKEND=os.environ.get("MPLBACKEND", "agg"))
    with without_window, patch_docutils(str(source)), docutils_namespace():
        app = Sphinx(
            srcdir=source,
            confdir=source,
            outdir=html,
            doctreedir=doctrees,
            buildername="html",
            status=None,
            warning=said,
            freshenv=True,
        )
        app.build(force_all=True)
    for page in html.rglob("*.html"):
        page.write_text(accessible(page.read_text("utf-8")), "utf-8")
    # What Sphinx keeps for its next build is no part of the site.
    for left in (html / ".buildinfo", html / "objects.inv", html / ".doctrees"):
        left.unlink(missing_ok=True)
    told = _COLOUR.sub("", said.getvalue()).replace(f"{source}/", "")
    warnings = [line for line in told.splitlines() if line.strip()]
    return Built(html, len(list(html.rglob("*.html"))), warnings)
