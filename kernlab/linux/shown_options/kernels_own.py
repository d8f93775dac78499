"""Options of file systems that show what the kernel has: proc, cgroups, debugfs, devpts and their kind."""

from __future__ import annotations

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.shown_options.texts import number, owner, rows_of, valued, word_or_none
from kernlab.linux.timekeeping import tick
from kernlab.walk.strings import c_strings

_HIDEPID = {1: "noaccess", 2: "invisible", 4: "ptraceable"}
#: kernel/cgroup/cgroup.c, cgroup_show_options, in its order.
_CGROUP2 = (
    ("CGRP_ROOT_NS_DELEGATE", "nsdelegate"),
    ("CGRP_ROOT_FAVOR_DYNMODS", "favordynmods"),
    ("CGRP_ROOT_MEMORY_LOCAL_EVENTS", "memory_localevents"),
    ("CGRP_ROOT_MEMORY_RECURSIVE_PROT", "memory_recursiveprot"),
    ("CGRP_ROOT_MEMORY_HUGETLB_ACCOUNTING", "memory_hugetlb_accounting"),
    ("CGRP_ROOT_PIDS_LOCAL_EVENTS", "pids_localevents"),
)
#: kernel/cgroup/cgroup-v1.c, cgroup1_show_options.
_CGROUP1 = (
    ("CGRP_ROOT_NOPREFIX", "noprefix"),
    ("CGRP_ROOT_XATTR", "xattr"),
    ("CGRP_ROOT_CPUSET_V2_MODE", "cpuset_v2_mode"),
    ("CGRP_ROOT_FAVOR_DYNMODS", "favordynmods"),
)


