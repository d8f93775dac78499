"""What kernels lack that were built without an option: {option: what is gone}, and what becomes of each table then.

A table that is not named stays as it is. What stands here comes from the kernel's Kconfig and sources.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from support.absent import Absence


@dataclass(frozen=True)
class Empty:
    """No rows, the same columns."""


@dataclass(frozen=True)
class Refused:
    """A KernlabError that says this."""

    match: str


@dataclass(frozen=True)
class Changed:
    """The same but for some columns (of a Series: keys): `gone` are not there, `missing` have no values, `other` may
    hold anything; every new problem says one of `told`, and each of those is said, unless they only `may_be_told`."""

    gone: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    may_be_told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Others:
    """Other rows, with the same columns; every new problem says one of `told`, and each of those is said."""

    told: tuple[str, ...] = ()


Expected = Empty | Refused | Changed | Others


@dataclass(frozen=True)
class Option:
    absence: Absence
    tables: dict[str, Expected] = field(default_factory=dict)


_SWAP = (
    "swap_info",
    "nr_swapfiles",
    "total_swap_pages",
    "nr_swap_pages",
    "swapper_spaces",
    "nr_swapper_spaces",
)
_HUGE_KEYS = (
    *(f"HugePages_{name}" for name in ("Total", "Free", "Rsvd", "Surp")),
    "Hugepagesize",
    "Hugetlb",
)
_THP_KEYS = ("AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "FileHugePages", "FilePmdMapped")
_NO_LOG = ("this kernel keeps no log (CONFIG_PRINTK is off)",)
_NO_GROUPS = ("this kernel has no memory cgroups (CONFIG_MEMCG)",)

# Debian's kernels keep no frame pointers either.
_NO_UNWINDER = "neither ORC tables nor frame pointers"
# The dump has such file systems all the same; of locks only one with a place of its own needs their journals.
_JOURNALS = ("Journals of ext4 are not known",)
_NO_JOURNALS: dict[str, Expected] = {
    "locks": Changed(other=("name",), may_be_told=_JOURNALS),
    "suspects": Changed(other=("name",), told=_JOURNALS),
    "verdict": Changed(may_be_told=_JOURNALS),
    "waits": Changed(other=("name",), told=_JOURNALS),
}

# The dumps have sockets of every family all the same: those that are open are there, with less to tell.
_NO_INTERNET = ("(CONFIG_INET is off)",)
_DEVICE_TYPES = (
    *(
        "Qdisc",
        "bpf_xdp_entity",
        "gnet_stats_queue",
        "napi_struct",
        "neigh_hash_table",
        "neigh_table",
        "neighbour",
    ),
    *("net_device_core_stats", "net_device_ops", "net_device_stats", "netdev_adjacent", "netdev_queue"),
    *("pcpu_dstats", "pcpu_lstats", "pcpu_sw_netstats", "qdisc_skb_head", "rtnl_link_ops"),
)
_ROUTE_TYPES = (
    *(
        "dst_metrics",
        "fib_alias",
        "fib_info",
        "fib_nh",
        "fib_nh_common",
        "fib_table",
        "in_device",
        "in_ifaddr",
    ),
    *("key_vector", "nexthop", "nh_group", "nh_grp_entry", "nh_info", "tnode"),
)
_NO_NETWORK = Others(told=("this kernel has no network (CONFIG_NET is off)",))

_CGROUP_TYPES = ("struct mem_cgroup", "struct obj_cgroup", "struct page_counter")
_CGROUP_FLAGS = ("FAVOR_DYNMODS", "MEMORY_HUGETLB_ACCOUNTING", "MEMORY_LOCAL_EVENTS", "MEMORY_RECURSIVE_PROT",
    "NS_DELEGATE", "PIDS_LOCAL_EVENTS")  # fmt: skip
_CGROUP_MEMBERS = tuple(
    f"struct {owner}.{member}"
    for owner in ("page", "slab", "folio")
    for member in ("memcg_data", "mem_cgroup", "obj_exts")
)
_MEMCG_EVENTS = tuple(
    f"MEMCG_{name}" for name in ("LOW", "HIGH", "MAX", "OOM", "OOM_KILL", "OOM_GROUP_KILL", "SOCK_THROTTLED")
)
_MEMCG = Absence(
    symbols=("root_mem_cgroup", "memory_stats", "memcg_vm_event_stat", "mem_cgroup_stats_index"),
    types=(
        *_CGROUP_TYPES,
        *(
            "struct memcg_vmstats",
            "struct memcg_vmstats_percpu",
            "struct mem_cgroup_per_node",
            "struct memory_stat",
        ),
    ),
    members=_CGROUP_MEMBERS,
    enumerators=("memory_cgrp_id", "MEMCG_NR_STAT", "MEMCG_PERCPU_B", "MEMCG_ZSWAP_B", *_MEMCG_EVENTS),
)
_CPUACCT = Absence(types=("struct cpuacct",), enumerators=("cpuacct_cgrp_id",))
_CPUSETS = Absence(types=("struct cpuset",), enumerators=("cpuset_cgrp_id",))
_FREEZER = Absence(types=("struct freezer",), enumerators=("freezer_cgrp_id", "CGROUP_FROZEN"))
_GROUP_SCHED = Absence(
    symbols=("task_groups", "root_task_group"),
    types=("struct task_group", "struct autogroup"),
    members=("struct sched_entity.my_q",),
    enumerators=("cpu_cgrp_id",),
)
_PIDS = Absence(types=("struct pids_cgroup",), enumerators=("pids_cgrp_id", "PIDCG_MAX"))
_QUOTAS = ("cpu_quota", "cpu_period", "periods", "throttled_periods", "throttled")
_NO_MEMCG: dict[str, Expected] = {
    "memory_by_cgroup": Refused("CONFIG_MEMCG"),
    "cgroup_memory": Refused("CONFIG_MEMCG"),
    "cgroups": Changed(
        missing=(
            *(
                "usage_bytes",
                "peak_bytes",
                "swap_bytes",
                "kmem_bytes",
                "min_bytes",
                "low_bytes",
                "high_bytes",
            ),
            *(
                "max_bytes",
                "swap_max_bytes",
                "low_events",
                "high_events",
                "max_events",
                "oom_events",
                "oom_kills",
            ),
            *(f"{name}_bytes" for name in ("anon", "file", "shmem", "slab", "kernel_stack", "sock")),
        )
    ),
    "suspects": Changed(told=_NO_GROUPS),
}

#: Options whose kernels lay memory out in another way: they have tests of their own (test_one_cpu, test_layouts).
LAYOUTS: dict[str, Absence] = {
    # Sleeping locks are rtmutexes then; of such kernels the lab takes dumps.
    "PREEMPT_RT=y": Absence(
        types=("struct mutex_waiter", "struct rwsem_waiter"),
        members=(
            *(f"struct mutex.{name}" for name in ("owner", "wait_list", "wait_lock", "first_waiter")),
            *(f"struct rw_semaphore.{name}" for name in ("count", "owner", "wait_list", "first_waiter")),
        ),
        enumerators=("RWSEM_WAITING_FOR_READ",),
    ),
    "NUMA": Absence(
        # In the array of names those of NUMA stand between others.
        symbols=("node_data", "nr_node_ids", "vmstat_text", "x86_cpu_to_node_map"),
        members=(
            "struct device.numa_node",
            *(
                f"struct {owner}.{member}"
                for owner in ("zone", "per_cpu_zonestat", "per_cpu_pageset")
                for member in ("vm_numa_event", "vm_numa_stat", "vm_numa_stat_diff")
            ),
        ),
        types=("enum numa_stat_item",),
        enumerators=("NR_VM_NUMA_EVENT_ITEMS", "NR_VM_NUMA_STAT_ITEMS"),
        vmcoreinfo=("SYMBOL(node_data)", "LENGTH(node_data)"),
    ),
    "SLUB_TINY=y": Absence(
        types=(
            "struct kmem_cache_cpu",
            "struct slub_percpu_sheaves",
            "struct slab_sheaf",
            "struct node_barn",
        ),
        members=(
            *(f"struct kmem_cache_node.{name}" for name in ("nr_slabs", "total_objects", "full")),
            *(f"struct kmem_cache.{name}" for name in ("cpu_slab", "cpu_sheaves", "cpu_partial")),
        ),
    ),
    "SMP": Absence(
        symbols=("__per_cpu_offset", "nr_cpu_ids", "qnodes", "cpu_info", "x86_cpu_to_node_map"),
        types=("struct qnode", "struct mcs_spinlock"),
        members=(
            "struct irq_common_data.affinity",
            "struct irq_common_data.effective_affinity",
            "struct task_struct.on_cpu",
            "struct task_struct.cpu",
            "struct thread_info.cpu",
            "struct rq.stop",
            "struct rq.cpu_capacity",
            "struct cfs_rq.avg",
            "struct qspinlock.val",
            "struct percpu_counter.counters",
            "struct per_cpu_zonestat.vm_stat_diff",
            "struct per_cpu_pageset.vm_stat_diff",
            "struct kmem_cache_cpu.partial",
        ),
    ),
    # Groups of real-time tasks; few distributions have them.
    "RT_GROUP_SCHED=y": Absence(members=("struct task_group.rt_rq", "struct sched_rt_entity.my_q")),
    "VM_EVENT_COUNTERS": Absence(symbols=("vm_event_states",), types=("struct vm_event_state",)),
}

OPTIONS: dict[str, Option] = {
    "ANON_VMA_NAME": Option(Absence(members=("struct vm_area_struct.anon_name",))),
    "AUDIT": Option(
        Absence(members=("struct task_struct.loginuid", "struct task_struct.sessionid")),
        {"credentials": Changed(missing=("loginuid", "session"))},
    ),
    "BLK_CGROUP": Option(
        Absence(
            members=("struct bio.bi_blkg", "struct bio.bi_issue", "struct bio.issue_time_ns"),
            types=(
                "struct blkcg_gq",
                "struct blkcg",
                "struct bio_issue",
                "struct blkg_iostat_set",
                "struct blkg_iostat",
            ),
            enumerators=("io_cgrp_id",),
        ),
        {"cgroup_io": Others(told=("CONFIG_BLK_CGROUP",))},
    ),
    "BLK_DEV_DM": Option(
        Absence(symbols=("dm_blk_dops", "dm_rq_blk_dops", "clone_endio"), types=("struct mapped_device",))
    ),
    "BLK_DEV_LOOP": Option(
        Absence(symbols=("lo_fops",), types=("struct loop_device",)), {"volumes": Others()}
    ),
    "BLK_DEV_SD": Option(Absence(symbols=("sd_fops",))),
    "BLK_DEV_SR": Option(Absence(symbols=("sr_bdops",))),
    "NVME_CORE": Option(
        Absence(
            symbols=("nvme_bdev_ops", "nvme_fops", "nvme_ns_head_ops"),
            types=("struct nvme_ctrl", "struct nvme_ns", "struct nvme_ns_head", "struct nvme_subsystem"),
        )
    ),
    "BLK_DEV_MD": Option(
        Absence(
            symbols=(
                *("md_end_clone_io", "md_end_io_acct", "md_fops"),
                *(f"{raid}_end_{what}_request" for raid in ("raid1", "raid10") for what in ("read", "write")),
            ),
            types=("struct md_io_clone", "struct md_io_acct", "struct r1bio", "struct r10bio"),
        )
    ),
    "BLK_DEV_THROTTLING": Option(
        Absence(
            symbols=("blkcg_policy_throtl",),
            enumerators=("LIMIT_MAX",),
            members=("struct request_queue.td",),
            types=(
                "struct blkcg_policy",
                *("struct throtl_data", "struct throtl_grp"),
                *("struct throtl_qnode", "struct throtl_service_queue"),
            ),
        )
    ),
    "BLOCK": Option(
        Absence(
            symbols=("blockdev_superblock", "block_class"),
            types=(
                *("struct bdev_inode", "struct blk_mq_hw_ctx", "struct blk_mq_tags", "struct sbq_wait"),
                *("struct request", "struct blk_mq_ctx", "struct blk_flush_queue", "struct blk_plug"),
                *("struct disk_stats", "struct hd_struct", "struct rq_list"),
            ),
            members=("struct gendisk.state",),
        ),
        {
            # Of these dumps' cgroups only the root has devices, and has the disks' own numbers.
            "cgroup_io": Changed(
                missing=("read_bytes", "written_bytes", "discarded_bytes", "reads", "writes", "discards")
            ),
            "disks": Others(told=("no block layer (CONFIG_BLOCK is off)",)),
            "inflight": Others(told=("no block layer (CONFIG_BLOCK is off)",)),
            "nvme": Others(told=("no block layer (CONFIG_BLOCK is off)",)),
            "volumes": Others(told=("no block layer (CONFIG_BLOCK is off)",)),
            "meminfo": Changed(other=("Buffers", "Cached")),
            "memory_by_file": Changed(missing=(), other=("path",)),
        },
    ),
    "BPF_JIT": Option(Absence(symbols=("bpf_kallsyms",), types=("struct bpf_ksym",))),
    "CFS_BANDWIDTH": Option(
        Absence(
            types=("struct cfs_bandwidth",),
            members=(
                *(f"struct cfs_rq.throttle{name}" for name in ("_count", "d", "d_limbo_list")),
                "struct task_struct.throttle_node",
                "struct task_group.cfs_bandwidth",
            ),
        ),
        {
            "runqueues": Changed(missing=("throttled_groups",)),
            "queued": Changed(other=("throttled",)),
            "cgroups": Changed(missing=_QUOTAS),
        },
    ),
    "CGROUP_CPUACCT": Option(_CPUACCT),
    "CGROUP_FREEZER": Option(_FREEZER),
    "CGROUP_PIDS": Option(_PIDS, {"cgroups": Changed(missing=("pids", "pids_max", "pids_max_events"))}),
    "BPF_SYSCALL": Option(
        Absence(
            symbols=(
                *("prog_idr", "map_idr", "link_idr", "array_map_mem_usage", "htab_map_mem_usage"),
                *("bpf_prog_fops", "bpf_map_fops", "bpf_link_fops", "bpf_link_fops_poll"),
            ),
            types=(
                *(
                    "struct bpf_prog_aux",
                    "struct bpf_prog",
                    "struct bpf_prog_stats",
                    "struct btf",
                    "struct bucket",
                ),
                *(
                    "struct bpf_map",
                    "struct bpf_map_ops",
                    "struct bpf_map_memory",
                    "struct bpf_array",
                    "struct bpf_htab",
                ),
                *("struct bpf_link", "struct bpf_xdp_link", "struct bpf_cgroup_link", "struct bpf_prog_list"),
                "struct bpf_xdp_entity",
            ),
        ),
        {
            "bpf_programs": Changed(told=("BPF programs are off in this kernel (CONFIG_BPF_SYSCALL)",)),
            "bpf_maps": Changed(told=("BPF maps are off in this kernel (CONFIG_BPF_SYSCALL)",)),
        },
    ),
    "CGROUP_BPF": Option(
        Absence(
            types=(
                *("struct bpf_prog_list", "struct bpf_cgroup_link", "struct cgroup_bpf"),
                *("enum cgroup_bpf_attach_type", "enum bpf_attach_type"),
            ),
            members=("struct cgroup.bpf",),
        )
    ),
    "CGROUPS": Option(
        _MEMCG
        | _CPUACCT
        | _CPUSETS
        | _FREEZER
        | _GROUP_SCHED
        | _PIDS
        | Absence(
            symbols=(
                *("cgrp_dfl_visible", "cgrp_dfl_root", "cgroup_roots", "cgroup_subsys"),
                *(f"cgrp_dfl_{name}_ss_mask" for name in ("implicit", "inhibit", "threaded")),
                *("cgroup_kf_syscall_ops", "cgroup1_kf_syscall_ops"),
            ),
            types=(
                *("struct cgroup", "struct cgroup_subsys_state", "struct css_set", "struct cgrp_cset_link"),
                *("struct cgroup_root", "struct cgroup_subsys", "struct cgroup_base_stat"),
                *("struct cgroup_rstat_cpu", "struct cgroup_rstat_base_cpu", "struct cgroup_namespace"),
            ),
            members=("struct task_struct.cgroups",),
            enumerators=(
                *("CSS_ONLINE", "CGRP_FROZEN", "CGROUP_SUBSYS_COUNT"),
                *(f"CGRP_ROOT_{name}" for name in _CGROUP_FLAGS),
            ),
        ),
        {
            **_NO_MEMCG,
            "cgroup_io": Others(told=("CONFIG_CGROUPS",)),
            "cgroups": Others(told=("CONFIG_CGROUPS",)),
            "namespaces": Others(),
            # The machine's own is left; of cgroups these dumps have none.
            "pressure": Changed(),
            "runqueues": Changed(missing=("throttled_groups",)),
            "queued": Changed(missing=("group",)),
            "tasks": Changed(missing=("cgroup", "container")),
            "memory_by_process": Changed(missing=("cgroup",)),
            # The dump has such mounts all the same.
            "mounts": Changed(told=("mounts of cgroup2 lack",)),
        },
    ),
    "CGROUP_SCHED": Option(
        _GROUP_SCHED,
        {
            "runqueues": Changed(missing=("throttled_groups",)),
            "queued": Changed(missing=("group",)),
            "cgroups": Changed(missing=("cpu_weight", *_QUOTAS)),
        },
    ),
    "CMA": Option(
        Absence(
            members=("struct zone.cma_pages",), enumerators=("MIGRATE_CMA",), symbols=("totalcma_pages",)
        ),
        {"meminfo": Changed(gone=("CmaTotal", "CmaFree"))},
    ),
    "CPUSETS": Option(_CPUSETS, {"cgroups": Changed(missing=("cpus", "mems"))}),
    "CPU_FREQ": Option(Absence(symbols=("cpufreq_cpu_data",), types=("struct cpufreq_policy",))),
    "CPU_IDLE": Option(Absence(members=("struct rq.idle_state",), types=("struct cpuidle_state",))),
    "CRASH_DUMP": Option(Absence(symbols=("crash_notes",)), {"registers": Changed(other=("source",))}),
    "DEBUG_INFO_BTF_MODULES": Option(
        Absence(symbols=("btf_modules",), types=("struct btf_module",)),
        # What only modules describe.
        {
            "mounts": Changed(
                other=("options", "super_options"),
                may_be_told=("_show_options shows is not known", " lack the options that it shows of itself"),
            ),
            "pages": Changed(may_be_told=("virtio devices may still have written to is not known",)),
            "volumes": Changed(
                other=("state", "target", "path", "offset_bytes", "stored_bytes", "compressed_bytes"),
                may_be_told=("devices are made of is not known",),
            ),
        },
    ),
    "DEBUG_FS": Option(
        Absence(types=("struct debugfs_fs_info", "struct debugfs_mount_opts")),
        {"mounts": Changed(told=("what debugfs_show_options shows", "mounts of debugfs lack"))},
    ),
    "DETECT_HUNG_TASK": Option(
        Absence(
            symbols=("sysctl_hung_task_timeout_secs",),
            members=("struct task_struct.blocker", "struct semaphore.last_holder"),
        )
    ),
    "DMI": Option(Absence(symbols=("dmi_ident",)), {"dmi": Others(told=("CONFIG_DMI",))}),
    "DYNAMIC_FTRACE": Option(
        Absence(
            symbols=("ftrace_mod_maps", "ftrace_ops_trampoline_list"),
            types=("struct ftrace_mod_map", "struct ftrace_mod_func", "struct ftrace_ops"),
        )
    ),
    "DMA_SHARED_BUFFER": Option(Absence(symbols=("dmabuffs_dname",), types=("struct dma_buf",))),
    "EPOLL": Option(Absence(symbols=("eventpoll_fops",), types=("struct eventpoll", "struct epitem"))),
    "EVENTFD": Option(Absence(symbols=("eventfd_fops",), types=("struct eventfd_ctx",))),
    "EXT4_FS": Option(
        Absence(types=("struct ext4_sb_info",)),
        {
            **_NO_JOURNALS,
            "mounts": Changed(
                other=("options", "super_options"),
                may_be_told=("what ext4_show_options shows", "mounts of ext4 lack the options"),
            ),
        },
    ),
    "FAIR_GROUP_SCHED": Option(
        Absence(members=("struct task_group.cfs_rq", "struct task_group.shares", "struct sched_entity.my_q")),
        {
            "runqueues": Changed(missing=("throttled_groups",)),
            "queued": Changed(missing=("group",)),
            "cgroups": Changed(missing=("cpu_weight",)),
        },
    ),
    "FILE_LOCKING": Option(
        Absence(
            symbols=("file_lock_list",),
            types=("struct file_lock", "struct file_lock_core", "struct file_lock_list_struct"),
        ),
        {"file_locks": Others(told=("CONFIG_FILE_LOCKING",))},
    ),
    "FORCE_NR_CPUS=y": Option(Absence(symbols=("nr_cpu_ids",))),
    "FUNCTION_GRAPH_TRACER": Option(
        Absence(
            symbols=("return_to_handler",),
            types=("struct ftrace_ret_stack",),
            members=tuple(f"struct task_struct.{name}" for name in ("ret_stack", "curr_ret_stack")),
        )
    ),
    "FUTEX": Option(Absence(types=("struct futex_q", "union futex_key", "struct futex_pi_state"))),
    "GENERIC_MSI_IRQ": Option(
        Absence(members=("struct irq_common_data.msi_desc",), types=("struct msi_desc",)),
        {"devices": Changed(other=("msi_irqs",))},
    ),
    "HARDLOCKUP_DETECTOR": Option(
        Absence(symbols=("hrtimer_interrupts", "hrtimer_interrupts_saved")),
        {"watchdogs": Changed(missing=("interrupts", "interrupts_saved"))},
    ),
    "HUGETLB_PAGE": Option(
        Absence(
            symbols=("hstates", "hugetlb_max_hstate", "default_hstate_idx", "hugetlbfs_file_operations"),
            types=("struct hstate",),
            enumerators=("HUGETLB_PAGE_DTOR", "PG_hugetlb", "PGTY_hugetlb"),
            vmcoreinfo=("NUMBER(HUGETLB_PAGE_DTOR)", "NUMBER(PG_hugetlb)"),
        ),
        {"hugepages": Empty(), "meminfo": Changed(gone=_HUGE_KEYS)},
    ),
    "IKCONFIG": Option(Absence(symbols=("kernel_config_data", "kernel_config_data_end"))),
    "INOTIFY_USER": Option(Absence(symbols=("inotify_fops",))),
    "INET": Option(
        Absence(
            symbols=(
                "arp_tbl",
                "tcp_hashinfo",
                "udp_table",
                "udplite_table",
                "raw_v4_hashinfo",
                "ping_table",
            ),
            types=tuple(
                f"struct {name}"
                for name in (
                    *("inet_connection_sock", "inet_ehash_bucket", "inet_hashinfo", "inet_listen_hashbucket"),
                    *(
                        "inet_timewait_death_row",
                        "inet_timewait_sock",
                        "netns_ipv4",
                        "ping_table",
                        "raw_hashinfo",
                    ),
                    *("request_sock", "tcp_congestion_ops", "tcp_sock", "udp_hslot", "udp_sock", "udp_table"),
                    *_ROUTE_TYPES,
                )
            ),
        ),
        # The dumps have what is of version 6 all the same.
        {
            "neighbours": Others(told=_NO_INTERNET),
            "netdevs": Changed(other=("ipv4",)),
            "routes": Others(told=_NO_INTERNET),
            "sockets": Others(),
        },
    ),
    "IPV6": Option(
        Absence(
            symbols=("nd_tbl", "raw_v6_hashinfo"),
            types=tuple(
                f"struct {name}"
                for name in (
                    *("fib6_info", "fib6_nh", "fib6_node", "fib6_table", "inet6_dev", "inet6_ifaddr"),
                    *("netns_ipv6", "rt6key"),
                )
            ),
            members=tuple(f"struct sock_common.{name}" for name in ("skc_v6_daddr", "skc_v6_rcv_saddr")),
        ),
        {"netdevs": Changed(other=("ipv6",)), "routes": Others(), "sockets": Others()},
    ),
    "IOMMU_DMA": Option(Absence(members=("struct device.dma_iommu", "struct device.dma_ops"))),
    "JBD2": Option(Absence(types=("struct journal_s",)), _NO_JOURNALS),
    "KFENCE": Option(
        Absence(
            symbols=("__kfence_pool", "kfence_metadata"),
            types=("struct kfence_metadata", "struct kfence_track"),
        ),
        {"kfence": Changed(may_be_told=("KFENCE is off in this kernel (CONFIG_KFENCE)",))},
    ),
    "KEYS": Option(
        Absence(symbols=("key_serial_tree",), types=("struct key", "struct key_type", "struct assoc_array")),
        {"keys": Others(told=("CONFIG_KEYS",))},
    ),
    "KPROBES": Option(
        Absence(
            symbols=("kprobe_insn_slots", "kprobe_optinsn_slots"),
            types=("struct kprobe_insn_cache", "struct kprobe_insn_page"),
        )
    ),
    "KRETPROBES": Option(
        Absence(
            symbols=("arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"),
            types=("struct rethook_node", "struct kretprobe_instance"),
            members=tuple(f"struct task_struct.{name}" for name in ("rethooks", "kretprobe_instances")),
        )
    ),
    "MEMCG": Option(_MEMCG, _NO_MEMCG),
    "MEM_ALLOC_PROFILING": Option(
        Absence(symbols=("alloc_tag_cttype",), types=("struct codetag_type", "struct codetag_module"))
    ),
    "MEMORY_FAILURE": Option(
        Absence(symbols=("num_poisoned_pages",), enumerators=("PG_hwpoison",)),
        {"meminfo": Changed(gone=("HardwareCorrupted",))},
    ),
    "MEMORY_ISOLATION": Option(
        Absence(enumerators=("MIGRATE_ISOLATE", "PB_migrate_isolate")),
    ),
    "MEMTEST": Option(
        Absence(symbols=("early_memtest_done", "early_memtest_bad_size")),
        {"meminfo": Changed(gone=("EarlyMemtestBad",))},
    ),
    "MODULES": Option(
        Absence(
            symbols=("modules", "btf_modules"),
            types=(
                "struct module",
                "struct module_use",
                "struct mod_kallsyms",
                "struct module_notes_attrs",
                "struct btf_module",
            ),
            members=("struct module_layout.text_size",),
            enumerators=("MOD_TEXT", "MOD_INIT_TEXT", "MOD_MEM_NUM_TYPES"),
        ),
        # The dump has modules all the same, and memory whose addresses they would name.
        {
            "disks": Changed(other=("operations",)),
            "irqs": Changed(other=("handlers",)),
            "modules": Empty(),
            "symbols": Changed(other=("name", "address", "type", "module")),
            "vmalloc": Changed(other=("caller",)),
            "volumes": Others(),
        },
    ),
    "MODULE_UNLOAD": Option(
        Absence(
            members=tuple(
                f"struct module.{name}" for name in ("refcnt", "exit", "source_list", "target_list")
            ),
            types=("struct module_use",),
        ),
        {"modules": Changed(missing=("refcount", "used_by"))},
    ),
    "NET": Option(
        Absence(
            symbols=(
                *("napi_alloc_cache", "netdev_alloc_cache", "net_hotdata"),
                *("init_net", "net_namespace_list"),
                *("skbuff_cache", "skbuff_head_cache", "skbuff_fclone_cache"),
                *("nl_table", "socket_file_ops"),
            ),
            types=(
                *("struct net_device", "struct bpf_xdp_entity", "struct bpf_xdp_link"),
                "struct napi_alloc_cache",
                "struct net",
                "struct net_hotdata",
                "struct sk_buff",
                "struct sk_buff_fclones",
                "struct socket_alloc",
                *(f"struct {name}" for name in ("net", "net_device", "sk_buff_head", "numa_drop_counters")),
                *(
                    f"struct {name}"
                    for name in ("sock", "sock_common", "socket", "netlink_sock", "netlink_table")
                ),
                *(f"struct {name}" for name in _DEVICE_TYPES),
            ),
        ),
        # The dump has network buffers and sockets all the same, and nobody says so.
        {
            "memory": Changed(other=("bytes", "share")),
            "namespaces": Others(),
            "neighbours": Others(told=_NO_INTERNET),
            "netdevs": _NO_NETWORK,
            "pages": Changed(other=("kind",)),
            "routes": Others(told=_NO_INTERNET),
            "sockets": _NO_NETWORK,
            "waits": Changed(other=("name",)),
        },
    ),
    "PACKET": Option(
        Absence(types=("struct packet_sock",), members=("struct net.packet", "struct netns_packet.sklist")),
        {"sockets": Others()},
    ),
    "PAGE_OWNER": Option(
        Absence(
            symbols=("page_owner_ops", "page_owner_inited", "page_ext_size"),
            types=("struct page_owner", "struct page_ext_operations"),
            members=("struct mem_section.page_ext",),
            enumerators=("PAGE_EXT_OWNER_ALLOCATED",),
        )
    ),
    "PARAVIRT": Option(
        Absence(
            symbols=("__SCK__pv_sched_clock", "pv_ops"),
            types=("struct paravirt_patch_template", "struct pv_time_ops"),
        )
    ),
    "PCI": Option(
        Absence(types=("struct pci_dev",)),
        # The dump has such devices all the same.
        {
            "devices": Changed(
                missing=("subsystem_id", "pci_class", "pci_power", "bars", "irq"), other=("id",)
            )
        },
    ),
    "PER_VMA_LOCK": Option(Absence(members=("struct mm_struct.mm_lock_seq",))),
    "PM": Option(
        Absence(
            members=tuple(
                f"struct dev_pm_info.{name}" for name in ("runtime_status", "runtime_error", "disable_depth")
            )
        ),
        {"devices": Changed(missing=("power",), told=("CONFIG_PM",))},
    ),
    "POSIX_TIMERS": Option(
        Absence(
            symbols=("it_real_fn", "posix_timer_fn"),
            types=("struct k_itimer",),
            members=("struct signal_struct.real_timer",),
        )
    ),
    "PREEMPT_RT": Option(Absence(types=("struct rwbase_rt",), members=("struct rw_semaphore.rwbase",))),
    "PRINTK": Option(
        Absence(
            symbols=("prb", "printk_rb_static", "clear_seq"),
            types=("struct printk_ringbuffer", "struct printk_info", "struct prb_desc"),
            vmcoreinfo=("SYMBOL(prb)", "SYMBOL(printk_rb_static)", "SYMBOL(clear_seq)"),
        ),
        {
            "log": Refused("keeps no log .CONFIG_PRINTK is off"),
            "info": Changed(missing=("panic_message",), told=_NO_LOG),
            "suspects": Changed(told=_NO_LOG),
            # The last line of the log is nearer to the end than the run queues' clocks.
            "pressure": Changed(other=("avg10", "avg60", "avg300", "total")),
            # The stacks tell it, too, but less surely, and not when it began.
            "verdict": Changed(
                missing=("since",), other=("confidence", "evidence", "against", "cell"), told=_NO_LOG
            ),
        },
    ),
    "PROC_FS": Option(
        Absence(symbols=("direct_pages_count",), types=("struct proc_fs_info",)),
        {
            "meminfo": Changed(gone=("DirectMap4k", "DirectMap2M", "DirectMap1G")),
            "mounts": Changed(told=("what proc_show_options shows", "mounts of proc lack")),
        },
    ),
    "PSI": Option(
        Absence(
            symbols=("psi_system", "psi_disabled", "psi_period"),
            types=("struct psi_group", "struct psi_group_cpu"),
            members=("struct cgroup.psi",),
            enumerators=(
                *(f"PSI_{name}" for name in ("CPU_SOME", "CPU_FULL", "IO_SOME", "IO_FULL", "IRQ_FULL")),
                *("PSI_MEM_SOME", "PSI_MEM_FULL", "PSI_NONIDLE"),
            ),
        ),
        {"pressure": Others(told=("CONFIG_PSI",))},
    ),
    "RANDOMIZE_MEMORY": Option(Absence(symbols=("page_offset_base", "vmemmap_base"))),
    "RT_MUTEXES": Option(
        Absence(
            types=tuple(f"struct rt_mutex{name}" for name in ("", "_base", "_waiter")),
            members=("struct task_struct.pi_blocked_on",),
        )
    ),
    "PREEMPT_RCU": Option(
        Absence(members=("struct task_struct.rcu_node_entry",)),
        {"grace_periods": Changed(other=("waiting_tasks",))},
    ),
    "RCU_LAZY": Option(Absence(members=("struct rcu_data.lazy_len",)), {"rcu": Changed(missing=("lazy",))}),
    "RCU_NOCB_CPU": Option(
        Absence(symbols=("rcu_nocb_mask",), members=("struct rcu_data.nocb_bypass",)),
        {"rcu": Changed(missing=("bypass", "offloaded"))},
    ),
    "SCHED_AUTOGROUP": Option(Absence(members=("struct task_group.autogroup",), types=("struct autogroup",))),
    "SCHED_CLASS_EXT": Option(
        Absence(
            symbols=("ext_sched_class",),
            types=("struct scx_rq", "struct sched_ext_entity"),
            members=("struct rq.scx", "struct task_struct.scx"),
        ),
        {"runqueues": Changed(missing=("ext",))},
    ),
    "SCHED_INFO": Option(
        Absence(
            members=tuple(
                f"struct sched_info.{name}" for name in ("last_arrival", "last_queued", "run_delay", "pcount")
            )
        ),
        {
            "runqueues": Changed(missing=("running",)),
            "queued": Changed(missing=("waiting",)),
            "delays": Changed(missing=("run_delay", "runs", "last_run")),
        },
    ),
    "SECCOMP": Option(
        Absence(members=("struct seccomp.mode", "struct seccomp.filter_count")),
        {"credentials": Changed(missing=("seccomp", "seccomp_filters"))},
    ),
    "SECURITY": Option(
        Absence(
            symbols=(
                "apparmor_initialized",
                "apparmor_blob_sizes",
                "selinux_enabled_boot",
                "selinux_blob_sizes",
            ),
            types=("struct aa_label", "struct aa_profile", "struct lsm_blob_sizes"),
            members=("struct cred.security",),
        ),
        {"credentials": Changed(missing=("label",))},
    ),
    "SECURITY_APPARMOR": Option(
        Absence(
            symbols=("apparmor_initialized", "apparmor_blob_sizes"),
            types=("struct aa_label", "struct aa_profile"),
        ),
        {"credentials": Changed(missing=("label",))},
    ),
    "SECURITY_SELINUX": Option(
        Absence(
            symbols=("selinux_state", "selinux_blob_sizes"),
            types=(
                *("struct selinux_state", "struct cred_security_struct", "struct task_security_struct"),
                "struct superblock_security_struct",
            ),
        )
    ),
    "SHMEM": Option(
        Absence(
            symbols=("shmem_ops", "shmem_aops", "shmem_swaplist", "shm_mnt"),
            types=("struct shmem_sb_info", "struct shmem_inode_info", "struct shmem_quota_limits"),
        ),
        {
            "tmpfs": Empty(),
            "mounts": Changed(
                other=("options", "super_options"), told=("shmem_show_options", "lack the options")
            ),
        },
    ),
    "SIGNALFD": Option(Absence(symbols=("signalfd_fops",), types=("struct signalfd_ctx",))),
    "SLUB_DEBUG": Option(
        Absence(
            types=("struct track",),
            members=tuple(f"struct kmem_cache_node.{name}" for name in ("nr_slabs", "total_objects", "full")),
            enumerators=("_SLAB_STORE_USER",),
        ),
        {"slab_objects": Changed(told=("is not noted by this kernel (CONFIG_SLUB_DEBUG)",))},
    ),
    "STACKDEPOT": Option(
        Absence(
            symbols=("stack_pools", "stack_slabs", "stack_max_pools"),
            types=("struct stack_record", "union handle_parts"),
            members=("struct track.handle",),
        )
    ),
    "STACKTRACE": Option(Absence(members=("struct track.addrs",))),
    "SOFTLOCKUP_DETECTOR": Option(
        Absence(symbols=("watchdog_touch_ts", "watchdog_hrtimer", "watchdog_thresh", "watchdog_enabled")),
        {"watchdogs": Others(told=("CONFIG_SOFTLOCKUP_DETECTOR",))},
    ),
    "SWAP": Option(Absence(symbols=_SWAP, types=("struct swap_info_struct",)), {"swap": Empty()}),
    "SYSCTL": Option(
        Absence(
            symbols=("vm_dirty_ratio", "dirty_background_ratio", "vm_dirty_bytes", "dirty_background_bytes"),
        )
    ),
    "SYSVIPC": Option(
        Absence(
            symbols=("init_ipc_ns",),
            types=("struct shmid_kernel", "struct sem_array", "struct sem", "struct msg_queue"),
        ),
        {"shm": Empty(), "ipcs": Changed(told=("System V IPC is off in this kernel (CONFIG_SYSVIPC)",))},
    ),
    "TIMERFD": Option(Absence(symbols=("timerfd_fops",), types=("struct timerfd_ctx",))),
    "TASK_DELAY_ACCT": Option(
        Absence(members=("struct task_struct.delays",), types=("struct task_delay_info",)),
        # 5.10 accounts unless it is told not to.
        {
            "delays": Changed(
                other=("block_io", "swap_in", "reclaim", "thrashing"),
                missing=tuple(
                    f"{name}_count"
                    for name in (
                        *("block_io", "swap_in", "reclaim", "thrashing"),
                        *("compaction", "write_copy", "interrupts"),
                    )
                ),
                told=("CONFIG_TASK_DELAY_ACCT",),
            )
        },
    ),
    "TICK_ONESHOT": Option(
        Absence(symbols=("tick_cpu_sched",), types=("struct tick_sched",)),
        {
            "cpus": Changed(missing=("since_tick", "idle_for", "tick_stopped"), other=("idle", "iowait")),
            "runqueues": Changed(missing=("tick_stopped",)),
        },
    ),
    "TREE_RCU": Option(
        Absence(
            symbols=("rcu_state", "rcu_data", "rcu_cpu_stall_timeout"),
            types=("struct rcu_state", "struct rcu_data", "struct rcu_node", "struct rcu_segcblist"),
        ),
        # The dump has what its thread waits for all the same.
        {
            **dict.fromkeys(("rcu", "grace_periods"), Others(told=("CONFIG_TINY_RCU",))),
            "waits": Changed(other=("name",)),
        },
    ),
    "TRACING": Option(
        Absence(
            symbols=("ftrace_trace_arrays", "global_trace", "trace_clocks"),
            types=(
                *("struct trace_array", "struct array_buffer", "struct trace_buffer", "struct tracer"),
                *(
                    "struct ring_buffer",
                    "struct ring_buffer_per_cpu",
                    "struct buffer_page",
                    "struct buffer_data_page",
                ),
                *("struct rb_time_struct", "struct tracefs_fs_info", "struct tracefs_mount_opts"),
            ),
            enumerators=("RB_FL_OVERWRITE",),
        ),
        {
            "clocks": Changed(may_be_told=("CONFIG_TRACING is off",)),
            "mounts": Changed(told=("what tracefs_show_options shows", "mounts of tracefs lack")),
        },
    ),
    "TRANSPARENT_HUGEPAGE": Option(
        Absence(symbols=("transparent_hugepage_flags", "huge_zero_pfn", "huge_zero_page")),
        {"meminfo": Changed(gone=_THP_KEYS)},
    ),
    "UNIX": Option(
        Absence(
            symbols=("unix_socket_table",),
            types=tuple(
                f"struct {name}" for name in ("unix_address", "unix_skb_parms", "unix_sock", "unix_table")
            ),
            members=("struct net.unx", "struct netns_unix.table"),
        ),
        {"sockets": Others()},
    ),
    "UNWINDER_ORC": Option(
        Absence(
            symbols=("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind"),
            types=("struct orc_entry",),
            members=tuple(
                f"struct mod_arch_specific.{name}" for name in ("num_orcs", "orc_unwind", "orc_unwind_ip")
            ),
        ),
        {
            "stacks": Others(told=(_NO_UNWINDER, "nothing leads from its frame to the caller's")),
            **dict.fromkeys(("locks", "suspects", "waits"), Others(told=(_NO_UNWINDER,))),
            # Other rows of stacks show it.
            "verdict": Changed(
                other=("evidence",),
                may_be_told=(_NO_UNWINDER, "nothing leads from its frame to the caller's"),
            ),
        },
    ),
    "VIRTIO": Option(
        Absence(
            types=(
                *(
                    "struct virtio_device",
                    "struct virtio_device_id",
                    "struct virtqueue",
                    "struct vring_virtqueue",
                ),
                *(
                    "struct vring",
                    "struct vring_virtqueue_split",
                    "struct vring_desc",
                    "struct vring_desc_state_split",
                ),
            ),
            enumerators=("VQ_LAYOUT_SPLIT", "VQ_LAYOUT_SPLIT_IN_ORDER"),
        ),
        # The dump has such devices all the same.
        {
            "devices": Changed(other=("id",)),
            "pages": Changed(may_be_told=("virtio devices may still have written to is not known",)),
        },
    ),
    "VMAP_STACK": Option(
        Absence(members=("struct task_struct.stack_vm_area",)),
    ),
    "X86_MCE": Option(Absence(symbols=("mce_exception_count", "mce_poll_count")), {"irqs": Others()}),
    "ZRAM": Option(
        Absence(symbols=("zram_devops", "zram_wb_devops"), types=("struct zram", "struct zram_stats")),
        {"volumes": Others()},
    ),
    "ZSWAP": Option(
        Absence(
            symbols=("zswap_stored_pages", "zswap_pool_total_size", "zswap_pools"),
            types=("struct zswap_pool",),
            enumerators=("ZSWPIN", "ZSWPOUT", "ZSWPWB"),
        ),
        {"meminfo": Changed(gone=("Zswap", "Zswapped"))},
    ),
}
