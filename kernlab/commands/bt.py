"""`kernlab bt`: one thread's stack, printed as the kernel prints it, with source lines where a debug file tells."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kernlab.commands import completing
from kernlab.commands.options import DumpFormat, Quiet, Redact, Vmcore, open_dump
from kernlab.errors import KernlabError

EXAMPLES = """
kernlab bt vmcore                     of who panicked
kernlab bt vmcore 1                   of a pid, a name, or the address of a task_struct
kernlab bt vmcore --cpu 0             of who ran on a CPU
kernlab table vmcore stacks.groups    equal stacks of all threads, joined
"""


def bt(
    vmcore: Vmcore,
    thread: Annotated[
        str | None,
        typer.Argument(
            metavar="THREAD",
            autocompletion=completing.threads,
            help="a pid, a name, or the address of a task_struct; without one, the thread that panicked",
        ),
    ] = None,
    cpu: Annotated[
        int | None, typer.Option("-c", "--cpu", metavar="CPU", help="the thread that ran on this CPU")
    ] = None,
    vmlinux: Annotated[
        list[str] | None,
        typer.Option(
            "--vmlinux",
            metavar="PATH",
            help="for source lines: the kernel's vmlinux or .debug file, a module's .ko.debug, or a folder that has "
            "them; may be given several times. Without it they are looked for in KERNLAB_DEBUG_PATH",
        ),
    ] = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Print one thread's stack as the kernel prints a call trace."""
    if thread is not None and cpu is not None:
        raise KernlabError("name a thread or a CPU, not both")
    with open_dump(vmcore, dump_format, redact, vmlinux=vmlinux) as dump:
        if cpu is not None:
            found = dump.stack(cpu=cpu)
        elif thread is not None:
            found = dump.stack(thread)
        else:
            found = dump.stack.of_panic()
        # It says by itself what is missing of it.
        sys.stdout.write(f"{found}\n")
    return 0
