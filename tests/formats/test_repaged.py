"""Dumps whose blocks are larger than their kernel's pages, as QEMU saves arm64."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.overlay import MemoryFile

from kernlab.errors import DumpFormatError
from kernlab.formats.base import FrameStatus
from kernlab.formats.segments import SEGMENT, SegmentedFile
from kernlab.formats.source import PlainFile

BLOCK, PAGE = 65536, 4096
DATA = {block: np.random.default_rng(block).bytes(BLOCK) for block in (1, 4, 5)}


def test_pages_of_larger_blocks():
    file = MemoryFile(
        {**DATA, 2: FrameStatus.EXCLUDED, 3: FrameStatus.LOST}, page_size=BLOCK, machine="aarch64"
    )
    small = file.repaged(PAGE)
    assert (small.page_size, small.machine, small.max_pfn) == (PAGE, "aarch64", file.max_pfn * 16)
    assert file.repaged(BLOCK) is file
    every = np.arange(6 * 16, dtype=np.uint64)
    found = small.find(every)
    for block, status in ((0, FrameStatus.ABSENT), (2, FrameStatus.EXCLUDED)):
        assert (found[block * 16 : block * 16 + 16] == -int(status)).all()
    kept = every[found >= 0]
    lost = found[48:64].copy()
    out = np.ones((16, PAGE), dtype=np.uint8)
    assert (small.read_into(lost, out) == FrameStatus.LOST).all()
    assert not out.any()
    found[48:64] = -int(FrameStatus.LOST)
    # In any order, more than once, of several blocks.
    asked = np.random.default_rng(0).permutation(np.concatenate([every[found >= 0], every[found >= 0][:7]]))
    out = np.zeros((len(asked), PAGE), dtype=np.uint8)
    assert not small.read_into(small.find(asked), out).any()
    for pfn, page in zip(asked.tolist(), out, strict=True):
        inside = pfn % 16 * PAGE
        assert page.tobytes() == DATA[pfn // 16][inside : inside + PAGE]
    for most in (1, 5, 16, 1000):
        parts = list(small.present(most))
        assert np.concatenate(parts).tolist() == kept.tolist()
        assert max(map(len, parts)) <= most
    assert (small.frame_count, small.filled_count) == (64, 64)


def test_pages_that_are_no_part_of_a_block():
    with pytest.raises(
        DumpFormatError, match="pages are of 4,096 bytes, those of its aarch64 kernel of 16,384"
    ):
        MemoryFile({}, page_size=PAGE, machine="aarch64").repaged(4 * PAGE)


@pytest.mark.parametrize("page", [PAGE, 4 * PAGE, BLOCK])
def test_segments_are_cut_anew(tmp_path, page):
    data = b"".join(DATA.values())
    (tmp_path / "image").write_bytes(data)
    segments = np.array([(3 * BLOCK, 0, len(data), len(data) + BLOCK)], dtype=SEGMENT)
    source = PlainFile(tmp_path / "image", os.open(tmp_path / "image", os.O_RDONLY), len(data))
    with SegmentedFile("raw", source, segments, machine="aarch64") as file:
        assert len(next(iter(file.present(7)))) == 7
        assert file.repaged(page) is file
        count = BLOCK // page
        assert (file.page_size, file.frame_count, file.filled_count) == (page, 3 * count, 3 * count)
        assert file.max_pfn == file.header["max_pfn"] == 7 * count
        found = file.find(np.arange(8 * count, dtype=np.uint64))
        assert (found[: 3 * count] == -int(FrameStatus.ABSENT)).all()
        assert (found[6 * count : 7 * count] == -int(FrameStatus.EXCLUDED)).all()
        out = np.zeros((3 * count, page), dtype=np.uint8)
        assert not file.read_into(found[3 * count : 6 * count], out).any()
        assert out.tobytes() == data
