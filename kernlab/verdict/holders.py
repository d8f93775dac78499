"""Who holds memory that the kernel cannot take back: processes, groups of them that are alike, files in memory."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_bytes, percent
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, rows_of

#: Holders of a kind that are looked at, the largest first.
_MOST = 4
#: One that has this part of what a group has is meant, and not the group.
ALONE = 0.6


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """Somebody that holds memory which the kernel cannot take back.

    `asks` is what somebody who wants more of it asks the kernel for (`kernlab.verdict.askers`). `usual` is the part of
    all memory that it takes on machines that are well; None where any part is: processes are what memory is for.
    `pids` are the processes that it is, `cache` is the address of the slab cache.
    """

    finding: str
    subject: str
    bytes: int
    evidence: tuple[Evidence, ...]
    cell: str
    asks: str = ""
    usual: float | None = None
    pid: int | None = None
    pids: frozenset[int] = frozenset()
    module: str | None = None
    function: str | None = None
    cache: int = 0
    against: tuple[str, ...] = ()


def without_numbers(comm: str) -> str:
    """The name that numbered workers share: `batch-#` of batch-1 and batch-2."""
    return re.sub(r"\d+", "#", comm)


def processes(case: Case) -> Iterator[Holder]:
    """Processes by the anonymous memory that they have, and groups of them that have it together."""
    table = case.memory.processes
    whole = table["rss_bytes"].astype("float64")
    # What a fork left shared counts once: of each page, the part that is this process's.
    part = (table["pss_bytes"].astype("float64") / whole.where(whole > 0)).fillna(1.0).clip(0.0, 1.0)
    swapped = table["swap_bytes"].astype("float64").fillna(0.0)
    held = table["anon_bytes"].astype("float64").fillna(0.0) + swapped
    shared = table["anon_bytes"].astype("float64").fillna(0.0) * part + swapped
    told: set[int] = set()
    for group in _groups(case, table, shared):
        told |= group.pids
        yield group
    for row in held.nlargest(_MOST).index:
        pid, size = int(table["pid"][row]), int(held[row])
        if pid in told:
            continue
        name = show_controls(say_thread(str(table["comm"][row]), pid))
        said = (
            f"{name} holds {human_bytes(size)} of anonymous memory, {percent(case.memory.share(size))} of all"
        )
        yield Holder(
            "process took the memory",
            name,
            size,
            (Evidence("memory_by_process", said, (int(row),)),),
            f"dump.memory_by_process[dump.memory_by_process.pid == {pid}]",
            "anonymous",
            pid=pid,
            pids=frozenset({pid}),
        )


def _groups(case: Case, table: pd.DataFrame, held: pd.Series[float]) -> Iterator[Holder]:
    """Processes of one name in one cgroup, else all of a cgroup, where no single one has most of what they have."""
    cgroup = table["cgroup"].fillna("/").astype(str)
    # Workers are numbered: batch-1, batch-2.
    name = table["comm"].fillna("").astype(str).map(without_numbers)
    seen: set[int] = set()
    most: dict[str, float] = {}
    alike = [(str(path), str(words), sizes) for (path, words), sizes in held.groupby([cgroup, name])]
    for path, _, sizes in alike:
        most[path] = max(most.get(path, 0.0), float(sizes.sum()))
    alike.sort(key=lambda group: -float(group[2].sum()))
    for path, words, sizes in alike[:_MOST]:
        if len(sizes) < 2 or sizes.max() > ALONE * sizes.sum():
            continue
        pattern = "".join(r"\d+" if one == "#" else re.escape(one) for one in re.split("(#)", words))
        seen |= set(sizes.index)
        where = "" if path == "/" else f" of {show_short(path)}"
        called = f"processes {show_short(words.replace('#', 'N'))}{where}"
        cell = f"dump.memory_by_process[dump.memory_by_process.comm.str.fullmatch({pattern!r})]"
        yield _group(case, table, sizes, called, cell)
    whole = [(str(path), sizes) for path, sizes in held.groupby(cgroup)]
    together = sorted(whole, key=lambda group: -float(group[1].sum()))
    for path, sizes in together[:_MOST]:
        # Who is told under a narrower name is not told again.
        if path == "/" or len(sizes) < 2 or most[path] > ALONE * sizes.sum() or seen & set(sizes.index):
            continue
        cell = f"dump.memory_by_process[dump.memory_by_process.cgroup == {path!r}]"
        yield _group(case, table, sizes, f"processes of {show_short(path)}", cell)


def _group(case: Case, table: pd.DataFrame, sizes: pd.Series[float], called: str, cell: str) -> Holder:
    size = int(sizes.sum())
    said = (
        f"{len(sizes):,} {called} hold {human_bytes(size)} of anonymous memory together, "
        f"{percent(case.memory.share(size))} of all"
    )
    largest = sizes.nlargest(100).index
    return Holder(
        "processes took the memory",
        f"{len(sizes):,} {called}",
        size,
        (Evidence("memory_by_process", said, rows_of(table, list(largest))),),
        cell,
        "anonymous",
        pids=frozenset(int(pid) for pid in table["pid"][sizes.index]),
    )


def files(case: Case) -> Iterator[Holder]:
    """File systems in memory by what lies in them: only swap or deleting it frees that."""
    table = case.memory.files
    if not len(table):
        return
    kept = table[table["kind"] == "shmem"]
    size = kept["bytes"].astype("float64").fillna(0.0)
    place = kept["dev"].fillna("").astype(str)
    # Shared memory without a name lies on a mount of the kernel's own: each segment is a thing of its own.
    place = place.where(kept["mount_namespace"].notna(), kept["inode"].astype(str) + " of " + place)
    for where, whole in size.groupby(place).sum().nlargest(_MOST).items():
        rows = kept[place == where]
        order = size[rows.index].sort_values(ascending=False).index
        largest, first = order[0], int(size[order[0]])
        path, fs = show_short(str(rows["path"][largest])), show_short(str(rows["fs"][largest]))
        many = len(rows) > 1 and first < ALONE * whole
        said = f"{path} in {fs} holds {human_bytes(first)}, which only swap or its deletion frees"
        if many:
            said = (
                f"{len(rows):,} files of one {fs} hold {human_bytes(int(whole))}, which only swap or their deletion "
                f"frees; the largest is {path} with {human_bytes(first)}"
            )
        yield Holder(
            "file in memory",
            f"{len(rows):,} files of {fs}, such as {path}" if many else path,
            int(whole),
            (Evidence("memory_by_file", said, rows_of(table, list(order))),),
            f"dump.memory_by_file.loc[{[int(row) for row in order[:20]]}]",
            "shmem",
        )
