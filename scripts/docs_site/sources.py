"""Pages of the repository in, Sphinx's source folder out: files copied, and links between them made to fit."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

#: Pages that do not lie in docs/, and what they are called on the site.
BESIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "changelog.d/README.md": "changelog-fragments.md",
    "SECURITY.md": "security.md",
    "binder/README.md": "binder.md",
    "notebooks/README.md": "notebooks.md",
    "samples/README.md": "samples.md",
    "benchmarks/README.md": "benchmarks.md",
    "extensions/recorder/README.md": "recorder-service.md",
    "tests/fuzz/README.md": "fuzzing.md",
}
#: What stands at another place on the site, and has no page of its own there.
INSTEAD = {"README.md": "index.md"}
#: Where files that are no pages come to lie: a link to one downloads it.
FILES = "files"

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^()\s]+)(\))")


#: As a forge shows a picture by the reader's theme.
_PICTURE = re.compile(
    r'<picture>\n<source [^>]*srcset="(?P<dark>[^"]+)">\n'
    r'<img alt="(?P<alt>[^"]+)" src="(?P<light>[^"]+)"[^>]*>\n</picture>'
)
#: As the site does, whose theme may be another than the system's.
_IMAGE = "```{{image}} {path}\n:class: only-{theme}\n:alt: {alt}\n```"


class BrokenLinkError(Exception):
    """A page links to a file that is not in the repository."""


def collect(root: Path, source: Path) -> None:
    """Copy docs/ and the pages beside it into `source`."""
    shutil.copytree(root / "docs", source, ignore=shutil.ignore_patterns("__pycache__"))
    for page, name in BESIDE.items():
        shutil.copyfile(root / page, source / name)


def relink(root: Path, source: Path) -> None:
    """Make links fit, once all pages are there. Raises BrokenLinkError, naming each that leads nowhere."""
    places = {**BESIDE, **INSTEAD}
    origins = {source / name: root / page for page, name in BESIDE.items()}
    _list_the_rest(source)
    broken = []
    for page in sorted(source.rglob("*.md")):
        origin = origins.get(page, root / "docs" / page.relative_to(source))
        text, missing = _relink(page.read_text("utf-8"), root, source, origin, page, places)
        broken += missing
        page.write_text(_PICTURE.sub(_images, text), "utf-8")
    if broken:
        raise BrokenLinkError("\n".join(broken))


def _list_the_rest(source: Path) -> None:
    """A page that no contents name is listed at their end: a new one is on the site from the first day."""
    index = source / "index.md"
    text = index.read_text("utf-8")
    named = set(re.findall(r"^([\w-]+)$", text, re.MULTILINE)) | {"index"}
    rest = sorted({page.stem for page in source.glob("*.md")} - named)
    if rest:
        entries = "\n".join(rest)
        text += f"\n```{{toctree}}\n:caption: More\n:hidden:\n\n{entries}\n```\n"
        index.write_text(text, "utf-8")


def _images(match: re.Match[str]) -> str:
    both = (("light", match["light"]), ("dark", match["dark"]))
    return "\n\n".join(_IMAGE.format(path=path, theme=theme, alt=match["alt"]) for theme, path in both)


def _relink(
    text: str, root: Path, source: Path, origin: Path, page: Path, places: dict[str, str]
) -> tuple[str, list[str]]:
    """A page's text with its relative links as they are on the site, and what is wrong with them."""
    broken: list[str] = []

    def moved(match: re.Match[str]) -> str:
        target, hash_, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z][a-z+.-]*:", target):
            return match[0]
        # Not resolve(): a folder of the checkout may be a link to another place.
        path = Path(os.path.normpath(origin.parent / target))
        generated = source / os.path.relpath(path, root / "docs")
        if not path.is_relative_to(root) or not (path.exists() or generated.exists()):
            broken.append(f"{origin.relative_to(root)}: {target} is not there")
            return match[0]
        there = source / _place(path, root, source, places)
        return f"{match[1]}{os.path.relpath(there, page.parent)}{hash_}{anchor}{match[3]}"

    parts, last = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(moved, text[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, _LINK.sub(moved, text[last:])]), broken


def _place(path: Path, root: Path, source: Path, places: dict[str, str]) -> str:
    """Where a file of the repository lies on the site, copied there if it is no page."""
    name = path.relative_to(root).as_posix()
    if path.is_dir() and (path / "README.md").is_file():
        name = f"{name}/README.md".removeprefix("./")
    if name in places:
        return places[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    copy = source / FILES / name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, copy)
    return f"{FILES}/{name}"
