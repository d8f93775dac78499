"""The ORC tables of the kernel and of its modules, as they lie in memory (arch/x86/kernel/unwind_orc.c)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.orc import ENTRY, OrcPart, OrcTable
from kernlab.debuginfo.types import StructType
from kernlab.linux import kernel_modules

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: Bytes of an address: it is kept as its distance from where that stands.
_IP = 4


@fact
def orc_tables(kernel: Kernel) -> OrcTable | None:
    """All of them in one; None in a kernel that has none (CONFIG_UNWINDER_ORC is off).

    Entries that the dump lacks are told: of the code there nothing is known.
    """
    kind = kernel.type_or_none("struct orc_entry")
    start, stop = (kernel.find_symbol(f"__{end}_orc_unwind_ip") for end in ("start", "stop"))
    entries = kernel.find_symbol("__start_orc_unwind")
    if not isinstance(kind, StructType) or start is None or stop is None or entries is None:
        return None
    count = kernel.budget.count(max(stop - start, 0) // _IP, _IP + ENTRY, "entries of the ORC table")
    (own,) = _read(
        kernel, np.array([start], dtype=np.uint64), np.array([entries], dtype=np.uint64), np.array([count])
    )
    return OrcTable([own, *_of_modules(kernel)], kind)


def _of_modules(kernel: Kernel) -> Iterator[OrcPart]:
    """The table of each module, as far as it tells of memory that is still the module's."""
    if not kernel_modules.has_modules(kernel):
        return
    module = kernel_modules.loaded(kernel)
    if not module.has("arch.num_orcs"):
        return
    arch = module.follow("arch")
    count, ip, entries = arch["num_orcs"], arch["orc_unwind_ip"], arch["orc_unwind"]
    usable = (count > 0).true & ip.true & entries.true
    counts = kernel.budget.counts(count.int64.where(usable).filled(0), _IP + ENTRY, "entries of ORC tables")
    ranges: dict[str, list[tuple[int, int]]] = {}
    for start, end, name in zip(*kernel_modules.module_ranges(kernel), strict=True):
        ranges.setdefault(name, []).append((int(start), int(end)))
    rows = np.flatnonzero(counts)
    names, counts = module["name"][rows].tolist(), counts[rows]
    # The table is part of the module.
    room = [sum(end - start for start, end in ranges.get(name, ())) // (_IP + ENTRY) for name in names]
    for at in np.flatnonzero(counts > np.array(room, dtype=np.int64)).tolist():
        kernel.lost(
            f"the ORC table of module {names[at]} claims {counts[at]:,} entries, of which {room[at]:,} fit into it"
        )
        counts[at] = room[at]
    for name, part in zip(names, _read(kernel, ip.values[rows], entries.values[rows], counts), strict=True):
        # What it was initialised with is gone, and another's code may lie there.
        for start, end in ranges.get(name, ()):
            inside = part.there & (part.ip >= np.uint64(start)) & (part.ip < np.uint64(end))
            if inside.any():
                # A gap goes along: what lies before it may end there.
                kept = inside | ~part.there
                yield OrcPart(part.ip[kept], part.entries[kept], part.there[kept], end)


def _read(kernel: Kernel, start: U64, entries: U64, count: I64) -> Iterator[OrcPart]:
    """M tables, of whose addresses and entries uint64[m] say where they begin, with what of them could be read."""
    distance, known = _arrays(kernel, start, count, _IP, "addresses of ORC tables")
    rows, there = _arrays(kernel, entries, count, ENTRY, "entries of ORC tables")
    ip = _items(start, count, _IP) + distance.view("<i4")[:, 0].astype(np.int64).view(np.uint64)
    there &= known
    for first, last in itertools.pairwise([0, *np.cumsum(count).tolist()]):
        read = ip[first:last][known[first:last]]
        # The last one only marks the end.
        end = int(read.max()) if len(read) else 0
        yield OrcPart(ip[first:last], rows[first:last], there[first:last], end)


def _items(start: U64, count: I64, size: int) -> U64:
    """The addresses of all things of `size` bytes in arrays of `count` int64[m] that begin at uint64[m]."""
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(start, count) + number.astype(np.uint64) * np.uint64(size)


def _arrays(kernel: Kernel, start: U64, count: I64, size: int, what: str) -> tuple[U8, Mask]:
    """All things of `size` bytes in such arrays, one array behind the other, and which of them could be read."""
    page = kernel.page_size
    first = start & ~np.uint64(page - 1)
    before = (start - first).astype(np.int64)
    pages = (before + count * size + page - 1) // page
    data, status = kernel.gather(_items(first, pages, page), page, what="")
    place = _items(((np.cumsum(pages) - pages) * page + before).astype(np.uint64), count, size).astype(
        np.int64
    )
    read = status == 0
    known: Mask = read[place // page] & read[(place + size - 1) // page]
    if not known.all():
        lost = _items(start, count, size)[~known]
        # Read again, one of each page, to say why.
        _, once = np.unique(lost // np.uint64(page), return_index=True)
        kernel.gather(lost[once], size, what)
    return data.reshape(-1)[place[:, None] + np.arange(size)], known
