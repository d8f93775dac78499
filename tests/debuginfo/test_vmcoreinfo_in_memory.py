"""A VMCOREINFO that the dump lacks is found in the machine's memory; the running kernel's, not one left there."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from support.overlay import PAGE, MemoryFile, Overlay

import kernlab
from kernlab.debuginfo import vmcoreinfo_in_memory as module
from kernlab.debuginfo.vmcoreinfo_in_memory import find_vmcoreinfo
from kernlab.errors import DumpFormatError, KernlabError
from kernlab.formats import Note, open_dump_file
from kernlab.memory.arch.x86_64 import X86_64

HUGE, PRESENT = 0x80, 1
START_KERNEL_MAP = X86_64.image_start


class Machine:
    """Page frames of machines that booted one after the other, each with page tables that map its own kernel."""

    def __init__(self) -> None:
        self.frames: dict[int, bytes] = {}

    def boot(
        self, release: str, physical: int, *, levels: int = 4, note: int, tables: int | None = None
    ) -> bytes:
        """A kernel at `physical` (2 MiB aligned) with its note in frame `note`; returns the note's text."""
        virtual = START_KERNEL_MAP + 0x1000000 + (physical & 0x3FE00000)
        table = (physical >> 12) if tables is None else tables
        text = (
            f"OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={virtual:x}\n"
            f"NUMBER(phys_base)={physical - (virtual - START_KERNEL_MAP)}\n"
            f"NUMBER(pgtable_l5_enabled)={int(levels == 5)}\n"
        ).encode()
        self.frames[note] = text.ljust(PAGE, b"\0")
        shifts = [48, 39, 30][5 - levels :]
        for depth, shift in enumerate(shifts):
            self._entry(table + depth, virtual >> shift & 511, (table + depth + 1) << 12 | PRESENT)
        self._entry(table + len(shifts), virtual >> 21 & 511, physical | PRESENT | HUGE)
        return text

    def _entry(self, frame: int, index: int, value: int) -> None:
        page = bytearray(self.frames.get(frame, bytes(PAGE)))
        struct.pack_into("<Q", page, 8 * index, value)
        self.frames[frame] = bytes(page)

    def file(self, *tables: int) -> MemoryFile:
        """The dump; with QEMU's note of one CPU for each physical address of a top-level table."""
        file = MemoryFile(self.frames)
        file.vmcoreinfo = None
        file.path = Path("vmcore")
        file.notes = []
        for table in tables:
            state = bytearray(440)
            struct.pack_into("<II", state, 0, 1, 440)
            struct.pack_into("<Q", state, 8 + 18 * 8 + 10 * 24 + 3 * 8, table)
            file.notes.append(Note("QEMU", 0, bytes(state), 0))
        return file


class TestRealDumps:
    def test_the_same_as_the_note(self, any_dump):
        with open_dump_file(any_dump.vmcore) as file:
            text, problems = find_vmcoreinfo(file)
            assert text == file.vmcoreinfo
            assert problems == []

    def test_open(self, whole_dump, dump, monkeypatch):
        """A dump without its note opens by itself, and is the same one."""
        import kernlab.dump as door

        real = door.open_dump_file

        def without(*args: object, **how: object):
            file = real(*args, **how)
            file.vmcoreinfo = None
            return file

        monkeypatch.setattr(door, "open_dump_file", without)
        with kernlab.open(whole_dump.vmcore) as other:
            assert other.symbol("init_task") == dump.symbol("init_task")
            assert other.problems == []
            assert other.kernel.vmcoreinfo.release == dump.kernel.vmcoreinfo.release

    def test_its_page_is_lost(self, opened):
        below = opened("debian-6.1")
        overlay = Overlay(below)
        file = below.kernel.file
        out = np.empty((1, PAGE), dtype=np.uint8)
        every = file.find(np.arange(file.max_pfn, dtype=np.uint64))
        for pfn in np.flatnonzero(every >= 0).tolist():
            file.read_into(every[pfn : pfn + 1], out)
            if b"OSRELEASE=" in out[0, :40].tobytes():
                overlay.lose(pfn * PAGE, physical=True)
        broken = overlay.file()
        broken.vmcoreinfo = None
        with pytest.raises(DumpFormatError, match=r"none was found in its [\d,]+ pages.*vmcoreinfo=PATH"):
            find_vmcoreinfo(broken)

    def test_its_page_tables_are_lost(self, opened):
        below = opened("debian-6.1")
        overlay = Overlay(below)
        overlay.lose(below.symbol("init_top_pgt"))
        broken = overlay.file()
        broken.vmcoreinfo = None
        with pytest.raises(DumpFormatError, match=r"Linux 6\.1.*does not fit the page tables"):
            find_vmcoreinfo(broken)


