"""What the host took of a virtual machine's CPUs, as KVM tells it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu


def stolen_since_tick(kernel: Kernel, cpus: npt.NDArray[np.int64]) -> Column:
    """For how many ns the host let each CPU wait since its last tick; missing where nobody tells.

    The host counts in `steal_time` whenever it lets the CPU run again (arch/x86/kvm/x86.c, record_steal_time); the tick
    takes that over into rq.prev_steal_time (kernel/sched/cputime.c, steal_account_process_time).
    """
    where = kernel.find_symbol("steal_time")
    if where is None or not kernel.types.has_member("struct kvm_steal_time", "steal"):
        return Column.missing(len(cpus), "int")
    with kernel.quiet():
        told = StructArray(kernel, "struct kvm_steal_time", percpu(kernel, where, cpus))
        queue = StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), cpus))
        if not queue.has("prev_steal_time"):
            return Column.missing(len(cpus), "int")
        # The host has written there at least once: its count is even between two writes.
        steal = told["steal"].int64.where(told["version"].true)
        return (steal - queue["prev_steal_time"].int64).clip(0)
