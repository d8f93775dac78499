"""An executed notebook in, the same without paths of this machine, times and random names out: it is passed on."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Names that differ from run to run, of pictures in two themes (plots/both_themes.py).
_RANDOM = re.compile(r"kernlab-plot-[0-9a-f]{12}")
#: Times and paths that runners leave behind.
_TRACES = ("execution", "papermill", "ExecuteTime")
_ADDRESS = re.compile(r" at 0x[0-9a-f]{8,16}>")


def clean(notebook: Any, folders: dict[str, str]) -> None:
    """Change a notebook in place. `folders`: what stands for which folder of the dump or the template.

    In all outputs these folders are cut off; those of Python, of kernlab and of the user's home only where errors and
    warnings name them: a dump's own /root stays.
    """
    for holder in (notebook, *notebook.cells):
        for name in _TRACES:
            holder.metadata.pop(name, None)
    notebook.metadata.pop("widgets", None)
    names = _Names()
    own = _cutter(_folders_of_this_machine())
    given = _cutter(folders)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.source = (
            given(cell.source) if "injected-parameters" in cell.metadata.get("tags", ()) else cell.source
        )
        for output in cell.outputs:
            spoken = output.output_type == "error" or output.get("name") == "stderr"
            cut = (lambda text: own(given(text))) if spoken else given
            _walk(output, lambda text, cut=cut: _ADDRESS.sub(">", names(cut(text))))  # type: ignore[misc]


class _Names:
    """Random names, each by the order in which it comes up."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        return _RANDOM.sub(
            lambda found: self._known.setdefault(found[0], f"kernlab-plot-{len(self._known):012x}"), text
        )


def _folders_of_this_machine() -> dict[str, str]:
    roots = {
        str(Path(__file__).resolve().parents[2]): "",
        sys.prefix: "",
        sys.base_prefix: "",
        os.path.realpath(tempfile.gettempdir()): "",
        str(Path.home()): "~/",
    }
    return {root: short for root, short in roots.items() if len(root) > 1}


def _cutter(folders: dict[str, str]) -> Callable[[str], str]:
    """What replaces folders, and the slash behind them, the longest first."""
    ordered = sorted(folders, key=len, reverse=True)
    if not ordered:
        return lambda text: text
    pattern = re.compile("|".join(f"{re.escape(folder)}/" for folder in ordered))
    return lambda text: pattern.sub(lambda found: folders[found[0][:-1]], text)


def _walk(value: Any, change: Callable[[str], str]) -> None:
    """Change all text of an output in place; pictures stay."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        if isinstance(inner, str):
            if not str(key).startswith("image/png"):
                value[key] = change(inner)
        elif isinstance(inner, dict | list):
            _walk(inner, change)
