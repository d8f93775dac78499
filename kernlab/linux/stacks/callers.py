"""Who called a function that no table tells of: the call itself says it, whose address lies on the stack.

The kernel leaves a few functions out of its tables (STACK_FRAME_NON_STANDARD), __crash_kexec among them, in which the
registers of the CPU that panicked are taken (kernel/kexec_core.c).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.linux.stacks.frames import Frames

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_WORD = 8
#: call rel32, the way that compilers call a function by its name.
_CALL, _CALL_BYTES = 0xE8, 5
#: The frame of such a function is not larger than this.
_LARGEST_FRAME = 4096


def callers(frames: Frames, rows: I64, addresses: U64) -> U64:
    """For frames at the addresses uint64[k]: the stack pointer of whoever called their functions, 0 where none did.

    That is the nearest word on the stack which is the return address of a call of just this function.
    """
    kernel = frames.kernel
    symbol, offset, _ = kernel.lookup(addresses)
    found = np.zeros(len(rows), dtype=np.uint64)
    for at in np.flatnonzero(symbol >= 0).tolist():
        row = rows[at]
        start, sp = addresses[at] - offset[at], int(frames.sp[row])
        end = min(int(frames.stacks.end[frames.stack[row]]), sp + _LARGEST_FRAME)
        slots = np.arange(sp, end - end % _WORD, _WORD, dtype=np.uint64)
        words, read = frames.read(np.full(len(slots), row), slots)
        # A word that is not an address of code leads to no call, nor to anything that could be lost.
        code, status = kernel.gather(
            np.where(read, words, np.uint64(0)) - np.uint64(_CALL_BYTES), _CALL_BYTES, ""
        )
        distance = np.ascontiguousarray(code[:, 1:]).view("<i4")[:, 0].astype(np.int64).view(np.uint64)
        calls = read & (status == 0) & (code[:, 0] == _CALL) & (words + distance == start)
        if calls.any():
            found[at] = slots[np.argmax(calls)] + np.uint64(_WORD)
    return found
