"""A relay channel's counters in, what it refused or overwrote out: in words, and as `blktrace_losses` wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.traces.blktrace.losses import Counted, Counts
from kernlab.traces.blktrace.trace import BlkTrace
from kernlab.traces.relay.buffers import Buffer
from kernlab.traces.relay.dump import Channel
from kernlab.walk.cpus import percpu_many

#: (number of the sub-buffer, where in the trace's bytes it begins), of one CPU.
Marks = Sequence[tuple[int, int]]


def overwritten(channel: Channel, buffers: Sequence[Buffer]) -> list[str]:
    """What was written over in some of a channel's buffers before anybody read it, a sentence each."""
    return [
        f"{channel.name}, CPU {buffer.cpu}: {lost:,} sub-buffers were overwritten before anybody read them; what is "
        "here begins after those"
        for buffer in buffers
        if not buffer.damage and (lost := buffer.counters.lost_subbufs)
    ]


def told(channel: Channel, buffers: Sequence[Buffer]) -> list[str]:
    """What is missing among the bytes of some of a channel's buffers, a sentence each."""
    found = overwritten(channel, buffers)
    for buffer in buffers:
        if buffer.damage:
            continue
        who = f"{channel.name}, CPU {buffer.cpu}"
        if buffer.dropped:
            end = ", and it was still full" if buffer.counters.full else ""
            found.append(f"{who}: {buffer.dropped:,} writes were refused for lack of room{end}")
        elif buffer.counters.full:
            found.append(f"{who}: the buffer was full, so what came after its last bytes was refused")
    if channel.dropped and not any(buffer.dropped for buffer in buffers):
        found.append(f"{channel.name}: its client counts {channel.dropped:,} events as dropped")
    return found


def count(
    kernel: Kernel, channel: Channel, trace: BlkTrace, marks: Mapping[int, tuple[int, Marks]]
) -> Counts:
    """What the kernel counted of a blktrace channel (struct blk_trace, struct rchan_buf).

    marks: for each CPU the number of its stream in `trace`, and where the sub-buffers in it begin.
    """
    record = StructArray(kernel, "struct blk_trace", [channel.private] if channel.private else [])
    # Linux 7.x: blk_trace.version came with the second version of records, whose writers number an event before they
    # look for room. Asked only where the counts do not tell.
    found = Counts(refused=channel.dropped, numbers_first=True if record.has("version") else None)
    numbers = _numbers(kernel, channel, [buffer.cpu for buffer in channel.buffers])
    for buffer in channel.buffers:
        if buffer.damage or buffer.cpu not in marks:
            continue
        stream, own = marks[buffer.cpu]
        chance = _chance(trace, stream, own, buffer)
        counters = buffer.counters
        found.cpus[buffer.cpu] = Counted(
            numbered=numbers.get(buffer.cpu),
            refused=buffer.dropped,
            full=counters.full,
            chance=chance,
            before=chance is None and counters.produced >= counters.n_subbufs and not counters.full,
        )
    return found


def _numbers(kernel: Kernel, channel: Channel, cpus: Sequence[int]) -> dict[int, int]:
    """The last number that each CPU gave to an event (blk_trace.sequence)."""
    record = StructArray(kernel, "struct blk_trace", [channel.private] if channel.private else [])
    if not record.has("sequence") or not len(record):
        return {}
    where = record["sequence"]
    words, read = kernel.words(
        percpu_many(kernel, where.values, np.array(cpus, dtype=np.int64)).reshape(-1),
        what="CPUs' numbers of events",
    )
    known = read & bool(where.valid[0])
    return {cpu: int(word) for cpu, word, good in zip(cpus, words, known, strict=True) if good}


def _chance(
    trace: BlkTrace, stream: int, marks: Marks, buffer: Buffer
) -> tuple[int | None, int | None] | None:
    """Between which times a buffer may have been full and emptied again, None where that was never.

    Events are refused only where a sub-buffer ends, and not before all were filled once (kernel/relay.c,
    relay_switch_subbuf).
    """
    counters = buffer.counters
    last = counters.produced - (1 if counters.full else 0)
    begins = [at for number, at in marks if counters.n_subbufs <= number <= last and at > marks[0][1]]
    if not begins:
        return None
    return trace.times_around(stream, begins[0])[0], trace.times_around(stream, begins[-1])[1]
