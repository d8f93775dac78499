"""Open files: the descriptors of all processes, as /proc/PID/fd and /proc/PID/fdinfo show them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, lookup, nullable, table
from kernlab.linux import open_files
from kernlab.linux.descriptors import descriptors
from kernlab.linux.file_details import details
from kernlab.linux.paths import paths, root_of_init
from kernlab.linux.super_blocks import device_numbers


@table(rows="struct file")
def files(kernel: Kernel) -> pd.DataFrame:
    """One row per open descriptor of each process, by process and number.

    Columns: pid (of the process), comm (of its leader), fd, mode ("r", "w", "rw"; '' where it was opened with O_PATH),
    flags (octal digits, as fdinfo has them), close_on_exec, position_bytes, kind (file, dir, socket, pipe, chr, blk;
    link for a symbolic link itself; anon for what is no file: event counters, epoll, namespaces, pidfds …), path (as
    readlink /proc/PID/fd/N gives it to pid 1), dev ("major:minor" of its file system), inode, size_bytes (of a file,
    folder or block device), fstype, mount_id, detail, task (the thread whose table has it: the leader, but for
    threads that share no files with it, of which /proc/PID/fd knows nothing), address.

    detail says of an eventfd its count, of an epoll the descriptors that it watches, of a timerfd its clock and ticks,
    of a signalfd its mask, of an inotify its watches, of a pidfd the process, of a pipe what is in it, as fdinfo does.
    Mirrors fs/proc/fd.c and fs/d_path.c.

    >>> dump.files.query("kind == 'file' and pid > 1")[["pid", "comm", "fd", "mode", "position_bytes", "path"]].head(2)
        pid    comm  fd mode  position_bytes      path
    9   115  app<0>   3    r               0  /busybox
    33  116  app<1>   3    r               0  /busybox
    """
    found = descriptors(kernel)
    # A file that many have is read once, and so are the texts of each made.
    unique, of = np.unique(found.file.addresses, return_inverse=True)
    file = StructArray(kernel, found.file.type, unique).prefetch(
        "f_mode", "f_flags", "f_pos", "f_path", "f_inode", "f_op", "private_data"
    )
    inode = file.follow("f_inode").prefetch("i_mode", "i_ino", "i_size", "i_sb")
    fstype = open_files.file_systems(kernel, inode)
    kind = open_files.kinds(inode, fstype)
    tasks, task_of = np.unique(found.task, return_inverse=True)
    return frame(
        kernel,
        "files",
        pid=nullable(found.pid),
        comm=_shared(StructArray(kernel, "struct task_struct", tasks)["group_leader->comm"].text, task_of),
        fd=found.fd,
        mode=_shared(open_files.modes(file), of),
        flags=lookup(*open_files.flags(file["f_flags"][of], found.close_on_exec)),
        close_on_exec=found.close_on_exec,
        position_bytes=nullable(file["f_pos"][of]),
        kind=_shared(kind, of),
        path=_shared(paths(kernel, file.follow("f_path"), root_of_init(kernel)), of),
        dev=_shared(device_numbers(inode["i_sb->s_dev"]), of),
        inode=nullable(inode["i_ino"][of]),
        size_bytes=nullable(open_files.sizes(file, inode, kind)[of]),
        fstype=_shared(fstype, of),
        mount_id=nullable(open_files.mount_ids(kernel, file)[of]),
        detail=_shared(details(kernel, file, inode), of),
        task=StructArray(kernel, "struct task_struct", found.task),
        address=found.file,
    )


def _shared(text: Column, of: npt.NDArray[np.intp]) -> Any:
    """The text of each row, of those that are known of fewer."""
    return lookup(np.where(text.valid[of], of, -1), text.values.tolist())
