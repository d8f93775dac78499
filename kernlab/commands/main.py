"""The command `kernlab`: arguments in, text, CSV or JSON out. Each subcommand is a thin shell over a public function.

`main` turns a KernlabError into one message and exit status 2, and is quiet about Ctrl-C and a closed pipe. Nothing
heavy is imported before a subcommand runs.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import kernlab
from kernlab.errors import KernlabError, KernlabWarning
from kernlab.escape import escape_terminal

#: Exit statuses beside a subcommand's own.
ERROR = 2
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE

#: Modules whose `add_parser(subparsers)` adds subcommands, each with `run` set by `set_defaults`: a function from the
#: parsed arguments to the exit status (None: 0). Of one that is not there, nothing is shown.
_COMMANDS = (
    "kernlab.commands.tables",
    "kernlab.commands.stack",
    "kernlab.commands.capture_status",
    "kernlab.commands.lab",
    "kernlab.commands.relay_record",
    "kernlab.commands.recorder",
    "kernlab.commands.completion",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (sys.argv's without one); gives the exit status."""
    warnings.showwarning = _show_warning
    try:
        try:
            arguments = _parsed(argv)
            status: int = arguments.run(arguments) or 0
        finally:
            # What is still buffered meets a closed pipe or a full disk here, not when the interpreter ends.
            sys.stdout.flush()
    except KernlabError as error:
        print(f"kernlab: {error.words()}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        # A disk that is full, a folder that may not be written to: where and why, not where in kernlab's source.
        where = str(error.filename) if error.filename is not None else "the output"
        print(f"kernlab: {escape_terminal(where)}: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        return ERROR
    return status


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    whole = parser()
    # Set by the shell when it asks what may follow (`kernlab completion`); that call does not come back.
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(whole)
    return whole.parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; a part of kernlab that is not there has no subcommand."""
    top = _Parser(
        prog="kernlab", description="Linux kernel crash dumps as tables, with nothing but the dump."
    )
    top.add_argument("--version", action="version", version=f"kernlab {kernlab.__version__}")
    commands = top.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).add_parser(commands)
    return top


class _Parser(argparse.ArgumentParser):
    """argparse's, but what cannot be written (--help to a full disk) is an error: it passes over that in silence."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message and file is not None:
            file.write(message)


def _drop_output() -> None:
    """Let what is still buffered go nowhere: Python would fail once more when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # A path and a line of kernlab's source say nothing to who runs a command.
    where = "" if issubclass(category, KernlabWarning) else f"{filename}:{lineno}: "
    print(f"kernlab: warning: {where}{escape_terminal(str(message), lines=True)}", file=sys.stderr)
