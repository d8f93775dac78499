"""Where the regions of a kernel's address space begin: its image, the direct map, the vmalloc space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import DumpFormatError, KernlabError
from kernlab.escape import show_controls
from kernlab.formats.base import DumpFile
from kernlab.memory import AddressSpace
from kernlab.memory.arch import Architecture, Layout, Region, architecture

if TYPE_CHECKING:
    from kernlab.debuginfo.symbols import SymbolTable


def as_its_kernel(file: DumpFile, info: Vmcoreinfo) -> DumpFile:
    """A dump file in pages of the size that its kernel has, by VMCOREINFO, and of the kernel's machine.

    Raises DumpFormatError for a machine that kernlab does not know, and where the file cannot be cut so.
    """
    arch = architecture(file, info)
    file.machine = arch.machine
    return file.repaged(arch.page_size)


def first_layout(file: DumpFile, info: Vmcoreinfo) -> Layout:
    """What VMCOREINFO alone says of the address space: enough to read the kernel image.

    Raises DumpFormatError for a machine that kernlab does not know, and where the note lacks what says it.
    """
    arch = architecture(file, info)
    if file.page_size != arch.page_size:
        raise DumpFormatError(
            f"{file.path}: its pages are of {file.page_size:,} bytes, those of its {file.machine} kernel of "
            f"{arch.page_size:,}"
        )
    # Where the page tables lie kallsyms says, too, and the image is read without them: see settle_page_tables.
    layout = arch.layout(info) or arch.layout(
        _Assuming(info, lambda name: info.symbol(name) or arch.image_start)
    )
    if layout is None:
        raise DumpFormatError(
            f"{file.path}: its VMCOREINFO ({len(info):,} lines) lacks {arch.needs}, "
            "without which no address can be translated. Pass a whole one as vmcoreinfo=PATH."
        )
    return layout


def as_the_file_says(file: DumpFile, info: Vmcoreinfo) -> tuple[Vmcoreinfo, str] | None:
    """VMCOREINFO with the physical base of the kernel that the file's own header has, and a sentence that says so.

    None where that has none, or the same one.
    """
    told, known = info.number("phys_base"), file.header.get("phys_base")
    if not isinstance(known, int) or known == told:
        return None
    said = info.get("NUMBER(phys_base)", "missing")[:32]
    sentence = (
        f"no kernel was found where VMCOREINFO says (NUMBER(phys_base)={said}), "
        f"but where the file's own header says (phys_base {known:,}): that was believed"
    )
    return Vmcoreinfo({**info, "NUMBER(phys_base)": str(known)}), show_controls(sentence)


def settle_page_tables(memory: AddressSpace, symbols: SymbolTable, info: Vmcoreinfo) -> list[str]:
    """Hold what VMCOREINFO says of the kernel's page tables against the symbol table and against themselves.

    Those count that map the kernel's image where it lies. Returns a sentence for each contradiction; where no tables
    can be read it stays with what is said. Raises DumpFormatError where nothing says where they are.
    """
    layout = memory.layout
    assert layout is not None
    arch = layout.arch
    said = arch.layout(info)
    known = [arch.layout(_Assuming(info, symbols.get)), said]
    tables = [each.page_table for each in known if each is not None]
    for is_so in arch.possible(info):
        for table in dict.fromkeys([*tables, *is_so.running_tables(memory.file.notes)]):
            if memory.maps_image(is_so, table, symbols.get("_stext") or info.symbol("_stext")):
                memory.layout = replace(layout, arch=is_so, page_table=table)
                return [*arch.doubts, *_contradictions(arch, said, is_so, table)]
    if not tables:
        raise DumpFormatError(
            f"{memory.file.path}: neither its VMCOREINFO nor its symbol table says where the kernel's page tables lie "
            f"({arch.needs}). Pass a whole VMCOREINFO as vmcoreinfo=PATH"
        )
    memory.layout = replace(layout, page_table=tables[0])
    return [*arch.doubts]


def _contradictions(told: Architecture, said: Layout | None, arch: Architecture, table: int) -> list[str]:
    doubts = []
    if said is None or said.page_table != table:
        where = "does not say where they lie" if said is None else f"puts them at {said.page_table:#x}"
        doubts.append(
            f"the kernel's page tables at physical address {table:#x}, which map the kernel, were taken: VMCOREINFO "
            f"{where}"
        )
    if str(arch) != str(told):
        doubts.append(
            f"the kernel's page tables were read with {arch}, as they map the kernel so: by VMCOREINFO they have {told}"
        )
    return doubts


@dataclass(frozen=True, slots=True)
class _Assuming:
    """VMCOREINFO, with symbols from elsewhere."""

    info: Vmcoreinfo
    symbol: Callable[[str], int | None]

    def number(self, name: str) -> int | None:
        """See Vmcoreinfo.number."""
        return self.info.number(name)

    def size(self, name: str) -> int | None:
        """See Vmcoreinfo.size."""
        return self.info.size(name)

    @property
    def page_size(self) -> int | None:
        """See Vmcoreinfo.page_size."""
        return self.info.page_size

    @property
    def kerneloffset(self) -> int | None:
        """See Vmcoreinfo.kerneloffset."""
        return self.info.kerneloffset


def complete_layout(memory: AddressSpace, symbols: SymbolTable) -> list[str]:
    """Add the direct map, and narrow the image's map to what is the image, once symbols can be looked up.

    Returns a sentence where the page tables contradict the kernel's own variable. Raises FaultError and PageExcluded
    where the variables that say it cannot be read.
    """
    layout = memory.layout
    assert layout is not None
    start, end = symbols.get("_text"), symbols.get("_end")
    if start is not None and end is not None and layout.image_start <= start < end <= layout.image_end:
        layout.image_start, layout.image_end = start, end
    arch = layout.arch
    direct, doubts = _direct_map(memory, symbols)
    vmalloc = told_start(memory, symbols, arch.vmalloc) or 0
    max_pfn = symbols.get("max_pfn")
    frames = memory.file.max_pfn
    if max_pfn is not None:
        value, status = memory.gather([max_pfn], 8)
        if not status[0]:
            frames = max(frames, int(value.view("<u8")[0, 0]))
    layout.direct_start = direct
    layout.direct_end = min(direct + frames * arch.page_size, vmalloc if vmalloc > direct else 1 << 64)
    return doubts


def _direct_map(memory: AddressSpace, symbols: SymbolTable) -> tuple[int, list[str]]:
    """Where the direct map begins, by the first witness with which the page tables map the image's own memory."""
    told = told_start(memory, symbols, memory.arch.direct_map)
    if told is not None and _maps_image(memory, told):
        return told, []
    mapped = memory.direct_map_start()
    if mapped is not None and (not told or _maps_image(memory, mapped)):
        return mapped, [] if not told else [
            f"{memory.arch.direct_map.variable} is {told:#x}, but the page tables map all of memory at {mapped:#x}: "
            "that was believed"
        ]
    return told or fixed_start(symbols, memory.arch.direct_map), []


