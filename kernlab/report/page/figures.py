"""Pictures of outputs in, figures of the page out: both themes, a size, a description, each picture once."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

from kernlab.escape import escape_html, show_controls
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

#: What `kernlab.plots.both_themes` says for the page's other theme.
_SWAP = re.compile(
    r'\[data-jp-theme-light="(true|false)"\] #([\w-]+)[^{]*\{content:url\("(data:image/[^"]+)"\)\}', re.ASCII
)
_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_LONGEST_ALT = 1200
#: Pixels of a picture that a phone need not shrink.
_NARROW = 420
_NO_ALT = "A figure that says nothing of itself in words"


def both_themes(soup: BeautifulSoup) -> None:
    """Before cleaning: a picture whose style sheet holds that of the other theme becomes the two of them."""
    for sheet in soup.find_all("style"):
        found = _SWAP.search(sheet.string or "")
        image = soup.find("img", id=found[2]) if found else None
        if found is None or image is None or image.get("src") == found[3]:
            continue
        other = soup.new_tag("img", attrs={"src": found[3], "alt": str(image.get("alt") or "")})
        # What is for a page that is not light ("false") is the dark one. The light one comes first.
        if found[1] == "false":
            image["class"], other["class"] = "kernlab-light", "kernlab-dark"
            image.insert_after(other)
        else:
            image["class"], other["class"] = "kernlab-dark", "kernlab-light"
            image.insert_before(other)


def picture(kind: str, data: Any, metadata: Any) -> str:
    """The element for an output that is a picture: '' where its data is none."""
    text = "".join("".join(data).split() if isinstance(data, list) else str(data).split())
    if kind not in _TYPES or not _BASE64.fullmatch(text):
        return ""
    told = metadata.get(kind) if isinstance(metadata, dict) else None
    alt = str(told.get("alt") or "") if isinstance(told, dict) else ""
    return f'<img src="data:{kind};base64,{text}" alt="{escape_html(alt)}">'


class Figures:
    """Dresses the pictures of cleaned outputs; knows which the page had already."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def dress(self, soup: BeautifulSoup, space: str, section: str) -> None:
        """Give each picture its size and a description, and put it where it can be scrolled on a phone.

        A picture that the page shows already becomes a link to it: it weighs more than all else.
        """
        for image in list(soup.find_all("img")):
            self._describe(image, section)
            size = _size(str(image.get("src", "")))
            if size is not None and not image.has_attr("width"):
                image["width"], image["height"] = map(str, size)
                if size[1] > size[0]:
                    image["class"] = f"{image.get('class', '')} r-tall".strip()
            if not _is_dark(image):
                self._once(soup, image, space)
        for image in list(soup.find_all("img")):
            if int(str(image.get("width") or 0)) > _NARROW and not _is_dark(image):
                _scrolled(soup, image, section)
        for drawn in list(soup.find_all("svg")):
            if drawn.find_parent("svg") is None:
                _drawing(drawn, section)
                if _pixels(drawn) > _NARROW:
                    _scrolled(soup, drawn, section)

    @staticmethod
    def _describe(image: Tag, section: str) -> None:
        alt = show_controls(str(image.get("alt") or "").strip())
        image["alt"] = shorten(alt, _LONGEST_ALT) if alt else f"{_NO_ALT}, in “{section}”"

    def _once(self, soup: BeautifulSoup, image: Tag, space: str) -> None:
        key = hashlib.sha256(str(image["src"]).encode()).hexdigest()
        if key not in self._seen:
            name = image.get("id") or f"{space}-picture-{len(self._seen) + 1}"
            image["id"] = self._seen[key] = str(name)
            return
        other = image.find_next_sibling("img")
        if other is not None and _is_dark(other):
            other.decompose()
        link = soup.new_tag("a", attrs={"href": f"#{self._seen[key]}"})
        link.string = "The same picture as above."
        image.replace_with(link)


def _is_dark(image: Tag) -> bool:
    return "kernlab-dark" in str(image.get("class", ""))


def _scrolled(soup: BeautifulSoup, image: Tag, section: str) -> None:
    other = image.find_next_sibling("img") if image.name == "img" else None
    frame = soup.new_tag(
        "div",
        attrs={
            "class": "r-picture",
            "role": "group",
            "tabindex": "0",
            "aria-label": f"Picture in “{section}”",
        },
    )
    image.wrap(frame)
    if other is not None and _is_dark(other):
        frame.append(other.extract())


def _pixels(drawn: Tag) -> float:
    """How wide a drawing with a frame of its own is; 0 for one that takes the width that it is given."""
    width = re.fullmatch(r"(\d+(?:\.\d+)?)(?:px|pt)?", str(drawn.get("width", "")))
    return float(width[1]) if width and drawn.has_attr("viewbox") else 0


def _drawing(drawn: Tag, section: str) -> None:
    """An SVG is a picture to who cannot see it, and has a description."""
    title = drawn.find("title", recursive=False)
    titled = title is not None and title.get_text(strip=True)
    if drawn.get("aria-hidden") == "true":
        return
    if not (drawn.get("aria-label") or drawn.get("aria-labelledby") or titled):
        texts = [node.get_text(" ", strip=True) for node in drawn.find_all("text")]
        told = "; ".join(filter(None, texts))
        drawn["aria-label"] = shorten(f"A drawing with the words: {told}", _LONGEST_ALT) if told else _NO_ALT
    drawn["role"] = "img"


def _size(source: str) -> tuple[int, int] | None:
    """Width and height of a PNG in pixels."""
    head, _, data = source.partition(";base64,")
    if head != "data:image/png":
        return None
    start = base64.b64decode(data[:32] + "=" * (-len(data[:32]) % 4))
    if len(start) < 24 or start[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    return (width, height) if 0 < width < 10_000 and 0 < height < 10_000 else None
