"""`kernlab info`: a dump's summary, or its facts as JSON, on standard output."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from kernlab.commands import completing
from kernlab.commands.options import OUTPUT, DumpFormat, Quiet, Redact, form_of, open_dump
from kernlab.commands.telling import tell

_FORMS = {"text": (".txt",), "json": (".json",)}

EXAMPLES = """
kernlab info vmcore
kernlab info vmcore --format json
kernlab info vmcore.split.0 vmcore.split.1    all pieces of a split dump
"""


def info(
    vmcore: Annotated[
        list[str],
        typer.Argument(metavar="VMCORE", help="the dump file; of a split dump all pieces, in any order"),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="text (default), or json: every fact by its name; times are ISO 8601, spans seconds",
        ),
    ] = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
    json_: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> int:
    """Say what a dump is, what died, when and why, and what the file left out.

    What the dump lacks is told on standard error.
    """
    chosen = form_of("json" if json_ else form, None, _FORMS)
    with open_dump(vmcore, dump_format, redact) as dump:
        if chosen == "json":
            from kernlab.commands.writing import plain

            facts = {str(key): plain(value) for key, value in dump.info.items()}
            sys.stdout.write(f"{json.dumps(facts | {'problems': dump.problems}, indent=1)}\n")
            return 0
        from kernlab.display.summary import as_text, summary

        said = summary(dump)
    sys.stdout.write(f"{as_text(said)}\n")
    tell(list(said.problems))
    return 0
