"""Slab caches by the names that the kernel asked for: SLUB merges caches of one size, and one name of them remains.

    caches = CacheNames(kernel, slabs.caches)
    caches.of("UDP")          # addresses of the caches with its objects, whatever they are called

A merged cache has objects of several types: who asks by name judges each of them (`shared`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.slab_caches import cache_names, every_cache
from kernlab.walk.lists import list_entries
from kernlab.walk.rbtree import rbtree_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: enum kernfs_node_type (include/linux/kernfs.h).
_LINK, _TYPE_MASK = 4, 0xF
_LONGEST = 256


@dataclass(frozen=True)
class _Known:
    """Where a kernel keeps a pointer to a cache: variables, or (variable, its type, member); another kernel's name for
    it; and a function of whoever allocates from it, which tells that there must be one."""

    user: str
    pointers: tuple[str, ...] = ()
    member: tuple[str, str, str] | None = None
    also: str = ""


_CACHES: Mapping[str, _Known] = {
    "filp": _Known("fput", ("filp_cachep",)),
    "dentry": _Known("d_lookup", ("dentry_cache", "__dentry_cache")),
    "mnt_cache": _Known("mntput", ("mnt_cache",)),
    "uts_namespace": _Known("copy_utsname", ("uts_ns_cache",)),
    "shmem_inode_cache": _Known("shmem_truncate_range", ("shmem_inode_cachep",)),
    "kernfs_node_cache": _Known("kernfs_get", ("kernfs_node_cache",)),
    "bdev_cache": _Known("bdev_open_by_dev", ("bdev_cachep",)),
    # It is called by its type since v6.9.
    "ip_dst_cache": _Known(
        "ip_route_output_flow", member=("ipv4_dst_ops", "struct dst_ops", "kmem_cachep"), also="rtable"
    ),
    "ip6_dst_cache": _Known(
        "ip6_dst_lookup", member=("ip6_dst_ops_template", "struct dst_ops", "kmem_cachep")
    ),
    "nf_conntrack": _Known("nf_conntrack_alloc", ("nf_conntrack_cachep",)),
    # Those of sockets are found by their protocols.
    "TCP": _Known("tcp_v4_connect"),
    "UDP": _Known("udp_sendmsg"),
    "TCPv6": _Known("tcp_v6_connect"),
}


def _listed(kernel: Kernel) -> U64:
    """The caches of the kernel's own list."""
    try:
        return every_cache(kernel).addresses
    except KernlabError as error:
        kernel.lost(f"the list of slab caches could not be read: {error}")
        return np.zeros(0, dtype=np.uint64)


