"""The memory of one real machine, debian-6.1, to be packed anew in every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from formats.make_dump import PAGE, Segment, avml, elf, kdump, lime, note, raw, split

import kernlab
from kernlab.formats import FrameStatus, open_dump_file
from kernlab.formats.kdump.file import KdumpFile

#: What tests of formats ask of a dump: of different kinds of kernel memory, and cheap.
TABLES = ("tasks", "log", "modules", "slabs")


@dataclass(frozen=True)
class RealMemory:
    """The frames of a machine, those of its RAM that were left out, its VMCOREINFO."""

    frames: dict[int, bytes]
    excluded: list[int]
    max_pfn: int
    vmcoreinfo: bytes

    def kdump(self, kind: str = "zlib", **how: object) -> bytes:
        """A whole kdump file."""
        how = {"vmcoreinfo": self.vmcoreinfo, "max_pfn": self.max_pfn, **how}
        return bytes(kdump(self.frames, excluded=self.excluded, kind=kind, **how).data)

    def split(self, count: int, kind: str = "zlib") -> list[bytes]:
        """Pieces of about as many pages each."""
        pfns = sorted(self.frames)
        bounds = [pfns[len(pfns) * i // count] for i in range(1, count)]
        how = {"vmcoreinfo": self.vmcoreinfo, "max_pfn": self.max_pfn, "kind": kind}
        return split(self.frames, bounds, excluded=self.excluded, **how)

    def ranges(self) -> list[Segment]:
        """The runs of frames that follow each other."""
        pfns = np.array(sorted(self.frames))
        return [
            Segment(int(run[0]) * PAGE, b"".join(self.frames[pfn] for pfn in run.tolist()))
            for run in np.split(pfns, np.flatnonzero(np.diff(pfns) != 1) + 1)
        ]

    def lime(self) -> bytes:
        """A LiME image, with holes where the dump was saved without frames."""
        return lime(self.ranges())

    def avml(self) -> bytes:
        """What AVML --compress makes of it."""
        return avml(self.ranges())

    def raw(self) -> bytes:
        """A raw image, zeros where there is no frame."""
        return raw(self.ranges())

    def elf(self, vmcoreinfo: bytes | None = b"") -> bytes:
        """An ELF core as makedumpfile -E writes it: excluded frames are in memory, but not in the file."""
        info = self.vmcoreinfo if vmcoreinfo == b"" else vmcoreinfo
        notes = note(b"CORE", 1, bytes(336)) + (note(b"VMCOREINFO", 0, info) if info else b"")
        ram = np.array(sorted([*self.frames, *self.excluded]))
        held = np.isin(ram, list(self.frames))
        # A segment is a run of frames with bytes, and the run of frames without that follows.
        starts = np.flatnonzero(np.diff(ram, prepend=-2) != 1)
        starts = np.union1d(starts, 1 + np.flatnonzero(~held[:-1] & held[1:]))
        segments = []
        for first, after in zip(starts.tolist(), [*starts[1:].tolist(), len(ram)], strict=True):
            data = b"".join(self.frames[pfn] for pfn in ram[first:after].tolist() if pfn in self.frames)
            segments.append(Segment(int(ram[first]) * PAGE, data, size=(after - first) * PAGE))
        return bytes(elf(segments, note_bytes=notes))


@pytest.fixture(scope="session")
def real(dump_files) -> RealMemory:
    """debian-6.1, frame by frame."""
    with open_dump_file(dump_files("debian-6.1").vmcore) as dump:
        numbers = np.arange(dump.max_pfn, dtype=np.uint64)
        found = dump.find(numbers)
        pages = np.empty((dump.frame_count, PAGE), dtype=np.uint8)
        assert not dump.read_into(np.arange(dump.frame_count), pages).any()
        assert dump.vmcoreinfo is not None
        return RealMemory(
            {int(pfn): pages[found[pfn]].tobytes() for pfn in np.flatnonzero(found >= 0)},
            np.flatnonzero(found == -FrameStatus.EXCLUDED).tolist(),
            dump.max_pfn,
            dump.vmcoreinfo,
        )


@pytest.fixture(scope="session")
def small(real, dump_files, tmp_path_factory) -> RealMemory:
    """Of `real` the quarter that TABLES are read from; the rest left out, as if makedumpfile had done so."""
    read: set[int] = set()
    read_into = KdumpFile.read_into

    def listen(file: KdumpFile, index: np.ndarray, *rest: Any) -> Any:
        read.update(index.tolist())
        return read_into(file, index, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))  # what is cached is not read
        patch.setattr(KdumpFile, "read_into", listen)
        with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
            for name in ("info", *TABLES):
                getattr(dump, name)
    pfns = sorted(real.frames)
    # An image without notes is searched for the page of VMCOREINFO.
    kept = {pfns[index] for index in read} | {
        pfn for pfn, page in real.frames.items() if real.vmcoreinfo[:64] in page
    }
    assert 1000 < len(kept) < len(pfns) // 3
    return RealMemory(
        {pfn: real.frames[pfn] for pfn in sorted(kept)},
        sorted({*real.excluded, *pfns} - kept),
        real.max_pfn,
        real.vmcoreinfo,
    )
