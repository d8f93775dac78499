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
from typing import TextIO

import kernlab
from kernlab.errors import KernlabError, KernlabWarning
from kernlab.text import escape_terminal

#: Exit statuses beside a subcommand's own.
ERROR = 2
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE

#: Modules whose `add_parser(subparsers)` adds subcommands, each with `run` set by `set_defaults`: a function from the
#: parsed arguments to the exit status (None: 0). Of one that is not there, nothing is shown.
_COMMANDS = (
    "kernlab.cli_tables",
    "kernlab.capture.status_command",
    "kernlab.capture.lab_command",
    "kernlab.traces.relay_command",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (sys.argv's without one); gives the exit status."""
    arguments = parser().parse_args(argv)
    warnings.showwarning = _show_warning
    try:
        status: int = arguments.run(arguments) or 0
        # What is still buffered meets a closed pipe here, not when the interpreter ends.
        sys.stdout.flush()
    except KernlabError as error:
        print(f"kernlab: {escape_terminal(_words(error), lines=True)}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would say so once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; a part of kernlab that is not there has no subcommand."""
    top = argparse.ArgumentParser(
        prog="kernlab", description="Linux kernel crash dumps as tables, with nothing but the dump."
    )
    top.add_argument("--version", action="version", version=f"kernlab {kernlab.__version__}")
    commands = top.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).add_parser(commands)
    return top


def _words(error: KernlabError) -> str:
    # What Python makes of an OSError begins with its number.
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


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
