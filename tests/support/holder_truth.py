"""The pages that the lab's program `holder` keeps, made again here (kernlab/lab/guest/programs/holder.c, fill)."""

from __future__ import annotations

import numpy as np

PAGE = 4096
_MASK = (1 << 64) - 1


def _noise(state: int, count: int) -> bytes:
    words = []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & _MASK
        words.append(state ^ state >> 29)
    return np.array(words, dtype="<u8").tobytes()


def page(seed: int, number: int) -> bytes:
    """Page `number` of what has the seed."""
    words = np.zeros(PAGE // 8, dtype="<u8")
    at = np.arange(PAGE // 8, dtype=np.uint64)
    match number % 8:
        case 0:
            return b"".join(
                (b"%04d page %08d line %08d." % (seed, number, line))[:32] for line in range(PAGE // 32)
            )
        case 1:
            words[:] = 0x0101010101010101 * (number // 8 % 250 + 1)
        case 3:
            return _noise(seed << 32 | number, PAGE // 8)
        case 4:
            rows = at[:: 37 + number % 100]
            words[rows.astype(np.int64)] = rows + np.uint64(number)
        case 5:
            return _noise(seed << 32 | number, PAGE // 16) + bytes(PAGE // 2)
        case 6:
            words[:] = at * np.uint64(number + 1)
        case 7:
            return bytes(b"abcdefgh"[place // (number % 300 + 20) % 8] for place in range(PAGE))
    return words.tobytes()


def pages(seed: int, count: int) -> bytes:
    """The first `count` of them."""
    return b"".join(page(seed, number) for number in range(count))
