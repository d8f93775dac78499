"""Locks on files and who waits for them, as /proc/locks shows them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux import file_locks as locks
from kernlab.linux.descriptors import descriptors
from kernlab.linux.paths import paths, root_of_init
from kernlab.linux.super_blocks import device_numbers
from kernlab.linux.tasks import find_tasks

Mask = npt.NDArray[np.bool_]

# include/linux/filelock.h (fs.h before Linux 6.3) and include/uapi/asm-generic/fcntl.h; macros.
_POSIX, _FLOCK, _DELEG, _ACCESS, _LEASE, _OFD, _LAYOUT = 1, 2, 4, 8, 32, 1024, 2048
_DOWNGRADES, _UNLOCKS = 256, 512
_TYPES = ("READ", "WRITE", "UNLCK")
#: Where a lock reaches to the end, however far that will be (OFFSET_MAX).
_TO_THE_END = (1 << 63) - 1


@table(rows="struct file_lock")
def file_locks(kernel: Kernel) -> pd.DataFrame:
    """One row per lock on a file, and behind each those that wait for it, in the order of /proc/locks.

    Columns: number (the first of /proc/locks: who waits has that of the held one), level (0 for a lock that is held;
    who waits for that has 1, who waits for who waits 2), kind (POSIX, OFDLCK of an open file, FLOCK, LEASE, DELEG,
    ACCESS), state (ADVISORY; of a lease ACTIVE, or BREAKING while another wants the file), type (READ, WRITE, UNLCK),
    pid (whose it is; of OFDLCK, of which /proc/locks says -1, a process that has the file open), comm, dev
    ("major:minor"), inode, start_byte, end_byte (the last; missing where it reaches to the end), path, waits_for (the
    address of the lock, missing where it is held), waits_for_pid, file, address. Mirrors fs/locks.c (lock_get_status).

    >>> dump.file_locks[["number", "kind", "type", "pid", "path"]]
    Empty DataFrame
    Columns: [number, kind, type, pid, path]
    Index: []
    """
    if not locks.has_file_locks(kernel):
        return empty(
            kernel,
            "file_locks",
            **dict.fromkeys(("number", "level"), "int64"),
            **dict.fromkeys(("kind", "state", "type"), "str"),
            pid="Int64",
            **dict.fromkeys(("comm", "dev"), "str"),
            inode="UInt64",
            **dict.fromkeys(("start_byte", "end_byte"), "Int64"),
            path="str",
            waits_for="address",
            waits_for_pid="Int64",
            file="struct file",
            address="struct file_lock",
        )
    found = locks.file_locks(kernel)
    core = found.core
    flags = core[found.path("flags")].int64
    lock = core if found.prefix == "fl_" else core.container("struct file_lock", "c")
    posix = flags.has(_POSIX).true
    file = core.follow(found.path("file"))
    inode = file.follow("f_inode")
    pid = _pids(kernel, found, flags)
    start, end = lock[posix]["fl_start"].int64, lock[posix]["fl_end"].int64
    first, last = (
        Column.of(np.zeros(len(found), dtype=np.int64), flags.valid),
        Column.missing(len(found), "int"),
    )
    waits = found.holder >= 0
    above = np.where(waits, found.holder, 0)
    return frame(
        kernel,
        "file_locks",
        number=found.number,
        level=found.level,
        kind=_kinds(flags),
        state=_states(flags, file),
        type=_types(core[found.path("type")], flags),
        pid=nullable(pid),
        comm=_names(kernel, pid),
        dev=device_numbers(inode["i_sb->s_dev"]),
        inode=nullable(inode["i_ino"]),
        start_byte=nullable(_put(first, posix, start)),
        end_byte=nullable(_put(last, posix, end.where((end != _TO_THE_END).true))),
        path=paths(kernel, file.follow("f_path"), root_of_init(kernel)),
        waits_for=StructArray(kernel, core.type, core.addresses[above], waits) if len(found) else core,
        waits_for_pid=nullable(pid[above].where(waits) if len(found) else pid),
        file=file,
        address=lock,
    )


def _put(column: Column, rows: Mask, values: Column) -> Column:
    """The column with other values in some rows."""
    new, valid = column.values.copy(), column.valid.copy()
    new[rows], valid[rows] = values.values, values.valid
    return Column.of(new, valid)


def _kinds(flags: Column) -> Column:
    bits = flags.filled(0)
    kinds = np.select(
        [
            (bits & _POSIX != 0) & (bits & _ACCESS != 0),
            (bits & _POSIX != 0) & (bits & _OFD != 0),
            bits & _POSIX != 0,
            bits & _FLOCK != 0,
            bits & _DELEG != 0,
            bits & (_LEASE | _LAYOUT) != 0,
        ],
        ["ACCESS", "OFDLCK", "POSIX", "FLOCK", "DELEG", "LEASE"],
        "UNKNOWN",
    ).astype(object)
    return Column.of(kinds, flags.valid)


def _states(flags: Column, file: StructArray) -> Column:
    bits = flags.filled(0)
    lease = (bits & (_LEASE | _DELEG | _LAYOUT) != 0) & (bits & (_POSIX | _FLOCK) == 0)
    breaking = lease & (bits & (_UNLOCKS | _DOWNGRADES) != 0)
    states = np.select([breaking, lease & file.valid, lease], ["BREAKING", "ACTIVE", "BREAKER"], "ADVISORY")
    return Column.of(states.astype(object), flags.valid)


def _types(kind: Column, flags: Column) -> Column:
    """READ, WRITE or UNLCK; of a lease that is being broken what it becomes (target_leasetype)."""
    number = kind.filled(0).astype(np.int64)
    bits = np.where(flags.filled(0) & (_LEASE | _DELEG | _LAYOUT) != 0, flags.filled(0), 0)
    number = np.where(bits & _UNLOCKS != 0, 2, np.where(bits & _DOWNGRADES != 0, 0, number))
    names = np.array(_TYPES, dtype=object)[np.clip(number, 0, 2)]
    return Column.of(names, kind.valid & flags.valid)


def _pids(kernel: Kernel, found: locks.FileLocks, flags: Column) -> Column:
    """Whose each is: by its number, of an open file's who has that open."""
    pid = found.core[found.path("pid")].int64
    # Read as signed: a lock of another machine has none of ours (fs/locks.c, locks_translate_pid).
    values = pid.values.astype(np.uint32).astype(np.int32).astype(np.int64)
    of_file = (flags.filled(0) & _OFD != 0) & (flags.filled(0) & _POSIX != 0)
    pid = Column.of(values, pid.valid & ~of_file & (values > 0))
    if not of_file.any():
        return pid
    opened = descriptors(kernel)
    file = found.core[found.path("file")]
    order = np.argsort(opened.file.addresses, kind="stable")
    place = np.searchsorted(opened.file.addresses[order], file.values[of_file]).clip(
        max=max(len(order) - 1, 0)
    )
    if not len(order):
        return pid
    row = order[place]
    same = file.valid[of_file] & (opened.file.addresses[row] == file.values[of_file])
    return _put(pid, of_file, opened.pid[row].int64.where(same))


def _names(kernel: Kernel, pid: Column) -> Column:
    """The names of processes; missing for those that have ended."""
    task = find_tasks(kernel)
    number = task["pid"]
    order = np.argsort(number.filled(-1), kind="stable")
    known = number.filled(-1)[order].astype(np.int64)
    place = np.searchsorted(known, pid.filled(-1)).clip(max=len(known) - 1)
    same: Mask = pid.valid & (known[place] == pid.values)
    name: Column = task[order[place]]["comm"].text
    return name.where(same)
