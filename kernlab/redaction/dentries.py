"""Names of files below home: all dentries in, those below a home folder with other names of the same length out."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.redaction.found import Found
from kernlab.redaction.reading import bytes_at, text_at

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PATH, FILE = "path below home", "name of a file"
#: File systems in which the kernel gives the names, and folders that all machines have.
_KERNELS_OWN = frozenset(
    b"sysfs proc debugfs tracefs devtmpfs securityfs configfs bpf pstore efivarfs sockfs pipefs anon_inodefs bdev "
    b"nsfs binfmt_misc fusectl selinuxfs dax".split()
)
TOP = frozenset(
    b"bin boot dev etc home init lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr var".split()
)
#: NAME_MAX, the levels of the deepest tree, and how often a mount below home may lie in another's.
_LONGEST, _DEEPEST, _MOUNTS = 255, 2048, 8
#: Names that are looked for everywhere: so long, as shorter ones are words, and so many.
_SHORTEST_KNOWN, _MOST_KNOWN = 8, 20_000
#: No target of a link is longer (PATH_MAX).
_LONGEST_LINK = 4096
_SYMLINK, _FORMAT_BITS = 0o120000, 0o170000


class _Tree:
    """All dentries in use: `up` int64[n], the row of each one's folder (its own for a root, or where that is not
    known), and `known` bool[n]."""

    def __init__(self, found: Found):
        kernel = found.kernel
        self.address = np.unique(found.objects("dentry"))
        self.dentry = StructArray(kernel, "struct dentry", self.address).prefetch(
            "d_name.name", "d_name.len", "d_parent", "d_inode"
        )
        self.pointer, parent = self.dentry["d_name.name"], self.dentry["d_parent"]
        self.length = self.dentry["d_name.len"].where(self.pointer.valid).int64.filled(0)
        self.name = bytes_at(kernel, self.pointer.values, np.where(self.length <= _LONGEST, self.length, 0))
        own = np.arange(len(self.address))
        up = self.rows(parent.values)
        self.known = parent.valid & (up >= 0)
        self.root = self.known & (up == own)
        self.up = np.where(self.known, up, own)
        mount = StructArray(kernel, "struct mount", found.objects("mnt_cache"))
        point, top = self.rows(mount["mnt_mountpoint"].values), self.rows(mount["mnt.mnt_root"].values)
        good = (point >= 0) & (top >= 0)
        self.point, self.top = point[good], top[good]

    def rows(self, addresses: U64) -> I64:
        """The row of each dentry, -1 for what is none."""
        if not len(self.address):
            return np.full(len(addresses), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.address, addresses), len(self.address) - 1)
        return np.where(self.address[place] == addresses, place, -1)

    def mounted(self, places: Mask) -> Mask:
        """Some dentries, and the roots of what is mounted on any of them."""
        found = places.copy()
        found[self.top[places[self.point]]] = True
        return found

    def folder(self, path: bytes) -> Mask:
        """The dentries that a path from the root of any file system leads to, bool[n]."""
        here: Mask = self.root
        names = np.array(self.name, dtype=object)
        for part in filter(None, path.split(b"/")):
            here = self.mounted(here[self.up] & (names == part) & ~self.root)
        return here

    def below(self, homes: Mask) -> Mask:
        """What lies in some folders, at any depth, and in what is mounted there."""
        inside = np.zeros(len(homes), dtype=bool)
        for _ in range(_MOUNTS):
            for _ in range(_DEEPEST):
                more = (homes | inside)[self.up] & ~self.root
                if not (more & ~inside).any():
                    break
                inside |= more
            tops = self.mounted(inside) & self.root & ~homes
            if not tops.any():
                break
            homes = homes | tops
        return inside


def below_home(found: Found) -> None:
    """Rename every dentry below /home, /root and the other homes; at the strict level all of them.

    One whose folders cannot be followed up to the root counts as below home.
    """
    tree = _Tree(found)
    if not len(tree.address):
        raise KernlabError("no dentries were found")
    if found.strict:
        hidden = ~tree.root & ~_everybodys(found, tree)
    else:
        homes = np.zeros(len(tree.address), dtype=bool)
        for path in found.homes:
            homes |= tree.folder(path)
        hidden = tree.below(homes) | ~tree.known
    _users(found, tree)
    rows, kind = np.flatnonzero(hidden & (tree.length > 0)), FILE if found.strict else PATH
    left = _MOST_KNOWN if not found.strict else 0
    for row in rows.tolist():
        name = tree.name[row]
        if name is not None:
            new = found.map.names.of(name, extension=True)
            found.map.note(kind, name, new)
            found.edits.write(int(tree.pointer.values[row]), new, kind)
            if len(name) >= _SHORTEST_KNOWN and left and not found.vocabulary.has(name.partition(b".")[0]):
                # System calls, audit and traces keep names without the folders.
                left -= found.literals.add(name, new, kind)
    # A name could be guessed, and its hash compared.
    hash_at = resolve(tree.dentry.type, "d_name.hash")
    found.edits.zero(tree.address[rows] + np.uint64(hash_at.hops[-1]), hash_at.type.size)
    found.edits.zero(
        tree.address[_named(found, tree, ~hidden)] + np.uint64(hash_at.hops[-1]), hash_at.type.size
    )
    _leftovers(found, tree)
    _links(found, tree.dentry[rows])


def _everybodys(found: Found, tree: _Tree) -> Mask:
    """Names that every machine has: the kernel's own file systems', and the folders that all have at their root."""
    super_block = tree.dentry["d_sb"].filled(0).astype(np.uint64)
    unique, of = np.unique(super_block, return_inverse=True)
    block = StructArray(found.kernel, "struct super_block", unique)
    types = text_at(found.kernel, block.follow("s_type")["name"].filled(0).astype(np.uint64), _LONGEST)
    kernels = np.array([name in _KERNELS_OWN for name in types], dtype=bool)[of.reshape(-1)]
    top = tree.root[tree.up] & np.array([name in TOP for name in tree.name], dtype=bool)
    common: Mask = kernels | top
    return common


def _users(found: Found, tree: _Tree) -> None:
    """The names of folders right below /home are users': they are looked for in all text."""
    users = tree.folder(b"/home")[tree.up] & ~tree.root
    for row in np.flatnonzero(users).tolist():
        name = tree.name[row]
        if name:
            found.name(name, "user name")


