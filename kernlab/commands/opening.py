"""What subcommands of a dump share: how it is opened, and how they say what is wrong with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import kernlab
from kernlab.escape import escape_terminal


def add_opening(parser: argparse.ArgumentParser) -> None:
    """Add the options of `open_dump`."""
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        help="the dump's format, where its content does not tell: raw for a plain image of physical memory",
    )


def open_dump(arguments: argparse.Namespace) -> kernlab.Dump:
    """The dump that was named, or the pieces of one."""
    names = [arguments.dump] if isinstance(arguments.dump, str) else arguments.dump
    vmlinux = getattr(arguments, "vmlinux", None)
    return kernlab.open(names[0] if len(names) == 1 else names, format=arguments.format, vmlinux=vmlinux)


def tell(problems: Iterable[str]) -> None:
    """Say on standard error what is missing, behind what was printed."""
    sys.stdout.flush()
    for problem in problems:
        print(f"kernlab: {escape_terminal(problem)}", file=sys.stderr)
