"""The sections of a report that need traces: the disks, and the last seconds before the crash."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report import io_words
from kernlab.report.log_lines import telling
from kernlab.report.parts import Figure, Items, Part, Section, Table, Words, seconds

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A replay of less tells nothing that the log does not.
_FEWEST_EVENTS = 20
_MOST_MARKS = 12
#: A level of the log (include/linux/kern_levels.h, KERN_WARNING); errors are marks of the replay.
_WARNING = 4


def disks(dump: Dump, *, in_depth: bool = False) -> Section:
    """What the disks did, from a block trace in the dump; nothing without one."""
    said = io_words.answer(dump)
    if not said:
        return Section("What the disks did")
    parts: list[Part] = [Items(said)]
    parts += _pictures(dump, in_depth=in_depth)
    under_way = [
        disk.open.assign(disk=disk.name, half=disk.middle) for disk in io_words.disks(dump) if len(disk.open)
    ]
    if under_way:
        parts.append(
            Table(
                "Requests that were under way when the machine died",
                pd.concat(under_way).sort_values("age", ascending=False, kind="stable").head(10),
                {
                    "disk": "disk",
                    "op": "what",
                    "bytes": "size",
                    "process": "made by",
                    "age": "for",
                    "half": "half of that disk's took more than",
                },
            )
        )
    return Section("What the disks did", parts)


def _pictures(dump: Dump, *, in_depth: bool) -> list[Part]:
    """Figures of the busiest disk: of the same requests and the same time as the words and the replay have."""
    from kernlab.plots.io.figures import depth_of, iops_of, latency_of, throughput_of
    from kernlab.plots.replay.disks import alone, disks_of
    from kernlab.plots.replay.scene import window

    replay = dump.replay()
    first, last, _ = window(replay, None, None)
    busiest = next(iter(disks_of(replay.requests, first, last)), None)
    if busiest is None:
        return []
    requests = alone(replay, busiest)
    disk = show_controls(busiest)
    came_back = _counted(int((~requests.pending).sum()), "request")
    lasting = seconds(pd.Timedelta(last - first, unit="ns"))
    parts: list[Part] = [
        Figure(
            latency_of(requests),
            f"How long {disk} took for each of its {came_back} that came back, in the {lasting} before the crash: "
            f"points that lie high are those that somebody waited for.{_earlier(dump, busiest)}",
        ),
        Figure(
            depth_of(requests),
            f"How many requests {disk} worked on at a time, in these {lasting}: a flat top is a queue that is always "
            "full.",
        ),
    ]
    if in_depth:
        (offsets,) = dump.plot.replay(lanes=[f"offsets {busiest}"])
        parts += [
            Figure(offsets, f"Who read and wrote where on {disk}, over time."),
            Figure(iops_of(requests), f"Requests that {disk} completed each second."),
            Figure(throughput_of(requests), f"How much {disk} read and wrote each second."),
        ]
    return parts


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _earlier(dump: Dump, disk: str) -> str:
    """Why older requests of a disk are not counted, where that is so."""
    table = io_words.requests(dump)
    assert table is not None
    sources = set(table.loc[(table["disk"].astype("str") == disk).to_numpy(), "source"].astype("str"))
    channels = dump.relay.channels
    was_read = set(channels.loc[(channels["consumed"].fillna(0) > 0).to_numpy(), "name"].astype("str"))
    if sources and sources <= {f"blktrace:{name}" for name in was_read}:
        return (
            " What a reader of the trace (blktrace) had taken away before is not counted, here and above: of that "
            "time the dump has only a part."
        )
    return ""


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
            "Where it is hatched, nothing is known.",
        ),
    ]
    marks = _marks(dump)
    if len(marks):
        shown = marks.tail(_MOST_MARKS)
        columns = {"before_crash": "before the crash", "kind": "kind", "text": "what"}
        parts.append(Table(f"What happened, {len(shown)} of {len(marks):,}", shown, columns))
    else:
        parts.append(Words("Nothing else was marked in that time."))
    return Section("The last seconds", parts)


def in_words(dump: Dump) -> Section:
    """What `disks` and `last_seconds` say without their figures; nothing without traces."""
    said = io_words.answer(dump)
    return Section("Traces", [Items(said), Table("Marks", _marks(dump), {"text": "what"})] if said else [])


def _marks(dump: Dump) -> pd.DataFrame:
    """The replay's marks and what the log warned of, by time, the crash last; requests that were under way as any
    other are left out, since those are no event."""
    replay = dump.replay()
    marks = replay.marks
    late = {int(pd.Timedelta(time).value) for disk in io_words.disks(dump) for time in disk.overdue["start"]}
    unanswered = marks["kind"] == "unanswered request"
    marks = marks[~unanswered | marks["time"].map(lambda time: int(pd.Timedelta(time).value) in late)]
    marks = marks.assign(
        text=marks["text"].str.replace("it was not recording any more", "tracing was switched off")
    )
    log = dump.log
    text = log["text"].fillna("")
    begin = marks["time"].min() if len(marks) else replay.trusted_from
    warned = log[(log["level"] == _WARNING) & (log["timestamp"] >= begin) & text.map(_is_said)]
    warned = warned[warned["timestamp"] < replay.crash].tail(_MOST_MARKS // 3)
    more = pd.DataFrame(
        {
            "before_crash": replay.crash - warned["timestamp"],
            "kind": "log warning",
            "text": warned["text"],
        }
    )
    found = pd.concat([marks[["before_crash", "kind", "text"]], more])
    order = found.assign(last=found["kind"] == "crash").sort_values(
        ["last", "before_crash"], ascending=[True, False], kind="stable"
    )
    return order.drop(columns="last").reset_index(drop=True)


def _is_said(line: str) -> bool:
    """Is a line of the log one that says something by itself, and no part of a report of many lines?"""
    return bool(re.match(r"[\w .-]+: [A-Za-z]", line)) and bool(telling([f"{'':15}{line}"]))
