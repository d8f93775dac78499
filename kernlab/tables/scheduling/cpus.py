"""CPUs: what they are, where they sit, what they did with their time, and when their ticks came last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.devices.cpu_lists import listed
from kernlab.linux.scheduling import arm64_processors
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.scheduling.processors import (
    capability_texts,
    cpu_times,
    frequencies,
    numa_nodes,
    processors,
)
from kernlab.linux.scheduling.run_queues import run_queues
from kernlab.linux.scheduling.ticks import ticks
from kernlab.walk.cpus import cpus as numbers_of


@table(rows="struct cpuinfo_x86")
def cpus(kernel: Kernel) -> pd.DataFrame:
    """One row per possible CPU, as /proc/cpuinfo and /proc/stat have it; what was never started has no model.

    Columns: cpu, present, online; package, die, core (ids; CPUs that share all three are threads of one core),
    siblings (those threads, "0,4" or "0-1"), node (NUMA; missing without CONFIG_NUMA); vendor, family, model, stepping,
    model_name, microcode (a revision; "0x2006b06" in /proc/cpuinfo), khz (as its governor set it, or the rate found at
    boot), cache_bytes; idle_state (which it sleeps in by a cpuidle driver, missing for none), idle_for (since it fell
    idle, missing where it did not), since_tick (since its timer's tick came last; missing where the tick is stopped: a
    CPU that handles no interrupts shows here), tick_stopped; user, nice, system, softirq, irq, idle, iowait, steal,
    guest, guest_nice (time in each since boot), flags, bugs (with blanks between), address (struct cpuinfo_x86).
    On arm64 vendor is who made the core, family the architecture (8), model its part number, variant and stepping N
    and M of its revision rNpM, flags what /proc/cpuinfo calls Features; microcode, cache_bytes and bugs are missing,
    and address is a struct cpuinfo_arm64.

    Mirrors arch/x86/kernel/cpu/proc.c, arch/arm64/kernel/cpuinfo.c, fs/proc/stat.c and kernel/time/tick-sched.c.

    >>> dump.cpus[["cpu", "online", "vendor", "model_name", "khz", "since_tick", "user"]]
       cpu  online        vendor                 model_name      khz since_tick                   user
    0    0    True  AuthenticAMD  QEMU TCG CPU version 2.5+  2596152     0 days 0 days 00:00:02.504000
    1    1    True  AuthenticAMD  QEMU TCG CPU version 2.5+  2596152     0 days 0 days 00:00:03.512000
    """
    found = run_queues(kernel)
    numbers, queue = found.cpu, found.queue
    is_x86 = kernel.type_or_none("struct cpuinfo_x86") is not None
    info, made = (_x86 if is_x86 else _arm64)(kernel, numbers)
    package, die, core = (made[name] for name in ("package", "die", "core"))
    at, times = ticks(kernel, numbers), cpu_times(kernel, numbers)
    state = queue["idle_state"] if queue.has("idle_state") else Column.missing(len(queue), "int")
    return frame(
        kernel,
        "cpus",
        cpu=numbers,
        present=np.isin(numbers, numbers_of(kernel, "present")),
        online=np.isin(numbers, numbers_of(kernel, "online")),
        package=nullable(package),
        die=nullable(die),
        core=nullable(core),
        siblings=_siblings(numbers, package, made.pop("cluster", die), core),
        node=nullable(made["node"]),
        vendor=made["vendor"],
        family=nullable(made["family"]),
        model=nullable(made["model"]),
        **({"variant": nullable(made["variant"])} if "variant" in made else {}),
        stepping=nullable(made["stepping"]),
        model_name=made["model_name"],
        microcode=nullable(made["microcode"]),
        khz=nullable(frequencies(kernel, numbers)),
        cache_bytes=nullable(made["cache_bytes"]),
        idle_state=_idle_states(kernel, state),
        idle_for=at.idle_for.timedelta,
        since_tick=at.since_tick.timedelta,
        tick_stopped=nullable(at.stopped),
        **{name: column.timedelta for name, column in times.items()},
        flags=made["flags"],
        bugs=made["bugs"],
        address=info,
    )


def _x86(kernel: Kernel, numbers: npt.NDArray[np.int64]) -> tuple[StructArray, dict[str, Column]]:
    """Each CPU's struct, and its columns that tell what it is; missing of a CPU that was never started."""
    info = processors(kernel, numbers)
    vendor = info["x86_vendor_id"].text
    started = vendor.true
    flags, bugs = capability_texts(kernel, info)
    # Linux commit 02fb601d27a7 ("x86/cpu: Move phys_proc_id into topology info") (in v6.7), and others with it.
    return info, {
        "package": info.first("topo.pkg_id", "phys_proc_id").int64.where(started),
        "die": optional(info, "topo.die_id", "cpu_die_id").where(started),
        "core": info.first("topo.core_id", "cpu_core_id").int64.where(started),
        "node": numa_nodes(kernel, numbers),
        "vendor": vendor.where(started),
        "family": info["x86"].int64.where(started),
        "model": info["x86_model"].int64.where(started),
        "stepping": info["x86_stepping"].int64.where(started),
        "model_name": info["x86_model_id"].text.where(started),
        "microcode": info["microcode"].int64.where(started),
        "cache_bytes": (info["x86_cache_size"] * 1024).where(started),
        "flags": flags.where(started),
        "bugs": bugs.where(started),
    }


def _arm64(kernel: Kernel, numbers: npt.NDArray[np.int64]) -> tuple[StructArray, dict[str, Column]]:
    """… of arm64, which has no microcode that is told, nor a list of bugs."""
    info = arm64_processors.processors(kernel, numbers)
    made = arm64_processors.identity(info)
    started = made["model"].valid
    flags = arm64_processors.features(kernel)
    count, none = len(numbers), Column.missing(len(numbers), "int")
    texts = Column.of(np.full(count, flags or "", dtype=object), started & (flags is not None), "text")
    return info, {
        **made,
        **{
            name: column.where(started) for name, column in arm64_processors.topology(kernel, numbers).items()
        },
        "die": none,
        "node": arm64_processors.numa_nodes(kernel, numbers),
        "microcode": none,
        "cache_bytes": none,
        "flags": texts,
        "bugs": Column.missing(count),
    }


def _idle_states(kernel: Kernel, pointer: Column) -> Column:
    """The name of the state in which each CPU sleeps; missing where no driver put it into one."""
    if kernel.type_or_none("struct cpuidle_state") is None or not pointer.valid.any():
        return Column.missing(len(pointer))
    name = StructArray(kernel, "struct cpuidle_state", pointer.filled(0))["name"].text
    return name.where(pointer.true)


def _siblings(numbers: npt.NDArray[np.int64], package: Column, die: Column, core: Column) -> Column:
    """The CPUs of each one's core, as the kernel lists CPUs (thread_siblings_list)."""
    places = list(zip(package.tolist(), die.tolist(), core.tolist(), strict=True))
    rows = {place: row for row, place in enumerate(dict.fromkeys(places))}
    of = np.array([rows[place] for place in places], dtype=np.int64)
    order = np.lexsort((numbers, of))
    texts = listed(of[order], numbers[order], len(rows))
    return Column.of(texts[of], package.valid & core.valid, "text")
