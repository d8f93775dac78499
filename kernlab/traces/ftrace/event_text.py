"""The events of one buffer as text: fields as JSON, the text behind an event's name, and whole lines of two styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace import lines
from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.formats import Format
from kernlab.traces.ftrace.many import as_json
from kernlab.traces.ftrace.record import Failed
from kernlab.traces.ftrace.text import Texts, latency_marks

if TYPE_CHECKING:
    from kernlab.traces.ftrace.view import Ftrace

I64 = npt.NDArray[np.int64]
Strings = list[str | None]


class EventText:
    """Text of the events of a view, by their rows in its trace; None where nobody knows it."""

    def __init__(self, view: Ftrace):
        self._view = view
        self._boots = view._boots

    def said(self, chosen: I64) -> Strings:
        """What each event's text is in tracefs, in the order of `chosen`."""
        found: Strings = [None] * len(chosen)
        for boot, rows in self._boots.parts(chosen):
            of, records = self._boots.texts(boot).of, self._view._trace.records
            for row, one in zip(rows.tolist(), self._by_format(chosen[rows], of, records), strict=True):
                found[row] = one
        return found

    def fields(self, chosen: I64) -> Strings:
        """Each event's own fields, as JSON."""
        return self._by_format(chosen, as_json, self._boots.records)

    def messages(self, form: Format, chosen: I64) -> Strings | None:
        """The messages of ftrace's own printing events; None for all others."""
        if form.system != "ftrace" or form.name not in ("print", "bprint", "bputs"):
            return None
        said: Strings = [None] * len(chosen)
        for boot, rows in self._boots.parts(chosen):
            records, texts = self._view._trace.records(chosen[rows]), self._boots.texts(boot)
            spans = zip(rows.tolist(), records.start.tolist(), records.size.tolist(), strict=True)
            for row, start, size in spans:
                with suppress(Failed):
                    said[row] = texts.message(form, records.data[start : start + size].tobytes())
        return said

    def _by_format(
        self,
        chosen: I64,
        strings: Callable[[Format, Records], Sequence[str | None]],
        records: Callable[[I64], Records],
    ) -> Strings:
        """What `strings` makes of each event by its format."""
        found: Strings = [None] * len(chosen)
        types = self._view._trace.type[chosen]
        for number, form in self._view._formats.get(np.unique(types).tolist()).items():
            rows = np.flatnonzero(types == number)
            for row, one in zip(rows.tolist(), strings(form, records(chosen[rows])), strict=True):
                found[row] = one
        return found

    def tracefs(self, chosen: I64) -> list[str]:
        """Lines as the file `trace` of tracefs has them."""
        trace = self._view._trace
        codes, known = self._boots.names(chosen, trace.pid[chosen])
        cpus = np.array([ring.cpu for ring in trace.rings] or [0], dtype=np.int64)[trace.ring[chosen]]
        marks = latency_marks(
            trace.flags[chosen],
            trace.preempt_count[chosen],
            self._view._source.trace_flag,
            self._of_entry(chosen, "common_preempt_lazy_count"),
            self._of_entry(chosen, "common_migrate_disable"),
        )
        comms = [known[code] if code >= 0 else "<...>" for code in codes.tolist()]
        found = (trace.pid[chosen], cpus, marks, trace.time[chosen], trace.type[chosen], self.said(chosen))
        return list(lines.lines(comms, *found, self._view._formats.names))

    def report(self, chosen: I64, nanoseconds: bool, plugins: bool) -> list[str]:
        """Lines as `trace-cmd report` has them; those of the boot before come behind this one's."""
        found: list[str] = []
        for boot, rows in self._boots.parts(chosen):
            found += self._report_of(boot, chosen[rows], nanoseconds, plugins)
        return found

    def _report_of(self, boot: int, chosen: I64, nanoseconds: bool, plugins: bool) -> list[str]:
        """Lines of one boot's events."""
        from kernlab.traces.ftrace.report import Report, rows_of

        view = self._view
        trace, rings = view._trace, view._trace.rings
        formats = view._formats.get(np.unique(trace.type[chosen]).tolist())
        top = view._instances[0] if view._instances else None
        in_ns = top is None or view._clock(top)[1]
        texts = Texts(self._boots.sources[boot], report=True)
        report = Report(texts, self._boots.comms(boot).saved(), plugins, nanoseconds, in_ns)
        ring, start = trace.ring[chosen].tolist(), trace.start[chosen].tolist()
        columns = zip(
            [rings[number].instance.name for number in ring],
            [rings[number].cpu for number in ring],
            trace.pid[chosen].tolist(),
            trace.time[chosen].tolist(),
            trace.type[chosen].tolist(),
            [trace.gaps.get(place, 0) for place in start],
            strict=True,
        )
        width = max((len(one.instance.name) for one in rings), default=0)
        return list(report.lines(rows_of(trace.records(chosen), columns, formats), width))

    def _of_entry(self, chosen: I64, name: str) -> I64 | None:
        """A number that every record begins with, None where this kernel's do not have it."""
        for field in self._view._formats.common:
            if field.name == name and field.size in (1, 2, 4, 8):
                records = self._view._trace.records(chosen)
                values, there = records.words(field.offset, field.size, field.signed)
                return np.where(there, values, 0).astype(np.int64)
        return None
