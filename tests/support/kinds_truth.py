"""What kernlab says of memory beside what the kernel counted: comparisons that the tests and the lab's matrix share.

`kinds` holds the kinds of `pages` against the counters that the kernel kept of them, both as they were at the machine's
end: exact, but for what no page struct tells. `rss` holds page tables against what the guest read in its smaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from support.truth import Truth

#: Pages that a CPU's batch holds of a process that is done with them (include/linux/pagevec.h).
BATCH = 31
#: Stacks that a CPU keeps for its next threads (kernel/fork.c, NR_CACHED_STACKS), and some wait for a grace period.
KEPT_STACKS, WAITING_STACKS = 2, 3


@dataclass(frozen=True)
class Compared:
    """One count of pages: what is counted and where, the kernel's own number, and the least and most that agree."""

    what: str
    where: str
    kernel: int
    least: int
    most: int

    @property
    def holds(self) -> bool:
        return self.least <= self.kernel <= self.most


def kinds(dump: Any) -> list[Compared]:
    """Every kind of page that the kernel counts, per zone where it counts so, else per node or for the machine."""
    pages = dump.pages
    by_zone = pages.groupby(["node", "zone"], observed=False)["kind"].value_counts().unstack(fill_value=0)  # noqa: PD010
    result = list(_of_zones(dump, by_zone))
    of_node = by_zone.groupby("node", observed=False).sum()
    for node, row in of_node.iterrows():
        result += _of_node(dump, pages[pages["node"] == node], f"node {node}", row, _counters(dump, node))
    # Linux commit 97105f0ab7b8 ("mm: vmalloc: show number of vmalloc pages in /proc/meminfo") (in v5.3): none before.
    told = dump.kernel.find_symbol("nr_vmalloc_pages") is not None or "nr_vmalloc" in dump.vmstat.index
    if told and not any("vmalloc" in problem for problem in dump.memory.attrs["problems"]):
        result += _of_vmalloc(dump, of_node)
    return result


def _of_zones(dump: Any, by_zone: pd.DataFrame) -> Iterator[Compared]:
    zones = dump.zones.set_index(["node", "zone"])
    at: Any
    for at, row in by_zone.iterrows():
        where, zone = f"node {at[0]}, {at[1]}", zones.loc[at]
        found = {
            "present": row.sum(),
            "managed": row.sum() - row["reserved"],
            "free": row["free"],
            "pcp": row["pcp"],
        }
        for what, count in found.items():
            yield Compared(what, where, int(zone[what]), int(count), int(count))


def _counters(dump: Any, node: Any) -> dict[str, int]:
    """A node's counters; before v5.9 and v5.11 some were its zones'."""
    zones = dump.zones[dump.zones["node"] == node].select_dtypes("number").sum()
    own = dump.nodes.set_index("node").loc[node]
    return {**zones.to_dict(), **own.to_dict()}


def _of_node(
    dump: Any, pages: pd.DataFrame, where: str, row: pd.Series, counters: dict[str, int]
) -> Iterator[Compared]:
    def exactly(what: str, count: Any, counted: Any) -> Compared:
        return Compared(what, where, int(counted), int(count), int(count))

    # Anonymous pages that are in the swap cache, too, count as file pages (add_to_swap_cache).
    cached = counters.get("nr_swapcached", 0)
    yield exactly("file and shmem", row["file"] + row["shmem"], counters["nr_file_pages"] - cached)
    yield exactly("shmem", row["shmem"], counters["nr_shmem"])
    anon = pages[pages["kind"].isin(["anon", "THP"])]
    mapped = int((anon["mapcount"].fillna(0) > 0).sum())
    yield exactly("anon", mapped, counters["nr_anon_pages"])
    yield exactly("page tables", row["page table"], counters["nr_page_table_pages"])
    counted = int(counters["nr_slab_reclaimable"] + counters["nr_slab_unreclaimable"])
    if dump.kernel.types.enumerator_or_none("PGTY_large_kmalloc") is not None:
        yield exactly("slab and large kmalloc", row["slab"] + row["large kmalloc"], counted)
    else:
        # Older kernels give large kmallocs no mark, and count them: they are blocks of other kernel memory.
        blocks = int(((pages["kind"] == "other kernel") & (pages["order"] > 0)).sum())
        yield Compared("slab and large kmalloc", where, counted, int(row["slab"]), int(row["slab"]) + blocks)


def _of_vmalloc(dump: Any, of_node: pd.DataFrame) -> Iterator[Compared]:
    total = of_node.sum()
    page = dump.kernel.page_size
    used = int(dump.meminfo["VmallocUsed"]) // page
    # Before v5.3 nobody counted them, and the line said 0.
    if used:
        yield Compared("vmalloc", "machine", used, *[int(total["vmalloc"] + total["kernel stack"])] * 2)
    stack, threads = int(total["kernel stack"]), dump.tasks["pid"].gt(0).sum()
    counters = dump.nodes if "nr_kernel_stack" in dump.nodes else dump.zones
    per_thread = int(counters["nr_kernel_stack"].sum()) * 1024 // page // max(int(threads), 1)
    kept = per_thread * (KEPT_STACKS * int(dump.info["cpus"]) + WAITING_STACKS)
    counted = int(counters["nr_kernel_stack"].sum()) * 1024 // page
    yield Compared("kernel stack", "machine", counted, stack - kept, stack)


def rss(dump: Any, truth: Truth) -> pd.DataFrame:
    """Each mapping's line of smaps beside its row of `map_usage`, of processes that waited when the machine died.

    `off` says by how many bytes Rss differs. The heap of init is left out: it goes on between the truth and the end.
    """
    tasks = dump.tasks[(dump.tasks["pid"] == dump.tasks["tgid"]) & (dump.tasks["pid"] > 0)].set_index("pid")
    usage = dump.map_usage
    usage = usage.assign(start=usage["start"].to_numpy(dtype=np.uint64))
    both = truth.smaps().merge(usage, on=["pid", "start"], suffixes=("_t", ""))
    both = both[both["pid"].map(tasks["state"]).isin(["S", "D"])]
    both = both[(both["pid"] != 1) | (both["path"] != "[heap]")]
    both["comm"] = both["pid"].map(tasks["comm"])
    return both.assign(off=(both["rss_bytes"] - both["Rss"]).abs())
