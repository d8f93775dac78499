"""`dump.relay`: every relay channel of a dump, the bytes its readers had not seen yet, and what they mean."""

from __future__ import annotations

import difflib
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, nullable
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.tasks import find_tasks
from kernlab.traces.blktrace.losses import Counts
from kernlab.traces.blktrace.trace import BlkTrace, Stream
from kernlab.traces.relay.buffers import Buffer, read_buffer
from kernlab.traces.relay.decoders import Streams, decode, decoder_of
from kernlab.traces.relay.dump import Channel, find_channels, slot_bytes
from kernlab.traces.relay.layout import MODES
from kernlab.traces.relay.losses import count, overwritten, told
from kernlab.traces.relay.records import Chunk, hexdump
from kernlab.util.files import write_whole
from kernlab.util.losses import Scope
from kernlab.util.text import Spelt, few

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame

#: `mode` of `read` beyond those that follow a reader: the buffer as mmap() shows it.
RAW = "raw"


class Relay(Spelt):
    """The relay channels of a dump.

    `channels` lists them; `read` gives the bytes, `events` what they mean, `blktrace` a whole block trace, `save`
    writes files. A channel is named by its directory and base name ("vda/trace"), or by its address.
    """

    _spoken = "dump.relay"

    def __init__(self, kernel: Kernel):
        self._kernel = kernel

    @property
    def _channels(self) -> list[Channel]:
        return find_channels(self._kernel)

    @cached_property
    def channels(self) -> Frame:
        """One row per buffer, that is per channel and CPU (a global channel has one, of CPU 0).

        name, cpu, client ('' where unknown), callbacks, module, subbuf_size, n_subbufs, produced and consumed
        (sub-buffers, counted since the start), read_bytes (of the next one), current_bytes (in the one being
        written), unread_bytes (what read() would have given), lost_subbufs (overwritten unread), dropped (events
        this buffer refused; 7.2 counts them, older kernels do not), channel_dropped (events refused on all CPUs, by
        the same or the client's own count), is_global, full (writes are being refused), overwrite (missing where
        nothing proves it), closed, damage ('' or what cannot be true; then the counts are missing), address (struct
        rchan), buffer (struct rchan_buf).

        >>> dump.relay.channels[["name", "cpu", "client", "produced", "unread_bytes"]]
                name  cpu    client  produced  unread_bytes
        0  vda/trace    0  blktrace         0          7472
        1  vda/trace    1  blktrace         0          3208
        """
        with self._kernel.scope("relay channels"):
            return cast("Frame", self._channels_frame())

    def _channels_frame(self) -> pd.DataFrame:
        pairs: list[tuple[Channel, Buffer | None]] = [
            (channel, buffer) for channel in self._channels for buffer in (*channel.buffers,) or (None,)
        ]
        channels = [channel for channel, _ in pairs]
        buffers = [buffer for _, buffer in pairs]

        def number(pick: Any, *, sound: bool = True) -> Any:
            values = [
                pick(buffer) if buffer is not None and not (sound and buffer.damage) else None
                for buffer in buffers
            ]
            valid = np.array([value is not None for value in values], dtype=bool)
            return nullable(np.array([value or 0 for value in values], dtype=np.uint64), valid)

        def strings(pick: Any) -> Any:
            return pd.array(np.array([pick(*pair) for pair in pairs], dtype=object), dtype="str")

        overwrite = [channel.overwrite for channel in channels]
        dropped = [channel.dropped for channel in channels]
        damage = ["" if b is None else b.damage for b in buffers]
        kernel = self._kernel
        kernel.lost(
            "buffers of relay channels are damaged, as the column damage says",
            mask=np.array([bool(c.damage if b is None else b.damage) for c, b in pairs], dtype=bool),
        )
        return frame(
            kernel,
            "relay channels",
            name=strings(lambda channel, _: channel.name),
            cpu=np.array([buffer.cpu if buffer else 0 for buffer in buffers], dtype=np.int64),
            client=strings(lambda channel, _: channel.client.name),
            callbacks=strings(lambda channel, _: channel.callbacks),
            module=strings(lambda channel, _: channel.module),
            subbuf_size=np.array([channel.subbuf_size for channel in channels], dtype=np.uint64),
            n_subbufs=np.array([channel.n_subbufs for channel in channels], dtype=np.uint64),
            produced=number(lambda b: b.counters.produced),
            consumed=number(lambda b: b.counters.consumed),
            read_bytes=number(lambda b: b.counters.bytes_consumed),
            current_bytes=number(lambda b: 0 if b.counters.full else b.counters.offset),
            unread_bytes=number(lambda b: b.counters.unread_bytes()),
            lost_subbufs=number(lambda b: b.counters.lost_subbufs),
            dropped=number(lambda b: b.dropped, sound=False),
            channel_dropped=nullable(Column.ints(dropped, "channel_dropped")),
            is_global=np.array([channel.is_global for channel in channels], dtype=bool),
            full=pd.array(
                [None if b is None or b.damage else b.counters.full for b in buffers], dtype="boolean"
            ),
            overwrite=pd.array(overwrite, dtype="boolean"),
            closed=np.array([channel.closed for channel in channels], dtype=bool),
            damage=strings(lambda channel, b: channel.damage if b is None else b.damage)
            if any(damage) or any(channel.damage for channel in channels)
            else pd.array(np.array([""] * len(pairs), dtype=object), dtype="str"),
            address=addresses(
                kernel, np.array([c.address for c in channels], dtype=np.uint64), target="struct rchan"
            ),
            buffer=addresses(
                kernel,
                np.array([b.address if b else 0 for b in buffers], dtype=np.uint64),
                np.array([b is not None and b.address != 0 for b in buffers], dtype=bool),
                target="struct rchan_buf",
            ),
        )

    @property
    def block_traces(self) -> list[str]:
        """The names of the channels that blktrace writes to, each once.

        >>> dump.relay.block_traces
        ['vda/trace']
        """
        return list(dict.fromkeys(c.name for c in self._channels if c.client.is_blktrace))

    def _find(self, name: str | int) -> Channel:
        if not isinstance(name, str):
            for channel in self._channels:
                if channel.address == int(name):
                    return channel
            raise KernlabError(
                f"there is no relay channel at {int(name):#018x}; dump.relay.channels lists them"
            )
        found = [channel for channel in self._channels if channel.name == name]
        # A channel that was closed and opened again keeps its name: the open one is meant.
        found = [channel for channel in found if not channel.closed] or found
        if len(found) == 1:
            return found[0]
        if found:
            where = few([f"{channel.address:#018x}" for channel in found])
            raise KernlabError(
                f"{len(found):,} relay channels are named {name!r}; give the address of one: {where}"
            )
        names = sorted({channel.name for channel in self._channels})
        near = difflib.get_close_matches(name, names, 3) or names[:5]
        hint = f"; there is {' and '.join(repr(known) for known in near)}" if near else "; this dump has none"
        raise KernlabError(f"there is no relay channel {name!r}{hint}")

    @staticmethod
    def _sound(channel: Channel, buffer: Buffer, mode: str) -> None:
        if mode not in MODES:
            raise KernlabError(f"mode is one of {', '.join(map(repr, (*MODES, RAW)))}, not {mode!r}")
        if buffer.damage:
            raise KernlabError(
                f"the relay channel {channel.name!r} of CPU {buffer.cpu} is damaged: {buffer.damage}. "
                "mode='raw' gives its buffer as it is."
            )

    def read(self, name: str | int, cpu: int = 0, mode: str = "unread") -> bytes:
        """The bytes of one CPU's buffer, in the order in which they were produced.

        mode "unread": exactly what read() would have given; "all": also what was read but is not yet overwritten;
        "salvage": before that, what is left of the oldest sub-buffer, which begins inside a record; "raw": the whole
        buffer as mmap() shows it, padding and all.
        Raises KernlabError where the counters cannot be true, FaultError and PageExcluded for missing pages.

        >>> len(dump.relay.read("vda/trace", cpu=0))
        7472
        """
        channel = self._find(name)
        buffer = channel.buffer(cpu)
        if mode == RAW:
            size = min(channel.subbuf_size * channel.n_subbufs, buffer.page_count * self._kernel.page_size)
            return self._kernel.read(buffer.start, size)
        self._sound(channel, buffer, mode)
        pieces = buffer.counters.pieces(mode)
        return b"".join(
            slot_bytes(self._kernel, channel, buffer, piece, start=piece.start) for piece in pieces
        )

    def _chunks(self, channel: Channel, cpu: int | None, mode: str) -> list[tuple[Buffer, list[Chunk]]]:
        """The sub-buffers of all CPUs (or one), from their first record on; damaged ones are reported and left out."""
        if mode not in MODES:
            raise KernlabError(f"mode is one of {', '.join(map(repr, MODES))}, not {mode!r}")
        buffers = channel.buffers if cpu is None else [channel.buffer(cpu)]
        found = []
        for buffer in buffers:
            if buffer.damage:
                self._kernel.lost(f"{channel.name}, CPU {buffer.cpu}: left out: {buffer.damage}")
                continue
            chunks = []
            for piece in buffer.counters.pieces(mode):
                data, status = read_buffer(
                    self._kernel,
                    buffer,
                    piece.slot * channel.subbuf_size + piece.begin,
                    piece.end - piece.begin,
                )
                missing = int((status != 0).sum())
                if missing:
                    self._kernel.lost(
                        f"{channel.name}, CPU {buffer.cpu}: {missing:,} bytes of sub-buffer {piece.number:,} lie "
                        "on pages that the dump lacks"
                    )
                chunks.append(Chunk(buffer.cpu, piece.number, data, piece.start - piece.begin, piece.stale))
            found.append((buffer, chunks))
        return found

    def events(
        self,
        name: str | int,
        type: str | np.dtype[Any] | Any = None,  # noqa: A002
        *,
        cpu: int | None = None,
        mode: str = "unread",
        header: int = 0,
    ) -> pd.DataFrame:
        """What a channel's bytes mean, of all CPUs or one.

        Without `type` as its client writes them: blktrace's events by time, SystemTap's messages by sequence, those of
        a client that was registered by its decoder, and for one that nobody knows a row of bytes per sub-buffer.
        `type` is any decoder that `kernlab.relay.register` takes: with a C type of the dump ("struct my_event") or a
        NumPy dtype one row per record, each sub-buffer filled with them from `header` bytes on. A record of which a
        reader had a part only is there whole. attrs["problems"] tells what the channel refused or overwrote.

        >>> dump.relay.events("vda/trace")[["timestamp", "action", "rwbs", "sector", "comm"]].head(2)
                          timestamp action rwbs  sector comm
        0 0 days 00:00:13.207674934      Q   WS   65538   dd
        1 0 days 00:00:13.207738664      G   WS   65538   dd
        """
        with self._kernel.scope(f"relay {name}"):
            events = self._events(name, type, cpu, mode, header)
            if self._kernel.changes:
                events.attrs["window"] = self._kernel.window
            return events

    def _events(self, name: str | int, type: Any, cpu: int | None, mode: str, header: int) -> pd.DataFrame:  # noqa: A002
        channel = self._find(name)

        def chunks() -> list[Chunk]:
            parts = self._chunks(channel, cpu, mode)
            self._kernel.lost(*told(channel, [buffer for buffer, _ in parts]))
            return [chunk for _, part in parts for chunk in part]

        def trace() -> BlkTrace:
            return self.blktrace(name, cpu=cpu, mode=mode)

        streams = Streams(channel.name, chunks, trace, kernel=self._kernel, header=header)
        return decode(channel.client.decoder if type is None else decoder_of(type), streams)

    def blktrace(self, name: str | int, *, cpu: int | None = None, mode: str = "unread") -> BlkTrace:
        """A blktrace channel as a `BlkTrace`: events, blkparse's text, files for blkparse and btt, latencies.

        Processes are named by the trace's notes, those already read among them, else by the tasks of the dump. What the
        channel refused for want of room is told with the moment from which on a CPU's events are missing.

        >>> dump.relay.blktrace("vda/trace").record_count
        218
        """
        with self._kernel.scope(f"relay {name}") as k:
            return self._blktrace(k, name, cpu, mode)

    def _blktrace(self, k: Scope, name: str | int, cpu: int | None, mode: str) -> BlkTrace:
        channel = self._find(name)
        arrays: list[Any] = []
        streams: list[Stream] = []
        marks: dict[int, tuple[int, list[tuple[int, int]]]] = {}
        at = 0
        parts = self._chunks(channel, cpu, mode)
        k.lost(*overwritten(channel, [buffer for buffer, _ in parts]))
        for buffer, chunks in parts:
            # Sub-buffers in a row hold whole records; what is left of an older one is a stretch of its own.
            groups = [[c for c in chunks if c.stale], [c for c in chunks if not c.stale]]
            for group in groups:
                if not group:
                    continue
                size = sum(len(chunk.data) for chunk in group)
                wanted = at + group[0].wanted_from
                if not group[0].stale:
                    begins = np.cumsum([at, *(len(chunk.data) for chunk in group[:-1])]).tolist()
                    numbers = [chunk.number for chunk in group]
                    marks[buffer.cpu] = len(streams), list(zip(numbers, begins, strict=True))
                streams.append(Stream(buffer.cpu, at, at + size, wanted, group[0].stale))
                arrays += [chunk.data for chunk in group]
                room = -(-size // 8) * 8 - size
                arrays.append(np.zeros(room, dtype=np.uint8))
                at += size + room
        data = np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.uint8)
        said = [*self._kernel.problems, *k.losses]

        def names() -> dict[int, str]:
            earlier = self.blktrace(channel.address, mode="all").processes if mode == "unread" else {}
            return {**self._tasks, **earlier}

        def counted(trace: BlkTrace) -> Counts:
            return count(self._kernel, channel, trace, marks)

        return BlkTrace(data, streams, self._kernel.source, said, names, counted)

    @cached_property
    def _tasks(self) -> dict[int, str]:
        """comm by pid of every task in the dump."""
        tasks = find_tasks(self._kernel)
        pid, comm = tasks["pid"], tasks["comm"].text
        found: dict[int, str] = {}
        for number, name in zip(pid, comm, strict=True):
            if number is not None and name is not None:
                # All idle tasks are pid 0: the first CPU's stands for them, as blkparse has it.
                found.setdefault(number, str(name))
        return found

    def hexdump(self, name: str | int, cpu: int = 0, mode: str = "unread", *, limit: int = 4096) -> str:
        """`read` as hexdump -C prints it, at most `limit` bytes.

        >>> print(dump.relay.hexdump("vda/trace", limit=32))
        00000000  07 74 61 65 00 00 00 00  16 13 3d 13 03 00 00 00  |.tae......=.....|
        00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 04  |................|
        … and 7,440 more bytes
        """
        return hexdump(self.read(name, cpu, mode), limit=limit)

    def save(self, name: str | int, folder: str | PathLike[str], mode: str = "unread") -> list[Path]:
        """Write a channel to files, one per CPU: `<device>.blktrace.<cpu>` of blktrace, `<base><cpu>` of others.

        Returns their paths. Raises KernlabError for damaged buffers, OSError.

        >>> [path.name for path in dump.relay.save("vda/trace", "traces")]
        ['vda.blktrace.0', 'vda.blktrace.1']
        """
        channel = self._find(name)
        directory, _, base = channel.name.rpartition("/")
        if channel.client.is_blktrace:
            return self.blktrace(channel.address, mode=mode).export(folder, directory or base)
        where = Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        plain = show_controls(base).replace("/", "!")
        written = []
        for buffer in channel.buffers:
            data = self.read(channel.address, buffer.cpu, mode)
            written.append(write_whole(where / f"{plain}{buffer.cpu}", data))
        return written

    def __repr__(self) -> str:
        names = ", ".join(show_controls(channel.name) for channel in self._channels[:5])
        return (
            f"<relay: {len(self._channels):,} channels: {names}>"
            if self._channels
            else "<relay: no channels>"
        )
