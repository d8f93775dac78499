"""Everything that a dump can be asked for, one step each: a dump in, what it gives out.

Tables and traces are discovered (kernlab/contents.py); only what the calls that take arguments are given stands here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from kernlab.contents import Contents
from kernlab.dataframes.lazy import view
from kernlab.dump import TABLES
from kernlab.errors import KernlabError

#: Of traces no more channels and kinds of events than this are read in one step.
MOST_PARTS = 8


@dataclass(frozen=True)
class Step:
    """One thing to ask for; `run` gets the dump and addresses of things in it, as the undamaged dump has them."""

    name: str
    run: Callable[[Any, Sequence[int]], Any]


class Parts(dict[str, Any]):
    """Several answers of one step, by name; `problems` are those that were refused, and why."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def ask(self, name: str, question: Callable[[], Any]) -> None:
        try:
            self[name] = question()
        except KernlabError as error:
            self.problems.append(f"{name}: {error}")


def _channels(dump: Any, parts: Parts) -> Iterator[tuple[int, int]]:
    channels = dump.relay.channels
    # What is not listed cannot be asked for: the list has told of it.
    parts.problems += channels.attrs["problems"]
    for address, cpu in list(zip(channels["address"], channels["cpu"], strict=True))[:MOST_PARTS]:
        yield int(address), int(cpu)


