"""zram, disks in compressed memory: which there are, and the pages that they hold."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.formats.swap_codecs import decompress
from kernlab.linux.zsmalloc import ZsPool
from kernlab.util.integers import widened
from kernlab.walk.strings import c_strings
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class ZramDisk:
    """One zram disk, by its `struct zram`: reads pages that were written to it."""

    def __init__(self, kernel: Kernel, zram: StructArray):
        self.kernel, self._zram = kernel, zram
        self.gendisk = int(zram["disk"].filled(0)[0])
        self.problems: list[str] = []
        name = zram["disk->disk_name"]
        self.name = str(name.values[0]) if name.valid[0] else "a zram disk"

    @cached_property
    def algorithms(self) -> list[str]:
        """What compresses pages, by the priority that each page names; '' where there is none."""
        kernel = self.kernel
        # Linux commit 001d92735701 ("zram: add recompression algorithm sysfs knob") (in v6.2): several, by priority.
        for path in ("comp_algs", "comps"):
            if self._zram.has(path):
                pointers = self._zram[path].values[0].astype(np.uint64)
                if path == "comps":
                    pointers = StructArray(kernel, "struct zcomp", pointers)["name"].filled(0)
                return [name or "" for name in c_strings(kernel, pointers).tolist()]
        return [str(self._zram["compressor"].values[0])]

    @cached_property
    def _pool(self) -> ZsPool:
        return ZsPool(self.kernel, int(self._zram["mem_pool"].filled(0)[0]))

    def _flags(self) -> dict[str, int]:
        """Bits of a page's flags by name; those below the lowest are its compressed size."""
        kind = self.kernel.find_type("enum zram_pageflags")
        return dict(getattr(kind, "enumerators", {}))

    def read(self, pages: U64) -> tuple[U8, Mask]:
        """Pages by number uint64[n]: (uint8[n, page size], bool[n] of those that could be read)."""
        kernel = self.kernel
        rows = np.zeros((len(pages), kernel.page_size), dtype=np.uint8)
        known = np.zeros(len(pages), dtype=bool)
        try:
            self._read(pages, rows, known)
        except KernlabError as error:
            self._say(f"{self.name}: {error}")
        return rows, known

    def _say(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)

    def _read(self, pages: U64, rows: U8, known: Mask) -> None:
        kernel = self.kernel
        size = self._zram["disksize"].int64.filled(0)[0] // kernel.page_size
        table = self._zram["table"].filled(0)[0]
        kind = kernel.find_type("struct zram_table_entry")
        inside = (pages < np.uint64(max(int(size), 0))) & (table != 0)
        entry = StructArray(kernel, kind, np.uint64(table) + pages * np.uint64(kind.size), inside)
        handle = entry.first("handle", "element")
        # In 6.17 the flags became a struct beside the entry's lock.
        flags = entry.first("attr.flags", "flags", "value")
        bits = self._flags()
        if not bits:
            raise KernlabError(
                "what the flags of its pages mean is not known: enum zram_pageflags is not in the types"
            )
        shift = min(value for name, value in bits.items() if not name.startswith("__"))
        word = widened(flags.filled(0)).astype(np.uint64)
        length = (word & np.uint64((1 << shift) - 1)).astype(np.int64)
        # Linux 6.14 has no flag for a page of zeros: it is filled with the word 0, as before where nothing is stored.
        same = handle.valid & flags.valid & (self._is(word, bits, "ZRAM_SAME") | (handle.values == 0))
        rows[same] = np.frombuffer(
            np.ascontiguousarray(handle.values[same].astype("<u8")).tobytes(), dtype=np.uint8
        ).reshape(-1, 8)[:, np.tile(np.arange(8), kernel.page_size // 8)]
        known[same] = True
        away = self._is(word, bits, "ZRAM_WB") & flags.valid
        if away.any():
            self._say(f"{self.name}: {int(away.sum()):,} pages were written back to its backing device")
        left = np.flatnonzero(handle.valid & flags.valid & ~same & ~away)
        if not len(left):
            return
        data, here = self._pool.read(handle.values[left].astype(np.uint64), length[left])
        lost = len(left) - int(here.sum())
        if lost:
            self._say(f"{self.name}: the compressed bytes of {lost:,} pages are not in the dump")
        which = self._priority(word[left], bits)
        raw = self._is(word[left], bits, "ZRAM_HUGE") | (length[left] == kernel.page_size)
        for at, row in enumerate(left.tolist()):
            if not here[at]:
                continue
            if raw[at]:
                rows[row], known[row] = data[at], True
                continue
            algorithm = self.algorithms[which[at]] if which[at] < len(self.algorithms) else ""
            page, why = decompress(algorithm, data[at, : length[row]].tobytes(), kernel.page_size)
            if page is None:
                self._say(f"{self.name}: {why}")
            else:
                rows[row], known[row] = np.frombuffer(page, dtype=np.uint8), True

    def _is(self, word: U64, bits: dict[str, int], name: str) -> Mask:
        number = bits.get(name)
        if number is None or not 0 <= number < 64:
            return np.zeros(len(word), dtype=bool)
        found: Mask = (word >> np.uint64(number) & np.uint64(1)) != 0
        return found

    def _priority(self, word: U64, bits: dict[str, int]) -> I64:
        """Which of the algorithms compressed each page."""
        low, high = (self._is(word, bits, f"ZRAM_COMP_PRIORITY_BIT{number}") for number in (1, 2))
        return low.astype(np.int64) + 2 * high.astype(np.int64)


def zram_disks(kernel: Kernel) -> list[ZramDisk]:
    """The zram disks of a kernel (drivers/block/zram/zram_drv.c, zram_index_idr); [] without the module.

    Raises KernlabError where there are some that cannot be read.
    """
    kernel.with_modules()
    head = kernel.symbols.get("zram_index_idr")
    if head is None:
        return []
    if kernel.type_anywhere("struct zram") is None:
        raise KernlabError(
            "what lies on zram is not known: the dump has no types of its module (BTF of modules came in Linux 5.11)"
        )
    _, _, entries = idr_entries(kernel, [head], what="the idr of zram disks")
    zram = StructArray(kernel, "struct zram", entries)
    return [ZramDisk(kernel, zram[row : row + 1]) for row in range(len(zram))]
