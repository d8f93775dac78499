"""Sphinx's settings. `make docs` builds the site from a copy of this folder (scripts/docs_site)."""

from __future__ import annotations

from typing import Any

import kernlab
from scripts.docs_site.docstrings import restructured

project = "kernlab"
author = "the kernlab developers"
project_copyright = "the kernlab developers; Apache-2.0"
version = release = kernlab.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_design"]
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
# As the forge makes them: links between pages work in both places.
myst_heading_anchors = 4
exclude_patterns = ["files/**", "generated/**"]
highlight_language = "text"
nitpicky = True
# Other projects' pages are not at hand offline, and what is not public has none here.
nitpick_ignore_regex = [("py:.*", r".*")]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = True

html_theme = "furo"
html_title = f"kernlab {version}"
html_static_path = ["_static"]
html_css_files = ["kernlab.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
# The summary of a hit is fetched, which a page of a folder may not do.
html_show_search_summary = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#005a8c", "color-brand-content": "#005a8c"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0"},
}
# Light and dark, each with enough contrast (WCAG 2, AA and AAA).
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def setup(app: Any) -> None:
    """Read docstrings as kernlab writes them."""
    app.connect("autodoc-process-docstring", _rewrite)


def _rewrite(app: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)