class CacheNames:
    """Every name by which the kernel asked for a slab cache, and the struct kmem_cache that it means.

    `seen` are the caches that slabs name, in case that the kernel's list of all of them is damaged.
    """

    def __init__(self, kernel: Kernel, seen: StructArray):
        self._kernel = kernel
        self._missing: dict[str, None] = {}
        # One that nothing was allocated from has no slabs.
        self._caches = StructArray(kernel, seen.type, np.union1d(seen.addresses, _listed(kernel)))

    def of(self, *names: str) -> U64:
        """The addresses of the caches of these names; one that must be somewhere, and is not, counts as `missing`."""
        found: set[int] = set()
        for name in names:
            mine = {*self._asked_for(name), *self._pointed(name)}
            known = _CACHES.get(name)
            if known is not None and known.also:
                mine |= self._asked_for(known.also)
            if not mine and known is not None and self._kernel.symbols.get(known.user) is not None:
                self._missing[name] = None
            found |= mine
        return self._caches.addresses[sorted(found)]

    def _asked_for(self, name: str) -> set[int]:
        return {*self._named.get(name, ()), *self._aliases.get(name, ())}

    def is_merged(self, cache: int, names: Iterable[str]) -> bool:
        """May a cache, by its address, have objects of another type than what was asked for by these names?"""
        row = int(np.searchsorted(self._caches.addresses, np.uint64(cache)))
        counts = self._counts[row]
        return self._own[row] not in names or counts is None or counts > 1

    @property
    def missing(self) -> list[str]:
        """Names that were asked for, and whose objects are in some cache that is not known."""
        return list(self._missing)

    @cached_property
    def _named(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self._own):
            rows.setdefault(name, []).append(row)
        return rows

    @cached_property
    def _own(self) -> list[str]:
        return cache_names(self._kernel, self._caches)

    @cached_property
    def _counts(self) -> list[int | None]:
        """How many names each cache was asked for by (kmem_cache.refcount)."""
        return list(self._caches["refcount"])

    @cached_property
    def _aliases(self) -> dict[str, list[int]]:
        """By the links of /sys/kernel/slab: the name that was asked for, to the cache that was merged with."""
        try:
            return self._linked()
        except KernlabError as error:
            self._kernel.lost(f"the names of merged slab caches could not be read: {error}")
            return {}

    def _linked(self) -> dict[str, list[int]]:
        kernel = self._kernel
        symbol = kernel.symbols.get("slab_kset")
        if symbol is None or not self._caches.has("kobj") or kernel.types.get("struct kset") is None:
            return {}
        folder = StructArray(kernel, "struct kset", self._words([symbol])).follow("kobj.sd")
        if not folder.valid.all() or not len(folder):
            return {}
        children = folder.addresses + np.uint64(resolve(folder.type, "dir.children").hops[-1])
        _, node = rbtree_entries(kernel, children, "struct kernfs_node", "rb", what="/sys/kernel/slab")
        node = node[np.flatnonzero((node["flags"] & _TYPE_MASK == _LINK).true)]
        name = c_strings(kernel, node["name"], _LONGEST, "names of merged slab caches")
        target = node.follow("symlink.target_kn")["priv"]
        object_at = np.uint64(resolve(self._caches.type, "kobj").hops[-1])
        row_of = {int(at + object_at): row for row, at in enumerate(self._caches.addresses)}
        rows: dict[str, list[int]] = {}
        for text, address in zip(name, target, strict=True):
            row = row_of.get(address) if isinstance(address, int) else None
            if text is not None and row is not None:
                rows.setdefault(text, []).append(row)
        return rows

    def _pointed(self, name: str) -> Iterable[int]:
        """By the kernel's own variables."""
        if name in self._of_sockets:
            return self._of_sockets[name]
        known = _CACHES.get(name)
        if known is None:
            return ()
        kernel = self._kernel
        places = [at for variable in known.pointers for at in kernel.symbols.all(variable)]
        if known.member is not None:
            variable, kind, member = known.member
            if kernel.types.get(kind) is not None and kernel.types.has_member(kind, member):
                offset = resolve(kernel.find_type(kind), member).hops[-1]
                places += [at + offset for at in kernel.symbols.all(variable)]
        return self._rows_at(self._words(places))

    @cached_property
    def protocols(self) -> StructArray:
        """Every struct proto of the kernel's list: what sockets are made by."""
        kernel, head = self._kernel, self._kernel.symbols.get("proto_list")
        nothing = np.zeros(0, dtype=np.uint64)
        if kernel.types.get("struct proto") is None:
            return StructArray(kernel, "struct list_head", nothing)
        if head is None:
            kernel.lost("where the list of protocols is is not known")
            return StructArray(kernel, "struct proto", nothing)
        return list_entries(kernel, [head], "struct proto", "node", what="the list of protocols")[1]

    @cached_property
    def _of_sockets(self) -> dict[str, list[int]]:
        """The caches of sockets: each protocol points to its own."""
        proto = self.protocols
        rows: dict[str, list[int]] = {}
        for member, form in (
            ("slab", "{}"),
            ("twsk_prot->twsk_slab", "tw_sock_{}"),
            ("rsk_prot->slab", "request_sock_{}"),
        ):
            if not proto.has(member):
                continue
            with self._kernel.quiet():
                # Most protocols have no such cache: a NULL on the way.
                pointer = proto[member]
            for name, address, there in zip(proto["name"], pointer.values, pointer.true, strict=True):
                if name and there:
                    rows.setdefault(form.format(name), []).extend(
                        self._rows_at(np.array([address], dtype=np.uint64))
                    )
        return rows

    def _words(self, places: Iterable[int]) -> U64:
        values, read = self._kernel.words(np.array(list(places), dtype=np.uint64), what="")
        found: U64 = values[read & (values != 0)]
        return found

    def _rows_at(self, addresses: U64) -> list[int]:
        return [int(row) for row in np.flatnonzero(np.isin(self._caches.addresses, addresses))]
