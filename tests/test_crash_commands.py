"""docs/crash-commands.md names every command and option of crash, and each of its lines runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import ROOT

import kernlab

pytestmark = pytest.mark.long

PAGE = (ROOT / "docs" / "crash-commands.md").read_text("utf-8")
_ROW = re.compile(r"^\| (?P<crash>.+?) \| (?P<kernlab>.+?) \|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_NO_EXPRESSION = re.compile(r"kernlab[ .]|exit\(|\w+=$|(struct|no|kernlab\.tables)$")
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, list[tuple[str, str]]]:
    """command → its rows: what crash takes, what kernlab has."""
    parts = re.split(r"^## `(.+)`$", PAGE, flags=re.MULTILINE)
    return {
        name: [(row["crash"], row["kernlab"]) for row in _ROW.finditer(text) if row["crash"] != "crash"]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def options(rows: list[tuple[str, str]]) -> set[str]:
    return {
        word
        for left, _ in rows
        for code in _CODE.findall(left)
        for word in code.split()[:1]
        if word.startswith("-")
    }


def test_every_command_and_option_of_crash_has_a_line() -> None:
    lines = (ROOT / "tests" / "support" / "crash_commands.txt").read_text().splitlines()
    known = dict(line.split(":", 1) for line in lines if not line.startswith("#"))
    page = sections()
    assert sorted(page) == sorted(known)
    wrong = {
        name: sorted(options(page[name]) ^ set(known[name].split()))
        for name in page
        if options(page[name]) != set(known[name].split())
    }
    assert wrong == {}


def expressions() -> list[tuple[str, str, bool]]:
    """(command, Python, whether its line says that it needs user pages) of all lines."""
    return [
        (name, code, "user pages" in right)
        for name, rows in sections().items()
        for _, right in rows
        for code in _CODE.findall(right)
        if "…" not in code and not _NO_EXPRESSION.match(code)
    ]


def test_each_line_runs(opened: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    dump = opened("debian-6.1")
    monkeypatch.setattr(kernlab, "open", lambda path: dump)
    names: dict[str, Any] = {}
    (setup,) = _BLOCK.findall(PAGE)
    exec(setup, names)
    failed = []
    for command, code, user_pages in expressions():
        try:
            value = eval(code, names)
            assert value is not None or code.startswith("help")
        except Exception as error:
            if not (user_pages and isinstance(error, kernlab.PageExcluded)):
                failed.append(f"{command}: {code}: {type(error).__name__}: {error}")
    assert not failed, "\n".join(failed)
