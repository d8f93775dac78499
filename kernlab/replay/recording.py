"""One trace instance as a recording: its events on the axis, which of them are complete, and where it has holes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.traces.clock.clocks import Clocks
from kernlab.traces.ftrace.buffers import Instance
from kernlab.traces.ftrace.enabled import Enabled, enabled_events
from kernlab.traces.ftrace.holes import holes_of
from kernlab.traces.ftrace.numbers import Numbers, numbers_of
from kernlab.traces.ftrace.rows import clocks_of, instance_names, names_before
from kernlab.util.text import few

if TYPE_CHECKING:
    from kernlab.traces.ftrace.view import Ftrace

I64 = npt.NDArray[np.int64]

#: The instance that the recorder makes.
OWN = "kernlab"
#: A trace that ends this long before the crash went on until then: nothing happened (ns).
SILENCE = 50_000_000


@dataclass(frozen=True, slots=True)
class Break:
    """Between two instants on the axis (ns) a source lost events: since None from before its beginning."""

    since: int | None
    until: int
    source: str
    cpu: int | None
    reason: str


class Recording:
    """A trace instance of a dump, `name` '' for the global one."""

    def __init__(self, kernel: Kernel, ftrace: Ftrace, clocks: Clocks, name: str | None):
        self.kernel = kernel
        self.clocks = clocks
        self._ftrace = ftrace
        self.name = _choose(ftrace) if name is None else name
        known = {instance.name: instance for instance in ftrace._instances}
        if name is not None and name in names_before(ftrace):
            raise KernlabError(
                f"trace instance {name!r} holds events of the boot before, which are not on this boot's clock"
            )
        if name is not None and name not in known:
            raise KernlabError(
                f"there is no trace instance {name!r}; there are: {few([repr(one) for one in known])} "
                "('' is the global one)"
            )
        self.instance: Instance | None = known.get(self.name)
        self._kept: dict[tuple[str, tuple[str, ...]], Numbers] = {}

    @property
    def source(self) -> str:
        """How it is called in tables."""
        return f"ftrace:{self.name}" if self.name else "ftrace"

    @cached_property
    def clock(self) -> str:
        """The name of its clock."""
        return clocks_of(self._ftrace).get(self.name) or "local"

    @cached_property
    def _known(self) -> bool:
        """Can its times be put on the axis?"""
        try:
            self.clocks.to_axis(self.clock, np.zeros(1, dtype=np.int64))
        except KernlabError as error:
            self.kernel.lost(f"{self.source} is left out: {error}")
            return False
        return self.instance is not None

    def axis(self, times: I64) -> I64:
        """Times of its clock on the axis, in ns."""
        return self.clocks.to_axis(self.clock, times)[0]

    def events(self, name: str, *wanted: str) -> Numbers:
        """The events of a kind, their times on the axis; none where there are none."""
        key = name, wanted
        if key not in self._kept:
            if not self._known:
                none = np.zeros(0, dtype=np.int64)
                return Numbers(none, none, none, none, dict.fromkeys(wanted, none))
            found = numbers_of(self._ftrace, name, wanted, self.name)
            missing = {one: np.zeros(0, dtype=np.int64) for one in wanted if one not in found.fields}
            if missing and len(found):
                self.kernel.lost(f"events {name} have no field {few(list(missing))}: they are left out")
                found = found.take(np.zeros(0, dtype=np.int64))
            found = replace(found, time=self.axis(found.time), fields={**found.fields, **missing})
            self._kept[key] = found
        return self._kept[key]

    @cached_property
    def enabled(self) -> dict[str, Enabled]:
        """The events that it records, by name."""
        if self.instance is None:
            return {}
        return enabled_events(self.kernel, self.instance, self._ftrace._formats)

    def complete(self, *names: str) -> bool:
        """Does it record every event of these kinds?"""
        return all(name in self.enabled and self.enabled[name].filter == "" for name in names)

    @cached_property
    def filtered(self) -> dict[str, str]:
        """The filters of events that are thinned out, by name; None where the filter is not known."""
        return {
            name: "an unknown filter" if one.filter is None else one.filter
            for name, one in self.enabled.items()
            if one.filter != ""
        }

    @cached_property
    def span(self) -> tuple[int, int] | None:
        """Its first and last event on the axis; None where there are none."""
        trace = self._ftrace._trace
        mine = np.array([ring.instance.name == self.name for ring in trace.rings], dtype=bool)
        if not self._known or not len(mine):
            return None
        times = trace.time[mine[trace.ring] & (trace.time < np.uint64(1 << 62))]
        if not len(times):
            return None
        first, last = self.axis(np.array([times.min(), times.max()]).astype(np.int64)).tolist()
        return first, last

    @cached_property
    def breaks(self) -> list[Break]:
        """Where it lost events, the earliest first."""
        if self.instance is None or not self._known:
            return []
        found = []
        for hole in holes_of(self.kernel, self._ftrace._trace, self.instance):
            since = None if hole.since is None else int(self.axis(np.array([hole.since]))[0])
            until = self.clocks.crash_ns
            if hole.until is not None:
                until = min(until, int(self.axis(np.array([hole.until]))[0]))
            elif since is not None and until - since < SILENCE and hole.cpu is None:
                continue
            found.append(Break(since, until, self.source, hole.cpu, hole.reason))
        return sorted(found, key=lambda one: one.until)


def _choose(ftrace: Ftrace) -> str:
    """The recorder's instance, else the one with most events, else the global one."""
    names = instance_names(ftrace)
    if OWN in names or not names:
        return OWN if names else ""
    trace = ftrace._trace
    count = np.bincount(trace.ring, minlength=len(trace.rings))
    held = dict.fromkeys(names, 0)
    for ring, events in zip(trace.rings, count.tolist(), strict=True):
        if ring.instance.name in held:
            held[ring.instance.name] += events
    return max(names, key=lambda name: held[name])
