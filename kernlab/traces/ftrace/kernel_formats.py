"""Formats of trace events from the dump itself.

Mirrors kernel/trace/trace_events.c (ftrace_events, trace_get_fields) and trace_syscalls.c. The list holds events of
modules, kprobes and synthetic ones, too. Fields are read when an event is first looked at: a kernel has 1,400 events
and more, a trace a handful of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.traces.ftrace.formats import Field, Format, Formats
from kernlab.util.text import few
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

_LONGEST_FORMAT = 1 << 17


class KernelFormats(Formats):
    """All events of a dump's kernel."""

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
        """See Formats.names."""
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

    @cached_property
    def common(self) -> tuple[Field, ...]:
        """See Formats.common."""
        head = self._kernel.symbols.get("ftrace_common_fields")
        return self._fields([head])[0] if head is not None else ()

    def get(self, numbers: Iterable[int]) -> dict[int, Format]:
        """See Formats.get."""
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
        for row, (number, fields_of) in enumerate(zip(numbers, self._fields(where), strict=True)):
            name, system = self.names[number]
            self._known[number] = Format(number, name, system, str(prints.values[row]), fields_of)

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
