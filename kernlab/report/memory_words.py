"""A dump in, what ate its memory in plain words out: who has how much of what the kernel can give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.escape import show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_bytes, percent

if TYPE_CHECKING:
    import pandas as pd

    from kernlab.dump import Dump

#: What readers know of memory: a name, and the kinds of `dump.memory` that it stands for.
_CACHE = "copies of files (page cache, given back when needed)"
_GROUPS = (
    ("memory of programs (anonymous: in no file)", ("anon", "THP", "hugetlb", "swap cache")),
    ("files in memory (tmpfs) and shared memory", ("shmem",)),
    (_CACHE, ("file",)),
    ("objects of the kernel (slab caches)", ("slab", "large kmalloc")),
    ("page tables", ("page table",)),
    (
        "other memory of the kernel",
        ("kernel stack", "vmalloc", "vmap", "percpu", "zsmalloc", "network", "other kernel"),
    ),
    ("free", ("free", "pcp")),
)

#: A share above which nobody ran out of memory.
_PLENTY = 0.15
#: A share from which on a group is worth a word.
_WORTH = 0.03


def by_group(dump: Dump) -> pd.DataFrame:
    """What memory is used for: group, bytes, share (of all that the kernel manages), the largest first, free last."""
    import pandas as pd

    table = dump.memory
    size = table["bytes"].astype("float64").fillna(0.0).groupby(table["kind"].astype(str)).sum()
    rows = [(name, int(size.reindex(list(kinds)).fillna(0.0).sum())) for name, kinds in _GROUPS]
    whole = max(sum(held for _, held in rows), 1)
    found = pd.DataFrame(
        [(name, held, held / whole) for name, held in rows], columns=["group", "bytes", "share"]
    )
    found = found[found["bytes"] > 0]
    is_free = found["group"] == "free"
    return pd.concat([found[~is_free].sort_values("bytes", ascending=False), found[is_free]]).reset_index(
        drop=True
    )


def is_short(dump: Dump) -> bool:
    """Was memory short at the end: next to nothing free, and no page cache to take it from?"""
    groups = by_group(dump).set_index("group")["share"]
    easy = groups.get("free", 0.0) + groups.get(_CACHE, 0.0)
    return bool(easy < _PLENTY)


def answer(dump: Dump) -> list[str]:
    """What ate the memory, in a few sentences, each with its numbers."""
    groups = by_group(dump)
    whole = int(groups["bytes"].sum())
    free = int(groups.loc[groups["group"] == "free", "bytes"].sum())
    cache = int(groups.loc[groups["group"] == _CACHE, "bytes"].sum())
    used = groups[(groups["group"] != "free") & (groups["share"] >= _WORTH)]
    rest = whole - free - int(used["bytes"].sum())
    said = [
        f"{human_bytes(held)} ({percent(share)}) {name}"
        for name, held, share in zip(used["group"], used["bytes"], used["share"], strict=True)
    ]
    short = is_short(dump)
    more = (
        f", and {human_bytes(cache)} in copies of files, which the kernel gives back when it needs to"
        if cache
        else ""
    )
    first = (
        f"Memory was short: of {human_bytes(whole)} only {human_bytes(free)} ({percent(free / max(whole, 1))}) were "
        f"free{more}."
        if short
        else f"Memory was not short: {human_bytes(free)} of {human_bytes(whole)} ({percent(free / max(whole, 1))}) "
        f"were free{more}."
    )
    words = [first]
    if said:
        least = f"; {human_bytes(rest)} all else" if rest > 0 else ""
        words.append(f"In use: {'; '.join(said)}{least}.")
    words += _largest(dump, whole)
    return words


def _largest(dump: Dump, whole: int) -> list[str]:
    """The largest process and the largest slab cache."""
    words = []
    processes = dump.memory_by_process
    held = processes["pss_bytes"].astype("float64").fillna(0.0)
    if len(processes) and held.max() > 0:
        row = int(np.argmax(held.to_numpy()))
        who = say_thread(show_short(str(processes["comm"].iloc[row])), processes["pid"].iloc[row])
        words.append(
            f"The largest process is {who} with {human_bytes(int(held.iloc[row]))} "
            f"({percent(held.iloc[row] / max(whole, 1))})"
            + _next_largest(processes, held.to_numpy(), row)
            + "."
        )
        words += _sharing(processes, held.to_numpy(), row)
    slabs = dump.slabs
    size = slabs["bytes"].astype("float64").fillna(0.0)
    if len(slabs) and size.max() >= _WORTH * whole:
        row = int(np.argmax(size.to_numpy()))
        words.append(
            f"The largest cache of kernel objects is {show_short(str(slabs['name'].iloc[row]))} with "
            f"{human_bytes(int(size.iloc[row]))} ({percent(size.iloc[row] / max(whole, 1))})."
        )
    return words


def _sharing(processes: pd.DataFrame, held: npt.NDArray[Any], largest: int) -> list[str]:
    """Who, of the two largest, holds little of their own: what they have is shared memory or copies of files."""
    said = []
    for row in dict.fromkeys([largest, *np.argsort(-held, kind="stable")[:2].tolist()]):
        own, shared = processes["anon_bytes"].iloc[row], processes["shmem_bytes"].iloc[row]
        if held[row] < 16 << 20 or own != own or shared != shared or own > held[row] / 2:
            continue
        if shared > held[row] / 2:
            who = say_thread(show_short(str(processes["comm"].iloc[row])), processes["pid"].iloc[row])
            said.append(
                f"What {who} holds is {human_bytes(int(shared))} of shared memory: it goes when the last process that "
                "uses it ends, or its file is deleted."
            )
    return said


def _next_largest(processes: pd.DataFrame, held: npt.NDArray[Any], row: int) -> str:
    if len(held) < 2:
        return ""
    others = np.where(np.arange(len(held)) == row, -1.0, held)
    second = int(np.argmax(others))
    if others[second] <= 0:
        return ""
    who = say_thread(show_short(str(processes["comm"].iloc[second])), processes["pid"].iloc[second])
    return f"; the next, {who}, has {human_bytes(int(others[second]))}"