class TestSeveralKernels:
    @pytest.mark.parametrize("levels", [4, 5])
    def test_one(self, levels):
        machine = Machine()
        text = machine.boot("6.1-test", 0x4000000, levels=levels, note=7)
        assert find_vmcoreinfo(machine.file()) == (text, [])

    def test_the_note_has_a_header_in_front(self):
        machine = Machine()
        text = machine.boot("6.1-test", 0x4000000, note=7)
        head = struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0"
        machine.frames[7] = (head + text).ljust(PAGE, b"\0")
        assert find_vmcoreinfo(machine.file()) == (text, [])

    def test_both_places_and_one_written_later(self):
        """A crash adds CRASHTIME to the text; the note made of it before lacks that."""
        machine = Machine()
        text = machine.boot("6.1-test", 0x4000000, note=7)
        machine.frames[9] = (text + b"CRASHTIME=1700000000\n").ljust(PAGE, b"\0")
        assert find_vmcoreinfo(machine.file()) == (text + b"CRASHTIME=1700000000\n", [])

    @pytest.mark.parametrize("user", [0, 0x1000])
    @pytest.mark.parametrize("running", ["old", "new"])
    def test_the_registers_tell(self, running, user):
        """After a reboot that left memory as it was both kernels are whole; CR3 names one, or its user half."""
        machine = Machine()
        texts = {
            "old": machine.boot("6.1-old", 0x4000000, note=7),
            "new": machine.boot("6.12-new", 0x6000000, note=9),
        }
        table = {"old": 0x4000000, "new": 0x6000000}[running]
        assert find_vmcoreinfo(machine.file(0x3FFF000, table | user | 0x18)) == (texts[running], [])

    def test_nothing_tells(self):
        machine = Machine()
        old, new = machine.boot("6.1-old", 0x4000000, note=7), machine.boot("6.12-new", 0x6000000, note=9)
        text, (problem,) = find_vmcoreinfo(machine.file())
        assert text in (old, new)
        assert "2 kernels left theirs in its memory (Linux 6.1-old, 6.12-new)" in problem

    def test_one_that_was_overwritten(self):
        """The old kernel's note is left, its page tables are not."""
        machine = Machine()
        machine.boot("6.1-old", 0x4000000, note=7)
        machine.frames[0x4000] = bytes(PAGE)
        new = machine.boot("6.12-new", 0x6000000, note=9)
        assert find_vmcoreinfo(machine.file()) == (new, [])

    @pytest.mark.parametrize(
        "text",
        [
            b"OSRELEASE=6.1\n",
            b"OSRELEASE=6.1\nSYMBOL(swapper_pg_dir)=zzz\nNUMBER(phys_base)=0\n",
            b"OSRELEASE=6.1\nSYMBOL(swapper_pg_dir)=ffffffff81000000\nNUMBER(phys_base)=-99999999999999999999\n",
            b"OSRELEASE=6.1\xff\nSYMBOL(swapper_pg_dir)=ffffffff81000000\nNUMBER(phys_base)=0\n",
            b"OSRELEASE=" + b"A" * 5000,
        ],
    )
    def test_what_only_begins_like_one(self, text):
        machine = Machine()
        machine.frames[3] = text[:PAGE].ljust(PAGE, b"\0")
        with pytest.raises(DumpFormatError, match="does not fit the page tables"):
            find_vmcoreinfo(machine.file())
        good = machine.boot("6.1-test", 0x4000000, note=7)
        assert find_vmcoreinfo(machine.file()) == (good, [])

    def test_a_memory_full_of_them_ends(self):
        machine = Machine()
        for frame in range(5000):
            machine.frames[frame] = f"OSRELEASE={frame}\n".encode().ljust(PAGE, b"\0")
        with pytest.raises(KernlabError):
            find_vmcoreinfo(machine.file())
        assert len(module._scan(machine.file())) < 3000

    def test_an_empty_dump(self):
        file = MemoryFile({})
        file.vmcoreinfo = None
        with pytest.raises(DumpFormatError, match="none was found in its 0 pages"):
            find_vmcoreinfo(file)

    @pytest.mark.parametrize("size", [0, 8, 416, 423])
    def test_short_notes_of_qemu(self, size):
        machine = Machine()
        text = machine.boot("6.1-test", 0x4000000, note=7)
        file = machine.file()
        file.notes = [Note("QEMU", 0, bytes(size), 0)]
        assert find_vmcoreinfo(file) == (text, [])


def test_the_message_names_the_way_out():
    with pytest.raises(DumpFormatError) as caught:
        find_vmcoreinfo(Machine().file())
    assert re.search(r"carries no VMCOREINFO.*vmcoreinfo=PATH.*-device vmcoreinfo", str(caught.value))