def _maps_image(memory: AddressSpace, direct: int) -> bool:
    """Do the page tables map, with the direct map at `direct`, the physical memory that the kernel's image lies in?"""
    layout = memory.layout
    assert layout is not None
    physical = (layout.image_start + layout.image_offset) % (1 << 64)
    where = np.array([(direct + physical) % (1 << 64)], dtype=np.uint64)
    found, status = memory.lookup(np.array([layout.page_table], dtype=np.uint64), where)
    return not status[0] and int(found[0]) == physical


def vmalloc_base(memory: AddressSpace, symbols: SymbolTable) -> int | None:
    """Where the vmalloc space begins; None where the dump does not say.

    Raises KernlabError where what the variable says cannot be.
    """
    region = memory.arch.vmalloc
    try:
        base = told_start(memory, symbols, region)
        base = fixed_start(symbols, region) if base is None else base
    except KernlabError:
        return None
    if not memory.arch.kernel_start <= base <= (1 << 64) - memory.arch.vmalloc_bytes:
        raise KernlabError(f"where the vmalloc space begins is not known: {region.variable} says {base:#x}")
    return base


def told_start(memory: AddressSpace, symbols: SymbolTable, region: Region) -> int | None:
    """Where a region begins, by the variable that moves it; None for a kernel without it."""
    address = symbols.get(region.variable) if region.variable else None
    if address is None:
        return None
    return memory.arch.region_start(region, int.from_bytes(memory.read(address, 8), "little"))


def fixed_start(symbols: SymbolTable, region: Region) -> int:
    """Where it begins in a kernel that never moves it (without CONFIG_RANDOMIZE_MEMORY)."""
    if region.variable and symbols.functions_only:
        symbols.address(region.variable)
    return region.fixed
