"""Where the kernel's code lies, which addresses in it lie right behind a call, and which can be returned to so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux import kernel_modules
from kernlab.linux.made_symbols import made_symbols
from kernlab.linux.stacks.machines import machine_of

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: The image's code; what ran at boot only is gone, but idle tasks still return to it (kernel/extable.c,
#: __kernel_text_address).
_IMAGE = (("_stext", "_etext"), ("_sinittext", "_einittext"))


@dataclass(frozen=True, slots=True)
class Code:
    """M stretches of code [start, end), uint64[m] each, ascending and apart."""

    start: U64
    end: U64

    def holds(self, addresses: U64) -> Mask:
        """Which addresses uint64[n] lie in code: bool[n]."""
        if not len(self.start):
            return np.zeros(len(addresses), dtype=bool)
        at = np.searchsorted(self.start, addresses, side="right") - 1
        inside: Mask = (at >= 0) & (addresses < self.end[at])
        return inside


@fact
def kernel_code(kernel: Kernel) -> Code:
    """The code of the image and of modules, and what was made at run time: BPF, trampolines, probes' instructions."""
    ranges = [
        (first, last)
        for edges in _IMAGE
        if (first := kernel.symbols.get(edges[0])) and (last := kernel.symbols.get(edges[1]))
    ]
    if not ranges:
        ranges = [(kernel.layout.image_start, kernel.layout.image_end)]
    parts = [np.array(ranges, dtype=np.uint64), np.stack(kernel_modules.code_ranges(kernel), axis=1)]
    parts += [
        np.stack([made.addresses, made.addresses + made.sizes], axis=1)
        for made in made_symbols(kernel)
        if made.sizes is not None and not made.gone
    ]
    every = np.concatenate(parts)
    every = every[every[:, 0] < every[:, 1]]
    every = every[np.argsort(every[:, 0], kind="stable")]
    start, end = every[:, 0], np.maximum.accumulate(every[:, 1])
    apart = np.ones(len(start), dtype=bool)
    apart[1:] = start[1:] > end[:-1]
    begins = np.flatnonzero(apart)
    return Code(start[begins], end[np.append(begins, len(end))[1:] - 1])


def behind_call(kernel: Kernel, addresses: U64) -> tuple[Mask, Mask]:
    """Which addresses uint64[n] lie right behind a call, by the code that the dump has: (bool[n], bool[n]).

    The second is where that code tells it: not where the dump lacks it, where it ran at boot only and is gone, and
    where a call may have been patched away while somebody was in it.
    """
    machine = machine_of(kernel)
    size = machine.call_bytes
    rows, status = kernel.gather(addresses - np.uint64(size), size, what="")
    read = status == 0
    called, patched = machine.calls(kernel, kernel_code(kernel), rows, addresses)
    called &= read
    return called, called | read & ~patched & ~_ran_at_boot(kernel, addresses)


def is_return_address(kernel: Kernel, addresses: U64) -> Mask:
    """Which of uint64[n] can be a return address: right behind a call, or in code of which it is not known.

    A call may stand in code that nothing lists (programs of classic BPF).
    """
    distinct, back = np.unique(addresses, return_inverse=True)
    called, known = behind_call(kernel, distinct)
    # Behind a function's last call may be the end of the code.
    good: Mask = called | ~known & kernel_code(kernel).holds(distinct - np.uint64(1))
    return good[back]


def _ran_at_boot(kernel: Kernel, addresses: U64) -> Mask:
    """Which addresses are of the code that is given back when the kernel has booted."""
    start, end = (kernel.symbols.get(name) for name in _IMAGE[1])
    if start is None or end is None:
        return np.zeros(len(addresses), dtype=bool)
    inside: Mask = (addresses > np.uint64(start)) & (addresses <= np.uint64(end))
    return inside
