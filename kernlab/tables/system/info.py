"""What the dump is, what machine it comes from, and how that machine died: one Series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.single import number_of, value_of
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import describe, table
from kernlab.errors import KernlabError
from kernlab.linux.build_ids import kernel_build_id
from kernlab.linux.page.vmemmap import page_chunks, page_type, page_type_is
from kernlab.linux.scheduling.load import load_averages
from kernlab.linux.timekeeping import monotonic, timekeeper
from kernlab.linux.vm_counters import total_ram
from kernlab.linux.zones import managed_pages, nodes, zones
from kernlab.oops.lines import own_text
from kernlab.tables.system.last_words import panic_message
from kernlab.tables.system.log import log
from kernlab.util import integers, text
from kernlab.walk.cpus import cpus, percpu, possible_cpus

#: kernel/panic.c, taint_flags[]: the letter of each bit when set ('G' instead of 'P' when bit 0 is not).
_TAINT_LETTERS = "PFSRMBUDAWCIOELKXTNJ"

#: panic_cpu before anybody panicked (PANIC_CPU_INVALID, -1).
_NOBODY = 0xFFFFFFFF

#: Strings of the kernel are read no further than this (COMMAND_LINE_SIZE is 2,048 or 4,096).
_LONGEST_STRING = 4096
#: Digits of more seconds than any time has.
_LONGEST_TIME = 20
#: Seconds since 1970 that pandas has a time for.
_LAST_SECOND = integers.I64_RANGE[1] // 10**9
#: Seconds between a crash and the last tick, or the start of makedumpfile, that need no explanation.
_CLOCKS_APART = 3600


@table
def info(kernel: Kernel) -> pd.Series[Any]:
    """Facts about dump, kernel, machine and crash; what the dump does not say is missing (None or NaT).

    crash_time is UTC and crash_time_source who says it: the kernel's note at the panic, the file's header, or where
    neither does (QEMU's dumps) the kernel's clock at its last tick; a running machine (format "live") has none. uptime
    is since boot (suspend included), load1, load5 and load15 are the load averages of as many minutes, as /proc/loadavg
    has them; memory_bytes what /proc/meminfo calls MemTotal, taint as the kernel prints it. panic_* tell of the CPU
    that panicked; a guest that was merely stopped has none. What could not be read is missing as well: attrs["unknown"]
    says why, by fact.
    slab_frames_absent, kmalloc_frames_absent (of allocations too large for a slab; missing before 6.14, where nothing
    marks them) and table_frames_absent count kernel pages that no dump level leaves out but this dump lacks.

    >>> dump.info[["release", "crash_time", "panic_message"]]
    release                                       6.1.0-56-cloud-amd64
    crash_time                               2026-11-23 08:18:55+00:00
    panic_message    Kernel panic - not syncing: sysrq triggered crash
    Name: info, dtype: object
    """
    unknown: dict[str, str] = {}

    def known(fact: str, read: Callable[[], Any]) -> Any:
        """One fact; what prevents it is reported as lost instead of raised."""
        try:
            return read()
        except KernlabError as error:
            kernel.lost(str(error))
            unknown[fact] = str(error)
            return None

    file, header = kernel.file, kernel.file.header
    uts = known("version", lambda: StructArray(kernel, "struct new_utsname", [_utsname(kernel)]))
    # A running machine was saved by nobody, and to look at all of its page structs would be no small thing.
    absent = {} if kernel.changes else known("slab_frames_absent", lambda: absent_kernel_frames(kernel)) or {}
    cpu = known("panic_cpu", lambda: _panic_cpu(kernel))
    current = known("panic_pid", lambda: _current(kernel, cpu)) if cpu is not None else None
    load = known("load1", lambda: load_averages(kernel))
    crash_time, said_by = known("crash_time", lambda: _died(kernel)) or (None, None)
    facts = {
        "release": kernel.vmcoreinfo.release or header.get("release"),
        "version": known("version", lambda: str(value_of(uts, "version")))
        if uts is not None
        else header.get("version"),
        "nodename": known("nodename", lambda: str(value_of(uts, "nodename")))
        if uts is not None
        else header.get("nodename"),
        "machine": file.machine,
        "crash_time": crash_time,
        "crash_time_source": said_by,
        "uptime": known("uptime", lambda: uptime(kernel)),
        "cpus": known("cpus", lambda: len(cpus(kernel, "online"))),
        "load1": None if load is None else np.float64(load[0]),
        "load5": None if load is None else np.float64(load[1]),
        "load15": None if load is None else np.float64(load[2]),
        "memory_bytes": known("memory_bytes", lambda: _memory_bytes(kernel)),
        "cmdline": known("cmdline", lambda: string_at(kernel, kernel.word("saved_command_line"))),
        "panic_message": known("panic_message", lambda: _last_words(kernel)),
        "panic_cpu": cpu,
        "panic_pid": known("panic_pid", lambda: number_of(current, "pid")) if current is not None else None,
        "panic_comm": known("panic_comm", lambda: str(value_of(current, "comm")))
        if current is not None
        else None,
        "taint": known("taint", lambda: taint(kernel.word("tainted_mask"))),
        "format": file.format,
        "dump_level": header.get("dump_level"),
        "redacted": header.get("redacted") or kernel.vmcoreinfo.redacted,
        "file": str(file.path),
        "file_bytes": header.get("file_bytes"),
        "build_id": kernel_build_id(kernel) or None,
        "kaslr_offset_bytes": kernel.vmcoreinfo.kerneloffset,
        "slab_frames_absent": absent.get("slab"),
        "kmalloc_frames_absent": absent.get("large_kmalloc"),
        "table_frames_absent": absent.get("table"),
    }
    series = pd.Series(facts, dtype=object, name="info")
    series.attrs.update(describe(kernel, "info"), unknown=unknown)
    return series


def _last_words(kernel: Kernel) -> str | None:
    """`panic_message` of the log. Raises KernlabError where it has none and is not whole."""
    found = log(kernel)
    message = panic_message(own_text(found))
    # What the dump lacks is told before them.
    lost = [problem for problem in found.attrs["problems"] if "the log" in problem]
    if message is None and lost:
        raise KernlabError(lost[0])
    return message


def taint(mask: int) -> str:
    """A taint mask as letters, "Not tainted" without any (kernel/panic.c, print_tainted)."""
    letters = [letter for bit, letter in enumerate(_TAINT_LETTERS) if mask >> bit & 1]
    letters += [f"bit{bit}" for bit in range(len(_TAINT_LETTERS), 64) if mask >> bit & 1]
    return "".join(letters) or "Not tainted"


def uptime(kernel: Kernel) -> pd.Timedelta:
    """Time since boot at the last tick of the timekeeper, suspend included (kernel/time/timekeeping.c).

    Raises KernlabError where that is not a time.
    """
    total = monotonic(kernel) + number_of(timekeeper(kernel), "offs_boot")
    if not 0 <= total < 1 << 62:
        raise KernlabError(f"the kernel's clock says {total:,} ns since boot, which is not a time")
    return pd.Timedelta(total, unit="ns")


def _memory_bytes(kernel: Kernel) -> int:
    """What /proc/meminfo calls MemTotal: the pages that the allocator was given, which its zones count, too."""
    name = total_ram(kernel)
    pages = kernel.word(name)
    if pages * kernel.page_size > integers.I64_RANGE[1]:
        raise KernlabError(f"the size of memory ({name}) {integers.TOO_LARGE}")
    try:
        _, zone = zones(kernel, nodes(kernel))
        managed = managed_pages(zone).sum()
    except KernlabError:
        # Without types there is no second voice.
        managed = None
    if managed is not None and managed != pages:
        kernel.lost(f"memory_bytes: {name} is {pages:,}, but the zones manage {managed:,} pages")
    return pages * kernel.page_size


def _died(kernel: Kernel) -> tuple[pd.Timestamp | None, str | None]:
    """When the machine died, and who says so; that the kernel's own clock was far from it is reported as lost."""
    if kernel.changes:
        return None, "nobody: the machine is running"
    told = (
        (kernel.vmcoreinfo.get("CRASHTIME"), "the kernel's note at the panic"),
        (kernel.file.header.get("timestamp"), "the file's header"),
    )
    clock = "the kernel's clock at its last tick"
    for seconds, who in told:
        if (time := _utc(kernel, seconds, who)) is not None:
            ticked = _ticked(kernel)
            if ticked is not None and abs(time.timestamp() - ticked) > _CLOCKS_APART:
                kernel.lost(f"crash_time: {who} says {time}, but {clock} says {_utc(kernel, ticked, clock)}")
            return time, who
    time = _utc(kernel, number_of(timekeeper(kernel), "xtime_sec"), clock)
    return time, clock if time is not None else None


def _ticked(kernel: Kernel) -> int | None:
    """The time of day as the kernel last kept it (ktime_get_real_seconds), which CRASHTIME is; None where not known."""
    try:
        with kernel.quiet():
            ticked = number_of(timekeeper(kernel), "xtime_sec")
    except KernlabError:
        return None
    return ticked if 0 < ticked <= _LAST_SECOND else None


def string_at(kernel: Kernel, address: int) -> str:
    """The NUL-terminated string at an address, cut at 4 KiB. Raises FaultError, PageExcluded."""
    if not address:
        return ""
    data, there = kernel.memory.read_partial(address, _LONGEST_STRING)
    raw = data.tobytes().split(b"\0", 1)[0]
    if not there[: len(raw) + 1].all():
        kernel.read(address, len(raw) + 1)
    return text.decode(raw)


@fact
def absent_kernel_frames(kernel: Kernel) -> dict[str, int]:
    """How many frames of each type that no dump level leaves out the dump lacks; types that the kernel marks only.

    Old makedumpfile versions take some slab pages of newer kernels for user data (design.md, Capture).
    """
    names = {"slab": "slab", "large_kmalloc": "large kmalloc", "table": "page-table"}
    counts = {name: [0, 0] for name in names if name == "slab" or page_type(kernel, name) is not None}
    for chunk in page_chunks(kernel):
        heads = chunk.heads()
        for name, count in counts.items():
            pages = np.flatnonzero(page_type_is(chunk, name)[heads])
            count[0] += int((kernel.file.find(chunk.pfns[pages]) < 0).sum())
            count[1] += len(pages)
    for name, (absent, total) in counts.items():
        if absent:
            kernel.lost(
                f"{absent:,} of {total:,} {names[name]} frames are absent, which no dump level leaves out: "
                "makedumpfile was older than this kernel and took them for user data, or the file is cut. Capture with "
                "-d 23, or with a makedumpfile that knows the kernel; the tables say what they miss"
            )
    return {name: absent for name, (absent, _) in counts.items()}


def _utsname(kernel: Kernel) -> int:
    namespace = StructArray(kernel, "struct uts_namespace", [kernel.symbol("init_uts_ns")])
    return int(namespace.follow("name").addresses[0])


def _panic_cpu(kernel: Kernel) -> int | None:
    """The CPU that panicked, None where none did (kernel/panic.c, panic_cpu is -1 until then).

    The one that stopped the others for the crash kernel is the same (crashing_cpu, of machines with kdump). Raises
    KernlabError where neither is a CPU.
    """
    number = kernel.word("panic_cpu", 4)
    possible = possible_cpus(kernel).tolist()
    symbol = kernel.symbols.get("crashing_cpu")
    words, read = kernel.words([symbol or 0], 4, what="")
    crashing = int(words[0]) if symbol is not None and read[0] and int(words[0]) in possible else None
    if number == _NOBODY:
        return None
    if number in possible:
        if crashing is not None and crashing != number:
            kernel.lost(f"panic_cpu is {number:,}, but CPU {crashing:,} began the crash (crashing_cpu)")
        return number
    if crashing is None:
        raise KernlabError(f"panic_cpu is {number:,}, and the machine has no such CPU")
    kernel.lost(
        f"panic_cpu is {number:,}, and the machine has no such CPU: the one that began the crash is shown"
    )
    return crashing


def _current(kernel: Kernel, cpu: int) -> StructArray:
    where = percpu(kernel, kernel.symbol("runqueues"), np.array([cpu]))
    return StructArray(kernel, "struct rq", where).follow("curr")


def _utc(kernel: Kernel, seconds: object, who: str) -> pd.Timestamp | None:
    """Seconds since 1970 as a time; None without any, and where they are not one that pandas knows (1970 to 2262)."""
    if not seconds:
        return None
    said = str(seconds)
    if said.isdecimal() and len(said) < _LONGEST_TIME and int(said) <= _LAST_SECOND:
        return pd.Timestamp(int(said), unit="s", tz="UTC")
    kernel.lost(f"when the machine died: {who} says {text.shorten(said, 40)!r} seconds, which is not a time")
    return None
