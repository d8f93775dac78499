"""Paths of files: (mount, dentry) pairs in, text as d_path() gives it out, all of them together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.walk.strings import c_strings, sized_strings

U64 = npt.NDArray[np.uint64]

#: No path component is longer (NAME_MAX), and none of dentries' own made-up names either.
_LONGEST_NAME = 4096
#: Dentries and mounts are read no more levels up than this: many times what a path may have (PATH_MAX).
_MOST_STEPS = 4096
#: A longer path is damage; deep trees do grow longer ones than PATH_MAX.
_LONGEST_PATH = 1 << 16

# What d_op->d_dname makes of a name (fs/d_path.c simple_dname, fs/anon_inodes.c, fs/pipe.c, fs/nsfs.c, fs/pidfs.c,
# net/socket.c, drivers/dma-buf/dma-buf.c). Buffers of dma-buf are named where their dentries are read.
_MADE_UP = {
    "simple_dname": "/{name} (deleted)",
    "anon_inodefs_dname": "anon_inode:{name}",
    "pipefs_dname": "pipe:[{inode}]",
    "sockfs_dname": "socket:[{inode}]",
    "ns_dname": "{kind}:[{inode}]",
    # Linux commit cb12fd8e0dab ("pidfd: add pidfs") (in v6.9).
    "pidfs_dname": "anon_inode:[pidfd]",
    "dmabuffs_dname": "/{name}:{buffer}",
}

_PARTS = re.compile(r"(\{\w+\})")


def root_of_init(kernel: Kernel) -> tuple[int, int] | None:
    """(vfsmount, dentry) of pid 1's root directory; None, and a problem that says so, where it cannot be read."""
    space = StructArray(kernel, "struct pid_namespace", [kernel.symbol("init_pid_ns")])
    root = space.follow("child_reaper").follow("fs").follow("root")
    mount, dentry = root["mnt"][0], root["dentry"][0]
    if mount is not None and dentry is not None:
        return mount, dentry
    kernel.lost("pid 1's root directory is not in the dump: paths are relative to the root of their mounts")
    return None


def paths(kernel: Kernel, pairs: StructArray, root: tuple[int, int] | None) -> Column:
    """The path of each `struct path`, seen from `root` (vfsmount, dentry), unescaped (fs/d_path.c, d_path).

    Without a `root` paths begin at the topmost mount that they reach.

    `(deleted)` follows the name of an unlinked file; a path of which a part cannot be read is not valid.
    """
    mount, dentry = pairs["mnt"], pairs["dentry"]
    return paths_at(kernel, mount.values, dentry.values, mount.valid & dentry.valid, root)


def paths_at(
    kernel: Kernel,
    mounts: U64,
    dentries: U64,
    valid: npt.NDArray[np.bool_],
    root: tuple[int, int] | None,
    *,
    places: bool = False,
) -> Column:
    """As `paths`, of (vfsmount, dentry) pairs that no `struct path` holds: uint64[n] each, bool[n] of those to take.

    `places` gives where they are in the tree of directories, as mountinfo does: without "(deleted)" (fs/d_path.c,
    __d_path).
    """
    known = valid & (dentries != 0)
    keys = np.stack([mounts, dentries], axis=1)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    tree = _Tree(kernel, unique[:, 0], unique[:, 1])
    way = tree.place if places else tree.path
    found = [way(int(m), int(d), root) for m, d in unique.tolist()]
    text = np.empty(len(found), dtype=object)
    text[:] = ["" if path is None else path for path in found]
    readable = np.array([path is not None for path in found], dtype=bool)
    inverse = inverse.reshape(-1)
    return Column.of(text, readable)[inverse].where(known)


def in_file_systems(kernel: Kernel, dentries: U64) -> Column:
    """The path of each dentry from the root of its own file system, as mountinfo's fourth field (fs/d_path.c,
    dentry_path): "//deleted" is behind that of an unlinked one."""
    unique, of = np.unique(dentries, return_inverse=True)
    tree = _Tree(kernel, np.zeros(0, dtype=np.uint64), unique)
    return Column.texts([tree.inside(dentry) for dentry in unique.tolist()])[of]


