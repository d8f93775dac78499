"""`kernlab completion`: the lines that teach a shell to complete kernlab's subcommands, tables and columns."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `completion` to the subparsers of `kernlab`."""
    parser = commands.add_parser(
        "completion",
        help="completion of subcommands, tables and columns for your shell",
        description="Prints what your shell has to run at its start to complete what follows `kernlab`.",
        epilog='bash: eval "$(kernlab completion bash)" in ~/.bashrc;  zsh: the same with zsh in ~/.zshrc, after '
        "compinit;  fish: kernlab completion fish | source in config.fish",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh", "powershell"))
    parser.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["kernlab"], shell=arguments.shell))
    return 0
