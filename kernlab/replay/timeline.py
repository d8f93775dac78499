"""`dump.timeline`: what log, traces and tasks saw, one row each, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, lookup, nullable, spread, table
from kernlab.dataframes.deferred import deferred_text
from kernlab.dataframes.with_methods import TableWithMethods
from kernlab.errors import KernlabError
from kernlab.replay.collect import Chosen, Sources
from kernlab.replay.parts import NAT, Joined, categorical
from kernlab.traces.clock.clocks import clocks
from kernlab.traces.clock.window import Instant, window

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay


class Timeline(TableWithMethods):
    """`dump.timeline(…)`; `to_perfetto` writes it for ui.perfetto.dev."""

    named = "dump.timeline"

    def to_perfetto(self, path: str | PathLike[str], replay: Replay | None = None) -> Path:
        """Write these rows as a trace for ui.perfetto.dev: lanes of CPUs from sched_switch, requests as slices on
        tracks of their disks (one that never came back has no end), everything else as instants of its source, and
        with a `replay` (`dump.replay()`) memory by kind as counters.

        Times are the axis. Of several sources that saw switches, or requests, one is drawn in lanes. Raises
        MissingDependencyError without the package perfetto (`pip install "kernlab[trace]"`), KernlabError where a
        column that it needs was dropped, OSError where the file cannot be written.

        >>> dump.timeline(since=-80).to_perfetto("crash.perfetto-trace").name
        'crash.perfetto-trace'
        """
        from kernlab.replay.perfetto import write

        self.need("time", "source", "cpu", "pid", "comm", "event", "text")
        return write(self, path, replay)


@table
def timeline(
    kernel: Kernel,
    sources: str | Iterable[str] | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    events: str | Iterable[str] | None = None,
) -> Timeline:
    """What each source saw, one row each, ordered by the time on the common axis (`dump.clocks`).

    time (since boot, as dmesg shows it; NaT where the source's cannot be true), before_crash, source ("log", "tasks",
    "crash", "ftrace", "ftrace:INSTANCE", "blktrace:CHANNEL"), cpu, pid, comm, event (of ftrace its own names, which
    those of blktrace are given, too; "printk", "task_start", "crash"), text. What a source does not know is missing.

    `sources` chooses some of them by name or pattern; "ftrace" and "blktrace" mean all of their kind, "ftrace:" the
    global instance. What is not asked for is not decoded. `since` and `until` are seconds since boot, negative ones
    before the crash (-5), timedeltas, or strings ("-500ms"). `events` chooses kinds by name, pattern, or "system:name";
    then every field that some of them have is a column, too: one that is called like a column here is field_NAME.
    Texts of more than a few thousand rows are made when they are looked at, which must be before the dump is closed.
    attrs["clocks"] says by which clock each source told time, and how far off that may be at most, in ns.

    Raises KernlabError for a source or an event that the dump does not have, and what is not an instant.

        dump.timeline("ftrace", since=-5, events=["sched_switch", "block:*"])

    >>> dump.timeline(["log", "crash"], since=-1)[["time", "source", "event"]].tail(2)
                            time source   event
    34 0 days 00:01:29.519927831    log  printk
    35 0 days 00:01:29.519927831  crash   crash
    """
    known = clocks(kernel)
    chosen = Chosen(events)
    found = Sources(kernel, known, window(known, since, until), chosen, typed=events is not None)
    parts = []
    for label, make in found.pick(sources):
        try:
            part = make()
        except KernlabError as error:
            kernel.lost(f"{label}: {error}")
            continue
        if part is not None:
            parts.append(part)
    if unmet := chosen.unmet():
        raise KernlabError(
            f"no source that was asked has an event {unmet[0]!r}; dump.ftrace.counts lists what ftrace recorded"
        )
    joined = Joined(parts)
    timed = joined.time != NAT
    before = np.where(timed, np.int64(known.crash_ns) - np.where(timed, joined.time, 0), NAT)
    cpu, on_cpu = joined.numbers("cpu")
    pid, has_pid = joined.numbers("pid")
    made = frame(
        kernel,
        "timeline",
        time=joined.time.view("m8[ns]"),
        before_crash=before.view("m8[ns]"),
        source=categorical(joined.sources()),
        cpu=nullable(cpu, on_cpu),
        pid=nullable(pid, has_pid),
        comm=lookup(*joined.coded("comm")),
        event=categorical(joined.coded("event")),
        text=deferred_text(kernel, len(joined), joined.texts),
        fields=spread(joined.fields()),
    )
    made.attrs["clocks"] = found.errors
    return Timeline.of(made)