def _made_up(pattern: str, inode: int, name: str | None, more: str | None) -> str | None:
    """A made-up name; None where what it is made of was not read, or is zero, which no inode's number (and name) is.

    `more` is what the file itself says: the kind of a namespace, the name of a buffer ('' where it has none).
    """
    if ("{inode}" in pattern and not inode) or ("{name}" in pattern and not name):
        return None
    if ("{kind}" in pattern and not more) or ("{buffer}" in pattern and more is None):
        return None
    values = {"{inode}": str(inode), "{name}": name or "", "{kind}": more or "", "{buffer}": more or ""}
    return "".join(values.get(part, part) for part in _PARTS.split(pattern))


def _said_by_files(kernel: Kernel, dentry: StructArray, maker: Column, patterns: dict[int, str]) -> Column:
    """What the made-up names of some dentries need beside an inode's number: a text each, missing where nothing."""
    values, valid = np.full(len(dentry), "", dtype=object), np.zeros(len(dentry), dtype=bool)
    for function, pattern in patterns.items():
        rows = np.flatnonzero(maker.valid & (maker == function).true)
        if not len(rows):
            continue
        if "{kind}" in pattern:
            space = dentry[rows].follow("d_inode").follow("i_private", to="struct ns_common")
            text = c_strings(kernel, space["ops->name"], _LONGEST_NAME)
        elif "{buffer}" in pattern:
            # drivers/dma-buf/dma-buf.c, dmabuffs_dname: a buffer without a name shows nothing behind the colon.
            name = dentry[rows].follow("d_fsdata", to="struct dma_buf")["name"]
            text = c_strings(kernel, name, _LONGEST_NAME)
            text = Column.of(text.values, text.valid | (name.valid & ~name.true))
        else:
            continue
        values[rows], valid[rows] = text.values, text.valid
    return Column.of(values, valid)


