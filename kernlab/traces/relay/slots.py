"""Which buffer of a relay channel is which CPU's: the per-CPU pointers of a channel in, checked against the buffers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.walk.cpus import cpus, percpu_many, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Slot:
    """One CPU's buffer: its address (0 where that is not known), and why it cannot be the CPU's, '' where it is."""

    cpu: int
    address: int
    damage: str


@dataclass(frozen=True, slots=True)
class Slots:
    """The pointers of n channels to their buffers: `pointers` and `read` [n, CPUs], `cpus` int64[CPUs]; `online`
    bool[CPUs], of which every channel that is open has a buffer (kernel/relay.c, relay_open, relay_prepare_cpu);
    `there` bool[n]: channels that could be asked for their pointers; `owner` and `cpu` [n × CPUs], what each buffer
    says of itself."""

    channels: U64
    pointers: U64
    read: Mask
    cpus: I64
    online: Mask
    there: Mask
    owner: Column
    cpu: Column

    @classmethod
    def of(cls, kernel: Kernel, channels: U64, slots: Column) -> Slots:
        """The slots of channels, whose `buf` is `slots`."""
        numbers = possible_cpus(kernel)
        try:
            online = np.isin(numbers, cpus(kernel, "online"))
        except KernlabError:
            online = np.zeros(len(numbers), dtype=bool)
        pointers, read = kernel.words(percpu_many(kernel, slots.values, numbers).reshape(-1), what="")
        pointers = np.where(read, pointers, np.uint64(0)).reshape(len(channels), len(numbers))
        pointers[~slots.valid] = 0
        buffer = StructArray(kernel, "struct rchan_buf", pointers.reshape(-1))
        with kernel.quiet():
            owner, cpu = buffer["chan"], buffer["cpu"]
        return cls(
            channels,
            pointers,
            read.reshape(pointers.shape),
            numbers,
            online,
            slots.valid,
            owner,
            cpu,
        )

    def first(self) -> U64:
        """A buffer of each channel, uint64[n]: 0 where it has none."""
        places = (self.pointers != 0).argmax(axis=1)
        first: U64 = self.pointers[np.arange(len(self.pointers)), places]
        return first

    def of_channel(self, row: int, *, is_global: bool, closed: bool) -> tuple[list[Slot], bool]:
        """The buffers of one channel, and whether it has one for all CPUs, under CPU 0: what its buffers say counts."""
        if not self.there[row]:
            return [], is_global
        pointers, read = self.pointers[row], self.read[row]
        mine = slice(row * len(self.cpus), (row + 1) * len(self.cpus))
        own, cpu = self.owner[mine], self.cpu[mine]
        named = (own == self.channels[row]).true
        distinct, times = np.unique(pointers[named], return_counts=True)
        shared = is_global
        if len(distinct):
            shared = len(distinct) == 1 and (is_global or bool(times[0] > 1))
        if shared:
            return [self._shared(pointers, read, named)], shared
        found = []
        for place, number in enumerate(self.cpus.tolist()):
            address = int(pointers[place])
            if not read[place]:
                damage = "which buffer is this CPU's lies on a page that the dump lacks"
            elif address:
                damage = _not_its_own(named, own, cpu, place, number)
            elif self.online[place] and not closed:
                damage = "this CPU is online and has no buffer"
            else:
                continue
            found.append(Slot(number, 0 if damage else address, damage))
        return found, shared

    def _shared(self, pointers: U64, read: Mask, named: Mask) -> Slot:
        """The one buffer of a global channel, which all slots name."""
        if named.any():
            return Slot(0, int(pointers[named][0]), "")
        if pointers.any():
            # Its page may be lost: what is wrong with it is found where it is read.
            return Slot(0, int(pointers[pointers != 0][0]), "")
        lost = "where its buffer lies is on pages that the dump lacks"
        return Slot(0, 0, "it has no buffer" if read.all() else lost)


def _not_its_own(named: Mask, own: Column, cpu: Column, place: int, number: int) -> str:
    """Why a buffer is not that of a CPU, '' where it is, or cannot be read."""
    if own.valid[place] and not named[place]:
        return "what its slot leads to is not a buffer of this channel"
    if cpu.valid[place] and int(cpu.values[place]) != number:
        return f"its slot leads to the buffer of CPU {int(cpu.values[place]):,}"
    return ""
