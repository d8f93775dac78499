"""Bitmaps of the kernel (arrays of unsigned long), many at once: which bits are set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError

#: All bitmaps of one walk together have no more bits than this.
MOST_BITS = 1 << 30


def bitmap_bits(
    kernel: Kernel, addresses: npt.ArrayLike, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The set bits of many bitmaps of `count` bits each (include/linux/bitmap.h, for_each_set_bit).

    Parameters: addresses uint64[n] of the first words. Returns (owner int64[m]: index into addresses, bit int64[m],
    by owner and bit; valid bool[n]: which bitmaps could be read in whole; those that could not have no bits).
    Raises KernlabError for more than 1 Gi bits in all.
    """
    wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
    if count < 0 or len(wanted) * count > MOST_BITS:
        raise KernlabError(
            f"{len(wanted):,} bitmaps of {count:,} bits are refused: at most {MOST_BITS:,} bits"
        )
    rows, status = kernel.gather(wanted, (count + 63) // 64 * 8)
    bits = np.unpackbits(rows, axis=1, bitorder="little", count=count)
    owner, bit = np.nonzero(bits)
    return owner, bit, status == 0
