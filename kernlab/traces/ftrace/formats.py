"""Formats of trace events, from the dump itself: what tracefs' `events/SYSTEM/NAME/format` says.

Mirrors kernel/trace/trace_events.c (ftrace_events, trace_get_fields) and trace_syscalls.c. The list holds events of
modules, kprobes and synthetic ones, too. Fields are read when an event is first looked at: a kernel has 1,400 events
and more, a trace a handful of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.util.names import distinct
from kernlab.util.text import few
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

_LONGEST_FORMAT = 1 << 17


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
    module: bool = False

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


class Formats:
    """All events of a dump's kernel by number (`trace_entry.type`)."""

    def __init__(self, kernel: Kernel):
        self._kernel = kernel
        self._known: dict[int, Format] = {}

    @cached_property
    def _calls(self) -> StructArray:
        head = self._kernel.symbols.get("ftrace_events")
        if head is None:
            self._kernel.lost("the formats of trace events are not known (no symbol ftrace_events)")
            return StructArray(self._kernel, "struct trace_event_call", np.zeros(0, dtype=np.uint64))
        _, calls = list_entries(
            self._kernel,
            [head],
            "struct trace_event_call",
            "list",
            what="the list of trace events",
        )
        return calls

    @cached_property
    def _rows(self) -> dict[int, int]:
        """Event number to row of `_calls`, the first that has it."""
        rows: dict[int, int] = {}
        twice: list[int] = []
        for row, number in enumerate(self._calls["event.type"]):
            if number is not None and rows.setdefault(number, row) != row:
                twice.append(number)
        if twice:
            numbers = few([str(number) for number in sorted(set(twice))])
            self._kernel.lost(
                f"{len(twice):,} trace events have the number of another one ({numbers}): damage; the first is used"
            )
        return rows

    @cached_property
    def names(self) -> dict[int, tuple[str, str]]:
        """(name, system) of every event by its number; what cannot be read is ''."""
        calls = self._calls
        enumerator = self._kernel.types.enumerator_or_none
        tracepoint, custom = enumerator("TRACE_EVENT_FL_TRACEPOINT"), enumerator("TRACE_EVENT_FL_CUSTOM")
        flags = calls["flags"]
        own = calls["name"].values
        # trace_event_name(): a custom event has a name of its own though it uses a tracepoint (v5.18).
        uses = flags.has(tracepoint or 0).true
        if custom:
            uses &= ~flags.has(custom).true
        points = StructArray(self._kernel, "struct tracepoint", own, uses)
        pointer = np.where(uses, points["name"].values, own)
        names = c_strings(self._kernel, pointer, 256)
        systems = c_strings(self._kernel, calls.follow("class", "struct trace_event_class")["system"], 256)
        return {
            number: (str(names.values[row]), str(systems.values[row])) for number, row in self._rows.items()
        }

    def ids(self, name: str) -> list[int]:
        """Numbers of the events of a name, `sched_switch` or `sched:sched_switch`."""
        system, colon, event = name.rpartition(":")
        return [
            number
            for number, (known, group) in self.names.items()
            if known == event and (not colon or group == system)
        ]

    @cached_property
    def common(self) -> tuple[Field, ...]:
        """The fields that begin every record, as they are declared (ftrace_common_fields)."""
        head = self._kernel.symbols.get("ftrace_common_fields")
        return self._fields([head])[0] if head is not None else ()

    def __contains__(self, number: int) -> bool:
        return number in self._rows

    def get(self, numbers: Iterable[int]) -> dict[int, Format]:
        """The formats of events by number; a number that no event has is left out."""
        wanted = [number for number in dict.fromkeys(numbers) if number in self._rows]
        missing = [number for number in wanted if number not in self._known]
        if missing:
            self._read(missing)
        return {number: self._known[number] for number in wanted}

    def _read(self, numbers: list[int]) -> None:
        calls = self._calls[np.array([self._rows[number] for number in numbers])]
        classes = calls.follow("class", "struct trace_event_class")
        where = classes.follow("fields").addresses.copy()
        # trace_get_fields(): system calls keep the fields of their arguments with what describes the call.
        enter = self._kernel.symbols.get("syscall_get_enter_fields")
        getter = classes["get_fields"]
        if enter is not None and (getter.values == np.uint64(enter)).any():
            calls_data = StructArray(self._kernel, "struct syscall_metadata", calls["data"].values)
            fields = calls_data.follow("enter_fields").addresses
            where = np.where(getter.values == np.uint64(enter), fields, where)
        prints = c_strings(self._kernel, calls["print_fmt"], _LONGEST_FORMAT)
        start, end = (self._kernel.symbols.get(name) or 0 for name in ("_text", "_end"))
        for row, (number, fields_of) in enumerate(zip(numbers, self._fields(where), strict=True)):
            name, system = self.names[number]
            in_image = start <= int(calls.addresses[row]) < end
            self._known[number] = Format(
                number, name, system, str(prints.values[row]), fields_of, module=not in_image
            )

    def _fields(self, heads: object) -> list[tuple[Field, ...]]:
        """The fields on many lists, each in the order of declaration (they are added at the head)."""
        tops = np.ascontiguousarray(heads, dtype=np.uint64)
        owner, fields = list_entries(
            self._kernel,
            tops,
            "struct ftrace_event_field",
            "link",
            what="fields of trace events",
        )
        names = c_strings(self._kernel, fields["name"], 256)
        types = c_strings(self._kernel, fields["type"], 256)
        offset, size, signed = fields["offset"], fields["size"], fields["is_signed"]
        # Linux commit b6c7abd1c28a keeps an array's length beside its type.
        length = fields["len"] if fields.has("len") else None
        found: list[list[Field]] = [[] for _ in range(len(tops))]
        lost = 0
        for row, top in enumerate(owner.tolist()):
            name, type_, place, width = names[row], types[row], offset[row], size[row]
            if name is None or type_ is None or place is None or width is None:
                lost += 1
                continue
            if not (0 <= place < 1 << 16 and 0 <= width < 1 << 16):
                lost += 1
                continue
            count = None if length is None else length[row]
            found[top].append(
                Field(
                    name,
                    type_,
                    place,
                    width,
                    bool(signed[row]),
                    -1 if count is None else max(count, -1),
                )
            )
        if lost:
            self._kernel.lost(f"{lost:,} fields of trace events cannot be read, or are damaged")
        return [tuple(reversed(fields_of)) for fields_of in found]


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
