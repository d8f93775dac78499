"""The ORC tables of the kernel and of its modules, as they lie in memory (arch/x86/kernel/unwind_orc.c)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.orc import ENTRY, OrcPart, OrcTable
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.linux import kernel_modules

U8 = npt.NDArray[np.uint8]
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
    count = max(stop - start, 0) // _IP
    own = _read(kernel, start, entries, kernel.budget.count(count, _IP + ENTRY, "entries of the ORC table"))
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
    names = module["name"].tolist()
    for row in np.flatnonzero(counts).tolist():
        # The table is part of the module.
        room = sum(end - start for start, end in ranges.get(names[row], ())) // (_IP + ENTRY)
        if counts[row] > room:
            kernel.lost(
                f"the ORC table of module {names[row]} claims {counts[row]:,} entries, of which {room:,} fit into it"
            )
        part = _read(kernel, int(ip.values[row]), int(entries.values[row]), min(int(counts[row]), room))
        # What it was initialised with is gone, and another's code may lie there.
        for start, end in ranges.get(names[row], ()):
            inside = part.there & (part.ip >= np.uint64(start)) & (part.ip < np.uint64(end))
            if inside.any():
                # A gap goes along: what lies before it may end there.
                kept = inside | ~part.there
                yield OrcPart(part.ip[kept], part.entries[kept], part.there[kept], end)


def _read(kernel: Kernel, start: int, entries: int, count: int) -> OrcPart:
    """One table, with what of it could be read."""
    distance, known = _array(kernel, start, count, _IP, "addresses of ORC tables")
    rows, there = _array(kernel, entries, count, ENTRY, "entries of ORC tables")
    where = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(_IP)
    ip = where + distance.view("<i4")[:, 0].astype(np.int64).view(np.uint64)
    # The last one only marks the end.
    end = int(ip[known].max()) if known.any() else 0
    return OrcPart(ip, rows, known & there, end)


def _array(kernel: Kernel, start: int, count: int, size: int, what: str) -> tuple[U8, Mask]:
    """`count` things of `size` bytes that lie one behind the other, and which could be read."""
    try:
        data, there = kernel.memory.read_partial(start, count * size)
    except KernlabError as error:
        kernel.lost(f"{what} cannot be read: {error}")
        return np.zeros((count, size), dtype=np.uint8), np.zeros(count, dtype=bool)
    known: Mask = np.asarray(there.reshape(count, size).all(axis=1))
    if not known.all():
        lost = np.uint64(start) + np.flatnonzero(~known).astype(np.uint64) * np.uint64(size)
        # Read again, one of each page, to say why.
        _, first = np.unique(lost // np.uint64(kernel.page_size), return_index=True)
        kernel.gather(lost[first], size, what)
    return data.reshape(count, size), known
