"""`kernlab notebook`: a notebook that opens a dump and looks around, written, and opened in JupyterLab if wanted."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernlab.commands.given import files
from kernlab.commands.options import OUTPUT, DumpFormat, Quiet, Redact, open_dump
from kernlab.commands.telling import note
from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.formats.live import LIVE
from kernlab.util.files import write_whole

if TYPE_CHECKING:
    from kernlab.dump import Dump

EXAMPLES = """
kernlab notebook vmcore                        writes vmcore.ipynb
kernlab notebook vmcore -o crash.ipynb --open  and goes on in JupyterLab
"""

#: Pairs of what a cell is about and its code; the first opens the dump.
_CELLS = (
    ("## Leads", "dump.suspects"),
    ("## Who panicked", "dump.stack.of_panic()"),
    ("## The last words of the kernel", "dump.log.tail(40)"),
    ("## Who waits for whom", "dump.waits"),
    (
        "## Where the memory is",
        "dump.memory_by_process.sort_values('rss_bytes', ascending=False).head(10)",
    ),
    ("## The last second", "dump.timeline(since=-1).tail(40)"),
    ("## The whole dump in one dashboard", "dump.explorer()"),
)


def notebook(
    vmcore: Annotated[
        list[str],
        typer.Argument(
            metavar="VMCORE", help="the dump file; of a split dump all pieces", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NAME.ipynb",
            rich_help_panel=OUTPUT,
            help="the notebook to write (default: the dump's name, here)",
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", rich_help_panel=OUTPUT, help="start JupyterLab on it")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=OUTPUT, help="replace a notebook that is there")
    ] = False,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Write a notebook that opens a dump and looks around: leads, stacks, log, waits, memory, the last second.

    Its name is printed. Nothing of the dump is in it before it runs.
    """
    name = output or Path(f"{Path(vmcore[0]).name.removesuffix('.xz')}.ipynb")
    if name.suffix != ".ipynb":
        raise KernlabError(f"{name} would not be taken for a notebook: call it {name}.ipynb")
    if name.exists() and not force:
        raise KernlabError(f"{name} is there already; --force replaces it, -o NAME.ipynb writes another one")
    if open_ and importlib.util.find_spec("jupyterlab") is None:
        raise MissingDependencyError('--open needs JupyterLab: pip install "kernlab[jupyter]"')
    # A file that is no dump is told now, not by the first cell.
    with open_dump(vmcore, dump_format, redact) as dump:
        text = json.dumps(document(dump, opening(vmcore, name, dump_format, redact)), indent=1)
    write_whole(name, f"{text}\n".encode())
    sys.stdout.write(f"{name}\n")
    if open_:
        sys.stdout.flush()
        note(f"JupyterLab opens {name}; Ctrl-C ends it.")
        # In kernlab's place, so that Ctrl-C and the exit status are JupyterLab's.
        os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", str(name)])
    return 0


def opening(vmcore: list[str], notebook: Path, dump_format: str | None, redact: str) -> str:
    """The call that opens the dump from a notebook, which runs in its own folder."""
    folder = notebook.resolve().parent
    paths = [LIVE] if vmcore == [LIVE] else [_seen_from(folder, Path(piece).resolve()) for piece in vmcore]
    words = [repr(paths[0]) if len(paths) == 1 else repr(paths)]
    if dump_format is not None:
        words.append(f"format={dump_format!r}")
    if redact != "none":
        words.append(f"redact={redact!r}")
    words += [f"{name}={_shown(folder, value)!r}" for name, value in files().items()]
    return f"kernlab.open({', '.join(words)})"


def _shown(folder: Path, value: Any) -> Any:
    """An option's value, its paths as the notebook sees them."""
    if isinstance(value, list):
        return [_shown(folder, one) for one in value]
    return _seen_from(folder, Path(value).resolve()) if isinstance(value, str) else value


def _seen_from(folder: Path, path: Path) -> str:
    # What lies beside a notebook moves with it; what lies elsewhere does not.
    seen = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    return f"./{seen}" if seen == LIVE else seen


def document(dump: Dump, call: str) -> dict[str, Any]:
    """The notebook, in nbformat's version 4.5; cells of what this dump does not have are left out."""
    cells = [
        _cell("markdown", "# First look at a dump"),
        _cell("code", f"%load_ext kernlab\nimport kernlab\n\ndump = {call}\ndump"),
    ]
    for title, code in _CELLS:
        cells += [_cell("markdown", title), _cell("code", code)]
    if len(dump.relay.channels):
        cells += [_cell("markdown", "## Relay channels"), _cell("code", "dump.relay.channels")]
    cells.append(
        _cell("markdown", "What else there is: `dump.tables` lists the tables, `help(dump)` says more.")
    )
    for number, cell in enumerate(cells):
        cell["id"] = f"kernlab-{number}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": "",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
