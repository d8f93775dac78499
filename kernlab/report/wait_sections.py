"""The sections of a report that tell of waiting: who waits for whom, drawn and as a table, and what all threads did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.report.parts import Figure, Folded, Markup, Part, Section, Table, Words

if TYPE_CHECKING:
    from kernlab.dump import Dump

_TOP = 15
_COLUMNS = {
    "comm": "thread",
    "pid": "pid",
    "state": "state",
    "since": "waiting for",
    "type": "waits for a",
    "name": "named",
    "holder_comm": "which is held by",
    "holder_pid": "pid",
}


def waits(dump: Dump) -> Section:
    """Who waits for whom; nothing where nobody waits for a thread, and nobody sleeps where no signal wakes him."""
    table = dump.waits
    graph = table.graph()
    # Who sleeps for a set time waits for nobody.
    stuck = table[
        ((table["state"] == "D") & (table["type"] != "timer"))
        | (table["holder_pid"].notna() & (table["type"] != "child"))
    ]
    if not len(stuck):
        return Section("Who waits for whom")
    parts: list[Part] = []
    if len(graph.edges):
        parts += [
            Words(
                "Arrows lead from who waits (round) over what is waited for (square) to who has it. "
                + (
                    "A circle is a deadlock: none of its threads will ever go on."
                    if graph.cycles
                    else "There is no circle: no deadlock. Where all arrows end is who keeps the others waiting."
                )
            ),
            Markup(f"<figure>{graph.to_svg()}</figure>", repr(graph)),
        ]
    top = stuck.sort_values("since", ascending=False, kind="stable").head(_TOP)
    # Who waits for a disk or an event waits for no thread.
    held = stuck["holder_pid"].notna().any()
    columns = {name: head for name, head in _COLUMNS.items() if held or not name.startswith("holder")}
    if not held:
        parts.append(
            Words("None of them waits for another thread: each waits for a disk, a device or an event.")
        )
    parts.append(Table(f"Threads that wait, the longest first, {len(top)} of {len(stuck):,}", top, columns))
    return Section("Who waits for whom", parts)


def all_threads(dump: Dump) -> Section:
    """What all threads were doing, as a flame graph and as groups of equal stacks."""
    groups = dump.stacks.groups()
    parts: list[Part] = [
        Figure(
            dump.plot.stacks(),
            "Every thread counts once, callers stand below what they called: the widest towers are what most did.",
        )
    ]
    blocked = dump.stacks[dump.stacks["state"] == "D"]
    if len(blocked):
        groups = blocked.groups()
        parts.append(Words("Threads that no signal can wake (state D), equal stacks together:"))
    shown = groups.head(8)
    parts.append(
        Folded(
            f"The {len(shown)} most frequent stacks of {len(groups):,}",
            [Table("Equal stacks", shown, {"count": "threads", "comms": "names", "frames": "stack"})],
        )
    )
    return Section("What everybody was doing", parts)
