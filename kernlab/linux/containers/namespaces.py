"""Namespaces of all kinds: those that tasks live in, that files and mounts hold, and those that own them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.mounts import in_namespace, mount_namespaces
from kernlab.linux.network.namespaces import net_namespaces
from kernlab.linux.tasks import find_tasks
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Kind as in /proc/PID/ns, its struct, and where a task has it (include/linux/nsproxy.h); '' is somewhere else.
KINDS = {
    "cgroup": ("struct cgroup_namespace", "nsproxy->cgroup_ns"),
    "ipc": ("struct ipc_namespace", "nsproxy->ipc_ns"),
    "mnt": ("struct mnt_namespace", "nsproxy->mnt_ns"),
    "net": ("struct net", "nsproxy->net_ns"),
    "pid": ("struct pid_namespace", ""),
    "time": ("struct time_namespace", "nsproxy->time_ns"),
    "user": ("struct user_namespace", "real_cred->user_ns"),
    "uts": ("struct uts_namespace", "nsproxy->uts_ns"),
}
#: What a task holds for children it may have: of kinds that it cannot change itself.
_FOR_CHILDREN = {"pid": "nsproxy->pid_ns_for_children", "time": "nsproxy->time_ns_for_children"}
#: Namespaces nest no deeper (include/linux/user_namespace.h, pid_namespace.h: MAX_PID_NS_LEVEL).
_DEEPEST = 33
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """The namespaces of one kind: n structs, how many tasks live in each, the first of these (a task_struct, or 0),
    and what owns them and lies above them: user namespaces, and namespaces of the same kind (0 for none)."""

    name: str
    space: StructArray
    tasks: I64
    first: U64
    owner: Column
    parent: Column


def kinds(kernel: Kernel) -> list[Kind]:
    """All namespaces that the dump leads to, kind by kind, the oldest number first.

    Those of tasks, of files and mounts in nsfs, all of mounts and of the network, and all that own these or lie above
    them; where the kernel keeps a list of all (ns_unified_root: seen in 7.2, not in 6.12), those on it, too.
    """
    task = find_tasks(kernel)
    held = {
        name: _of_tasks(kernel, task, name, path)
        for name, (kind, path) in KINDS.items()
        if kernel.types.get(kind) is not None
    }
    known = {name: np.unique(column.values[column.true]) for name, column in held.items()}
    for name, path in _FOR_CHILDREN.items():
        if name in known and task.has(path):
            known[name] = _more(known[name], task[path])
    if "net" in known:
        known["net"] = np.union1d(known["net"], net_namespaces(kernel).addresses)
    known["mnt"] = np.union1d(known["mnt"], mount_namespaces(kernel).addresses)
    for name, found in _by_number(kernel).items():
        if name in known:
            known[name] = np.union1d(known[name], found)
    _above(kernel, known)
    return [_kind(kernel, name, known[name], held[name], task) for name in known]


def _more(known: U64, pointer: Column) -> U64:
    found: U64 = np.union1d(known, pointer.values[in_namespace(pointer)])
    return found


def _of_tasks(kernel: Kernel, task: StructArray, name: str, path: str) -> Column:
    """The namespace of a kind that each task lives in; NULL for those that have ended."""
    if name == "pid":
        return _pid_namespace(kernel, task)
    return task[path] if task.has(path) else Column.of(np.zeros(len(task), dtype=np.uint64), kind="address")


def _pid_namespace(kernel: Kernel, task: StructArray) -> Column:
    """Of its number in the innermost namespace (kernel/pid.c, task_active_pid_ns)."""
    pid = task.follow("thread_pid")
    level = pid["level"].int64
    first = resolve(pid.type, "numbers").hops[-1]
    number = kernel.find_type("struct upid")
    at = first + resolve(number, "ns").hops[-1]
    deep = level.valid & (level.values >= 0) & (level.values < _DEEPEST)
    where = pid.addresses + np.where(deep, level.values, 0).astype(np.uint64) * np.uint64(number.size)
    pointer, read = kernel.words(np.where(deep, where + np.uint64(at), np.uint64(0)), what="numbers of tasks")
    # A task that has ended has no number any more, which is no loss.
    gone = ~pid.valid
    return Column(np.where(read & deep, pointer, np.uint64(0)), (read & deep) | gone, "address")


def _by_number(kernel: Kernel) -> dict[str, U64]:
    """Namespaces that the kernel lists, or that open files and mounts in nsfs hold, by kind."""
    common = np.concatenate([_listed(kernel), _in_nsfs(kernel)])
    spaces = StructArray(kernel, "struct ns_common", np.unique(common))
    # Of "pid_for_children" the kind is the second name (fs/proc/namespaces.c).
    shown, real = (spaces.follow("ops")[member] for member in ("name", "real_ns_name"))
    text = c_strings(kernel, np.where(real.true, real.values, shown.filled(0)), _LONGEST_NAME).tolist()
    found = {}
    for name, (kind, _) in KINDS.items():
        if kernel.types.get(kind) is not None:
            mine = np.array([each == name for each in text], dtype=bool)
            found[name] = container(kernel, kind, "ns", spaces.addresses[mine]).addresses
    return found


def _listed(kernel: Kernel) -> U64:
    """The kernel's own list of all (kernel/nstree.c), where it keeps one: seen in 7.2, not in 6.12."""
    head, member = kernel.find_symbol("ns_unified_root"), "ns_unified_node"
    if head is None or not kernel.types.has_member("struct ns_common", member):
        return np.zeros(0, dtype=np.uint64)
    root = StructArray(kernel, "struct ns_tree_root", [head])
    _, found = list_entries(
        kernel,
        root.follow("ns_list_head").addresses,
        "struct ns_common",
        f"{member}.ns_list_entry",
        what="the list of namespaces",
    )
    return found.addresses


