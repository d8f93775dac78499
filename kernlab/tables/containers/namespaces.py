"""Namespaces of every kind, with who lives in them, owns them, and what lies above."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, empty, frame, nullable, table
from kernlab.linux.containers.namespaces import Kind, kinds


@table(rows="struct ns_common")
def namespaces(kernel: Kernel) -> pd.DataFrame:
    """One row per namespace, kind by kind, by number.

    kind: as in /proc/PID/ns ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"); inum: its number there;
    tasks: threads that live in it; pid, comm: the first of these, missing where only a file, a mount or another
    namespace holds it; owner: number of the user namespace that owns it (of a user namespace the one above it; missing
    for the first); parent: number of the one above it and level: how deep it lies (both of pid and user namespaces);
    uid: who made it (of user namespaces), in the initial user namespace; hostname: of uts namespaces; object: the
    struct of its kind (struct net, struct pid_namespace, …), address: struct ns_common in it.

    Newer kernels keep a list of all (seen in 7.2, not in 6.12). Of others they are those of tasks, of open files and
    bind mounts (/run/netns), all of network and of mounts, and what owns these. Mirrors kernel/nsproxy.c, fs/nsfs.c.

    >>> dump.namespaces[["kind", "inum", "tasks", "pid", "comm"]].head(3)
         kind        inum  tasks  pid  comm
    0  cgroup  4026531835     96    1  init
    1     ipc  4026531839     96    1  init
    2     mnt  4026531841     95    1  init
    """
    found = [kind for kind in kinds(kernel) if len(kind.space)]
    if not found:
        dtypes = {"kind": "str", "inum": "Int64", "tasks": "int64", "pid": "Int64", "comm": "str"}
        dtypes |= dict.fromkeys(("owner", "parent", "level", "uid"), "Int64") | {"hostname": "str"}
        return empty(kernel, "namespaces", **dtypes, object="address", address="struct ns_common")
    first = StructArray(kernel, "struct task_struct", np.concatenate([kind.first for kind in found]))
    return frame(
        kernel,
        "namespaces",
        kind=[kind.name for kind in found for _ in range(len(kind.space))],
        inum=nullable(_joined([_number(kind.space["ns.inum"]) for kind in found])),
        tasks=np.concatenate([kind.tasks for kind in found]),
        pid=nullable(first["pid"]),
        comm=first["comm"],
        owner=nullable(_joined([_numbers(kernel, "struct user_namespace", kind.owner) for kind in found])),
        parent=nullable(_joined([_numbers(kernel, kind.space.type.c_name, kind.parent) for kind in found])),
        level=nullable(_joined([_of(kind, "level", ("pid", "user")) for kind in found])),
        uid=nullable(_joined([_of(kind, "owner.val", ("user",)) for kind in found])),
        hostname=Column.texts([text for kind in found for text in _hosts(kind)]),
        object=addresses(kernel, np.concatenate([kind.space.addresses for kind in found])),
        address=StructArray(
            kernel, "struct ns_common", np.concatenate([kind.space.follow("ns").addresses for kind in found])
        ),
    )


def _joined(columns: list[Column]) -> Column:
    values, valid = (
        np.concatenate([getattr(column, part) for column in columns]) for part in ("values", "valid")
    )
    return Column.of(values, valid)


def _number(column: Column) -> Column:
    # What is not set up yet has no number.
    return column.int64.where(column.true)


def _numbers(kernel: Kernel, kind: str, pointer: Column) -> Column:
    """The numbers of namespaces that pointers lead to; missing for NULL."""
    return _number(StructArray(kernel, kind, pointer.filled(0))["ns.inum"])


def _of(kind: Kind, member: str, kinds_with: tuple[str, ...]) -> Column:
    if kind.name in kinds_with:
        return kind.space[member].int64
    return Column.missing(len(kind.space), "int")


def _hosts(kind: Kind) -> list[str | None]:
    if kind.name != "uts":
        return [None] * len(kind.space)
    names: list[str | None] = kind.space["name.nodename"].tolist()
    return names
