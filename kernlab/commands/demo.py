"""`kernlab demo`: a sample dump from first look to report, with nothing but the checkout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kernlab.commands import telling
from kernlab.commands.options import OUTPUT, Quiet

EXAMPLES = """
kernlab demo                     a machine that ran out of memory; the report comes into this folder
kernlab demo --sample deadlock   another sample (kernlab.samples() lists them)
"""


def demo(
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="DIR", rich_help_panel=OUTPUT, help="the folder for the report"
        ),
    ] = ".",
    sample: Annotated[
        str, typer.Option("--sample", metavar="NAME", help="which of the sample dumps")
    ] = "oom",
    quiet: Quiet = False,
) -> int:
    """Look at a sample dump: its story and tables as text here, and the report with its plots as one page.

    The samples are part of kernlab's source, not of the installed package; KERNLAB_SAMPLES names another
    folder of them.
    """
    from kernlab.commands.report import telling_progress
    from kernlab.report.run import make
    from kernlab.sample_dumps import sample as path_of

    dump, folder = path_of(sample), Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    # The samples hold nobody's data: nothing needs to be hidden.
    made = make(
        dump, folder / f"{sample}-report.html", redact="none", told=None if quiet else telling_progress()
    )
    for cell in made.notebook.cells:
        _say(cell)
    print(
        f"\nThe report, with plots: {made.path} ({made.path.stat().st_size / 1e6:.1f} MB, one file, opens offline)"
    )
    print(f"The same of a dump of your own: kernlab report VMCORE. To go on: kernlab notebook {dump} --open")
    if made.failed:
        telling.tell([f"this section could not be made: {heading}" for heading in made.failed])
        return 1
    return 0


def _say(cell: Any) -> None:
    """What a cell shows, as plain text; plots are in the page."""
    from kernlab.escape import escape_terminal

    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = str(data.get("text/plain", "") or output.get("text", ""))
        if text.strip() and "image/png" not in data:
            sys.stdout.write(f"\n{escape_terminal(text.rstrip(), lines=True)}\n")
