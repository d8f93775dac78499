"""Where memory is, and how the machine is pressed: /proc in, the words of a mark out."""

from __future__ import annotations

import os
import re

from .files import read_bytes
from .machine import PAGE_KIB, Machine

#: Lines of /proc/vmstat that tell where memory is (pages; nr_kernel_stack in KiB), and the flows that explain it.
VMSTAT = frozenset(
    re.findall(
        rb"\S+",
        b"""
        nr_free_pages nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable nr_mlock
        nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback nr_shmem nr_shmem_hugepages nr_file_hugepages
        nr_anon_transparent_hugepages nr_slab_reclaimable nr_slab_unreclaimable nr_page_table_pages
        nr_sec_page_table_pages nr_kernel_stack nr_shadow_call_stack nr_kernel_misc_reclaimable nr_swapcached
        nr_free_cma nr_bounce nr_zspages nr_hugetlb nr_iommu_pages nr_balloon_pages nr_gpu_active nr_gpu_reclaim
        nr_unaccepted nr_isolated_anon nr_isolated_file pgfault pgmajfault pswpin pswpout pgscan_kswapd pgscan_direct
        pgsteal_kswapd pgsteal_direct oom_kill
        """,
    )
)
#: Lines of /proc/meminfo (KiB) that vmstat has not, written in pages.
MEMINFO = {
    b"MemTotal": "mem_total",
    b"SwapTotal": "swap_total",
    b"SwapFree": "swap_free",
    b"Buffers": "buffers",
    b"Percpu": "percpu",
    b"VmallocUsed": "vmalloc_used",
    b"Hugetlb": "hugetlb",
}


class Memory:
    """Where memory is and how the machine is pressed: name=value, read anew each time."""

    def __init__(self, machine: Machine):
        self.proc = machine.proc
        # /proc/zoneinfo has a block for each CPU of each zone: with many CPUs it is told less often.
        self.zoneinfo_every = max(1, (os.cpu_count() or 1) // 8)

    def read(self, number: int) -> list[str]:
        """`nr_free_pages=123`, …: what this kernel has of it."""
        found = []
        for line in (read_bytes(f"{self.proc}/vmstat") or b"").splitlines():
            name, _, value = line.partition(b" ")
            if name in VMSTAT:
                found.append(f"{name.decode()}={int(value)}")
        for line in (read_bytes(f"{self.proc}/meminfo") or b"").splitlines():
            name, _, value = line.partition(b":")
            if name in MEMINFO:
                found.append(f"{MEMINFO[name]}={int(value.split()[0]) // PAGE_KIB}")
        if number % self.zoneinfo_every == 0 and (zones := read_bytes(f"{self.proc}/zoneinfo")):
            found.append(f"pcp={sum(map(int, re.findall(rb'^ +count: +([0-9]+)', zones, re.MULTILINE)))}")
        for resource in ("cpu", "memory", "io"):
            for kind, total in re.findall(
                rb"^(some|full) .*total=([0-9]+)",
                read_bytes(f"{self.proc}/pressure/{resource}") or b"",
                re.MULTILINE,
            ):
                found.append(f"psi.{resource}.{kind.decode()}={int(total)}")
        stat = read_bytes(f"{self.proc}/stat") or b""
        for kind, count in re.findall(rb"^(procs_running|procs_blocked) ([0-9]+)", stat, re.MULTILINE):
            found.append(f"{kind.decode()}={int(count)}")
        return found
