"""`kernlab stack`: one thread's stack, printed as the kernel prints it, with source lines where a debug file tells."""

from __future__ import annotations

import argparse
from typing import Any

from kernlab.commands.opening import add_opening, open_dump
from kernlab.errors import KernlabError


def add_parser(commands: Any) -> None:
    """Add `stack` to the subparsers of `kernlab`."""
    stack = commands.add_parser(
        "stack",
        help="the stack of a thread: of who panicked, of a pid, or of who ran on a CPU",
        description="Prints one thread's stack as the kernel prints a call trace. For equal stacks of all threads: "
        "kernlab table DUMP stacks.groups.",
    )
    stack.add_argument("dump", metavar="DUMP", help="the dump file")
    stack.add_argument(
        "thread",
        metavar="THREAD",
        nargs="?",
        help="a pid, a name, or the address of a task_struct; without one, the thread that panicked",
    )
    stack.add_argument("-c", "--cpu", metavar="CPU", type=int, help="the thread that ran on this CPU")
    stack.add_argument(
        "--vmlinux",
        metavar="PATH",
        action="append",
        help="for source lines: the kernel's vmlinux or .debug file, a module's .ko.debug, or a folder that has them; "
        "may be given several times. Without it they are looked for in KERNLAB_DEBUG_PATH",
    )
    add_opening(stack)
    stack.set_defaults(run=_stack)


def _stack(arguments: argparse.Namespace) -> int:
    if arguments.thread is not None and arguments.cpu is not None:
        raise KernlabError("name a thread or a CPU, not both")
    with open_dump(arguments) as dump:
        if arguments.cpu is not None:
            found = dump.stack(cpu=arguments.cpu)
        elif arguments.thread is not None:
            found = dump.stack(arguments.thread)
        else:
            found = dump.stack.of_panic()
        # It says by itself what is missing of it.
        print(found)
    return 0
