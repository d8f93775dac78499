"""`kernlab kernel-check`: a kernel in, a line for each table out, and whether all can be made as the exit status."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kernlab.commands import completing
from kernlab.commands.options import OUTPUT, form_of
from kernlab.escape import escape_terminal

if TYPE_CHECKING:
    from kernlab.compatibility.judge import Judged
    from kernlab.compatibility.subjects import Subject

#: Exit statuses: every table can be made; some cannot. 2 is an error, as everywhere in kernlab.
ALL, NOT_ALL = 0, 1
#: Numbers in JSON mean what they mean here; a change of meaning changes it.
SCHEMA = 1
#: So many columns are named in a line; JSON has them all.
_MOST_COLUMNS = 6

_FORMS = {"text": (".txt",), "json": (".json",)}

EXAMPLES = """
kernlab kernel-check                                 the running kernel
kernlab kernel-check vmlinux.btf --symbols System.map
kernlab kernel-check vmcore --format json            a dump's kernel, without reading its tables
"""
EPILOG = "Exit status: 0 every table can be made (some without columns), 1 some cannot, 2 an error."


def kernel_check(
    kernel: Annotated[
        str | None,
        typer.Argument(
            metavar="[BTF | VMLINUX | VMCORE]",
            help="what has the kernel's types; without it the running kernel",
            show_default=False,
        ),
    ] = None,
    symbols: Annotated[
        str | None,
        typer.Option(
            "--symbols",
            metavar="FILE",
            help="System.map, or a copy of /proc/kallsyms, of a kernel given as BTF",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="text (default), or json: every table with all columns and names",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", rich_help_panel=OUTPUT, help="tables that read, too, one line each")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> int:
    """Will kernlab read dumps of this kernel?

    Every table is tried on the kernel's own types and symbols, without any dump: it reads, reads without some columns,
    or cannot be made, with the words in which it would say so.
    """
    from kernlab.compatibility.check import problems
    from kernlab.compatibility.judge import judged
    from kernlab.compatibility.subjects import subject

    chosen = form_of("json" if json_ else form, None, _FORMS)
    one = subject(kernel, symbols)
    rows = judged(one)
    if chosen == "json":
        sys.stdout.write(f"{json.dumps(_plain(one, rows, problems(one)), indent=1)}\n")
    else:
        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        sys.stdout.writelines(f"{line}\n" for line in _lines(one, rows, problems(one), width, everything))
    return NOT_ALL if any(row.state == "cannot" for row in rows) else ALL


def _plain(one: Subject, rows: list[Judged], told: list[str]) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "source": one.name,
        "release": one.release or None,
        "machine": one.machine,
        "verdict": _verdict(rows),
        "tables": [
            {
                "table": row.table,
                "state": row.state,
                "without": list(row.without),
                "reason": row.reason or None,
                "untried": list(row.untried),
            }
            for row in rows
        ],
        "problems": told,
    }


def _verdict(rows: list[Judged]) -> str:
    """One line for people."""
    count = {state: sum(row.state == state for row in rows) for state in ("reads", "reads without", "cannot")}
    without = f", {count['reads without']} without some of it" if count["reads without"] else ""
    cannot = f", {count['cannot']} cannot" if count["cannot"] else ""
    return f"{count['reads'] + count['reads without']} of {len(rows)} tables read{without}{cannot}"


def _lines(one: Subject, rows: list[Judged], told: list[str], width: int, everything: bool) -> Iterator[str]:
    release = f"Linux {one.release}" if one.release else "the kernel"
    yield escape_terminal(f"{one.name}: {release} on {one.machine}: {_verdict(rows)}")
    shown = [row for row in rows if everything or row.state != "reads" or row.untried]
    margin = max((len(row.table) for row in shown), default=0)
    indent = " " * (margin + 17)
    told_by: dict[str, str] = {}
    yield from [""] * bool(shown)
    for row in sorted(shown, key=lambda row: (row.state != "cannot", row.state == "reads")):
        # What one table said already, another need not say again.
        first = told_by.setdefault(row.reason, row.table) if row.reason else ""
        reason = row.reason if first in ("", row.table) else f"for the same as {first}"
        said = [_few("without", row.without), reason, _few("not tried without", row.untried)]
        text = f"{row.table:<{margin}}  {row.state:<13}  {'; '.join(filter(None, said))}".rstrip()
        yield from textwrap.wrap(
            escape_terminal(text),
            width,
            subsequent_indent=indent,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
    for problem in told:
        yield from ("", *textwrap.wrap(escape_terminal(problem), width))


def _few(what: str, names: tuple[str, ...]) -> str:
    """The first of some names, and how many there are more."""
    if not names:
        return ""
    more = len(names) - _MOST_COLUMNS
    return f"{what} {', '.join(names[:_MOST_COLUMNS])}{f' and {more} more' if more > 0 else ''}"
