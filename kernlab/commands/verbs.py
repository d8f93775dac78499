"""The verbs of `kernlab`: each known by a line here, and imported when it is called or its help is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command, get_group

import kernlab
from kernlab.commands import given, help_pages

EXAMPLES = """
kernlab info vmcore                                   what died, when, and why
kernlab verdict vmcore                                why it died, with evidence; of a log alone, too
kernlab report vmcore -o report.html                  one page to hand on, redacted
kernlab table vmcore tasks --where 'state == "D"'     any table, as text, CSV, JSON or Parquet
kernlab trace vmcore timeline --since -1              the last second of the machine
kernlab notebook vmcore --open                        go on in JupyterLab
"""

EXIT_STATUS = (
    "Exit status: 0 all went well; 1 the answer is no (a check or a section failed, no recorder runs); "
    "2 an error, which standard error tells; 130 interrupted; 141 nobody reads on. Standard output has data only."
)


@dataclass(frozen=True)
class Verb:
    """What is known of a verb before its module is imported."""

    panel: str
    about: str
    #: The module in kernlab.commands, and the function (or the `app`) in it; '' for the verb's own name.
    module: str = ""
    hidden: bool = False


_LOOK, _TAKE, _BEFORE = "Look at a dump", "Take something away", "Before a crash"

VERBS = {
    "info": Verb(_LOOK, "what a dump is, and how the machine died"),
    "verdict": Verb(_LOOK, "why it died: cause, evidence, doubt; of a dump, or of a log alone"),
    "bt": Verb(_LOOK, "the stack of a thread: of who panicked, of a pid, or of who ran on a CPU"),
    "stack": Verb(_LOOK, "what bt was called at first", module="bt", hidden=True),
    "tables": Verb(_LOOK, "the tables and traces that a dump gives, each with its description"),
    "table": Verb(_LOOK, "one table of a dump: filtered, sorted, as text, CSV, JSON or Parquet"),
    "trace": Verb(_LOOK, "relay channels, ftrace and the timeline: events, raw bytes, trace.dat, Perfetto"),
    "report": Verb(_TAKE, "one page that says what died and why, with the evidence"),
    "notebook": Verb(_TAKE, "a notebook that opens the dump and looks around"),
    "core": Verb(_TAKE, "a core file of one process, for gdb"),
    "file": Verb(_TAKE, "a file, as far as its page cache is in the dump"),
    "redact": Verb(_TAKE, "a copy of a dump without what is private in it"),
    "demo": Verb(_TAKE, "a sample dump, from first look to report"),
    "capture": Verb(_BEFORE, "is this machine ready to leave a dump?"),
    "kernel-check": Verb(
        _BEFORE, "will kernlab read dumps of this kernel? each table, before any crash", module="kernel_check"
    ),
    "recorder": Verb(_BEFORE, "keep the last seconds of this machine for the dump"),
    "relay": Verb(_BEFORE, "record relay channels of this machine"),
    "lab": Verb(_BEFORE, "crash a throw-away Debian guest, and keep its dump with the truth about it"),
    "completion": Verb("Shell", "completion of verbs, tables and columns for your shell"),
}


def module_of(name: str) -> str:
    """The module that holds a verb."""
    return f"kernlab.commands.{VERBS[name].module or name}"


def load(name: str) -> Any:
    """The command of a verb, its module imported."""
    module = importlib.import_module(module_of(name))
    if hasattr(module, "app"):
        command = get_group(module.app)
        command.name = name
        return command
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    function = getattr(module, (VERBS[name].module or name).replace("-", "_"))
    help_pages.verb(
        app, name, examples=getattr(module, "EXAMPLES", ""), epilog=getattr(module, "EPILOG", None)
    )(given.with_files(function))
    return get_command(app)


class Verbs(help_pages.HelpGroup):
    """All of `kernlab`; a part of it that is not there has no verb."""

    examples = EXAMPLES

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs that help and completion show."""
        return [name for name in self._there() if not VERBS[name].hidden]

    def _there(self) -> Iterator[str]:
        return (name for name in VERBS if importlib.util.find_spec(module_of(name)) is not None)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb, imported; None where there is none of that name."""
        return load(cmd_name) if cmd_name in self._there() else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that is called; what is none is told with what was most likely meant."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            ctx.fail(f"{name!r} is no verb of kernlab{self._hint(ctx, name)}")
        return (name if command else None), command, args[1:]

    def _hint(self, ctx: Any, name: str) -> str:
        if Path(name).is_file():
            return f"; to look at that file: kernlab info {name}"
        from kernlab.util.text import nearest

        return nearest(name, self.list_commands(ctx), 2) or ""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs by what they are for; none of them is imported."""
        there = self.list_commands(ctx)
        margin = max(map(len, there))
        for panel in dict.fromkeys(VERBS[name].panel for name in there):
            with formatter.section(panel):
                formatter.write_dl(
                    [(f"{n:<{margin}}", VERBS[n].about) for n in there if VERBS[n].panel == panel]
                )

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What may follow `kernlab`, for the shell; without importing any verb."""
        from typer.core import CompletionItem, TyperCommand  # type: ignore[attr-defined]

        verbs = [
            CompletionItem(name, help=VERBS[name].about)
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*verbs, *TyperCommand.shell_complete(self, ctx, incomplete)]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kernlab {kernlab.__version__}")
        raise typer.Exit


def _kernlab(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="say which release this is")
    ] = False,
) -> None:
    """Linux kernel crash dumps as tables, stacks, traces and reports, with nothing but the dump."""


def everything() -> Any:
    """The whole command line as a typer group."""
    app = typer.Typer(
        cls=Verbs,
        no_args_is_help=True,
        epilog=EXIT_STATUS,
        context_settings=help_pages.SETTINGS,
        add_completion=False,
        rich_markup_mode=None,
        subcommand_metavar="VERB …",
    )
    app.callback()(_kernlab)
    return get_group(app)
