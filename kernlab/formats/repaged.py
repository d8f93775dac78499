"""A dump file in, its memory in smaller pages out: QEMU saves arm64 in blocks of 64 KiB, whatever its kernel has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import DumpFile

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: Blocks that are read at once: 16 MiB of them.
_BYTES = 16 << 20


class Repaged(DumpFile):
    """`file` in pages of `page_size` bytes, of which its blocks are a multiple. Closing it closes the file.

    Raises DumpFormatError where they are none.
    """

    def __init__(self, file: DumpFile, page_size: int):
        if page_size <= 0 or file.page_size % page_size:
            raise DumpFormatError(
                f"{file.path}: its pages are of {file.page_size:,} bytes, those of its {file.machine} kernel of "
                f"{page_size:,}"
            )
        self._file, self.page_size = file, page_size
        self._each = file.page_size // page_size
        self.path, self.format, self.machine = file.path, file.format, file.machine
        self.vmcoreinfo, self.header, self.notes = file.vmcoreinfo, file.header, file.notes
        self.names_machine = file.names_machine
        self.frame_count = file.frame_count * self._each
        self.max_pfn = file.max_pfn * self._each

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far."""
        return self._file.problems

    @property
    def filled_count(self) -> int:
        """See DumpFile.filled_count."""
        return self._file.filled_count * self._each

    def find(self, pfns: npt.NDArray[np.uint64]) -> I64:
        """See DumpFile.find."""
        each = np.uint64(self._each)
        found = self._file.find(pfns // each)
        return np.where(found < 0, found, found * self._each + (pfns % each).astype(np.int64))

    def present(self, most: int) -> Iterator[I64]:
        """See DumpFile.present."""
        for blocks in self._file.present(max(most // self._each, 1)):
            pages = (blocks[:, None] * self._each + np.arange(self._each)).reshape(-1)
            for first in range(0, len(pages), most):
                yield pages[first : first + most]

    def read_into(self, indices: I64, out: U8) -> U8:
        """See DumpFile.read_into; a block is read once for all of its pages that are asked for."""
        if out.shape != (len(indices), self.page_size) or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be contiguous uint8[{len(indices)}, {self.page_size}], not {out.shape}"
            )
        status = np.zeros(len(indices), dtype=np.uint8)
        blocks, block = np.unique(indices // self._each, return_inverse=True)
        order = np.argsort(block, kind="stable")
        at_once = max(_BYTES // self._file.page_size, 1)
        for first in range(0, len(blocks), at_once):
            some = blocks[first : first + at_once]
            whole = np.empty((len(some), self._file.page_size), dtype=np.uint8)
            read = self._file.read_into(some, whole)
            begin, end = np.searchsorted(block[order], [first, first + len(some)])
            rows = order[begin:end]
            pages = whole.reshape(len(some), self._each, self.page_size)
            out[rows] = pages[block[rows] - first, indices[rows] % self._each]
            status[rows] = read[block[rows] - first]
        return status

    def close(self) -> None:
        """See DumpFile.close."""
        self._file.close()
