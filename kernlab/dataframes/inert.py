"""What pandas itself prints and styles, with a dump's text in it: shown, never acted on.

`print(dump.tasks)`, `dump.tasks.style` and a notebook without `%load_ext kernlab` go past kernlab's own views: pandas
lets terminal escapes and marks of direction through, its Styler takes text for markup, and its HTML leaves formulas to
MathJax. Tables forget where they come from when they are joined or grouped, so this holds for all tables of a process
in which kernlab made one; text without such characters looks as before. What goes into a file or buffer stays exact.
"""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd

from kernlab.escape import NO_MATH, escape_attribute, escape_terminal, show_controls


def _printed(function: Callable[..., Any]) -> Callable[..., Any]:
    """What makes text for a terminal, without what a terminal would act on."""

    @functools.wraps(function)
    def printed(*given: Any, **named: Any) -> Any:
        text = function(*given, **named)
        return escape_terminal(text, lines=True) if isinstance(text, str) else text

    return printed


def _page(function: Callable[..., Any]) -> Callable[..., Any]:
    """What makes HTML for a notebook, without formulas and what acts in text."""

    @functools.wraps(function)
    def page(*given: Any, **named: Any) -> Any:
        made = function(*given, **named)
        shown = show_controls(made, keep="\n\t") if isinstance(made, str) else None
        return made if shown is None else f'<div class="{NO_MATH}">{shown}</div>'

    return page


@functools.cache
def _styler() -> Any:
    """A Styler that takes text for text. Made when first asked for: it needs Jinja."""
    from pandas.io.formats.style import Styler

    def _with_html(name: str) -> Any:
        """A method of Styler's, with `escape="html"` unless the caller says something else (None, too)."""
        method = getattr(Styler, name)
        place = list(inspect.signature(method).parameters).index("escape")

        @functools.wraps(method)
        def formatting(*given: Any, **named: Any) -> Any:
            return method(*given, **(named if len(given) > place else {"escape": "html"} | named))

        return formatting

    class InertStyler(Styler):
        """pandas' Styler, whose cells, labels, names of columns and tooltips are text."""

        format = _with_html("format")
        format_index = _with_html("format_index")
        format_index_names = _with_html("format_index_names")

        def __init__(self, *given: Any, **named: Any):
            super().__init__(*given, **{"escape": "html"} | named)
            for axis in (0, 1):
                self.format_index(axis=axis)
                self.format_index_names(axis=axis)

        def set_tooltips(self, ttips: pd.DataFrame, *given: Any, **named: Any) -> Any:
            as_title = named.get("as_title_attribute", given[2:3] == (True,))
            inert = escape_attribute if as_title else _css_text
            return super().set_tooltips(
                ttips.map(lambda text: inert(text) if isinstance(text, str) else text), *given, **named
            )

        def _translate_header(self, *given: Any, **named: Any) -> Any:
            return _escaped(super()._translate_header(*given, **named))  # type: ignore[misc]

        def _translate_body(self, *given: Any, **named: Any) -> Any:
            return _escaped(super()._translate_body(*given, **named))  # type: ignore[misc]

        def _render_html(self, *given: Any, **named: Any) -> str:
            with pd.option_context("styler.html.mathjax", False):
                made: str = super()._render_html(*given, **named)  # type: ignore[misc]
            return show_controls(made, keep="\n\t")

        def _render_string(self, *given: Any, **named: Any) -> str:
            made: str = super()._render_string(*given, **named)  # type: ignore[misc]
            return escape_terminal(html.unescape(made), lines=True)

    return InertStyler


def _escaped(rows: Any) -> Any:
    """Rows of Styler's with lists and other objects escaped, too: pandas escapes nothing but str."""
    for row in rows:
        for item in row:
            value, shown = item.get("value"), item.get("display_value")
            if not isinstance(value, str) and str(shown) == str(value):
                item["display_value"] = html.escape(str(shown))
    return rows


def _latex(function: Callable[..., Any]) -> Callable[..., Any]:
    """`to_latex` that takes text for text: pandas asks for that with `escape=True`."""

    @functools.wraps(function)
    def to_latex(*given: Any, **named: Any) -> Any:
        if named.get("escape") is None:
            named["escape"] = True
        return function(*given, **named)

    return to_latex


def _css_text(text: str) -> str:
    """Text for a quoted string of a style sheet, within a page."""
    return "".join(c if c.isalnum() or c == " " else f"\\{ord(c):x} " for c in show_controls(text))


def _style(original: Any) -> property:
    def style(table: pd.DataFrame) -> Any:
        made = original.fget(table)
        return _styler()(table) if type(made).__module__ == "pandas.io.formats.style" else made

    return property(style, doc=original.__doc__)


def install() -> None:
    """Put it into pandas, where this pandas has these methods."""
    for owner, names in (
        (pd.DataFrame, ("__repr__", "to_string")),
        (pd.Series, ("__repr__", "to_string")),
        (pd.Index, ("__repr__",)),
        (pd.Categorical, ("__repr__",)),
        (pd.api.extensions.ExtensionArray, ("__repr__",)),
    ):
        for name in names:
            setattr(owner, name, _printed(getattr(owner, name)))
    for owner in (pd.DataFrame, pd.Series):
        owner.to_latex = _latex(owner.to_latex)  # type: ignore[method-assign]
    pd.DataFrame._repr_html_ = _page(pd.DataFrame._repr_html_)  # type: ignore[attr-defined]
    if isinstance(pd.DataFrame.__dict__.get("style"), property):
        pd.DataFrame.style = _style(pd.DataFrame.__dict__["style"])  # type: ignore[assignment]


install()
