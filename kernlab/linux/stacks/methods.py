"""Which unwinder a kernel has: its own data says it, never its release."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.frame_pointers import BEGINNING, FramePointerUnwinder, setup_of
from kernlab.linux.stacks.frame_records import FrameRecordUnwinder
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.machines import ARM64, machine_of
from kernlab.linux.stacks.orc import OrcUnwinder
from kernlab.linux.stacks.orc_tables import orc_tables

#: Functions of every kernel, none of which could do without a frame of its own.
_LARGE = ("schedule", "do_exit", "wake_up_process", "kthread_create_on_node", "schedule_timeout")


class Unwinder(Protocol):
    """One way to find a frame's caller."""

    def step(self, frames: Frames) -> None:
        """Every frame that is not done becomes its caller's; where that cannot be known it is marked as failed."""


@fact
def unwinder_of(kernel: Kernel) -> Unwinder | None:
    """How this kernel's stacks are unwound; None, and told, where nothing leads from a frame to its caller."""
    if machine_of(kernel) is ARM64:
        return FrameRecordUnwinder.of(kernel)
    table = orc_tables(kernel)
    if table is not None and len(table):
        return OrcUnwinder(kernel, table)
    if keeps_frame_pointers(kernel):
        return FramePointerUnwinder(kernel)
    lost = (
        "its ORC tables cannot be read"
        if table is not None
        else "it has neither ORC tables nor frame pointers"
    )
    kernel.lost(f"the stacks cannot be unwound ({lost}): return addresses on them are guessed")
    return None


def keeps_frame_pointers(kernel: Kernel) -> bool:
    """Was this kernel built with CONFIG_FRAME_POINTER? Its functions' first instructions say it.

    Where the dump has none of them, it is taken for one.
    """
    starts = [start for name in _LARGE if (start := kernel.symbols.get(name))]
    rows, status = kernel.gather(np.array(starts, dtype=np.uint64), BEGINNING, what="")
    known = [setup_of(row.tobytes()) is not None for row in rows[status == 0]]
    return not known or sum(known) * 2 > len(known)
