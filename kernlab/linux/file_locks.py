"""Locks on files, held and waited for: POSIX, those of open files (OFD), flock, leases. Mirrors fs/locks.c."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.cpus import percpu, possible_cpus
from kernlab.walk.lists import chain_nodes, list_entries

I64 = npt.NDArray[np.int64]

#: Who waits for who waits, and so on: no chain of requests is longer.
_MOST_LEVELS = 1 << 12


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks of equal lengths n, in the order of /proc/locks: each held one, and behind it those that wait for it.

    `core` has their common members: `struct file_lock_core`, `struct file_lock` before Linux 6.9, and `prefix` is what
    its members' names begin with. `holder` int64[n] is the row that one waits for, -1 of those that are held; `level`
    how far it is from that; `number` the first column of /proc/locks.
    """

    core: StructArray
    prefix: str
    holder: I64
    level: I64
    number: I64

    def __len__(self) -> int:
        return len(self.holder)

    def path(self, member: str) -> str:
        """What the member is called: `type` is flc_type, or fl_type."""
        return f"{self.prefix}{member}"


def has_file_locks(kernel: Kernel) -> bool:
    """Does this kernel lock files (CONFIG_FILE_LOCKING)? One that does not is told."""
    if kernel.find_symbol("file_lock_list") is not None:
        return True
    kernel.lost("locks on files are off in this kernel (CONFIG_FILE_LOCKING)")
    return False


@fact
def file_locks(kernel: Kernel) -> FileLocks:
    """Every lock that /proc/locks shows (locks_start, locks_show): the list of each CPU, and the trees of who waits."""
    # Linux commit a69ce85ec9af ("filelock: split common fields into struct file_lock_core") (in v6.9).
    new = kernel.types.get("struct file_lock_core") is not None
    kind, prefix = ("struct file_lock_core", "flc_") if new else ("struct file_lock", "fl_")
    lists = StructArray(
        kernel,
        "struct file_lock_list_struct",
        percpu(kernel, kernel.symbol("file_lock_list"), possible_cpus(kernel)),
    )
    _, nodes = chain_nodes(kernel, lists["hlist.first"].filled(0), what="the lists of file locks")
    step = np.uint64(resolve(kernel.find_type(kind), f"{prefix}link").hops[0])
    found = nodes - step
    with kernel.quiet():
        # Where a list breaks, its last node is none.
        found = found[StructArray(kernel, kind, found)[f"{prefix}flags"].valid]
    addresses, parents, levels = (
        [found],
        [np.full(len(found), -1, dtype=np.int64)],
        [np.zeros(len(found), np.int64)],
    )
    # Linux commit fd7732e033e3 ("fs/locks: create a tree of dependent requests.") (in v5.0): before, all who wait stand
    # in one list behind the lock itself, in which they are by the member that is its head.
    head, member = f"{prefix}blocked_requests", f"{prefix}blocked_member"
    levels_most = _MOST_LEVELS
    if not kernel.types.has_member(kind, head):
        head = member = f"{prefix}block"
        levels_most = 2
    known, frontier, base = found, found, 0
    for level in range(1, levels_most):
        if not len(frontier):
            break
        heads = StructArray(kernel, kind, frontier).follow(head).addresses
        owner, request = list_entries(kernel, heads, kind, member, what="who waits for file locks")
        # Each waits for one.
        fresh = ~np.isin(request.addresses, known)
        owner, frontier_next = owner[fresh], request.addresses[fresh]
        addresses.append(frontier_next)
        parents.append(owner + base)
        levels.append(np.full(len(owner), level, dtype=np.int64))
        base += len(frontier)
        known, frontier = np.concatenate([known, frontier_next]), frontier_next
    every, parent, depth = (np.concatenate(parts) for parts in (addresses, parents, levels))
    order = _depth_first(parent)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    above = parent[order]
    return FileLocks(
        core=StructArray(kernel, kind, every[order]),
        prefix=prefix,
        holder=np.where(above >= 0, place[above], -1),
        level=depth[order],
        number=np.cumsum(above < 0),
    )


def _depth_first(parent: I64) -> I64:
    """The rows of a forest, each behind its parent (a row before it, -1 for none), and all below it before the next."""
    below: dict[int, list[int]] = {}
    for row, up in enumerate(parent.tolist()):
        below.setdefault(up, []).append(row)
    order: list[int] = []
    waiting = below.get(-1, [])[::-1]
    while waiting:
        row = waiting.pop()
        order.append(row)
        waiting += below.get(row, [])[::-1]
    return np.array(order, dtype=np.int64)
