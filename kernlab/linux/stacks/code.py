"""Where the kernel's code lies, and which addresses in it lie right behind a call, as a return address does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux import kernel_modules
from kernlab.linux.made_symbols import made_symbols

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: The image's code; what ran at boot only is gone, but idle tasks still return to it (kernel/extable.c,
#: __kernel_text_address).
_IMAGE = (("_stext", "_etext"), ("_sinittext", "_einittext"))

#: The kinds of a module's memory that are code (include/linux/module.h): since v6.4, and before.
_MODULE_KINDS = ("MOD_TEXT", "MOD_INIT_TEXT")
_MODULE_LAYOUTS = ("core_layout", "init_layout")

#: x86-64's longest call: ff /2 with a SIB byte and 32 bits of displacement. arm64's have 4 bytes.
_LONGEST_CALL, _ARM64_CALL = 7, 4


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
    parts = [np.array(ranges, dtype=np.uint64), _of_modules(kernel)]
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


def _of_modules(kernel: Kernel) -> U64:
    """[start, end) of each module's code, uint64[m, 2]."""
    if kernel.symbols.get("modules") is None:
        return np.zeros((0, 2), dtype=np.uint64)
    module = kernel_modules.loaded(kernel)
    # Linux commit ac3b43283923 ("module: replace module_layout with module_memory") (in v6.4).
    if module.has("mem"):
        numbers = [kernel.types.enumerator_or_none(name) for name in _MODULE_KINDS]
        found = [(f"mem[{number}].base", f"mem[{number}].size") for number in numbers if number is not None]
    else:
        found = [(f"{layout}.base", f"{layout}.text_size") for layout in _MODULE_LAYOUTS]
    parts = [np.zeros((0, 2), dtype=np.uint64)]
    for base, size in found:
        start, length = module[base], module[size]
        rows = np.flatnonzero(start.true & length.true)
        first = start.values[rows].astype(np.uint64)
        parts.append(np.stack([first, first + length.values[rows].astype(np.uint64)], axis=1))
    return np.concatenate(parts)


def has_frame_records(kernel: Kernel) -> bool:
    """Is this a kernel of arm64? Its threads save their registers in a cpu_context."""
    return kernel.types.has_member("struct thread_struct", "cpu_context")


def behind_call(kernel: Kernel, addresses: U64) -> tuple[Mask, Mask]:
    """Which addresses uint64[n] lie right behind a call, by the code that the dump has: (bool[n], bool[n]).

    The second is where the dump has the code before the address.
    """
    arm64 = has_frame_records(kernel)
    size = _ARM64_CALL if arm64 else _LONGEST_CALL
    rows, status = kernel.gather(addresses - np.uint64(size), size, what="")
    calls = _arm64_calls(rows) if arm64 else _x86_calls(rows, addresses, kernel_code(kernel))
    read = status == 0
    return calls & read, read


def is_return_address(kernel: Kernel, addresses: U64) -> Mask:
    """Which of uint64[n] can be a return address: in known code, or right behind a call (BPF that nothing lists)."""
    good: Mask = kernel_code(kernel).holds(addresses)
    other = np.flatnonzero(~good)
    if len(other):
        good[other] = behind_call(kernel, addresses[other])[0]
    return good


def _x86_calls(rows: U8, addresses: U64, code: Code) -> Mask:
    """Which of uint8[n, 7] end in a call: e8 rel32 (to a function, a thunk or a static call), or ff /2."""
    distance = np.ascontiguousarray(rows[:, -4:]).view("<i4")[:, 0].astype(np.int64).view(np.uint64)
    found: Mask = (rows[:, -5] == 0xE8) & code.holds(addresses + distance)
    # Before v6.12 the start of a CPU pushed where to return to, and called by a far return (lretq; head_64.S).
    found |= (rows[:, -2] == 0x48) & (rows[:, -1] == 0xCB)
    for length in range(2, _LONGEST_CALL + 1):
        opcode, modrm = rows[:, -length], rows[:, -length + 1]
        mode, register, where = modrm >> 6, modrm >> 3 & 7, modrm & 7
        has_sib = (mode != 3) & (where == 4)
        sib = rows[:, -length + 2] if length > 2 else np.zeros(len(rows), dtype=np.uint8)
        wide = (mode == 2) | ((mode == 0) & ((where == 5) | (has_sib & (sib & 7 == 5))))
        bytes_of = 2 + has_sib + np.where(mode == 1, 1, 0) + np.where(wide, 4, 0)
        found |= (opcode == 0xFF) & (register == 2) & (bytes_of == length)
    return found


def _arm64_calls(rows: U8) -> Mask:
    """Which of uint8[n, 4] are a bl, a blr, or a blr that authenticates its pointer."""
    word = np.ascontiguousarray(rows).view("<u4")[:, 0]
    called: Mask = (word & 0xFC00_0000 == 0x9400_0000) | (word & 0xFEFF_F000 == 0xD63F_0000)
    return called