def _in_nsfs(kernel: Kernel) -> U64:
    """What inodes of nsfs stand for: each is open, or mounted somewhere (fs/nsfs.c)."""
    mount = kernel.find_symbol("nsfs_mnt")
    if mount is None:
        return np.zeros(0, dtype=np.uint64)
    where, read = kernel.words([mount], what="the mount of nsfs")
    block = StructArray(kernel, "struct vfsmount", where, read).follow("mnt_sb")
    if not block.valid.any():
        return np.zeros(0, dtype=np.uint64)
    _, inode = list_entries(
        kernel, block.follow("s_inodes").addresses, "struct inode", "i_sb_list", what="the inodes of nsfs"
    )
    private = inode["i_private"]
    return private.values[private.true]


def _above(kernel: Kernel, known: dict[str, U64]) -> None:
    """Add what owns the known ones, and what lies above them."""
    for name in ("pid", "user"):
        for _ in range(_DEEPEST):
            if name not in known:
                break
            if name == "user":
                for other, spaces in known.items():
                    if other != "user" and len(spaces):
                        known[name] = _more(known[name], _owner(kernel, other, spaces))
            before = len(known[name])
            known[name] = _more(known[name], _space(kernel, name, known[name])["parent"])
            if len(known[name]) == before:
                break


def _space(kernel: Kernel, name: str, addresses: U64) -> StructArray:
    return StructArray(kernel, KINDS[name][0], addresses)


def _owner(kernel: Kernel, name: str, spaces: U64) -> Column:
    """The user namespace that owns each; that of a user namespace is the one above it."""
    space = _space(kernel, name, spaces)
    return space["parent" if name == "user" else "user_ns"]


def _kind(kernel: Kernel, name: str, spaces: U64, held: Column, task: StructArray) -> Kind:
    space = _space(kernel, name, spaces)
    order = np.argsort(space["ns.inum"].filled(0), kind="stable")
    space, spaces = space[order], spaces[order]
    by = np.argsort(spaces)
    place = np.searchsorted(spaces[by], held.values).clip(max=max(len(spaces) - 1, 0))
    inside = (
        held.true & (spaces[by][place] == held.values) if len(spaces) else np.zeros(len(task), dtype=bool)
    )
    row = by[place[inside]] if len(spaces) else np.zeros(0, dtype=np.int64)
    count = np.bincount(row, minlength=len(spaces)).astype(np.int64)
    # The task of the least number; idle tasks are nobody's choice.
    pid = task["pid"].int64
    rank = np.where(pid.valid & (pid.values > 0), pid.values, np.iinfo(np.int64).max)[inside]
    first = np.zeros(len(spaces), dtype=np.uint64)
    backwards = np.argsort(rank, kind="stable")[::-1]
    first[row[backwards]] = task.addresses[inside][backwards]
    nothing = Column.of(np.zeros(len(spaces), dtype=np.uint64), kind="address")
    above = space["parent"] if name in ("pid", "user") else nothing
    return Kind(name, space, count, first, _owner(kernel, name, spaces), above)
