"""A dump without its VMCOREINFO in, the note out of the machine's memory, where the kernel keeps it for kexec."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import DumpFormatError
from kernlab.escape import show_controls
from kernlab.formats.base import DumpFile
from kernlab.memory import AddressSpace, Status
from kernlab.memory.arch import Layout, architecture
from kernlab.memory.page_tables import PageTableWalker
from kernlab.util.progress import progress
from kernlab.util.text import few

#: Frames at a time.
_BATCH = 2048
#: No kernel's pages are smaller, and blocks of the file may be larger than its kernel's pages.
_PAGE = 4096
#: As much of each frame as tells.
_START = b"OSRELEASE="
#: kernel/vmcore_info.c (crash_core.c before 6.9): the text has a page of its own (vmcoreinfo_data), the note that is
#: made of it begins another (vmcoreinfo_note): Elf_Nhdr, "VMCOREINFO\0" and its padding, the text.
_PLACES = (0, 24)
#: A machine runs one kernel; others are what an earlier boot, a crash kernel or a copy in a file left.
_MOST = 64
#: Enough for the page tables of all candidates.
_ARENA = 16 << 20


def find_vmcoreinfo(file: DumpFile) -> tuple[bytes, list[str]]:
    """The VMCOREINFO of the kernel that ran, looked for in every frame, and what there is to say against it.

    Of several kernels' notes (an earlier boot leaves its own in memory) the one counts whose page tables map the kernel
    where the note says, and which the CPUs' registers bear out, if the dump has QEMU's. Raises DumpFormatError where
    there is none.
    """
    candidates = _scan(file)
    if not candidates:
        raise DumpFormatError(
            f"{file.path}: this {file.format} dump carries no VMCOREINFO, which says where the kernel lies, and "
            f"none was found in its {file.frame_count:,} pages. If you have it from elsewhere, pass vmcoreinfo=PATH; "
            "QEMU saves it with -device vmcoreinfo"
        )
    memory = AddressSpace(file, bound=_ARENA)
    good = [
        (text, layout)
        for text, layout in ((text, _layout(file, text)) for text in candidates)
        if layout is not None and _maps_itself(memory, layout, layout.page_table)
    ]
    if not good:
        raise DumpFormatError(
            f"{file.path}: this {file.format} dump carries no VMCOREINFO, and what was found of it in memory (Linux "
            f"{_releases(candidates)}) does not fit the page tables there, or these are missing. Pass vmcoreinfo=PATH "
            "if you have it from elsewhere"
        )
    running = [
        (text, layout)
        for text, layout in good
        if any(_maps_itself(memory, layout, table) for table in layout.arch.running_tables(file.notes))
    ]
    chosen = running or good
    problems = []
    if len(chosen) > 1:
        problems.append(
            f"{file.path} has no VMCOREINFO, and {len(chosen):,} kernels left theirs in its memory (Linux "
            f"{_releases([text for text, _ in chosen])}), as after a reboot that leaves memory as it was. kernlab took "
            "the first; pass the right one as vmcoreinfo= if that is another"
        )
    return chosen[0][0], problems


def _releases(texts: list[bytes]) -> str:
    return few(sorted({show_controls(Vmcoreinfo.parse(text).release or "?") for text in texts}))


def _scan(file: DumpFile) -> list[bytes]:
    """The texts of what looks like a VMCOREINFO at one of its places in any frame that has data, each once."""
    rows = np.empty((min(_BATCH, file.filled_count), file.page_size), dtype=np.uint8)
    found: dict[bytes, None] = {}
    with progress(f"Looking for VMCOREINFO in {file.path.name}", file.filled_count, " pages") as bar:
        for pfns in file.present(_BATCH):
            indices = file.find(pfns.astype(np.uint64))
            part = rows[: len(indices)]
            file.read_into(indices, part)
            pages = part.reshape(-1, _PAGE)
            for place in _PLACES:
                for row in np.flatnonzero(_begins(pages[:, place:])).tolist():
                    frame, page = divmod(row, file.page_size // _PAGE)
                    found[part[frame, page * _PAGE + place :].tobytes().split(b"\0")[0]] = None
            bar.advance(len(indices))
            if len(found) > _MOST:
                break
    # A crash adds to the text, and the note is not always made anew: the longest of those that begin alike.
    return [text for text in found if not any(other != text and other.startswith(text) for other in found)]


def _begins(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    answer: npt.NDArray[np.bool_] = (part[:, : len(_START)] == np.frombuffer(_START, dtype=np.uint8)).all(
        axis=1
    )
    return answer


def _layout(file: DumpFile, text: bytes) -> Layout | None:
    """Where the kernel of a note lies, by the note alone."""
    info = Vmcoreinfo.parse(text)
    arch = architecture(file, info)
    layout = arch.layout(info) if re.fullmatch(rb"[\x09\x0a\x20-\x7e]*", text) else None
    return layout if layout is not None and 0 <= layout.page_table < 1 << arch.most_physical_bits else None


def _maps_itself(memory: AddressSpace, layout: Layout, table: int) -> bool:
    """Do the page tables at a physical address map this kernel's own where its note says that they lie?"""
    walker = PageTableWalker(layout.arch, lambda at, size: memory.gather(at, size, physical=True))
    virtual = np.array([(layout.page_table - layout.image_offset) % (1 << 64)], dtype=np.uint64)
    physical, status = walker.lookup(np.array([table], dtype=np.uint64), virtual, Status.UNMAPPED)
    return not status[0] and int(physical[0]) == layout.page_table
