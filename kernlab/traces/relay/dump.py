"""A dump's kernel in, every relay channel with its buffers out: counters, callbacks, and the bytes of sub-buffers.

Mirrors include/linux/relay.h and kernel/relay.c, whose structures are the same from 5.10 to 7.2 but for two members.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.memory.address_space import fault
from kernlab.traces.relay.buffers import Buffer, Place, read_buffer, read_buffers
from kernlab.traces.relay.clients import Client, recognise
from kernlab.traces.relay.layout import Piece
from kernlab.traces.relay.open_files import open_files
from kernlab.traces.relay.slots import Slot, Slots
from kernlab.util.text import few
from kernlab.walk.cpus import possible_cpus
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]

#: RELAYFS_CHANNEL_VERSION, the same in all kernels since 2.6.30.
VERSION = 7

#: Channels are read together, up to so many pointers to buffers at a time.
_AT_ONCE = 1 << 20


@dataclass(slots=True)
class Channel:
    """One `struct rchan` and its buffers, a global one's under CPU 0."""

    address: int
    name: str
    client: Client
    callbacks: str
    module: str
    private: int
    subbuf_size: int
    n_subbufs: int
    is_global: bool
    closed: bool
    #: What is proven: True overwrites unread data, False refuses to, None may do either.
    overwrite: bool | None
    #: Events that the client counted as refused on all CPUs, None where it counts none.
    dropped: int | None
    damage: str
    buffers: list[Buffer] = field(default_factory=list)

    def buffer(self, cpu: int) -> Buffer:
        """The buffer of one CPU. Raises KernlabError, naming the CPUs there are."""
        for buffer in self.buffers:
            if buffer.cpu == cpu:
                return buffer
        known = few([str(buffer.cpu) for buffer in self.buffers]) or "none"
        raise KernlabError(f"the relay channel {self.name!r} has no buffer of CPU {cpu}; it has: {known}")


