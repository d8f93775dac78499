"""Options of mounts, as /proc/PID/mounts and mountinfo show them: what every file system has, and what its own are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.shown_options import shown_options
from kernlab.walk.strings import c_strings

Mask = npt.NDArray[np.bool_]

# include/linux/mount.h and include/linux/fs.h; macros, so no type information has them.
_MNT_READONLY, _SB_RDONLY = 0x40, 1
#: fs/proc_namespace.c, show_mnt_opts and show_sb_opts, in their order.
_OF_MOUNTS = (
    (0x01, ",nosuid"),
    (0x02, ",nodev"),
    (0x04, ",noexec"),
    (0x08, ",noatime"),
    (0x10, ",nodiratime"),
    (0x20, ",relatime"),
    (0x80, ",nosymfollow"),
)
_OF_SUPER_BLOCKS = ((0x10, ",sync"), (0x80, ",dirsync"), (0x40, ",mand"), (1 << 25, ",lazytime"))
#: security/selinux/include/security.h: contexts that were given, labels, initialized.
_SELINUX_CONTEXTS, _SELINUX_LABELS, _SELINUX_READY = 0x0F, 0x10, 0x0100


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Texts of n mounts: `whole` as /proc/PID/mounts has them, `mount` and `file_system` as mountinfo has them apart.

    `told`, bool[n], is False for those whose file system shows more that is not known here.
    """

    whole: Column
    mount: Column
    file_system: Column
    told: Mask


def mount_options(kernel: Kernel, mount: StructArray) -> MountOptions:
    """The options of each struct mount. Mirrors fs/proc_namespace.c (show_vfsmnt, show_mountinfo)."""
    flags = mount["mnt.mnt_flags"]
    block = mount.follow("mnt.mnt_sb")
    of_block = block["s_flags"]
    mounts = _texts(flags, _OF_MOUNTS)
    idmapped = np.where(is_idmapped(kernel, mount, block), ",idmapped", "").astype(object)
    labels, labels_told = _labels(kernel, block)
    general = _texts(of_block, _OF_SUPER_BLOCKS) + labels
    own = shown_options(kernel, block, mount["mnt.mnt_root"])
    shown = np.where(own.valid, own.values, "")
    closed, frozen = flags.has(_MNT_READONLY).true, of_block.has(_SB_RDONLY).true
    first = [
        np.where(is_closed, "ro", "rw").astype(object) for is_closed in (closed | frozen, closed, frozen)
    ]
    known = flags.valid & of_block.valid
    return MountOptions(
        whole=Column.of(first[0] + general + mounts + idmapped + shown, known),
        mount=Column.of(first[1] + mounts + idmapped, flags.valid),
        file_system=Column.of(first[2] + general + shown, of_block.valid),
        told=(own.valid & labels_told) | ~known,
    )


def sources(kernel: Kernel, mount: StructArray) -> Column:
    """What is mounted by each, as /proc/PID/mounts has it: a device, or what was given for one; "none" for nothing.

    btrfs shows a device of its own choice (fs/btrfs/super.c, btrfs_show_devname).
    """
    given = mount["mnt_devname"]
    source = c_strings(kernel, given)
    values, valid = np.where(source.valid, source.values, "none"), source.valid | (given == 0).true
    shown = mount["mnt.mnt_sb->s_op->show_devname"]
    function = np.unique(shown.values[shown.true])
    for address, name in zip(function.tolist(), kernel.symbolize(function), strict=True):
        if str(name).partition("+")[0] != "btrfs_show_devname":
            continue
        rows = np.flatnonzero((shown == address).true)
        info = mount[rows].follow("mnt.mnt_sb").follow("s_fs_info", to="struct btrfs_fs_info")
        device = info["fs_devices->latest_dev->name"]
        # A string with a head for RCU (struct rcu_string) until Linux 6.17.
        text = c_strings(
            kernel, device if device.type is not None and "char" in device.type.c_name else device + 16
        )
        values[rows], valid[rows] = text.values, text.valid
    return Column.of(values, valid)


def is_idmapped(kernel: Kernel, mount: StructArray, block: StructArray) -> Mask:
    """Which mounts show files with other owners than the file system has (include/linux/fs.h, is_idmapped_mnt)."""
    if mount.has("mnt.mnt_idmap"):
        # Linux commit 256c8aed2b42 ("fs: introduce dedicated idmap type for mounts") (in v6.2).
        mapped = mount["mnt.mnt_idmap"]
        return (mapped != kernel.symbol("nop_mnt_idmap")).true & mapped.true
    if mount.has("mnt.mnt_userns"):
        mapped = mount["mnt.mnt_userns"]
        initial = np.uint64(kernel.symbol("init_user_ns"))
        other: Mask = (
            mapped.true & (mapped.values != initial) & (mapped.values != block["s_user_ns"].filled(0))
        )
        return other
    return np.zeros(len(mount), dtype=bool)


def _labels(kernel: Kernel, block: StructArray) -> tuple[npt.NDArray[np.object_], Mask]:
    """What SELinux shows of each super_block, and of which that is all: contexts that were given to mount need its
    policy (security/selinux/hooks.c, selinux_sb_show_options)."""
    nothing = np.full(len(block), "", dtype=object), np.ones(len(block), dtype=bool)
    address = kernel.symbols.get("selinux_state")
    kind = kernel.type_or_none("struct superblock_security_struct")
    if address is None or kind is None or kernel.type_or_none("struct selinux_state") is None:
        return nothing
    if not StructArray(kernel, "struct selinux_state", [address])["initialized"].true[0]:
        return nothing
    where = block["s_security"].filled(0).astype(np.uint64)
    if kernel.types.has_member("struct lsm_blob_sizes", "lbs_superblock"):
        # Linux commit 1aea7808372e ("LSM: Infrastructure management of the superblock") (in v5.13).
        sizes = StructArray(kernel, "struct lsm_blob_sizes", [kernel.symbol("selinux_blob_sizes")])
        where = where + np.uint64(int(sizes["lbs_superblock"][0] or 0))
    flags = StructArray(kernel, kind, np.where(block["s_security"].true, where, np.uint64(0)))["flags"]
    ready = flags.has(_SELINUX_READY).true
    labelled = ready & flags.has(_SELINUX_LABELS).true
    contexts = ready & flags.has(_SELINUX_CONTEXTS).true
    told: Mask = ~contexts & (flags.valid | (block["s_security"] == 0).true)
    return np.where(labelled, ",seclabel", "").astype(object), told


def _texts(flags: Column, names: tuple[tuple[int, str], ...]) -> npt.NDArray[np.object_]:
    """The names of the bits that are set, one behind the other."""
    unique, of = np.unique(flags.filled(0).astype(np.int64), return_inverse=True)
    texts = ["".join(name for bit, name in names if value & bit) for value in unique.tolist()]
    return np.array(texts, dtype=object)[of]
