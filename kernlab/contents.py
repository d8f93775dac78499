"""The table of contents of a dump: every table and view that it has, by name; each is imported when first looked at.

One line here is all that makes a table of a table function. Lines are grouped and ordered as people look for them; a
group is a package of `kernlab.tables`. Views lie in rooms that import this one, too: only type checkers follow them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kernlab.core.kernel import Kernel
from kernlab.dataframes.lazy import lazy, method, view
from kernlab.dataframes.registry import Entry, Place

if TYPE_CHECKING:
    import pandas as pd

    from kernlab.dashboard.explorer import OpenExplorer
    from kernlab.dataframes.typed import Frame
    from kernlab.display.processes.file import OpenFile
    from kernlab.display.processes.process import OpenProcess
    from kernlab.display.stacks.stack import OpenStack
    from kernlab.player.player import OpenPlayer
    from kernlab.plots import Plots
    from kernlab.replay.opening import OpenReplay
    from kernlab.replay.timeline import Timeline
    from kernlab.struct_browser.disassembly import Disassemble
    from kernlab.struct_browser.entries import Entries
    from kernlab.struct_browser.explore import Explore
    from kernlab.struct_browser.find import FindSymbols, TypeLayout
    from kernlab.struct_browser.identify import Identify
    from kernlab.tables.processes.stacks import Stacks
    from kernlab.tables.processes.waits import Waits
    from kernlab.traces.clock.window import Instant
    from kernlab.traces.ftrace.view import Ftrace
    from kernlab.traces.relay.view import Relay


class Contents:
    """What hangs off a dump, as typed attributes. What was made is kept in `_built` (tables) and `_views`."""

    verdict: lazy[pd.DataFrame] = lazy(
        "kernlab.verdict.verdict:verdict",
        "Why it died: what, who, how sure, what shows it, what speaks against it; what else is wrong.",
    )
    suspects: lazy[pd.DataFrame] = lazy(
        "kernlab.tables.suspects.suspects:suspects",
        "Leads: what looks wrong with the machine, with evidence and the cell that shows more.",
    )

    # Processes and locks.

    tasks: lazy[Frame] = lazy(
        "kernlab.tables.processes.tasks:tasks", "Threads, one row each, and the idle task of each CPU."
    )
    registers: lazy[Frame] = lazy(
        "kernlab.tables.processes.registers:registers", "Registers of each CPU when the machine died."
    )
    maps: lazy[Frame] = lazy(
        "kernlab.tables.processes.maps:maps", "Memory maps of all processes, one row per VMA."
    )
    map_usage: lazy[Frame] = lazy(
        "kernlab.tables.processes.map_usage:map_usage",
        "Memory maps with what each really holds, from the page tables (/proc/PID/smaps).",
    )

    stacks: lazy[Stacks] = lazy(
        "kernlab.tables.processes.stacks:stacks",
        "Stacks of all threads, one row per frame; .groups() joins equal ones.",
    )

    waits: lazy[Waits] = lazy(
        "kernlab.tables.processes.waits:waits",
        "What each sleeping thread waits for, and who holds it; .graph() shows who waits for whom.",
    )
    locks: lazy[Frame] = lazy(
        "kernlab.tables.processes.locks:locks",
        "Locks that are waited for or held, one row each, with holder and waiters.",
    )

    credentials: lazy[Frame] = lazy(
        "kernlab.tables.processes.credentials:credentials",
        "As whom each thread acts: users, groups, capabilities, what confines it.",
    )
    signals: lazy[Frame] = lazy(
        "kernlab.tables.processes.signals:signals",
        "Signals of each thread: pending, blocked, ignored, caught (/proc/PID/status).",
    )
    queued_signals: lazy[Frame] = lazy(
        "kernlab.tables.processes.queued_signals:queued_signals",
        "Signals that were sent and not taken yet, with who sent each.",
    )
    signal_actions: lazy[Frame] = lazy(
        "kernlab.tables.processes.signal_actions:signal_actions",
        "What programs do with signals: handlers, and what they ignore.",
    )
    keys: lazy[Frame] = lazy(
        "kernlab.tables.processes.keys:keys",
        "The kernel's keys and keyrings, without what they hold (/proc/keys).",
    )

    # Memory.

    memory: lazy[pd.DataFrame] = lazy(
        "kernlab.tables.memory.memory:memory",
        "Where the memory is: bytes of each kind on each NUMA node, all of it.",
    )
    memory_by_process: lazy[Frame] = lazy(
        "kernlab.tables.memory.memory_by_process:memory_by_process",
        "Processes by the memory that they hold, from their page tables.",
    )
    memory_by_file: lazy[Frame] = lazy(
        "kernlab.tables.memory.memory_by_file:memory_by_file",
        "The page cache by file: one row per inode, with its path.",
    )
    memory_by_cgroup: lazy[Frame] = lazy(
        "kernlab.tables.memory.memory_by_cgroup:memory_by_cgroup",
        "Memory cgroups, one row each, with what is charged to them.",
    )
    meminfo: lazy[pd.Series[Any]] = lazy(
        "kernlab.tables.memory.meminfo:meminfo",
        "The memory summary (/proc/meminfo): sizes in bytes, HugePages_* as counts.",
    )
    vmstat: lazy[pd.Series[Any]] = lazy(
        "kernlab.tables.memory.vmstat:vmstat",
        "Counters of memory and events since boot, by name (/proc/vmstat).",
    )
    slabs: lazy[Frame] = lazy(
        "kernlab.tables.memory.slabs:slabs", "Slab caches, one row each, with their true use."
    )

    @method("kernlab.tables.memory.slab_objects:slab_objects")
    def slab_objects(
        self, cache: str | int | Iterable[str | int] | None = None, *, stacks: bool = False
    ) -> Frame:
        """Slab objects of one cache, or of all: every one, in use or free."""
        raise NotImplementedError

    vmalloc: lazy[Frame] = lazy(
        "kernlab.tables.memory.vmalloc:vmalloc", "Areas of vmalloc, vmap and ioremap, with who made them."
    )
    pages: lazy[Frame] = lazy(
        "kernlab.tables.memory.pages:pages",
        "Page frames, one row each: what every page of memory is used for.",
    )
    zones: lazy[Frame] = lazy(
        "kernlab.tables.memory.zones:zones", "Memory zones of each NUMA node, one row each (/proc/zoneinfo)."
    )
    nodes: lazy[Frame] = lazy(
        "kernlab.tables.memory.zones:nodes", "NUMA nodes, one row each, with their counters (/proc/zoneinfo)."
    )
    buddyinfo: lazy[pd.DataFrame] = lazy(
        "kernlab.tables.memory.zones:buddyinfo", "Free blocks of each size in each zone (/proc/buddyinfo)."
    )
    hugepages: lazy[Frame] = lazy(
        "kernlab.tables.memory.hugepages:hugepages",
        "Pools of huge pages, one row per size (HugePages_* in /proc/meminfo).",
    )
    swap: lazy[Frame] = lazy("kernlab.tables.memory.swap:swap", "Swap areas and their use (/proc/swaps).")
    shm: lazy[Frame] = lazy(
        "kernlab.tables.memory.shm:shm",
        "System V shared memory segments of all IPC namespaces (/proc/sysvipc/shm).",
    )
    iomem: lazy[Frame] = lazy(
        "kernlab.tables.memory.iomem:iomem", "Physical address ranges and who has them (/proc/iomem)."
    )

    @method("kernlab.tables.memory.owner:owner")
    def owner(self, addresses: Any) -> pd.DataFrame | pd.Series[Any]:
        """What lies at an address, or at many, and whose it is: symbol, slab object, stack, area of vmalloc, page."""
        raise NotImplementedError

    @method("kernlab.tables.memory.search:search")
    def search(self, what: Any, *, size: int | str | None = None, limit: int = 100_000) -> Frame:
        """Where a value, some bytes or pointers to something stand in memory, and whose they are."""
        raise NotImplementedError

    page_owner: lazy[Frame] = lazy(
        "kernlab.tables.memory.page_owner:page_owner",
        "Who allocated each page, where the kernel was told to note it (page_owner=on).",
    )
    allocations: lazy[Frame] = lazy(
        "kernlab.tables.memory.allocations:allocations",
        "What each place in the kernel's source has allocated and not freed (/proc/allocinfo).",
    )
    kfence: lazy[Frame] = lazy(
        "kernlab.tables.memory.kfence:kfence",
        "Objects of KFENCE's pool, with who allocated and who freed each.",
    )

    # Files.

    files: lazy[Frame] = lazy(
        "kernlab.tables.files.files:files", "Open files: the descriptors of all processes, with their paths."
    )
    mounts: lazy[Frame] = lazy(
        "kernlab.tables.files.mounts:mounts", "Mounts of every mount namespace, with their options."
    )
    filesystems: lazy[Frame] = lazy(
        "kernlab.tables.files.filesystems:filesystems",
        "File systems that are mounted, and the kernel's own: inodes, what is dirty, what is frozen.",
    )

    @method("kernlab.tables.files.holders:holders")
    def holders(self, what: Any, *, below: bool = False) -> Frame:
        """Who holds a path, an inode or a file system: open, mapped, as folder or program, mounted, swap, loop."""
        raise NotImplementedError

    file_locks: lazy[Frame] = lazy(
        "kernlab.tables.files.file_locks:file_locks",
        "Locks on files and who waits for them (/proc/locks).",
    )
    tmpfs: lazy[Frame] = lazy(
        "kernlab.tables.files.tmpfs:tmpfs", "File systems in memory (tmpfs), with what lies in each."
    )

    # Network.

    sockets: lazy[Frame] = lazy(
        "kernlab.tables.network.sockets:sockets",
        "Sockets of all network namespaces: both ends, queues, who has them open, what tcp thinks.",
    )
    netdevs: lazy[Frame] = lazy(
        "kernlab.tables.network.netdevs:netdevs",
        "Network devices of all network namespaces: state, addresses, queues, counters (/proc/net/dev).",
    )
    neighbours: lazy[Frame] = lazy(
        "kernlab.tables.network.neighbours:neighbours",
        "Neighbours of all network namespaces: the ARP table (/proc/net/arp), and that of version 6.",
    )
    routes: lazy[Frame] = lazy(
        "kernlab.tables.network.routes:routes",
        "Routes of versions 4 and 6, of all tables and network namespaces, one row per next hop.",
    )

    # Block devices.

    disks: lazy[Frame] = lazy(
        "kernlab.tables.block.disks:disks",
        "Disks and partitions: size, driver, scheduler, statistics (/proc/diskstats), what is in flight.",
    )
    inflight: lazy[Frame] = lazy(
        "kernlab.tables.block.inflight:inflight",
        "Requests and bios that were not completed: of which disk, where, how old, who waits for them.",
    )
    nvme: lazy[Frame] = lazy(
        "kernlab.tables.block.nvme:nvme",
        "Controllers of nvme: state, model, serial number, queues, what they have not ended, their disks.",
    )
    volumes: lazy[Frame] = lazy(
        "kernlab.tables.block.volumes:volumes",
        "Disks made of something else: loop devices, device-mapper, md, zram, with what they are made of.",
    )

    # Devices, interrupts, timers.

    devices: lazy[Frame] = lazy(
        "kernlab.tables.devices.devices:devices",
        "Devices with bus, driver, place in sysfs, power state; of PCI ids, BARs and interrupts.",
    )
    irqs: lazy[Frame] = lazy(
        "kernlab.tables.devices.irqs:irqs", "Interrupts with their counts per CPU (/proc/interrupts)."
    )
    softirqs: lazy[Frame] = lazy(
        "kernlab.tables.devices.softirqs:softirqs",
        "Softirqs with their counts per CPU, and which are pending (/proc/softirqs).",
    )
    timers: lazy[Frame] = lazy(
        "kernlab.tables.devices.timers:timers",
        "Timers of the wheels and hrtimers: function, CPU, when they are due (/proc/timer_list).",
    )
    works: lazy[Frame] = lazy(
        "kernlab.tables.devices.works:works",
        "Work items of workqueues: running, pending, delayed; whose worker, which pool is stuck.",
    )
    ioports: lazy[Frame] = lazy(
        "kernlab.tables.devices.ioports:ioports", "I/O ports and who has them (/proc/ioports)."
    )

    # Scheduling.

    runqueues: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.runqueues:runqueues",
        "Queues of the CPUs, one row each: what runs, how much waits, whose clock stopped.",
    )
    queued: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.queued:queued",
        "Tasks that run or wait for a CPU, in the order in which they would run.",
    )
    delays: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.delays:delays",
        "How long each thread ran and waited: for a CPU, the disk, memory.",
    )
    cpus: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.cpus:cpus",
        "CPUs: model, topology, where their time went, when their ticks came last.",
    )
    rcu: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.rcu:rcu",
        "RCU on each CPU: is it waited for, and the callbacks that wait there.",
    )
    grace_periods: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.grace_periods:grace_periods",
        "RCU's grace periods: since when one runs, and the CPUs and tasks that it waits for.",
    )
    watchdogs: lazy[Frame] = lazy(
        "kernlab.tables.scheduling.watchdogs:watchdogs",
        "Watchdogs of the CPUs: when each last showed that it lives.",
    )

    # Containers.

    cgroups: lazy[Frame] = lazy(
        "kernlab.tables.containers.cgroups:cgroups",
        "Control groups of both versions, one row each: limits, use, events, throttling.",
    )
    cgroup_memory: lazy[Frame] = lazy(
        "kernlab.tables.containers.cgroup_memory:cgroup_memory",
        "Memory of each control group by what it is used for (memory.stat).",
    )
    cgroup_io: lazy[Frame] = lazy(
        "kernlab.tables.containers.cgroup_io:cgroup_io",
        "What each control group read and wrote, device by device, and its limits (io.stat, io.max).",
    )
    pressure: lazy[Frame] = lazy(
        "kernlab.tables.containers.pressure:pressure",
        "Pressure (PSI) of the machine and of each control group: who waited for CPU, memory, I/O.",
    )
    namespaces: lazy[Frame] = lazy(
        "kernlab.tables.containers.namespaces:namespaces",
        "Namespaces of every kind, with who lives in them and owns them.",
    )

    # The system.

    info: lazy[pd.Series[Any]] = lazy(
        "kernlab.tables.system.info:info", "What the dump is and how the machine died."
    )
    log: lazy[pd.DataFrame] = lazy(
        "kernlab.tables.system.log:log", "The kernel's log (dmesg), one row per printk record."
    )
    modules: lazy[Frame] = lazy(
        "kernlab.tables.system.modules:modules", "Loaded kernel modules, one row each."
    )
    symbols: lazy[Frame] = lazy(
        "kernlab.tables.system.symbols:symbols", "Symbols of the kernel and its modules (kallsyms)."
    )
    cmdline: lazy[pd.DataFrame] = lazy(
        "kernlab.tables.system.cmdline:cmdline",
        "The kernel's command line, one parameter a row, and who took it.",
    )
    kconfig: lazy[pd.DataFrame] = lazy(
        "kernlab.tables.system.kconfig:kconfig",
        "The configuration that the kernel was built with, where it carries it (/proc/config.gz).",
    )
    bpf_programs: lazy[Frame] = lazy(
        "kernlab.tables.system.bpf_programs:bpf_programs",
        "BPF programs, what each is attached to, and who holds it (bpftool prog).",
    )
    bpf_maps: lazy[Frame] = lazy(
        "kernlab.tables.system.bpf_maps:bpf_maps", "BPF maps, with the programs that use each (bpftool map)."
    )
    ipcs: lazy[Frame] = lazy(
        "kernlab.tables.system.ipcs:ipcs",
        "System V semaphores, message queues and shared memory of all IPC namespaces (ipcs).",
    )
    dmi: lazy[pd.Series[Any]] = lazy(
        "kernlab.tables.system.dmi:dmi",
        "What the firmware says of the machine: vendor, product, BIOS, board (/sys/class/dmi/id).",
    )

    # What is no table: plots, widgets, structs, traces.

    plot: view[Plots] = view("kernlab.plots:Plots", "Plots of this dump: dump.plot.memory().")
    explorer: view[OpenExplorer] = view(
        "kernlab.dashboard.explorer:OpenExplorer", "The whole dump in one dashboard."
    )
    player: view[OpenPlayer] = view(
        "kernlab.player.player:OpenPlayer", "The last seconds of the machine, to play, scrub and zoom."
    )
    explore: view[Explore] = view("kernlab.struct_browser.explore:Explore", "The struct browser.")
    entries: view[Entries] = view(
        "kernlab.struct_browser.entries:Entries", "A list, tree or array as a DataFrame."
    )
    identify: view[Identify] = view("kernlab.struct_browser.identify:Identify", "What lies at addresses.")
    find_symbols: view[FindSymbols] = view(
        "kernlab.struct_browser.find:FindSymbols", "Symbols by name or pattern."
    )
    layout: view[TypeLayout] = view(
        "kernlab.struct_browser.find:TypeLayout", "A struct's members, holes, cache lines."
    )
    disassemble: view[Disassemble] = view(
        "kernlab.struct_browser.disassembly:Disassemble", "A function as a DataFrame of its instructions."
    )
    stack: view[OpenStack] = view(
        "kernlab.display.stacks.stack:OpenStack", "One thread's stack, as the kernel prints a call trace."
    )
    process: view[OpenProcess] = view(
        "kernlab.display.processes.process:OpenProcess",
        "What one process held: arguments, environment, memory, a core file for gdb.",
    )
    file: view[OpenFile] = view(
        "kernlab.display.processes.file:OpenFile",
        "What the page cache held of one file, with its holes marked.",
    )
    clocks: lazy[pd.DataFrame] = lazy(
        "kernlab.traces.clock.table:clocks", "Clocks of log, traces and tasks, on one axis."
    )

    @method("kernlab.replay.timeline:timeline")
    def timeline(
        self,
        sources: str | Iterable[str] | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
        events: str | Iterable[str] | None = None,
    ) -> Timeline:
        """What log, traces and tasks saw, one row each, on one clock that ends at the crash."""
        raise NotImplementedError

    relay: view[Relay] = view(
        "kernlab.traces.relay.view:Relay", "Relay channels and what is in them.", kept=True
    )
    replay: view[OpenReplay] = view(
        "kernlab.replay.opening:OpenReplay",
        "The last seconds of the machine on one clock, memory run backwards from the crash.",
    )
    ftrace: view[Ftrace] = view("kernlab.traces.ftrace.view:Ftrace", "The buffers of ftrace.", kept=True)
    _card: view[str] = view("kernlab.display.card:card", "Its summary as HTML.")
    _plain_card: view[str] = view("kernlab.display.card:plain", "Its summary as text.")

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}
        self._views: dict[str, Any] = {}
        self._lock = threading.RLock()

    def _open_kernel(self) -> Kernel:
        """The kernel to read from. Raises KernlabError once the dump was closed."""
        raise NotImplementedError

    def _table(self, entry: Entry) -> Any:
        """A table, built when it is first asked for."""
        return self._once(self._built, entry.name, lambda: entry.load().function(self._open_kernel()))

    def _view(self, place: Place, make: Callable[[Kernel], Any]) -> Any:
        """What is not a table, but kept like one; of an open dump only, as it may have more to read."""
        kernel = self._open_kernel()
        return self._once(self._views, place.name, lambda: make(kernel))

    def _once(self, kept: dict[str, Any], name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name in kept:
                return kept[name]
        # Made outside the lock, so that another thread can go on reading; the first one to finish is kept.
        made = make()
        with self._lock:
            return kept.setdefault(name, made)
