"""Bytes of many strings in kernel memory, as they are: addresses in, `bytes` out, None for what cannot be read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def bytes_at(kernel: Kernel, addresses: U64, sizes: I64) -> list[bytes | None]:
    """`sizes` bytes at each address, int64[n]; b'' where there are none to be read."""
    found: list[bytes | None] = [b""] * len(addresses)
    for size in np.unique(sizes[sizes > 0]).tolist():
        rows = np.flatnonzero(sizes == size)
        data, status = kernel.gather(addresses[rows], size, "")
        for row, text, lost in zip(rows.tolist(), data, status.tolist(), strict=True):
            found[row] = None if lost else text.tobytes()
    return found


def text_at(kernel: Kernel, addresses: U64, limit: int) -> list[bytes]:
    """What stands at each address up to its NUL, no more than `limit` bytes; as far as it can be read."""
    found = []
    for address in addresses.tolist():
        data, there = kernel.memory.read_partial(address, min(limit, (1 << 64) - address))
        end = int(np.argmin(there)) if not there.all() else len(data)
        found.append(data[:end].tobytes().split(b"\0")[0])
    return found
