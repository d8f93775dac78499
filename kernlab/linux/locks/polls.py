"""poll, select and epoll: which files are waited for.

Mirrors fs/select.c (struct poll_wqueues) and fs/eventpoll.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.files import file_names
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, members, named_on_stacks
from kernlab.walk.rbtree import rbtree_entries

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: So many files are named, and more of a set only counted.
_NAMED = 3
_MOST_PAGES = 1 << 16


def polls(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks in poll and select."""
    every = named_on_stacks(kernel, stacks, "struct poll_wqueues", "polling_task")
    names = stacks.functions()
    sleeping = [
        next(
            (name for name in names.get(row, []) if name.startswith(("do_sys_poll", "do_select", "do_poll"))),
            "",
        )
        for row in every.row.tolist()
    ]
    keep = np.array([bool(name) for name in sleeping], dtype=bool) & _may_be_table(kernel, every.at)
    every = every.pick(keep)
    kinds = ["select" if sleeping[row] == "do_select" else "poll" for row in np.flatnonzero(keep).tolist()]
    found = Found.alike(every.row, every.at, "poll", np.zeros(len(every.at), dtype=np.uint64))
    found.type[:] = kinds
    if not len(found):
        return found
    owner, files, heads, broken = _entries(kernel, every.at)
    there = kernel.arch.is_kernel(files)
    # What only looked like one waits for files that cannot be; a true one that is damaged is the only one of its task.
    odd = np.isin(np.arange(len(found)), np.concatenate([owner[~there], broken]))
    sole = ~odd | ~np.isin(found.row, found.row[~odd])
    found.say(odd, "its table of files is damaged")
    entries = members(np.where(there, owner, -1), len(found))
    first = _first_files(kernel, files, entries)
    for row, mine in enumerate(entries):
        found.name[row] = say_files([first[one] for one in mine[:_NAMED].tolist()], len(mine))
        if len(mine) == 1:
            found.object[row] = heads[mine[0]]
    return found.pick(sole)


def _first_files(kernel: Kernel, files: U64, entries: list[I64]) -> dict[int, str | None]:
    """The names of those of the struct files uint64[m] that are the first of some entries, by their rows."""
    rows = np.concatenate([mine[:_NAMED] for mine in entries])
    names = file_names(kernel, StructArray(kernel, "struct file", files[rows]))
    return dict(zip(rows.tolist(), names, strict=True))


def _may_be_table(kernel: Kernel, tables: U64) -> npt.NDArray[np.bool_]:
    """Which may be a struct poll_wqueues: its own numbers are what they can be."""
    table = StructArray(kernel, "struct poll_wqueues", tables)
    with kernel.quiet():
        page, index = table["table"].filled(1).astype(np.uint64), table["inline_index"].int64.filled(-1)
        triggered = table["triggered"].int64.filled(-1)
    most = len(table.elements("inline_entries")[0]) // max(len(table), 1)
    whole = (page % np.uint64(kernel.page_size) == 0) & ((page == 0) | kernel.arch.is_kernel(page))
    may: npt.NDArray[np.bool_] = whole & (index >= 0) & (index <= most) & np.isin(triggered, (0, 1))
    return may


def say_files(names: list[str | None], count: int) -> str:
    """The first of some files and how many more: `pipe:[12], /dev/tty1 and 3 more`."""
    if not count:
        return "no file"
    shown = [name for name in names if name][:_NAMED]
    more = count - len(shown)
    if not shown:
        return f"{count:,} file{'' if count == 1 else 's'}"
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _entries(kernel: Kernel, tables: U64) -> tuple[I64, U64, U64, I64]:
    """The entries of each poll_wqueues: (owner int64[m], the struct file, the wait queue, uint64[m] each).

    Last come the tables whose pages lead to what can be none.
    """
    table = StructArray(kernel, "struct poll_wqueues", tables)
    owner, inline = table.elements("inline_entries")
    used = table["inline_index"].int64.clip(0).filled(0)
    most = len(inline) // max(len(table), 1)
    number = np.tile(np.arange(most), len(table))
    keep = number < used[owner]
    owners, starts = [owner[keep]], [inline.addresses[keep]]
    size = kernel.find_type("struct poll_table_entry").size
    first = member_offset(kernel, "struct poll_table_page", "entries") or 0
    page, row = table["table"].filled(0).astype(np.uint64), np.arange(len(table))
    broken = []
    for _ in range(_MOST_PAGES):
        going = kernel.arch.is_kernel(page) & (page % np.uint64(kernel.page_size) == 0)
        broken.append(row[~going & (page != 0)])
        page, row = page[going], row[going]
        if not len(page):
            break
        struct = StructArray(kernel, "struct poll_table_page", page)
        begin = page + np.uint64(first)
        count = ((struct["entry"].filled(0).astype(np.uint64) - begin) // np.uint64(size)).astype(np.int64)
        count = np.where((count >= 0) & (count <= kernel.page_size // size), count, 0)
        of = np.repeat(np.arange(len(page)), count)
        step = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        owners.append(row[of])
        starts.append(begin[of] + (step * size).astype(np.uint64))
        page = struct["next"].filled(0).astype(np.uint64)
    entry = StructArray(kernel, "struct poll_table_entry", np.concatenate(starts))
    return (
        np.concatenate(owners),
        entry["filp"].filled(0).astype(np.uint64),
        entry["wait_address"].filled(0).astype(np.uint64),
        np.concatenate(broken),
    )


def name_epolls(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Of who waits on an epoll's queue: the eventpoll, and how many files it watches."""
    offset = member_offset(kernel, "struct eventpoll", "wq")
    rows = np.flatnonzero((found.type == "epoll") & (found.object != 0))
    if offset is None or not len(rows):
        return
    found.object[rows] -= np.uint64(offset)
    unique, of = np.unique(found.object[rows], return_inverse=True)
    root = member_offset(kernel, "struct eventpoll", "rbr.rb_root") or 0
    owner, item = rbtree_entries(
        kernel, unique + np.uint64(root), "struct epitem", "rbn", what="the files of epolls"
    )
    files = item["ffd.file"].filled(0).astype(np.uint64)
    items = members(owner, len(unique))
    first = _first_files(kernel, files, items)
    for row, one in zip(rows.tolist(), of.tolist(), strict=True):
        mine = items[one]
        found.name[row] = say_files([first[at] for at in mine[:_NAMED].tolist()], len(mine))
