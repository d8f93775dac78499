"""The walker takes everything from the architecture: other page sizes, levels and entries, against a slow walk.

The formats are x86-64's, one like it with other shifts, arm64's, and CONTRIBUTING's example, a part of arm64's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.overlay import MemoryFile

from kernlab.core.regions import first_layout
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import DumpFormatError
from kernlab.formats.base import FrameStatus
from kernlab.memory import AddressSpace, arch
from kernlab.memory.address_space import Status
from kernlab.memory.arch import Architecture, Layout, Level, architecture
from kernlab.memory.arch.arm64 import Arm64
from kernlab.memory.arch.x86_64 import X86_64

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: The first frame with tables: its address needs more than 48 bits where pages are of 64 KiB.
FIRST = 1 << 33


def example() -> type[Architecture]:
    """CONTRIBUTING's example of an architecture, run as it stands; what it registers is taken back."""
    (section,) = re.findall(r"^## Add an architecture\n(.*?)^## ", CONTRIBUTING.read_text(), re.M | re.S)
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    before, names = dict(arch.ARCHITECTURES), {}
    try:
        exec(compile(code, str(CONTRIBUTING), "exec"), names)
        (made,) = set(arch.ARCHITECTURES.values()) - set(before.values())
    finally:
        arch.ARCHITECTURES.clear()
        arch.ARCHITECTURES.update(before)
    return made


class OtherShifts(X86_64):
    """x86-64's entries in tables of 1,024, for pages of 8 KiB."""

    def __init__(self) -> None:
        super().__init__()
        self.page_shift, self.half_bits = 13, 42
        self.levels = (Level(33, 10), Level(23, 10, maps=True), Level(13, 10))


@dataclass
class Format:
    """An architecture, and its entries by plain arithmetic that shares nothing with it."""

    arch: Architecture
    #: Where an entry of arm64 has the bits of an address above the others: (their number, first bit, bit of address).
    arm: tuple[int, int, int] | None = None
    mask: int = 0

    def encode(self, physical: int, is_table: bool, is_last: bool) -> int:
        if self.arm:
            kind = 3 if is_table or is_last else 1
            _, at, top = self.arm
            return physical & (1 << top) - 1 | physical >> top << at | 0x400 | kind
        return physical | self.mask | (0x63 if is_table or is_last else 0xE3)

    def decode(self, level: int, entry: int) -> tuple[str, int] | None:
        """("table" or "page", physical address); None for what the hardware does not follow."""
        last, may_map = level == len(self.arch.levels) - 1, self.arch.levels[level].maps
        span = 1 << self.arch.levels[level].shift
        if not entry & 1:
            return None
        if self.arm:
            bits, at, top = self.arm
            low = (1 << top) - self.arch.page_size
            physical = entry & low | (entry >> at & (1 << bits) - 1) << top
            block = not entry & 2
        else:
            physical = entry & 0x000F_FFFF_FFFF_F000 & ~self.mask
            block = bool(entry & 0x80) and may_map
        if last or (block and may_map):
            return "page", physical - physical % span
        return None if block else ("table", physical)


#: Arm Architecture Reference Manual, "Translation table descriptor formats": bits 12 to 15 are bits 48 to 51 of an
#: address with 64 KiB pages, bits 8 and 9 are bits 50 and 51 with smaller ones and addresses of 52 bits.
_HIGH_64K, _HIGH_LPA2, _HIGH_NONE = (4, 12, 48), (2, 8, 50), (0, 0, 48)

FORMATS = {
    "four levels": Format(X86_64(4)),
    "five levels": Format(X86_64(5)),
    "encrypted": Format(X86_64(4, 1 << 51), mask=1 << 51),
    "other shifts": Format(OtherShifts()),
    "arm64, 64 KiB": Format(example()(), arm=_HIGH_64K),
    "arm64, 4 KiB": Format(Arm64(12, 48), arm=_HIGH_NONE),
    "arm64, 4 KiB, 39 bits": Format(Arm64(12, 39), arm=_HIGH_NONE),
    "arm64, 4 KiB, 52 bits": Format(Arm64(12, 52), arm=_HIGH_LPA2),
    "arm64, 16 KiB": Format(Arm64(14, 47), arm=_HIGH_NONE),
    "arm64, 16 KiB, 52 bits": Format(Arm64(14, 52), arm=_HIGH_LPA2),
    "arm64, 64 KiB, 42 bits": Format(Arm64(16, 42), arm=_HIGH_64K),
    "arm64, 64 KiB, 52 bits": Format(Arm64(16, 52), arm=_HIGH_64K),
}


