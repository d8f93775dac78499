"""What a crash dump of this machine takes, memory and room for the file: a `Machine` in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.kdump_status import crashkernel
from kernlab.kdump_status.machine import Machine

_MIB = 1 << 20

#: Where neither the crash kernel's image nor /proc/iomem can be read: about what Debian's 6.1 takes to start.
_ASSUMED_KERNEL = 56 * _MIB

#: For user space and what the kernel allocates while it runs (as kdumpctl estimate has it).
_RUNTIME = 16 * _MIB

#: Areas of each possible CPU, where the crash kernel's command line does not bound their number.
_PER_CPU = 1 * _MIB


@dataclass(frozen=True)
class CrashMemory:
    """Bytes that crashkernel= has to give: `least` by what must fit, `advised` by the distribution or None."""

    least: int
    parts: dict[str, int]
    assumed: tuple[str, ...]
    advised: int | None


@dataclass(frozen=True)
class DumpSize:
    """Bytes of a dump taken now: of the pages kept (uncompressed), and where they come from."""

    kept: int
    source: str


def crash_memory(machine: Machine) -> CrashMemory:
    """What the crash kernel needs to start, unpack its initramfs and run makedumpfile.

    The kernel's own demand stands in its boot header (kexec refuses less). The initramfs lies there packed, and unpacks
    into a tmpfs that may take half of the memory: kdumpctl reckons 3 × packed; where its unpacked size is known, twice
    that must fit. Held against boots of Debian's 6.1 in guests: tests/kdump_status/test_needs.py.
    """
    assumed: list[str] = []
    kernel = machine.crash_kernel_bytes or machine.kernel_image
    if kernel is None:
        kernel = _ASSUMED_KERNEL
        assumed.append("the crash kernel's image could not be read")
    packed = machine.initrd_bytes or 0
    if machine.initrd_bytes is None:
        assumed.append("no initramfs of the crash kernel was found")
    initramfs = max(3 * packed + _RUNTIME, 2 * (machine.initrd_unpacked or 0))
    # makedumpfile keeps two bits a page in memory.
    bitmaps = (machine.memory or 0) // 4096 * 2 // 8
    append = machine.service.cmdline if machine.service else None
    bounded = append is None or any(word.startswith("nr_cpus=") for word in append.split())
    cpus = 0 if bounded else (machine.cpus or 1) * _PER_CPU
    parts = {"kernel": kernel, "initramfs_and_runtime": initramfs, "bitmaps": bitmaps, "cpus": cpus}
    advised = None
    if machine.service and machine.service.advice and machine.memory:
        advised = crashkernel.parse(f"crashkernel={machine.service.advice}", machine.memory).size or None
    return CrashMemory(sum(parts.values()), parts, tuple(assumed), advised)


def dump_size(machine: Machine, level: int) -> DumpSize | None:
    """Pages that a dump of this level would keep now; None where the machine's memory is not known.

    Zero pages cannot be told without a look at each, and compression is not counted. Free pages on CPUs' own lists look
    to makedumpfile as if they were in use: at level 16 what these lists may still take is counted, too.
    """
    lists = machine.percpu_lists if level & 16 else 0
    usage = machine.usage
    if usage:
        kinds = {"ZERO": 1, "NON_PRI_CACHE": 2, "PRI_CACHE": 4, "USER": 8, "FREE": 16}
        # Bit 4 leaves out all of the page cache.
        left_out = level | 2 if level & 4 else level
        kept = sum(size for name, size in usage.items() if not kinds.get(name, 0) & left_out)
        return DumpSize(kept + lists, "makedumpfile --mem-usage")
    if machine.memory is None or "MemFree" not in machine.meminfo:
        return None
    info = machine.meminfo
    kept = machine.memory - (machine.crash_size or 0)
    if level & 16:
        kept -= info["MemFree"]
    if level & 6:
        kept -= info.get("Cached", 0) + (info.get("Buffers", 0) if level & 4 else 0)
    if level & 8:
        kept -= info.get("AnonPages", 0) + info.get("HugePages_Total", 0) * info.get("Hugepagesize", 0)
    return DumpSize(max(kept, 0) + lists, "/proc/meminfo")
