"""The sections of a report that need traces: the disks, and the last seconds before the crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.errors import KernlabError
from kernlab.report import io_words
from kernlab.report.parts import Figure, Items, Part, Section, Table, Words

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A replay of less tells nothing that the log does not.
_FEWEST_EVENTS = 20
_MOST_MARKS = 12


def disks(dump: Dump, *, in_depth: bool = False) -> Section:
    """What the disks did, from a block trace in the dump; nothing without one."""
    said = io_words.answer(dump)
    if not said:
        return Section("What the disks did")
    parts: list[Part] = [Items(said)]
    traces = dump.relay.block_traces
    if len(traces):
        name = traces[0]
        plot = dump.plot
        parts += [
            Figure(
                plot.io_latency(name),
                "How long the disk took for each request: points that lie high are those that somebody waited for.",
            ),
            Figure(
                plot.io_depth(name),
                "How many requests the disk worked on at a time: a flat top is a queue that is always full.",
            ),
        ]
        if in_depth:
            parts += [
                Figure(plot.io_offsets(name), "Who read and wrote where on the disk, over time."),
                Figure(plot.io_iops(name), "Requests that the disk completed each second."),
                Figure(plot.io_throughput(name), "How much the disk read and wrote each second."),
            ]
    requests = io_words.requests(dump)
    if requests is not None:
        open_ = requests[requests["end"].isna()].head(10)
        if len(open_):
            parts.append(
                Table(
                    "Requests that had not come back when the machine died",
                    open_.assign(age=dump.replay().crash - open_["start"]),
                    {"disk": "disk", "op": "what", "bytes": "size", "process": "of", "age": "open for"},
                )
            )
    return Section("What the disks did", parts)


def last_seconds(dump: Dump) -> Section:
    """The last seconds, replayed from the dump's traces; nothing where none recorded them."""
    try:
        replay = dump.replay()
        events = len(replay.running) + len(replay.requests) + len(replay.memory_by_process)
    except KernlabError:
        return Section("The last seconds")
    if events < _FEWEST_EVENTS:
        return Section("The last seconds")
    axes = dump.plot.replay()
    parts: list[Part] = [
        Figure(
            axes[0],
            "What was recorded before the crash, one lane below the other on one axis of time that ends at the crash. "
            "Hatched is what is not known.",
        ),
    ]
    marks = replay.marks
    if len(marks):
        shown = marks.tail(_MOST_MARKS)
        columns = {name: name.replace("_", " ") for name in ("before_crash", "kind", "text") if name in shown}
        parts.append(Table(f"What happened, {len(shown)} of {len(marks):,}", shown, columns))
    else:
        parts.append(Words("Nothing else was marked in that time."))
    return Section("The last seconds", parts)