@pytest.fixture(params=FORMATS)
def form(request) -> Format:
    return FORMATS[request.param]


class Tables:
    """Frames with page tables made at random: links to one another (in circles, too), pages, marks, wild links."""

    def __init__(self, form: Format, seed: int, count: int = 12) -> None:
        self.form, self.random = form, np.random.default_rng(seed)
        self.size = form.arch.page_size
        #: Which frames were made to be tables of which level; entries of the second kind are of no level's making.
        self.levels = [level % len(form.arch.levels) for level in range(count)]
        self.entries: list[dict[int, int]] = [self._table(level) for level in self.levels]
        self.gone = {FIRST + int(self.random.integers(1, count)): FrameStatus.EXCLUDED}

    def _table(self, number: int) -> dict[int, int]:
        level = self.form.arch.levels[number]
        columns = self.random.choice(level.entries, size=min(8, level.entries), replace=False).tolist()
        return {column: self._entry(number, level) for column in columns}

    def _entry(self, number: int, level: Level) -> int:
        last = number == len(self.form.arch.levels) - 1
        kind = int(self.random.integers(10))
        if kind == 0:
            return int(self.random.integers(1 << 63)) & ~1
        if kind == 1:
            return int(self.random.integers(1 << 63)) | 1
        if last or (kind < 4 and level.maps):
            frame = int(self.random.integers(1 << 20)) << level.shift
            return self.form.encode(frame, False, last)
        below = [at for at, found in enumerate(self.levels) if found == number + 1] or [0]
        frame = FIRST + below[int(self.random.integers(len(below)))]
        return self.form.encode(frame * self.size, True, False)

    def memory(self) -> AddressSpace:
        frames: dict[int, bytes | FrameStatus] = {}
        for number, entries in enumerate(self.entries):
            words = np.zeros(self.size // 8, dtype="<u8")
            words[list(entries)] = list(entries.values())
            frames[FIRST + number] = words.tobytes()
        frames.update(self.gone)
        file = MemoryFile(frames, page_size=self.size, machine=self.form.arch.machine)
        return AddressSpace(file, Layout(self.form.arch, FIRST * self.size, 0, 0, 0))

    def table(self, physical: int) -> dict[int, int] | FrameStatus:
        """What a walk finds at a table's address; 8-byte words, wherever it lies."""
        frame, inside = divmod(physical, self.size)
        if frame in self.gone:
            return self.gone[frame]
        number = frame - FIRST
        if not 0 <= number < len(self.entries):
            return FrameStatus.ABSENT
        assert not inside
        return self.entries[number]

    def slow_lookup(self, address: int) -> tuple[int, int]:
        arch = self.form.arch
        table = FIRST * self.size
        if isinstance(arch, Arm64):
            # The uppermost byte may be a tag; the table is of the kernel's half.
            sign = 0xFF if address >> 55 & 1 else 0
            address = address & (1 << 56) - 1 | sign << 56
            if not sign:
                return 0, Status.UNMAPPED
        if not (address < 1 << arch.half_bits or address >= (1 << 64) - (1 << arch.half_bits)):
            return 0, Status.UNMAPPED
        for number, level in enumerate(arch.levels):
            found = self.table(table)
            if isinstance(found, FrameStatus):
                return 0, int(found)
            decoded = self.form.decode(number, found.get(address >> level.shift & (1 << level.bits) - 1, 0))
            if decoded is None:
                return 0, Status.UNMAPPED
            kind, table = decoded
            if kind == "page":
                return table + address % (1 << level.shift), 0
        raise AssertionError

    def slow_walk(self, owners: list[int], tables: list[int], kernel: bool):
        """Everything that is not empty in one half, as sets: (owner, address, value, size), and what was lost."""
        arch = self.form.arch
        start = (1 << 64) - (1 << arch.half_bits) if kernel else 0
        count = 1 << arch.half_bits - arch.levels[0].shift
        first = start >> arch.levels[0].shift & (1 << arch.levels[0].bits) - 1
        found, lost, repeated = set(), set(), 0
        todo = [(owner, table, start) for owner, table in zip(owners, tables, strict=True)]
        for number, level in enumerate(arch.levels):
            begin, end = (first, first + count) if number == 0 else (0, 1 << level.bits)
            below, met = [], set()
            for owner, table, base in todo:
                entries = self.table(table)
                if isinstance(entries, FrameStatus):
                    lost.add((owner, base, base + (end - begin << level.shift)))
                    continue
                for column in sorted(column for column in entries if begin <= column < end):
                    address, value = base + (column - begin << level.shift), entries[column]
                    decoded = self.form.decode(number, value)
                    if decoded is None or decoded[0] == "page":
                        found.add((owner, address, value, 1 << level.shift))
                    elif (owner, decoded[1]) in met:
                        repeated += 1
                    else:
                        met.add((owner, decoded[1]))
                        below.append((owner, decoded[1], address))
            todo = below
        return found, lost, repeated


@SETTINGS
@given(name=st.sampled_from(sorted(FORMATS)), seed=st.integers(0, 1 << 32), inside=st.integers(0, 1 << 62))
def test_addresses_translate_as_a_slow_walk_says(name, seed, inside):
    tables = Tables(FORMATS[name], seed)
    known, _, _ = tables.slow_walk([0], [FIRST * tables.size], True)
    users, _, _ = tables.slow_walk([0], [FIRST * tables.size], False)
    ask = [address + inside % size for _, address, _, size in known | users]
    ask += [int(wild) for wild in tables.random.integers(0, 1 << 64, size=20, dtype=np.uint64)]
    physical, status = tables.memory().translate(np.array(ask, dtype=np.uint64))
    mapped = np.where(status == 0, physical, np.uint64(0))
    assert list(zip(mapped.tolist(), status.tolist(), strict=True)) == [tables.slow_lookup(at) for at in ask]


@SETTINGS
@given(name=st.sampled_from(sorted(FORMATS)), seed=st.integers(0, 1 << 32), kernel=st.booleans())
def test_address_spaces_are_walked_as_a_slow_walk_does(name, seed, kernel):
    tables = Tables(FORMATS[name], seed)
    tops = [FIRST * tables.size, FIRST * tables.size, (FIRST + len(tables.form.arch.levels)) * tables.size]
    walk = tables.memory().walk_tables(np.arange(3), np.array(tops, dtype=np.uint64), kernel=kernel)
    blocks = list(walk)
    found = {
        entry
        for block in blocks
        for entry in zip(
            *(getattr(block, key).tolist() for key in ("owner", "address", "value", "size")), strict=True
        )
    }
    expected, lost, repeated = tables.slow_walk([0, 1, 2], tops, kernel)
    assert found == expected
    assert set(walk.lost) == lost
    assert (walk.repeated, walk.beyond) == (repeated, 0)
    levels = {level.span: number for number, level in enumerate(tables.form.arch.levels)}
    for block in blocks:
        followed = block.where(block.walked)
        for value, size, pfn in zip(
            *(getattr(followed, k).tolist() for k in ("value", "size", "pfns")), strict=True
        ):
            decoded = tables.form.decode(levels[size], value)
            assert decoded is None or decoded[1] == pfn * tables.size


@SETTINGS
@given(name=st.sampled_from(sorted(FORMATS)), seed=st.integers(0, 1 << 32))
def test_the_first_thing_that_the_kernel_maps(name, seed):
    tables = Tables(FORMATS[name], seed)
    arch = tables.form.arch
    table, base = FIRST * tables.size, (1 << 64) - (1 << arch.half_bits)
    expected = None
    for number, level in enumerate(arch.levels):
        entries = tables.table(table)
        first = (base >> level.shift & (1 << level.bits) - 1) if number == 0 else 0
        followed = (
            []
            if isinstance(entries, FrameStatus)
            else [
                (column, decoded)
                for column, value in sorted(entries.items())
                if column >= first and (decoded := tables.form.decode(number, value)) is not None
            ]
        )
        if not followed:
            break
        column, (kind, table) = followed[0]
        base += column - first << level.shift
        if kind == "page":
            expected = base, table
            break
    assert tables.memory().walker.first(FIRST * tables.size) == expected


def test_pages_of_another_size_are_read_whole(form):
    """Two pages that lie side by side at virtual addresses, and apart in memory."""
    arch, size = form.arch, form.arch.page_size
    words = {number: np.zeros(size // 8, dtype="<u8") for number in range(len(arch.levels))}
    address = arch.kernel_start + (3 << arch.levels[0].shift)
    for number, level in enumerate(arch.levels[:-1]):
        column = address >> level.shift & level.entries - 1
        words[number][column] = form.encode((FIRST + number + 1) * size, True, False)
    for column, frame in ((0, 40), (1, 30)):
        words[len(arch.levels) - 1][column] = form.encode((FIRST + frame) * size, False, True)
    frames: dict[int, bytes | FrameStatus] = {
        FIRST + number: table.tobytes() for number, table in words.items()
    }
    data = {frame: np.random.default_rng(frame).bytes(size) for frame in (30, 40)}
    frames |= {FIRST + frame: content for frame, content in data.items()}
    memory = AddressSpace(MemoryFile(frames, page_size=size), Layout(arch, FIRST * size, 0, 0, 0))
    assert memory.read(address, 2 * size) == data[40] + data[30]
    rows, status = memory.gather([address + size - 8, address + size - 4, address + 2 * size], 8)
    assert rows[:2].tobytes() == data[40][-8:] + data[40][-4:] + data[30][:4]
    assert status.tolist() == [0, 0, Status.UNMAPPED]


def test_sizes_follow_from_the_levels(form):
    sizes = {"four levels": (4096, 512), "other shifts": (8192, 1024), "arm64, 64 KiB": (65536, 8192)}
    for name, (page, huge) in sizes.items():
        arch = FORMATS[name].arch
        assert (arch.page_size, arch.huge_pages, 1 << arch.huge_order) == (page, huge, huge)
        assert arch.page_sizes[:2] == (page, page * huge)
    half = np.array([form.arch.kernel_start - 1, form.arch.kernel_start], dtype=np.uint64)
    assert form.arch.is_kernel(half).tolist() == [False, True]
    assert form.arch.is_canonical(half).tolist() == [False, True]


def test_an_unknown_machine_is_refused_by_its_name():
    with pytest.raises(
        DumpFormatError, match=r"synthetic: a dump of a vax machine; kernlab .* of aarch64, x86_64 only"
    ):
        architecture(MemoryFile({}, machine="vax"), Vmcoreinfo({}))


def test_a_dump_whose_pages_are_of_another_size_than_its_kernels_is_refused():
    with pytest.raises(
        DumpFormatError, match="pages are of 65,536 bytes, those of its x86_64 kernel of 4,096"
    ):
        first_layout(MemoryFile({}, page_size=65536), Vmcoreinfo({}))


def test_a_registered_machine_is_found_by_its_name(monkeypatch):
    kind = type(FORMATS["arm64, 64 KiB"].arch)
    monkeypatch.setitem(arch.ARCHITECTURES, "arm64", kind)
    info = Vmcoreinfo(
        {
            "NUMBER(kimage_voffset)": str(kind.image_start),
            "SYMBOL(swapper_pg_dir)": f"{kind.image_start + 0x10000:x}",
        }
    )
    layout = first_layout(MemoryFile({}, machine="arm64", page_size=65536), info)
    assert type(layout.arch) is kind
    assert (layout.page_table, layout.image_physical(layout.image_start + 64)) == (0x10000, 64)
