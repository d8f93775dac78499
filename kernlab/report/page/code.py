"""Code and printed text in, HTML out: escaped, without terminal escapes, code in four colours."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from kernlab.escape import escape_html, show_controls

#: CSI and OSC sequences, and the other escapes of two bytes.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")
_CLASSES = (("Comment", "r-c"), ("Keyword", "r-k"), ("Literal.String", "r-s"), ("Literal.Number", "r-n"))
_MOST_LETTERS = 200_000


def plain(text: str) -> str:
    """Text as a terminal would have left it: no escapes, of a line that was written over the last."""
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    return _OVERWRITTEN.sub("", text).replace("\r", "")


def preformatted(text: str) -> str:
    """Printed text as escaped HTML, lines kept, control characters shown."""
    shown = plain(text)
    if len(shown) > _MOST_LETTERS:
        left = len(shown) - _MOST_LETTERS
        shown = f"{shown[:_MOST_LETTERS]}\n… and {left:,} more letters"
    return _escaped(shown.strip("\n"))


def highlighted(source: str, language: str) -> str:
    """A cell's source as escaped HTML, with the classes of `page.css` for comments, keywords, strings and numbers."""
    lexer = _lexer(language)
    if lexer is None:
        return _escaped(source)
    parts = []
    for token, text in lexer.get_tokens(source):
        kind = str(token).removeprefix("Token.")
        name = next((css for start, css in _CLASSES if kind.startswith(start)), "")
        parts.append(f'<span class="{name}">{_escaped(text)}</span>' if name else _escaped(text))
    return "".join(parts).strip("\n")


@cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return None


def _escaped(text: str) -> str:
    # escape_html shows line ends, too: here they are lines.
    return "\n".join(map(escape_html, show_controls(text, keep="\n\t").expandtabs(8).split("\n")))
