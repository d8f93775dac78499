"""A made /proc/kcore: the memory of a dump, as a running kernel would give it, in a file that a test writes to.

    kcore = Kcore(opened("panic"), tmp_path / "kcore")
    kcore.set("struct task_struct", address, "comm", b"other")
    with kcore.open() as live: ...

It has the form of fs/proc/kcore.c: segments of RAM in the direct map and one of the kernel's image, which overlaps
them, with their physical addresses; one of the vmalloc space, without; notes of the reading process, and VMCOREINFO.
Pages that the dump lacks are zeros, as those are that the kernel does not give.
"""

from __future__ import annotations

import re
import struct
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from formats.make_dump import note

import kernlab
from kernlab.debuginfo.member_path import resolve
from kernlab.formats import live

PAGE = 4096
#: Where the places of addresses begin in the file.
_DATA = 1 << 16
_NONE = 2**64 - 1
#: EM_X86_64, EM_AARCH64.
_MACHINES = {"x86_64": 62, "aarch64": 183}


class Kcore:
    """The file, and what may be done to the machine whose memory it is."""

    def __init__(self, dump: kernlab.Dump, path: Path, *, info: bytes | None = None):
        self.kernel, self.path = dump.kernel, path
        self.notes = note(b"CORE", 1, bytes(336)) + note(b"CORE", 3, bytes(136))
        text = re.sub(rb"CRASHTIME=.*\n?", b"", dump.kernel.file.vmcoreinfo) if info is None else info
        self.notes += note(b"VMCOREINFO", 0, text) if text else b""
        self.frames = dump.kernel.file.max_pfn
        with path.open("wb") as file:
            file.truncate(_DATA + self.frames * PAGE)
        self.plug(self.frames)
        with path.open("r+b") as file:
            for pfns in dump.kernel.file.present(1 << 12):
                rows = np.empty((len(pfns), PAGE), dtype=np.uint8)
                dump.kernel.file.read_into(dump.kernel.file.find(pfns.astype(np.uint64)), rows)
                for pfn, row in zip(pfns.tolist(), rows, strict=True):
                    file.seek(_DATA + pfn * PAGE)
                    file.write(row.data)

    def plug(self, frames: int) -> None:
        """Have the machine so many frames of memory from here on."""
        layout = self.kernel.layout
        text, end = layout.image_start, layout.image_end
        inside = layout.image_physical(text)
        half = frames // 2 * PAGE
        loads = [
            (text, inside, _DATA + inside, end - text),
            (0xFFFFC90000000000, _NONE, 1 << 40, 1 << 45),
            (layout.direct_start % (1 << 64), 0, _DATA, half),
            ((layout.direct_start + half) % (1 << 64), half, _DATA + half, frames * PAGE - half),
        ]
        table = 64 + 56 * (len(loads) + 1)
        rows = [struct.pack("<IIQQQQQQ", 4, 0, table, 0, 0, len(self.notes), 0, 0)]
        for virtual, physical, offset, size in loads:
            rows.append(struct.pack("<IIQQQQQQ", 1, 7, offset, virtual, physical, size, size, PAGE))
        ident = b"\x7fELF\2\1\1" + bytes(9)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH",
            ident,
            4,
            _MACHINES[self.kernel.file.machine],
            1,
            0,
            64,
            0,
            0,
            64,
            56,
            len(rows),
            0,
            0,
            0,
        )
        with self.path.open("r+b") as file:
            file.write(header + b"".join(rows) + self.notes)

    def write(self, address: int, data: bytes) -> None:
        """Write to the machine's memory at a virtual address, within a page."""
        physical, status = self.kernel.memory.translate([address])
        assert not status[0]
        with self.path.open("r+b") as file:
            file.seek(_DATA + int(physical[0]))
            file.write(data)

    def set(self, type_name: str, address: int, path: str, value: int | bytes) -> None:
        """Give a member of a struct another value; the path has no pointer on its way."""
        access = resolve(self.kernel.find_type(type_name), path)
        (offset,) = access.hops
        size = access.type.size
        if isinstance(value, int):
            value = (value % (1 << 8 * size)).to_bytes(size, "little")
        self.write(address + offset, value.ljust(size, b"\0"))

    @contextmanager
    def running(self):
        """It is /proc/kcore within the block."""
        with mock.patch.object(live, "KCORE", self.path):
            yield

    def open(self, **how) -> kernlab.Dump:
        """`kernlab.open("live")` on it."""
        with self.running():
            return kernlab.open("live", **how)
