"""What verbs say beside their data: problems and warnings on standard error, or nothing where that was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from kernlab.errors import KernlabWarning
from kernlab.escape import escape_terminal

#: The library's own switch for its bars (kernlab.util.progress).
_BARS = "KERNLAB_PROGRESS"

_quiet = False


@contextmanager
def as_told() -> Iterator[None]:
    """A run of the command line: what `be_quiet` changes ends with it."""
    global _quiet
    before = os.environ.get(_BARS)
    try:
        yield
    finally:
        if _quiet:
            _quiet = False
            if before is None:
                os.environ.pop(_BARS, None)
            else:
                os.environ[_BARS] = before


def be_quiet(wanted: bool) -> bool:
    """`--quiet`: no bars, no problems, no warnings; errors are told still."""
    global _quiet
    if wanted:
        _quiet = True
        os.environ[_BARS] = "0"
    return wanted


def tell(problems: Iterable[str]) -> None:
    """Say on standard error what is missing, behind what was printed."""
    sys.stdout.flush()
    if not _quiet:
        for problem in problems:
            print(f"kernlab: {escape_terminal(problem)}", file=sys.stderr)


def told_of(attrs: Mapping[Hashable, Any]) -> list[str]:
    """What a table's attrs have to say: its problems, and of a running machine when it was read."""
    window = attrs.get("window")
    when = [f"read live, {window['start']} to {window['end']} ({window['seconds']:.3f} s)"] if window else []
    return [*attrs.get("problems", []), *when]


def note(sentence: str) -> None:
    """Say on standard error what was done."""
    tell_lines = "" if _quiet else f"{escape_terminal(sentence, lines=True)}\n"
    sys.stderr.write(tell_lines)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """`warnings.showwarning` of the command line."""
    if _quiet:
        return
    # A path and a line of kernlab's source say nothing to who runs a command.
    where = "" if issubclass(category, KernlabWarning) else f"{filename}:{lineno}: "
    print(f"kernlab: warning: {where}{escape_terminal(str(message), lines=True)}", file=sys.stderr)
