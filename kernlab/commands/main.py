"""The command `kernlab`: arguments in, text, CSV or JSON out. Each verb is a thin shell over a public function.

`main` turns a KernlabError into one message and exit status 2, and is quiet about Ctrl-C and a closed pipe. Nothing
heavy is imported before a verb runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence

import typer

from kernlab.commands import telling, verbs
from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal

#: Exit statuses beside a verb's own.
ERROR = 2
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE

#: Set by the shell when it asks what may follow: the line up to the cursor (`kernlab completion`).
COMPLETE = "_KERNLAB_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (sys.argv's without one); gives the exit status."""
    if COMPLETE in os.environ:
        from kernlab.commands.completing import answer

        return answer(os.environ[COMPLETE])
    warnings.showwarning = telling.show_warning
    try:
        try:
            with telling.as_told():
                status = _run(list(sys.argv[1:] if argv is None else argv))
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


def _run(words: list[str]) -> int:
    group = verbs.everything()
    try:
        with group.make_context("kernlab", words) as context:
            return group.invoke(context) or 0
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as error:
        _say_usage(error)
        return ERROR


def _say_usage(error: typer.TyperException) -> None:
    """What was wrong with the words, and where to read how they go."""
    # pydantic's words for a number that is none say twice what one half says.
    message = escape_terminal(error.format_message().partition(", unable to parse")[0], lines=True)
    context = getattr(error, "ctx", None)
    if context is None or message.startswith("Usage:"):
        print(message, file=sys.stderr)
        return
    print(f"kernlab: {message}", file=sys.stderr)
    print(context.get_usage(), file=sys.stderr)
    print(f"Try '{context.command_path} --help'.", file=sys.stderr)


def _drop_output() -> None:
    """Let what is still buffered go nowhere: Python would fail once more when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # What is no file (a test's, a notebook's) drops nothing at its end.
    with contextlib.suppress(io.UnsupportedOperation):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
