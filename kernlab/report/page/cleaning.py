"""HTML and SVG that an output or a markdown cell holds in, the same without anything that acts, loads or leads away.

An allowlist of elements and attributes: what is not on it goes. Nothing that a browser reads as raw text (script,
style, textarea) is on it, so a parser that understands the source otherwise than this one finds no more in it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kernlab.escape import show_controls
from kernlab.report.page.allowed import BLOCKS, EVERYWHERE, GONE, HTML, OWN, SVG, SVG_OWN
from kernlab.report.page.inline_styles import InlineStyles, hides

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_REFERENCES = ("aria-labelledby", "aria-describedby")
_TABLE = ("table", "caption", "tr", "td", "th")
_ROLES = frozenset(("img", "presentation", "none", "note", "group", "list", "listitem"))

_CLASS = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
#: Classes of the page itself: no output takes part in them.
OURS = "r-"
_NUMBER = re.compile(r"\d{1,4}", re.ASCII)
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)
_WEB = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f<>\"'`\\]+", re.IGNORECASE)
_SVG_VALUE = re.compile(r"[\w\s#%.,()+'/-]*", re.ASCII)
_LOCAL = re.compile(r"url\(\s*['\"]?#([^'\")\s]+)['\"]?\s*\)")
#: Spaces that are no letters to Python, and do nothing but keep words apart.
_SPACES = "\n\t\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_LONGEST_CLASS, _LONGEST_NAME, _DEEPEST = 12, 20_000, 80


def parse(source: str) -> BeautifulSoup:
    """HTML as a tree of bounded depth. What Python's parser refuses (a declaration that is none) is text."""
    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, ParserRejectedMarkup, XMLParsedAsHTMLWarning

    with warnings.catch_warnings():
        # They are about markup that somebody else was to give: here it is whatever an output holds.
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            soup = BeautifulSoup(source, "html.parser")
        except ParserRejectedMarkup:
            soup = BeautifulSoup(source.replace("<!", "&lt;!"), "html.parser")
    _cut_depth(soup)
    return soup


def _cut_depth(soup: BeautifulSoup) -> None:
    """What lies deeper than any output of ours goes: asking each element for those above it must stay cheap."""
    from bs4.element import Tag

    level: list[Tag] = [soup]
    for _ in range(_DEEPEST):
        level = [node for above in level for node in above.children if isinstance(node, Tag)]
    for node in level:
        node.replace_with("…")


def clean(
    soup: BeautifulSoup, *, space: str, styles: InlineStyles, link: Callable[[str], str] | None = None
) -> BeautifulSoup:
    """Take everything out of `soup` that is not allowed; the same object is returned.

    `space` begins all ids, which are numbered. `styles` gets what style attributes said. `link` is asked for the target
    of each link (`author_link`), '' makes it text; without it all links become text.
    """
    _elements(soup)
    _texts(soup)
    names: dict[str, str] = {}
    for element in soup.find_all(id=True):
        names.setdefault(str(element["id"]), f"{space}-{len(names) + 1}")
    seen: set[str] = set()
    for element in soup.find_all(True):
        _attributes(element, names, seen, styles, link)
    for element in soup.find_all(("a", "img", "image", "use")):
        _without_target(soup, element)
    return soup


def author_link(target: str) -> str:
    """A link that the notebook's author wrote: one to the web or a mail stays, any other does not."""
    return target if _WEB.fullmatch(target) else ""


def _elements(soup: BeautifulSoup) -> None:
    for element in list(soup.find_all(True)):
        if element.decomposed:
            continue
        name, drawn = element.name, _is_drawn(element)
        unseen = element.has_attr("hidden") or hides(str(element.get("style", "")))
        if unseen or (name in GONE and not (drawn and name == "title")):
            element.decompose()
        elif drawn and name == "title":
            element.string = element.get_text()
        elif name in BLOCKS and not drawn:
            element.name = "div"
        elif name not in (SVG if drawn or name == "svg" else HTML):
            element.unwrap()


def _is_drawn(element: Tag) -> bool:
    return any(above.name == "svg" for above in element.parents)


