"""`kernlab core`: a core file of one process, for gdb."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kernlab.commands import completing
from kernlab.commands.options import DumpFormat, Quiet, Redact, Vmcore, open_dump
from kernlab.commands.telling import tell

EXAMPLES = """
kernlab core vmcore 1 -o core         of a pid, a name, or the address of a task_struct
gdb PROGRAM core                      its program comes from where it was installed, or from `kernlab file`
"""


def core(
    vmcore: Vmcore,
    process: Annotated[
        str,
        typer.Argument(
            metavar="PROCESS",
            autocompletion=completing.threads,
            help="a pid, a name that no other process has, or the address of a task_struct",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help="the core file to write; one that is there is replaced"
        ),
    ],
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Write a core file of one process, which gdb opens: registers of its threads, memory, names of mapped files.

    Its memory is in dumps that were saved with user pages (QEMU's, or makedumpfile -d 1); of others the core has
    registers, and no stack.
    """
    with open_dump(vmcore, dump_format, redact) as dump:
        saved = dump.process(process).save_core(output)
        problems, saved.problems = saved.problems, []
        sys.stdout.write(f"{saved}\n")
        tell(problems)
    return 0
