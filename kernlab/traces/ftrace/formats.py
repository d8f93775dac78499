"""Formats of trace events: what tracefs' `events/SYSTEM/NAME/format` says, and how events are chosen by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kernlab.errors import KernlabError
from kernlab.traces.ftrace.source import NATIVE, Machine
from kernlab.util.names import distinct
from kernlab.util.text import few


@dataclass(frozen=True)
class Field:
    """A field of an event's record: `offset` and `size` in bytes from the record's start.

    `length` is the number of elements of an array, 0 where the kernel names none, -1 where it keeps no such number; the
    size of an array that ends the record is 0.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    length: int = -1
    machine: Machine = NATIVE

    @property
    def is_dynamic(self) -> bool:
        """Whether it says where the value lies: `__data_loc` from the record's start, `__rel_loc` from the field."""
        return self.type.startswith(("__data_loc ", "__rel_loc "))

    @property
    def element(self) -> str:
        """The C type of the value, or of an array's elements: `char` of `__data_loc char[]`."""
        text = self.type
        if self.is_dynamic:
            text = text.partition(" ")[2]
        return text.partition("[")[0].strip()

    @property
    def is_array(self) -> bool:
        """Whether it holds several values."""
        return "[" in self.type

    def declaration(self) -> str:
        """As tracefs writes it: `char prev_comm[16]` (trace_events.c, f_show)."""
        before, bracket, after = self.type.partition("[")
        if not bracket or self.type.startswith("__data_loc"):
            return f"{self.type} {self.name}"
        if self.length < 0:
            # Linux commit b6c7abd1c28a ("tracing: Fix TASK_COMM_LEN in trace event format file") (in v6.2, backported)
            # keeps the number; before, the words of the source stand there.
            return f"{before.rstrip()} {self.name}[{after}"
        return f"{before.rstrip()} {self.name}[{self.length or ''}]"


@dataclass(frozen=True)
class Format:
    """An event's format. `system` is its folder in tracefs, `print_fmt` the format and arguments of its text."""

    id: int
    name: str
    system: str
    print_fmt: str
    fields: tuple[Field, ...]

    def field_names(self, taken: Collection[str] = ()) -> list[str]:
        """The fields' names, each once, whatever the list of them says; one that is `taken` is field_NAME."""
        names = (f"field_{field.name}" if field.name in taken else field.name for field in self.fields)
        return [str(name) for name in distinct(names)]

    def text(self, common: Iterable[Field]) -> str:
        """The file `format` of tracefs (trace_events.c, f_show)."""
        lines = [f"name: {self.name}", f"ID: {self.id}", "format:"]
        lines += [_line(field) for field in common]
        lines += ["", *(_line(field) for field in self.fields), "", f"print fmt: {self.print_fmt}", ""]
        return "\n".join(lines)


def _line(field: Field) -> str:
    where = f"offset:{field.offset};\tsize:{field.size};\tsigned:{int(field.signed)};"
    return f"\tfield:{field.declaration()};\t{where}"


class Formats(ABC):
    """Events by number (`trace_entry.type`): what a dump's kernel has, or a file brings with it."""

    @property
    @abstractmethod
    def names(self) -> dict[int, tuple[str, str]]:
        """(name, system) of every event by its number; what cannot be read is ''."""

    @property
    @abstractmethod
    def common(self) -> tuple[Field, ...]:
        """The fields that begin every record, as they are declared (ftrace_common_fields)."""

    @abstractmethod
    def get(self, numbers: Iterable[int]) -> dict[int, Format]:
        """The formats of events by number; a number that no event has is left out."""

    def ids(self, name: str) -> list[int]:
        """Numbers of the events of a name, `sched_switch` or `sched:sched_switch`."""
        system, colon, event = name.rpartition(":")
        return [
            number
            for number, (known, group) in self.names.items()
            if known == event and (not colon or group == system)
        ]


def require(formats: Formats, name: str, there: Iterable[str]) -> list[int]:
    """`formats.ids(name)`; raises KernlabError, naming events that the trace holds, where no event has the name."""
    ids = formats.ids(name)
    if not ids:
        import difflib

        held = sorted(set(there))
        known = {event for event, _ in formats.names.values() if event}
        near = difflib.get_close_matches(name.rpartition(":")[2], known, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        holds = f" The trace holds: {few(held, 20)}." if held else " The trace is empty."
        raise KernlabError(f"this kernel has no trace event {name!r}{hint}.{holds}".replace("?.", "?"))
    return ids


def choose(formats: Formats, wanted: str | Iterable[str], there: Iterable[str]) -> list[int]:
    """The numbers of events by names ("sched_switch", "sched:sched_switch") and patterns ("irq_*", "block:*").

    Raises KernlabError for a name that no event has, and a pattern that fits none.
    """
    found: dict[int, None] = {}
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if not is_pattern(name):
            found |= dict.fromkeys(require(formats, name, there))
            continue
        fits = [
            number
            for number, (event, system) in formats.names.items()
            if event and fnmatchcase(f"{system}:{event}" if ":" in name else event, name)
        ]
        if not fits:
            raise KernlabError(f"this kernel has no trace event that matches {name!r}")
        found |= dict.fromkeys(fits)
    return list(found)


def is_pattern(name: str) -> bool:
    """Is this a pattern of names (with *, ? or [])?"""
    return any(mark in name for mark in "*?[")
