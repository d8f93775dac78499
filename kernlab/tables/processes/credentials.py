"""As whom each thread acts: users, groups, capabilities, and what confines it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, lookup, nullable, table
from kernlab.linux.credentials import (
    capability_names,
    capability_sets,
    security_labels,
    supplementary_groups,
)
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.tasks import find_tasks

#: No login (INVALID_UID), no session (AUDIT_SID_UNSET).
_UNSET = 0xFFFFFFFF
#: Bit PFA_NO_NEW_PRIVS of task_struct.atomic_flags.
_NO_NEW_PRIVS = 1
#: include/uapi/linux/seccomp.h
_SECCOMP = ["disabled", "strict", "filter"]


@table(rows="struct task_struct")
def credentials(kernel: Kernel) -> pd.DataFrame:
    """One row per thread, by pid, with what it may do: its objective credentials, which others are checked against.

    Columns: pid, tgid, comm; uid, euid, suid, fsuid, gid, egid, sgid, fsgid and groups (the others', with blanks
    between), all as the initial user namespace has them; capabilities (the effective ones: "all", '' for none, else
    names with commas between), and the sets as masks: cap_inheritable, cap_permitted, cap_effective, cap_bounding,
    cap_ambient; no_new_privs, seccomp ("disabled", "strict", "filter"; missing without CONFIG_SECCOMP),
    seccomp_filters, securebits; label (AppArmor's, as in /proc/PID/attr/current; of SELinux its number; missing where
    neither is at work), user_namespace (its number, as in /proc/PID/ns/user), loginuid, session (of audit; missing
    where there was no login, and without CONFIG_AUDIT), overridden (it acts with other credentials for the moment),
    cred (struct cred), address (of the task_struct).

    Mirrors fs/proc/array.c (task_state, task_cap, task_seccomp) and kernel/cred.c.

    >>> dump.credentials[["pid", "comm", "uid", "capabilities", "seccomp", "label"]].tail(2)
         pid          comm  uid capabilities   seccomp       label
    94   256    relaystart    0          all  disabled  unconfined
    95  6893  ext4lazyinit    0          all  disabled  unconfined
    """
    task = find_tasks(kernel)
    task = task[np.lexsort((task.addresses, task["pid"].values, ~task["pid"].valid))]
    pointer = task["real_cred"]
    every, of = np.unique(pointer.filled(0), return_inverse=True)
    cred = StructArray(kernel, "struct cred", every)
    mode = optional(task, "seccomp.mode")
    effective = capability_sets(cred, "effective")

    def theirs(column: Column) -> Column:
        """A column of the credentials as one of the tasks that have them."""
        return column[of]

    return frame(
        kernel,
        "credentials",
        pid=nullable(task["pid"]),
        tgid=nullable(task["tgid"]),
        comm=task["comm"],
        **{
            name: nullable(theirs(cred[f"{name}.val"]))
            for name in ("uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid")
        },
        groups=theirs(supplementary_groups(kernel, cred)),
        capabilities=theirs(capability_names(kernel, effective)),
        cap_inheritable=nullable(theirs(capability_sets(cred, "inheritable"))),
        cap_permitted=nullable(theirs(capability_sets(cred, "permitted"))),
        cap_effective=nullable(theirs(effective)),
        cap_bounding=nullable(theirs(capability_sets(cred, "bset"))),
        cap_ambient=nullable(theirs(capability_sets(cred, "ambient"))),
        no_new_privs=nullable(task["atomic_flags"].has(_NO_NEW_PRIVS)),
        seccomp=lookup(mode.where(((mode >= 0) & (mode < len(_SECCOMP))).true).filled(-1), _SECCOMP),
        # Linux commit c818c03b661c ("seccomp: Report number of loaded filters in /proc/$pid/status") (in v5.9).
        seccomp_filters=nullable(optional(task, "seccomp.filter_count.counter")),
        securebits=nullable(theirs(cred["securebits"])),
        label=theirs(security_labels(kernel, cred)) if cred.has("security") else Column.missing(len(task)),
        user_namespace=nullable(theirs(cred["user_ns->ns.inum"])),
        loginuid=nullable(_set(optional(task, "loginuid.val"))),
        session=nullable(_set(optional(task, "sessionid"))),
        overridden=nullable(task["cred"] != pointer),
        cred=pointer,
        address=task,
    )


def _set(number: Column) -> Column:
    return number.where((number != _UNSET).true)
