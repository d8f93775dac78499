"""What the steps read beside structs: strings as they are (`bytes`), and types that only modules may have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import StructType, Type

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


def complete_type(kernel: Kernel, name: str, function: str) -> Type | None:
    """A struct of the kernel or of a module, where this kernel has the function that works with it; else None.

    Looking for a type that nobody has takes long. A type that is only declared does not count.
    """
    kernel.with_modules()
    if kernel.symbols.get(function) is None:
        return None
    for types in (kernel.types, *kernel.module_types):
        found = types.get(name)
        struct = found.strip() if found is not None else None
        if isinstance(struct, StructType) and struct.members:
            return struct
    return None
