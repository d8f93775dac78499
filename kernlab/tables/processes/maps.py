"""Memory maps: one row per VMA of every process, as /proc/PID/maps prints them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, lookup, nullable, table
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.mounts import of_mounts
from kernlab.linux.paths import paths, root_of_init
from kernlab.linux.tasks import find_tasks
from kernlab.linux.vmas import find_vmas
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# include/linux/mm.h
_VM_READ, _VM_WRITE, _VM_EXEC, _VM_MAYSHARE = 1, 2, 4, 0x80
_FMODE_BACKING = 1 << 24 | 1 << 25  # include/linux/fs.h: one of the two
_MINOR_BITS = 20  # include/linux/kdev_t.h


@table(rows="struct vm_area_struct")
def maps(kernel: Kernel) -> pd.DataFrame:
    """One row per VMA per process (pid is the thread group's id), by pid and start; without [vsyscall].

    end is exclusive; offset_bytes is 0 without a file; path is seen from pid 1's root, unescaped; mount_namespace is
    the one that the path is of, by its number as in /proc/PID/ns/mnt (where it is not pid 1's, neither is the file),
    missing without a file and for the kernel's own mounts. What each holds is in `map_usage`. Mirrors
    fs/proc/task_mmu.c (show_map_vma).

    >>> dump.maps.query("pid == 1 and perms == 'r-xp'")[["start", "size_bytes", "path"]].head(3)
                    start  size_bytes          path
    1  0x0000000000401000     1589248  /bin/busybox
    9  0x00007ffdc1735000        8192        [vdso]
    """
    return find_maps(kernel).copy(deep=False)


@fact
def find_maps(kernel: Kernel) -> pd.DataFrame:
    """The table `maps`, found once for all that widen it."""
    task = find_tasks(kernel)
    pid, tgid, mm = task["pid"], task["tgid"], task["mm"]
    owners = np.flatnonzero((pid == tgid).true & mm.true)
    task = task[owners[np.argsort(pid.values[owners], kind="stable")]]
    owner, vma = find_vmas(kernel, task.follow("mm"))
    start, end = vma["vm_start"], vma["vm_end"]
    if not _ascending(owner, start):
        order = np.lexsort((start.values, ~start.valid, owner))
        owner, vma = owner[order], vma[order]
        start, end = vma["vm_start"], vma["vm_end"]
    pointer = vma["vm_file"]
    backed = pointer.true
    # Many VMAs share a file: what is known of files is read once for each.
    of, unique = pd.factorize(pointer.filled(0))
    file = StructArray(kernel, "struct file", unique)
    opened = opened_paths(kernel, file)
    inode = file_inodes(kernel, file, opened)
    device, number = inode["i_sb->s_dev"][of], inode["i_ino"][of]
    path = paths(kernel, opened, root_of_init(kernel))
    space = of_mounts(kernel, opened["mnt"].filled(0))
    size = end - start
    names = Names(kernel, vma, task.follow("mm"), owner)
    known = pointer.valid
    return frame(
        kernel,
        "maps",
        pid=task["pid"].int64.values[owner],
        start=addresses(kernel, start.values, start.valid),
        end=addresses(kernel, end.values, end.valid),
        size_bytes=nullable(size),
        perms=permissions(vma.first("vm_flags", "flags.__vma_flags[0]")),
        offset_bytes=nullable(offsets(vma["vm_pgoff"], backed, kernel.page_size)),
        dev=devices(device, backed, known),
        inode=nullable(number.values.astype(np.uint64, copy=False), known & (number.valid | ~backed)),
        path=names.all(backed, path, of, known),
        mount_namespace=nullable(space[of]),
        address=vma,
    )


def _ascending(owner: I64, start: Column) -> bool:
    """Are the VMAs in order already, as whole trees give them?"""
    same = owner[1:] == owner[:-1]
    rising = same & (start.values[1:] >= start.values[:-1])
    return bool(start.valid.all() and (rising | (owner[1:] > owner[:-1])).all())


def permissions(flags: Column) -> Any:
    """`rwxp` per VMA."""
    # All of them are among the lowest eight bits.
    words = [
        "".join((c if i & bit else "-") for bit, c in ((_VM_READ, "r"), (_VM_WRITE, "w"), (_VM_EXEC, "x")))
        + ("s" if i & _VM_MAYSHARE else "p")
        for i in range(256)
    ]
    code = flags.values.astype(np.uint8).astype(np.intp)
    code[~flags.valid] = -1
    return lookup(code, words)


def offsets(pages: Column, backed: Mask, page_size: int) -> Column:
    """Where in its file each VMA begins, in bytes; 0 without a file."""
    return Column.of(np.where(backed, pages.values, 0), pages.valid) * page_size


def devices(device: Column, backed: Mask, known: Mask) -> Any:
    """`major:minor` in hexadecimal per VMA, 00:00 without a file."""
    numbers = np.where(backed, device.int64.values, 0)
    codes, unique = pd.factorize(numbers)
    names = [f"{n >> _MINOR_BITS:02x}:{n & (1 << _MINOR_BITS) - 1:02x}" for n in unique.tolist()]
    return lookup(np.where(known & (device.valid | ~backed), codes, -1), names)


def opened_paths(kernel: Kernel, file: StructArray) -> StructArray:
    """The `struct path` by which each file was opened: for overlayfs' own files the one that the user named."""
    opened = file.follow("f_path")
    # Linux commit def3ae83da02 ("fs: store real path instead of fake path in backing file f_path") (in v6.7).
    if not kernel.types.has_member("struct backing_file", "user_path"):
        return opened
    theirs = file.container("struct backing_file", "file").follow("user_path")
    # FMODE_BACKING is a macro whose bit has moved: of the bits it had, only a path that fits together tells.
    maybe = file["f_mode"].has(_FMODE_BACKING)
    with kernel.quiet():
        dentry, mount = theirs.follow("dentry")["d_sb"], theirs.follow("mnt")["mnt_sb"]
    backing = maybe.true & dentry.true & (dentry == mount).true
    where = np.where(backing, theirs.addresses, opened.addresses)
    return StructArray(kernel, opened.type, where, file.valid)


def file_inodes(kernel: Kernel, file: StructArray, opened: StructArray) -> StructArray:
    """The inode that the kernel shows for each file: that of the path it was opened by (file_user_inode)."""
    inode = file.follow("f_inode")
    own = file.follow("f_path").addresses == opened.addresses
    theirs = opened.follow("dentry").follow("d_inode")
    return StructArray(kernel, inode.type, np.where(own, inode.addresses, theirs.addresses), file.valid)


class Names:
    """What stands in the last column of /proc/PID/maps, for all VMAs (get_vma_name)."""

    def __init__(self, kernel: Kernel, vma: StructArray, mm: StructArray, owner: I64):
        self.kernel = kernel
        self.vma = vma
        self.mm = mm
        self.owner = owner
        #: What names there are, and for each VMA the index of its own.
        self.strings: list[str] = [""]
        self.code = np.zeros(len(vma), dtype=np.intp)
        self.valid = np.ones(len(vma), dtype=bool)

    def all(self, mapped: Mask, path: Column, of: npt.NDArray[np.intp], known: Mask) -> Any:
        """The names: of files (`path[of]`, where `mapped`), of special mappings, of heap and stack, and those given.

        Rows whose vm_file is not `known` have none.
        """
        self._add(mapped, path.values.tolist(), of[mapped])
        # Without a file the name hangs on vm_ops, and on where heap and stack of the mm lie.
        told = self.vma["vm_ops"].valid
        limits = np.logical_and.reduce(
            [self.mm[limit].valid for limit in ("brk", "start_brk", "start_stack")]
        )
        self.valid = known & np.where(mapped, path.valid[of], told & limits[self.owner])
        rest = ~mapped & known
        rest &= ~self._special(rest)
        rest &= ~self._set(rest & self._heap(), "[heap]")
        rest &= ~self._set(rest & self._stack(), "[stack]")
        self._given(rest, mapped)
        lost = int((~self.valid).sum())
        if lost:
            self.kernel.lost(f"maps: {lost:,} paths lead through dentries or mounts that the dump lacks")
        self.code[~self.valid] = -1
        return lookup(self.code, self.strings)

    def _add(self, rows: Any, names: list[str], index: npt.NDArray[np.intp]) -> None:
        """Give rows the names `names[index]`."""
        self.code[rows] = index + len(self.strings)
        self.strings += names

    def _set(self, rows: Mask, name: str) -> Mask:
        self._add(rows, [name], np.zeros(1, dtype=np.intp))
        return rows

    def _special(self, rest: Mask) -> Mask:
        """[vdso], [vvar] and their kind (mm/mmap.c, special_mapping_name)."""
        namer = self.vma.follow("vm_ops")["name"]
        rows: Mask = rest & (namer == self.kernel.symbols.get("special_mapping_name", 1)).true
        inverse, unique = pd.factorize(self.vma["vm_private_data"].values[rows])
        name = c_strings(self.kernel, StructArray(self.kernel, "struct vm_special_mapping", unique)["name"])
        self._add(rows, name.values.tolist(), inverse)
        self.valid[rows] &= name.valid[inverse]
        return rows

    def _limits(self, path: str) -> npt.NDArray[np.uint64]:
        values: npt.NDArray[np.uint64] = self.mm[path].values.astype(np.uint64)[self.owner]
        return values

    def _heap(self) -> Mask:
        start, end = self.vma["vm_start"].values, self.vma["vm_end"].values
        brk, start_brk = self._limits("brk"), self._limits("start_brk")
        # Linux commit 11250fd12eb8 ("mm: factor out VMA stack and heap checks") (in v6.6) ended what merely touched
        # the heap being part of it; commit 13bc24457850 ("fs: rename i_ctime field to __i_ctime") is of that release.
        if not self.kernel.types.has_member("struct inode", "i_ctime"):
            return (start < brk) & (end > start_brk)
        return (start <= brk) & (end >= start_brk)

    def _stack(self) -> Mask:
        stack = self._limits("start_stack")
        return (self.vma["vm_start"].values <= stack) & (self.vma["vm_end"].values >= stack)

    def _given(self, rest: Mask, mapped: Mask) -> None:
        """[anon:…] and [anon_shmem:…], where the kernel keeps such names (CONFIG_ANON_VMA_NAME, since v5.17)."""
        if not self.vma.has("anon_name"):
            return
        given = self.vma.follow("anon_name")
        kinds = [(rest, "[anon:{}]")]
        # Linux commit d09e8ca6cb93 ("mm: anonymous shared memory naming") (in v6.2) took the name out of a union with
        # what file mappings need; before, only anonymous ones have it.
        where = resolve(self.vma.type, "anon_name").hops, resolve(self.vma.type, "shared").hops
        if where[0] != where[1]:
            kinds.append((mapped, "[anon_shmem:{}]"))
        for rows, pattern in kinds:
            named = np.flatnonzero(rows & given.valid)
            name = c_strings(self.kernel, given["name"][named])
            self._add(named, [pattern.format(text) for text in name.values], np.arange(len(named)))
            self.valid[named] &= name.valid
