"""`dump.ftrace`: the events that were still in ftrace's ring buffers when the machine died."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, lookup, nullable, spread
from kernlab.dataframes.deferred import deferred_text
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.traces.ftrace import fields
from kernlab.traces.ftrace.boots import Boots
from kernlab.traces.ftrace.buffers import MAIN, SNAPSHOT, Instance, Ring
from kernlab.traces.ftrace.comms import Comms
from kernlab.traces.ftrace.event_text import EventText
from kernlab.traces.ftrace.formats import Formats, choose, is_pattern, require
from kernlab.traces.ftrace.kernel_source import KernelSource
from kernlab.traces.ftrace.load import Trace, load
from kernlab.traces.ftrace.many import fields_of_many
from kernlab.traces.ftrace.source import Source
from kernlab.traces.ftrace.tables import instances_table, lost_table
from kernlab.util.losses import Losing, telling
from kernlab.util.text import Spelt, few

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame

I64 = npt.NDArray[np.int64]


class Ftrace(Losing, Spelt):
    """The trace buffers of a dump, of all instances and CPUs.

    `all` has every event, `events("sched_switch")` those of one kind with their fields, `counts` how many of each,
    `lost` what each CPU's buffer counted and whether all of it was found, `instances` the instances; `snapshot` is
    another `Ftrace` of the snapshot buffers, `format` an event's format, `save` writes a trace.dat.
    """

    _spoken = "dump.ftrace"

    def __init__(self, source: Source | Kernel, buffer: str = MAIN, parent: Ftrace | None = None):
        self._source: Source = KernelSource(source) if isinstance(source, Kernel) else source
        if isinstance(source, Kernel):
            self._around = source.memory.held
        self._buffer = buffer
        self._parent = parent
        self.problems: list[str] = [] if parent is None else parent.problems

    @property
    def _instances(self) -> list[Instance]:
        return self._source.instances

    @property
    def _formats(self) -> Formats:
        return self._source.formats

    @property
    def _comms(self) -> Comms:
        return self._source.comms

    @cached_property
    @telling
    def _trace(self) -> Trace:
        trace = self._source.main_trace() if self._buffer == MAIN else load(self._source, self._rings())
        for instance in self._instances:
            self._warn_of_clock(instance)
        unknown = np.setdiff1d(trace.type, np.array(list(self._formats.names), dtype=np.int64))
        if len(unknown):
            lost = int(np.isin(trace.type, unknown).sum())
            self._source.lost(
                f"{lost:,} trace events are of {len(unknown):,} types that this kernel does not describe: their "
                "module was unloaded, or the previous boot recorded them"
            )
        return trace

    def _rings(self) -> list[Ring]:
        return [
            ring for instance in self._instances for ring in instance.rings if ring.buffer == self._buffer
        ]

    def _warn_of_clock(self, instance: Instance) -> None:
        name, in_ns = self._clock(instance)
        if not in_ns:
            which = f"trace instance {instance.name!r}" if instance.name else "the global trace"
            self._source.lost(f"{which} uses the clock {name!r}, whose units are not nanoseconds")

    def _clock(self, instance: Instance) -> tuple[str, bool]:
        """(name, whether it counts nanoseconds) of an instance's clock; ('', True) where it is not known."""
        number = instance.clock_id
        if number is None or not 0 <= number < len(self._clocks):
            return "", True
        return self._clocks[number]

    @property
    def _clocks(self) -> list[tuple[str, bool]]:
        return self._source.clocks

    @cached_property
    @telling
    def instances(self) -> Frame:
        """One row per instance, the global one ('') first.

        name (where it cannot be read the address), tracer, clock, recording (tracing_on), overwrite, subbuf_bytes,
        snapshot (whether it has a snapshot buffer), persistent (its memory outlives a reboot), previous_boot (what it
        holds was recorded by the boot before: times and tasks are of that boot; an instance to which both added events
        is there twice), address (struct trace_array). What could not be read is missing.

        >>> dump.ftrace.instances[["name", "tracer", "clock", "recording"]]
          name tracer   clock  recording
        0         nop  global      False
        """
        clocks = [self._clock(instance)[0] or None for instance in self._instances]
        return cast("Frame", instances_table(self._source, self._instances, clocks))

    @cached_property
    def snapshot(self) -> Ftrace:
        """The snapshot buffers: what `all`, `events` and the others say of them.

        >>> dump.ftrace.snapshot
        <ftrace snapshots: 0 events of 1 instances (global)>
        """
        return self if self._buffer == SNAPSHOT else Ftrace(self._source, SNAPSHOT, self)

    @cached_property
    @telling
    def lost(self) -> Frame:
        """One row per instance and CPU: what its buffer counted, and whether all of it was found.

        instance, cpu, entries (events written), overrun (of these overwritten), read (of these consumed by readers),
        decoded, missing (entries - overrun - read - decoded), exact (missing is 0), commit_overrun, dropped_events
        (refused because the buffer was full), subbufs (sub-buffers that hold what was not read), unreadable, damaged
        (sub-buffers), address (struct ring_buffer_per_cpu). Counters that could not be read are missing.

        >>> dump.ftrace.lost[["instance", "cpu", "entries", "overrun", "decoded", "exact"]]
          instance  cpu  entries  overrun  decoded  exact
        0             0       12        0       12   True
        1             1       17        0       17   True
        """
        return cast("Frame", lost_table(self._source, self._trace))

    @cached_property
    @telling
    def all(self) -> pd.DataFrame:
        """Every event of every instance, in the order of the trace file.

        instance ('' is the global one), timestamp (of the trace clock, usually since boot), cpu, pid (that ran), comm
        ("<idle>" for pid 0, missing where nobody knows), event, system (both missing for what this kernel does not
        describe), flags and preempt_count as in struct trace_entry; fields (each event's own, as JSON) and text (as the
        trace file has it). Of more than a few thousand events these two are made when they are looked at, which must be
        before the dump is closed.

        >>> dump.ftrace.all[["timestamp", "cpu", "comm", "event"]].head(2)
                          timestamp  cpu    comm         event
        0 0 days 00:00:13.325584627    0  <idle>  sched_switch
        1 0 days 00:00:13.327828715    1    init  sched_switch
        """
        trace = self._trace
        every = np.arange(len(trace))
        event, system = self._names(trace.type)
        # Formats that are not understood are this table's loss, whenever its texts are made.
        for boot, rows in self._boots.parts(every):
            self._boots.texts(boot).read(self._formats.get(np.unique(trace.type[rows]).tolist()).values())
        return frame(
            self._source,
            "ftrace",
            **self._common(every),
            event=event,
            system=system,
            flags=trace.flags,
            preempt_count=trace.preempt_count,
            fields=deferred_text(self._source, len(trace), self._as_json),
            text=deferred_text(self._source, len(trace), self._said),
        )

    @cached_property
    @telling
    def counts(self) -> pd.DataFrame:
        """One row per kind of event in the buffers: event, system, events (how many), id; most frequent first.

        >>> dump.ftrace.counts[["event", "system", "events"]]
                  event system  events
        0  sched_switch  sched      29
        """
        types, number = np.unique(self._trace.type, return_counts=True)
        order = np.argsort(-number, kind="stable")
        event, system = self._names(types[order])
        return frame(
            self._source,
            "ftrace counts",
            event=event,
            system=system,
            events=number[order].astype(np.int64),
            id=types[order],
        )

    @telling
    def events(
        self, name: str | Iterable[str], *, instance: str | None = None, text: bool = False
    ) -> pd.DataFrame:
        """The events of one kind ("sched_switch", or "sched:sched_switch"), one column per field of their format.

        Columns: instance, timestamp, cpu, pid, comm, then the fields by their own names and types; where a field has
        one of these names, the common column is called common_cpu, common_pid or common_comm. `text` adds the event's
        text as the trace file has it; the messages of bprint, print and bputs are there in any case. `instance` chooses
        one instance ('' is the global one).
        With a pattern ("irq_*", "block:*") or a list of names and patterns: all of these in one table, which has event
        and system, too, and every field that some of them have, missing in the others; a field that is called like a
        common column is field_pid, field_comm ….
        Raises KernlabError, naming what the trace holds, for an event that the kernel does not have.

            dump.ftrace.events(["sched_switch", "irq_*"])

        >>> dump.ftrace.events("sched_switch")[["timestamp", "prev_comm", "next_comm"]].head(2)
                          timestamp  prev_comm    next_comm
        0 0 days 00:00:13.325584627  swapper/0         init
        1 0 days 00:00:13.327828715       init  rcu_preempt
        """
        if not isinstance(name, str) or is_pattern(name):
            return self._many(name, instance, text)
        trace = self._trace
        names = self._formats.names
        there = [names[number][0] for number in np.unique(trace.type).tolist() if number in names]
        ids = require(self._formats, name, there)
        wanted = np.isin(trace.type, ids)
        if instance is not None:
            wanted &= self._of_instance(instance)
        formats = self._formats.get(ids)
        present = np.unique(trace.type[wanted]).tolist() or ids[:1]
        if len(present) > 1:
            systems = few([f"{formats[number].system}:{formats[number].name}" for number in present], 20)
            raise KernlabError(f"several events are called {name!r}; name one of them: {systems}")
        chosen = np.flatnonzero(wanted)
        form = formats[present[0]]
        records = self._boots.records(chosen)
        own: list[tuple[str, Any]] = [(one.name, fields.column(records, one)) for one in form.fields]
        said = self._text.said(chosen) if text else self._text.messages(form, chosen)
        if said is not None:
            own.append(("text", _strings(said)))
        named = {name for name, _ in own}
        common = [
            (f"common_{column}" if column in named else column, values)
            for column, values in self._common(chosen).items()
        ]
        return frame(self._source, f"ftrace {form.name}", columns=spread([*common, *own]))

    @telling
    def _many(self, name: str | Iterable[str], instance: str | None, text: bool) -> pd.DataFrame:
        """The table of events of several kinds."""
        trace, formats = self._trace, self._formats
        there = [
            formats.names[number][0] for number in np.unique(trace.type).tolist() if number in formats.names
        ]
        wanted = np.isin(trace.type, choose(formats, name, there))
        if instance is not None:
            wanted &= self._of_instance(instance)
        chosen = np.flatnonzero(wanted)
        kinds = trace.type[chosen]
        event, system = self._names(kinds)
        columns: dict[str, Any] = {**self._common(chosen), "event": event, "system": system}
        if text:
            columns["text"] = _strings(self._text.said(chosen))
        known = formats.get(np.unique(kinds).tolist())
        own = fields_of_many(
            self._source.token,
            known,
            kinds,
            lambda rows: self._boots.records(chosen[rows]),
            (*columns, "text"),
        )
        return frame(self._source, "ftrace events", **columns, own=spread(own))

    def format(self, name: str) -> str:
        """An event's format as tracefs' file `events/SYSTEM/NAME/format` says it. Raises KernlabError.

        Lines behind it that begin with # say what of it could not be read.

        >>> print(dump.ftrace.format("sched_switch")[:18])
        name: sched_switch
        """
        # Read anew, so that what is lost is this format's own, whoever asked for it before.
        with self._source.scope("ftrace.format") as here:
            formats = self._source.formats_anew()
            ids = require(formats, name, ())
            text = formats.get(ids)[ids[0]].text(formats.common)
        return text + "".join(f"# {loss}\n" for loss in here.losses)

    def _of_instance(self, name: str) -> npt.NDArray[np.bool_]:
        known = [instance.name for instance in self._instances]
        if name not in known:
            raise KernlabError(
                f"there is no trace instance {name!r}; there are: {few([repr(one) for one in known])} "
                "('' is the global one)"
            )
        mine = np.array([ring.instance.name == name for ring in self._trace.rings], dtype=bool)
        return mine[self._trace.ring] if len(mine) else np.zeros(len(self._trace), dtype=bool)

    def _common(self, chosen: I64) -> dict[str, Any]:
        trace = self._trace
        ring, time = trace.ring[chosen], trace.time[chosen]
        rings = trace.rings
        name_of = list(dict.fromkeys(instance.name for instance in self._instances))
        codes = np.array([name_of.index(ring.instance.name) for ring in rings], dtype=np.int64)
        cpus = np.array([ring.cpu for ring in rings], dtype=np.int64)
        known = time < np.uint64(1 << 63)
        stamp = np.where(known, time, np.uint64(0)).astype(np.int64).view("m8[ns]")
        pid = trace.pid[chosen]
        return {
            "instance": lookup(codes[ring] if len(rings) else ring, name_of),
            "timestamp": stamp if known.all() else nullable(stamp, known),
            "cpu": cpus[ring] if len(rings) else ring,
            "pid": pid,
            "comm": lookup(*self._boots.names(chosen, pid)),
        }

    def _names(self, types: I64) -> tuple[Any, Any]:
        distinct, inverse = np.unique(types, return_inverse=True)
        names = [self._formats.names.get(number, ("", "")) for number in distinct.tolist()]
        code = np.array([row if name else -1 for row, (name, _) in enumerate(names)], dtype=np.int64)
        code = code[inverse] if len(code) else inverse.astype(np.int64)
        return lookup(code, [name for name, _ in names]), lookup(code, [system for _, system in names])

    @cached_property
    def _boots(self) -> Boots:
        return Boots(self, None if self._parent is None else self._parent._boots)

    @cached_property
    def _text(self) -> EventText:
        return EventText(self)

    @telling
    def _said(self, chosen: I64) -> list[str | None]:
        return self._text.said(chosen)

    @telling
    def _as_json(self, chosen: I64) -> list[str | None]:
        return self._text.fields(chosen)

    @telling
    def lines(
        self,
        instance: str | None = None,
        *,
        event: str | Iterable[str] | None = None,
        style: str = "tracefs",
        nanoseconds: bool = False,
        plugins: bool = True,
    ) -> list[str]:
        """Events as lines of text.

        style "tracefs": those of one instance (the global one, if none is named) as its trace file in tracefs has
        them, without the header. Texts that need the running kernel (a function, not a macro) show the call in its
        place, what nobody knows "?"; one that a format does not give is empty.
        style "trace-cmd": those of all instances, or of one, as `trace-cmd report` prints them, without its first line;
        `nanoseconds` as its option -t, `plugins` False as its option -N. Plugins of sched, kmem, timer, tlb and ftrace
        are known; states of tasks have the letters of the kernel that was traced.
        `event` chooses kinds, as of `events`. Raises KernlabError for an instance, event or style that is not.

        >>> dump.ftrace.lines()[0][:60]
        '          <idle>-0       [000] d..2.    13.325585: sched_swi'
        >>> print(dump.ftrace.lines(style="trace-cmd")[0])
                  <idle>-0     [000]    13.325585: sched_switch:         swapper/0:0 [120] R ==> init:261 [120]
        """
        if style not in ("tracefs", "trace-cmd"):
            raise KernlabError(f"lines have the style 'tracefs' or 'trace-cmd', not {style!r}")
        trace = self._trace
        wanted = np.ones(len(trace), dtype=bool)
        if instance is not None or style == "tracefs":
            wanted = self._of_instance(instance or "")
        if event is not None:
            wanted &= np.isin(trace.type, choose(self._formats, event, ()))
        chosen = np.flatnonzero(wanted)
        if style == "trace-cmd":
            return self._text.report(chosen, nanoseconds, plugins)
        return self._text.tracefs(chosen)

    @telling
    def save(
        self,
        path: str | PathLike[str],
        *,
        instance: str | None = None,
        version: int = 6,
        compression: str = "none",
    ) -> Path:
        """Write every instance, or one ('' is the global one), into a trace.dat, as trace-cmd and KernelShark open it.

        `version` is 6, which every release of them reads, or 7; that may have `compression` "zlib" or "zstd". Events
        that a reader had consumed are left out.
        Raises KernlabError where there is nothing to write, or sub-buffers of the instances differ in size (then name
        one, or write version 7); OSError where the file cannot be written.

        >>> dump.ftrace.save("trace.dat").name
        'trace.dat'
        """
        from kernlab.traces.ftrace.dat_write import write

        rings = self._trace.rings
        if instance is not None:
            self._of_instance(instance)
            rings = [ring for ring in rings if ring.instance.name == instance]
        source, rings = self._boots.to_save(rings)
        return write(Path(path), source, self._trace, rings, version, compression)

    def __repr__(self) -> str:
        names = ", ".join(show_controls(i.name) or "global" for i in self._instances[:5])
        which = "ftrace" if self._buffer == MAIN else "ftrace snapshots"
        return f"<{which}: {len(self._trace):,} events of {len(self._instances):,} instances ({names})>"


def _strings(values: list[str | None]) -> Any:
    held = np.empty(len(values), dtype=object)
    held[:] = values
    return pd.array(held, dtype="str")
