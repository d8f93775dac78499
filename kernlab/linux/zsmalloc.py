"""zsmalloc, the allocator of compressed pages: handles in, the bytes of the objects out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType, Type
from kernlab.errors import KernlabError
from kernlab.linux.frames import read_frames

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# mm/zsmalloc.c: ZSPAGE_MAGIC, OBJ_ALLOCATED_TAG, ZS_HANDLE_SIZE
_MAGIC, _ALLOCATED, _HANDLE = 0x58, np.uint64(1), 8
#: _PFN_BITS: what MAX_POSSIBLE_PHYSMEM_BITS leaves with pages of 4 KiB, as page tables may have five levels or not; and
#: OBJ_TAG_BITS below the index, which Linux 6.6 dropped ("mm/zsmalloc: don't need to save tag bit in handle").
_CODES = tuple((64 - pfn_bits - tag, tag) for pfn_bits in (40, 34) for tag in (0, 1))


def _whole(kernel: Kernel, name: str) -> Type:
    """A struct that some modules only name, of who has its members. Raises KernlabError where nobody does."""
    kernel.with_modules()
    for types in (kernel.types, *kernel.module_types):
        found = types.get(name)
        if isinstance(found, StructType):
            return found
    raise KernlabError(f"{name} has no members in the types of the kernel and its modules")


class ZsPool:
    """Reads objects of a `struct zs_pool` by their handles. Raises KernlabError where its types are not known."""

    def __init__(self, kernel: Kernel, pool: int):
        self.kernel = kernel
        if kernel.type_anywhere("struct zspage") is None:
            raise KernlabError(
                "how zsmalloc keeps compressed pages is not known: this kernel's types lack struct zspage "
                "(it is a module without type information, as before Linux 5.11)"
            )
        self._classes = (
            StructArray(kernel, _whole(kernel, "struct zs_pool"), [pool])["size_class"]
            .values[0]
            .astype(np.uint64)
        )
        # Linux 6.14 gave zsmalloc a descriptor of its own, which lies over struct page (struct zpdesc).
        self._of_page = (
            "struct zpdesc" if kernel.type_anywhere("struct zpdesc") is not None else "struct page"
        )
        self._page_size = np.uint64(kernel.find_type("struct page").size)
        self._code: tuple[int, int] | None = None

    def read(self, handles: U64, sizes: I64) -> tuple[U8, Mask]:
        """The first `sizes[i]` bytes of each object: (uint8[n, page size], bool[n] of those that are here)."""
        kernel, page = self.kernel, self.kernel.page_size
        word, known = kernel.words(handles, what="handles of zsmalloc")
        codes = _CODES if self._code is None else (self._code,)
        best = None
        for code in codes:
            found = self._objects(word, known, handles, code)
            if best is None or int(found[3].sum()) > int(best[3].sum()):
                best, chosen = found, code
            if found[3].all():
                break
        assert best is not None
        frame, offset, size, good, following = best
        if good.any():
            self._code = chosen
        rows = np.zeros((len(handles), page), dtype=np.uint8)
        at = np.flatnonzero(good & (sizes > 0) & (sizes <= size))
        first, status = read_frames(kernel, frame[at])
        crossing = offset[at] + sizes[at] > page
        second = np.zeros_like(first)
        there = np.flatnonzero(crossing)
        second[there], more = read_frames(kernel, following[at[there]])
        status[there] |= more
        both = np.concatenate([first, second], axis=1)
        column = offset[at, None] + np.arange(page)
        taken = np.take_along_axis(both, np.minimum(column, 2 * page - 1), axis=1)
        taken[np.arange(page)[None, :] >= sizes[at, None]] = 0
        rows[at] = taken
        done = np.zeros(len(handles), dtype=bool)
        done[at] = status == 0
        rows[~done] = 0
        return rows, done

    def _objects(
        self, word: U64, known: Mask, handles: U64, code: tuple[int, int]
    ) -> tuple[U64, I64, I64, Mask, U64]:
        """Where objects lie if handles are coded so: (frame, offset of their bytes in it, their room, whether that is
        so, the frame that they go on in)."""
        kernel, (index_bits, tag) = self.kernel, code
        value = word >> np.uint64(tag)
        frame = value >> np.uint64(index_bits)
        number = (value & np.uint64((1 << index_bits) - 1)).astype(np.int64)
        good = known & (frame < np.uint64(kernel.file.max_pfn)) & (frame != 0)
        base = np.uint64(kernel.vmemmap)
        with kernel.quiet():
            page = StructArray(kernel, self._of_page, base + frame * self._page_size, good)
            zspage = StructArray(
                kernel, "struct zspage", page.first("zspage", "private").filled(0).astype(np.uint64)
            )
            magic, kind = zspage["magic"], zspage["class"].int64
            huge = zspage["huge"].true if zspage.has("huge") else np.zeros(len(frame), dtype=bool)
            good = good & (magic == _MAGIC).true & kind.valid & (kind.values < len(self._classes))
            classes = StructArray(
                kernel, "struct size_class", self._classes[np.where(good, kind.values, 0)], good
            )
            size, most = classes["size"].int64, classes["objs_per_zspage"].int64
            good &= size.true & (number < most.filled(0)) & (size.values <= kernel.page_size)
            start = np.where(good, size.values * number % kernel.page_size, 0)
            # In one page by itself an object has no head; the page says whose it is.
            head, read = kernel.words(
                np.uint64(kernel.layout.direct_start)
                + (frame << np.uint64(kernel.arch.page_shift))
                + start.astype(np.uint64),
                what="",
            )
            good &= huge | (read & (head == (handles | _ALLOCATED))) | ~read
            follow = page.first("next", "index").filled(0).astype(np.uint64)
        following = np.where(follow >= base, (follow - base) // self._page_size, np.uint64(0))
        skip = np.where(huge, 0, _HANDLE)
        return frame, start + skip, np.where(good, size.values - skip, 0), good, following