def _texts(soup: BeautifulSoup) -> None:
    from bs4.element import NavigableString, PreformattedString

    for node in list(soup.find_all(string=True)):
        if isinstance(node, PreformattedString):
            node.extract()  # comments, CDATA, declarations
        elif type(node) is not NavigableString or not node.isprintable():
            node.replace_with(NavigableString(show_controls(str(node).replace("\r", ""), keep=_SPACES)))


def _attributes(
    element: Tag,
    names: dict[str, str],
    seen: set[str],
    styles: InlineStyles,
    link: Callable[[str], str] | None,
) -> None:
    drawn = element.name == "svg" or _is_drawn(element)
    allowed = EVERYWHERE | (SVG_OWN if drawn else OWN.get(element.name, set()))
    style = styles.name(str(element.get("style", "")), in_table=element.name in _TABLE)
    kept: dict[str, Any] = {}
    for key, raw in element.attrs.items():
        name = key.lower()
        name = "href" if name == "xlink:href" else name
        if name not in allowed or name in kept or name == "class":
            continue
        given = " ".join(raw) if isinstance(raw, list) else str(raw)
        value = _value(element.name, name, given, names, seen, drawn, link)
        if value is not None:
            kept[name] = value
    classes = [*_classes(element.get("class")), *([style] if style else [])]
    if classes:
        kept["class"] = " ".join(dict.fromkeys(classes))
    if element.name == "a" and "href" in kept:
        kept["rel"] = "noopener noreferrer"
    else:
        kept.pop("rel", None)
    element.attrs = kept


def _classes(given: Any) -> Iterator[str]:
    tokens = given if isinstance(given, list) else str(given or "").split()
    for token in tokens[:_LONGEST_CLASS]:
        if _CLASS.fullmatch(token) and not token.startswith(OURS):
            yield token


def _value(
    element: str,
    name: str,
    value: str,
    names: dict[str, str],
    seen: set[str],
    drawn: bool,
    link: Callable[[str], str] | None,
) -> str | None:
    """An attribute's value as it may stay; None where it may not."""
    if name == "id":
        if value in seen:
            return None
        seen.add(value)
        return names[value]
    if name in _REFERENCES:
        return " ".join(names[one] for one in value.split() if one in names) or None
    if name == "href":
        return _target(element, value, names, drawn, link)
    if name == "src":
        return value if _PICTURE.fullmatch(value) else None
    if name in ("width", "height", "colspan", "rowspan", "span", "start", "value") and not drawn:
        return value if _NUMBER.fullmatch(value) else None
    if name == "role":
        return value if value in _ROLES else None
    if name == "dir":
        return value if value in ("ltr", "rtl", "auto") else None
    if name == "scope":
        return value if value in ("col", "row", "colgroup", "rowgroup") else None
    if name in ("open", "reversed"):
        return ""
    if name == "aria-hidden":
        return "true" if value == "true" else None
    if drawn and name in SVG_OWN:
        local = _LOCAL.fullmatch(value)
        if local is not None:
            return f"url(#{names[local[1]]})" if local[1] in names else None
        return value if _SVG_VALUE.fullmatch(value) and "url" not in value.lower() else None
    return show_controls(value[:_LONGEST_NAME], keep=_SPACES)


def _target(
    element: str, value: str, names: dict[str, str], drawn: bool, link: Callable[[str], str] | None
) -> str | None:
    if drawn:
        if element == "image":
            return value if _PICTURE.fullmatch(value) else None
        return f"#{names[value[1:]]}" if value[:1] == "#" and value[1:] in names else None
    return (link(value) or None) if link is not None else None


def _without_target(soup: BeautifulSoup, element: Tag) -> None:
    """A link that leads nowhere is text; a picture that is not in the notebook is its description."""
    if element.name == "a" and not element.has_attr("href"):
        element.unwrap()
    elif element.name == "img" and not element.has_attr("src"):
        told = str(element.get("alt") or "").strip() or "it has no description"
        left = soup.new_tag("span", attrs={"class": "left-out"})
        left.string = f"[a picture that is not in this page: {told}]"
        element.replace_with(left)
    elif element.name in ("image", "use") and not element.has_attr("href"):
        element.decompose()
