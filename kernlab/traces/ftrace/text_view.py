"""Text of a trace as tables: what `dump.ftrace` has of events, as far as their text tells it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes import frame, nullable, spread
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.traces.ftrace.formats import is_pattern
from kernlab.traces.ftrace.trace_text import MESSAGES, Parsed, fields_of, values_of
from kernlab.util.closing import Closing
from kernlab.util.text import Spelt, few, nearest

I64 = npt.NDArray[np.int64]

#: Columns that events have besides their fields.
_COMMON = ("instance", "timestamp", "cpu", "pid", "comm")


class FtraceText(Spelt, Closing):
    """The text of a trace: `all`, `events`, `counts`, `lost`, `instances`, `lines` as of `dump.ftrace`.

    Times are as exact as they were printed; fields are those that stand as key=value, states of tasks are letters.
    What text does not tell is missing. `problems` says what was not understood.
    """

    _spoken = "a trace in text"

    def __init__(self, path: Path, parts: Mapping[str, Parsed], systems: Mapping[str, str] | None = None):
        self.path = path
        self.problems: list[str] = []
        self._parts = dict(parts)
        self._systems = dict(systems or {})
        strange = sum(part.strange for part in self._parts.values())
        if strange:
            self.problems.append(f"{strange:,} lines are not those of a trace, and left out")
        if not all(part.in_seconds for part in self._parts.values()):
            self.problems.append("times have no seconds: the clock's units are not nanoseconds")
        for part in self._parts.values():
            for (instance, cpu), count in part.lost.items():
                which = f"instance {instance!r}, " if instance else ""
                known = "events were" if count is None else f"{count:,} events were"
                self.problems.append(f"{which}CPU {cpu}: {known} lost, as the text says")

    @cached_property
    def _rows(self) -> dict[str, list[Any]]:
        """All events of all parts, in the order of time; those of one CPU as they stand."""
        names = ("instance", "comm", "pid", "cpu", "flags", "time", "event", "text", "line")
        held: dict[str, list[Any]] = {
            name: [one for part in self._parts.values() for one in getattr(part, name)] for name in names
        }
        if len(self._parts) > 1:
            order = np.argsort(np.array(held["time"], dtype=np.uint64), kind="stable").tolist()
            held = {name: [values[row] for row in order] for name, values in held.items()}
        return held

    def _common(self, chosen: I64) -> dict[str, Any]:
        rows = self._rows
        pick = chosen.tolist()
        time = np.array([rows["time"][row] for row in pick], dtype=np.uint64)
        known = time < np.uint64(1 << 63)
        stamp = np.where(known, time, np.uint64(0)).astype(np.int64).view("m8[ns]")
        return {
            "instance": _texts([rows["instance"][row] for row in pick]),
            "timestamp": stamp if known.all() else nullable(stamp, known),
            "cpu": np.array([rows["cpu"][row] for row in pick], dtype=np.int64),
            "pid": np.array([rows["pid"][row] for row in pick], dtype=np.int64),
            "comm": _texts([rows["comm"][row] for row in pick]),
        }

    def _frame(self, table: str, **columns: Any) -> pd.DataFrame:
        found = frame(None, table, **columns)
        found.attrs |= {"source": str(self.path), "problems": list(self.problems)}
        return found

    def _system(self, event: str | None) -> str | None:
        if event is None:
            return None
        if event.startswith(("sys_enter_", "sys_exit_")):
            return "syscalls"
        return self._systems.get(event)

    @property
    def all(self) -> pd.DataFrame:
        """Every event: instance, timestamp, cpu, pid, comm, event, system (where it is known), flags (the column of
        letters, '' where there is none), fields (key=value of the text, as JSON) and text.

        >>> import pathlib
        >>> size = pathlib.Path("trace.txt").write_text("\\n".join(dump.ftrace.lines()))
        >>> kernlab.ftrace.open("trace.txt").all[["timestamp", "cpu", "comm", "event"]].head(2)
                        timestamp  cpu    comm         event
        0 0 days 00:00:13.325585    0  <idle>  sched_switch
        1 0 days 00:00:13.327829    1    init  sched_switch
        """
        rows = self._rows
        every = np.arange(len(rows["pid"]), dtype=np.int64)
        return self._frame(
            "ftrace",
            **self._common(every),
            event=_texts(rows["event"]),
            system=_texts([self._system(event) for event in rows["event"]]),
            flags=_texts(rows["flags"]),
            fields=_texts(
                [json.dumps(dict(self._fields(row)), ensure_ascii=False) for row in every.tolist()]
            ),
            text=_texts(rows["text"]),
        )

    @property
    def counts(self) -> pd.DataFrame:
        """One row per kind of event: event, system, events (how many); most frequent first.

        >>> kernlab.ftrace.open("trace.txt").counts
                  event system  events
        0  sched_switch    NaN      29
        """
        held = pd.Series(self._rows["event"], dtype="str").value_counts(sort=True)
        names = held.index.tolist()
        return self._frame(
            "ftrace counts",
            event=_texts(names),
            system=_texts([self._system(name) for name in names]),
            events=held.to_numpy(dtype=np.int64),
        )

    @property
    def lost(self) -> pd.DataFrame:
        """One row per instance and CPU: instance, cpu, decoded (events in the text), missing (what the text says was
        lost before, missing where it does not say how many).

        >>> kernlab.ftrace.open("trace.txt").lost.decoded.tolist()
        [12, 17]
        """
        rows = self._rows
        said = {key: count for part in self._parts.values() for key, count in part.lost.items()}
        decoded: dict[tuple[str, int], int] = dict.fromkeys(said, 0)
        for key in zip(rows["instance"], rows["cpu"], strict=True):
            decoded[key] = decoded.get(key, 0) + 1
        keys = sorted(decoded)
        return self._frame(
            "ftrace lost events",
            instance=_texts([instance for instance, _ in keys]),
            cpu=np.array([cpu for _, cpu in keys], dtype=np.int64),
            decoded=np.array([decoded[key] for key in keys], dtype=np.int64),
            missing=pd.array([said.get(key, 0) for key in keys], dtype="Int64"),
        )

    @property
    def instances(self) -> pd.DataFrame:
        """One row per instance: name, tracer (where the text's header says it), entries (in the buffer) and written (in
        all), of the header.

        >>> kernlab.ftrace.open("trace.txt").instances.name.tolist()
        ['']
        """
        names = list(dict.fromkeys([*self._parts, *self._rows["instance"]]))
        parts = [self._parts.get(name) for name in names]
        written = [None if part is None else part.written for part in parts]
        return self._frame(
            "ftrace instances",
            name=_texts(names),
            tracer=_texts([None if part is None else part.tracer for part in parts]),
            entries=pd.array([None if pair is None else pair[0] for pair in written], dtype="Int64"),
            written=pd.array([None if pair is None else pair[1] for pair in written], dtype="Int64"),
        )

    def _fields(self, row: int) -> Iterator[tuple[str, str]]:
        if self._rows["event"][row] not in MESSAGES:
            yield from fields_of(self._rows["text"][row])

    def _chosen(self, name: str | Iterable[str], instance: str | None) -> I64:
        there = sorted({event for event in self._rows["event"] if event})
        wanted: set[str] = set()
        for one in [name] if isinstance(name, str) else name:
            system, _, event = one.rpartition(":")
            fits = {
                known
                for known in there
                if (fnmatchcase(known, event) if is_pattern(event) else known == event)
                and (not system or fnmatchcase(self._system(known) or "", system))
            }
            if not fits:
                hint = nearest(event, there) if not is_pattern(one) else ""
                raise KernlabError(
                    f"this text has no event {one!r}{hint}; it has: {few(there, 20) or 'none'}"
                )
            wanted |= fits
        keep = [event in wanted for event in self._rows["event"]]
        if instance is not None:
            self._check_instance(instance)
            keep = [good and one == instance for good, one in zip(keep, self._rows["instance"], strict=True)]
        return np.flatnonzero(np.array(keep, dtype=bool))

    def _check_instance(self, name: str) -> None:
        known = {*self._parts, *self._rows["instance"]}
        if name not in known:
            there = few(sorted(map(repr, known)))
            raise KernlabError(
                f"there is no trace instance {name!r}; there are: {there} ('' is the global one)"
            )

    def events(
        self, name: str | Iterable[str], *, instance: str | None = None, text: bool = False
    ) -> pd.DataFrame:
        """The events of one kind, or of several by a list or patterns, with the fields that their texts have.

        Columns as of `dump.ftrace.events`: instance, timestamp, cpu, pid, comm (common_… where a field is called so;
        of several kinds event and system besides, and such a field is field_…), then each key of the texts: numbers
        where all of its values are, else text; `text` adds the whole of it. Raises KernlabError for what is not there.

        >>> kernlab.ftrace.open("trace.txt").events("sched_switch")[["prev_comm", "prev_state", "next_pid"]].head(2)
           prev_comm prev_state  next_pid
        0  swapper/0          R       261
        1       init          R        15
        """
        chosen = self._chosen(name, instance)
        pick = chosen.tolist()
        texts = [self._rows["text"][row] for row in pick]
        columns: dict[str, list[str | None]] = {}
        for row, place in enumerate(pick):
            for key, value in self._fields(place):
                columns.setdefault(key, [None] * len(texts))[row] = value
        many = not isinstance(name, str) or is_pattern(name)
        common: dict[str, Any] = self._common(chosen)
        if many:
            common["event"] = _texts([self._rows["event"][row] for row in pick])
            common["system"] = _texts([self._system(self._rows["event"][row]) for row in pick])
        if text or not columns or {self._rows["event"][row] for row in pick} & set(MESSAGES):
            common["text"] = _texts(texts)
        own = [
            (f"field_{key}" if many and key in common else key, _column(values_of(values)))
            for key, values in columns.items()
        ]
        if many:
            return self._frame("ftrace events", **common, own=spread(own))
        taken = {key for key, _ in own}
        named = [
            (f"common_{key}" if key in taken else key, values)
            for key, values in common.items()
            if key != "text"
        ]
        last = [("text", common["text"])] if "text" in common else []
        return self._frame(f"ftrace {name}", columns=spread([*named, *own, *last]))

    def lines(self, instance: str | None = None, *, event: str | Iterable[str] | None = None) -> list[str]:
        """The lines of all instances or of one, as they stand in the text.

        >>> kernlab.ftrace.open("trace.txt").lines() == dump.ftrace.lines()
        True
        """
        rows = range(len(self._rows["line"])) if event is None else self._chosen(event, None).tolist()
        if instance is not None:
            self._check_instance(instance)
            rows = [row for row in rows if self._rows["instance"][row] == instance]
        return [self._rows["line"][row] for row in rows]

    def format(self, name: str) -> str:
        """An event's format: text has none. Raises KernlabError.

        >>> kernlab.ftrace.open("trace.txt").format("sched_switch")
        Traceback (most recent call last):
        kernlab.errors.KernlabError: text does not say what the events' formats are: ...
        """
        self._no("what the events' formats are")

    def save(self, path: object, **options: object) -> Path:
        """Text cannot become a trace.dat. Raises KernlabError.

        >>> kernlab.ftrace.open("trace.txt").save("trace.dat")
        Traceback (most recent call last):
        kernlab.errors.KernlabError: text does not say what the events' bytes were: ...
        """
        self._no("what the events' bytes were")

    def _no(self, what: str) -> NoReturn:
        raise KernlabError(f"text does not say {what}: a trace.dat does, or a dump")

    def close(self) -> None:
        """Nothing is open: text is read at once."""

    def __repr__(self) -> str:
        known = self.instances.name
        names = ", ".join(show_controls(name) or "global" for name in known[:5])
        said = f"{len(self._rows['pid']):,} events of {len(known):,} instances ({names})"
        return f"<trace text {show_controls(self.path.name)}: {said}>"


def _texts(values: list[Any]) -> Any:
    held = np.empty(len(values), dtype=object)
    held[:] = values
    return pd.array(held, dtype="str")


def _column(values: list[Any]) -> Any:
    if all(isinstance(value, int) for value in values):
        wide = all(-(1 << 63) <= value < 1 << 63 for value in values)
        return np.array(values, dtype=np.int64 if wide else object)
    if any(isinstance(value, int) for value in values):
        return pd.array(
            values, dtype="Int64" if max(v for v in values if v is not None) < 1 << 63 else "object"
        )
    return _texts(values)
