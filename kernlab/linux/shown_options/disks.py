"""Options of file systems on disks: ext4, XFS, btrfs."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.paths import in_file_systems
from kernlab.linux.shown_options.texts import number, rows_of, valued
from kernlab.linux.timekeeping import tick
from kernlab.walk.strings import c_strings

# fs/ext4/ext4.h; macros, so no type information has them. (bit, what is shown where it is set, where it is not)
_EXT4 = (
    (0x000080, "minixdf", "bsddf"),
    (0x000004, "grpid", "nogrpid"),
    (0x20000000, "block_validity", "noblock_validity"),
    (0x400000, "dioread_nolock", "dioread_lock"),
    (0x40000000, "discard", "nodiscard"),
    (0x8000000, "delalloc", "nodelalloc"),
    (0x800000, "journal_checksum", "nojournal_checksum"),
    (0x1000000, "journal_async_commit", None),
    (0x000100, "norecovery", None),
    (0x20000, "barrier", "nobarrier"),
    (0x10000, "noauto_da_alloc", "auto_da_alloc"),
    (0x80000000, None, "noinit_itable"),
    (0x004000, "user_xattr", "nouser_xattr"),
    (0x008000, "acl", "noacl"),
    (0x002000, "nouid32", None),
    (0x000008, "debug", None),
)
#: Quotas and DAX: what they show depends on more than their bits.
_EXT4_UNKNOWN = 0x200 | 0x40000 | 0x80000 | 0x100000 | 0x200000
_EXT4_ERRORS = {0x10: "continue", 0x20: "remount-ro", 0x40: "panic"}
_EXT4_DATA = {0x400: "journal", 0x800: "ordered", 0xC00: "writeback"}

# fs/xfs/xfs_mount.h, in the order of xfs_fs_show_options.
_XFS = (
    (57, "ikeep"),
    (52, "wsync"),
    (49, "noalign"),
    (58, "swalloc"),
    (63, "nouuid"),
    (62, "norecovery"),
    (1, "attr2"),
    (59, "filestreams"),
    (55, "grpid"),
    (54, "discard"),
    (51, "largeio"),
    (60, "dax=always"),
    (61, "dax=never"),
)
#: (enforced, counted, enforced where not): fs/xfs/libxfs/xfs_quota_defs.h
_XFS_QUOTAS = ((0x0002, 0x0001, "usr", "u"), (0x0200, 0x0008, "prj", "p"), (0x0080, 0x0040, "grp", "g"))

#: fs/btrfs/super.c, btrfs_show_options, in its order: what stands before and behind the fields that are numbers.
_BTRFS_FIRST = (
    ("DEGRADED", "degraded"),
    ("NODATASUM", "nodatasum"),
    ("NODATACOW", "nodatacow"),
    ("NOBARRIER", "nobarrier"),
)
_BTRFS_COMPRESS = {1: "zlib", 2: "lzo", 3: "zstd"}
_BTRFS_THEN = (
    ("NOTREELOG", "notreelog"),
    ("FLUSHONCOMMIT", "flushoncommit"),
    ("DISCARD_SYNC", "discard"),
    ("DISCARD_ASYNC", "discard=async"),
)
_BTRFS_LAST = (
    ("RESCAN_UUID_TREE", "rescan_uuid_tree"),
    ("USER_SUBVOL_RM_ALLOWED", "user_subvol_rm_allowed"),
    ("ENOSPC_DEBUG", "enospc_debug"),
    ("AUTO_DEFRAG", "autodefrag"),
    ("SKIP_BALANCE", "skip_balance"),
)
#: Options whose values are not known here.
_BTRFS_UNKNOWN = ("NOLOGREPLAY", "USEBACKUPROOT", "IGNOREBADROOTS", "IGNOREDATACSUMS", "IGNOREMETACSUMS",
    "IGNORESUPERFLAGS", "FRAGMENT_DATA", "FRAGMENT_METADATA", "REF_VERIFY", "PANIC_ON_FATAL_ERROR")  # fmt: skip


def ext4(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/ext4/super.c, _ext4_show_options; not known with quotas, DAX or a test of encryption."""
    info = block.follow("s_fs_info", to="struct ext4_sb_info")
    hertz = 1_000_000_000 // tick(kernel)
    names = ("s_mount_opt", "s_def_mount_opt", "s_sb_block", "s_resuid.val", "s_resgid.val", "s_commit_interval",
        "s_min_batch_time", "s_max_batch_time", "s_stripe", "s_inode_readahead_blks", "s_li_wait_mult",
        "s_max_dir_size_kb")  # fmt: skip
    quotas = number(info, "s_jquota_fmt")
    texts: list[str | None] = []
    for row, quota, flags in zip(rows_of(info, *names), quotas, number(block, "s_flags"), strict=True):
        if row is None or quota or row[0] & _EXT4_UNKNOWN:
            texts.append(None)
            continue
        opt, default, start, user, group, commit, least, most, stripe, ahead, wait, folder = row
        text = f",sb={start}" if start != 1 else ""
        for bit, set_, clear in _EXT4:
            shown = set_ if opt & bit else clear
            if shown and (opt ^ default) & bit:
                text += f",{shown}"
        # The super block on disk says who may use what is reserved, and is a page of the cache: it may be left out.
        text += (f",resuid={user}" if user else "") + (f",resgid={group}" if group else "")
        # What to do about errors was taken from there into the defaults (ext4_fill_super).
        if (opt ^ default) & 0x70:
            text += f",errors={_EXT4_ERRORS[opt & 0x70]}" if opt & 0x70 in _EXT4_ERRORS else ""
        text += f",commit={commit // hertz}" if commit != 5 * hertz else ""
        text += f",min_batch_time={least}" if least else ""
        text += f",max_batch_time={most}" if most != 15_000 else ""
        text += f",stripe={stripe}" if stripe else ""
        if (opt ^ default) & 0xC00:
            text += f",data={_EXT4_DATA[opt & 0xC00]}" if opt & 0xC00 else ""
        text += f",inode_readahead_blks={ahead}" if ahead != 32 else ""
        text += f",init_itable={wait}" if opt & 0x80000000 and wait != 10 else ""
        text += f",max_dir_size_kb={folder}" if folder else ""
        text += ",data_err=abort" if opt & 0x10000000 else ""
        # SB_INLINECRYPT
        text += ",inlinecrypt" if (flags or 0) & (1 << 17) else ""
        texts.append(text)
    return texts


