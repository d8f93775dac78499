"""Who allocated each page, where the kernel notes it (page_owner=on)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, empty, frame, lookup, nullable, table
from kernlab.linux.allocations.depot import kept_stacks
from kernlab.linux.allocations.page_owner import owned, why_none


@table(rows="struct page")
def page_owner(kernel: Kernel) -> pd.DataFrame:
    """One row per allocation of pages, by frame; empty where the kernel does not note it, and `problems` says why.

    Columns: pfn (of its first frame), order, size_bytes, gfp_mask (as a number), pid, tgid, comm (of who allocated it,
    at that time; missing before Linux 5.19, as tgid), when (timedelta on the log's clock), stack (frames as the kernel
    prints them, the innermost first, " < " between), migrated (why it was moved last: "MR_COMPACTION"; missing for
    never), free_stack, free_pid, free_when (of the last time that these frames were freed before; missing for never,
    the pid before Linux 6.8), address (of the first struct page). Mirrors mm/page_owner.c.

    >>> len(dump.page_owner), dump.page_owner.attrs["problems"][-1]
    (0, 'page_owner is off in this kernel (CONFIG_PAGE_OWNER)')
    """
    if why := why_none(kernel):
        kernel.lost(why)
        side = {"free_stack": "str", "free_pid": "Int64", "free_when": "timedelta64[ns]"}
        return empty(
            kernel,
            "page_owner",
            pfn="int64",
            **dict.fromkeys(("order", "size_bytes", "gfp_mask", "pid", "tgid"), "Int64"),
            comm="str",
            when="timedelta64[ns]",
            stack="str",
            migrated="str",
            **side,
            address="struct page",
        )
    found = owned(kernel)
    note = found.owner.prefetch(*_MEMBERS)
    order = note["order"].int64
    stack = kept_stacks(kernel, note["handle"])
    # Linux commit 8974558f49a6 ("mm, page_owner, debug_pagealloc: save and dump freeing stack trace") (in v5.4).
    before = kept_stacks(kernel, note["free_handle"])
    freed = before.code >= 0
    page = np.uint64(kernel.vmemmap) + found.pfn.astype(np.uint64) * np.uint64(
        kernel.find_type("struct page").size
    )
    return frame(
        kernel,
        "page_owner",
        pfn=found.pfn,
        order=nullable(order),
        size_bytes=nullable(
            Column.of(np.int64(kernel.page_size) << np.minimum(order.filled(0), 40), order.valid)
        ),
        gfp_mask=nullable(note["gfp_mask"].int64),
        pid=nullable(_number(note, "pid")),
        tgid=nullable(_number(note, "tgid")),
        comm=note["comm"] if note.has("comm") else Column.missing(len(note)),
        when=_number(note, "ts_nsec").timedelta,
        stack=lookup(stack.code, stack.text),
        migrated=_reason(note),
        free_stack=lookup(before.code, before.text),
        free_pid=nullable(_number(note, "free_pid").where(freed)),
        free_when=_number(note, "free_ts_nsec").where(freed).timedelta,
        address=addresses(kernel, page, target="struct page"),
    )


_MEMBERS = (
    *("order", "last_migrate_reason", "gfp_mask", "handle", "free_handle", "ts_nsec", "free_ts_nsec"),
    *("comm", "pid", "tgid", "free_pid"),
)


def _number(note: StructArray, member: str) -> Column:
    """A member that not every kernel has."""
    return note[member].int64 if note.has(member) else Column.missing(len(note), "int")


def _reason(note: StructArray) -> Any:
    """Why pages were moved (enum migrate_reason), by the enumerators' names; -1 for those that never were."""
    kind = note.kernel.type_or_none("enum migrate_reason")
    reason = note["last_migrate_reason"].int64
    names = {number: name for name, number in getattr(kind, "enumerators", {}).items()}
    unique, code = np.unique(np.where(reason.valid, reason.values, -1), return_inverse=True)
    texts = [names.get(number, str(number)) for number in unique.tolist()]
    return lookup(np.where(unique[code] < 0, -1, code), texts)
