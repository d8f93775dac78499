"""Open files: what each struct file is, how it was opened, and where it stands, as /proc/PID/fd and fdinfo say it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# include/linux/fs.h and include/uapi/asm-generic/fcntl.h; macros, so no type information has them.
_FMODE_READ, _FMODE_WRITE = 1, 2
_O_CLOEXEC = 0o2000000

#: include/uapi/linux/stat.h: what an inode is, by the highest four bits of its mode.
_KINDS = {
    0o01: "pipe",
    0o02: "chr",
    0o04: "dir",
    0o06: "blk",
    0o10: "file",
    0o12: "link",
    0o14: "socket",
}
#: File systems whose inodes are nothing but a descriptor's other end; their modes say so in old kernels only.
_ANONYMOUS = ("anon_inodefs", "pidfs", "nsfs", "dmabuf")


def modes(file: StructArray) -> Column:
    """How each was opened: "r", "w", "rw", and '' for O_PATH and what is only to be controlled."""
    mode = file["f_mode"]
    names = np.array(["", "r", "w", "rw"], dtype=object)
    return Column.of(names[mode.filled(0).astype(np.int64) & (_FMODE_READ | _FMODE_WRITE)], mode.valid)


def flags(bits: Column, close_on_exec: Mask) -> tuple[npt.NDArray[np.intp], list[str]]:
    """The flags of each descriptor in octal, as fdinfo prints them (fs/proc/fd.c), by those of its file; O_CLOEXEC is
    its own. Returns (which of the texts each has, -1 where that is not known, the texts)."""
    number: I64 = bits.filled(0).astype(np.int64) & ~_O_CLOEXEC | np.where(close_on_exec, _O_CLOEXEC, 0)
    unique, of = np.unique(number, return_inverse=True)
    return np.where(bits.valid, of, -1), [f"0{value:o}" for value in unique.tolist()]


def file_systems(kernel: Kernel, inode: StructArray) -> Column:
    """The type of the file system of each inode ("ext4", "sockfs")."""
    kind = inode["i_sb->s_type"]
    unique, of = np.unique(kind.filled(0), return_inverse=True)
    name = StructArray(kernel, "struct file_system_type", unique)["name"]
    return c_strings(kernel, name, 64)[of].where(kind.valid)


def kinds(inode: StructArray, file_system: Column) -> Column:
    """What each inode is: file, dir, socket, pipe (FIFOs too), chr, blk, link, and anon for what is no file at all."""
    mode = inode["i_mode"]
    names = np.array([_KINDS.get(number, "anon") for number in range(16)], dtype=object)
    kind = names[mode.filled(0).astype(np.int64) >> 12 & 15]
    anonymous = np.isin(file_system.values.astype(str), _ANONYMOUS)
    return Column.of(np.where(anonymous, "anon", kind), mode.valid)


def sizes(file: StructArray, inode: StructArray, kind: Column) -> Column:
    """The bytes of each file, folder and block device; missing of others. `kind` is what `kinds` says."""
    own = inode["i_size"].int64
    # The inode below /dev has no size; the device's own is behind f_mapping (block/fops.c, blkdev_open).
    behind = file["f_mapping->host->i_size"].int64
    disk, sized = (kind == "blk").true, np.isin(kind.values.astype(str), ("file", "dir")) & kind.valid
    return Column.of(
        np.where(disk, behind.values, own.values),
        np.where(disk, behind.valid, sized & own.valid),
    )


def mount_ids(kernel: Kernel, file: StructArray) -> Column:
    """The number of the mount that each was opened through, as fdinfo has it (mnt_id)."""
    return container(kernel, "struct mount", "mnt", file["f_path.mnt"].filled(0))["mnt_id"]
