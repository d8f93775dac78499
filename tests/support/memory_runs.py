"""The memory of an open dump, to be written in another format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kernlab.formats import DumpFile


def memory_runs(file: DumpFile) -> Iterator[tuple[int, bytes]]:
    """Every run of frames that a dump has, of up to 16 MiB: its physical address and its bytes."""
    for pfns in file.present(4096):
        rows = np.empty((len(pfns), file.page_size), dtype=np.uint8)
        file.read_into(file.find(pfns.astype(np.uint64)), rows)
        for run in np.split(np.arange(len(pfns)), np.flatnonzero(np.diff(pfns) != 1) + 1):
            yield int(pfns[run[0]]) * file.page_size, rows[run].tobytes()


def write_raw(file: DumpFile, path: Path) -> Path:
    """A raw image, in which the file has holes between the runs."""
    with path.open("wb") as image:
        for start, data in memory_runs(file):
            image.seek(start)
            image.write(data)
    return path
