"""A dump in, the rows of each of its sources out (`Part`), on the common axis; what is not asked for is not decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.kernel_log import callers, read_log
from kernlab.linux.tasks import find_tasks
from kernlab.replay.parts import NAT, Part
from kernlab.tables.system.last_words import panic_message
from kernlab.traces.clock.clocks import Clocks
from kernlab.traces.clock.relation import FAR
from kernlab.traces.ftrace.formats import is_pattern
from kernlab.traces.ftrace.rows import (
    Rows,
    clocks_of,
    first_kept,
    instance_names,
    names_before,
    recorded_names,
)
from kernlab.traces.ftrace.view import Ftrace
from kernlab.traces.relay.view import Relay
from kernlab.util.text import few, nearest

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Window = tuple[int, int]

LOG, TASKS, CRASH, FTRACE, BLKTRACE = "log", "tasks", "crash", "ftrace", "blktrace"
#: The events of the sources that have one kind only.
PRINTK, STARTED, CRASHED = "printk", "task_start", "crash"

#: blktrace's letters by the tracepoints that they come from (kernel/trace/blktrace.c, blk_register_tracepoints).
BLOCK_EVENTS = {
    "Q": "block_bio_queue",
    "M": "block_bio_backmerge",
    "F": "block_bio_frontmerge",
    "G": "block_getrq",
    "S": "block_sleeprq",
    "R": "block_rq_requeue",
    "D": "block_rq_issue",
    "C": "block_rq_complete",
    "P": "block_plug",
    "U": "block_unplug",
    "UT": "block_unplug_timer",
    "I": "block_rq_insert",
    "X": "block_split",
    "B": "block_bio_bounce",
    "A": "block_bio_remap",
    "m": "blktrace_message",
}
#: Columns of blktrace that become typed columns, by the names of the tracepoints' fields.
_BLOCK_FIELDS = {"device": "device", "rwbs": "rwbs", "sector": "sector", "bytes": "bytes", "error": "error"}


class Chosen:
    """Which events are wanted: names, patterns, "system:name"; all where nothing is chosen."""

    def __init__(self, events: str | Iterable[str] | None):
        if events is not None and not isinstance(events, str | Iterable):
            raise KernlabError("events is a name (sched_switch), a pattern (block_*), or a list of them")
        self.wanted = None if events is None else [events] if isinstance(events, str) else list(events)
        if self.wanted is not None and not all(isinstance(name, str) for name in self.wanted):
            raise KernlabError("events is a name (sched_switch), a pattern (block_*), or a list of them")
        self._met: set[str] = set()

    def has(self, name: str, system: str = "") -> bool:
        """Is an event wanted?"""
        if self.wanted is None:
            return True
        fits = [one for one in self.wanted if fnmatchcase(f"{system}:{name}" if ":" in one else name, one)]
        self._met.update(fits)
        return bool(fits)

    def unmet(self) -> list[str]:
        """What was asked for and no source has."""
        return [name for name in self.wanted or [] if name not in self._met]


class Sources:
    """The sources of a dump: their labels, and the rows of each."""

    def __init__(self, kernel: Kernel, clocks: Clocks, window: Window, chosen: Chosen, *, typed: bool):
        self.kernel = kernel
        self.clocks = clocks
        self.window = window
        self.chosen = chosen
        self.typed = typed
        self.errors: dict[str, dict[str, Any]] = {}
        self._ftrace = Ftrace(kernel)
        self._relay = Relay(kernel)

    def pick(self, wanted: str | Iterable[str] | None) -> list[tuple[str, Callable[[], Part | None]]]:
        """(label, what gives its rows) of the sources that are wanted; nothing is decoded yet.

        Raises KernlabError, naming what there is, for one that is not.
        """
        names = None if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
        own: dict[str, Callable[[], Part | None]] = {LOG: self.log, TASKS: self.tasks, CRASH: self.crash}
        traces: dict[str, Callable[[], Part | None]] = {}
        if names is None or any(str(name).startswith(FTRACE) or is_pattern(str(name)) for name in names):
            for instance in instance_names(self._ftrace):
                label = f"{FTRACE}:{instance}" if instance else FTRACE
                traces[label] = lambda instance=instance, label=label: self.ftrace(instance, label)  # type: ignore[misc]
            for instance in names_before(self._ftrace):
                self.kernel.lost(
                    f"{FTRACE}:{instance}: its events were recorded by the boot before, at times that this boot's "
                    "clocks do not tell: they are left out (dump.ftrace has them)"
                )
        if names is None or any(str(name).startswith(BLKTRACE) or is_pattern(str(name)) for name in names):
            for channel in self._relay.block_traces:
                label = f"{BLKTRACE}:{channel}"
                traces[label] = lambda channel=channel, label=label: self.blktrace(channel, label)  # type: ignore[misc]
        every = own | traces
        if names is None:
            return list(every.items())
        found: dict[str, Callable[[], Part | None]] = {}
        for name in names:
            fits = [label for label in every if _is_meant(label, name)]
            # A dump without any trace of a kind has no rows of it, which is not a mistake of the user's.
            if not fits and name not in (FTRACE, BLKTRACE):
                hint = nearest(str(name), every, 1) or f"; there are {few([LOG, TASKS, CRASH, *every], 8)}"
                raise KernlabError(f"the dump has no source {name!r}{hint}")
            found |= {label: every[label] for label in fits}
        return list(found.items())

    def _inside(self, time: I64) -> Mask:
        first, last = self.window
        if (first, last) == (-FAR, FAR):
            return np.ones(len(time), dtype=bool)
        # What has no time is in no window.
        inside: Mask = (time >= first) & (time <= last) & (time != NAT)
        return inside

    def _placed(self, clock: str, values: npt.NDArray[Any], label: str) -> I64:
        """Times of a clock on the axis, NAT where they are not times; what they may be off by is noted."""
        time, error = self.clocks.to_axis(clock, values)
        known = error < FAR
        if not known.all():
            time = np.where(known, time, NAT)
            self.kernel.lost(f"rows of {label} have times that cannot be true", mask=~known)
        worst = int(error[known].max(initial=0))
        self.errors[label] = {"clock": clock, "error_ns": worst}
        return time

    def log(self) -> Part | None:
        """The log's records."""
        if not self.chosen.has(PRINTK, LOG):
            return None
        log = read_log(self.kernel)
        stamps = log.infos["ts_nsec"]
        time = self._placed("printk", stamps.filled(np.uint64(1 << 63)), LOG)
        rows = np.flatnonzero(self._inside(time))
        said = callers(log.infos)
        who = np.array([said[row] or "" for row in rows.tolist()], dtype=object)

        def number(letter: str) -> I64:
            return np.array([int(one[1:]) if one.startswith(letter) else -1 for one in who], dtype=np.int64)

        def texts(wanted: I64) -> Sequence[str | None]:
            lines = log.texts().tolist()
            return [lines[row] for row in rows[wanted].tolist()]

        return Part(LOG, time[rows], _same(len(rows), PRINTK), texts, cpu=number("C"), pid=number("T"))

    def tasks(self) -> Part | None:
        """When each task that still was had begun, idle ones aside."""
        if not self.chosen.has(STARTED, TASKS):
            return None
        tasks = find_tasks(self.kernel)
        # Linux 5.5 counts time asleep in the other one only; start_time is CLOCK_MONOTONIC's in all.
        began, pid = tasks["start_time"], tasks["pid"]
        there = began.valid & pid.true
        time = self._placed("mono", began.filled(np.uint64(1 << 63))[there], TASKS)
        numbers, names = pid.filled(0)[there].astype(np.int64), tasks["comm"].text.filled("")[there].tolist()
        keep = self._inside(time)
        rows = np.flatnonzero(keep)
        kept = [names[row] for row in rows.tolist()]
        distinct = list(dict.fromkeys(kept))
        place = {name: code for code, name in enumerate(distinct)}
        comm = np.array([place[name] for name in kept], dtype=np.int64)

        def texts(wanted: I64) -> list[str | None]:
            return [f"{kept[row]} ({numbers[rows[row]]}) began" for row in wanted.tolist()]

        return Part(
            TASKS, time[rows], _same(len(rows), STARTED), texts, pid=numbers[rows], comm=(comm, distinct)
        )

    def crash(self) -> Part | None:
        """The crash itself: one row."""
        if not self.chosen.has(CRASHED, CRASH):
            return None
        time = np.array([self.clocks.crash_ns], dtype=np.int64)
        if not self._inside(time)[0]:
            return None

        def texts(wanted: I64) -> list[str | None]:
            said = panic_message(pd.Series(read_log(self.kernel).texts().tolist(), dtype="str"))
            return [said for _ in wanted]

        self.errors[CRASH] = {"clock": "printk", "error_ns": 0}
        return Part(CRASH, time, _same(1, CRASHED), texts, cpu=np.array([self._crashed_on()], dtype=np.int64))

    def _crashed_on(self) -> int:
        """The CPU that panicked, -1 where none did (kernel/panic.c)."""
        try:
            with self.kernel.quiet():
                number = self.kernel.word("panic_cpu", 4)
        except KernlabError:
            return -1
        return number if number < len(self.kernel.percpu_offsets) else -1

    @cached_property
    def _kinds(self) -> list[int]:
        """The numbers of ftrace's events that are chosen."""
        known = self._ftrace._formats.names
        return [number for number, (name, system) in known.items() if name and self.chosen.has(name, system)]

    @cached_property
    def _clock_of(self) -> dict[str, str]:
        return clocks_of(self._ftrace)

    @cached_property
    def _recorded(self) -> set[str]:
        return set(recorded_names(self._ftrace))

    def ftrace(self, instance: str, label: str) -> Part | None:
        """The events of a trace instance."""
        if (self.chosen.wanted is not None and not self._kinds) or instance not in self._recorded:
            return None
        clock = self._clock_of.get(instance) or "local"
        rows = Rows(self._ftrace, instance)
        try:
            self.clocks.to_axis(clock, np.zeros(0, dtype=np.int64))
        except KernlabError as error:
            self.kernel.lost(f"{label}: its {len(rows):,} events are left out: {error}")
            return None
        for cpu, overwritten, row in first_kept(self._ftrace, instance):
            stamp, bound = self.clocks.to_axis(clock, self._ftrace._trace.time[[row]])
            since = f"{stamp[0] / 1e9:,.6f} s" if bound[0] < FAR else "the first that is left"
            self.kernel.lost(
                f"{label}, CPU {cpu}: {overwritten:,} events were overwritten; what happened before {since} is not "
                "known"
            )
        if self.chosen.wanted is not None:
            rows.keep(np.isin(rows.kinds, self._kinds))
        time = self._placed(clock, rows.times, label)
        inside = self._inside(time)
        rows.keep(inside)
        fields = (
            rows.fields(self.kernel.token, _COMMON) if self.typed and self.chosen.wanted is not None else []
        )
        return Part(
            label, time[inside], rows.events(), rows.texts, rows.cpus, rows.pids, rows.comms(), fields
        )

    def blktrace(self, channel: str, label: str) -> Part | None:
        """The events of a block trace, those that a reader had among them where they are still there."""
        letters = {letter for letter, event in BLOCK_EVENTS.items() if self.chosen.has(event, "block")}
        if not letters:
            return None
        trace = self._relay.blktrace(channel, mode="all")
        events = trace.events
        self.kernel.lost(*events.attrs.get("problems", []))
        rows = np.flatnonzero(events["action"].isin(letters).to_numpy())
        time = self._placed("mono", events["timestamp"].to_numpy().view(np.int64)[rows], label)
        inside = self._inside(time)
        rows, time = rows[inside], time[inside]
        some = events.iloc[rows]
        action = some["action"].cat
        names = [BLOCK_EVENTS.get(str(one), f"blktrace_{one}") for one in action.categories]
        comm, distinct = pd.factorize(some["comm"])
        fields = (
            [(name, _plain(some[column])) for column, name in _BLOCK_FIELDS.items()]
            if self.typed and self.chosen.wanted is not None
            else []
        )
        return Part(
            label,
            time,
            (action.codes.to_numpy().astype(np.int64), names),
            lambda wanted: _requests(some.iloc[wanted]),
            some["cpu"].to_numpy().astype(np.int64),
            some["pid"].to_numpy().astype(np.int64),
            (comm.astype(np.int64), [str(one) for one in distinct]),
            fields,
        )


