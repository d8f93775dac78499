"""Docstrings as kernlab writes them in, Markdown or reStructuredText out.

They are plain text: `code` in backquotes, `>>>` for examples, indented lines for code that is not run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MIRRORS = re.compile(r"\s*\bMirrors\s+(.+?)\.(?=\s|$)", re.DOTALL)
_CODE = re.compile(r"(`[^`]+`)")
#: A path of the kernel's sources.
_SOURCE = re.compile(r"(?:[\w.-]+/)+[\w.-]+(?:\.[chS]\b|/)")
_KINDS = re.compile(r"(>>> |\.\.\. )")


@dataclass(frozen=True, slots=True)
class Documented:
    """What a docstring says: its first sentence, the rest, what of the kernel it mirrors ('' for none), its example."""

    summary: str
    text: str
    mirrors: str
    example: str


def parse(docstring: str) -> Documented:
    """Take a docstring (as `inspect.getdoc` gives it) apart."""
    prose, _, example = docstring.partition("\n>>> ")
    if docstring.startswith(">>> "):
        prose, example = "", docstring[4:]
    example = f">>> {example.rstrip()}" if example else ""
    mirrored = _MIRRORS.search(prose)
    if mirrored:
        prose = prose[: mirrored.start()] + prose[mirrored.end() :]
    summary, _, text = prose.strip().partition("\n\n")
    named = " ".join(mirrored[1].split()) if mirrored else ""
    return Documented(" ".join(summary.split()), text.strip(), named, example)


def markdown(text: str) -> str:
    """Prose as Markdown: what is not in backquotes stands for itself; indented lines become code."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("    "):
            code = "\n".join(line.removeprefix("    ") for line in paragraph.splitlines())
            paragraphs.append(f"```python\n{code}\n```")
        elif paragraph:
            parts = _CODE.split(paragraph)
            parts[::2] = [re.sub(r"([\\*_<>\[\]|#$~])", r"\\\1", part) for part in parts[::2]]
            paragraphs.append("".join(parts))
    return "\n\n".join(paragraphs)


def mirrored(text: str) -> str:
    """What is mirrored, as Markdown with the kernel's files as code."""
    return _SOURCE.sub(lambda match: f"`{match[0]}`", re.sub(r"([*_<>])(?![^ ]*\.[chS])", r"\\\1", text))


def restructured(lines: list[str]) -> list[str]:
    """Lines of a docstring as reStructuredText: `code` becomes a literal, and no other character means anything."""
    made = []
    in_example = in_code = False
    for line in lines:
        stripped = line.lstrip()
        if not stripped:
            in_example = in_code = False
            made.append(line)
            continue
        if _KINDS.match(stripped):
            in_example = True
        elif not in_example and line.startswith("    ") and made and (in_code or not made[-1].strip()):
            if not in_code:
                made += [".. code-block:: python", ""]
            in_code = True
        if in_example or in_code:
            made.append(line)
            continue
        parts = _CODE.split(line)
        parts[::2] = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
        parts[1::2] = [f"`{part}`" for part in parts[1::2]]
        made.append("".join(parts))
    return made
