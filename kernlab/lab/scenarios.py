"""The stories that a guest of the lab can die of, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kernlab.lab.steps import LabError

_SCRIPTS = Path(__file__).parent / "guest" / "scenarios"
#: What was amiss before and has nothing to do with the end (decoys of guest/scenarios/common.sh): by default nothing.
_DECOYS: dict[str, str | int] = {"DECOYS": "", "LARGE_MIB": 48}


@dataclass(frozen=True)
class Scenario:
    """One story: its name, what happens, and what it asks of the machine."""

    name: str
    description: str
    memory_mib: int = 512
    cpus: int = 2
    flavour: str = "cloud"
    modules: tuple[str, ...] = ()
    driver: str = "kernlab_story"  # the lab's own module, of guest/modules
    programs: tuple[str, ...] = ()  # of guest/programs, beside those that every guest has
    settings: dict[str, str | int] = field(default_factory=dict)
    cmdline: str = ""
    truth_flags: str = ""
    disk_mib: int = 64
    disk_options: str = ""
    #: More disks: QEMU's words for each device, and what its drive is limited to.
    more_disks: tuple[tuple[str, str], ...] = ()
    more_disks_mib: int = 16
    devices: tuple[str, ...] = ()  # QEMU's words for what else is plugged in
    notes_mib: int = 0  # of a third disk, vdc, which programs/sampler.c writes until the kernel is gone
    image: bool = False  # does it boot from the server's disk (server_image.py)?
    python: bool = False  # does it find Python and the recorder on the lab's disk (guest_python.py)?
    nodes: int = 1
    bare: bool = (
        False  # does its CPU hide that it is a virtual machine's? In those nobody queues for a spinlock.
    )
    #: Seconds that preparing and dying may take without hardware virtualisation.
    prepare_seconds: int = 300
    die_seconds: int = 240

    @property
    def script(self) -> str:
        """The shell functions prepare, die and so on, with those that all stories share."""
        return (_SCRIPTS / "common.sh").read_text() + (_SCRIPTS / f"{self.name}.sh").read_text()


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("panic", "SysRq c on a quiet machine, blktrace half read"),
        Scenario("oops", "a driver follows a NULL pointer in the context of a process, panic_on_oops"),
        Scenario(
            "oom",
            "a driver leaks slab objects, a program takes the rest of memory, panic_on_oom",
            settings={"LEAK_STEPS": 120, "LEAK_SIZE": 700, "HOG_MIB": 60},
        ),
        Scenario("hung", "a lock that is never released, six tasks in D state behind it, hung_task_panic"),
        Scenario(
            "deadlock",
            "mutexes taken in opposite order, a rwsem against a mutex, others behind them, hung_task_panic",
            driver="kernlab_shop",
            settings={"DIE": "hung"},
        ),
        Scenario(
            "waits",
            "kernel threads each asleep in another way: for every kind of lock, a folio, RCU, a thread, a work item",
            driver="kernlab_depot",
        ),
        Scenario(
            "lockup",
            "a CPU spins with interrupts off and holds a spinlock, two more queue for it, softlockup_panic",
            cpus=4,
            driver="kernlab_shop",
            bare=True,
            settings={"INTERRUPTS": "off"},
        ),
        Scenario(
            "irq",
            "a driver fails in an interrupt, a softirq, a tasklet, or an NMI comes that nobody knows",
            driver="kernlab_shop",
            settings={"WHERE": "hardirq", "HOW": "oops", "UNDER": "kernel"},
        ),
        Scenario(
            "io",
            "a slow disk with requests in flight, blktrace's relay channel half read",
            disk_mib=256,
            disk_options=",throttling.iops-total=150",
        ),
        Scenario(
            "fault",
            "a driver fails in one of twenty ways, from a NULL pointer to a softirq that spins",
            driver="kernlab_mill",
            settings={"FAULT": "null", "CACHE": "mill_job", **_DECOYS},
            # What SLUB finds taints the kernel (B), and that ends it.
            cmdline="slub_debug=FZPU,mill_checked_job panic_on_taint=0x20",
        ),
        Scenario(
            "memcg",
            "a memory cgroup at its limit: the OOM killer strikes in it, or the kernel panics for it",
            driver="kernlab_mill",
            settings={"PANIC": 0, **_DECOYS},
        ),
        Scenario(
            "order",
            "half of memory is free and in crumbs: 16 pages in one piece are not there, and a driver panics",
            driver="kernlab_mill",
            settings=_DECOYS,
        ),
        Scenario(
            "stuck",
            "a SCSI disk answers no more, a file system on it, processes that read, write and sync, hung_task_panic",
            driver="kernlab_mill",
            modules=("virtio_scsi", "sd_mod"),
            devices=("virtio-scsi-pci,id=scsi",),
            more_disks=(("scsi-hd,bus=scsi.0,scsi-id=0,serial=KL-SCSI-00000", ""),),
            settings=_DECOYS,
        ),
        Scenario(
            "readonly",
            "a directory's block is overwritten: ext4 makes the file system read-only, or panics",
            driver="kernlab_mill",
            disk_mib=16,
            settings={"ERRORS": "remount-ro", **_DECOYS},
        ),
        Scenario(
            "leak",
            "a driver leaks kmalloc, vmalloc or percpu memory until there is none, panic_on_oom",
            driver="kernlab_mill",
            settings={"KIND": "kmalloc", "LEAK_MIB": 80, **_DECOYS},
        ),
        Scenario(
            "flight",
            "a flight recorder is on, a program leaks, reclaim thrashes, the disk slows, the OOM killer strikes, panic",
            memory_mib=640,
            programs=("sampler", "tenants"),
            python=True,
            settings={
                "BUFFER_KIB": 4096,
                "EVENTS": "sched tasks oom reclaim block log rss",
                "HOLE": "none",
                "MARK_MS": 250,
                "LEAK_KIB": 512,
                "SWAP_MIB": 32,
                "CATALOG_MIB": 80,
                "SLOW_BYTES": 3 << 20,
                "SLOW_REQUESTS": 120,
            },
            truth_flags="nosmaps",
            disk_mib=160,
            notes_mib=32,
        ),
        Scenario("trace", "relay channels and ftrace instances, full, wrapped, overwritten, half read"),
        Scenario(
            "reboot",
            "a trace instance in memory that outlives a reboot, which the boot before filled, and panicked",
            cmdline="reserve_mem=3M:4096:trace trace_instance=boot_map^traceoff@trace",
            settings={"AFTER": "nothing"},
        ),
        Scenario("clocks", "the same requests, forks and lines of the log in traces by every clock there is"),
        Scenario(
            "odd",
            "mounts upon mounts, names with markup, namespaces, shared memory, file locks, a log that wrapped",
            programs=("holders",),
            modules=("overlay",),
            cmdline="log_buf_len=128K printk.devkmsg=on",
        ),
        Scenario(
            "cgroups",
            "memory cgroups in a tree: at a limit, over a mark, after an OOM kill, removed and not gone",
        ),
        Scenario(
            "containers",
            "containers in nested cgroups: at their limits, throttled, killed in, frozen; a hierarchy of version 1",
            settings={"LAYOUT": "unified"},
        ),
        Scenario(
            "probes",
            "tasks asleep under kretprobes, fprobes, function_graph and a BPF trampoline; code made at run time",
            programs=("watcher",),
        ),
        Scenario(
            "secrets",
            "known secrets in every place that has any: what a redacted dump must not have any more",
            programs=("secrets",),
            modules=("dummy", "ipv6"),
        ),
        Scenario(
            "process",
            "a process whose memory, files and registers are known, swapped out to zram: for dumps with user pages",
            programs=("holder",),
            modules=("lzo", "lzo_rle", "lz4", "zstd", "zsmalloc", "zram"),
            settings={
                "ALGORITHMS": "lzo-rle lz4 zstd lzo",
                "ZRAM_KIB": 3072,
                "LEDGER_MIB": 11,
                "ZSWAP": "none",
            },
        ),
        Scenario(
            "disks",
            "a slow nvme controller with commands outstanding, SCSI disks, md arrays: degraded, rebuilt, striped",
            programs=("raid",),
            modules=("virtio_scsi", "sd_mod", "nvme", "md_mod", "raid0", "raid1"),
            devices=("virtio-scsi-pci,id=scsi",),
            more_disks=(
                ("nvme,serial=KL-NVME-00017", ",throttling.iops-total=30"),
                *(
                    (f"scsi-hd,bus=scsi.0,scsi-id={number},serial=KL-SCSI-{number:05}", "")
                    for number in range(6)
                ),
            ),
        ),
        Scenario(
            "net",
            "two network namespaces, sockets in every state, full queues and backlogs, routes, neighbours, XDP",
            programs=("links", "sockets"),
            modules=("dummy", "veth", "bridge", "ipv6", "af_packet", "vsock"),
            settings={"SWARM": 0},
        ),
        Scenario(
            "server",
            "a Debian server: systemd, PostgreSQL, nginx, redis, a container, cgroups at their limits, swap",
            memory_mib=1536,
            cpus=2,
            nodes=2,
            flavour="generic",
            modules=("overlay", "lzo", "lzo_rle", "zstd", "zsmalloc", "zbud", "autofs4", "binfmt_misc"),
            cmdline="systemd.getty_auto=no systemd.show_status=1 net.ifnames=0 transparent_hugepage=always",
            image=True,
            prepare_seconds=1800,
        ),
        Scenario(
            "scale",
            "thousands of processes with hundreds of thousands of memory areas",
            memory_mib=12288,
            settings={"SWARM": 4000, "AREAS": 160},
            truth_flags="nosmaps",
            prepare_seconds=1500,
            die_seconds=600,
        ),
    )
}


def scenario_named(name: str) -> Scenario:
    """The scenario of a name; a LabError that names them all where there is none."""
    if name not in SCENARIOS:
        raise LabError(f"The lab knows no scenario {name!r}: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]
