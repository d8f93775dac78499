"""Who tasks are: groups, capabilities by name, and the label that the security module gave them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]

#: include/uapi/linux/capability.h, by number.
CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip

#: NGROUPS_MAX (include/uapi/linux/limits.h).
_MOST_GROUPS = 65_536
#: security/apparmor/include/policy.h, enum profile_mode.
_MODES = ("enforce", "complain", "kill", "unconfined", "prompt")
#: Names of profiles are no longer (aa_str_perms takes PATH_MAX), those of stacked ones hardly.
_LONGEST_LABEL = 4096


def capability_sets(cred: StructArray, name: str) -> Column:
    """One set of capabilities of each struct cred, "effective" for one, as a mask of 64 bits."""
    # Linux commit f122a08b197d ("capability: just use a 'u64' instead of a 'u32[2]' array") (in v6.3).
    if cred.has(f"cap_{name}.val"):
        return cred[f"cap_{name}.val"]
    low, high = cred[f"cap_{name}.cap[0]"], cred[f"cap_{name}.cap[1]"]
    values = low.values.astype(np.uint64) | high.values.astype(np.uint64) << np.uint64(32)
    return Column(values, low.valid & high.valid, "uint")


def capability_names(kernel: Kernel, masks: Column) -> Column:
    """Sets of capabilities in words: "all" that the kernel has, '' for none, else names with commas between."""
    try:
        every = (2 << min(kernel.word("cap_last_cap", 4), 62)) - 1
    except KernlabError as error:
        kernel.lost(f"which capabilities this kernel has is not known: {error}")
        every = (1 << 64) - 1
    sets, of = np.unique(masks.filled(0), return_inverse=True)
    words = ["all" if mask & every == every else ",".join(_names(mask)) for mask in sets.tolist()]
    return Column.of(np.array(words, dtype=object)[of], masks.valid, "text")


def _names(mask: int) -> list[str]:
    names = [name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1]
    return names + [str(bit) for bit in range(len(CAPABILITIES), 64) if mask >> bit & 1]


def supplementary_groups(kernel: Kernel, cred: StructArray) -> Column:
    """The gids (of the initial user namespace) that each struct cred has besides its own, as /proc/PID/status lists
    them: with blanks between."""
    info = cred.follow("group_info")
    every, of = np.unique(info.addresses, return_inverse=True)
    lists = StructArray(kernel, info.type, every)
    count = lists["ngroups"].int64
    good = count.valid & (count.values >= 0) & (count.values <= _MOST_GROUPS)
    kernel.lost("lists of groups have lengths that cannot be", mask=count.valid & ~good)
    size = np.where(good, count.values, 0)
    if not kernel.budget.holds(int(size.sum()), 4):
        kernel.lost("lists of groups are longer than what the file holds has room for")
        size[:] = 0
        good[:] = False
    owner = np.repeat(np.arange(len(every)), size)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    first = every + np.uint64(resolve(info.type, "gid").hops[-1])
    gids, read = kernel.words(first[owner] + np.uint64(4) * number.astype(np.uint64), 4, "groups of tasks")
    good[owner[~read]] = False
    pieces = np.split(gids.astype(np.int64), np.cumsum(size)[:-1]) if len(size) else []
    texts = [" ".join(map(str, piece.tolist())) for piece in pieces]
    column = Column.of(np.array(texts, dtype=object), good, "text")
    return column[of].where(info.valid)


def security_labels(kernel: Kernel, cred: StructArray) -> Column:
    """What the security module calls each struct cred, as /proc/PID/attr/current shows it where that is AppArmor's.

    Of SELinux the number of the label (SID); missing where neither is at work. Mirrors security/apparmor/label.c
    (aa_label_snxprint) and security/selinux/include/objsec.h.
    """
    if (label := apparmor_labels(kernel, cred)) is not None:
        return _label_texts(kernel, label)
    state = kernel.find_symbol("selinux_state")
    if state is None or kernel.type_or_none("struct selinux_state") is None or not cred.has("security"):
        return Column.missing(len(cred))
    loaded = StructArray(kernel, "struct selinux_state", [state])["initialized"]
    if not loaded.true[0]:
        return Column.missing(len(cred))
    # Linux 6.18 renamed it, as tasks got something of their own.
    kind = kernel.type_or_none("struct cred_security_struct") or kernel.find_type(
        "struct task_security_struct"
    )
    number = StructArray(kernel, kind, _blob(kernel, cred, "selinux_blob_sizes"))["sid"]
    return Column.texts([None if sid is None else f"SID {sid}" for sid in number])


def _is_on(kernel: Kernel, name: str) -> bool:
    """Is this switch of the kernel's (int) on? One that cannot be read is told, and off."""
    address = kernel.find_symbol(name)
    if address is None:
        return False
    value, _ = kernel.words([address], 4, "switches of security modules")
    return bool(value[0])


def _shared(kernel: Kernel) -> bool:
    """Do security modules share one piece of memory of each struct cred?"""
    # Linux commit bbd3662a8348 ("Infrastructure management of the cred security blob") (in v5.1): before, the pointer
    # is the one module's own.
    return kernel.types.get("struct lsm_blob_sizes") is not None


def _blob(kernel: Kernel, cred: StructArray, sizes: str) -> U64:
    """Where one security module keeps its own of each struct cred; 0 where it is not known."""
    if not _shared(kernel):
        return cred["security"].filled(0).astype(np.uint64)
    offset = StructArray(kernel, "struct lsm_blob_sizes", [kernel.symbol(sizes)])["lbs_cred"].int64
    pointer = cred["security"]
    if not offset.valid[0] or not 0 <= int(offset.values[0]) < kernel.page_size:
        return np.zeros(len(cred), dtype=np.uint64)
    return np.where(pointer.true, pointer.values + np.uint64(offset.values[0]), np.uint64(0))


def apparmor_labels(kernel: Kernel, cred: StructArray) -> StructArray | None:
    """The struct aa_label of each struct cred; None where AppArmor is not at work."""
    kind = kernel.type_or_none("struct aa_label")
    if kind is None or not cred.has("security") or not _is_on(kernel, "apparmor_initialized"):
        return None
    slots = _blob(kernel, cred, "apparmor_blob_sizes")
    if not _shared(kernel):
        return StructArray(kernel, kind, slots)
    known = slots != 0
    label = np.zeros(len(slots), dtype=np.uint64)
    label[known], _ = kernel.words(slots[known], what="labels of AppArmor")
    return StructArray(kernel, kind, label)


def _label_texts(kernel: Kernel, label: StructArray) -> Column:
    """Names of AppArmor's labels, and in which mode they are."""
    every, of = np.unique(label.addresses, return_inverse=True)
    labels = StructArray(kernel, "struct aa_label", every)
    name = c_strings(kernel, labels["hname"], _LONGEST_LABEL)
    # Of a label that stacks profiles each has a mode of its own, which is not shown.
    single = (labels["size"] == 1).true
    first = StructArray(kernel, "struct aa_label", np.where(single, every, np.uint64(0)))
    words, read = kernel.words(first.addresses[single] + np.uint64(resolve(labels.type, "vec").hops[-1]))
    profile = np.zeros(len(every), dtype=np.uint64)
    profile[single] = np.where(read, words, np.uint64(0))
    mode = StructArray(kernel, "struct aa_profile", profile)["mode"].int64
    texts = [
        text if text in (None, "unconfined") or number is None or number >= len(_MODES) or number < 0
        else f"{text} ({_MODES[number]})"
        for text, number in zip(name, mode, strict=True)
    ]  # fmt: skip
    return Column.texts(texts)[of]
