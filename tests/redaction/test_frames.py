"""Which frames are not gone through for text: never those with the kernel's own data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.linux.page.classifier import Kind
from kernlab.redaction.edits import Edits
from kernlab.redaction.frames import LEFT_OUT, Frames, constant, kernel_tables, kinds_of, page_structs


@pytest.mark.parametrize("passed_over", [constant, kernel_tables, page_structs])
def test_the_data_of_the_kernel_is_gone_through(passed_over: Any, whole_dump: Any, opened: Any) -> None:
    """The log, names of the machine, the first task; with four levels of page tables the array of page structs ends
    where nothing is, and the kernel's image lies behind it."""
    kernel = opened(whole_dump.name).kernel
    frames = Frames.of(kernel.file)
    named = [kernel.symbol(name) for name in ("__log_buf", "init_task", "init_uts_ns")]
    physical, status = kernel.memory.translate(np.array(named, dtype=np.uint64))
    assert not status.any()
    rows = frames.rows((physical // np.uint64(kernel.page_size)).astype(np.int64))
    assert (rows >= 0).all()
    mask = passed_over(kernel, frames)
    assert mask.any()
    assert not mask[rows].any()


def test_what_is_kept_is_kept_whatever_is_zeroed_around_it(opened: Any) -> None:
    """As the links of the freelist, to whose objects a packet that was freed may still lead."""
    kernel = opened("debian-6.1").kernel
    frames = Frames.of(kernel.file)
    edits = Edits(kernel, frames)
    # Across the end of a page of the kernel's data.
    start = (kernel.symbol("init_task") | 0xFFF) + 1 - 16
    edits.zero([start], 64)
    edits.keep(np.array([start + 12], dtype=np.uint64), 8)
    edits.zero([start + 8], 16)
    edits.finish()
    physical, _ = kernel.memory.translate(np.array([start, start + 16], dtype=np.uint64))
    index = frames.indexes((physical // np.uint64(kernel.page_size)).astype(np.int64))
    rows = np.full((2, kernel.page_size), 0xAA, dtype=np.uint8)
    edits.apply(index, rows)
    expected = bytes(12) + kernel.read(start + 12, 8) + bytes(44) + b"\xaa"
    assert rows.tobytes()[kernel.page_size - 16 :][:65] == expected


def test_pages_of_zram_before_they_had_a_type(opened: Any) -> None:
    """Before v6.12 only a mark says that a page can be moved: zsmalloc's, which hold what programs had in memory."""
    dump = opened("debian-6.1")
    pages = dump.pages
    other = pages[(pages["kind"] == "other kernel") & (pages["order"] == 0)].iloc[:2]
    overlay = Overlay(dump)
    overlay.set("struct page", int(other["address"].iloc[0]), "mapping", dump.symbol("init_task") & ~3 | 2)
    with overlay.dump() as marked:
        frames = Frames.of(marked.kernel.file)
        kinds = kinds_of(marked.kernel, frames)
        first, second = (kinds[frames.rows(np.array([pfn]))[0]] for pfn in other["pfn"].tolist())
    assert (first, second) == (Kind.ZSMALLOC, Kind.OTHER)
    assert Kind.ZSMALLOC in LEFT_OUT["user page"]
