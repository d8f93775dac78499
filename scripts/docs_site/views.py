"""The views of a dump (`dump.explore(…)`) in, a Markdown page of them out: call, text and example of each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from kernlab.contents import Contents
from kernlab.dataframes.lazy import view
from scripts.docs_site.docstrings import markdown, parse

#: Views that have a page of their own.
ELSEWHERE = ("plot", "relay", "ftrace")


def write_views(page: Path) -> list[str]:
    """Write the page. Returns what is wrong: views without a text, one a line."""
    sections = [(name, *_section(name, place)) for name, place in _views()]
    problems = [f"dump.{name} has no docstring" for name, text, _ in sections if not text]
    title = "# Views\n\nWhat a dump shows beside its tables. Each is an attribute of it that is called.\n"
    page.write_text("\n".join([title, *(text for _, _, text in sections)]), "utf-8")
    return problems


def _views() -> Iterator[tuple[str, view[object]]]:
    for name, place in vars(Contents).items():
        if isinstance(place, view) and not name.startswith("_") and name not in ELSEWHERE:
            yield name, place


def _section(name: str, place: view[object]) -> tuple[str, str]:
    """Its docstring's summary, and its Markdown."""
    kind = getattr(import_module(place.module), place.attribute)
    called = kind.__call__
    documented = parse(inspect.getdoc(called) or "")
    signature = inspect.signature(called)
    own = list(signature.parameters.values())[1:]
    shown = str(signature.replace(parameters=own, return_annotation=inspect.Signature.empty)).replace("'", "")
    parts = [f"## `dump.{name}`", f"```python\ndump.{name}{shown}\n```"]
    parts += [markdown(documented.summary), markdown(documented.text)]
    if documented.example:
        parts.append(f"```pycon\n{documented.example}\n```")
    return documented.summary, "\n\n".join(part for part in parts if part) + "\n"
