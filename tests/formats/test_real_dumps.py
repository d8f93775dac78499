"""Dumps of real kernels, against drgn, which reads the same files with other code."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from formats.reading import check_present, frame, frames, open_quietly, write

from kernlab.errors import TruncatedDumpWarning
from kernlab.formats import FrameStatus, open_dump_file

PAGE = 4096
SAMPLE = "debian-6.1"


def test_opens_without_a_word(any_dump):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_dump_file(any_dump.vmcore) as dump:
            assert dump.problems == []
            assert dump.format == ("kdump-lzo" if any_dump.name == "debian-6.12" else "kdump-zlib")
            assert [note.name for note in dump.notes] == ["CORE", "CORE", "VMCOREINFO"]
            assert dump.vmcoreinfo == dump.notes[2].desc.rstrip(b"\0")
            assert dump.vmcoreinfo.startswith(b"OSRELEASE=" + str(dump.header["release"]).encode() + b"\n")
            out = np.empty((dump.frame_count, PAGE), dtype=np.uint8)
            assert not dump.read_into(np.arange(dump.frame_count), out).any()
            assert dump.problems == []


def test_every_page_number_has_its_place(any_dump):
    """The frames found by number are all the frames there are, each once, and in order."""
    with open_dump_file(any_dump.vmcore) as dump:
        found = dump.find(np.arange(dump.max_pfn + 100, dtype=np.uint64))
        assert found[found >= 0].tolist() == list(range(dump.frame_count))
        assert (found[dump.max_pfn :] == -FrameStatus.ABSENT).all()
        excluded = int((found == -FrameStatus.EXCLUDED).sum())
        assert dump.frame_count + excluded == dump.header["ram_frames"]
        check_present(dump)


def test_same_bytes_as_drgn(any_dump):
    drgn = pytest.importorskip(
        "drgn", reason="drgn, the oracle, is not installed (pip install 'kernlab[oracle]')"
    )
    program = drgn.Program()
    program.set_core_dump(str(any_dump.vmcore))
    with open_dump_file(any_dump.vmcore) as dump:
        every = dump.find(np.arange(dump.max_pfn, dtype=np.uint64))
        random = np.random.default_rng(61)
        chosen = random.choice(np.flatnonzero(every >= 0), 2000, replace=False).tolist()
        for pfn, content in frames(dump, chosen).items():
            assert content == program.read(pfn * PAGE, PAGE, physical=True), f"frame {pfn:#x}"
        for status in (FrameStatus.EXCLUDED, FrameStatus.ABSENT):
            for pfn in random.choice(np.flatnonzero(every == -status), 200, replace=False).tolist():
                assert frame(dump, pfn) is status
                with pytest.raises(drgn.FaultError):
                    program.read(pfn * PAGE, PAGE, physical=True)


def test_threads_agree(any_dump):
    with open_dump_file(any_dump.vmcore) as dump:
        indices = np.random.default_rng(4).permutation(dump.frame_count)[:6000]
        outs = [np.empty((len(indices), PAGE), dtype=np.uint8) for _ in range(5)]
        serial = outs.pop()
        for start in range(0, len(indices), 500):
            dump.read_into(indices[start : start + 500], serial[start : start + 500])
        threads = [threading.Thread(target=dump.read_into, args=(indices, out)) for out in outs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all((out == serial).all() for out in outs)


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_cut_dump(dump_files, tmp_path, part):
    """The first part of a copy: what is there is right, the rest is LOST, and the warning counts both."""
    whole = dump_files(SAMPLE).vmcore
    data = whole.read_bytes()
    path = write(tmp_path, data[: int(len(data) * part)])
    with pytest.warns(TruncatedDumpWarning, match="Reading on with"):
        cut = open_dump_file(path)
    with cut, open_dump_file(whole) as dump:
        every = np.arange(dump.frame_count)
        expected, out = (np.empty((len(every), PAGE), dtype=np.uint8) for _ in range(2))
        dump.read_into(every, expected)
        status = cut.read_into(every, out)
        there = status == FrameStatus.PRESENT
        assert (out[there] == expected[there]).all()
        assert f"with {int(there.sum()):,} of {len(every):,} pages" in cut.problems[0]
        assert len(cut.problems) == 1
        assert 0.1 < there.mean() < 1


def test_damaged_stretch(dump_files, tmp_path):
    """A megabyte of noise in the page data: its pages are LOST, or still as they were; all others are right."""
    whole = dump_files(SAMPLE).vmcore
    data = bytearray(whole.read_bytes())
    noise = np.random.default_rng(9).bytes(1 << 20)
    data[10_000_000 : 10_000_000 + len(noise)] = noise
    with open_quietly(write(tmp_path, data)) as damaged, open_dump_file(whole) as dump:
        every = np.arange(dump.frame_count)
        expected, out = (np.empty((len(every), PAGE), dtype=np.uint8) for _ in range(2))
        dump.read_into(every, expected)
        status = damaged.read_into(every, out)
        lost = int((status == FrameStatus.LOST).sum())
        (problem,) = damaged.problems
        assert f"{lost:,} of those read" in problem
        # Pages stored raw carry no checksum: noise in them cannot be told from data.
        wrong = np.flatnonzero((status == 0) & (out != expected).any(axis=1))
        assert (dump._pages._entries.take(wrong)["flags"] == 0).all()
        assert lost > 500
