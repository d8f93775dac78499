"""arm64's CPUs: make and model out of the register that says it (MIDR_EL1), capabilities by the kernel's names.

Mirrors arch/arm64/kernel/cpuinfo.c (c_show) and drivers/base/arch_topology.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.util.addresses import wrapped
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.cpus import percpu
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

#: Who made it (arch/arm64/include/asm/cputype.h, ARM_CPU_IMP_*), by the uppermost byte of the register.
_IMPLEMENTERS = {
    0x41: "ARM", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon", 0x4E: "NVIDIA", 0x50: "APM",
    0x51: "Qualcomm", 0x61: "Apple", 0x6D: "Microsoft", 0x70: "Phytium", 0xC0: "Ampere",
}  # fmt: skip

#: What its maker calls it, by implementer and part number (there, and in the makers' reference manuals).
_PARTS = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD04): "Cortex-A35", (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72", (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75", (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD40): "Neoverse-V1", (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD44): "Cortex-X1", (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2", (0x41, 0xD49): "Neoverse-N2", (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3", (0x41, 0xD4F): "Neoverse-V2", (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720", (0x41, 0xD82): "Cortex-X4", (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3", (0x43, 0x0A1): "ThunderX", (0x43, 0x0AF): "ThunderX2",
    (0x46, 0x001): "A64FX", (0x48, 0xD01): "TSV110", (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1A",
}  # fmt: skip

#: "CPU architecture" of /proc/cpuinfo, whatever the register says.
_ARCHITECTURE = 8
_POINTER = np.uint64(8)
#: No kernel has names for more capabilities.
_MOST_NAMES = 512


def processors(kernel: Kernel, cpus: I64) -> StructArray:
    """The struct cpuinfo_arm64 of each CPU."""
    return StructArray(kernel, "struct cpuinfo_arm64", percpu(kernel, kernel.symbol("cpu_data"), cpus))


def identity(info: StructArray) -> dict[str, Column]:
    """Of each CPU: vendor, family (8), model (the part number), stepping (the revision), variant, model_name.

    Of rNpM variant is N and stepping M. All are missing of a CPU that was never started.
    """
    register = info["reg_midr"].int64
    started = register.true

    def part(shift: int, bits: int) -> Column:
        return Column((register.values >> shift) & (1 << bits) - 1, started, "int")

    implementer, number = part(24, 8), part(4, 12)
    makers = [_IMPLEMENTERS.get(one, f"{one:#04x}") for one in implementer.values.tolist()]
    names = [
        _PARTS.get(pair, f"part {pair[1]:#05x}")
        for pair in zip(implementer.values.tolist(), number.values.tolist(), strict=True)
    ]
    return {
        "vendor": Column.of(np.array(makers, dtype=object), started, "text"),
        "family": Column(np.full(len(info), _ARCHITECTURE, dtype=np.int64), started, "int"),
        "model": number,
        "stepping": part(0, 4),
        "variant": part(20, 4),
        "model_name": Column.of(np.array(names, dtype=object), started, "text"),
    }


def topology(kernel: Kernel, cpus: I64) -> dict[str, Column]:
    """Of each CPU: package, cluster, core ("int"; missing where the machine does not say)."""
    symbol, kind = kernel.find_symbol("cpu_topology"), kernel.types.get("struct cpu_topology")
    names = {"package": "package_id", "cluster": "cluster_id", "core": "core_id"}
    if symbol is None or kind is None:
        return {name: Column.missing(len(cpus), "int") for name in names}
    where = wrapped(symbol) + cpus.astype(np.uint64) * np.uint64(kind.size)
    each = StructArray(kernel, kind, where)
    found = {}
    for name, member in names.items():
        # Linux commit c5e22feffdd7 ("topology: Represent clusters of CPUs within a die") (in v5.16) gave cluster_id its
        # meaning; -1 is not known.
        number = each[member].int64 if each.has(member) else Column.missing(len(cpus), "int")
        found[name] = number.where(number.valid & (number.values >= 0))
    return found


def numa_nodes(kernel: Kernel, cpus: I64) -> Column:
    """The NUMA node of each CPU (USE_PERCPU_NUMA_NODE_ID); missing without CONFIG_NUMA."""
    symbol = kernel.find_symbol("numa_node")
    if symbol is None:
        return Column.missing(len(cpus), "int")
    words, read = kernel.words(percpu(kernel, symbol, cpus), 4, "NUMA nodes of CPUs")
    number = words.astype(np.uint32).view(np.int32).astype(np.int64)
    return Column(number, read & (number >= 0), "int")


def features(kernel: Kernel) -> str | None:
    """What all CPUs can do, as the line Features of /proc/cpuinfo; None where that is not known."""
    names, bits = kernel.find_symbol("hwcap_str"), kernel.find_symbol("elf_hwcap")
    if names is None or bits is None:
        return None
    count = min(kernel.symbols.room(names) // 8, _MOST_NAMES)
    # A word until Linux v5.2 or so, then a bitmap.
    words = min(kernel.symbols.room(bits) // 8, _MOST_NAMES // 64)
    _, able, known = bitmap_bits(kernel, [bits], min(count, words * 64))
    if not known[0]:
        return None
    where = wrapped(names) + able.astype(np.uint64) * _POINTER
    pointers, read = kernel.words(where, what="names of capabilities")
    texts = c_strings(kernel, np.where(read, pointers, np.uint64(0)), 64, "names of capabilities")
    return " ".join(text for text in texts.tolist() if text is not None)
