"""Logs of the OOM killer that no capture shows: what it was called for and what it found in, its report out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

#: A page fault of a program (arch/x86/mm/fault.c down to mm/page_alloc.c).
FAULT = (
    "vma_alloc_folio+0x9c/0x370",
    "do_anonymous_page+0x36f/0x8a0",
    "__handle_mm_fault+0x92f/0xfa0",
    "handle_mm_fault+0xdb/0x2d0",
    "do_user_addr_fault+0x191/0x560",
    "exc_page_fault+0x70/0x170",
    "asm_exc_page_fault+0x22/0x30",
)
PANIC = "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled"
MIB = 1 << 20


def zone(
    name: str,
    free: int,
    *,
    node: int = 0,
    high: int = 4 * MIB,
    managed: int = 1024 * MIB,
    reserve: int = 0,
    cma: int = 0,
    largest: int = 4 * MIB,
) -> list[str]:
    """The lines of a zone, its sizes in bytes: all that is free is in blocks of `largest` bytes at most."""
    kb = {
        key: value >> 10
        for key, value in (("free", free), ("high", high), ("managed", managed), ("cma", cma))
    }
    counts = dict.fromkeys((4096 << order for order in range(11)), 0)
    left = free
    for size in sorted(counts, reverse=True):
        if size <= largest:
            counts[size], left = divmod(left, size)
    blocks = " ".join(
        f"{count}*{size >> 10}kB" + (" (UM)" if count else "") for size, count in counts.items()
    )
    return [
        f"Node {node} {name} free:{kb['free']}kB boost:0kB min:{kb['high'] // 2}kB low:{kb['high'] * 3 // 4}kB "
        f"high:{kb['high']}kB reserved_highatomic:0KB active_anon:0kB present:{kb['managed']}kB "
        f"managed:{kb['managed']}kB mlocked:0kB bounce:0kB free_pcp:0kB local_pcp:0kB free_cma:{kb['cma']}kB",
        f"lowmem_reserve[]: {reserve} {reserve} {reserve} {reserve} {reserve}",
        f"Node {node} {name}: {blocks} = {kb['free']}kB",
    ]


def counters(**pages: int) -> list[str]:
    """Mem-Info's counters, in pages."""
    names = (
        *("active_anon", "inactive_anon", "isolated_anon", "active_file", "inactive_file", "isolated_file"),
        *("unevictable", "dirty", "writeback", "slab_reclaimable", "slab_unreclaimable", "mapped", "shmem"),
        *(
            "pagetables",
            "sec_pagetables",
            "bounce",
            "kernel_misc_reclaimable",
            "free",
            "free_pcp",
            "free_cma",
        ),
    )
    assert set(pages) <= set(names)
    return ["Mem-Info:", *(f" {name}:{pages.get(name, 0)}" for name in names)]


def oom(
    comm: str = "till",
    pid: int = 77,
    *,
    flags: str = "GFP_HIGHUSER_MOVABLE|__GFP_ZERO",
    order: int = 0,
    stack: Iterable[str] = FAULT,
    zones: Sequence[list[str]] = (),
    counted: Mapping[str, int] | None = None,
    tasks: Iterable[tuple[int, str, int]] = (),
    slabs: Mapping[str, int] | None = None,
    more: Iterable[str] = (),
    end: str = PANIC,
) -> str:
    """A report and what ends it. `tasks` are (pid, comm, bytes), `slabs` bytes by name; `more` are lines behind all."""
    frames = ("dump_stack_lvl+0x44/0x5c", "dump_header+0x4c/0x22b", "out_of_memory.cold+0x42/0x7e")
    pages = ("__alloc_pages_slowpath.constprop.0+0x67f/0xe70", "__alloc_pages_noprof+0x305/0x330")
    lines = [
        f"{comm} invoked oom-killer: gfp_mask=0x140dca({flags}), order={order}, oom_score_adj=0",
        f"CPU: 1 UID: 0 PID: {pid} Comm: {comm} Not tainted 6.12.9-test #1",
        "Call Trace:",
        " <TASK>",
        *(f" {frame}" for frame in (*frames, *pages, *stack)),
        " </TASK>",
        *counters(**(counted or {})),
        *(line for each in zones for line in each),
    ]
    lines += ["9000000 pages RAM", "0 pages HighMem/MovableOnly", "0 pages reserved"] if zones else []
    if slabs:
        lines += ["Unreclaimable slab info:", "Name                      Used          Total"]
        lines += [f"{name:<17} {size >> 10:10}KB {size >> 10:10}KB" for name, size in slabs.items()]
    lines += [
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj "
        "name",
        *(
            f"[{one:7}]     0 {one:5} {size >> 12:8} {size >> 12:8} {size >> 12:8}        0         0    45056        0"
            f"             0 {name}"
            for one, name, size in tasks
        ),
    ]
    return "".join(f"[  100.000000] [{f'T{pid}':>8}] {line}\n" for line in (*lines, *more, end))
