"""Extended attributes that the kernel keeps in memory, of files in tmpfs: their values are zeroed."""

from __future__ import annotations

import numpy as np

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.redaction.found import Found
from kernlab.walk.lists import list_entries
from kernlab.walk.rbtree import rbtree_entries

#: What has such attributes as its `xattrs`. Those of kernfs are in a cache that others share, and say nothing of users.
_OWNER, _CACHE = "struct shmem_inode_info", "shmem_inode_cache"
_ENTRY, _WHAT = "struct simple_xattr", "extended attributes"
#: XATTR_SIZE_MAX
_LONGEST = 65536


def extended_attributes(found: Found) -> None:
    """The value of each attribute (include/linux/xattr.h, struct simple_xattr); its name stays."""
    kernel = found.kernel
    inode = StructArray(kernel, _OWNER, found.objects(_CACHE))
    if not len(inode) or not inode.has("xattrs"):
        return
    heads = inode.addresses + np.uint64(resolve(inode.type, "xattrs").hops[-1])
    first, read = kernel.words(heads, what="")
    # One that was never made ready is zero.
    heads = heads[read & (first != 0)]
    # Linux 6.3 (3b4c7bc01727, "xattr: use rbtree for simple_xattrs") made a tree of the list, 7.x a list again.
    if inode.has("xattrs.rb_root"):
        _, entry = rbtree_entries(kernel, heads, _ENTRY, "rb_node", what=_WHAT)
    else:
        linked = kernel.types.has_member(_ENTRY, "node")
        _, entry = list_entries(kernel, heads, _ENTRY, "node" if linked else "list", what=_WHAT)
    size = np.clip(entry["size"].int64.filled(0), 0, _LONGEST)
    start = entry.addresses + np.uint64(resolve(entry.type, "value").hops[-1])
    found.edits.zero(start, size, "extended attribute")
