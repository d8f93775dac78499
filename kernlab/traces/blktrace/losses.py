"""What a block trace's numbers and its channel's counters say in, which events are missing out, and from when on.

Two ways of counting are about. Kernels before 7.x number an event after they found room for it, so that what was
refused leaves no gap; those since number it before. The last number that the kernel gave, beside the last one that lies
in the buffer, tells which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.traces.blktrace.counts import Key, Run
from kernlab.traces.blktrace.names import device_name
from kernlab.util.text import few

#: Between which times (ns); None: from the beginning, to the end.
Span = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that a trace lacks.

    cpu: whose, None where that is not known. events: how many, None likewise. since: time (ns) of the last event before
    them, None where they may be missing from the beginning on. until: of the first event after them, None where they
    may be missing to the end. `told` is one sentence about it.
    """

    device: str
    cpu: int | None
    events: int | None
    since: int | None
    until: int | None
    told: str

    def plain(self) -> dict[str, Any]:
        """As it stands in attrs["lost"] of a table."""
        return {
            "device": self.device,
            "cpu": self.cpu,
            "events": self.events,
            "since_ns": self.since,
            "until_ns": self.until,
        }


@dataclass(frozen=True, slots=True)
class Counted:
    """What the kernel counted of one CPU's buffer.

    numbered: the last number that it gave to an event; refused: events that found no room; None where nothing counts
    that. full: were events being refused at the end? chance: times (ns) between which the buffer may have been full
    before (of them None: from the beginning, to the end); None where it never was. before: may it have been full before
    the first of the events that are kept?
    """

    numbered: int | None = None
    refused: int | None = None
    full: bool = False
    chance: Span | None = None
    before: bool = False


@dataclass(slots=True)
class Counts:
    """What the kernel counted of a channel: per CPU, and what it `refused` on all of them (None: nothing counts that).

    numbers_first: does this kernel number an event before it looks for room? None where only the counts can tell.
    """

    cpus: dict[int, Counted] = field(default_factory=dict)
    refused: int | None = None
    numbers_first: bool | None = None
    #: What tells `refused`.
    source: str = "its channel's own count"


def moment(ns: int) -> str:
    """A time of the trace in words: "17.718123 s"."""
    return f"{ns / 1e9:.6f} s"


def losses(runs: Mapping[Key, Run], counters: Counts | None) -> tuple[list[Loss], list[str]]:
    """(what is missing, what else is to be said), by gaps in the numbers and by what was counted."""
    found = [_gap(key, run) for key, run in sorted(runs.items()) if run.lost]
    if counters is None:
        return found, []
    by_cpu = {cpu: run for (_, cpu), run in sorted(runs.items())}
    after = {cpu: _after(by_cpu[cpu], counted) for cpu, counted in counters.cpus.items() if cpu in by_cpu}
    ended = [cpu for cpu, counted in sorted(counters.cpus.items()) if counted.full or after.get(cpu)]
    gone = sum(run.lost for run in runs.values()) + sum(after.values())
    # A gap, or a number that was given and lies nowhere, is an event that was numbered and then refused.
    numbers_first = True if gone else False if ended else counters.numbers_first
    told = [counted.refused for counted in counters.cpus.values() if counted.refused is not None]
    refused = sum(told) if told else counters.refused
    rest = max((refused or 0) - gone, 0)
    chances = {cpu: counted.chance for cpu, counted in counters.cpus.items() if counted.chance is not None}
    if rest and not numbers_first and len(ended) == 1 and chances.keys() <= set(ended):
        after[ended[0]], rest = after.get(ended[0], 0) + rest, 0
    device = next((device_name(number) for number, _ in sorted(runs)), "")
    found += [_end(device, cpu, after.get(cpu, 0), counters.cpus[cpu].full, by_cpu.get(cpu)) for cpu in ended]
    more = []
    if ended and chances and not numbers_first:
        # What is certain stands above; that it happened before as well cannot be known.
        spans = few([f"CPU {cpu} {_span(chance)}" for cpu, chance in sorted(chances.items())])
        more = [f"Where a buffer was full before, too, that left no gap in the numbers (possible: {spans})"]
    if not rest:
        return found, more
    many = f"{device}: {rest:,}".removeprefix(": ")
    earlier = not ended and not chances and any(counted.before for counted in counters.cpus.values())
    if numbers_first or earlier:
        return found, [
            f"{many} more events were dropped before those that are kept, or were notes, which have no numbers"
        ]
    text = f"{many} events were dropped by {counters.source}, and left no gap in the numbers"
    if ended:
        others = sorted(chances.keys() - set(ended))
        perhaps = (
            f", some perhaps of CPU {few([str(cpu) for cpu in others], between=' and ')}" if others else ""
        )
        return found, [
            f"{text}: they are of CPU {few([str(cpu) for cpu in ended], between=' and ')}{perhaps}",
            *more,
        ]
    return [*found, _somewhere(device, rest, chances, text)], []


