"""Text of a dump for a page, a terminal, a plot or a spreadsheet: shown, never acted on.

One function a kind of place. Imports nothing of kernlab: errors are escaped, too.
"""

from __future__ import annotations

import html
import re
import unicodedata

#: Classes of an element in which MathJax must leave `$…$` alone: no escape of a dollar sign stops it.
NO_MATH = "tex2jax_ignore mathjax_ignore"

#: Marks on one letter: no script's spelling stacks more, a flood of them would cover the lines above and below.
_MOST_MARKS = 4

#: Printable by Unicode's tables, and seen by nobody: fillers of Hangul, the blank of Braille, unseen vowels.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0")

#: Words written from right to left: next to them digits and punctuation of what follows would change places.
_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_RUN = re.compile(f"[{_RIGHT_TO_LEFT}]+(?: [{_RIGHT_TO_LEFT}]+)*")

#: What begins a formula where a spreadsheet reads text, at the start of a cell or after the separator of other locales.
_FORMULA = re.compile("(^\\s*|[;\\t\\n]\\s*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])")

#: How files of Excel spell a character: text that only looks so must not become it.
_SPELT = re.compile("_(?=x[0-9A-Fa-f]{4}_)")

#: Characters of a name within a sentence, a lead or a tooltip: more is no name, or nothing that anybody reads.
LONGEST_NAME = 160

#: Characters of a cell that Excel takes.
LONGEST_SHEET_CELL = 32_767


def _visible(character: str) -> str:
    """A character that would act instead of showing (or show as nothing), as something that can be seen."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show_controls(text: str, *, keep: str = "") -> str:
    """`text` with every character that acts instead of showing (controls, ANSI ESC, bidi marks) made visible.

    Controls below 0x20 become their pictures (U+241B for ESC), others `\\x9b` or `\\u202e`; so do letters that nobody
    sees, and combining marks on nothing or above the fourth on one letter. `keep` stays.
    """
    if text.isascii():
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() or c in keep else _visible(c) for c in text)
    shown, marks, carried = [], 0, False
    for c in text:
        if c.isascii():
            marks, carried = 0, c.isalnum()
            shown.append(c if c.isprintable() or c in keep else _visible(c))
            continue
        if unicodedata.category(c) in ("Mn", "Me"):
            marks += 1
            acts = not carried or marks > _MOST_MARKS or c in _UNSEEN
        else:
            acts = c not in keep and (not c.isprintable() or c in _UNSEEN)
            marks, carried = 0, not acts
        shown.append(_visible(c) if acts else c)
    return "".join(shown)


def show_short(text: str, longest: int = LONGEST_NAME) -> str:
    """`text` as `show_controls` shows it, in at most `longest` characters: what is made visible counts, too."""
    shown = show_controls(text[: longest + 1])
    return shown if len(shown) <= longest else shown[: max(longest - 1, 0)] + "…"


def escape_html(text: str) -> str:
    """`text` for an element's content: no markup, no control characters, nothing that reorders what stands beside it.

    Words from right to left are isolated by `<bdi>`; for attributes, `<title>` and SVG there is `escape_attribute`.
    The element (or one around it) needs the classes `NO_MATH`, too.
    """
    escaped = escape_attribute(text)
    return escaped if escaped.isascii() else _RUN.sub(r"<bdi>\g<0></bdi>", escaped)


def escape_attribute(text: str) -> str:
    """`text` for a quoted attribute, or an element that holds only text: no markup, no control characters."""
    return html.escape(show_controls(text), quote=True)


def escape_terminal(text: str, *, lines: bool = False) -> str:
    """`text` for a terminal: moves no cursor, sets no colour. With `lines`, line feeds and tabs stay."""
    return show_controls(text, keep="\n\t" if lines else "")


def escape_plot(text: str, longest: int = 0) -> str:
    """`text` for matplotlib, in at most `longest` characters (0: all): nothing in it is a formula.

    That holds where `text.parse_math` is on, as it is by default. A hair space goes before a leading underscore, which
    would drop the label from legends. Where `parse_math` is off, use `show_controls`: there the backslash before a
    dollar sign would be drawn.
    """
    shown = show_short(text, longest) if longest else show_controls(text)
    escaped = shown.replace("$", r"\$")
    return f"\u200a{escaped}" if escaped.startswith("_") else escaped


def escape_csv(text: str) -> str:
    """`text` for a CSV file that a spreadsheet may open: an apostrophe before what it would compute, as OWASP advises.

    Excel and LibreOffice take a cell that begins with `=`, `+`, `-` or `@` for a formula, in quotes, too.
    So are they after what separates cells elsewhere. Control characters but tabs and line feeds are made visible.
    """
    return _FORMULA.sub(r"\1'", show_controls(text, keep="\n\t"))


def escape_sheet(text: str, *, spells: bool = False) -> str:
    """`text` for a cell of an Excel file whose type is text: what the file's XML cannot hold is made visible.

    Shortened to the characters that Excel takes in a cell. Line feeds and tabs stay. Text like `_x0041_`, which Excel
    would read as a letter, is spelt so that it stays, unless who writes the file does that (`spells`).
    """
    shown = show_controls(text, keep="\n\t")
    shown = shown if spells else _SPELT.sub("_x005F_", shown)
    return shown if len(shown) <= LONGEST_SHEET_CELL else shown[: LONGEST_SHEET_CELL - 1] + "…"
