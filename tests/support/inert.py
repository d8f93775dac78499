"""Is a view of hostile names inert? Each function takes what a view gave, and fails where something in it would act."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from support.hostile import ACTING

#: Elements without an end.
_VOID = {"img", "br", "hr", "input", "meta", "link", "path", "rect", "wbr"}


class Page(HTMLParser):
    """HTML as a browser would see its elements: tags, attributes, text outside of scripts and sheets."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.wrong: list[str] = []
        self.text = ""
        self.math = ""
        self._open: list[tuple[str, bool]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.wrong += [f"<{tag} {name}=…>" for name in given if name.startswith("on")]
        self.wrong += [f"<{tag} id=harm>" for _ in [1] if given.get("id") == "harm"]
        for name, value in given.items():
            where = value.strip().lower()
            if name in ("href", "src", "action", "xlink:href") and not where.startswith(("#", "data:image/")):
                self.wrong.append(f"<{tag} {name}={value[:60]}>")
            if name != "style" and ACTING.search(value):
                self.wrong.append(f"{name}={value[:60]!r}")
        if tag not in _VOID:
            ignored = bool(self._open and self._open[-1][1]) or "mathjax_ignore" in given.get("class", "")
            self._open.append((tag, ignored))

    def handle_endtag(self, tag: str) -> None:
        while tag not in _VOID and self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside, ignored = self._open[-1] if self._open else ("", False)
        if inside not in ("style", "script"):
            self.text += data
            if not ignored:
                self.math += data


def inert_html(html: str, *, math: bool = True) -> Page:
    """No element, handler or address of a name's; no character that acts; with `math`, nothing that MathJax reads."""
    page = Page(html)
    assert page.wrong == []
    assert not ACTING.search(page.text), ascii(ACTING.search(page.text))
    if math:
        assert "$" not in page.math, page.math[page.math.index("$") - 40 :][:120]
        assert "\\(" not in page.math
    return page


def inert_text(text: str, *, longest: int = 0) -> None:
    """Nothing that a terminal acts on; no line longer than `longest`."""
    found = ACTING.search(text)
    assert not found, ascii(text[max(found.start() - 60, 0) : found.end() + 20])
    if longest:
        assert max(map(len, text.split("\n"))) <= longest