def _relay_read(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    for address, cpu in _channels(dump, parts):
        for mode in ("unread", "salvage", "raw"):
            parts.ask(f"{address:#x} {cpu} {mode}", lambda a=address, c=cpu, m=mode: dump.relay.read(a, c, m))  # type: ignore[misc]
    return parts


def _relay_hexdump(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    for address, cpu in _channels(dump, parts):
        parts.ask(f"{address:#x} {cpu}", lambda a=address, c=cpu: dump.relay.hexdump(a, c))  # type: ignore[misc]
    return parts


def _relay_events(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    for address in dict.fromkeys(address for address, _ in _channels(dump, parts)):
        parts.ask(f"{address:#x}", lambda a=address: dump.relay.events(a, mode="salvage"))  # type: ignore[misc]
    return parts


def _relay_blktrace(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    for address in dict.fromkeys(address for address, _ in _channels(dump, parts)):
        parts.ask(f"{address:#x}", lambda a=address: dump.relay.blktrace(a).events)  # type: ignore[misc]
    return parts


def _events(dump: Any, parts: Parts) -> list[str]:
    counts = dump.ftrace.counts
    parts.problems += counts.attrs["problems"]
    return [str(name) for name in counts["event"].dropna().tolist()[:MOST_PARTS]]


def _ftrace_events(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    for name in _events(dump, parts):
        parts.ask(name, lambda n=name: dump.ftrace.events(n, text=True))  # type: ignore[misc]
    return parts


def _ftrace_format(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    for name in _events(dump, parts):
        parts.ask(name, lambda n=name: dump.ftrace.format(n))  # type: ignore[misc]
    return parts


def _ftrace_lines(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    parts.ask("", lambda: "\n".join(dump.ftrace.lines()))
    # Lines have no attrs: what they lack the trace tells.
    parts.problems += dump.ftrace.problems
    return parts


def _search(dump: Any, known: Sequence[int]) -> Parts:
    parts = Parts()
    parts.ask("", lambda: dump.search(known[: len(known) // 8]))
    # Nothing is found in pages that are not there: how much was searched is told.
    parts.problems += [f"searched {table.attrs['searched_bytes']:,} bytes" for table in parts.values()]
    return parts


def _holders(dump: Any, known: Sequence[int]) -> Parts:
    parts = Parts()
    for what in ("/", "/dev/console", 1, *known[:4]):
        parts.ask(str(what), lambda w=what: dump.holders(w))  # type: ignore[misc]
    parts.ask("below", lambda: dump.holders("/dev", below=True))
    return parts


def _replay(dump: Any, _: Sequence[int]) -> Parts:
    parts = Parts()
    replay = dump.replay()
    for name in REPLAYED:
        parts.ask(name, lambda n=name: getattr(replay, n))  # type: ignore[misc]
    parts.ask("at", lambda: _shown(replay.at("-0s")))
    parts.ask("", lambda: _shown(replay))
    parts.problems += replay.problems
    return parts


#: The tables of a replay.
REPLAYED = (
    "memory", "memory_by_process", "running", "requests", "pressure", "runnable", "log", "breaks", "marks",
)  # fmt: skip


def _shown(thing: Any) -> str:
    return repr(thing) + str(thing._repr_html_())


#: What tables with parameters are asked, by name. One that is missing here is an error: see `steps`.
TABLE_CALLS: dict[str, Callable[[Any, Sequence[int]], Any]] = {
    "slab_objects": lambda dump, _: dump.slab_objects(),
    "owner": lambda dump, known: dump.owner(known),
    "search": _search,
    "holders": _holders,
    "timeline": lambda dump, _: dump.timeline(),
}


def _process(process: Any) -> Parts:
    """What one process held, its core written to nowhere that stays."""
    parts = Parts()
    for name in ("cmdline", "environ", "auxv"):
        parts.ask(name, lambda n=name: getattr(process, n))  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        parts.ask("core", lambda: repr(process.save_core(Path(folder) / "core")))
    parts.problems += process.problems
    return parts


def _file(dump: Any) -> Parts:
    """What files held, by a path and by the inodes that there are."""
    parts = Parts()
    parts.ask("by path", lambda: repr(dump.file("/bin/busybox")))
    for address in dump.memory_by_file["address"].tolist()[:MOST_PARTS]:
        for name in ("pages", "holes"):
            parts.ask(f"{name} of {address:#x}", lambda a=address, n=name: getattr(dump.file(a), n))  # type: ignore[misc]
    return parts


#: And what the methods of traces are; `save` writes what `read` and `lines` give.
TRACE_CALLS: dict[str, Callable[[Any, Sequence[int]], Any]] = {
    "relay.read": _relay_read,
    "relay.hexdump": _relay_hexdump,
    "relay.events": _relay_events,
    "relay.blktrace": _relay_blktrace,
    "ftrace.events": _ftrace_events,
    "ftrace.format": _ftrace_format,
    "ftrace.lines": _ftrace_lines,
}
TRACE_SAVES = {"relay.save", "ftrace.save"}

#: Views are made of the tables and of single structs. Plots, player and dashboard draw tables.
VIEW_CALLS: dict[str, Callable[[Any, Sequence[int]], Any]] = {
    "replay": _replay,
    "explore": lambda dump, known: dump.explore("init_task", opened=OPENED).to_html(),
    "entries": lambda dump, known: dump.entries("init_task.children", ["pid", "comm"]),
    "identify": lambda dump, known: dump.identify(known[: len(known) // 4]),
    "find_symbols": lambda dump, known: dump.find_symbols("init_*"),
    "layout": lambda dump, known: repr(dump.layout("task_struct")),
    "stack": lambda dump, known: _shown(dump.stack(1)),
    "process": lambda dump, known: _process(dump.process(1)),
    "file": lambda dump, known: _file(dump),
    "disassemble": lambda dump, known: dump.disassemble("schedule"),
    "_card": lambda dump, known: dump._card,
    "_plain_card": lambda dump, known: dump._plain_card,
    "struct": lambda dump, known: repr(dump.struct("task_struct", "init_task")),
    "percpu": lambda dump, known: dump.percpu("runqueues").frame(["nr_running"]),
    "symbolize": lambda dump, known: dump.symbolize(known),
    "timeline.fields": lambda dump, known: dump.timeline(since=-60, events=["*switch", "block_*"]),
    "slab_objects.stacks": lambda dump, known: dump.slab_objects(stacks=True),
    "stacks.groups": lambda dump, known: dump.stacks.groups(),
    "waits.graph": lambda dump, known: repr(dump.waits.graph()),
}
#: What the struct browser is asked to open.
OPENED = ("tasks", "mm", "signal", "fs")
DRAWN = {"plot", "explorer", "player"}


def steps() -> dict[str, Step]:
    """Every step by name. Raises KeyError for a table, trace or view with parameters that nobody said how to ask."""
    found: dict[str, Callable[[Any, Sequence[int]], Any]] = {}
    for name, entry in TABLES.items():
        found[name] = TABLE_CALLS[name] if entry.is_method else lambda dump, _, n=name: getattr(dump, n)
    for place, made in vars(Contents).items():
        if not isinstance(made, view):
            continue
        if not made._kept:
            if place not in DRAWN:
                found[place] = VIEW_CALLS[place]
            continue
        for name, member in vars(made._load()).items():
            full = f"{place}.{name}"
            if name.startswith("_") or full in TRACE_SAVES:
                continue
            if isinstance(member, property | cached_property):
                found[full] = lambda dump, _, p=place, n=name: getattr(getattr(dump, p), n)
            elif callable(member):
                found[full] = TRACE_CALLS[full]
    found |= {name: call for name, call in VIEW_CALLS.items() if name not in found}
    return {name: Step(name, run) for name, run in found.items()}


def show(value: Any) -> str:
    """What a notebook and a terminal would show of a table."""
    if not isinstance(value, pd.DataFrame | pd.Series):
        return repr(value)
    from kernlab.display.plain_text import to_text

    html = getattr(value, "_repr_html_", lambda: "")
    return to_text(value) + repr(value) + str(html())
