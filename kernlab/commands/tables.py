"""`kernlab tables`: what tables and traces there are, each with its description."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from kernlab.commands import completing
from kernlab.commands.options import OUTPUT, DumpFormat, Quiet, Redact, form_of, open_dump

_FORMS = {"text": (".txt",), "json": (".json",)}

EXAMPLES = """
kernlab tables             all that there are
kernlab tables vmcore      and the traces that this dump has
"""


def tables(
    vmcore: Annotated[
        list[str] | None,
        typer.Argument(metavar="VMCORE", help="a dump; its traces are listed, too, if it has any"),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="text (default), or json: a list of name and description",
        ),
    ] = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """List the tables that a dump gives, and with a dump the traces that it holds.

    `kernlab table VMCORE NAME` prints one.
    """
    from kernlab.dump import TABLES

    chosen = form_of(form, None, _FORMS)
    listed = {
        name: f"{entry.description}{' Takes arguments.' if entry.is_method else ''}"
        for name, entry in sorted(TABLES.items())
    }
    if vmcore:
        with open_dump(vmcore, dump_format, redact) as dump:
            held = {"stacks": True, "relay": len(dump.relay.channels), "ftrace": len(dump.ftrace.counts)}
            listed |= {
                name: about for name, about in completing.OF_VIEWS.items() if held[name.partition(".")[0]]
            }
    if chosen == "json":
        rows = [{"name": name, "description": about} for name, about in listed.items()]
        sys.stdout.write(f"{json.dumps(rows, indent=1)}\n")
        return 0
    margin = max(map(len, listed))
    sys.stdout.writelines(f"{name:<{margin}}  {about}\n" for name, about in listed.items())
    return 0
