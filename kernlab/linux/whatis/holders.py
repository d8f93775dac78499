"""Structs in, whose they are out, as people say it: a thread or process, the path of a file, the name of a cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import StructType
from kernlab.linux.files import dentry_names, file_names, inode_names, mapping_paths
from kernlab.linux.whatis.threads import POINTED_TO, processes_of, say_several, threads
from kernlab.walk.rbtree import rbtree_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
Texts = npt.NDArray[np.object_]

#: A struct inode lies no deeper in the inodes of file systems (netfs nests one in another).
_DEEPEST = 3
_LONGEST_NAME = 256


def outlives_its_holder(type_name: str) -> bool:
    """May a struct still point to a holder when it is freed? Of others the holder points to the struct."""
    return type_name != "struct task_struct" and type_name not in POINTED_TO


def holders_of(kernel: Kernel, type_name: str, addresses: U64) -> Texts:
    """Whose the structs of one type at addresses uint64[n] are: names, None where nobody's or not known."""
    if type_name == "struct task_struct":
        return threads(kernel).names_at(addresses)
    if type_name in POINTED_TO:
        return processes_of(kernel, type_name, addresses)
    say = _SAY.get(type_name)
    if say is not None:
        return say(kernel, StructArray(kernel, type_name, addresses))
    kind = kernel.find_type(type_name).strip()
    offset = _inode_in(kind) if isinstance(kind, StructType) else None
    if offset is None:
        return np.full(len(addresses), None, dtype=object)
    inode = StructArray(kernel, "struct inode", addresses + np.uint64(offset))
    return _texts(inode_names(kernel, inode))


def holders_of_anon(kernel: Kernel, anon_vmas: U64) -> Texts:
    """Whose the pages of each `struct anon_vma` uint64[n] are: the processes whose VMAs it was made for."""
    unique, of = np.unique(anon_vmas, return_inverse=True)
    root = resolve(kernel.find_type("struct anon_vma"), "rb_root.rb_root").hops[0]
    owner, link = rbtree_entries(
        kernel, unique + np.uint64(root), "struct anon_vma_chain", "rb", what="the VMAs of anonymous memory"
    )
    area = link.follow("vma")
    # A child's VMAs hang in its parents' trees, too, but have an anon_vma of their own (mm/rmap.c, anon_vma_fork).
    mine = (area["anon_vma"] == unique[owner]).true
    names = _of_vma(kernel, area[mine])
    several: dict[int, dict[str, None]] = {}
    for row, name in zip(owner[mine].tolist(), names, strict=True):
        if name is not None:
            several.setdefault(row, {})[name] = None
    whole = np.full(len(unique), None, dtype=object)
    for row, called in several.items():
        whole[row] = say_several(list(called))
    return whole[of]


def _of_vma(kernel: Kernel, area: StructArray) -> Texts:
    return processes_of(kernel, "struct mm_struct", area["vm_mm"].filled(0))


def _of_anon_vma_chain(kernel: Kernel, chain: StructArray) -> Texts:
    return _of_vma(kernel, chain.follow("vma"))


def _of_node(kernel: Kernel, node: StructArray) -> Texts:
    """Of a node of the page cache's trees (lib/xarray.c): the file; of another tree None."""
    # A radix tree's node (before v4.20) names its root.
    mapping = container(kernel, "struct address_space", "i_pages", node.first("array", "root").filled(0))
    return _texts(mapping_paths(kernel, mapping.addresses))


def _of_cache(kernel: Kernel, cache: StructArray) -> Texts:
    return _texts(c_strings(kernel, cache["name"], _LONGEST_NAME))


def _of_super_block(kernel: Kernel, block: StructArray) -> Texts:
    """`ext4 on vda1`: the kind of file system, and what the kernel calls where it lies."""
    kind, where = c_strings(kernel, block.follow("s_type")["name"], _LONGEST_NAME), block["s_id"]
    return _texts(
        Column.texts(
            [
                None if fs is None else f"{fs} on {place}" if place and place != fs else fs
                for fs, place in zip(kind, where, strict=True)
            ]
        )
    )


def _of_queue(kernel: Kernel, queue: StructArray) -> Texts:
    """Linux 5.17 gave a request_queue a pointer to its disk."""
    disk = queue["disk->disk_name"] if queue.has("disk") else Column.missing(len(queue))
    return _texts(disk)


def _of_socket(kernel: Kernel, socket: StructArray) -> Texts:
    """As /proc/PID/fd shows a socket."""
    return _texts(
        Column.texts([None if ino is None else f"socket:[{ino}]" for ino in socket["vfs_inode.i_ino"]])
    )


_SAY: dict[str, Callable[[Kernel, StructArray], Texts]] = {
    "struct anon_vma": lambda kernel, anon: holders_of_anon(kernel, anon.addresses),
    "struct anon_vma_chain": _of_anon_vma_chain,
    "struct dentry": lambda kernel, dentry: _texts(dentry_names(kernel, dentry)),
    "struct file": lambda kernel, file: _texts(file_names(kernel, file)),
    "struct gendisk": lambda kernel, disk: _texts(disk["disk_name"]),
    "struct kmem_cache": _of_cache,
    "struct request_queue": _of_queue,
    "struct journal_s": lambda kernel, journal: _texts(journal["j_devname"]),
    "struct pglist_data": lambda kernel, node: _texts(
        Column.texts([None if number is None else f"of node {number}" for number in node["node_id"]])
    ),
    "struct radix_tree_node": _of_node,
    "struct socket_alloc": _of_socket,
    "struct super_block": _of_super_block,
    "struct vm_area_struct": _of_vma,
    "struct xa_node": _of_node,
}


def _inode_in(kind: StructType, depth: int = 0) -> int | None:
    """Where in a file system's inode the `struct inode` lies that all have; None in other structs."""
    if kind.c_name == "struct inode":
        return 0
    if depth > _DEEPEST:
        return None
    for member in kind.members:
        inner = member.type.strip()
        if isinstance(inner, StructType) and (offset := _inode_in(inner, depth + 1)) is not None:
            return member.offset + offset
    return None


def _texts(column: Column) -> Texts:
    texts = np.empty(len(column), dtype=object)
    texts[:] = column.tolist()
    return texts
