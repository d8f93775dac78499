"""The source of what the boot before recorded: a dump's kernel, but for what only the living one knew."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.traces.ftrace.buffers import Instance
from kernlab.traces.ftrace.comms import Comms
from kernlab.traces.ftrace.kernel_source import KernelSource
from kernlab.traces.ftrace.shift import Shift

U64 = npt.NDArray[np.uint64]

#: Where the kernel put its memory differs from boot to boot, and time goes on.
_OF_ONE_BOOT = (
    *("jiffies", "vmemmap_base", "page_offset_base", "phys_base"),
    *("memstart_addr", "kimage_voffset", "vabits_actual"),
)


class PreviousSource(KernelSource):
    """Addresses that it is asked for are those of the boot before."""

    def __init__(self, kernel: Kernel, instance: Instance, comms: Callable[[], Comms]):
        super().__init__(kernel)
        self._told = comms
        self.shift = instance.shift or Shift([])

    @cached_property
    def comms(self) -> Comms:
        """See Source.comms."""
        return self._told()

    def symbolize(self, addresses: U64) -> list[str | None]:
        """See Source.symbolize: of what lies in this boot's memory, too."""
        moved, piece = self.shift.apply(addresses)
        return [
            name if name is not None and self._is_of(name, number) else None
            for name, number in zip(super().symbolize(moved), piece.tolist(), strict=True)
        ]

    def _is_of(self, name: str, piece: int) -> bool:
        """Is a symbol one of the piece that the address was in? Where a module was may be another now."""
        if piece < 0:
            return False
        module = self.shift.pieces[piece].module
        return name.endswith(f"[{module}]") if module else "[" not in name

    def string(self, address: int) -> str | None:
        """See Source.string: those of the kernel's image, which is the same; all else is other memory now."""
        moved, piece = self.shift.apply(np.array([address], dtype=np.uint64))
        if piece[0] < 0 or self.shift.pieces[int(piece[0])].module:
            return None
        return super().string(int(moved[0]))

    def kallsyms(self) -> str:
        """See Source.kallsyms: as the boot before had it, of what is known where it was."""
        found = []
        for line in super().kallsyms().splitlines():
            module = line.rpartition("\t[")[2].removesuffix("]") if line.endswith("]") else ""
            was = self.shift.back(int(line[:16], 16), module)
            if was is not None:
                found.append(f"{was:016x}{line[16:]}\n")
        return "".join(found)

    def printk_formats(self) -> str:
        """See Source.printk_formats."""
        found = []
        for line in super().printk_formats().splitlines():
            address, _, said = line.partition(" : ")
            was = self.shift.back(int(address, 16), "")
            if was is not None:
                found.append(f"{was:#x} : {said}\n")
        return "".join(found)

    def constant(self, name: str) -> int | None:
        """See Source.constant."""
        return None if name in _OF_ONE_BOOT else super().constant(name)
