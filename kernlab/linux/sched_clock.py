"""sched_clock: what the log and ftrace's "local" clock take their times by, and how it follows from the CPU's counter.

Mirrors kernel/sched/clock.c, arch/x86/kernel/tsc.c (cyc2ns) and the clocks that hypervisors bring, and
kernel/time/sched_clock.c, by which all other machines read one counter for all CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.single import number_of, value_of
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.walk.cpus import percpu, possible_cpus

#: Counts become ns by a multiplication and a shift, of 32 bits each (struct cyc2ns_data, struct clocksource).
MOST_MULT, MOST_SHIFT = (1 << 32) - 1, 32


@dataclass(frozen=True)
class Counter:
    """How sched_clock follows from a counter: ns = (count * mult >> shift) + offset.

    `clocksources` are the names of those that read the same counter.
    """

    name: str
    clocksources: tuple[str, ...]
    mult: int
    shift: int
    offset: int

    def ns(self, count: int) -> int:
        """What sched_clock says at a count."""
        return (count * self.mult >> self.shift) + self.offset


@dataclass(frozen=True)
class Pair:
    """What sched_clock (raw) and CLOCK_MONOTONIC said at one tick, and the clock of the log then (struct
    sched_clock_data)."""

    cpu: int
    raw: int
    monotonic: int
    clock: int


def signed(value: int) -> int:
    """A word of 64 bits with its sign."""
    return value - (1 << 64) if value >> 63 else value


def is_stable(kernel: Kernel) -> bool:
    """Is the counter trusted, so that no tick corrects it? Without CONFIG_HAVE_UNSTABLE_SCHED_CLOCK it always is."""
    return (
        kernel.find_symbol("__sched_clock_stable") is None
        or kernel.word("__sched_clock_stable", 4) % 2**32 != 0
    )


def offsets(kernel: Kernel) -> tuple[int, int]:
    """(__sched_clock_offset, __gtod_offset), in ns: the log's clock is sched_clock + the first while that is stable,
    else CLOCK_MONOTONIC + the second."""
    if kernel.find_symbol("__sched_clock_offset") is None:
        return 0, 0
    return signed(kernel.word("__sched_clock_offset")), signed(kernel.word("__gtod_offset"))


def pairs(kernel: Kernel) -> list[Pair]:
    """Each CPU's last pair; none where the kernel has none, or they cannot be read.

    Where sched_clock is stable they are as old as the last look of the clocksource's watchdog, or as boot.
    """
    symbol = kernel.find_symbol("sched_clock_data")
    if symbol is None or kernel.types.get("struct sched_clock_data") is None:
        return []
    cpus = possible_cpus(kernel)
    data = StructArray(kernel, "struct sched_clock_data", percpu(kernel, symbol, cpus))
    columns = [data[name].tolist() for name in ("tick_raw", "tick_gtod", "clock")]
    return [
        Pair(cpu, raw, signed(gtod % (1 << 64)), clock)
        for cpu, raw, gtod, clock in zip(cpus.tolist(), *columns, strict=True)
        if None not in (raw, gtod, clock) and 0 < raw < 1 << 62 and 0 < gtod < 1 << 62
    ]


@fact
def counter(kernel: Kernel) -> Counter:
    """The counter that sched_clock reads. Raises KernlabError where that is not known, or is not one."""
    generic = _generic(kernel)
    function = "" if generic is not None else _function(kernel)
    if generic is not None:
        found = generic
    elif function == "native_sched_clock":
        found = _native(kernel)
    elif function == "vmware_sched_clock":
        data = StructArray(kernel, "struct cyc2ns_data", [kernel.symbol("vmware_cyc2ns")])
        mult, shift, offset = _cyc2ns(data)
        found = Counter("the TSC", _TSC, mult, shift, -offset)
    elif function == "kvm_sched_clock_read":
        found = Counter("kvm-clock", ("kvm-clock",), 1, 0, -signed(kernel.word("kvm_sched_clock_offset")))
    elif function == "xen_sched_clock":
        found = Counter("Xen's clock", ("xen",), 1, 0, -signed(kernel.word("xen_sched_clock_offset")))
    elif function in ("read_hv_sched_clock_tsc", "read_hv_sched_clock_msr"):
        # 100 ns a count (HV_CLOCK_HZ).
        offset = -100 * signed(kernel.word("hv_sched_clock_offset"))
        found = Counter(
            "Hyper-V's clock", ("hyperv_clocksource_tsc_page", "hyperv_clocksource_msr"), 100, 0, offset
        )
    else:
        raise KernlabError("what sched_clock counts is not known: no function of this kernel is known for it")
    if not 0 < found.mult <= MOST_MULT or not 0 <= found.shift <= MOST_SHIFT or abs(found.offset) >= 1 << 62:
        raise KernlabError(
            f"how {found.name} becomes ns cannot be true (times {found.mult:,}, shifted by {found.shift:,}, "
            f"{found.offset:+,} ns)"
        )
    return found


#: Clock sources that are the TSC (arch/x86/kernel/tsc.c).
_TSC = ("tsc", "tsc-early")

#: What reads arm's counter (drivers/clocksource/arm_arch_timer.c), and the clock source that does the same.
_ARM_COUNTER = ("arch_counter_get_cnt", "arch_sys_counter")

_FUNCTIONS = (
    "native_sched_clock", "kvm_sched_clock_read", "vmware_sched_clock", "xen_sched_clock", "read_hv_sched_clock_tsc",
    "read_hv_sched_clock_msr",
)  # fmt: skip


def _function(kernel: Kernel) -> str:
    """The function that sched_clock calls; native_sched_clock where no hypervisor may put in its own, '' if unknown."""
    # Linux 5.13 made a static call of what was a member of pv_ops.
    if (key := kernel.find_symbol("__SCK__pv_sched_clock")) is not None:
        called = number_of(StructArray(kernel, "struct static_call_key", [key]), "func")
    elif (ops := kernel.find_symbol("pv_ops")) is not None:
        called = number_of(StructArray(kernel, "struct paravirt_patch_template", [ops]), "time.sched_clock")
    else:
        return "native_sched_clock"
    return next((name for name in _FUNCTIONS if kernel.find_symbol(name) == called), "")


def _generic(kernel: Kernel) -> Counter | None:
    """A counter that drivers register (sched_clock_register); None of kernels that do not read theirs so."""
    if kernel.types.get("struct clock_data") is None:
        return None
    for where in kernel.symbols.all("cd"):
        data = StructArray(kernel, "struct clock_data", [where])
        with kernel.quiet():
            reads = data["actual_read_sched_clock"]
        (name,) = kernel.symbolize(reads.values[:1].astype(np.uint64)) if reads.true[0] else (None,)
        # Another variable of that name leads to no function's begin.
        if name is None or "+0x0/" not in name:
            continue
        function = name.partition("+")[0]
        if not function.startswith(_ARM_COUNTER[0]):
            raise KernlabError(f"sched_clock goes by what {function} reads, which is not known")
        with kernel.quiet():
            turn = data.first("seq.seqcount.sequence", "seq.sequence")
        _, both = data.elements("read_data")
        which = int(turn.values[0]) & 1 if turn.valid[0] else 0
        used = both[which : which + 1]
        mult, shift = number_of(used, "mult"), number_of(used, "shift")
        since, epoch = number_of(used, "epoch_cyc"), number_of(used, "epoch_ns")
        return Counter(
            "the arm timer", _ARM_COUNTER[1:], mult, shift, epoch - (since * mult >> min(shift, 64))
        )
    return None


def _native(kernel: Kernel) -> Counter:
    """The TSC, by the first CPU's numbers: they are of the machine (cyc2ns_init_secondary_cpus)."""
    used = kernel.find_symbol("__use_tsc")
    if used is not None and kernel.word("__use_tsc", 4) == 0:
        raise KernlabError("sched_clock counts ticks: this kernel does not use the CPU's counter (TSC)")
    first = possible_cpus(kernel)[:1]
    latch = StructArray(kernel, "struct cyc2ns", percpu(kernel, kernel.symbol("cyc2ns"), first))
    with kernel.quiet():
        turn = latch.first("seq.seqcount.sequence", "seq.sequence")
    _, data = latch.elements("data")
    which = int(turn.values[0]) & 1 if turn.valid[0] else 0
    mult, shift, offset = _cyc2ns(data[which : which + 1])
    return Counter("the TSC", _TSC, mult, shift, offset)


def _cyc2ns(data: StructArray) -> tuple[int, int, int]:
    mult, shift = number_of(data, "cyc2ns_mul"), number_of(data, "cyc2ns_shift")
    return mult, shift, signed(int(np.uint64(value_of(data, "cyc2ns_offset"))))
