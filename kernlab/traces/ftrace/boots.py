"""Events of this boot and of the one before, each told by its own: who ran, where addresses lie, what texts say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.comms import Comms
from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.kernel_source import KernelSource
from kernlab.traces.ftrace.numbers import numbers_of
from kernlab.traces.ftrace.previous_source import PreviousSource
from kernlab.traces.ftrace.source import Source
from kernlab.traces.ftrace.text import Texts

if TYPE_CHECKING:
    from kernlab.traces.ftrace.buffers import Instance, Ring
    from kernlab.traces.ftrace.view import Ftrace

I64 = npt.NDArray[np.int64]


class Boots:
    """The boots of a trace by number: 0 is this one, each other an instance that holds what the one before recorded."""

    def __init__(self, view: Ftrace, parent: Boots | None = None):
        self._view = view
        self._parent = parent
        self._texts: dict[int, Texts] = {}

    @cached_property
    def _before(self) -> list[Instance]:
        return [instance for instance in self._view._instances if instance.previous]

    @cached_property
    def sources(self) -> list[Source]:
        """What each boot is told by."""
        own = self._view._source
        kernel = own.kernel if isinstance(own, KernelSource) else None
        if kernel is None:
            return [own]
        before = [
            PreviousSource(kernel, one, lambda name=one.name: Comms(self._told(name)))  # type: ignore[misc]
            for one in self._before
        ]
        return [own, *before]

    def parts(self, rows: I64) -> list[tuple[int, I64]]:
        """(boot, which of the rows of the trace are its) of the boots that have some; the last boot first."""
        if len(self.sources) == 1:
            return [(0, np.arange(len(rows)))]
        trace = self._view._trace
        before = {id(one): number for number, one in enumerate(self._before, 1)}
        boots = np.array([before.get(id(ring.instance), 0) for ring in trace.rings], dtype=np.int64)
        each = boots[trace.ring[rows]]
        return [(boot, np.flatnonzero(each == boot)) for boot in np.unique(each).tolist()]

    def comms(self, boot: int) -> Comms:
        """Names of a boot's tasks. Of the boot before: what sched_switch says; its numbers are other tasks' now."""
        return self.sources[boot].comms

    def _told(self, instance: str) -> Mapping[int, str]:
        names = ("prev_pid", "prev_comm", "next_pid", "next_comm")
        events = numbers_of(self._view, "sched:sched_switch", names, instance)
        found: dict[int, str] = {}
        if events.fields.keys() >= set(names):
            columns = (events.fields[name].tolist() for name in names)
            for before, old, after, new in zip(*columns, strict=True):
                # A task's last name is the one that it is known by.
                found[before] = old
                found[after] = new
        return found

    def names(self, rows: I64, pids: I64) -> tuple[I64, list[str]]:
        """`Comms.names` of tasks that ran when rows of the trace were recorded."""
        codes, known = np.full(len(rows), -1, dtype=np.int64), list[str]()
        for boot, mine in self.parts(rows):
            code, names = self.comms(boot).names(pids[mine])
            codes[mine] = np.where(code >= 0, code + len(known), -1)
            known += names
        return codes, known

    def to_save(self, rings: list[Ring]) -> tuple[Source, list[Ring]]:
        """What a file of these rings is told by, and which of them it can hold: a file has one boot's symbols."""
        own = [ring for ring in rings if not ring.instance.previous]
        before = {id(ring.instance): ring.instance for ring in rings if ring.instance.previous}
        if own or len(before) != 1:
            for one in before.values():
                self._view._source.lost(
                    f"trace instance {one.name!r} is left out: its events are of the boot before, whose symbols and "
                    "clock are others; save it by itself (instance=)"
                )
            return self.sources[0], own
        number = [id(one) for one in self._before].index(next(iter(before)))
        return self.sources[number + 1], rings

    def texts(self, boot: int) -> Texts:
        """What makes the texts of a boot's events; a view of snapshots shares its parent's."""
        if self._parent is not None:
            return self._parent.texts(boot)
        if boot not in self._texts:
            self._texts[boot] = Texts(self.sources[boot])
        return self._texts[boot]

    def records(self, rows: I64) -> Records:
        """The records of rows of one kind of event, with addresses of this boot in their fields."""
        view = self._view
        records = view._trace.records(rows)
        parts = self.parts(rows)
        if [boot for boot, _ in parts] in ([], [0]):
            return records
        (form,) = view._formats.get(view._trace.type[rows[:1]].tolist()).values()
        data, start = [records.data], records.start.copy()
        for boot, mine in parts:
            source = self.sources[boot]
            if isinstance(source, PreviousSource):
                moved = source.shift.records(view._trace.records(rows[mine]), form.fields)
                start[mine] = moved.start + sum(map(len, data))
                data.append(moved.data)
        return Records(np.concatenate(data), start, records.size, records.machine)