class _Tree:
    """All dentries and mounts between some files and their root: read once, a level a round."""

    def __init__(self, kernel: Kernel, mounts: U64, dentries: U64):
        self.kernel = kernel
        self.parent: dict[int, int] = {}
        self.name: dict[int, str | None] = {}
        self.unlinked: set[int] = set()
        self.made_up: dict[int, str | None] = {}
        self.mounted: dict[
            int, tuple[int, int, int]
        ] = {}  # vfsmount: (its root, where it is mounted, vfsmount there)
        self._directories: dict[tuple[int, int], str | None] = {}
        self._room = kernel.budget.allowance("paths of files")
        self._patterns = {
            address: pattern
            for name, pattern in _MADE_UP.items()
            if (address := kernel.symbols.get(name)) is not None
        }
        new_mounts, new_dentries = np.unique(mounts), np.unique(dentries)
        for _ in range(_MOST_STEPS):
            if not len(new_mounts) and not len(new_dentries):
                break
            more = [self._read_dentries(new_dentries), *self._read_mounts(new_mounts)]
            new_dentries = self._unread(np.concatenate(more[:2]), self.name)
            new_mounts = self._unread(more[2], self.mounted)

    @staticmethod
    def _unread(addresses: U64, read: dict[int, Any]) -> U64:
        wanted = set(addresses.tolist()) - read.keys() - {0}
        return np.array(sorted(wanted), dtype=np.uint64)

    def _read_dentries(self, addresses: U64) -> U64:
        dentry = StructArray(self.kernel, "struct dentry", addresses)
        parent, hashed, operations = dentry["d_parent"], dentry["d_hash.pprev"], dentry["d_op"]
        length, start = dentry["d_name.len"], dentry["d_name.name"]
        sizes = length.where(start.valid).int64.filled(_LONGEST_NAME + 1)
        name = sized_strings(self.kernel, start.values, sizes, _LONGEST_NAME)
        maker = dentry.follow("d_op")["d_dname"]
        inode = dentry["d_inode->i_ino"]
        more = _said_by_files(self.kernel, dentry, maker, self._patterns)
        rows = zip(addresses.tolist(), name, parent, hashed, operations, maker, inode, more, strict=True)
        for address, text, up, link, has_operations, function, number, said in rows:
            self.name[address] = text
            if up is not None:
                self.parent[address] = up
            if link == 0:
                self.unlinked.add(address)
            if has_operations and function:
                pattern = self._patterns.get(function)
                if pattern is not None:
                    self.made_up[address] = _made_up(pattern, number or 0, text, said)
        return parent.values[parent.valid]

    def _read_mounts(self, addresses: U64) -> tuple[U64, U64]:
        mount = container(self.kernel, "struct mount", "mnt", addresses)
        root, point, parent = mount["mnt.mnt_root"], mount["mnt_mountpoint"], mount["mnt_parent"]
        above = mount.follow("mnt_parent").follow("mnt").addresses
        whole = root.valid & point.valid & parent.valid
        rows = zip(
            addresses.tolist(),
            root.values.tolist(),
            point.values.tolist(),
            above.tolist(),
            whole.tolist(),
            strict=True,
        )
        for address, top, where, upper, good in rows:
            self.mounted[address] = (top, where, upper) if good else (0, 0, 0)
        return point.values[whole], above[whole]

    def path(self, mount: int, dentry: int, root: tuple[int, int] | None) -> str | None:
        """d_path() of one pair, None where a part of it cannot be read."""
        alone = self.parent.get(dentry) == dentry
        if dentry in self.made_up and not (alone and self.mounted.get(mount, (0,))[0] == dentry):
            return self.made_up[dentry]
        whole = self._directory(mount, dentry, root)
        if whole is None:
            return None
        return f"{whole or '/'} (deleted)" if dentry in self.unlinked and not alone else whole or "/"

    def place(self, mount: int, dentry: int, root: tuple[int, int] | None) -> str | None:
        """__d_path() of one pair, None where a part of it cannot be read."""
        whole = self._directory(mount, dentry, root)
        return None if whole is None else whole or "/"

    def inside(self, dentry: int) -> str | None:
        """dentry_path() of one, None where a part of it cannot be read."""
        names: list[str] = []
        end = "//deleted" if dentry in self.unlinked and self.parent.get(dentry) != dentry else ""
        for _ in range(_MOST_STEPS):
            name, parent = self.name.get(dentry), self.parent.get(dentry)
            if parent is None or not name:
                return None
            if parent == dentry:
                path = "/" + "/".join(reversed(names))
                return path + end if len(path) <= _LONGEST_PATH and self._room.take(len(path)) else None
            names.append(name)
            dentry = parent
        return None

    def _directory(self, mount: int, dentry: int, root: tuple[int, int] | None) -> str | None:
        """The path without the mark of deletion; '' is the root itself (fs/d_path.c, prepend_path)."""
        passed: list[
            tuple[tuple[int, int], str]
        ] = []  # and the name that each adds to the path, with its slash
        on_the_way: set[tuple[int, int]] = set()
        result: str | None = None
        while (mount, dentry) not in on_the_way:
            key = (mount, dentry)
            if key == root:
                result = ""
                break
            if key in self._directories:
                result = self._directories[key]
                break
            on_the_way.add(key)
            top, point, above = self.mounted.get(mount, (0, 0, 0))
            if not top:
                break
            if dentry == top:
                if above == mount:
                    result = ""
                    break
                passed.append((key, ""))
                mount, dentry = above, point
                continue
            name, parent = self.name.get(dentry), self.parent.get(dentry)
            if name is None or parent is None:
                break
            if not name:
                # Only what has a made-up name has none of its own; elsewhere it was zeroed.
                break
            if parent == dentry:
                # A dentry that is no longer under its mount's root: the kernel stops here too.
                result = ""
                break
            passed.append((key, f"/{name}"))
            dentry = parent
        # From the top down: each level's path is the one above and one name more.
        for key, name in reversed(passed):
            size = len(result or "") + len(name)
            fits = result is not None and size <= _LONGEST_PATH and self._room.take(size)
            result = f"{result}{name}" if fits else None
            self._directories[key] = result
        return result
