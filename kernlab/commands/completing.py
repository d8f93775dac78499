"""What may follow at the cursor of a shell, and the scripts that let a shell ask: words in, words out.

Nothing is said where nothing is known: what goes wrong while a shell asks ends in no offers. Names of a dump are
offered only where no shell could take a part of them for anything else.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import typer

SHELLS = ("bash", "zsh", "fish", "powershell")

#: Offers at once.
_MOST = 200
#: What every shell takes for a word, as it stands.
_PLAIN = re.compile(r"[\w@%+=:,./-][\w@%+=:,./~-]*", re.ASCII)

# typer's own script for bash lets it split words at : and =, and file names expand what is offered.
_BASH = r"""
_kernlab_completion() {
    local line=${COMP_LINE:0:COMP_POINT} current=${COMP_WORDS[COMP_CWORD]} word offer help
    word=${line##*[[:space:]]}
    # bash begins a new word behind each : and =, and puts what is offered in its place.
    if [[ $word == -*=* ]]; then word=${word#*=}; fi
    if [[ $current == [:=] ]]; then current=; fi
    local skip=$(( ${#word} - ${#current} ))
    if (( skip < 0 )); then skip=0; fi
    COMPREPLY=()
    while IFS=$'\t' read -r offer help; do
        if [[ -n $offer ]]; then COMPREPLY+=("${offer:skip}"); fi
    done < <(env _KERNLAB_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="$line" "$1" 2>/dev/null)
}
complete -o default -F _kernlab_completion kernlab
"""


def script(shell: str) -> str:
    """What a shell runs at its start to know kernlab."""
    if shell == "bash":
        return _BASH.lstrip()
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    return f"{get_completion_script(prog_name='kernlab', complete_var='_KERNLAB_COMPLETE', shell=shell)}\n"


def answer(instruction: str) -> int:
    """Print what may follow, for a shell that asked; gives the exit status."""
    from typer.completion import completion_init, shell_complete  # type: ignore[attr-defined]

    from kernlab.commands import verbs

    warnings.simplefilter("ignore")
    completion_init()
    try:
        return shell_complete(verbs.everything(), {}, "kernlab", "_KERNLAB_COMPLETE", instruction)
    except (Exception, KeyboardInterrupt):
        # A shell shows whatever is written here in the middle of a line.
        return 1
    finally:
        sys.stdout.flush()


def plain(words: Iterable[str]) -> list[str]:
    """Those that a shell takes as they stand, at most as many as somebody would look at."""
    found = [word for word in words if _PLAIN.fullmatch(word)]
    return found[:_MOST]


def offering(source: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """A completer of words that are known beforehand, each asked for when it is needed."""

    def offer(incomplete: str) -> list[str]:
        return [word for word in source() if word.startswith(incomplete)]

    return offer


def dump_formats() -> list[str]:
    """The formats that `kernlab.open` takes."""
    from kernlab.formats.recognise import formats

    return list(formats())


#: Tables of a view: what the traces of a dump are asked for.
OF_VIEWS = {
    "relay.channels": "Relay channels, one row per CPU, with what they hold and what they lost.",
    "ftrace.instances": "Instances of ftrace, with their clocks and tracers.",
    "ftrace.counts": "Events in the trace buffers, how many of each kind.",
    "ftrace.lost": "What the buffers of each instance and CPU counted, and whether all of it was found.",
    "ftrace.all": "Every event in the trace buffers.",
    "stacks.groups": "Equal stacks of all threads, joined.",
}


def names() -> list[str]:
    """What may stand for the name of a table."""
    from kernlab.dump import TABLES

    return [*TABLES, *OF_VIEWS]


def table_names(incomplete: str) -> list[tuple[str, str]]:
    """Tables, and what each is."""
    from kernlab.dump import TABLES

    told = {name: entry.description for name, entry in TABLES.items()} | OF_VIEWS
    return [(name, about) for name, about in told.items() if name.startswith(incomplete)]


def columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Columns of the table that is named already; after a comma one more."""
    from kernlab.dump import TABLES

    name = ctx.params.get("name") or {"timeline": "timeline"}.get(ctx.params.get("kind") or "", "")
    if name not in TABLES:
        return []
    given = incomplete.split(",")[:-1]
    before = "".join(f"{one}," for one in given)
    return [f"{before}{one}" for one in TABLES.load(name).columns if one not in given]


def table_arguments(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a table with parameters may be given: what a notebook offers for the same call."""
    name = ctx.params.get("name")
    if name not in names():
        return []
    from kernlab.jupyter.completion import suggestions

    return _of_dump(
        ctx,
        lambda dump: [offer.text for offer in suggestions(f'dump.{name}("{incomplete}', {"dump": dump})],
    )


def threads(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of threads that no other has."""
    return _of_dump(ctx, lambda dump: dump.tasks["comm"].dropna().drop_duplicates(keep=False).tolist())


def trace_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a kind of trace holds: channels, events."""
    kind = ctx.params.get("kind")

    def held(dump: Any) -> list[str]:
        if kind == "relay":
            return list(dict.fromkeys(dump.relay.channels["name"].tolist()))
        counts = dump.ftrace.counts if kind == "ftrace" else None
        return [] if counts is None else counts["event"].dropna().tolist()

    return _of_dump(ctx, held)


def instances(ctx: typer.Context, incomplete: str) -> list[str]:
    """Instances of ftrace that have a name."""
    return _of_dump(ctx, lambda dump: [name for name in dump.ftrace.instances["name"].tolist() if name])


def sources(ctx: typer.Context, incomplete: str) -> list[str]:
    """Sources of the timeline."""
    return _of_dump(ctx, lambda dump: dump.timeline()["source"].unique().tolist())


def _of_dump(ctx: typer.Context, ask: Callable[[Any], list[str]]) -> list[str]:
    """What the dump that is named already answers."""
    from kernlab.commands.options import open_dump
    from kernlab.errors import KernlabError

    try:
        with open_dump(ctx.params["vmcore"], ctx.params.get("dump_format")) as dump:
            return plain(ask(dump))
    except (KernlabError, OSError, KeyError):
        return []
