"""A print format in, tokens of C out."""

from __future__ import annotations

import re

from kernlab.errors import KernlabError

#: More tokens than these are damage.
_MOST_TOKENS = 1 << 16

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*") |
    (?P<char>'(?:[^'\\]|\\.)+') |
    (?P<number>0[xX][0-9a-fA-F]+[uUlL]*|[0-9]+[uUlL]*) |
    (?P<name>[A-Za-z_]\w*) |
    (?P<op>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:(),{}\[\].])
    )""",
    re.VERBOSE | re.DOTALL,
)

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


class NotUnderstood(KernlabError):  # noqa: N818 - it is not a failure: the event is shown without its text
    """A print format uses what kernlab does not read."""


def tokens(source: str) -> list[tuple[str, str]]:
    """(kind, text) of each token. Raises NotUnderstood."""
    found: list[tuple[str, str]] = []
    at = 0
    end = len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None or len(found) >= _MOST_TOKENS:
            raise NotUnderstood(f"the print format has {source[at : at + 20]!r} at character {at:,}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def unquote(literal: str) -> str:
    """A C string literal's text."""

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x":
            return chr(int(code[1:], 16) & 0xFF)
        return _ESCAPES.get(code, code)

    return re.sub(r"\\(x[0-9a-fA-F]{1,2}|.)", replace, literal[1:-1], flags=re.DOTALL)
