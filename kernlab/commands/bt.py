"""`kernlab bt`: the stack of a thread, or of all, printed as the kernel prints it, with source lines where known."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from kernlab.commands import completing
from kernlab.commands.options import DumpFormat, Quiet, Redact, Vmcore, open_dump
from kernlab.commands.telling import tell, told_of
from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal

EXAMPLES = """
kernlab bt vmcore                     of who panicked
kernlab bt vmcore 1                   of a pid, a name, or the address of a task_struct
kernlab bt vmcore --cpu 0             of who ran on a CPU
kernlab bt vmcore --all               of all threads, equal ones together
kernlab table vmcore stacks.groups    the same as a table
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
    every: Annotated[bool, typer.Option("-a", "--all", help="all threads, equal stacks together")] = False,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Print one thread's stack, or those of all, as the kernel prints a call trace."""
    if every + (thread is not None) + (cpu is not None) > 1:
        raise KernlabError("name a thread or a CPU, or ask for --all")
    with open_dump(vmcore, dump_format, redact) as dump:
        if every:
            groups = dump.stacks.groups()
            sys.stdout.write("\n".join(map(_group, groups.to_dict("records"))))
            tell(told_of(groups.attrs))
            return 0
        if cpu is not None:
            found = dump.stack(cpu=cpu)
        elif thread is not None:
            found = dump.stack(thread)
        else:
            found = dump.stack.of_panic()
        # It says by itself what is missing of it.
        sys.stdout.write(f"{found}\n")
    return 0


def _group(row: dict[Any, Any]) -> str:
    """Equal stacks: how many, whose, and their frames."""
    whose = f"{row['count']:,} × {row['comms']} ({row['state']}), pid {', '.join(map(str, row['pids'][:20]))}"
    more = ", …" if len(row["pids"]) > 20 else ""
    frames = "".join(f" {frame}\n" for frame in escape_terminal(str(row["frames"]), lines=True).splitlines())
    return f"{escape_terminal(whose)}{more}\n{frames}"
