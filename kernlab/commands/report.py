"""`kernlab report`: one file that says what died and why, with the evidence, for people without Jupyter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from kernlab.commands import completing, telling
from kernlab.commands.given import files
from kernlab.commands.options import LEVELS, OPENING, OUTPUT, DumpFormat, Quiet

_TEMPLATES = ("triage", "memory", "io", "hang")

EXAMPLES = """
kernlab report vmcore                               vmcore-report.html, redacted: fit to be shared
kernlab report vmcore -o report.pdf                 the same, printed by Chromium
kernlab report vmcore --template hang -o hang.html  who waits for whom, in depth
kernlab report vmcore --template my.ipynb           a notebook of your own, given vmcore and redact
kernlab report vmcore -o report.ipynb               the executed notebook, to go on from
kernlab report vmcore --redact none                 with all names and addresses: stays at home
"""


def report(
    vmcore: Annotated[
        list[str],
        typer.Argument(
            metavar="VMCORE", help="the dump file; of a split dump all pieces", show_default=False
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="FILE.html, FILE.ipynb or FILE.pdf; without it VMCORE-report.html in this folder",
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            "--template",
            metavar="NAME",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _TEMPLATES),
            help="triage (what died and why), memory, io, hang, or a notebook of your own: its cell tagged "
            "“parameters” is given vmcore, redact, format and vmlinux",
        ),
    ] = "triage",
    redact: Annotated[
        str,
        typer.Option(
            "--redact",
            metavar="LEVEL",
            rich_help_panel=OPENING,
            autocompletion=completing.offering(lambda: LEVELS),
            help="what is private replaced: share (for people you know), strict (for anybody), or none",
        ),
    ] = "share",
    redaction_map: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FILE",
            rich_help_panel=OPENING,
            help="write there what was replaced by what, for you to look up; keep it at home. A map that is there is "
            "used, and names become what they became in the report before",
        ),
    ] = None,
    dump_format: DumpFormat = None,
    quiet: Quiet = False,
) -> int:
    """Make a report of a dump: what died, why, what ate the memory and what to do, with the evidence behind it.

    The page needs nothing else: it runs no scripts and loads nothing. Where a section cannot be made the others are,
    and the exit status is 1.
    """
    from kernlab.report.run import make

    told = telling_progress() if not quiet else None
    made = make(
        vmcore,
        output,
        template=template,
        redact=redact,
        redaction_map=redaction_map,
        format=dump_format,
        told=told,
        **files(),
    )
    telling.note(f"kernlab: {made.title or 'the report'}")
    telling.note(f"kernlab: {made.path} ({made.path.stat().st_size / 1e6:.1f} MB) is written")
    if redaction_map is not None:
        telling.note(f"kernlab: {redaction_map} says what was replaced by what: keep it at home")
    if made.failed:
        telling.tell([f"this section could not be made: {heading}" for heading in made.failed])
        return 1
    return 0


def telling_progress() -> Callable[[int, int, str], None] | None:
    """What says on standard error which cell runs: one line that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        return None
    from kernlab.escape import escape_terminal

    def told(number: int, count: int, heading: str) -> None:
        end = "\n" if number == count else ""
        sys.stderr.write(f"\r\x1b[K{number} of {count}: {escape_terminal(heading)[:60]}{end}")
        sys.stderr.flush()

    return told
