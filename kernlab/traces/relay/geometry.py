"""How a channel's buffers are divided, for files that are mapped: sub-buffers, their number, their counters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kernlab.errors import KernlabError
from kernlab.traces.relay.layout import LARGEST_BUFFER, BufferCounters


class Geometry:
    """How a mapped buffer is divided, and what is known of its counters."""

    def __init__(self, subbuf_size: int, n_subbufs: int, counters: Mapping[int, Mapping[str, Any]]):
        size, count = int(subbuf_size), int(n_subbufs)
        if size <= 0 or count <= 0 or size * count > LARGEST_BUFFER:
            raise KernlabError(f"{count:,} sub-buffers of {size:,} bytes cannot be a relay buffer")
        self.subbuf_size, self.n_subbufs = size, count
        # relay_open rounds the buffer up to whole pages, and maps nothing but all of it.
        page = os.sysconf("SC_PAGE_SIZE")
        self.bytes = -(-size * count // page) * page
        self.counters = {cpu: self._counters(cpu, dict(known)) for cpu, known in counters.items()}

    def _counters(self, cpu: int, known: dict[str, Any]) -> BufferCounters:
        produced = int(known.get("produced", 0))
        counters = BufferCounters(
            subbuf_size=self.subbuf_size,
            n_subbufs=self.n_subbufs,
            produced=produced,
            consumed=int(known.get("consumed", 0)),
            bytes_consumed=int(known.get("bytes_consumed", 0)),
            offset=int(known.get("offset", 0)),
            current=int(known.get("current", produced % self.n_subbufs)),
            padding=list(known.get("padding", [0] * self.n_subbufs)),
        )
        damage = counters.damage()
        if damage:
            raise KernlabError(f"the counters given for CPU {cpu} cannot be true: {damage}")
        return counters
