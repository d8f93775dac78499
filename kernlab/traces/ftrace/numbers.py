"""Events of one kind as plain arrays: a view of ftrace in, the numbers that their records hold out, without a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.dataframes.builder import Nullable
from kernlab.traces.ftrace import fields

if TYPE_CHECKING:
    from kernlab.traces.ftrace.view import Ftrace

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Events of one kind and instance in the order of the trace: `row` is their place in it.

    `time` is in the trace clock's units, `pid` the thread that ran; `fields` has the asked ones that the event has,
    text among them as objects (None where missing).
    """

    row: I64
    time: I64
    cpu: I64
    pid: I64
    fields: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: npt.NDArray[Any]) -> Numbers:
        """Some of them."""
        return Numbers(
            self.row[rows],
            self.time[rows],
            self.cpu[rows],
            self.pid[rows],
            {name: values[rows] for name, values in self.fields.items()},
        )


def numbers_of(view: Ftrace, name: str, wanted: tuple[str, ...] = (), instance: str = "") -> Numbers:
    """The events `name` (or "system:name") of an instance, with fields of theirs; none where the kernel has no such.

    Records that end before one of the fields are left out.
    """
    trace, formats = view._trace, view._formats
    mine = np.array([ring.instance.name == instance for ring in trace.rings], dtype=bool)
    ids = formats.ids(name)
    keep = np.isin(trace.type, ids) & (mine[trace.ring] if len(mine) else np.zeros(len(trace), dtype=bool))
    # A clock that went wrong is not a time.
    keep &= trace.time < np.uint64(1 << 62)
    row = np.flatnonzero(keep)
    held: dict[str, npt.NDArray[Any]] = {}
    known = formats.get(np.unique(trace.type[row]).tolist())
    if len(known) == 1:
        form = next(iter(known.values()))
        records = trace.records(row)
        there = np.ones(len(row), dtype=bool)
        for field in form.fields:
            if field.name in wanted and field.name not in held:
                values, valid = _plain(fields.column(records, field))
                there &= valid
                held[field.name] = values
        row, held = row[there], {key: values[there] for key, values in held.items()}
    cpus = np.array([ring.cpu for ring in trace.rings] or [0], dtype=np.int64)
    return Numbers(row, trace.time[row].astype(np.int64), cpus[trace.ring[row]], trace.pid[row], held)


def _plain(column: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The values of a field's column and which of them are there."""
    if isinstance(column, Nullable):
        column = column.values
    if isinstance(column, Column):
        return column.values, column.valid
    values = np.asarray(column, dtype=object)
    return values, np.array([value is not None for value in values.tolist()], dtype=bool)
