"""`kernlab completion`: the lines that teach a shell to complete kernlab's verbs, tables, columns and names."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kernlab.commands import completing
from kernlab.errors import KernlabError

EXAMPLES = """
eval "$(kernlab completion bash)"         in ~/.bashrc
eval "$(kernlab completion zsh)"          in ~/.zshrc, after compinit
kernlab completion fish | source          in config.fish
"""


def completion(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="SHELL",
            help=", ".join(completing.SHELLS),
            autocompletion=completing.offering(lambda: completing.SHELLS),
        ),
    ],
) -> int:
    """Print what your shell has to run at its start to complete what follows `kernlab`.

    It knows verbs, options, tables, columns (after a comma, too), forms, and what lies in the dump that is named
    already: slab caches, symbols, channels, events.
    """
    if shell not in completing.SHELLS:
        raise KernlabError(f"completion is for {', '.join(completing.SHELLS)}, not {shell!r}")
    sys.stdout.write(completing.script(shell))
    return 0
