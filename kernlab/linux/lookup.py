"""A path in, the inode behind it out: through the dentries that are cached, mounts and symbolic links on the way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.errors import KernlabError
from kernlab.linux.paths import root_of_init
from kernlab.linux.super_blocks import mounts_of_each, super_blocks
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.strings import c_strings, sized_strings

U64 = npt.NDArray[np.uint64]

#: include/linux/namei.h: MAXSYMLINKS; and mounts upon mounts in one place.
_MOST_LINKS, _MOST_MOUNTS = 40, 4096
_LONGEST_TARGET, _LONGEST_NAME = 4096, 255
_S_IFMT, _S_IFLNK = 0xF000, 0xA000


class NotCachedError(KernlabError):
    """A path of which a part has no dentry in memory: whether there is such a file, only the disk says."""


@fact
def mounted_at(kernel: Kernel) -> dict[tuple[int, int], tuple[int, int]]:
    """What is mounted where, in all namespaces: (vfsmount, dentry) of a mountpoint: (vfsmount, root dentry) there."""
    _, mount = mounts_of_each(kernel, super_blocks(kernel))
    above, point = mount.follow("mnt_parent").follow("mnt").addresses, mount["mnt_mountpoint"]
    here, root = mount.follow("mnt").addresses, mount["mnt.mnt_root"]
    good = point.true & root.true & (above != here)
    return {
        (where, at): (there, top)
        for where, at, there, top in zip(
            above[good].tolist(),
            point.values[good].tolist(),
            here[good].tolist(),
            root.values[good].tolist(),
            strict=True,
        )
    }


def find_inode(kernel: Kernel, path: str) -> StructArray:
    """The inode of a path as pid 1 sees it: a StructArray of one.

    Raises NotCachedError where a part of the path is not in memory, KernlabError for a path that cannot be one.
    """
    if not path.startswith("/"):
        raise KernlabError(f"{path!r} is no whole path: it begins at the root, with /")
    root = root_of_init(kernel)
    if root is None:
        raise KernlabError("pid 1's root directory is not in the dump")
    mounts = mounted_at(kernel)
    place = _topmost(mounts, root)
    parts, links = [part for part in reversed(path.split("/")) if part not in ("", ".")], 0
    way: list[tuple[int, int]] = []
    gone = ""
    while parts:
        name = parts.pop()
        if name == "..":
            place = way.pop() if way else place
            continue
        child = _child(kernel, place[1], name)
        if child is None:
            raise NotCachedError(f"{gone or '/'} has no {name!r} among the names that are cached")
        found = _topmost(mounts, (place[0], child))
        target = _target(kernel, found[1])
        if target is not None:
            links += 1
            if links > _MOST_LINKS:
                raise KernlabError(f"{path} leads through more than {_MOST_LINKS} symbolic links")
            if target.startswith("/"):
                place, way, gone = _topmost(mounts, root), [], ""
            parts += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        way.append(place)
        place, gone = found, f"{gone}/{name}"
    inode = StructArray(kernel, "struct dentry", [place[1]]).follow("d_inode")
    if not inode.valid[0]:
        raise NotCachedError(f"{path} does not exist (its name is cached as one that there is not)")
    return inode


def _topmost(mounts: dict[tuple[int, int], tuple[int, int]], place: tuple[int, int]) -> tuple[int, int]:
    """What is seen at a place: the last of what was mounted there."""
    for _ in range(_MOST_MOUNTS):
        above = mounts.get(place)
        if above is None:
            break
        place = above
    return place


def _child(kernel: Kernel, directory: int, name: str) -> int | None:
    """The dentry of a name in a directory."""
    parent = StructArray(kernel, "struct dentry", [directory])
    # Linux commit da549bdd15c2 ("dentry: switch the lists of children to hlist") (in v6.8).
    if parent.has("d_children"):
        _, nodes = chain_nodes(kernel, parent["d_children.first"].filled(0), what="entries of a directory")
        child = container(kernel, "struct dentry", "d_sib", nodes)
    else:
        heads = parent.follow("d_subdirs").addresses
        _, child = list_entries(kernel, heads, "struct dentry", "d_child", what="entries of a directory")
    wanted = name.encode("utf-8", "surrogateescape")
    length, start = child["d_name.len"].int64.filled(-1), child["d_name.name"]
    near = np.flatnonzero((length == len(wanted)) & start.true & (child["d_parent"] == directory).true)
    names = sized_strings(kernel, start.values[near].astype(np.uint64), length[near], _LONGEST_NAME)
    shown = wanted.decode("utf-8", "backslashreplace")
    same = [row for row, one in zip(near.tolist(), names.tolist(), strict=True) if one == shown]
    # Of a name that was deleted and made again both may still be there; only what is in the hash is found.
    hashed = child["d_hash.pprev"].true
    same.sort(key=lambda row: not hashed[row])
    return int(child.addresses[same[0]]) if same and hashed[same[0]] else None


def _target(kernel: Kernel, dentry: int) -> str | None:
    """What a symbolic link leads to, None for what is none. Raises NotCachedError where only the disk says."""
    inode = StructArray(kernel, "struct dentry", [dentry]).follow("d_inode")
    mode = inode["i_mode"]
    if not mode.valid[0] or int(mode.values[0]) & _S_IFMT != _S_IFLNK:
        return None
    link = inode["i_link"]
    text = c_strings(kernel, link.filled(0).astype(np.uint64), _LONGEST_TARGET)
    if not link.true[0] or not text.valid[0]:
        raise NotCachedError("it leads through a symbolic link whose target is not in memory")
    return str(text.values[0])