def _named(found: Found, tree: _Tree, others: Mask) -> I64:
    """The rows of files elsewhere whose names have a hidden one in them, as a mailbox has its user's."""
    known = sorted(
        name.encode("utf-8", "surrogateescape")
        for kind in ("user name", "host name")
        for name in found.map.seen.get(kind, {})
    )
    if not known:
        return np.zeros(0, dtype=np.int64)
    mark = re.compile(b"|".join(re.escape(name) for name in known))
    rows = [row for row in np.flatnonzero(others).tolist() if mark.search(tree.name[row] or b"")]
    return np.array(rows, dtype=np.int64)


def _leftovers(found: Found, tree: _Tree) -> None:
    """A dentry's own room for a short name keeps the ends of longer ones that were in it before."""
    member = "d_shortname" if tree.dentry.has("d_shortname") else "d_iname"
    room = resolve(tree.dentry.type, member)
    start = tree.address + np.uint64(room.hops[-1])
    size = room.type.size
    inside = tree.pointer.values == start
    used = np.where(inside & tree.pointer.valid, np.minimum(tree.length, size), 0)
    used = np.where(tree.pointer.valid, used, size)
    found.edits.zero(start + used.astype(np.uint64), size - used)


def _links(found: Found, dentry: StructArray) -> None:
    """Where symbolic links below home lead to."""
    inode = dentry.follow("d_inode")
    linked = ((inode["i_mode"] & _FORMAT_BITS) == _SYMLINK).true
    target = inode[linked]["i_link"]
    pointers = np.unique(target.values[target.true])
    for address, text in zip(pointers.tolist(), text_at(found.kernel, pointers, _LONGEST_LINK), strict=True):
        if text and not text.startswith(b"/"):
            # Those from the root on are paths, and found as such.
            parts = [
                part if part in (b"", b".", b"..") else found.map.names.of(part, extension=True)
                for part in text.split(b"/")
            ]
            found.edits.write(address, b"/".join(parts), PATH)
