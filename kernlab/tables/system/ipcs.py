"""System V IPC as ipcs lists it: semaphores, message queues and shared memory of all IPC namespaces of tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, empty, frame, lookup, nullable, table
from kernlab.linux.ipc import MESSAGES, SEGMENTS, SEMAPHORES, has_ipc, ipc_objects, octal, pid_numbers
from kernlab.walk.lists import list_nodes

I64 = npt.NDArray[np.int64]
_KINDS = ((SEMAPHORES, "sem"), (MESSAGES, "msg"), (SEGMENTS, "shm"))
_NUMBERS = ("size_bytes", "nsems", "messages", "max_bytes", "attached", "waiters", "cpid", "lpid", "lrpid")
_TIMES = ("atime", "dtime", "ctime")


@table
def ipcs(kernel: Kernel) -> pd.DataFrame:
    """One row per set of semaphores, message queue and segment of shared memory, by namespace, type and id.

    Those of the initial IPC namespace and of all that tasks live in.

    Columns: namespace (its inode number, as in /proc/PID/ns/ipc), type ("sem", "msg", "shm"), key, id, perms (the
    mode's permission bits in octal: "600"), uid, gid, cuid, cgid (owner and creator, in the initial user namespace),
    size_bytes (of a segment, or of the messages in a queue), nsems (semaphores in a set), messages (in a queue),
    max_bytes (that a queue holds at most), attached (how many attach a segment), waiters (tasks that sleep on a set or
    a queue), cpid (who made a segment), lpid (who used a segment, or sent to a queue, last), lrpid (who received from
    a queue last; these three in the initial pid namespace, 0 for nobody), atime (last attached, operated on, sent to),
    dtime (last detached, received from), ctime (made or changed; all UTC, missing for never), address (of a
    sem_array, msg_queue or shmid_kernel). What a type does not have is missing. `shm` tells more of segments. Mirrors
    ipc/sem.c, ipc/msg.c and ipc/shm.c (sysvipc_*_proc_show).

    >>> len(dump.ipcs)  # nobody made one
    0
    """
    if not has_ipc(kernel):
        kernel.lost("System V IPC is off in this kernel (CONFIG_SYSVIPC)")
        numbers = ("namespace", "key", "id", "uid", "gid", "cuid", "cgid", *_NUMBERS)
        return empty(
            kernel,
            "ipcs",
            **dict.fromkeys(("type", "perms"), "str"),
            **dict.fromkeys(numbers, "Int64"),
            **dict.fromkeys(_TIMES, "datetime64[ns, UTC]"),
            address="address",
        )
    parts = [(word, *ipc_objects(kernel, kind), kind[2]) for kind, word in _KINDS]
    own = [_OWN[word](kernel, structs) for word, _, structs, _ in parts]
    perm = [structs.follow(member) for _, _, structs, member in parts]
    counts = [len(structs) for _, _, structs, _ in parts]

    def common(path: str) -> Column:
        return _joined([one[path].int64 for one in perm])

    def numbers_of(name: str) -> Any:
        return nullable(_joined([_or_missing(one.get(name), n) for one, n in zip(own, counts, strict=True)]))

    def time(name: str) -> Any:
        column = _joined([_or_missing(one.get(name), n) for one, n in zip(own, counts, strict=True)])
        return pd.Series(column.where(column.true).datetime).dt.tz_localize("UTC")

    return frame(
        kernel,
        "ipcs",
        namespace=nullable(_joined([namespace for _, namespace, _, _ in parts])),
        type=lookup(np.repeat(np.arange(len(parts)), counts), [word for word, _, _, _ in parts]),
        key=nullable(common("key")),
        id=nullable(common("id")),
        perms=octal(common("mode")),
        uid=nullable(common("uid.val")),
        gid=nullable(common("gid.val")),
        cuid=nullable(common("cuid.val")),
        cgid=nullable(common("cgid.val")),
        size_bytes=numbers_of("size_bytes"),
        nsems=numbers_of("nsems"),
        messages=numbers_of("messages"),
        max_bytes=numbers_of("max_bytes"),
        attached=numbers_of("attached"),
        waiters=numbers_of("waiters"),
        cpid=numbers_of("cpid"),
        lpid=numbers_of("lpid"),
        lrpid=numbers_of("lrpid"),
        atime=time("atime"),
        dtime=time("dtime"),
        ctime=time("ctime"),
        address=addresses(kernel, np.concatenate([structs.addresses for _, _, structs, _ in parts])),
    )


def _joined(columns: list[Column]) -> Column:
    values = np.concatenate([column.values for column in columns])
    return Column.of(values, np.concatenate([column.valid for column in columns]))


def _or_missing(column: Column | None, count: int) -> Column:
    return Column.missing(count, "int") if column is None else column.int64


def _semaphores(kernel: Kernel, sets: StructArray) -> dict[str, Column]:
    owner, each = _each_semaphore(kernel, sets)
    # A set was operated on when any of its semaphores was (ipc/sem.c, get_semotime).
    operated = each["sem_otime"].int64
    latest = np.zeros(len(sets), dtype=np.int64)
    np.maximum.at(latest, owner, operated.filled(0))
    known = np.ones(len(sets), dtype=bool)
    known[owner[~operated.valid]] = False
    # Operations on one semaphore wait at it, others at the set.
    heads = [sets.follow(name).addresses for name in ("pending_alter", "pending_const")]
    heads += [each.follow(name).addresses for name in ("pending_alter", "pending_const")]
    whose = np.concatenate([np.tile(np.arange(len(sets)), 2), np.tile(owner, 2)])
    return {
        "nsems": sets["sem_nsems"].int64,
        "waiters": _lengths(kernel, heads, whose, len(sets), "the waiters of semaphores"),
        "atime": Column.of(latest, known),
        "ctime": sets["sem_ctime"].int64,
    }


def _each_semaphore(kernel: Kernel, sets: StructArray) -> tuple[I64, StructArray]:
    """Every semaphore of every set: (the set's row int64[m], struct sem of m)."""
    _, first = sets.elements("sems", 1)
    counts = kernel.budget.counts(sets["sem_nsems"].int64.filled(0), first.type.size, "semaphores")
    owner = np.repeat(np.arange(len(sets)), counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    where = first.addresses[owner] + index.astype(np.uint64) * np.uint64(first.type.size)
    return owner, StructArray(kernel, first.type, where, first.valid[owner])


def _messages(kernel: Kernel, queue: StructArray) -> dict[str, Column]:
    heads = [queue.follow(name).addresses for name in ("q_receivers", "q_senders")]
    whose = np.tile(np.arange(len(queue)), 2)
    return {
        "size_bytes": queue["q_cbytes"],
        "messages": queue["q_qnum"],
        "max_bytes": queue["q_qbytes"],
        "waiters": _lengths(kernel, heads, whose, len(queue), "the waiters of message queues"),
        "lpid": pid_numbers(queue, "q_lspid"),
        "lrpid": pid_numbers(queue, "q_lrpid"),
        "atime": queue["q_stime"],
        "dtime": queue["q_rtime"],
        "ctime": queue["q_ctime"],
    }


def _segments(_: Kernel, segment: StructArray) -> dict[str, Column]:
    return {
        "size_bytes": segment["shm_segsz"],
        "attached": segment["shm_nattch"],
        "cpid": pid_numbers(segment, "shm_cprid"),
        "lpid": pid_numbers(segment, "shm_lprid"),
        "atime": segment["shm_atim"],
        "dtime": segment["shm_dtim"],
        "ctime": segment["shm_ctim"],
    }


_OWN = {"sem": _semaphores, "msg": _messages, "shm": _segments}


def _lengths(
    kernel: Kernel, heads: list[npt.NDArray[np.uint64]], whose: I64, count: int, what: str
) -> Column:
    """How many hang on lists, added by whose they are; not known where a list is damaged."""
    with kernel.watched() as losses:
        owner, _ = list_nodes(kernel, np.concatenate(heads), what=what)
    lengths = np.bincount(whose[owner], minlength=count).astype(np.int64)
    return Column.of(lengths, np.full(count, not losses))
