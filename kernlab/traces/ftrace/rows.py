"""Events of one instance by their rows: what a table of many sources needs of them, made for the rows that it takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.many import fields_of_many
from kernlab.traces.ftrace.view import Ftrace

I64 = npt.NDArray[np.int64]


class Rows:
    """Some events of an instance, by their rows in the trace, in its order."""

    def __init__(self, ftrace: Ftrace, instance: str):
        self._ftrace = ftrace
        self._trace = ftrace._trace
        self.instance = instance
        self.rows: I64 = np.flatnonzero(ftrace._of_instance(instance))

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, wanted: npt.NDArray[np.bool_]) -> None:
        """Go on with some of them."""
        if not wanted.all():
            self.rows = self.rows[wanted]

    @property
    def times(self) -> npt.NDArray[np.uint64]:
        """What the instance's clock said, in its own units."""
        return self._trace.time[self.rows]

    @property
    def kinds(self) -> I64:
        """The number of each one's event."""
        return self._trace.type[self.rows]

    @property
    def pids(self) -> I64:
        """Who ran."""
        return self._trace.pid[self.rows]

    @property
    def cpus(self) -> I64:
        """Where."""
        cpus = np.array([ring.cpu for ring in self._trace.rings] or [0], dtype=np.int64)
        return cpus[self._trace.ring[self.rows]]

    def comms(self) -> tuple[I64, list[str]]:
        """(code of each one's name, -1 where nobody knows it; the names)."""
        return self._ftrace._comms.names(self.pids)

    def events(self) -> tuple[I64, list[str]]:
        """(code of each one's event, -1 where this kernel does not describe it; the names)."""
        distinct, inverse = np.unique(self.kinds, return_inverse=True)
        known = self._ftrace._formats.names
        names = [known.get(number, ("", ""))[0] for number in distinct.tolist()]
        place = {name: code for code, name in enumerate(dict.fromkeys(name for name in names if name))}
        codes = np.array([place.get(name, -1) for name in names] or [-1], dtype=np.int64)
        return codes[inverse], list(place)

    def texts(self, chosen: I64) -> list[str | None]:
        """What some of them say, as in the trace file."""
        return self._ftrace._said(self.rows[chosen])

    def fields(self, token: str, taken: Iterable[str]) -> list[tuple[str, Any]]:
        """A column for each field that some of them have; one that is called like a name of `taken` is field_NAME."""
        kinds = self.kinds
        known = self._ftrace._formats.get(np.unique(kinds).tolist())
        there = np.isin(kinds, list(known))
        where = np.flatnonzero(there)
        found = fields_of_many(
            token,
            known,
            kinds[where],
            lambda some: self._trace.records(self.rows[where[some]]),
            tuple(taken),
        )
        return [
            (name, values if there.all() else _widened(values, where, len(there))) for name, values in found
        ]


def _widened(values: Any, rows: I64, length: int) -> Any:
    """A column that is missing but in some rows."""
    take = np.full(length, -1, dtype=np.intp)
    take[rows] = np.arange(len(rows))
    return values.take(take, allow_fill=True)


def clocks_of(ftrace: Ftrace) -> dict[str, str]:
    """The name of each instance's clock; '' where it is not known."""
    return {one.name: ftrace._clock(one)[0] for one in reversed(ftrace._instances)}


def instance_names(ftrace: Ftrace) -> list[str]:
    """The instances that hold events of this boot, the global one ('') first."""
    return list(dict.fromkeys(one.name for one in ftrace._instances if not one.previous))


def names_before(ftrace: Ftrace) -> list[str]:
    """The instances that hold events of the boot before, which no clock of this boot tells the time of."""
    return [one.name for one in ftrace._instances if one.previous]


def recorded_names(ftrace: Ftrace) -> list[str]:
    """The instances that have events, in the same order."""
    trace = ftrace._trace
    there = {trace.rings[number].instance.name for number in np.unique(trace.ring).tolist()}
    return [name for name in instance_names(ftrace) if name in there]


def first_kept(ftrace: Ftrace, instance: str) -> list[tuple[int, int, int]]:
    """(CPU, events overwritten, row of the first one that is left) of each ring of an instance that lost some."""
    trace = ftrace._trace
    found = []
    for number, ring in enumerate(trace.rings):
        overrun = ring.counters.get("overrun", 0)
        if ring.instance.name != instance or not overrun:
            continue
        rows = np.flatnonzero(trace.ring == number)
        if len(rows):
            found.append((ring.cpu, overrun, int(rows[0])))
    return found