def xfs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/xfs/xfs_super.c, xfs_fs_show_options, of kernels with m_features (Linux 5.15)."""
    mount = block.follow("s_fs_info", to="struct xfs_mount")
    if not mount.has("m_features"):
        raise KernlabError("before Linux 5.15 XFS keeps its options in another way")
    names = (
        "m_features",
        "m_allocsize_log",
        "m_logbufs",
        "m_logbsize",
        "m_dalign",
        "m_swidth",
        "m_qflags",
        "m_blkbb_log",
    )
    devices = [c_strings(kernel, mount[name]).tolist() for name in ("m_logname", "m_rtname")]
    texts: list[str | None] = []
    for row, log, real_time in zip(rows_of(mount, *names), *devices, strict=True):
        if row is None:
            texts.append(None)
            continue
        features, size, buffers, buffer, unit, width, quota, shift = row
        text = "".join(f",{name}" for bit, name in _XFS if features >> bit & 1)
        text += f",inode{32 if features >> 56 & 1 else 64}"
        text += f",allocsize={(1 << min(size, 63)) >> 10}k" if features >> 50 & 1 else ""
        text += f",logbufs={buffers}" if buffers > 0 else ""
        text += f",logbsize={buffer >> 10}k" if buffer > 0 else ""
        text += valued("logdev", log) if log else ""
        text += valued("rtdev", real_time) if real_time else ""
        text += f",sunit={unit << min(shift, 32)}" if unit > 0 else ""
        text += f",swidth={width << min(shift, 32)}" if width > 0 else ""
        for enforced, counted, name, letter in _XFS_QUOTAS:
            text += f",{name}quota" if quota & enforced else f",{letter}qnoenforce" if quota & counted else ""
        texts.append(text + ("" if quota & 0x49 else ",noquota"))
    return texts


def btrfs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/btrfs/super.c, btrfs_show_options; not known with what is for rescue and debugging."""
    info = block.follow("s_fs_info", to="struct btrfs_fs_info")
    # One module's types name them all.
    types = next((each for each in kernel.module_types if each.get("struct btrfs_fs_info")), kernel.types)
    if types.enumerator_or_none("BTRFS_MOUNT_SSD") is None:
        raise KernlabError("this kernel's types do not name the options of btrfs")

    def bit(name: str) -> int:
        return types.enumerator_or_none(f"BTRFS_MOUNT_{name}") or 0

    cpus = kernel.word("__num_online_cpus", 4)
    names = ("mount_opt", "max_inline", "thread_pool_size", "compress_type", "compress_level", "commit_interval",
        "metadata_ratio", "super_copy->compat_ro_flags")  # fmt: skip
    inode = root.follow("d_inode").container("struct btrfs_inode", "vfs_inode")
    tree = inode["root->root_key.objectid"].tolist()
    paths = in_file_systems(kernel, root.addresses).tolist()
    texts: list[str | None] = []
    for row, flags, number_, path in zip(
        rows_of(info, *names), number(block, "s_flags"), tree, paths, strict=True
    ):
        if (
            row is None
            or number_ is None
            or path is None
            or any(row[0] & bit(name) for name in _BTRFS_UNKNOWN)
        ):
            texts.append(None)
            continue
        opt, inline, threads, kind, level, commit, ratio, compat = row
        text = "".join(f",{name}" for key, name in _BTRFS_FIRST if opt & bit(key))
        text += f",max_inline={inline}" if inline != 2048 else ""
        text += f",thread_pool={threads}" if threads != min(cpus + 2, 8) else ""
        if opt & bit("COMPRESS"):
            forced = "compress-force" if opt & bit("FORCE_COMPRESS") else "compress"
            text += f",{forced}={_BTRFS_COMPRESS.get(kind, kind)}" + (f":{level}" if level else "")
        text += ",nossd" if opt & bit("NOSSD") else ""
        text += ",ssd_spread" if opt & bit("SSD_SPREAD") else ",ssd" if opt & bit("SSD") else ""
        text += "".join(f",{name}" for key, name in _BTRFS_THEN if opt & bit(key))
        # SB_POSIXACL; FREE_SPACE_TREE is the lowest of the compatible features.
        text += ",noacl" if not (flags or 0) & (1 << 16) else ""
        text += (
            ",space_cache"
            if opt & bit("SPACE_CACHE")
            else ",space_cache=v2"
            if compat & 1
            else ",nospace_cache"
        )
        text += "".join(f",{name}" for key, name in _BTRFS_LAST if opt & bit(key))
        text += f",commit={commit}" if commit != 30 else ""
        text += f",metadata_ratio={ratio}" if ratio else ""
        texts.append(f"{text},subvolid={number_},subvol={path}")
    return texts
