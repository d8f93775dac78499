"""Interrupts that have no descriptor: the lines of /proc/interrupts that begin with NMI, LOC, RES …

Mirrors arch/x86/kernel/irq.c, arch_show_interrupts; arm64 has none but those of processor_interrupts.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.devices.processor_interrupts import asked
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

#: Label and words of the lines, and where the count lies: a member of irq_cpustat_t, a per-CPU variable (behind "%"),
#: or a number for the whole machine (behind "=").
_LINES = (
    ("NMI", "__nmi_count", "Non-maskable interrupts"),
    ("LOC", "apic_timer_irqs", "Local timer interrupts"),
    ("SPU", "irq_spurious_count", "Spurious interrupts"),
    ("PMI", "apic_perf_irqs", "Performance monitoring interrupts"),
    ("IWI", "apic_irq_work_irqs", "IRQ work interrupts"),
    ("RTR", "icr_read_retry_count", "APIC ICR read retries"),
    ("PLT", "x86_platform_ipis", "Platform interrupts"),
    ("RES", "irq_resched_count", "Rescheduling interrupts"),
    ("CAL", "irq_call_count", "Function call interrupts"),
    ("TLB", "irq_tlb_count", "TLB shootdowns"),
    ("TRM", "irq_thermal_count", "Thermal event interrupts"),
    ("THR", "irq_threshold_count", "Threshold APIC interrupts"),
    ("DFR", "irq_deferred_error_count", "Deferred Error APIC interrupts"),
    ("MCE", "%mce_exception_count", "Machine check exceptions"),
    ("MCP", "%mce_poll_count", "Machine check polls"),
    ("HYP", "irq_hv_callback_count", "Hypervisor callback interrupts"),
    ("HRE", "irq_hv_reenlightenment_count", "Hyper-V reenlightenment interrupts"),
    ("HVS", "hyperv_stimer0_count", "Hyper-V stimer0 interrupts"),
    ("ERR", "=irq_err_count", ""),
    ("MIS", "=irq_mis_count", ""),
    ("PIN", "kvm_posted_intr_ipis", "Posted-interrupt notification event"),
    ("NPI", "kvm_posted_intr_nested_ipis", "Nested posted-interrupt event"),
    ("PIW", "kvm_posted_intr_wakeup_ipis", "Posted-interrupt wakeup event"),
    ("PMN", "posted_msi_notification_count", "Posted MSI notification event"),
)

#: Lines that are there only while their vector is taken (arch/x86/include/asm/irq_vectors.h).
_VECTORS = {"HYP": 0xF3, "HRE": 0xEE, "HVS": 0xED}
_MOST_VECTORS = 256


@dataclass(frozen=True, slots=True)
class Line:
    """`name` and `text` as /proc/interrupts has them; `counts` on each CPU ("int"), or `total` of the machine alone."""

    name: str
    text: str
    counts: Column
    total: int | None


def arch_lines(kernel: Kernel, numbers: I64) -> list[Line]:
    """The lines, in their order, counted on the CPUs `numbers`; none for a machine that kernlab knows no such of."""
    # x86 counts in an array now, and names its elements in a table (irq_stat_info); seen in v7.2.
    if kernel.find_symbol("irq_stat_info") is not None and kernel.type_or_none("struct irq_stat_info"):
        return _in_table(kernel, numbers)
    symbol = kernel.find_symbol("irq_stat")
    if symbol is None or kernel.type_or_none("irq_cpustat_t") is None:
        return []
    stat = StructArray(kernel, "irq_cpustat_t", percpu(kernel, symbol, numbers))
    if not stat.has("__nmi_count"):
        return _of_arm64(kernel, numbers)
    lines = []
    for name, source, text in _LINES:
        if _is_shown(kernel, name, _VECTORS.get(name, 0)):
            line = _line(kernel, stat, numbers, name, source, text)
            if line is not None:
                lines.append(line)
    return lines


def _of_arm64(kernel: Kernel, numbers: I64) -> list[Line]:
    lines = [Line(f"IPI{kind.number}", kind.text, kind.counts, None) for kind in asked(kernel, numbers)]
    if lines and kernel.symbols.get("irq_err_count") is not None:
        none = Column.missing(len(numbers), "int")
        lines.append(Line("Err", "", none, kernel.word("irq_err_count", 4)))
    return lines


def _line(kernel: Kernel, stat: StructArray, numbers: I64, name: str, source: str, text: str) -> Line | None:
    if source.startswith("="):
        if kernel.find_symbol(source[1:]) is None:
            return None
        try:
            total = kernel.word(source[1:], 4)
        except KernlabError as error:
            kernel.lost(f"the count of {name}: {error}")
            total = None
        return Line(name, text, Column.missing(len(numbers), "int"), total)
    if source.startswith("%"):
        symbol = kernel.find_symbol(source[1:])
        if symbol is None:
            return None
        values, read = kernel.words(percpu(kernel, symbol, numbers), 4, "counts of interrupts")
        return Line(name, text, Column.of(values.astype(np.int64), read), None)
    return Line(name, text, stat[source].int64, None) if stat.has(source) else None


def _is_shown(kernel: Kernel, name: str, vector: int) -> bool:
    """Is the line there: always (`vector` 0), or while this vector is taken?"""
    try:
        if name == "PLT":
            symbol = "x86_platform_ipi_callback"
            return kernel.find_symbol(symbol) is not None and kernel.word(symbol) != 0
        # Nothing that the kernel has no vector for was counted yet.
        if vector == 0:
            return True
        if vector >= _MOST_VECTORS or kernel.find_symbol("system_vectors") is None:
            return False
        byte = kernel.read(kernel.symbol("system_vectors") + vector // 8, 1)[0]
        return bool(byte >> vector % 8 & 1)
    except KernlabError as error:
        kernel.lost(
            f"whether this machine has interrupts {name} is not known, so their line is here: {error}"
        )
        return True


def _in_table(kernel: Kernel, numbers: I64) -> list[Line]:
    """… of a kernel that has a table of them: label, words, and the vector without which a line is left out."""
    stat = StructArray(kernel, "irq_cpustat_t", percpu(kernel, kernel.symbol("irq_stat"), numbers))
    counts = stat["counts"]
    size = kernel.find_type("struct irq_stat_info").size
    where = wrapped(kernel.symbol("irq_stat_info")) + np.arange(
        counts.values.shape[1], dtype=np.uint64
    ) * np.uint64(size)
    info = StructArray(kernel, "struct irq_stat_info", where)
    names, texts = c_strings(kernel, info["symbol"], 64), c_strings(kernel, info["text"], 256)
    return [
        Line(name, text.strip(), Column.of(counts.values[:, at].astype(np.int64), counts.valid), None)
        for at, (name, text, vector) in enumerate(
            zip(names.tolist(), texts.values, info["skip_vector"].filled(0).tolist(), strict=True)
        )
        if name is not None and _is_shown(kernel, name, vector)
    ]
