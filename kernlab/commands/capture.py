"""`kernlab capture status`: arguments in, a report printed, whether the machine is armed as the exit status."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Annotated

import typer

from kernlab.commands import completing, help_pages
from kernlab.commands.options import OUTPUT, form_of

#: Exit statuses: armed; not armed (or a crash kernel, after a crash). 2 is an error, as everywhere in kernlab.
ARMED, NOT_ARMED = 0, 1

_FORMS = {"text": (".txt",), "json": (".json",)}

app = help_pages.group("Is this machine ready to leave a dump?")


@help_pages.verb(
    app,
    "status",
    examples="kernlab capture status\nkernlab capture status --format json",
    epilog="Exit status: 0 armed, 1 not armed, 2 an error. As root it can see more.",
)
def status(
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="text (default), or json: every check with found, wanted and remedy",
        ),
    ] = None,
    root: Annotated[
        str,
        typer.Option(
            "--root",
            metavar="DIR",
            help="a folder that holds another machine's proc/, sys/ and etc/",
        ),
    ] = "/",
    json_: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> int:
    """Would a crash of this machine leave a usable dump?

    Looks at crash memory, the loaded crash kernel, the kdump service, room for the dump and what ends in a panic, and
    says what to do where something is in the way. Changes nothing.
    """
    from kernlab.kdump_status import status as kdump

    chosen = form_of("json" if json_ else form, None, _FORMS)
    report = kdump.status(root)
    if chosen == "json":
        sys.stdout.write(f"{json.dumps(report.as_json(), indent=1)}\n")
    else:
        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        sys.stdout.write(f"{report.text(width=width, colour=help_pages.coloured(sys.stdout))}\n")
    return ARMED if report.armed else NOT_ARMED
