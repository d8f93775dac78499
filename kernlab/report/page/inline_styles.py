"""Style attributes of outputs in, classes and the rules behind them out: the page's policy allows no style attribute.

What could load something, move out of its place, or cover what is beside it has no property here.
"""

from __future__ import annotations

import hashlib
import re

_SIDES = ("", "-top", "-right", "-bottom", "-left")
_PROPERTIES = frozenset(
    [
        *("color", "background", "background-color", "opacity"),
        *(
            "font",
            "font-family",
            "font-size",
            "font-style",
            "font-weight",
            "font-variant",
            "font-variant-numeric",
        ),
        *("text-align", "text-anchor", "text-decoration", "vertical-align", "white-space", "line-height"),
        *("border-collapse", "border-spacing", "border-radius", "overflow-wrap", "unicode-bidi"),
        *(f"padding{side}" for side in _SIDES),
        *(f"margin{side}" for side in _SIDES),
        *(f"border{side}" for side in _SIDES),
        *(f"border{side}-{what}" for side in _SIDES for what in ("color", "style", "width")),
        *(
            "fill",
            "fill-opacity",
            "fill-rule",
            "stroke",
            "stroke-dasharray",
            "stroke-dashoffset",
            "stroke-linecap",
        ),
        *(
            "stroke-linejoin",
            "stroke-miterlimit",
            "stroke-opacity",
            "stroke-width",
            "stop-color",
            "stop-opacity",
        ),
        *("dominant-baseline", "paint-order"),
    ]
)
_VALUE = re.compile(r"""[\w\s#%.,()'"+-]*""", re.ASCII)
_FUNCTION = re.compile(r"([\w-]*)\(")
_FUNCTIONS = frozenset(("rgb", "rgba", "hsl", "hsla", "var", ""))
_NUMBER = re.compile(r"(?<![\w#.-])(-?)(\d*\.?\d+)([a-z%]*)", re.IGNORECASE)
#: The most of a length in its unit: more would push aside what stands beside it. Without a unit: weights, colours.
_MOST = {"px": 200, "pt": 150, "em": 12, "rem": 12, "ch": 40, "%": 200, "": 1000}
_BOXES = ("padding", "margin", "border", "white-space", "font-size", "vertical-align")
_LONGEST, _MOST_RULES = 2000, 20_000


class InlineStyles:
    """The rules of a page's outputs, each once, by the name of its class."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

    def name(self, style: str, *, in_table: bool = False) -> str:
        """The class that stands for a style attribute; '' where nothing of it may stay.

        `in_table`: of a table and its cells only what says something of their text; the page's tables look alike.
        """
        kept = harmless(style, without=_BOXES if in_table else ())
        if not kept:
            return ""
        name = f"s-{hashlib.sha256(kept.encode()).hexdigest()[:10]}"
        if name not in self._rules and len(self._rules) >= _MOST_RULES:
            return ""
        self._rules[name] = kept
        return name

    def sheet(self) -> str:
        """The rules as CSS."""
        return "\n".join(f".{name}{{{rule}}}" for name, rule in sorted(self._rules.items()))


def harmless(style: str, *, without: tuple[str, ...] = ()) -> str:
    """Those declarations of a style attribute that only say how text looks in its own place.

    Properties that begin with one of `without` are left out.
    """
    if len(style) > _LONGEST:
        return ""
    kept = []
    for declaration in style.split(";"):
        name, colon, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip().removesuffix("!important").strip()
        if colon and name in _PROPERTIES and not name.startswith(without) and value and _is_plain(value):
            kept.append(f"{name}:{value}")
    return ";".join(kept)


def hides(style: str) -> bool:
    """Does a style attribute say that its element is not shown?"""
    said = re.sub(r"\s", "", style.lower())
    return "display:none" in said or "visibility:hidden" in said


def _is_plain(value: str) -> bool:
    if not _VALUE.fullmatch(value) or value.count("(") != value.count(")"):
        return False
    if value.count('"') % 2 or value.count("'") % 2 or ")" in value.partition("(")[0]:
        return False
    if not all(function.lower() in _FUNCTIONS for function in _FUNCTION.findall(value)):
        return False
    return all(
        not sign and float(number) <= _MOST.get(unit.lower(), 0)
        for sign, number, unit in _NUMBER.findall(
            re.sub(r"var\([^)]*\)|rgba?\([^)]*\)|hsla?\([^)]*\)", "", value)
        )
    )
