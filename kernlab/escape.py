"""Text of a dump for a page, a terminal or a plot: shown, never acted on. Imports nothing: errors are escaped, too."""

from __future__ import annotations

import html

#: Classes of an element in which MathJax must leave `$…$` alone: no escape of a dollar sign stops it.
NO_MATH = "tex2jax_ignore mathjax_ignore"


def _visible(character: str) -> str:
    """A character that would act instead of showing (or show as nothing), as something that can be seen."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show_controls(text: str, *, keep: str = "") -> str:
    """`text` with every character that is not printable (controls, ANSI ESC, bidi marks) made visible.

    Controls below 0x20 become their pictures (U+241B for ESC), others `\\x9b` or `\\u202e`; `keep` stays.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _visible(c) for c in text)


def escape_html(text: str) -> str:
    """`text` for an element's content or a quoted attribute: no markup, no control characters.

    The element (or one around it) needs the classes `NO_MATH`, too.
    """
    return html.escape(show_controls(text), quote=True)


def escape_terminal(text: str, *, lines: bool = False) -> str:
    """`text` for a terminal: moves no cursor, sets no colour. With `lines`, line feeds and tabs stay."""
    return show_controls(text, keep="\n\t" if lines else "")


def escape_plot(text: str) -> str:
    """`text` for matplotlib, with `text.parse_math` on as it is by default: nothing in it is a formula.

    A hair space goes before a leading underscore, which would drop the label from legends. Where `parse_math`
    is off, use `show_controls`: there the backslash before a dollar sign would be drawn.
    """
    escaped = show_controls(text).replace("$", r"\$")
    return f"\u200a{escaped}" if escaped.startswith("_") else escaped
