"""What a trace instance was told to record: which events are enabled, and which of them a filter thins out.

Mirrors include/linux/trace_events.h (struct trace_event_file, struct event_filter) and kernel/trace/trace.h
(trace_array.filtered_pids): an instance has such a file for each event.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.traces.ftrace.buffers import Instance
from kernlab.traces.ftrace.formats import Formats
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

_LONGEST_FILTER = 1 << 12


@dataclass(frozen=True, slots=True)
class Enabled:
    """One event that an instance records: `filter` is its filter's text, '' where every event is kept, None where that
    is not known."""

    id: int
    name: str
    system: str
    filter: str | None


def enabled_events(kernel: Kernel, instance: Instance, formats: Formats) -> dict[str, Enabled]:
    """The events that an instance records, by name; none where its list of them cannot be read."""
    arrays = StructArray(kernel, "struct trace_array", [instance.address])
    if not arrays.has("events"):
        return {}
    _, files = list_entries(
        kernel,
        arrays.follow("events").addresses,
        "struct trace_event_file",
        "list",
        what="the events of a trace instance",
    )
    enabler = kernel.types.enumerator_or_none("EVENT_FILE_FL_ENABLED") or 1
    on = files["flags"].has(enabler).true
    files = files[on]
    number = files["event_call->event.type"]
    # A list of processes thins out every event (set_event_pid).
    by_pid = any(
        bool(pointer)
        for name in ("filtered_pids", "filtered_no_pids")
        if arrays.has(name)
        for pointer in arrays[name].tolist()
    )
    pointer = files["filter"]
    texts = c_strings(
        kernel,
        StructArray(kernel, "struct event_filter", pointer.filled(0), pointer.true)["filter_string"],
        _LONGEST_FILTER,
    )
    found: dict[str, Enabled] = {}
    for row, one in enumerate(number.tolist()):
        name, system = formats.names.get(one, ("", "")) if one is not None else ("", "")
        if not name:
            continue
        text: str | None = ""
        if pointer[row] is None or (pointer[row] and texts[row] is None):
            text = None
        elif pointer[row]:
            text = texts[row]
        if by_pid:
            text = f"{text or ''} (only of some processes: set_event_pid)".strip()
        found[name] = Enabled(int(one), name, system, text)
    return found
