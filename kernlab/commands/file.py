"""`kernlab file`: what the page cache held of one file."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kernlab.commands.options import DumpFormat, Quiet, Redact, Vmcore, open_dump
from kernlab.commands.telling import tell
from kernlab.commands.writing import write_bytes

EXAMPLES = """
kernlab file vmcore /bin/busybox -o busybox     into a file, which has holes where something is missing
kernlab file vmcore /bin/sh -o sh               symbolic links lead where they lead
"""


def file(
    vmcore: Vmcore,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="where it lies, as pid 1 sees it; or the address of its struct inode or struct file",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="the file to write, with holes for what is missing, instead of stdout",
        ),
    ] = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Take a file out of a dump, as far as its page cache (or tmpfs) is there.

    To standard output it is written only if nothing of it is missing; with --output what is missing is a hole.
    """
    with open_dump(vmcore, dump_format, redact) as dump:
        found = dump.file(path)
        if output is None:
            write_bytes(found.read(), None)
            tell(found.problems)
            return 0
        saved = found.save(output)
        problems, saved.problems = saved.problems, []
        sys.stdout.write(f"{saved}\n")
        tell(problems)
    return 0
