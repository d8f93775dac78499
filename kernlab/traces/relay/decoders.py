"""How the bytes of a relay channel become events: what a decoder is given and gives, and those that kernlab brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import describe
from kernlab.errors import KernlabError
from kernlab.traces.blktrace.trace import BlkTrace
from kernlab.traces.relay.records import (
    Chunk,
    bytes_by_cpu,
    raw_chunks,
    record_columns,
    systemtap_records,
)
from kernlab.util import losses


class Streams(Mapping[int, bytes]):
    """What each CPU wrote to a channel, {cpu: bytes}: from its first whole record on, read only when looked at.

    `name` is the channel's; `kernel` that of the dump (None for files); `header` says how many bytes at the start of
    each sub-buffer are not part of a record.
    """

    def __init__(
        self,
        name: str,
        chunks: Callable[[], Sequence[Chunk]],
        blktrace: Callable[[], BlkTrace],
        *,
        kernel: Kernel | None = None,
        header: int = 0,
    ):
        self.name = name
        self.kernel = kernel
        self.header = header
        #: The channel as a block trace, with what it refused and who wrote.
        self.blktrace = blktrace
        self._chunks = chunks

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """The same, sub-buffer by sub-buffer, with what readers had of each."""
        return self._chunks()

    @cached_property
    def _by_cpu(self) -> dict[int, bytes]:
        return bytes_by_cpu(self.chunks)

    def __getitem__(self, cpu: int) -> bytes:
        return self._by_cpu[cpu]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_cpu)

    def __len__(self) -> int:
        return len(self._by_cpu)

    def lost(self, *sentences: str) -> None:
        """Say what could not be read of it: for attrs["problems"] of its events."""
        losses.lost(*sentences)


class Decoder(Protocol):
    """Makes events of what a channel's CPUs wrote: columns by name, a DataFrame of them, or a whole block trace."""

    def __call__(self, streams: Streams, /) -> Mapping[str, Any] | pd.DataFrame | BlkTrace:
        """The events; `streams.lost` tells what could not be read."""


def as_bytes(streams: Streams) -> Mapping[str, Any]:
    """What nobody knows how to read: a row of bytes per sub-buffer."""
    return raw_chunks(streams.chunks)


def blktrace(streams: Streams) -> BlkTrace:
    """Block I/O."""
    return streams.blktrace()


def systemtap(streams: Streams) -> Mapping[str, Any]:
    """The messages of SystemTap's bulk mode, by their sequence."""
    return systemtap_records(streams.chunks)


def records(kind: str | np.dtype[Any]) -> Decoder:
    """A decoder of records of one size, by their C type ("struct my_event") or their NumPy dtype."""

    def decode(streams: Streams, /) -> Mapping[str, Any]:
        return record_columns(streams.chunks, kind, kernel=streams.kernel, header=streams.header)

    return decode


#: The decoders that go by a name.
BY_NAME: dict[str, Decoder] = {"": as_bytes, "blktrace": blktrace, "systemtap": systemtap}


def decoder_of(given: Any) -> Decoder:
    """The decoder that is meant by a name, a C type, what NumPy takes as a dtype, or a function of `Streams`.

    Raises KernlabError for anything else.
    """
    if isinstance(given, str) and given.startswith(("struct ", "union ")):
        return records(given)
    if isinstance(given, str) and given in BY_NAME:
        return BY_NAME[given]
    if callable(given) and not isinstance(given, type):
        decoder: Decoder = given
        return decoder
    try:
        dtype: np.dtype[Any] = np.dtype(given)
    except (TypeError, ValueError) as error:
        names = ", ".join(map(repr, BY_NAME))
        raise KernlabError(
            f"{given!r} is not a decoder: neither a C type (struct …) nor a NumPy dtype, nor one of {names} ('' leaves "
            "bytes), nor a function of {cpu: bytes}"
        ) from error
    return records(dtype)


def decode(decoder: Decoder, streams: Streams) -> pd.DataFrame:
    """The events of a channel as its decoder makes them, with what was lost on the way."""
    found = decoder(streams)
    if isinstance(found, BlkTrace):
        # A block trace tells itself what it lacks.
        return found.events
    losses.lost(*getattr(found, "attrs", {}).get("problems", []))
    frame = pd.DataFrame(found, copy=False)
    frame.attrs.update(describe(streams.kernel, f"relay {streams.name}"))
    return frame
