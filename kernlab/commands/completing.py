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

SHELLS = ("bash", "zsh", "fish")

#: Forms of a table, and by which endings of a file's name they are meant.
FORMS = {
    "table": (".txt",),
    "csv": (".csv",),
    "csv-exact": (),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
}
#: What traces come as beside these.
TRACE_FORMS: dict[str, tuple[str, ...]] = FORMS | {
    "text": (".log",),
    "raw": (".raw", ".bin"),
    "hexdump": (".hex",),
    "dat": (".dat",),
    "perfetto": (".perfetto-trace", ".pftrace"),
    "files": ("/",),
}

#: Offers at once.
_MOST = 200
#: What every shell takes for a word, as it stands.
_PLAIN = re.compile(r"[\w@%+:./][\w@%+=:,./~-]*", re.ASCII)

# Each asks `kernlab` with the line up to the cursor, and reads "word<tab>what it is", a line for each offer. typer's
# own scripts evaluate what they are given, and let file names expand in it.
_BASH = r"""
_kernlab() {
    local current=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT} offer about
    local word=${line##*[[:space:]]}
    # bash begins a new word behind each : and =, and puts what is offered in its place.
    if [[ $current == [:=] ]]; then current=; fi
    local skip=$(( ${#word} - ${#current} ))
    if (( skip < 0 )); then skip=0; fi
    COMPREPLY=()
    while IFS=$'\t' read -r offer about; do
        COMPREPLY+=("${offer:skip}")
    done < <(_KERNLAB_COMPLETE=$line "$1" 2>/dev/null)
}
complete -o default -F _kernlab kernlab
"""
_ZSH = r"""
_kernlab() {
    local -a offers
    local offer about
    while IFS=$'\t' read -r offer about; do
        offers+=("${offer//:/\\:}${about:+:$about}")
    done < <(_KERNLAB_COMPLETE="${(j: :)words[1,CURRENT-1]} $PREFIX" $words[1] 2>/dev/null)
    if (( $#offers )); then _describe kernlab offers; else _files; fi
}
compdef _kernlab kernlab
"""
_FISH = r"""
function __kernlab_offers
    set -lx _KERNLAB_COMPLETE (commandline -cp | string collect)
    set -l offers (command kernlab 2>/dev/null)
    if test (count $offers) -gt 0
        printf '%s\n' $offers
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command kernlab --no-files --arguments '(__kernlab_offers)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
#: What is said of an offer, in characters: one line of a terminal.
_LONGEST = 70


def script(shell: str) -> str:
    """What a shell runs at its start to know kernlab."""
    return _SCRIPTS[shell].lstrip()


def answer(line: str) -> int:
    """Print what may follow a line, for a shell that asked; gives the exit status."""
    warnings.simplefilter("ignore")
    try:
        for word, about in offers(line):
            short = about if len(about) <= _LONGEST else f"{about[:_LONGEST].rpartition(' ')[0]} …"
            sys.stdout.write(f"{word}\t{short}\n")
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt):
        # A shell shows whatever is written here in the middle of a line.
        return 1
    return 0


def offers(line: str) -> list[tuple[str, str]]:
    """The words that may stand in place of the last one of a command line, and what each is."""
    # The rules of a command line are typer's: which word is an option's value, and which the next argument.
    from typer.completion import completion_init, shell_completion  # type: ignore[attr-defined]

    from kernlab.commands import verbs

    words = shell_completion.split_arg_string(line)[1:]
    last = "" if line[-1:].isspace() or not words else words.pop()
    given, equals, _ = last.partition("=") if last.startswith("--") else ("", "", "")
    before = f"{given}{equals}" if equals else ""
    if words and words[-1].startswith("-") and words[-1] not in ("-", "--") and not last.startswith("-"):
        # An option without its value ends typer's reading, and with it what else the line says.
        last = f"{words.pop()}={last}"
    completion_init()
    asking: Any = shell_completion.get_completion_class("bash")
    found = asking(verbs.everything(), {}, "kernlab", "").get_completions(words, last)
    return [(f"{before}{one.value}", " ".join((one.help or "").split())) for one in found]


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
        given = ("vmlinux", "types", "symbols", "any_build")
        more = {name: value for name in given if (value := ctx.params.get(name))}
        with open_dump(ctx.params["vmcore"], ctx.params.get("dump_format"), **more) as dump:
            return plain(ask(dump))
    except (KernlabError, OSError, KeyError):
        return []
