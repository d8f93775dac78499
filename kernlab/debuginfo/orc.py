"""ORC, the kernel's own unwind tables: where a function's caller lies on the stack, for every instruction.

Sorted addresses, and six bytes for each: which register leads to the caller's stack, which to its frame pointer
(arch/x86/include/asm/orc_types.h). Of the four layouts that there are the types tell the first three; the last has
the fields of the third, and its registers other numbers (https://git.kernel.org/linus/1735858caa4b, v7.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.types import StructType

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: Bytes of an entry.
ENTRY = 6


class Base(IntEnum):
    """What an offset counts from: a register, or the word that one points to."""

    UNDEFINED = 0
    PREV_SP = 1
    DX = 2
    DI = 3
    BP = 4
    SP = 5
    R10 = 6
    R13 = 7
    BP_INDIRECT = 8
    SP_INDIRECT = 9
    AX = 10


class Kind(IntEnum):
    """What lies at the caller's end of a frame: a return address, or registers that were saved."""

    UNDEFINED = 0
    END_OF_STACK = 1
    CALL = 2
    REGS = 3
    REGS_PARTIAL = 4


#: ORC_TYPE_* of v4.14 to v6.3, where an end of the stack is a frame without a base, marked `end`.
_OLD_KINDS = np.array([Kind.CALL, Kind.REGS, Kind.REGS_PARTIAL, Kind.UNDEFINED], dtype=np.uint8)
_NEW_KINDS = np.array([*Kind, *[Kind.UNDEFINED] * 3], dtype=np.uint8)

_OLD_BASES = np.array([*range(10), *[Base.UNDEFINED] * 6], dtype=np.uint8)
_NEW_BASES = np.array(
    [
        Base.UNDEFINED,
        Base.AX,
        Base.DX,
        Base.SP,
        Base.BP,
        Base.DI,
        Base.R10,
        Base.R13,
        Base.PREV_SP,
        Base.SP_INDIRECT,
        Base.BP_INDIRECT,
        *[Base.UNDEFINED] * 5,
    ],
    dtype=np.uint8,
)


@dataclass(frozen=True, slots=True)
class OrcTable:
    """Of m stretches of code: where each begins, uint64[m] ascending (the last ends nowhere), and how to leave it.

    sp_base, bp_base uint8[m] (`Base`), sp_offset, bp_offset int64[m] in bytes, kind uint8[m] (`Kind`), signal bool[m]:
    whether the caller was interrupted, so that its address is that of an instruction yet to be done.
    """

    ip: U64
    sp_base: U8
    bp_base: U8
    sp_offset: I64
    bp_offset: I64
    kind: U8
    signal: Mask

    def __len__(self) -> int:
        return len(self.ip)

    def find(self, addresses: U64) -> I64:
        """The row of the stretch that each address uint64[n] lies in, -1 of those before the first: int64[n]."""
        return np.searchsorted(self.ip, addresses, side="right").astype(np.int64) - 1


def decode(ip: U64, entries: U8, kind: StructType) -> OrcTable:
    """A table from addresses uint64[m] and entries uint8[m, 6], sorted or not; `kind` is the dump's struct orc_entry.

    Of equal addresses a terminator of a section gives way to what begins there (kernel/unwind_orc.c, orc_sort_cmp).
    """
    words = np.ascontiguousarray(entries).view("<i2")
    flags = words[:, 2].view(np.uint16)
    members = {member.name: member for member in kind.members}
    old = "end" in members
    signal_bit = members["signal"].bit_offset % 16 if "signal" in members else None
    sp, bp = flags & 0xF, (flags >> 4) & 0xF
    signal = np.zeros(len(flags), dtype=bool)
    if signal_bit is not None:
        signal = (flags >> np.uint16(signal_bit)) & 1 != 0
    if old:
        how = _OLD_KINDS[(flags >> 8) & 3]
        ends = (flags >> np.uint16(members["end"].bit_offset % 16)) & 1 != 0
        how = np.where(sp == Base.UNDEFINED, np.where(ends, Kind.END_OF_STACK, Kind.UNDEFINED), how).astype(
            np.uint8
        )
        if signal_bit is None:
            # Before v6.3 every frame of registers was taken for an interrupted one.
            signal = (how == Kind.REGS) | (how == Kind.REGS_PARTIAL)
    else:
        how = _NEW_KINDS[(flags >> 8) & 7]
    bases = _OLD_BASES
    # Nearly all of a kernel's frames are told by the stack pointer: it has the number that most of them have.
    if not old and np.count_nonzero(sp == 3) > np.count_nonzero(sp == int(Base.SP)):
        bases = _NEW_BASES
    order = np.lexsort((sp != 0, ip)) if len(ip) else np.zeros(0, dtype=np.int64)
    return OrcTable(
        ip[order],
        bases[sp][order],
        bases[bp][order],
        words[order, 0].astype(np.int64),
        words[order, 1].astype(np.int64),
        how[order],
        signal[order],
    )
