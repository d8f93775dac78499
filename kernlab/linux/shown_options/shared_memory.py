"""Options of file systems in memory: tmpfs and its kin, ramfs, hugetlbfs."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.shown_options.texts import number, owner, rows_of, word_or_none
from kernlab.linux.vm_counters import total_ram

#: mm/shmem.c, shmem_format_huge; as an unsigned char, -1 and -2 are 255 and 254.
_HUGE = {1: "always", 2: "within_size", 3: "advise", 255: "deny", 254: "force"}
_QUOTAS = tuple(
    (f"{who}quota_{what[0]}hardlimit", f"{who}quota_{what}_hardlimit")
    for what in ("block", "inode")
    for who in ("usr", "grp")
)


def shmem(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """mm/shmem.c, shmem_show_options; not known with a memory policy."""
    info = block.follow("s_fs_info", to="struct shmem_sb_info")
    pages = word_or_none(kernel, total_ram(kernel), 8) or 0
    page_kib = kernel.page_size >> 10
    more = [number(info, name) for name in ("noswap", "mpol", "huge", "full_inums")]
    quotas = [number(info, f"qlimits.{name}") for name, _ in _QUOTAS]
    active = number(block, "s_dquot.flags")
    # Inodes have 64 bits by default where those of the kernel's own file systems do (CONFIG_TMPFS_INODE64).
    wide = _inodes_are_wide(kernel)
    texts: list[str | None] = []
    found = rows_of(info, "max_blocks", "max_inodes", "mode", "uid.val", "gid.val")
    for row, (noswap, policy, huge, full), limits, usage in zip(
        found, zip(*more, strict=True), zip(*quotas, strict=True), active, strict=True
    ):
        if row is None or policy is None or policy:
            texts.append(None)
            continue
        blocks, inodes, mode, user, group = row
        text = f",size={blocks * page_kib}k" if blocks != pages // 2 else ""
        text += f",nr_inodes={inodes}" if inodes != pages // 2 else ""
        text += f",mode={mode:03o}" if mode != 0o1777 else ""
        text += owner(user, group)
        if info.has("full_inums") and (full or wide):
            text += f",inode{64 if full else 32}"
        text += f",huge={_HUGE.get(huge, huge)}" if huge else ""
        text += ",noswap" if noswap else ""
        # include/linux/quota.h: three states a kind of quota, the first of which is that it counts.
        text += "".join(f",{who}quota" for bit, who in ((1, "usr"), (8, "grp")) if (usage or 0) & bit)
        text += "".join(f",{name}={limit}" for limit, (_, name) in zip(limits, _QUOTAS, strict=True) if limit)
        texts.append(text)
    return texts


def _inodes_are_wide(kernel: Kernel) -> bool:
    """Do those of the kernel's own tmpfs (shm_mnt) have 64 bits?"""
    pointer = word_or_none(kernel, "shm_mnt", 8)
    own = StructArray(kernel, "struct vfsmount", [pointer or 0]).follow("mnt_sb")
    return bool(number(own.follow("s_fs_info", to="struct shmem_sb_info"), "full_inums")[0])


def ramfs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/ramfs/inode.c, ramfs_show_options."""
    info = block.follow("s_fs_info", to="struct ramfs_fs_info")
    return [
        None if row is None else f",mode={row[0]:o}" if row[0] != 0o755 else ""
        for row in rows_of(info, "mount_opts.mode")
    ]


def hugetlbfs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/hugetlbfs/inode.c, hugetlbfs_show_options."""
    info = block.follow("s_fs_info", to="struct hugetlbfs_sb_info")
    pool = info.follow("spool")
    texts: list[str | None] = []
    found = rows_of(info, "uid.val", "gid.val", "mode", "max_inodes", "hstate->order", "spool")
    for row, most, least in zip(found, pool["max_hpages"].tolist(), pool["min_hpages"].tolist(), strict=True):
        if row is None or (row[5] and (most is None or least is None)):
            texts.append(None)
            continue
        user, group, mode, inodes, order, pooled = row
        size = kernel.page_size << min(order, 63)
        text = owner(user, group)
        text += f",mode={mode:o}" if mode != 0o755 else ""
        text += f",nr_inodes={inodes}" if inodes != -1 else ""
        text += f",pagesize={size >> 20}M" if size >> 20 else f",pagesize={size >> 10}K"
        if pooled:
            text += f",size={most * size}" if most != -1 else ""
            text += f",min_size={least * size}" if least != -1 else ""
        texts.append(text)
    return texts
