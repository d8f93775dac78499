"""Trace instances and decoded rings in, the tables that say what they are and what was lost out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.dataframes import addresses, frame, nullable
from kernlab.traces.ftrace.buffers import MAIN, Instance
from kernlab.traces.ftrace.load import Trace
from kernlab.traces.ftrace.source import Source


def instances_table(source: Source, held: Sequence[Instance], clocks: Sequence[str | None]) -> pd.DataFrame:
    """See `Ftrace.instances`; `clocks` has the name of each one's clock."""
    bytes_ = [instance.buffers.get(MAIN, (0, None))[1] for instance in held]
    there = np.array([size is not None for size in bytes_], dtype=bool)
    sizes = Column.of(np.array([size or 0 for size in bytes_], dtype=np.int64), there)
    source.lost(
        "trace instances have a clock without a name",
        mask=np.array([clock is None for clock in clocks], dtype=bool),
    )

    def flags(values: list[bool | None]) -> Any:
        return pd.array(values, dtype="boolean")

    def known(values: list[bool | None]) -> Column:
        there = np.array([value is not None for value in values], dtype=bool)
        return Column.of(np.array([bool(value) for value in values], dtype=bool), there)

    return frame(
        source,
        "ftrace instances",
        name=Column.texts([instance.name for instance in held]),
        tracer=Column.texts([instance.tracer for instance in held]),
        clock=Column.texts(clocks),
        recording=flags([instance.recording for instance in held]),
        overwrite=flags([instance.overwrite for instance in held]),
        subbuf_bytes=sizes,
        snapshot=known([instance.snapshot for instance in held]),
        persistent=known([None if i.range_start is None else i.range_start != 0 for i in held]),
        previous_boot=np.array([instance.previous for instance in held], dtype=bool),
        address=addresses(
            source,
            np.array([instance.address for instance in held], dtype=np.uint64),
            np.array([instance.address != 0 for instance in held], dtype=bool),
            target="struct trace_array",
        ),
    )


def lost_table(source: Source, trace: Trace) -> pd.DataFrame:
    """See `Ftrace.lost`."""
    rings, tallies = trace.rings, trace.tallies

    def counter(name: str) -> Any:
        return nullable(Column.ints([ring.counters.get(name) for ring in rings], name))

    return frame(
        source,
        "ftrace lost events",
        instance=pd.array(np.array([ring.instance.name for ring in rings], dtype=object), dtype="str"),
        cpu=np.array([ring.cpu for ring in rings], dtype=np.int64),
        entries=counter("entries"),
        overrun=counter("overrun"),
        read=counter("read"),
        decoded=np.array([tally.decoded for tally in tallies], dtype=np.int64),
        missing=nullable(Column.ints([tally.missing for tally in tallies], "missing events")),
        exact=np.array([tally.missing == 0 for tally in tallies], dtype=bool),
        commit_overrun=counter("commit_overrun"),
        dropped_events=counter("dropped_events"),
        subbufs=np.array([tally.pages for tally in tallies], dtype=np.int64),
        unreadable=np.array([tally.unreadable for tally in tallies], dtype=np.int64),
        damaged=np.array([tally.damaged for tally in tallies], dtype=np.int64),
        address=addresses(
            source,
            np.array([ring.address for ring in rings], dtype=np.uint64),
            np.array([ring.address != 0 for ring in rings], dtype=bool),
            target="struct ring_buffer_per_cpu",
        ),
    )
