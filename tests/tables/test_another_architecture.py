"""Tables ask the architecture: the same dump with its page tables in another format, and with pages of another size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from support.overlay import PAGE, Overlay, _kernels_own

from kernlab.core.kernel import Kernel
from kernlab.dump import Dump
from kernlab.linux.map_usage import usage
from kernlab.memory import AddressSpace
from kernlab.memory.arch import Level
from kernlab.memory.arch.x86_64 import X86_64

PRESENT, LARGE, FRAME = 0x1, 0x80, 0x000F_FFFF_FFFF_F000
SHIFTS = {4: (39, 30, 21, 12), 5: (48, 39, 30, 21, 12)}


class Turned(X86_64):
    """x86-64 whose page-table entries are stored with their bits turned by seven places."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        plain = X86_64(depth)

        def turned(name: str) -> Callable[[np.ndarray], np.ndarray]:
            own = getattr(plain, name)
            return lambda entries: own(turn(entries, -7))

        for name in ("is_walked", "address", "is_special", "present_address", "swap_type", "kept_frame"):
            setattr(self, name, turned(name))
        self.is_present = lambda entries, large: plain.is_present(turn(entries, -7), large)
        self.is_table = lambda level, entries: plain.is_table(level, turn(entries, -7))


def turn(entries: np.ndarray, places: int) -> np.ndarray:
    left = np.uint64(places % 64)
    return (entries << left) | (entries >> (np.uint64(64) - left))


def tables_of(dump: Dump, depth: int) -> dict[int, np.ndarray]:
    """Every page table that processes or the kernel use, by its physical address: uint64[512] as x86-64 has them."""
    tasks = dump.tasks
    tops = dump.structs("task_struct", tasks["address"])["mm->pgd"]
    todo = {dump.translate(int(top)) for top in tops.values[tops.valid]}
    todo.add(dump.translate(dump.symbol("init_top_pgt")))
    found: dict[int, np.ndarray] = {}
    for shift in SHIFTS[depth]:
        below: set[int] = set()
        rows, status = dump.kernel.memory.gather(sorted(todo), PAGE, physical=True)
        for where, row, bad in zip(sorted(todo), rows.view("<u8"), status.tolist(), strict=True):
            if bad or where in found:
                continue
            found[where] = row
            leads = (row & np.uint64(PRESENT)) != 0
            if shift in (30, 21):
                leads &= (row & np.uint64(LARGE)) == 0
            if shift > 12:
                below |= set((row[leads] & np.uint64(FRAME)).tolist())
        todo = below
    return found


@pytest.fixture(scope="module", params=["debian-5.10", "debian-6.1"])
def pair(request, opened):
    """A dump, and the same one from a machine that turns its entries."""
    below = opened(request.param)
    depth = len(below.kernel.arch.levels)
    overlay = Overlay(below)
    for where, entries in tables_of(below, depth).items():
        overlay.write(where, turn(entries, 7).tobytes(), physical=True)
    layout = dataclasses.replace(below.kernel.layout, arch=Turned(depth))
    kernel = below.kernel
    memory = AddressSpace(overlay.file(), layout)
    return Dump(Kernel(memory, _kernels_own(kernel.symbols), kernel.vmcoreinfo, types=kernel.types)), below


def test_what_mappings_hold_is_the_same(pair):
    turned, below = (usage(dump.kernel) for dump in pair)
    assert turned.sums["rss"].sum() > 1 << 20
    for name, sums in below.sums.items():
        assert turned.sums[name].tolist() == sums.tolist(), name
    assert turned.tables_known.all()


def test_what_the_kernel_maps_is_the_same(pair):
    turned, below = pair
    assert turned.modules["name"].tolist() == below.modules["name"].tolist() != []
    for table in ("vmalloc", "memory"):
        assert getattr(turned, table).astype(str).equals(getattr(below, table).astype(str)), table


class Larger(X86_64):
    """x86-64 with pages of 64 KiB."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.page_shift = 16
        self.levels = (*self.levels[:-1], Level(16, 5))


@pytest.fixture(scope="module")
def larger(opened):
    """A dump whose numbers of pages are of 64 KiB pages, were it not for its page tables."""
    dump = Overlay(opened("debian-6.1")).dump()
    dump.kernel.arch = Larger(len(dump.kernel.arch.levels))
    dump.kernel.page_size = dump.kernel.arch.page_size
    return dump


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("tasks", ("vsz_bytes", "rss_bytes")),
        ("slabs", ("bytes",)),
        ("tmpfs", ("size_bytes", "used_bytes")),
        ("memory_by_process", ("rss_bytes", "uss_bytes", "anon_bytes")),
        ("maps", ("offset_bytes",)),
    ],
)
def test_pages_are_as_large_as_the_architecture_says(opened, larger, table, columns):
    whole, found = getattr(opened("debian-6.1"), table), getattr(larger, table)
    for column in columns:
        expected = whole[column] * 16
        assert found[column].astype(str).tolist() == expected.astype(str).tolist(), column
        assert expected.sum() > 0, column


def test_meminfo_is_of_the_architectures_pages(opened, larger):
    whole, found = opened("debian-6.1").meminfo, larger.meminfo
    for key in ("MemTotal", "MemFree", "Cached", "AnonPages", "Slab"):
        assert found[key] == 16 * whole[key] > 0, key
    assert found["DirectMap64k"] == 16 * whole["DirectMap4k"] > 0
    assert "DirectMap4k" not in found.index


def test_plots_are_of_the_frames_page_size(opened):
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    from kernlab.plots.memory import memory
    from kernlab.plots.page_counts import count
    from kernlab.plots.physical import physical

    small = count(opened("debian-6.1").kernel)
    large = dataclasses.replace(small, page_size=16 * small.page_size)
    bars = [sum(bar.get_width() for bar in memory(frames, None, None).patches) for frames in (small, large)]
    assert bars[1] == 16 * bars[0] > 0
    ticks = [
        [label.get_text() for label in physical(frames, None, None).get_yticklabels()]
        for frames in (small, large)
    ]
    assert ticks[0] != ticks[1]
    pyplot.close("all")
