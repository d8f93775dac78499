"""`kernlab verdict`: why a machine died, of its dump, or of a log that was saved without one."""

from __future__ import annotations

import json
import sys
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernlab.commands import completing
from kernlab.commands.help_pages import coloured
from kernlab.commands.options import OUTPUT, DumpFormat, Quiet, Redact, form_of, open_dump
from kernlab.commands.telling import tell
from kernlab.errors import KernlabError

if TYPE_CHECKING:
    import pandas as pd

_FORMS = {"text": (".txt",), "story": (), "json": (".json",)}

EXAMPLES = """
kernlab verdict vmcore
kernlab verdict vmcore --format story      in plain words, for people who are no kernel engineers
kernlab verdict vmcore --json              every finding with its evidence, for scripts
kernlab verdict vmcore-dmesg.txt           where only the log was saved
journalctl -k -b -1 | kernlab verdict -    a log from another command
"""

EPILOG = (
    "JSON is one object: source; log_alone (is there a log and no dump?); signature; findings, the cause first, each "
    "with finding, subject, pid, module, function, device, role (cause, end, beside), since (seconds before the end), "
    "confidence (0 to 1), evidence (a list of objects: table, rows, says), against (a list of sentences), cell; and "
    "problems, what could not be looked at. What is not known is null."
)


def verdict(
    vmcore: Annotated[
        list[str],
        typer.Argument(
            metavar="VMCORE",
            help="the dump file (of a split dump all pieces), or a kernel log: vmcore-dmesg.txt, what dmesg, "
            "journalctl -k or a serial console wrote, compressed or not; - reads a log from standard input",
            show_default=False,
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OUTPUT, help="the same as --format json")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="text (default); story: in plain words, with what to do next; json: all findings, with the rows that "
            "show each",
        ),
    ] = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Say what the machine died of, how sure that is, what shows it, and what speaks against it.

    The first finding is the cause as far as it is known; then comes how the machine itself saw its end, and what else
    is wrong. No finding means that nothing is known to be wrong. What could not be looked at is told on standard error.
    """
    if as_json and form not in (None, "json"):
        raise KernlabError(f"--json and --format {form} are two forms; choose one")
    chosen = form_of("json" if as_json else form, None, _FORMS)
    from kernlab.util import losses

    with losses.scope("log") as cut:
        text = _log(vmcore) if dump_format is None else None
    if text is not None:
        if redact != "none":
            raise KernlabError("--redact needs a dump: it does not find what is private in a log alone")
        from kernlab.verdict import of_log

        found = of_log(text)
        found.attrs["problems"] = [*cut.losses, *found.attrs["problems"]]
        _show(found, vmcore[0], chosen, log_alone=True)
        return 0
    with open_dump(vmcore, dump_format, redact) as dump:
        _show(dump.verdict, str(dump.kernel.source), chosen, log_alone=False)
    return 0


def _log(names: list[str]) -> str | None:
    """The text of a log; None where a dump is named."""
    from kernlab.verdict.log_file import log_text, text_of, why_no_text

    if names == ["-"]:
        first = sys.stdin.buffer.read(1 << 20)
        text = text_of(chain([first], iter(lambda: sys.stdin.buffer.read(1 << 20), b"")))
        if text is None:
            raise KernlabError(f"standard input is no log: {why_no_text(first)}")
        return text
    return log_text(names[0]) if len(names) == 1 else None


def _show(found: pd.DataFrame, source: str, form: str, *, log_alone: bool) -> None:
    if form == "json":
        sys.stdout.write(f"{json.dumps(as_json(found, source, log_alone=log_alone), indent=1)}\n")
        return
    if form == "story":
        from kernlab.escape import escape_terminal
        from kernlab.verdict.story import story

        said = escape_terminal(story(found, width=80), lines=True)
    else:
        from kernlab.display.verdict import as_text

        said = as_text(found, coloured(sys.stdout))
    sys.stdout.write(f"{said}\n")
    tell(found.attrs["problems"])


def as_json(found: pd.DataFrame, source: str, *, log_alone: bool) -> dict[str, Any]:
    """A verdict as `--json` prints it (EPILOG has its keys)."""
    from kernlab.commands.writing import plain

    findings = [{str(name): plain(value) for name, value in row.items()} for row in found.to_dict("records")]
    return {
        "source": source,
        "log_alone": log_alone,
        "signature": found.attrs["signature"],
        "findings": findings,
        "problems": list(found.attrs["problems"]),
    }
