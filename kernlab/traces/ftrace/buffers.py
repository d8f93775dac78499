"""Trace instances and their rings, wherever they were found: in a dump or in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kernlab.traces.ftrace.shift import Shift

U64 = npt.NDArray[np.uint64]

MAIN, SNAPSHOT = "main", "snapshot"

#: Members of `struct ring_buffer_per_cpu` that count events; each is a local_t or an unsigned long.
COUNTERS = ("entries", "overrun", "commit_overrun", "dropped_events", "read", "pages_lost", "nr_pages")


@dataclass
class Ring:
    """One CPU's buffer: `pages` are sub-buffers (struct buffer_data_page) in the order of reading.

    `counters` holds what could be read of COUNTERS. `consumed` bytes at the start of the first page were read already.
    """

    instance: Instance
    buffer: str
    cpu: int
    address: int
    subbuf_size: int
    counters: dict[str, int] = field(default_factory=dict)
    pages: U64 = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    consumed: int = 0
    #: What kept pages from being found, '' where nothing did.
    damage: str = ""
    #: Of pages in memory that outlives a reboot: has this boot written nothing into them?
    untouched: npt.NDArray[np.bool_] | None = None


@dataclass
class Instance:
    """A trace instance (struct trace_array); the name of the global one, which always is, is ''.

    One whose name cannot be read is called by its address; what else is not known is None.
    """

    name: str
    address: int
    tracer: str | None
    clock_id: int | None = None
    #: Buffers by MAIN or SNAPSHOT: the trace_buffer's address, its sub-buffers' size.
    buffers: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Has it a snapshot buffer, whether or not that can be read?
    snapshot: bool | None = False
    recording: bool | None = None
    overwrite: bool | None = None
    #: Where memory that outlives a reboot lies (reserve_mem), 0 for an ordinary instance.
    range_start: int | None = 0
    #: Of memory that outlives a reboot: what the boot before recorded, and where its addresses lie now.
    previous: bool = False
    shift: Shift | None = None
    rings: list[Ring] = field(default_factory=list)
