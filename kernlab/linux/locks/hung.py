"""When a sleep is called hung: what kernel/hung_task.c was told, or would be."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError

_USUAL_SECONDS, _LONGEST_SECONDS = 120, 1 << 31


def hung_after(kernel: Kernel) -> int:
    """Seconds after which an uninterruptible sleep is called hung: what was set, else the usual two minutes."""
    try:
        # 0 turns the kernel's own check off.
        set_to = kernel.word("sysctl_hung_task_timeout_secs")
    except KernlabError:
        set_to = 0
    return set_to if 0 < set_to < _LONGEST_SECONDS else _USUAL_SECONDS
