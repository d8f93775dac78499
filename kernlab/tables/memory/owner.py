"""Addresses in, what lies there and whose it is out: symbol, slab object, thread's stack, area of vmalloc, page."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses as address_column
from kernlab.dataframes import frame, table
from kernlab.linux.block.dma import dma_suspects
from kernlab.linux.slab_pages import ALLOCATED, UNKNOWN
from kernlab.linux.whatis.answers import Answers
from kernlab.linux.whatis.engine import what_lies_at


@table
def owner(kernel: Kernel, addresses: Any) -> pd.DataFrame | pd.Series[Any]:
    """What lies at each of many kernel addresses, one row each in their order; for one address its row, a Series.

    `addresses`: an integer, a struct, a symbol's name, hexadecimal text, or a list, array or column of them. kind says
    what is there: "symbol", "slab object", "kernel stack", "percpu", "page struct", an area of "vmalloc" or "vmap",
    else the page's kind as in `pages` ("anon", "file", "page table", …), "user address", "not mapped". name: the
    symbol, the slab cache, the thread ("comm (pid)"), the area's caller, the file's path. holder: whose it is, as
    people say it: the thread or process that a stack, a task_struct, mm_struct, VMA or anonymous page belongs to
    ("comm (pid)"), the path of the file behind a struct file, dentry, inode or page, the module; else what name has.
    start, size_bytes: of the whole symbol, object, stack or area; offset: of the address in it; allocated: of slab
    objects, as in `slab_objects`; type: where it is known; dma_suspect: why a device may still have written there after
    the crash, as in `pages`, missing where none may. All are missing where the address is.
    An address in the direct map is told by what its frame is used for, be it mapped elsewhere too.

    >>> dump.owner("init_task")["kind"]
    'symbol'
    >>> dump.owner(dump.tasks.address.head(2))[["kind", "holder", "type"]]
              kind         holder                type
    0  slab object  swapper/1 (0)  struct task_struct
    1       symbol  swapper/0 (0)  struct task_struct
    """
    given = kernel.addresses(addresses)
    answers = what_lies_at(kernel, given.values)
    columns = owner_columns(answers, given.values, ~given.missing)
    result = frame(kernel, "owner", **columns)
    if not given.single:
        return result
    row = result.iloc[0]
    row.name = f"{int(given.values[0]):#018x}"
    row.attrs.update(result.attrs)
    return row


def _suspected(kernel: Kernel, addresses: npt.NDArray[np.uint64], valid: npt.NDArray[np.bool_]) -> Column:
    """Why a device may have written to the page of each address after the crash."""
    found = np.full(len(addresses), None, dtype=object)
    rows = np.flatnonzero(valid & kernel.arch.is_kernel(addresses))
    # Where nothing is asked, disks and devices need not be read.
    if len(rows) and len((suspects := dma_suspects(kernel)).frame):
        physical, status = kernel.memory.translate(addresses[rows])
        known = status == 0
        found[rows[known]] = suspects.at((physical[known] // np.uint64(kernel.page_size)).astype(np.int64))
    return Column.texts(found.tolist())


def owner_columns(
    answers: Answers, addresses: npt.NDArray[np.uint64], valid: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """The columns of `owner` for answers to addresses uint64[n], missing where not `valid`."""
    kernel, state, size = answers.kernel, answers.state, answers.size
    has_start = (answers.start != 0) & valid

    def texts(values: npt.NDArray[np.object_]) -> Any:
        shown = np.full(len(values), None, dtype=object)
        shown[valid & (values != "")] = values[valid & (values != "")]
        return pd.array(shown, dtype="str")

    return {
        "address": address_column(kernel, addresses, valid),
        "kind": texts(answers.kind),
        "name": texts(answers.name),
        "holder": texts(answers.holder),
        "start": address_column(kernel, answers.start, has_start),
        "size_bytes": pd.arrays.IntegerArray(np.maximum(size, 0), (size < 0) | ~valid),
        "offset": pd.arrays.IntegerArray(answers.offset, ~has_start),
        "allocated": pd.arrays.BooleanArray(state == ALLOCATED, (state >= UNKNOWN) | ~valid),
        "type": texts(answers.type),
        "dma_suspect": _suspected(kernel, addresses, valid),
    }
