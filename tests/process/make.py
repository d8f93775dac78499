"""Makes vmcore.xz of a capture of the lab's story `process`: only the page frames that the tests beside it read.

python tests/process/make.py CAPTURE/vmcore tests/process/vmcore.xz
"""

from __future__ import annotations

import lzma
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kernlab
from kernlab.core.kernel import Kernel
from kernlab.dump import Dump
from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.formats.kdump import writer
from kernlab.linux.page_cache import PageState
from kernlab.linux.user_memory import Pages

#: So many swapped pages of each zram disk are kept.
SWAPPED = 160
#: Areas with more pages than this hold what the story filled; a few are enough.
LARGE = 256


class Some(DumpFile):
    """A dump file of which only some frames are there."""

    def __init__(self, below: DumpFile, indices: set[int]):
        self.below = below
        for name in (
            "path",
            "format",
            "page_size",
            "machine",
            "vmcoreinfo",
            "header",
            "notes",
            "problems",
            "max_pfn",
        ):
            setattr(self, name, getattr(below, name))
        self._kept = np.array(sorted(indices), dtype=np.int64)
        self.frame_count = len(self._kept)

    def find(self, pfns: np.ndarray) -> np.ndarray:
        index = self.below.find(pfns)
        place = np.minimum(np.searchsorted(self._kept, index), len(self._kept) - 1)
        there = (index >= 0) & (self._kept[place] == index)
        return np.where(there, place, np.where(index >= 0, -int(FrameStatus.EXCLUDED), index))

    def present(self, most: int) -> Iterator[np.ndarray]:
        for part in self.below.present(most):
            yield part[self.find(part.astype(np.uint64)) >= 0]

    def read_into(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        return self.below.read_into(self._kept[indices], out)

    def close(self) -> None:
        pass


def look(dump: Any) -> None:
    """Read what the tests read."""
    process = dump.process("holder")
    memory = process.memory
    _ = process.cmdline, process.environ, process.auxv, dump.tasks, process.maps, repr(process)
    for area in memory.areas:
        pages = memory.pages(area, area.start, area.end)
        here = np.flatnonzero(pages.state == PageState.HERE)
        here = here[: None if len(here) <= LARGE else 4]
        memory.fetch(Pages(pages.address[here], pages.state[here], pages.where[here]))
        away = np.flatnonzero(pages.state == PageState.SWAPPED)
        kinds = pages.where[away] >> np.uint64(58)
        for kind in np.unique(kinds).tolist():
            some = away[kinds == kind][:SWAPPED]
            memory.fetch(Pages(pages.address[some], pages.state[some], pages.where[some]))
    with tempfile.TemporaryDirectory() as folder:
        small = memory.__class__.fetch
        # All else that a core has; its pages are those above.
        memory.__class__.fetch = lambda self, pages: (  # type: ignore[method-assign]
            np.zeros((len(pages), 4096), np.uint8),
            np.full(len(pages), PageState.EXCLUDED, np.uint8),
        )
        process.save_core(Path(folder) / "core")
        memory.__class__.fetch = small  # type: ignore[method-assign]
    for path in ("/bin/holder", "/home/catalog"):
        dump.file(path).read()
    _ = dump.file("/home/sparse").holes


def main() -> None:
    source, target = sys.argv[1:3]
    with kernlab.open(source) as dump:
        file, seen = dump.kernel.file, set[int]()
        read = file.read_into

        def noted(indices: np.ndarray, out: np.ndarray) -> np.ndarray:
            seen.update(indices.tolist())
            return read(indices, out)

        file.read_into = noted  # type: ignore[method-assign]
        # Opened anew, so that what opening reads is noted, too; closing it would close the file.
        look(Dump(Kernel.open(file)))
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "vmcore"
            # Plain pages: xz packs them better than what is packed already.
            writer.zlib_compressor = lambda: bytes  # type: ignore[attr-defined]
            writer.write_kdump(Some(file, seen), whole)
            raw = whole.read_bytes()
        Path(target).write_bytes(lzma.compress(raw, preset=9))
        print(f"{len(seen):,} frames, {len(raw):,} bytes, {Path(target).stat().st_size:,} bytes packed")


if __name__ == "__main__":
    main()
