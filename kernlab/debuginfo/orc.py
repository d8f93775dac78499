"""ORC, the kernel's own unwind tables: where a function's caller lies on the stack, for every instruction.

Sorted addresses, and six bytes for each: which register leads to the caller's stack, which to its frame pointer
(arch/x86/include/asm/orc_types.h). Of the four layouts that there are the types tell the first three; the last has
the fields of the third, and its registers other numbers (https://git.kernel.org/linus/1735858caa4b, v7.1).
"""

from __future__ import annotations

from collections.abc import Iterable
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
#: So many entries tell which numbers registers have.
_SAMPLE = 1 << 14


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


@dataclass(slots=True)
class Entries:
    """How to leave k places: sp_base, bp_base uint8[k] (`Base`), sp_offset, bp_offset int64[k] in bytes, kind uint8[k]
    (`Kind`); signal bool[k]: whether the caller was interrupted, so that its address is that of an instruction yet to
    be done; unknown bool[k]: places in code that has no table.
    """

    sp_base: U8
    bp_base: U8
    sp_offset: I64
    bp_offset: I64
    kind: U8
    signal: Mask
    unknown: Mask

    def __getitem__(self, rows: Mask) -> Entries:
        return Entries(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class OrcPart:
    """The table of one piece of code, which ends at `end`: ip uint64[m] and entries uint8[m, ENTRY], in any order.

    `there` is bool[m]: which addresses and which entries could be read.
    """

    ip: U64
    entries: U8
    there: Mask
    end: int


class OrcTable:
    """How to leave each place in code, for all of the parts; `kind` is the dump's struct orc_entry.

    Where entries were lost nothing is known from the one before them on, as that may have ended there.
    """

    def __init__(self, parts: Iterable[OrcPart], kind: StructType):
        cleaned = sorted((_clean(part) for part in parts if len(part.ip)), key=lambda part: int(part[0][0]))
        nothing: list[tuple[U64, npt.NDArray[np.int16], Mask]] = [
            (np.zeros(0, dtype=np.uint64), np.zeros((0, ENTRY // 2), dtype="<i2"), np.zeros(0, dtype=bool))
        ]
        ip, words, beyond = zip(*(cleaned or nothing), strict=True)
        #: Where each stretch of code begins, uint64[m] ascending.
        self.ip: U64 = np.concatenate(ip)
        self._words = np.concatenate(words)
        self._beyond = np.concatenate(beyond)
        if (self.ip[1:] < self.ip[:-1]).any():
            order = np.argsort(self.ip, kind="stable")
            self.ip, self._words, self._beyond = self.ip[order], self._words[order], self._beyond[order]
        members = {member.name: member for member in kind.members}
        self._end_bit = members["end"].bit_offset % 16 if "end" in members else None
        self._signal_bit = members["signal"].bit_offset % 16 if "signal" in members else None
        self._bases = _OLD_BASES
        # Nearly all of a kernel's frames are told by the stack pointer: it has the number that most of them have.
        some = self._words[:: max(len(self.ip) // _SAMPLE, 1), 2] & 0xF
        if self._end_bit is None and np.count_nonzero(some == 3) > np.count_nonzero(some == int(Base.SP)):
            self._bases = _NEW_BASES

    def __len__(self) -> int:
        return len(self.ip)

    def at(self, addresses: U64) -> Entries:
        """How to leave each of the addresses uint64[n]."""
        row = np.searchsorted(self.ip, addresses, side="right").astype(np.int64) - 1
        if not len(self.ip):
            words, unknown = np.zeros((len(row), ENTRY // 2), dtype="<i2"), np.ones(len(row), dtype=bool)
        else:
            words, unknown = self._words[row], (row < 0) | self._beyond[row]
        flags = words[:, 2].view(np.uint16)
        sp, bp = flags & 0xF, (flags >> 4) & 0xF
        if self._end_bit is None:
            how = _NEW_KINDS[(flags >> 8) & 7]
        else:
            ends = (flags >> np.uint16(self._end_bit)) & 1 != 0
            old = _OLD_KINDS[(flags >> 8) & 3]
            how = np.where(sp == 0, np.where(ends, Kind.END_OF_STACK, Kind.UNDEFINED), old).astype(np.uint8)
        if self._signal_bit is None:
            # Before v6.3 every frame of registers was taken for an interrupted one.
            signal = (how == Kind.REGS) | (how == Kind.REGS_PARTIAL)
        else:
            signal = (flags >> np.uint16(self._signal_bit)) & 1 != 0
        how = np.where(unknown, Kind.UNDEFINED, how).astype(np.uint8)
        offsets = words.astype(np.int64)
        return Entries(
            self._bases[sp], self._bases[bp], offsets[:, 0], offsets[:, 1], how, signal & ~unknown, unknown
        )


def _clean(part: OrcPart) -> tuple[U64, npt.NDArray[np.int16], Mask]:
    """A part in order, and an end behind which nothing is known of: ip uint64[m], words int16[m, 3], beyond bool[m]."""
    words = np.ascontiguousarray(part.entries).view("<i2").copy()
    ip, there = part.ip, part.there
    if not there.all():
        # The one before a gap may end anywhere within it.
        known = there & np.append(there[1:], True)
        words[~known] = 0
        kept = np.flatnonzero(there)
        if not len(kept) or (ip[kept][1:] < ip[kept][:-1]).any():
            # Not in order: what the gap covered may be anywhere.
            words[:] = 0
        ip, words = ip[kept], words[kept]
    # Of equal addresses a terminator of a section gives way to what begins there (orc_sort_cmp).
    empty = words[:, 2] == 0
    if len(ip) and ((ip[1:] < ip[:-1]) | ((ip[1:] == ip[:-1]) & empty[1:] & ~empty[:-1])).any():
        order = np.lexsort((~empty, ip))
        ip, words = ip[order], words[order]
    count = int(np.searchsorted(ip, np.uint64(part.end)))
    beyond = np.zeros(count + 1, dtype=bool)
    beyond[-1] = True
    end = np.array([part.end], dtype=np.uint64)
    return np.append(ip[:count], end), np.append(words[:count], np.zeros((1, 3), dtype="<i2"), axis=0), beyond
