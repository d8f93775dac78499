"""System V IPC: its namespaces, and every set of semaphores, message queue and segment of each (ipc/util.c)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.errors import KernlabError
from kernlab.linux.tasks import find_tasks
from kernlab.walk.xarray import idr_entries

I64 = npt.NDArray[np.int64]

#: ipc_namespace.ids (ipc/util.h, IPC_SEM_IDS, IPC_MSG_IDS, IPC_SHM_IDS): the kind's index, its struct, and what is
#: embedded in it.
SEMAPHORES = (0, "struct sem_array", "sem_perm")
MESSAGES = (1, "struct msg_queue", "q_perm")
SEGMENTS = (2, "struct shmid_kernel", "shm_perm")
_WHAT = ("the sets of semaphores", "the message queues", "the segments of shared memory")


def has_ipc(kernel: Kernel) -> bool:
    """Was the kernel built with CONFIG_SYSVIPC?"""
    return (
        kernel.find_symbol("init_ipc_ns") is not None and kernel.types.get("struct shmid_kernel") is not None
    )


@fact
def ipc_namespaces(kernel: Kernel) -> StructArray:
    """The initial IPC namespace and those that tasks live in: struct ipc_namespace, by address."""
    found = [np.array([kernel.symbol("init_ipc_ns")], dtype=np.uint64)]
    try:
        pointer = find_tasks(kernel)["nsproxy->ipc_ns"]
        found.append(pointer.values[pointer.true])
    except KernlabError as error:
        kernel.lost(f"only the initial IPC namespace is known: {error}")
    return StructArray(kernel, "struct ipc_namespace", np.unique(np.concatenate(found)))


def ipc_objects(kernel: Kernel, kind: tuple[int, str, str]) -> tuple[Column, StructArray]:
    """All objects of a kind, one of the three above: (the inode number of the namespace of each, the structs)."""
    index, type_name, member = kind
    space = ipc_namespaces(kernel)
    ids = space.follow(f"ids[{index}]")
    owner, _, pointer = idr_entries(kernel, ids.follow("ipcs_idr").addresses, what=_WHAT[index])
    return space["ns.inum"].int64[owner], container(kernel, type_name, member, pointer)


def pid_numbers(structs: StructArray, member: str) -> Column:
    """A member `struct pid *` as numbers in the initial namespace; NULL is 0."""
    pointer = structs[member]
    number = structs.follow(member)["numbers[0].nr"]
    none = (pointer == 0).true
    return Column.of(number.int64.filled(0), none | number.valid)


def octal(mode: Column) -> Column:
    """Permission bits as ipcs prints them: "600"."""
    return Column.of([f"{bits & 0o777:03o}" for bits in mode.filled(0).tolist()], mode.valid, "text")
