"""A kernel for a single CPU (CONFIG_SMP=n): per-CPU variables are plain ones, and nobody keeps a part of a counter.

Its memory is a real dump's, in which the per-CPU pointers are those of CPU 0; what it says is compared with the same
dump of a machine that has CPU 0 only.
"""

from __future__ import annotations

import numpy as np
import pytest
from configurations.options import LAYOUTS, Changed
from configurations.test_options import TABLES, build, differences
from support.absent import Absence
from support.overlay import Overlay
from support.seed import SEED

from kernlab.linux.devices.interrupts import descriptors
from kernlab.linux.zones import nodes, zones
from kernlab.walk.cpus import cpus, smp

DUMPS = ("debian-5.10", "debian-6.1", "debian-7.2")
_PERCPU_SYMBOLS = (
    *("tick_cpu_sched", "kernel_cpustat", "cpufreq_cpu_data", "rcu_data"),
    *("watchdog_touch_ts", "watchdog_hrtimer", "hrtimer_interrupts", "hrtimer_interrupts_saved"),
    *("runqueues", "vm_event_states", "pcpu_hot", "hardirq_stack_ptr", "cea_exception_stacks"),
    *("irq_stack_backing_store", "sched_clock_data", "cyc2ns"),
    *("kstat", "irq_stat", "__softirq_pending", "mce_exception_count", "mce_poll_count"),
    *("timer_bases", "hrtimer_bases"),
)
_MASKS = ("possible", "online", "present")

#: What rests on per-CPU parts that such a kernel does not have.
_PARTS = {
    "irqs": ("affinity", "effective_affinity"),
    "tasks": ("cpu", "on_cpu", "rss_bytes"),
    "tmpfs": ("used_bytes",),
    "slabs": ("active", "used_bytes"),
    "info": ("panic_cpu", "panic_pid", "panic_comm", "cpus"),
    # What it booted with is what it knew of itself before microcode, and there are no nodes.
    "cpus": ("node", "microcode", "flags", "bugs", "address"),
    "runqueues": ("load_avg", "util_avg", "capacity", "locked", "throttled_groups"),
}
_COUNTED = ("zones", "nodes", "vmstat", "meminfo")


def disks(group):
    """The structs that count what each disk of groups of requests (struct blkcg_gq) read and wrote."""
    queue = group.follow("q")
    if queue.has("disk"):
        return queue.follow("disk").follow("part0")
    return queue.follow("backing_dev_info").follow("owner").container("struct hd_struct", "__dev")


@pytest.fixture(scope="module", params=[DUMPS[SEED % len(DUMPS)]])
def pair(request, opened):
    """(the dump of a kernel for one CPU, the dump of a machine that has only CPU 0, the whole one)."""
    below = opened(request.param)
    kernel, offset = below.kernel, int(below.kernel.percpu_offsets[0])
    alone = Overlay(below)
    alone.word(below.symbol("nr_cpu_ids"), 1, 4)
    for mask in _MASKS:
        alone.word(below.symbol(f"__cpu_{mask}_mask"), 1)
    single = Overlay(below)
    node = nodes(kernel)
    _, zone = zones(kernel, node)
    cache = below.slabs.kern.structs
    for structs, members in (
        (zone, ("per_cpu_pageset", "per_cpu_zonestats", "pageset")),
        (node, ("per_cpu_nodestats",)),
        (cache, ("cpu_slab", "cpu_sheaves")),
        (descriptors(kernel)[1], ("kstat_irqs",)),
        (below.cgroups.kern.structs, ("rstat_cpu", "rstat_base_cpu")),
        (below.cgroup_memory.kern.structs, ("vmstats_percpu",)),
        (below.pressure.kern.structs[:1], ("pcpu",)),
        (below.cgroup_io.kern.structs, ("iostat_cpu",)),
        (disks(below.cgroup_io.kern.structs), ("bd_stats", "dkstats")),
        (below.structs("struct request_queue", below.disks["queue"].unique()), ("queue_ctx",)),
        (below.netdevs.kern.structs, ("lstats", "tstats", "dstats", "core_stats", "pcpu_refcnt")),
    ):
        for member in filter(structs.has, members):
            pointer = structs[member]
            for address, value in zip(structs.addresses.tolist(), pointer.values.tolist(), strict=True):
                if value:
                    single.set(structs.type.c_name, address, member, value + offset)
    # Since 6.15 such symbols are addresses of the image, and the sum wraps.
    moved = {
        name: (address + offset) % (1 << 64)
        for name in _PERCPU_SYMBOLS
        if (address := kernel.find_symbol(name)) is not None
    }
    notes = below.symbol("crash_notes")
    single.word(notes, int(kernel.words([notes])[0][0]) + offset)
    return (LAYOUTS["SMP"] | Absence(moved=moved)).of(below, single), alone.dump(), below


def test_there_is_cpu_0(pair):
    dump, _, below = pair
    assert not smp(dump.kernel)
    assert smp(below.kernel)
    assert cpus(dump.kernel).tolist() == [0]
    assert dump.info["cpus"] == 1
    assert dump.percpu("runqueues", "struct rq")["curr"].values.tolist() == [
        below.percpu("runqueues", "struct rq")["curr"].values[0]
    ]


@pytest.mark.parametrize("table", [name for name in TABLES if name not in _COUNTED])
def test_a_table_is_that_of_cpu_0(pair, table):
    dump, alone, _ = pair
    found, whole = build(dump, table), build(alone, table)
    assert differences(found, whole, Changed(other=_PARTS.get(table, ()))) == []
    new = set(found.attrs["problems"]) - set(whole.attrs["problems"])
    assert not {problem for problem in new if "SMP" in problem or "per-CPU" in problem or "CPUs" in problem}


def test_tasks(pair):
    dump, _, below = pair
    tasks = dump.tasks
    assert (tasks["cpu"] == 0).all()
    current = below.percpu("runqueues", "struct rq")["curr"].values[0]
    assert tasks.loc[tasks["on_cpu"], "address"].tolist() == [current]
    mm = tasks[tasks["mm"] != 0].kern.structs.follow("mm")
    kinds = [below.kernel.types.enumerator(f"MM_{name}PAGES") for name in ("FILE", "ANON", "SHMEM")]
    if mm.has("rss_stat[0].count"):
        pages = sum(np.maximum(mm[f"rss_stat[{kind}].count"].values, 0) for kind in kinds)
        assert tasks.loc[tasks["mm"] != 0, "rss_bytes"].tolist() == (pages * 4096).tolist()


@pytest.mark.parametrize("table", _COUNTED)
def test_counters_are_their_own_sums(pair, table):
    """What CPU 0 kept to itself is in the zones' counters of the other kernel: up to 125 pages a counter and zone."""
    dump, alone, _ = pair
    found, whole = build(dump, table), build(alone, table)
    assert list(found.columns) == list(whole.columns)
    assert found.notna().equals(whole.notna())
    assert not set(found.attrs["problems"]) - set(whole.attrs["problems"])
    if table == "zones":
        raw = zones(dump.kernel, nodes(dump.kernel))[1].follow("vm_stat[0]")
        free = dump.structs("atomic_long_t", raw.addresses)["counter"].values
        assert found["nr_free_pages"].tolist() == free.tolist()