#: Columns that every row has.
_COMMON = ("time", "before_crash", "source", "cpu", "pid", "comm", "event", "text", "device")


def _is_meant(label: str, name: object) -> bool:
    """Is a source meant by a name: its own, that of its kind, "ftrace:" (the global instance), or a pattern?"""
    if not isinstance(name, str):
        return False
    if is_pattern(name):
        return fnmatchcase(label, name)
    return label == (name.removesuffix(":") if name == f"{FTRACE}:" else name) or (
        name in (FTRACE, BLKTRACE) and label.startswith(f"{name}:")
    )


def _same(length: int, event: str) -> tuple[I64, list[str]]:
    return np.zeros(length, dtype=np.int64), [event]


def _plain(values: pd.Series[Any]) -> Any:
    """A column that can be joined with others of its name."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return pd.array(values.to_numpy(dtype=object), dtype="str")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu":
        return pd.array(values.to_numpy(), dtype="UInt64" if values.dtype.kind == "u" else "Int64")
    return values.array


def _requests(rows: pd.DataFrame) -> list[str | None]:
    """What block events say: "8,0 WS 65538 + 8 [dd]", as the tracepoints do; a message is itself."""
    found: list[str | None] = []
    columns = (rows[name].tolist() for name in ("device", "rwbs", "sector", "bytes", "comm", "message"))
    for device, kind, sector, size, comm, message in zip(*columns, strict=True):
        if isinstance(message, str):
            found.append(message)
            continue
        who = f" [{comm}]" if isinstance(comm, str) else ""
        found.append(f"{str(device).replace(':', ',')} {kind} {sector} + {size // 512}{who}")
    return found