def doubt(missing: Sequence[Loss]) -> list[str]:
    """What losses make of requests that have no completion, as a sentence for attrs["problems"] (none without any)."""
    if not missing:
        return []
    since = _bound((loss.since for loss in missing), min)
    when = "Anywhere in this trace" if since is None else f"From {moment(since)} on"
    return [f"{when} a request without a completion may have been completed by an event that was dropped"]


def _after(run: Run, counted: Counted) -> int:
    """How many numbers the kernel gave after the last that lies in the buffer."""
    if counted.numbered is None:
        return 0
    after = (counted.numbered - run.last) % (1 << 32)
    # A number that is ahead of the kernel's is damage.
    return after if after < 1 << 31 else 0


def _gap(key: Key, run: Run) -> Loss:
    device, cpu = device_name(key[0]), key[1]
    known = run.since is not None and run.until is not None
    between = f", between {moment(run.since or 0)} and {moment(run.until or 0)}" if known else ""
    text = f"{device}, CPU {cpu}: {run.lost:,} events were dropped (gaps in the sequence numbers{between})"
    return Loss(device, cpu, run.lost, run.since, run.until, text)


def _end(device: str, cpu: int, count: int, full: bool, run: Run | None) -> Loss:
    """What is missing from the last event of a CPU on."""
    since = None if run is None else run.last_time
    when = "from the beginning" if since is None else f"from {moment(since)}"
    why = "its buffer was full" if full else "the kernel numbered more than lie in its buffer"
    many = f"{count:,} events" if count else "events"
    text = f"{device}, CPU {cpu}: {many} were dropped, for {why}: {when} on its events are missing"
    return Loss(device, cpu, count or None, since, None, text.removeprefix(", "))


def _somewhere(device: str, count: int, chances: Mapping[int, Span], text: str) -> Loss:
    """What was refused and left no gap: of which CPUs it may be, and when at the earliest."""
    since, until = (
        _bound((span[place] for span in chances.values()), min if place == 0 else max) for place in (0, 1)
    )
    whose = f" of CPU {few([str(cpu) for cpu in sorted(chances)], between=' or ')}" if chances else ""
    when = "from the beginning on" if since is None else f"from {moment(since)} on"
    end = "" if until is None else f", up to {moment(until)},"
    told = f"{text}: {when}{end} events{whose} may be missing"
    return Loss(device, next(iter(chances)) if len(chances) == 1 else None, count, since, until, told)


def _span(chance: Span) -> str:
    since, until = chance
    start = "from the beginning on" if since is None else f"from {moment(since)} on"
    return start if until is None else f"{start} up to {moment(until)}"


def _bound(times: Iterable[int | None], pick: Callable[[list[int]], int]) -> int | None:
    """The least (or most) of some times, None where there are none or one of them is not known."""
    all_times = list(times)
    known = [time for time in all_times if time is not None]
    return pick(known) if known and len(known) == len(all_times) else None
