"""`kernlab trace`: what relay channels, ftrace's buffers and the timeline hold, as events, text, bytes or files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernlab.commands import completing
from kernlab.commands.options import (
    OUTPUT,
    Columns,
    Descending,
    DumpFormat,
    Limit,
    Output,
    Quiet,
    Redact,
    Sort,
    Vmcore,
    Where,
    form_of,
    open_dump,
)
from kernlab.commands.telling import tell, told_of
from kernlab.errors import KernlabError

if TYPE_CHECKING:
    from kernlab.commands.tracing import Wanted

_EVENTS = "Which events"
KINDS = {
    "relay": "a relay channel: without a name the channels there are",
    "ftrace": "ftrace's buffers: all events, or those of the names or patterns that follow",
    "timeline": "what log, traces and tasks saw, on one clock that ends at the crash",
    "clocks": "the clocks of all of these",
}

EXAMPLES = """
kernlab trace vmcore                                          what traces there are
kernlab trace vmcore relay vda/trace --where 'action == "C"'  events of a channel
kernlab trace vmcore relay vda/trace --cpu 0 -o vda0.raw      its bytes
kernlab trace vmcore relay vda/trace --format text            as blkparse prints them
kernlab trace vmcore ftrace 'sched_*' --limit 20              events of some kinds
kernlab trace vmcore ftrace --format text                     as the trace file has them
kernlab trace vmcore ftrace -o trace.dat                      for trace-cmd and KernelShark
kernlab trace vmcore timeline --since -1                      the last second before the crash
kernlab trace vmcore timeline -o crash.perfetto-trace         for ui.perfetto.dev
"""

EPILOG = (
    "Times are seconds since boot; --since and --until take them, negative ones before the crash (-5), or with a unit "
    "(-500ms). What buffers refused or overwrote is told on standard error."
)


def trace(
    vmcore: Vmcore,
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            autocompletion=completing.offering(lambda: KINDS),
            help="; ".join(f"{kind}: {about}" for kind, about in KINDS.items()),
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=completing.trace_names,
            help="a channel, or events and patterns of them",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", rich_help_panel=_EVENTS, help="timeline: not before"),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", rich_help_panel=_EVENTS, help="timeline: not after"),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            rich_help_panel=_EVENTS,
            autocompletion=completing.sources,
            help="timeline: log, tasks, crash, ftrace, ftrace:INSTANCE, blktrace:CHANNEL, or a pattern; several",
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(
            "--instance",
            metavar="NAME",
            rich_help_panel=_EVENTS,
            autocompletion=completing.instances,
            help="ftrace: only this instance; '' is the global one",
        ),
    ] = None,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot", rich_help_panel=_EVENTS, help="ftrace: the snapshot buffers instead"),
    ] = False,
    cpu: Annotated[
        int | None,
        typer.Option("--cpu", metavar="CPU", rich_help_panel=_EVENTS, help="relay: only this CPU's buffer"),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="MODE",
            rich_help_panel=_EVENTS,
            autocompletion=completing.offering(lambda: ("unread", "all", "salvage", "raw")),
            help="relay: unread (what its reader had not seen), all, salvage, or raw (for bytes: as mmap() shows them)",
        ),
    ] = "unread",
    record: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            rich_help_panel=_EVENTS,
            help="relay: the C type of a record ('struct my_event'), where nobody knows the client",
        ),
    ] = None,
    header: Annotated[
        int,
        typer.Option(
            "--header",
            metavar="BYTES",
            min=0,
            rich_help_panel=_EVENTS,
            help="relay: of each sub-buffer, with --type",
        ),
    ] = 0,
    where: Where = None,
    columns: Columns = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: completing.TRACE_FORMS),
            help="table, csv, json, jsonl, parquet; text (as blkparse or the trace file has it), raw (a channel's "
            "bytes), hexdump, dat (a trace.dat), perfetto, files (what blkparse reads, into a folder); without it what "
            "FILE ends in says, else table",
        ),
    ] = None,
    output: Output = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
) -> int:
    """Print or save a trace that a dump holds: relay channels, ftrace, or all of them on one timeline."""
    from kernlab.commands import tracing
    from kernlab.commands.selecting import Selection, select
    from kernlab.commands.table import as_frame
    from kernlab.commands.writing import write

    chosen = form_of(form, output, completing.TRACE_FORMS)
    if kind is not None and kind not in KINDS:
        from kernlab.util.text import nearest

        hint = nearest(kind, KINDS, 1) or f"; there are {', '.join(KINDS)}"
        raise KernlabError(f"there is no trace {kind!r}{hint}")
    wanted = tracing.Wanted(
        kind=kind,
        names=tuple(names or ()),
        since=since,
        until=until,
        sources=tuple(source or ()),
        instance=instance,
        snapshot=snapshot,
        cpu=cpu,
        mode=mode,
        record=record,
        header=header,
    )
    selection = Selection(where, columns, sort, descending, limit)
    with open_dump(vmcore, dump_format, redact) as dump:
        if chosen not in tracing.TABULAR:
            problems = _save(dump, wanted, selection, chosen, output)
        else:
            found = tracing.table(dump, wanted)
            problems = told_of(found.attrs)
            write(select(as_frame(found), selection), chosen, output)
    tell(problems)
    return 0


def _save(dump: Any, wanted: Wanted, selection: Any, form: str, output: str | None) -> list[str]:
    """Write what is not a table; the problems of it."""
    from kernlab.commands import tracing

    if selection != type(selection)() and form != "perfetto":
        raise KernlabError(
            f"--where, --columns, --sort and --limit choose of a table; --format {form} is all of a trace"
        )
    return tracing.save(dump, wanted, selection, form, output)
