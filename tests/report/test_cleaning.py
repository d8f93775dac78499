"""What an output may keep in a report: an allowlist, whatever stands in the output."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("bs4", reason="beautifulsoup4 is not installed (the extra 'report')")

from hypothesis import given
from support.hostile_html import HTML_SOUP, KNOWN

from kernlab.report.page.allowed import EVERYWHERE, HTML, OWN, SVG, SVG_OWN
from kernlab.report.page.cleaning import author_link, clean, parse
from kernlab.report.page.inline_styles import InlineStyles, harmless


def cleaned(source, *, link=None, styles=None):
    return str(clean(parse(source), space="o1", styles=styles or InlineStyles(), link=link))


class Found(HTMLParser):
    """All elements of a text and all their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.comments = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_comment(self, data):
        self.comments.append(data)

    handle_decl = unknown_decl = handle_pi = handle_comment


def check(text):
    found = Found(text)
    assert found.comments == []
    for name, attributes in found.elements:
        assert name in HTML | SVG
        assert set(attributes) <= EVERYWHERE | OWN.get(name, set()) | (SVG_OWN if name in SVG else set())
        assert attributes.get("id", "o1-1").startswith("o1-")
        assert not any(token.startswith("r-") for token in attributes.get("class", "").split())
        for key in ("href", "src"):
            if key in attributes:
                assert re.match(r"#o1-|data:image/(png|jpeg|gif|webp|svg\+xml);base64,", attributes[key])
        assert not any(
            "url(" in value and not re.fullmatch(r"url\(#o1-\d+\)", value)
            for key, value in attributes.items()
            if key in SVG_OWN
        )


@given(HTML_SOUP)
def test_only_what_is_allowed_is_left(source):
    check(cleaned(source))


@given(HTML_SOUP)
def test_cleaning_twice_is_cleaning_once(source):
    once = cleaned(source)
    assert cleaned(once) == once


@pytest.mark.parametrize("source", KNOWN)
def test_known_attacks(source):
    check(cleaned(source))


def test_what_lies_too_deep_goes():
    for opened in ("<div>", "<b>", "<svg>", "<table><tr><td>"):
        text = cleaned(opened * 20_000 + "deep")
        assert 60 < text.count("<") // 2 <= 80
        assert "…" in text
        assert "deep" not in text


def test_what_the_parser_refuses_is_text():
    assert cleaned("<![x y<b>z</b>") == "&lt;![x y<b>z</b>"


def test_what_is_harmless_stays():
    source = (
        '<div class="kernlab-frame"><table><caption><b>tasks</b></caption>'
        '<thead><tr><th scope="col">pid</th></tr></thead>'
        '<tbody><tr><td class="n" title="exact: 1">1</td></tr></tbody></table></div>'
    )
    assert cleaned(source) == source
    path = '<path d="M0,0 L8,4" fill="#123456"></path>'
    svg = f'<svg viewbox="0 0 8 8" width="8"><g transform="rotate(3)">{path}</g></svg>'
    assert cleaned(svg) == svg


def test_svg_titles_are_text():
    assert cleaned("<svg><title>a<b>c</b></title></svg>") == "<svg><title>ac</title></svg>"


def test_links():
    link = '<a href="https://example.invalid/a?b=1">x</a>'
    assert cleaned(link) == "x"
    assert cleaned(link, link=author_link) == (
        '<a href="https://example.invalid/a?b=1" rel="noopener noreferrer">x</a>'
    )
    for bad in (
        "javascript:x",
        "data:text/html,x",
        "//example.invalid",
        "file:x",
        "vbscript:x",
        "a b",
    ):
        assert cleaned(f'<a href="{bad}">x</a>', link=author_link) == "x"


def test_ids_are_numbered_and_references_follow():
    source = (
        '<svg aria-labelledby="t none" id="main"><title id="t">x</title><clippath id="c"></clippath>'
        '<rect clip-path="url(#c)"></rect><use href="#c"></use><use href="#gone"></use></svg>'
    )
    assert cleaned(source) == (
        '<svg aria-labelledby="o1-2" id="o1-1"><title id="o1-2">x</title><clippath id="o1-3"></clippath>'
        '<rect clip-path="url(#o1-3)"></rect><use href="#o1-3"></use></svg>'
    )


def test_pictures_from_elsewhere_are_their_descriptions():
    assert cleaned('<img src="https://example.invalid/x.png" alt="a plot">') == (
        '<span class="left-out">[a picture that is not in this page: a plot]</span>'
    )


def test_control_characters_are_shown_and_spaces_stay():
    assert cleaned("a\u202eb\x1b[31m\u00a0c\n\td") == "a\\u202eb␛[31m\u00a0c\n\td"
    assert cleaned('<b title="\u2066x">y</b>') == '<b title="\\u2066x">y</b>'


def test_what_is_hidden_goes():
    assert cleaned("<p hidden>a</p><p style='display : none'>b</p><p style='visibility:hidden'>c</p>d") == "d"


def test_styles_become_classes():
    styles = InlineStyles()
    text = cleaned('<p style="color:#123;position:fixed">a</p><p style="color:#123">b</p>', styles=styles)
    name = re.search(r'class="(s-\w+)"', text)[1]
    assert text == f'<p class="{name}">a</p><p class="{name}">b</p>'
    assert styles.sheet() == f".{name}{{color:#123}}"


@pytest.mark.parametrize(
    "style",
    [
        "position:fixed",
        "background:url(https://example.invalid/x)",
        "background:u\\72l(x)",
        "background:image-set('x' 1x)",
        "margin-left:-1px",
        "font-size:9999px",
        "padding:1e9px",
        "line-height:100000",
        "color:red/**/",
        "color:}body{color:red",
        "color:'",
        "width:100%",
        "--x:1",
        "content:'x'",
        "animation:x 1s",
        "color:" + "a" * 5000,
    ],
)
def test_styles_that_go(style):
    assert harmless(style) == ""


@pytest.mark.parametrize(
    "style",
    [
        "color:rgb(1, 2, 3)",
        "text-align:right",
        "font-family:var(--jp-code-font-family,monospace)",
        "padding:0.1em 0.8em",
    ],
)
def test_styles_that_stay(style):
    assert harmless(style) == style
    assert harmless(f" {style} ; ") == style
