"""CPU masks and per-CPU variables: which CPUs there are, and one address per CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.memory.address_space import fault
from kernlab.util.addresses import wrapped
from kernlab.walk.bitmaps import bitmap_bits


def cpus(kernel: Kernel, which: str = "possible") -> npt.NDArray[np.int64]:
    """The CPU numbers in one of the kernel's masks, ascending: "possible", "online" or "present".

    Online is what was so until the machine died: a CPU that a panic stopped leaves that mask, and stays active.
    Mirrors include/linux/cpumask.h (`__cpu_possible_mask` and its siblings, since v4.5); a kernel for a single CPU
    (CONFIG_SMP is off) has CPU 0. Raises FaultError, PageExcluded, SymbolNotFoundError.
    """
    if not smp(kernel):
        return np.zeros(1, dtype=np.int64)
    mask = kernel.symbol(f"__cpu_{which}_mask")
    _, numbers, valid = bitmap_bits(kernel, [mask], len(kernel.percpu_offsets))
    if not valid[0]:
        raise fault(int(kernel.gather([mask], 8, "")[1][0]), mask)
    if which == "online" and (active := kernel.symbols.get("__cpu_active_mask")) is not None:
        # arch/arm64/kernel/smp.c, ipi_cpu_crash_stop and local_cpu_stop; arch/x86/kernel/process.c, stop_this_cpu. Else
        # a CPU is active only while it is online (kernel/sched/core.c, sched_cpu_deactivate).
        with kernel.quiet():
            numbers = np.union1d(numbers, bitmap_bits(kernel, [active], len(kernel.percpu_offsets))[1])
    return numbers


def smp(kernel: Kernel) -> bool:
    """Was the kernel built for more than one CPU (CONFIG_SMP)? Raises SymbolNotFoundError where that is not known."""
    return kernel.find_symbol("__per_cpu_offset") is not None


@fact
def possible_cpus(kernel: Kernel) -> npt.NDArray[np.int64]:
    """`cpus(kernel)`; where the mask cannot be read, every CPU that has a per-CPU area, and a problem that says so."""
    try:
        found = cpus(kernel)
    except KernlabError as error:
        kernel.lost(
            f"the mask of possible CPUs cannot be read ({error}); all per-CPU areas are taken instead"
        )
        found = np.zeros(0, dtype=np.int64)
    return found if len(found) else np.flatnonzero(kernel.percpu_offsets)


def percpu(kernel: Kernel, address: int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Where a per-CPU variable lies on each CPU: uint64[len(numbers)].

    `address` is its symbol's value, or a `__percpu` pointer (include/linux/percpu-defs.h, per_cpu_ptr).
    """
    return wrapped(address) + kernel.percpu_offsets[numbers]


def percpu_many(
    kernel: Kernel, pointers: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """Many `__percpu` pointers on many CPUs: uint64[len(pointers), len(numbers)]."""
    return pointers[:, None] + kernel.percpu_offsets[numbers][None, :]
