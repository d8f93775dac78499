"""arm64: what its machines do with an address, and where its kernels of several releases lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.overlay import MemoryFile

from kernlab.core.regions import as_its_kernel, first_layout
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import DumpFormatError
from kernlab.memory import AddressSpace
from kernlab.memory.address_space import Status
from kernlab.memory.arch import Layout, architecture
from kernlab.memory.arch.arm64 import SWAP_ENTRIES, Arm64

SETTINGS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TOP = 1 << 33
MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40

#: (bits of a page, VA_BITS of the kernel, bits that the machine gives an address), as kernels are built.
BUILDS = [
    *((12, 39, 39), (12, 48, 48), (12, 52, 52), (12, 52, 48)),
    *((14, 36, 36), (14, 47, 47), (14, 48, 48), (14, 52, 52), (14, 52, 47)),
    *((16, 42, 42), (16, 48, 48), (16, 52, 52), (16, 52, 48)),
]


class Mmu:
    """One half's tables, filled and walked as the Arm Architecture Reference Manual says (AArch64 address translation).

    A walk of `bits` bits: levels of (page bits - 3) each, down to level 3, the first one taking what is left.
    `offset` bytes into its page the first table begins, as TTBR1 says.
    """

    def __init__(self, page: int, bits: int, lpa2: bool, offset: int = 0):
        self.page, self.bits, self.lpa2, self.offset = page, bits, lpa2, offset
        self.frames: dict[int, np.ndarray] = {TOP: np.zeros(1 << page - 3, dtype="<u8")}
        self.next = TOP + 1

    def steps(self):
        """(level, first bit of the index, bits of it) from the first level on."""
        stride = self.page - 3
        first = 4 - -(-(self.bits - self.page) // stride)
        for level in range(first, 4):
            shift = self.page + (3 - level) * stride
            yield level, shift, min(stride, self.bits - shift)

    def descriptor(self, output: int, kind: int) -> int:
        if self.page == 16:
            return output & (1 << 48) - (1 << 16) | output >> 48 << 12 | 0x400 | kind
        if self.lpa2:
            return output & (1 << 50) - (1 << self.page) | output >> 50 << 8 | 0x400 | kind
        return output & (1 << 48) - (1 << self.page) | 0x700 | kind

    def output(self, entry: int) -> int:
        if self.page == 16:
            return entry & 0xFFFF_FFFF_0000 | (entry >> 12 & 15) << 48
        if self.lpa2:
            return entry & (1 << 50) - (1 << self.page) | (entry >> 8 & 3) << 50
        return entry & (1 << 48) - (1 << self.page)

    def map(self, address: int, physical: int, at: int) -> bool:
        """Map the block or page of level `at` that an address lies in; False where something else is there."""
        table, first = TOP, True
        for level, shift, bits in self.steps():
            index = (address >> shift & (1 << bits) - 1) + (self.offset // 8 if first else 0)
            entries, first = self.frames[table], False
            if level == at:
                if entries[index]:
                    return False
                entries[index] = self.descriptor(physical >> shift << shift, 3 if level == 3 else 1)
                return True
            if not entries[index]:
                self.frames[self.next] = np.zeros(1 << self.page - 3, dtype="<u8")
                entries[index] = self.descriptor(self.next << self.page, 3)
                self.next += 1
            elif int(entries[index]) & 3 == 1:
                return False
            table = self.output(int(entries[index])) >> self.page
        raise AssertionError

    def walk(self, address: int) -> int | None:
        table, first = TOP, True
        for level, shift, bits in self.steps():
            index = (address >> shift & (1 << bits) - 1) + (self.offset // 8 if first else 0)
            entry, first = int(self.frames[table][index]), False
            if not entry & 1 or (level == 3 and not entry & 2):
                return None
            if level == 3 or not entry & 2:
                return self.output(entry) >> shift << shift | address & (1 << shift) - 1
            table = self.output(entry) >> self.page
        raise AssertionError


def mmu(page: int, bits: int, actual: int, kernel: bool) -> Mmu:
    # arch/arm64/include/asm/assembler.h, offset_ttbr1: 64 KiB pages with 52 bits, on a machine that has 48.
    moved = kernel and page == 16 and actual < bits
    offset = ((1 << bits - 42) - (1 << actual - 42)) * 8 if moved else 0
    return Mmu(page, actual, lpa2=page < 16 and actual == 52, offset=offset)


@SETTINGS
@given(
    build=st.sampled_from(BUILDS),
    pages=st.lists(
        st.tuples(st.integers(0, (1 << 52) - 1), st.integers(0, (1 << 52) - 1), st.booleans()), max_size=12
    ),
    kernel=st.booleans(),
    tag=st.integers(0, 255),
)
def test_every_address_translates_as_the_machine_does(build, pages, kernel, tag):
    page, bits, actual = build
    machine = mmu(page, bits, actual, kernel)
    arch = Arm64(page, bits, actual)
    large = arch.levels[-2].maps
    ask = []
    for address, physical, is_large in pages:
        physical &= (1 << 48) - 1 if not machine.lpa2 and page < 16 else (1 << 52) - 1
        if machine.map(address, physical, 2 if is_large and large else 3):
            ask += [address, address ^ 1 << page, address ^ 1 << actual - 1]
    half = ((1 << 64) - (1 << actual)) if kernel else 0
    ask = [address & (1 << actual) - 1 | half for address in ask]
    tagged = [address & (1 << 56) - 1 | tag << 56 for address in ask]
    frames = {number: words.tobytes() for number, words in machine.frames.items()}
    layout = Layout(arch, (TOP if kernel else TOP - 1) << page, 0, 0, 0)
    memory = AddressSpace(MemoryFile(frames, page_size=1 << page, machine="aarch64"), layout)
    expected = [machine.walk(address) for address in ask]
    for addresses in (ask, tagged):
        physical, status = memory.lookup([TOP << page] * len(addresses), np.array(addresses, dtype=np.uint64))
        found = [int(p) if not s else None for p, s in zip(physical, status, strict=True)]
        assert found == expected


def test_each_half_has_its_own_tables():
    machine = mmu(12, 48, 48, True)
    assert machine.map(0x1000, 0x5000, 3)
    frames = {number: words.tobytes() for number, words in machine.frames.items()}
    memory = AddressSpace(MemoryFile(frames), Layout(Arm64(), TOP << 12, 0, 0, 0))
    low, high = 0x1000, 0xFFFF_0000_0000_1000
    # The kernel's table says nothing of what a NULL pointer and its neighbours lead to.
    assert memory.translate([low, high])[1].tolist() == [Status.UNMAPPED, 0]
    # And a process's nothing of the kernel's half.
    memory.layout.page_table = 1 << 12
    assert memory.lookup([TOP << 12] * 2, [low, high])[1].tolist() == [0, Status.UNMAPPED]


def told(**values: int) -> Vmcoreinfo:
    """VMCOREINFO of an arm64 kernel; names that begin with a capital are numbers, others symbols."""
    numbers = {"page": "SIZE(page)", "PAGESIZE": "PAGESIZE", "KERNELOFFSET": "KERNELOFFSET"}
    symbols = ("_stext", "swapper_pg_dir")
    return Vmcoreinfo(
        {
            numbers.get(name, f"SYMBOL({name})" if name in symbols else f"NUMBER({name})"): (
                f"{value:x}" if name in symbols or name == "KERNELOFFSET" else str(value)
            )
            for name, value in values.items()
        }
    )


def regions(info: Vmcoreinfo) -> dict[str, int]:
    arch = architecture(MemoryFile({}, machine="aarch64"), info)
    return {
        "direct": arch.direct_map.fixed,
        "vmalloc": arch.vmalloc.fixed,
        "vmalloc_end": arch.vmalloc.fixed + arch.vmalloc_bytes,
        "vmemmap": arch.vmemmap.fixed,
    }


def test_where_a_kernel_of_4_19_lies():
    """The map of all memory in the upper half, no regions in VMCOREINFO (arch/arm64/include/asm/memory.h)."""
    stext, kaslr = 0xFFFF_2B3F_1A08_1000, 0x2B3F_1200_0000
    info = told(
        VA_BITS=48,
        kimage_voffset=0xFFFF_2B3E_DA00_0000,
        PHYS_OFFSET=1 << 30,
        KERNELOFFSET=kaslr,
        _stext=stext,
        swapper_pg_dir=stext + 32 * MIB + 0xF000,
    )
    assert regions(info) == {
        "direct": 0xFFFF_8000_0000_0000 - GIB,
        "vmalloc": 0xFFFF_0000_0800_0000,
        "vmalloc_end": 0xFFFF_8000_0000_0000 - GIB - 2 * TIB - 64 * 1024,
        "vmemmap": 0xFFFF_7E00_0000_0000 - 16 * MIB,
    }
    layout = first_layout(MemoryFile({}, machine="aarch64"), info)
    assert layout.image_start <= stext - 0x1000 < layout.image_end
    assert layout.image_physical(stext) == stext - 0xFFFF_2B3E_DA00_0000
    assert layout.page_table == layout.image_physical(stext + 32 * MIB + 0xF000)
    # What lies first in the kernel's half says nothing of the map of all memory.
    assert layout.arch.direct_map_start(0xFFFF_0000_0000_0000, 1 << 30) is None


def test_where_a_kernel_of_5_15_lies():
    stext, kaslr = 0xFFFF_C0C6_6E41_0000, 0x40C6_6640_0000
    info = told(
        VA_BITS=48,
        TCR_EL1_T1SZ=16,
        kimage_voffset=0xFFFF_C0C6_2E40_0000,
        PHYS_OFFSET=-(GIB << 10),
        KERNELOFFSET=kaslr,
        _stext=stext,
        swapper_pg_dir=stext + 24 * MIB - 0x1_0000,
        page=64,
    )
    assert regions(info) == {
        "direct": 0xFFFF_0000_0000_0000 + TIB,
        "vmalloc": 0xFFFF_8000_0800_0000,
        "vmalloc_end": 0xFFFF_FBFF_F000_0000,
        "vmemmap": 0xFFFF_FC00_0000_0000 + 16 * GIB,
    }


def test_what_vmcoreinfo_says_of_regions_is_taken():
    info = told(
        VA_BITS=52,
        TCR_EL1_T1SZ=12,
        kimage_voffset=0xFFFF_8000_4000_0000,
        PHYS_OFFSET=0xFFFF_FFFF_0000_0000,
        VMALLOC_START=0xFFFF_8000_8000_0000,
        VMALLOC_END=0xFFFF_FDFF_8000_0000,
        VMEMMAP_START=0xFFFF_C1FF_C000_0000,
        _stext=0xFFFF_8000_8001_0000,
        swapper_pg_dir=0xFFFF_8000_8200_0000,
        page=64,
        PAGESIZE=16384,
        MAX_PHYSMEM_BITS=52,
    )
    assert regions(info) == {
        "direct": 0xFFF0_0000_0000_0000 + 4 * GIB,
        "vmalloc": 0xFFFF_8000_8000_0000,
        "vmalloc_end": 0xFFFF_FDFF_8000_0000,
        "vmemmap": 0xFFFF_C1FF_C000_0000 + 16 * MIB,
    }
    arch = architecture(MemoryFile({}, machine="aarch64"), info)
    assert (arch.page_size, arch.half_bits, arch.physical_bits, len(arch.levels)) == (16384, 52, 52, 4)


@pytest.mark.parametrize(("page", "bits", "actual"), BUILDS)
def test_what_a_machine_gives_less_than_the_kernel_can(page, bits, actual):
    info = told(PAGESIZE=1 << page, VA_BITS=bits, TCR_EL1_T1SZ=64 - actual)
    arch = architecture(MemoryFile({}, machine="aarch64"), info)
    assert (arch.page_shift, arch.bits, arch.actual_bits) == (page, bits, actual)
    # The map of all memory begins where it would on a machine that gives all, and memstart_addr makes up for it.
    assert arch.direct_map.fixed == (1 << 64) - (1 << bits)
    # Whatever of it is damaged is among what is tried.
    for wrong in (told(PAGESIZE=1 << page), told(PAGESIZE=1 << page, VA_BITS=40)):
        ways = {(each.bits, each.actual_bits) for each in Arm64.possible(wrong)}
        assert (bits, actual) in ways


@pytest.mark.parametrize("missing", ["NUMBER(kimage_voffset)", "SYMBOL(swapper_pg_dir)"])
def test_a_note_that_does_not_say_where_the_image_is(missing):
    whole = told(
        VA_BITS=48,
        kimage_voffset=0xFFFF_8000_4000_0000,
        _stext=0xFFFF_8000_8001_0000,
        swapper_pg_dir=0xFFFF_8000_8200_0000,
    )
    part = Vmcoreinfo({key: value for key, value in whole.items() if key != missing})
    assert Arm64.of(whole).layout(whole) is not None
    assert Arm64.of(part).layout(part) is None


def test_an_image_that_names_no_machine_is_the_kernels_that_its_note_is_of():
    info = told(VA_BITS=48, kimage_voffset=0xFFFF_8000_4000_0000, PAGESIZE=4096)
    file = MemoryFile({})
    assert as_its_kernel(file, info).machine == "x86_64"
    file.names_machine = False
    assert as_its_kernel(file, info).machine == "aarch64"
    assert as_its_kernel(MemoryFile({}, machine="aarch64"), info).page_size == 4096
    with pytest.raises(
        DumpFormatError, match="pages are of 4,096 bytes, those of its aarch64 kernel of 65,536"
    ):
        as_its_kernel(MemoryFile({}, machine="aarch64"), told(PAGESIZE=65536))


#: arch/arm64/include/asm/pgtable.h of v6.12, v6.1 and v5.10: __swp_entry, and a page without rights (PAGE_NONE).
SWAPS = {
    SWAP_ENTRIES[0]: (lambda kind, offset: kind << 6 | offset << 12 | 1 << 2, 1 << 11 | 2),
    SWAP_ENTRIES[1]: (lambda kind, offset: kind << 3 | offset << 8 | 1 << 2, 1 << 58 | 2),
    SWAP_ENTRIES[2]: (lambda kind, offset: kind << 2 | offset << 8, 1 << 58 | 2),
}


@pytest.mark.parametrize("way", SWAP_ENTRIES)
def test_entries_that_are_not_walked(way):
    arch = Arm64()
    arch.swap_entries = way
    encode, none = SWAPS[way]
    pairs = [(kind, offset) for kind in (0, 1, 7, 31) for offset in (1, 8, 0xF, 0x12345, (1 << 36) - 1)]
    swapped = np.array([encode(*pair) for pair in pairs], dtype=np.uint64)
    small = np.zeros(len(swapped), dtype=bool)
    assert not arch.is_present(swapped, small).any()
    assert not arch.is_walked(swapped).any()
    assert [*zip(arch.swap_type(swapped).tolist(), arch.kept_frame(swapped).tolist(), strict=True)] == pairs
    denied = np.array([none | 0x1234_5000 | 0xF00 & ~(1 << 11) | 1 << 11], dtype=np.uint64)
    assert arch.is_present(denied, small[:1]).all()
    assert not arch.is_walked(denied).any()
    assert arch.present_address(denied).tolist() == [0x1234_5000]


def test_signatures_and_tags_go():
    arch = Arm64(12, 52, 48)
    signed = np.array([0x00B2_8000_8001_2345 | 1 << 55, 0xAA00_0000_0040_1000, 0xFFFF_8000_8001_2345], "u8")
    plain = [0xFFFF_8000_8001_2345, 0x40_1000, 0xFFFF_8000_8001_2345]
    assert arch.strip_code_pointer(signed).tolist() == plain
    tagged = np.array([0xF4FF_0000_1234_5678, 0x5A00_FFFF_1234_5678, 0], dtype=np.uint64)
    assert arch.untagged(tagged).tolist() == [0xFFFF_0000_1234_5678, 0xFFFF_1234_5678, 0]
