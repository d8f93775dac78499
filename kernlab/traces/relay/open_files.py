"""All open files of all processes: the tasks' file tables in, the `struct file`s out, each once."""

from __future__ import annotations

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.tasks import find_tasks

#: Descriptors that a process may have at most unless the machine's owner says otherwise (fs/file.c, sysctl_nr_open).
_MOST_DESCRIPTORS = 1024 * 1024


def open_files(kernel: Kernel) -> StructArray:
    """Every `struct file` in a process's file table (include/linux/fdtable.h), ascending, each once."""
    tables = find_tasks(kernel)["files"]
    addresses = np.unique(tables.values[tables.true])
    table = StructArray(kernel, "struct files_struct", addresses).follow("fdt")
    count, first = table["max_fds"], table["fd"]
    usable = (count <= _most_descriptors(kernel)).true & first.true
    counts = kernel.budget.counts(count.int64.where(usable).filled(0), 8, "descriptors of open files")
    if not usable.all():
        kernel.lost("relay: the open files of some processes are not known: their tables are damaged")
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    files, read = kernel.words(
        first.values[owner] + number.astype(np.uint64) * np.uint64(8), what="pointers to open files"
    )
    return StructArray(kernel, "struct file", np.unique(files[read & (files != 0)]))


def _most_descriptors(kernel: Kernel) -> int:
    """No table of open files has more: fs/file.c, expand_files()."""
    where = kernel.find_symbol("sysctl_nr_open")
    (setting,), (read,) = kernel.words([where or 0], 4, "")
    # A table made before the setting was lowered stays as large as it was, so the default counts too.
    return max(int(setting) if read else 0, _MOST_DESCRIPTORS)
