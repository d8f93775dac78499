"""A dump and which of its traces somebody wants in; a table, text, bytes or files of it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import kernlab
from kernlab.commands.completing import FORMS
from kernlab.commands.selecting import Selection, select
from kernlab.commands.telling import note
from kernlab.commands.writing import write_bytes, write_lines
from kernlab.errors import KernlabError
from kernlab.util.text import few

#: Forms that are a table's; what else there is, a trace has for itself.
TABULAR = tuple(FORMS)


@dataclass(frozen=True)
class Wanted:
    """Which trace, and what of it: the arguments and options of `kernlab trace`."""

    kind: str | None = None
    names: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    sources: tuple[str, ...] = ()
    instance: str | None = None
    snapshot: bool = False
    cpu: int | None = None
    mode: str = "unread"
    record: str | None = None
    header: int = 0

    @property
    def channel(self) -> str | int:
        """The one channel that is named: by name, or by its address. Raises KernlabError."""
        if len(self.names) != 1:
            raise KernlabError("name one relay channel; `kernlab trace VMCORE relay` lists them")
        try:
            return int(self.names[0], 0)
        except ValueError:
            return self.names[0]


def table(dump: kernlab.Dump, wanted: Wanted) -> pd.DataFrame:
    """The events that are wanted; of a kind without names what there is of it. Raises KernlabError."""
    if wanted.kind is None:
        return _overview(dump)
    if wanted.kind == "clocks":
        clocks: pd.DataFrame = dump.clocks
        return clocks
    if wanted.kind == "timeline":
        timeline: pd.DataFrame = _timeline(dump, wanted)
        return timeline
    if wanted.kind == "ftrace":
        view = _ftrace(dump, wanted)
        if wanted.names:
            names = wanted.names[0] if len(wanted.names) == 1 else list(wanted.names)
            events: pd.DataFrame = view.events(names, instance=wanted.instance)
            return events
        return _of_instance(view, wanted.instance)
    if not wanted.names:
        return dump.relay.channels
    if wanted.mode == "raw":
        raise KernlabError("--mode raw gives bytes: add --format raw or hexdump, and --cpu")
    return dump.relay.events(
        wanted.channel, wanted.record, cpu=wanted.cpu, mode=wanted.mode, header=wanted.header
    )


def _overview(dump: kernlab.Dump) -> pd.DataFrame:
    """What traces there are, one row each: kind, name, what it holds."""
    rows = [
        ("relay", name, str(part["client"].iloc[0]), int(part["unread_bytes"].sum()), "bytes unread")
        for name, part in dump.relay.channels.groupby("name", sort=False)
    ]
    every = dump.ftrace.all["instance"]
    rows += [
        ("ftrace", name, "" if name else "the global instance", int((every == name).sum()), "events")
        for name in dump.ftrace.instances["name"].tolist()
    ]
    timeline = dump.timeline()
    rows += [
        ("timeline", str(source), "", int(count), "rows")
        for source, count in timeline["source"].value_counts(sort=False).items()
        if count
    ]
    found = pd.DataFrame(rows, columns=["kind", "name", "what", "holds", "unit"])
    found.attrs["problems"] = list(timeline.attrs.get("problems", []))
    return found


def _timeline(dump: kernlab.Dump, wanted: Wanted) -> Any:
    events = list(wanted.names) or None
    return dump.timeline(list(wanted.sources) or None, wanted.since, wanted.until, events)


def _ftrace(dump: kernlab.Dump, wanted: Wanted) -> Any:
    return dump.ftrace.snapshot if wanted.snapshot else dump.ftrace


def _of_instance(view: Any, name: str | None) -> pd.DataFrame:
    every: pd.DataFrame = view.all
    if name is None:
        return every
    known = view.instances["name"].tolist()
    if name not in known:
        raise KernlabError(
            f"there is no trace instance {name!r}; there are: {few([repr(one) for one in known])}"
        )
    return every[every["instance"] == name]


def save(
    dump: kernlab.Dump, wanted: Wanted, selection: Selection, form: str, output: str | None
) -> list[str]:
    """Write a trace in a form of its own; the problems that its source told. Raises KernlabError, OSError."""
    kind = wanted.kind or "(none)"
    known: dict[tuple[str, str], Callable[[], list[str]]] = {
        ("relay", "text"): lambda: _blkparse(dump, wanted, output),
        ("relay", "raw"): lambda: _raw(dump, wanted, output),
        ("relay", "hexdump"): lambda: _hexdump(dump, wanted, output),
        ("relay", "files"): lambda: _files(dump, wanted, output),
        ("ftrace", "text"): lambda: _trace_file(dump, wanted, output),
        ("ftrace", "dat"): lambda: _dat(dump, wanted, output),
        ("timeline", "perfetto"): lambda: _perfetto(dump, wanted, selection, output),
    }
    if (kind, form) not in known:
        forms = ", ".join(sorted({one for of, one in known if of == kind}))
        more = f" and {forms}" if forms else ""
        raise KernlabError(f"--format {form} is not for {kind}, which comes as {', '.join(TABULAR)}{more}")
    return known[kind, form]()


def _blkparse(dump: kernlab.Dump, wanted: Wanted, output: str | None) -> list[str]:
    trace = dump.relay.blktrace(wanted.channel, cpu=wanted.cpu, mode=wanted.mode)
    write_lines([trace.text()], output)
    return list(trace.all_problems)


def _raw(dump: kernlab.Dump, wanted: Wanted, output: str | None) -> list[str]:
    write_bytes(dump.relay.read(wanted.channel, _one_cpu(dump, wanted), wanted.mode), output)
    return []


def _hexdump(dump: kernlab.Dump, wanted: Wanted, output: str | None) -> list[str]:
    shown = dump.relay.hexdump(wanted.channel, _one_cpu(dump, wanted), wanted.mode, limit=1 << 30)
    write_lines([f"{shown}\n"], output)
    return []


def _one_cpu(dump: kernlab.Dump, wanted: Wanted) -> int:
    """The CPU whose bytes are meant: that of a channel with one buffer goes without saying."""
    if wanted.cpu is not None:
        return wanted.cpu
    channels = dump.relay.channels
    name = wanted.channel
    cpus = channels.loc[channels["name" if isinstance(name, str) else "address"] == name, "cpu"].tolist()
    if len(cpus) > 1:
        raise KernlabError(f"each CPU has a buffer of its own; name one: --cpu {' or '.join(map(str, cpus))}")
    return cpus[0] if cpus else 0


def _files(dump: kernlab.Dump, wanted: Wanted, output: str | None) -> list[str]:
    paths = dump.relay.save(wanted.channel, _named(output, "a folder"), wanted.mode)
    note(f"Written: {', '.join(map(str, paths))}.")
    return []


def _trace_file(dump: kernlab.Dump, wanted: Wanted, output: str | None) -> list[str]:
    view = _ftrace(dump, wanted)
    lines = view.lines(wanted.instance, event=list(wanted.names) or None)
    write_lines((f"{line}\n" for line in lines), output)
    return list(view.problems)


def _dat(dump: kernlab.Dump, wanted: Wanted, output: str | None) -> list[str]:
    if wanted.names:
        raise KernlabError("a trace.dat has the events of all kinds; leave the names out")
    view = _ftrace(dump, wanted)
    view.save(_named(output, "a file"), instance=wanted.instance)
    note(f"Written to {output}.")
    return list(view.problems)


def _perfetto(dump: kernlab.Dump, wanted: Wanted, selection: Selection, output: str | None) -> list[str]:
    if selection.columns is not None:
        raise KernlabError("a trace for Perfetto needs its columns; leave --columns out")
    rows: Any = select(_timeline(dump, wanted), selection)
    rows.to_perfetto(_named(output, "a file"))
    note(f"Written to {output}.")
    return list(rows.attrs.get("problems", []))


def _named(output: str | None, what: str) -> Path:
    if output is None:
        raise KernlabError(f"this is nothing for standard output: name {what} with -o")
    return Path(output)