@fact
def find_channels(kernel: Kernel) -> list[Channel]:
    """Every relay channel: the open ones, oldest first, then closed ones that an open file still holds."""
    channel_type = "struct rchan"
    known = np.zeros(0, dtype=np.uint64)
    head = kernel.find_symbol("relay_channels")
    if head is not None:
        _, on_list = list_entries(
            kernel,
            [head],
            channel_type,
            "list",
            what="the list of relay channels",
        )
        # relay_open adds at the head.
        known = on_list.addresses[::-1]
    elif kernel.types.get(channel_type) is None:
        return []
    else:
        kernel.lost("this kernel has no symbol relay_channels; only channels of open files are known")
    held = _held_by_files(kernel)
    closed = np.setdiff1d(held, known)
    addresses = np.concatenate([known, closed])
    channels = StructArray(kernel, channel_type, addresses)
    at_once = max(_AT_ONCE // len(possible_cpus(kernel)), 1)
    return [
        channel
        for start in range(0, len(channels), at_once)
        for channel in _read_channels(kernel, channels[start : start + at_once], len(known) - start)
    ]


def _held_by_files(kernel: Kernel) -> U64:
    """Channels whose buffer is an open file's private data, whether or not they are still open.

    debugfs puts its own operations before relay's, so a buffer is known by its shape: its channel has relay's
    version and names it as the buffer of its CPU.
    """
    try:
        private = open_files(kernel).first("private_data")
    except KernlabError as error:
        kernel.lost(f"relay: closed channels were not looked for: {error}")
        return np.zeros(0, dtype=np.uint64)
    pointers = np.unique(private.values[private.true])
    with kernel.quiet():
        return _of_buffers(kernel, pointers)


def _of_buffers(kernel: Kernel, pointers: U64) -> U64:
    """The channels of those that are relay's buffers."""
    candidate = StructArray(kernel, "struct rchan_buf", pointers[(pointers & np.uint64(7)) == 0])
    cpu, channel = candidate["cpu"], candidate["chan"]
    offsets = kernel.percpu_offsets
    plausible = (cpu < len(offsets)).true & channel.true
    candidate, cpu_of = candidate[plausible], cpu.int64.values[plausible]
    owner = candidate.follow("chan")
    version, slots = owner["version"], owner["buf"]
    where = slots.values + offsets[cpu_of]
    named, read = kernel.words(where)
    good = (version == VERSION).true & slots.valid & read & (named == candidate.addresses)
    return np.unique(owner.addresses[good])


def _read_channels(kernel: Kernel, channels: StructArray, listed: int) -> list[Channel]:
    version, size, count = channels["version"], channels["subbuf_size"], channels["n_subbufs"]
    alloc, is_global, private = channels["alloc_size"], channels["is_global"], channels["private_data"]
    callbacks, slots = channels["cb"], channels["buf"]
    hook = channels.follow("cb")["subbuf_start"]
    symbols = _symbols(kernel, callbacks)
    base = channels["base_filename"]
    per_cpu = Slots.of(kernel, channels.addresses, slots)
    directories = _directories(kernel, channels, per_cpu.first())
    found: list[Channel] = []
    slots_of: list[list[Slot]] = []
    for row, address in enumerate(channels.addresses.tolist()):
        symbol, module = symbols[row]
        client = recognise(symbol, module)
        parts = [part for part in (directories[row], base[row]) if part]
        channel = Channel(
            address=address,
            name="/".join(parts) or f"{address:#018x}",
            client=client,
            callbacks=symbol,
            module=module,
            private=private[row] or 0,
            subbuf_size=int(size.values[row]),
            n_subbufs=int(count.values[row]),
            is_global=bool(is_global.values[row]),
            closed=row >= listed,
            overwrite=client.overwrite,
            dropped=None,
            damage="",
        )
        if hook[row] == 0:
            # Without a callback relay itself refuses to overwrite (kernel/relay.c, relay_switch_subbuf; 5.10 fills in
            # a default one that does the same).
            channel.overwrite = False
        if not (size.valid[row] and count.valid[row] and version.valid[row]):
            channel.damage = "its struct rchan lies on a page that the dump lacks"
        elif version.values[row] != VERSION:
            channel.damage = f"its version is {version.values[row]:,}, not {VERSION}: this is not a channel"
        elif not slots.valid[row]:
            channel.damage = "its buffers cannot be found"
        else:
            held = max(channel.subbuf_size, 1) * max(channel.n_subbufs, 1)
            if alloc.valid[row] and held > int(alloc.values[row]):
                channel.damage = (
                    f"{channel.n_subbufs:,} sub-buffers of {channel.subbuf_size:,} bytes do not fit into its "
                    f"{int(alloc.values[row]):,} bytes"
                )
        own, shared = per_cpu.of_channel(row, is_global=channel.is_global, closed=channel.closed)
        if shared != channel.is_global and not channel.damage:
            said = "one buffer" if channel.is_global else "a buffer for each CPU"
            real = "one" if shared else "one for each"
            kernel.lost(
                f"{channel.name}: by is_global it has {said}, but its CPUs' pointers lead to {real}: these count"
            )
            channel.is_global = shared
        found.append(channel)
        slots_of.append(own)
    _give_buffers(kernel, found, slots_of)
    _settle(kernel, found)
    return found


def _symbols(kernel: Kernel, callbacks: Column) -> list[tuple[str, str]]:
    """(symbol, module or '') of each channel's callbacks."""
    named = kernel.symbolize(callbacks.values)
    found = []
    for address, name in zip(callbacks.values.tolist(), named, strict=True):
        symbol, _, rest = (name or f"{address:#018x}").partition("+")
        found.append((symbol, rest.partition("[")[2].rstrip("]")))
    return found


def _directories(kernel: Kernel, channels: StructArray, first: U64) -> list[str]:
    """The name of the directory that each channel's files lie in, '' for the top of the file system.

    `first` are the channels' first buffers, uint64[n].
    """
    own = channels.follow("parent")
    of_file = StructArray(kernel, "struct rchan_buf", first).follow("dentry").follow("d_parent")
    dentry = StructArray(kernel, own.type, np.where(own.valid, own.addresses, of_file.addresses))
    texts = c_strings(kernel, dentry["d_name.name"], limit=256)
    kernel.lost("relay channels have lost the name of their directory", mask=~texts.valid)
    return ["" if text is None or text == "/" else text for text in texts]


def _give_buffers(kernel: Kernel, channels: list[Channel], slots_of: list[list[Slot]]) -> None:
    """Read the buffers of all channels together; `slots_of` are those of each."""
    places = [
        Place(slot, channel.subbuf_size, channel.n_subbufs, channel.damage)
        for channel, slots in zip(channels, slots_of, strict=True)
        for slot in slots
    ]
    buffers = iter(read_buffers(kernel, places))
    for channel, slots in zip(channels, slots_of, strict=True):
        channel.buffers = list(islice(buffers, len(slots)))


def _settle(kernel: Kernel, channels: list[Channel]) -> None:
    """What the buffers prove of each channel, and what its client counts."""
    asked: list[Channel] = []
    for channel in channels:
        for buffer in channel.buffers:
            if buffer.damage:
                continue
            counters = buffer.counters
            if counters.full:
                channel.overwrite = False
            elif counters.produced - counters.consumed > counters.n_subbufs:
                channel.overwrite = True
        counts = [buffer.dropped for buffer in channel.buffers if buffer.dropped is not None]
        if channel.overwrite:
            # There it counts what was overwritten, which `lost_subbufs` knows better.
            for buffer in channel.buffers:
                buffer.dropped = None
        elif counts:
            channel.dropped = sum(counts)
        elif channel.client.is_blktrace and channel.private:
            asked.append(channel)
    if not asked:
        return
    private = np.array([channel.private for channel in asked], dtype=np.uint64)
    trace = StructArray(kernel, "struct blk_trace", private)
    if trace.has("dropped"):
        dropped = trace["dropped.counter"]
        for row, channel in enumerate(asked):
            channel.dropped = dropped[row]


def slot_bytes(kernel: Kernel, channel: Channel, buffer: Buffer, piece: Piece, *, start: int) -> bytes:
    """The bytes [start, piece.end) of a piece's slot. Raises FaultError or PageExcluded for the first one missing."""
    data, status = read_buffer(kernel, buffer, piece.slot * channel.subbuf_size + start, piece.end - start)
    if status.any():
        lost = int(np.flatnonzero(status)[0])
        raise fault(int(status[lost]), buffer.start + piece.slot * channel.subbuf_size + start + lost)
    return data.tobytes()
