"""The memory of the running kernel: /proc/kcore in, page frames whose bytes change out (fs/proc/kcore.c).

It has the form of an ELF core. Its segments are the kernel's address space: those of RAM (`walk_system_ram_range`) and
of the kernel's image say which physical memory they show (since v4.11), all others (vmalloc, vmemmap) do not and are
left out, so that nothing but System RAM is ever read. What lies in them page tables tell, as in a dump.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.formats.base import FrameStatus, Note
from kernlab.formats.elf_headers import read_headers
from kernlab.formats.notes import vmcoreinfo_of
from kernlab.formats.segments import SegmentedFile
from kernlab.formats.source import PlainFile

#: What `kernlab.open` is given for the running kernel; a file of that name is ./live.
LIVE = "live"
KCORE = Path("/proc/kcore")
#: "physical address, size" of the VMCOREINFO note, in hexadecimal (kernel/ksysfs.c).
_NOTE_PLACE = Path("/sys/kernel/vmcoreinfo")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")

#: Places of /proc/kcore are addresses without the bits that all of the kernel's have: no place is further out.
_END = 1 << 62
#: A VMCOREINFO is one page; the note around it is a little more.
_LARGEST_NOTE = 1 << 16


class LiveFile(SegmentedFile):
    """The running machine's memory. Frames are read when they are asked for, and differ from one read to the next.

    Pages that the kernel does not give (offline, poisoned, taken out of its map of memory) are zeros or ABSENT, as
    it answers. `refresh` takes in memory that was plugged or unplugged.
    """

    changes = True

    def __init__(self, path: Path | None = None):
        self._kcore = KCORE if path is None else path
        source = _opened(self._kcore)
        try:
            self._segments = self._lay_out_from(source)
        except BaseException:
            source.close()
            raise

    def _lay_out_from(self, source: PlainFile) -> npt.NDArray[np.void]:
        segments, notes, problems, machine = read_headers(source)
        # The other notes tell of the process that opened the file: zeros for registers (store_kcore's prstatus).
        notes = [note for note in notes if note.name == "VMCOREINFO"]
        self.__dict__.pop("_filled", None)
        header = {"file_bytes": None}
        super().__init__(
            LIVE, source, segments, notes=notes, header=header, problems=problems, machine=machine
        )
        if self.vmcoreinfo is None:
            # Linux commit 23c85094fe18 ("proc/kcore: add vmcoreinfo note to /proc/kcore") (in v4.19).
            self.notes = self._note_elsewhere()
            self.vmcoreinfo = vmcoreinfo_of(self.notes)
        return segments

    def _note_elsewhere(self) -> list[Note]:
        """The VMCOREINFO note where sysfs says that it lies in memory; none where it does not."""
        with suppress(OSError, ValueError):
            address, size = (int(word, 16) for word in _NOTE_PLACE.read_text().split()[:2])
            first, size = address // self.page_size, min(size, _LARGEST_NOTE)
            last = (address + size - 1) // self.page_size
            frames = self.find(np.arange(first, last + 1, dtype=np.uint64))
            if size > 0 and (frames >= 0).all():
                rows = np.empty((len(frames), self.page_size), dtype=np.uint8)
                self.read_into(frames, rows)
                from kernlab.formats.notes import parse_notes

                begin = address % self.page_size
                return parse_notes(rows.reshape(-1)[begin : begin + size].tobytes(), 0)
        return []

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into; no file is damaged here: what the kernel does not give is not there."""
        status = super().read_into(indices, out)
        status[status == FrameStatus.LOST] = FrameStatus.ABSENT
        return status

    def refresh(self) -> None:
        """Take in memory that was plugged or unplugged since: then there is another `generation` of frames.

        The kernel numbers the places of its file anew when somebody opens it (kcore_update_ram). Raises DumpFileError,
        DumpFormatError where it cannot be opened again.
        """
        source = _opened(self._kcore)
        try:
            segments, *_ = read_headers(source)
            if np.array_equal(segments, self._segments):
                source.close()
                return
            before, page_size = self._source, self.page_size
            self._segments = self._lay_out_from(source)
            self.repaged(page_size)
        except BaseException:
            source.close()
            raise
        before.close()
        self.generation += 1


def _opened(path: Path) -> PlainFile:
    """The file, for reading only. Raises DumpFileError, which says what to do."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DumpFileError(error.errno, _why_not(error, path), str(path)) from error
    # Its times and its size tell nothing.
    source = PlainFile(path, descriptor, _END, watched=False)
    try:
        if source.read(0, 4) != b"\x7fELF":
            raise DumpFormatError(
                f"{path} is not the running kernel's memory: it is empty or hidden, as in a container. Ask for it on "
                "the host itself"
            )
    except BaseException:
        source.close()
        raise
    return source


def _why_not(error: OSError, path: Path) -> str:
    """Why the running kernel's memory cannot be had, and what helps."""
    said = f"the running kernel's memory cannot be read: {error.strerror}"
    if error.errno == errno.ENOENT:
        return f"{said}. This kernel was built without CONFIG_PROC_KCORE, or a container hides it"
    if error.errno not in (errno.EPERM, errno.EACCES):
        return said
    with suppress(OSError):
        if "[confidentiality]" in _LOCKDOWN.read_text():
            return (
                f"{said}. The kernel is locked down (lockdown=confidentiality), and gives its memory to nobody; boot "
                "it with lockdown=integrity or none, or capture a dump with kdump"
            )
    if os.geteuid():
        return f"{said}. Only root may (CAP_SYS_RAWIO): use sudo"
    return f"{said}. It takes the capability CAP_SYS_RAWIO, which containers lack: run it on the host itself"
