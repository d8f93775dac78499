"""Threads and processes as people say them: `inventoryd (176)`; and whose the structs are that they point to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.tasks import find_tasks

U64 = npt.NDArray[np.uint64]
Texts = npt.NDArray[np.object_]

#: Structs that threads point to: the member that does, and whether what it points to is the whole process's.
POINTED_TO: dict[str, tuple[str, bool]] = {
    "struct cred": ("real_cred", True),
    "struct files_struct": ("files", True),
    "struct fs_struct": ("fs", True),
    "struct io_context": ("io_context", False),
    "struct mm_struct": ("mm", True),
    "struct pid": ("thread_pid", False),
    "struct sighand_struct": ("sighand", True),
    "struct signal_struct": ("signal", True),
    "struct task_delay_info": ("delays", False),
}


def say_thread(comm: str, pid: int | str) -> str:
    """A thread or process as people say it; the comm is as the dump has it, to be escaped where it is shown."""
    return f"{comm} ({pid})"


def say_several(names: list[str]) -> str:
    """The first of several that share something, and how many more; two are both named."""
    more = len(names) - 1
    if more == 1:
        return f"{names[0]} and {names[1]}"
    return names[0] + (f" and {more:,} others" if more else "")


@dataclass(frozen=True, slots=True)
class Threads:
    """Every thread: `task`, its own `name` and that of its `process` (None where it cannot be read), object[n]."""

    task: StructArray
    name: Texts
    process: Texts

    def names_at(self, addresses: U64) -> Texts:
        """The name of the thread whose task_struct begins at each address uint64[k], None where none does."""
        return _picked(self.task.addresses, self.name, addresses)


@fact
def threads(kernel: Kernel) -> Threads:
    """All threads by the addresses of their task_structs, ascending. Raises KernlabError where no task is found."""
    task = find_tasks(kernel)
    task = task[np.argsort(task.addresses, kind="stable")]
    comm, pid = task["comm"].text, task["pid"]
    leader = task.follow("group_leader")
    of_leader, tgid = leader["comm"].text, task["tgid"]
    return Threads(task, _names(comm, pid), _names(of_leader, tgid))


def processes_of(kernel: Kernel, type_name: str, addresses: U64) -> Texts:
    """Who has the struct of a type of `POINTED_TO` at each address uint64[n]: names, None where nobody has it."""
    member, whole = POINTED_TO[type_name]
    start, names = kernel.once(f"{__name__}.{member}", _pointers(member, whole))
    return _picked(start, names, addresses)


def _pointers(member: str, whole: bool) -> Callable[[Kernel], tuple[U64, Texts]]:
    def find(kernel: Kernel) -> tuple[U64, Texts]:
        every = threads(kernel)
        if not every.task.has(member):
            return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=object)
        pointer = every.task[member]
        called = every.process if whole else every.name
        users: dict[int, dict[str, None]] = {}
        rows = np.flatnonzero(pointer.true).tolist()
        pid = every.task["pid"].values.tolist()
        for row in sorted(rows, key=pid.__getitem__):
            if called[row] is not None:
                users.setdefault(int(pointer.values[row]), {})[called[row]] = None
        start = np.array(sorted(users), dtype=np.uint64)
        names = np.array([say_several(list(users[address])) for address in start.tolist()], dtype=object)
        return start, names

    return find


def _names(comm: Column, pid: Column) -> Texts:
    names = np.empty(len(comm), dtype=object)
    names[:] = [
        None if who is None or number is None else say_thread(who, number)
        for who, number in zip(comm, pid, strict=True)
    ]
    return names


def _picked(keys: U64, names: Texts, wanted: U64) -> Texts:
    """The name of each wanted key (ascending `keys`), None of what is none."""
    picked = np.full(len(wanted), None, dtype=object)
    if len(keys):
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[at] == wanted
        picked[hit] = names[at[hit]]
    return picked
