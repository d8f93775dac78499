"""What CPUs are: make and model, capabilities and flaws by the kernel's names, and where their time went."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.scheduling.optional import optional
from kernlab.walk.cpus import percpu
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: Capabilities are numbered in words of 32 bits; flaws (x86_bug_flags) stand in the last of them.
_WORD = 32
#: No kernel has more words of flaws (NBUGINTS is 2 since 2023).
_MOST_BUG_WORDS = 8


def processors(kernel: Kernel, cpus: I64) -> StructArray:
    """The struct cpuinfo_x86 of each CPU: a kernel for a single one has only what it booted with."""
    symbol = kernel.find_symbol("cpu_info")
    where = (
        np.full(len(cpus), kernel.symbol("boot_cpu_data"), dtype=np.uint64)
        if symbol is None
        else percpu(kernel, symbol, cpus)
    )
    return StructArray(kernel, "struct cpuinfo_x86", where)


def capability_texts(kernel: Kernel, info: StructArray) -> tuple[Column, Column]:
    """(flags, bugs) of each CPU, as /proc/cpuinfo lists them: names with blanks between (show_cpuinfo)."""
    access = resolve(info.type, "x86_capability")
    size = access.type.size
    words = size // 4
    bugs = min(max(kernel.symbols.room(kernel.symbol("x86_bug_flags")) // (8 * _WORD), 1), _MOST_BUG_WORDS)
    flags = max(words - bugs, 0)
    rows, status = kernel.gather(info.addresses + np.uint64(access.hops[-1]), size, "capabilities of CPUs")
    sets, of = np.unique(rows, axis=0, return_inverse=True)
    bits = np.unpackbits(sets, axis=1, bitorder="little").astype(bool)
    of = of.reshape(-1)
    columns = []
    for symbol, first, count in (("x86_cap_flags", 0, flags), ("x86_bug_flags", flags, bugs)):
        names = _names(kernel, kernel.symbol(symbol), count * _WORD)
        part = bits[:, first * _WORD : (first + count) * _WORD]
        texts = [" ".join(name for name in names[mine] if name is not None) for mine in part]
        columns.append(Column.of(np.array(texts, dtype=object)[of], status == 0, "text"))
    return columns[0], columns[1]


def _names(kernel: Kernel, table: int, count: int) -> npt.NDArray[np.object_]:
    """The names in an array of pointers to them; None where a bit has none."""
    places = np.uint64(table) + np.uint64(8) * np.arange(count, dtype=np.uint64)
    pointers, read = kernel.words(places, what="names of capabilities")
    found = c_strings(kernel, np.where(read, pointers, np.uint64(0)), 64, "names of capabilities")
    names = np.empty(count, dtype=object)
    names[:] = found.tolist()
    return names


def numa_nodes(kernel: Kernel, cpus: I64) -> Column:
    """The NUMA node of each CPU; missing without CONFIG_NUMA (arch/x86/mm/numa.c, x86_cpu_to_node_map)."""
    symbol = kernel.find_symbol("x86_cpu_to_node_map")
    if symbol is None:
        return Column.missing(len(cpus), "int")
    words, read = kernel.words(percpu(kernel, symbol, cpus), 4, "NUMA nodes of CPUs")
    number = words.astype(np.uint32).view(np.int32).astype(np.int64)
    return Column(number, read & (number >= 0), "int")


def frequencies(kernel: Kernel, cpus: I64) -> Column:
    """kHz of each CPU: as its governor set it last, or where none does, the rate that was found at boot (cpu_khz)."""
    count = len(cpus)
    base = kernel.word("cpu_khz", 4) if kernel.find_symbol("cpu_khz") is not None else 0
    found = Column(np.full(count, base, dtype=np.int64), np.full(count, base > 0), "int")
    symbol = kernel.find_symbol("cpufreq_cpu_data")
    if symbol is None or kernel.type_or_none("struct cpufreq_policy") is None:
        return found
    pointer, _ = kernel.words(percpu(kernel, symbol, cpus), what="frequencies of CPUs")
    now = StructArray(kernel, "struct cpufreq_policy", pointer)["cur"].int64
    return now.where(now.true).otherwise(found)


#: enum cpu_usage_stat (include/linux/kernel_stat.h), in its order; later kinds are parts of these.
KINDS = ("user", "nice", "system", "softirq", "irq", "idle", "iowait", "steal", "guest", "guest_nice")


def cpu_times(kernel: Kernel, cpus: I64) -> dict[str, Column]:
    """How long each CPU was in each state since boot, in ns, as /proc/stat counts it (fs/proc/stat.c).

    Of an idle CPU whose tick is stopped, idle and iowait end where the sleep began: the rest is not accounted yet.
    """
    stat = StructArray(kernel, "struct kernel_cpustat", percpu(kernel, kernel.symbol("kernel_cpustat"), cpus))
    times = {name: stat[f"cpustat[{number}]"].int64 for number, name in enumerate(KINDS)}
    symbol = kernel.find_symbol("tick_cpu_sched")
    if symbol is None:
        return times
    ticks = StructArray(kernel, "struct tick_sched", percpu(kernel, symbol, cpus))
    # Where the tick may stop it does not count idle time; since about Linux 7.2 the same numbers are kept right.
    for name, member in (("idle", "idle_sleeptime"), ("iowait", "iowait_sleeptime")):
        slept = optional(ticks, member)
        # A tick that never may stop leaves them zero (get_cpu_idle_time_us).
        times[name] = slept.where(slept.true).otherwise(times[name])
    return times
