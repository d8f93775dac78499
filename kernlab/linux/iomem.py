"""The tree of physical addresses (/proc/iomem): ranges with names and depth, and which of them are memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: No tree of resources is deeper; /proc/iomem itself prints five levels (MAX_IORES_LEVEL).
_DEEPEST = 64

# include/linux/ioport.h: IORESOURCE_SYSTEM_RAM is memory (MEM) that the system may use as RAM (SYSRAM).
_SYSTEM_RAM = np.uint64(0x01000200)


def resources(kernel: Kernel, root: str) -> tuple[StructArray, I64]:
    """Every `struct resource` below the variable `root` ("iomem_resource"), in the order of /proc/iomem.

    Returns (StructArray, depth int64[n]), the root itself left out. A node that cannot be read costs what is below
    and behind it; one that is met again is not entered again, and there are no more than the dump's file can hold.
    """
    kind = kernel.find_type("struct resource")
    top = np.array([kernel.symbol(root)], dtype=np.uint64)
    levels: list[tuple[U64, I64]] = []
    parents, seen = top, set(top.tolist())
    lost: list[int] = []
    twice, most = 0, kernel.budget.structs(kind.size)
    for _ in range(_DEEPEST):
        with kernel.quiet():
            child = StructArray(kernel, kind, parents)["child"]
        lost += parents[~child.valid].tolist()
        owner = np.flatnonzero(child.true)
        current = child.values[owner]
        owners, nodes = [owner[:0]], [current[:0]]
        while len(current):
            if len(seen) > most:
                kernel.lost(f"{root}: more ranges than the {most:,} that what the file holds has room for")
                break
            fresh = []
            for row, node in enumerate(current.tolist()):
                if node not in seen:
                    seen.add(node)
                    fresh.append(row)
            twice += len(current) - len(fresh)
            owner, current = owner[fresh], current[fresh]
            owners.append(owner)
            nodes.append(current)
            with kernel.quiet():
                following = StructArray(kernel, kind, current)["sibling"]
            lost += current[~following.valid].tolist()
            going = following.true
            owner, current = owner[going], following.values[going]
        mine = np.concatenate(owners)
        order = np.argsort(mine, kind="stable")
        parents = np.concatenate(nodes)[order]
        if not len(parents):
            break
        levels.append((parents, mine[order]))
    if lost:
        kernel.lost(f"{root}: {len(lost):,} ranges cannot be read (the first at {lost[0]:#018x})")
    if twice:
        kernel.lost(f"{root}: {twice:,} links lead to ranges that were met before, and were not followed")
    return _in_order(kernel, levels)


def _in_order(kernel: Kernel, levels: list[tuple[U64, I64]]) -> tuple[StructArray, I64]:
    """Levels of a tree as one list in which each node stands before its children: sizes going up, places down."""
    sizes = [np.ones(len(nodes), dtype=np.int64) for nodes, _ in levels]
    for level in range(len(levels) - 1, 0, -1):
        np.add.at(sizes[level - 1], levels[level][1], sizes[level])
    total = int(sizes[0].sum()) if sizes else 0
    addresses, depths = np.zeros(total, dtype=np.uint64), np.zeros(total, dtype=np.int64)
    above = np.array([-1], dtype=np.int64)
    for depth, ((nodes, owner), size) in enumerate(zip(levels, sizes, strict=True)):
        before = np.cumsum(size) - size
        first = np.searchsorted(owner, owner)
        places = above[owner] + 1 + before - before[first]
        addresses[places], depths[places] = nodes, depth
        above = places
    return StructArray(kernel, "struct resource", addresses), depths


def memory_frames(kernel: Kernel) -> tuple[I64, I64] | None:
    """Where the machine has memory, in whole frames: (first pfn int64[m], pfn behind the last), ascending and apart.

    The same ranges that memblock has, from which the kernel counts a zone's present pages. None, and a problem, where
    the tree of resources cannot be read.
    """
    with kernel.watched() as losses:
        found, _ = resources(kernel, "iomem_resource")
    start, end, flags = found["start"], found["end"], found["flags"]
    ram = ((flags & _SYSTEM_RAM == _SYSTEM_RAM) & (end > start)).true
    if losses or not ram.any():
        kernel.lost(
            "which frames are memory is not known (the tree of resources is damaged): holes count as reserved"
        )
        return None
    shift = np.uint64(kernel.page_size.bit_length() - 1)
    rest = np.uint64(kernel.page_size - 1)
    start_, end_ = start.values[ram], end.values[ram]
    first = (start_ >> shift).astype(np.int64) + ((start_ & rest) != 0)
    last = (end_ >> shift).astype(np.int64) + ((end_ & rest) == rest)
    order = np.argsort(first, kind="stable")
    first, last = first[order], np.maximum.accumulate(last[order])
    # Ranges inside others (the crash kernel's) disappear in them; what touches becomes one.
    new = np.concatenate([[True], first[1:] > last[:-1]])
    ends = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(first) - 1]])
    first, last = first[new], last[ends]
    whole = last > first
    return first[whole], last[whole]
