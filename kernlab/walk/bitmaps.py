"""Bitmaps of the kernel (arrays of unsigned long), many at once: which bits are set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import BudgetError

#: Bits that are spread to a byte each at a time.
_PIECE = 1 << 26


def bitmap_bits(
    kernel: Kernel, addresses: npt.ArrayLike, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The set bits of many bitmaps of `count` bits each (include/linux/bitmap.h, for_each_set_bit).

    Parameters: addresses uint64[n] of the first words. Returns (owner int64[m]: index into addresses, bit int64[m],
    by owner and bit; valid bool[n]: which bitmaps could be read in whole; those that could not have no bits).
    Raises BudgetError for more bits in all than the dump's file can hold.
    """
    wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
    size = (count + 63) // 64 * 8
    if not kernel.budget.holds(len(wanted) * size // 8, 8) or count < 0:
        raise BudgetError(
            f"{len(wanted):,} bitmaps of {count:,} bits are refused: the file does not hold so much memory"
        )
    owners, bits, valid = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], np.zeros(len(wanted), dtype=bool)
    step = max(1, _PIECE // max(count, 1))
    for start in range(0, len(wanted), step):
        rows, status = kernel.gather(wanted[start : start + step], size, "bitmaps")
        owner, bit = np.nonzero(np.unpackbits(rows, axis=1, bitorder="little", count=count))
        owners.append(owner + start)
        bits.append(bit)
        valid[start : start + step] = status == 0
    return np.concatenate(owners), np.concatenate(bits), valid
