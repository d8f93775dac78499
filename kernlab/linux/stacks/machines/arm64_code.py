"""arm64's instructions, as far as stacks need to know them: calls, addresses, and where a function has its record."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_SIZE = 4
#: mov x29, sp or add x29, sp, #n: from here on the frame record is the function's own.
_SETS, _SETS_BITS = 0x9100_03FD, 0xFFC0_03FF
#: ldp x29, x30, [sp, …] in its three forms: from here on it is the caller's again.
_LOADS, _LOADS_BITS, _PAIR = (0xA8C0_0000, 0xA940_0000, 0xA9C0_0000), 0xFFC0_0000, 29 | 30 << 10 | 31 << 5
_PAIR_BITS = 0x7FFF
#: Instructions that adrp may be apart from the add that belongs to it.
_NEAR = 12


def calls(word: U32) -> tuple[Mask, Mask]:
    """Which of n instructions are a bl, a blr, or a blr that authenticates its pointer; which may have been one."""
    called: Mask = (word & 0xFC00_0000 == 0x9400_0000) | (word & 0xFEFF_F000 == 0xD63F_0000)
    # ftrace's call became a NOP again, or a probe's brk stands there.
    patched: Mask = (word == 0xD503_201F) | (word & 0xFFE0_001F == 0xD420_0000)
    return called, patched


def called(code: bytes, start: int) -> U64:
    """Where each bl of code that begins at `start` leads: uint64[m]."""
    word = np.frombuffer(code[: len(code) // _SIZE * _SIZE], dtype="<u4")
    at = np.flatnonzero(word & 0xFC00_0000 == 0x9400_0000)
    distance = ((word[at].astype(np.int64) & 0x3FF_FFFF) << 38 >> 36).view(np.uint64)
    target: U64 = np.uint64(start) + at.astype(np.uint64) * np.uint64(_SIZE) + distance
    return target


def uses(code: bytes, start: int, address: int) -> list[int]:
    """Behind which bytes of code that begins at `start` a register has an address, ascending."""
    words: list[int] = np.frombuffer(code[: len(code) // _SIZE * _SIZE], dtype="<u4").tolist()
    found = set()
    for at, word in enumerate(words):
        # adr, adrp: 21 bits of distance, of bytes or of pages.
        if word >> 24 & 0x1F != 0x10:
            continue
        distance = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
        here = start + at * _SIZE
        base = (here & ~0xFFF) + (distance << 12) if word >> 31 else here + distance
        if base == address:
            found.add((at + 1) * _SIZE)
        for behind in range(at + 1, min(at + 1 + _NEAR, len(words))) if word >> 31 else ():
            # add xd, xn, #imm12
            if words[behind] & 0xFFC0_0000 == 0x9100_0000 and words[behind] >> 5 & 31 == word & 31:
                if base + (words[behind] >> 10 & 0xFFF) == address:
                    found.add((behind + 1) * _SIZE)
                break
    return sorted(found)


def has_record(code: bytes, at: int) -> bool | None:
    """Has a function that begins with `code` its frame record in x29 when the instruction at byte `at` is to come?

    None where that cannot be told: no way that the code shows leads there, or ways that differ. Compilers put off a
    record until it is needed (shrink wrapping), so what counts is the way and not what lies before.
    """
    words: list[int] = np.frombuffer(code[: len(code) // _SIZE * _SIZE], dtype="<u4").tolist()
    goal = at // _SIZE
    known: set[tuple[int, bool]] = set()
    todo = [(0, False)]
    while todo:
        place, record = todo.pop()
        # Straight on, until somebody has been here.
        while 0 <= place < len(words) and (place, record) not in known:
            known.add((place, record))
            word = words[place]
            record = _after(word, record)
            target = _branch(word)
            if target is not None:
                todo.append((place + target, record))
            if _ends(word):
                break
            place += 1
    said = {record for place, record in known if place == goal}
    return said.pop() if len(said) == 1 else None


def _after(word: int, record: bool) -> bool:
    if word & _SETS_BITS == _SETS:
        return True
    if word & _LOADS_BITS in _LOADS and word & _PAIR_BITS == _PAIR:
        return False
    return record


def _branch(word: int) -> int | None:
    """How many instructions away one leads that may jump within its function; None of all others."""
    if word & 0xFC00_0000 == 0x1400_0000:  # b
        return _signed(word & 0x3FF_FFFF, 26)
    # b.cond and bc.cond, cbz and cbnz
    if word & 0xFF00_0000 == 0x5400_0000 or word & 0x7E00_0000 == 0x3400_0000:
        return _signed(word >> 5 & 0x7FFFF, 19)
    if word & 0x7E00_0000 == 0x3600_0000:  # tbz, tbnz
        return _signed(word >> 5 & 0x3FFF, 14)
    return None


def _ends(word: int) -> bool:
    """Does nothing behind this instruction follow it? b, br, ret, eret with and without authentication, udf."""
    return (
        word & 0xFC00_0000 == 0x1400_0000
        or (word & 0xFE1F_0000 == 0xD61F_0000 and word >> 21 & 0xF in (0x0, 0x2, 0x4, 0x8))
        or word >> 16 == 0
    )


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
