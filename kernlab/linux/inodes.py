"""Inodes of all file systems: those that a super_block lists, found in their slab caches, all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.slab_pages import SlabPages, slab_heads
from kernlab.linux.super_blocks import super_blocks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What makes an inode dirty (include/linux/fs.h), and what the bits were while no enumerators named them.
_DIRTY = (("I_DIRTY_SYNC", 1), ("I_DIRTY_DATASYNC", 2), ("I_DIRTY_PAGES", 4))


@dataclass(frozen=True, slots=True)
class Inodes:
    """Inodes in use, of equal lengths n: `block` is the row of `super_blocks` of each.

    `known` is bool[super_blocks]: False for those whose inodes were not found, as their slab cannot be read.
    """

    block: I64
    inode: StructArray
    known: Mask

    def count(self, chosen: Mask | None = None) -> Column:
        """How many each super_block has, of all or of those that are chosen: missing where that is not known."""
        rows = self.block if chosen is None else self.block[chosen]
        return Column.of(np.bincount(rows, minlength=len(self.known)), self.known)


@fact
def inodes(kernel: Kernel) -> Inodes:
    """All inodes that super_blocks list (s_inodes; fs/inode.c, inode_sb_list_add).

    The first of each list tells in which slab cache its file system's inodes are, and where in an object: the list of a
    million would have to be followed one by one.
    """
    block = super_blocks(kernel)
    kind = kernel.find_type("struct inode")
    link = np.uint64(resolve(kind, "i_sb_list").hops[0])
    head, first = block.follow("s_inodes").addresses, block["s_inodes.next"]
    some = first.true & (first.values != head)
    slabs = SlabPages.read(kernel, slab_heads(kernel))
    slab, _, rest = slabs.locate(np.where(some, first.values - link, np.uint64(0)))
    known = first.valid & (~some | (slab >= 0))
    kernel.lost(
        "file systems have inodes that are in no slab that was found: how many is not known", mask=~known
    )
    places = np.unique(np.stack([slabs.cache[slab[some & known]], rest[some & known]], axis=1), axis=0)
    found = [_in_cache(slabs, int(cache), int(offset)) for cache, offset in places.tolist()]
    inode = StructArray(kernel, kind, np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *found])))
    with kernel.quiet():
        inode = inode.prefetch("i_sb", "i_sb_list", "i_state")
        owner, following = inode["i_sb"], inode["i_sb_list.next"]
    # What left the list points to itself, and what never was on it to nothing.
    listed = owner.true & following.true & (following.values != inode.addresses + link)
    kernel.lost(
        "places of inodes in slabs cannot be read: there may be more inodes",
        mask=~(owner.valid & following.valid),
    )
    order = np.argsort(block.addresses)
    place = np.searchsorted(block.addresses[order], owner.values).clip(max=max(len(order) - 1, 0))
    if not len(order):
        return Inodes(np.zeros(0, dtype=np.int64), inode[:0], known)
    row = order[place]
    mine = listed & (block.addresses[row] == owner.values)
    return Inodes(row[mine], inode[mine], known)


def _in_cache(slabs: SlabPages, cache: int, offset: int) -> U64:
    """What lies so many bytes into each object of a slab cache."""
    own = slabs.only(slabs.caches.addresses[cache : cache + 1])
    return own.addresses() + np.uint64(offset)


def dirty(kernel: Kernel, inode: StructArray) -> Mask:
    """Which have something that is not on disk yet: their own fields, or pages."""
    bits = 0
    for name, before in _DIRTY:
        value = kernel.types.enumerator_or_none(name)
        bits |= before if value is None else value
    # Linux 7.0 wrapped the flags in a struct of their own.
    state = inode["i_state.__state"] if inode.has("i_state.__state") else inode["i_state"]
    changed: Mask = (state.int64.filled(0) & bits) != 0
    return changed