def proc(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/proc/root.c, proc_show_options."""
    # Linux commit fa10fed30f25 ("proc: allow to mount many instances of proc in one pid namespace") (in v5.8).
    old = not kernel.types.has_member("struct proc_fs_info", "hide_pid")
    info = block.follow("s_fs_info", to="struct pid_namespace" if old else "struct proc_fs_info")
    texts: list[str | None] = []
    for row in rows_of(info, "pid_gid.val", "hide_pid", *(() if old else ("pidonly",))):
        if row is None:
            texts.append(None)
            continue
        group, hidden, only = (*row, 0) if old else row
        text = f",gid={group}" if group else ""
        said = hidden if old else _HIDEPID.get(hidden, hidden)
        text += f",hidepid={said}" if hidden else ""
        texts.append(text + (",subset=pid" if only else ""))
    return texts


def debugfs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/debugfs/inode.c, debugfs_show_options."""
    return _owned(block.follow("s_fs_info", to="struct debugfs_fs_info"))


def tracefs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/tracefs/inode.c, tracefs_show_options."""
    return _owned(block.follow("s_fs_info", to="struct tracefs_fs_info"))


def _owned(info: StructArray) -> list[str | None]:
    # Linux commit 49abee5991e1 ("debugfs: Convert to new uid/gid option parsing helpers") (in v6.11) and its sibling.
    place = "mount_opts." if info.has("mount_opts") else ""
    found = rows_of(info, f"{place}uid.val", f"{place}gid.val", f"{place}mode")
    return [
        None if row is None else owner(row[0], row[1]) + (f",mode={row[2]:o}" if row[2] != 0o700 else "")
        for row in found
    ]


def devpts(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/devpts/inode.c, devpts_show_options."""
    info = block.follow("s_fs_info", to="struct pts_fs_info")
    names = ("setuid", "setgid", "uid.val", "gid.val", "mode", "ptmxmode", "max")
    texts: list[str | None] = []
    for row in rows_of(info, *(f"mount_opts.{name}" for name in names)):
        if row is None:
            texts.append(None)
            continue
        has_user, has_group, user, group, mode, ptmx, most = row
        text = (f",uid={user}" if has_user else "") + (f",gid={group}" if has_group else "")
        text += f",mode={mode:03o},ptmxmode={ptmx:03o}"
        # NR_UNIX98_PTY_MAX
        texts.append(text + (f",max={most}" if most < 1 << 20 else ""))
    return texts


def bpf(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """kernel/bpf/inode.c, bpf_show_options; not known where something is delegated."""
    info = block.follow("s_fs_info", to="struct bpf_mount_opts")
    names = ("cmds", "maps", "progs", "attachs")
    given = [number(info, f"delegate_{name}") for name in names]
    texts: list[str | None] = []
    for row, delegated in zip(
        rows_of(root, "d_inode->i_uid.val", "d_inode->i_gid.val", "d_inode->i_mode"),
        zip(*given, strict=True),
        strict=True,
    ):
        if row is None or any(delegated):
            texts.append(None)
            continue
        mode = row[2] & 0o6777
        texts.append(owner(row[0], row[1]) + (f",mode={mode:o}" if mode != 0o777 else ""))
    return texts


def pstore(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/pstore/inode.c, pstore_show_options: 10,240 is CONFIG_PSTORE_DEFAULT_KMSG_BYTES."""
    size = word_or_none(kernel, "kmsg_bytes", 4)
    text = None if size is None else "" if size == 10_240 else f",kmsg_bytes={size}"
    return [text] * len(block)


def autofs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/autofs/inode.c, autofs_show_options."""
    info = block.follow("s_fs_info", to="struct autofs_sb_info")
    of_block = block.follow("s_root").follow("d_inode")
    hertz = 1_000_000_000 // tick(kernel)
    # CONFIG_CHECKPOINT_RESTORE shows the pipe, and makes this member.
    shows_pipe = kernel.types.has_member("struct ipc_ids", "next_id")
    pipe = info["pipe->f_inode->i_ino"].tolist()
    texts: list[str | None] = []
    found = rows_of(
        info,
        "pipefd",
        "oz_pgrp->numbers[0].nr",
        "exp_timeout",
        "min_proto",
        "max_proto",
        "type",
        "flags",
        "pipe",
    )
    for row, own, inode in zip(found, rows_of(of_block, "i_uid.val", "i_gid.val"), pipe, strict=True):
        if row is None or own is None or (row[7] and inode is None):
            texts.append(None)
            continue
        fd, group, timeout, least, most, kind, flags, has_pipe = row
        text = (
            f",fd={fd}{owner(*own)},pgrp={group},timeout={timeout // hertz},minproto={least},maxproto={most}"
        )
        text += {4: ",offset", 2: ",direct"}.get(kind, ",indirect")
        text += (",strictexpire" if flags & 2 else "") + (",ignore" if flags & 4 else "")
        if shows_pipe:
            text += f",pipe_ino={inode if has_pipe else -1}"
        texts.append(text)
    return texts


def kernfs(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/kernfs/mount.c, kernfs_sop_show_options: sysfs shows nothing, each cgroup hierarchy its controllers."""
    tree = block.follow("s_fs_info", to="struct kernfs_super_info").follow("root")
    functions = tree["syscall_ops"].tolist()
    second, first = (kernel.symbols.get(name) for name in ("cgroup_kf_syscall_ops", "cgroup1_kf_syscall_ops"))
    texts: list[str | None] = []
    for row, which in enumerate(functions):
        if not which or which not in (second, first):
            texts.append("" if which == 0 else None)
            continue
        group = tree[row : row + 1].follow("kn").follow("priv", to="struct cgroup").follow("root")
        texts.append(
            _set(kernel, group["flags"][0], _CGROUP2) if which == second else _first_version(kernel, group)
        )
    return texts


def _set(kernel: Kernel, flags: int | None, names: tuple[tuple[str, str], ...]) -> str | None:
    if flags is None:
        return None
    values = [(kernel.types.enumerator_or_none(name), shown) for name, shown in names]
    return "".join(f",{shown}" for value, shown in values if value is not None and flags & value)


def _first_version(kernel: Kernel, root: StructArray) -> str | None:
    """Of one struct cgroup_root."""
    mask, flags = root["subsys_mask"][0], root["flags"][0]
    agent, name, own = root["release_agent_path"][0], root["name"][0], root["cgrp.flags"][0]
    if None in (mask, flags, agent, name, own):
        return None
    array = np.uint64(kernel.symbol("cgroup_subsys"))
    numbers = np.array([bit for bit in range(32) if mask >> bit & 1], dtype=np.uint64)
    pointers, _ = kernel.words(array + numbers * np.uint64(8))
    controllers = c_strings(
        kernel, StructArray(kernel, "struct cgroup_subsys", pointers)["legacy_name"], 64
    ).tolist()
    if None in controllers:
        return None
    text = "".join(f",{controller}" for controller in controllers) + (_set(kernel, flags, _CGROUP1) or "")
    text += valued("release_agent", agent) if agent else ""
    clone = kernel.types.enumerator_or_none("CGRP_CPUSET_CLONE_CHILDREN")
    text += ",clone_children" if clone is not None and own >> clone & 1 else ""
    return text + (valued("name", name) if name else "")
