"""A machine with a kernel's types and symbols, and nothing in its memory that was ever true.

`hollow_kernel(types, symbols, machine)` is a `Kernel` on which every table function runs as on a dump: it asks for the
same symbols, types and members, and takes the same turns where this kernel has or lacks them. What it reads is made up,
by the type of what is asked for: every pointer leads somewhere, every list has one entry, every number is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core import members
from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import Access
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.types import ArrayType, FloatType, IntType, PointerType, StructType, Types
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError
from kernlab.formats.base import DumpFile
from kernlab.memory import AddressSpace, Located
from kernlab.memory.arch import ARCHITECTURES, Architecture, Layout
from kernlab.memory.page_tables import Touches, Walk

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: How many page frames the machine has: enough for a section of the memory map, few enough to be counted at once.
_FRAMES = 64
#: Where every pointer leads to: a page within the map of all memory.
_SOMEWHERE = 0x4000
#: What every number is: a ring of 2^4 records is large enough to be one, and 4 things are soon looked at.
_NUMBER = 4
#: What is read as bytes, not as a pointer: little-endian words of 1.
_ONE = np.array([1, 0, 0, 0, 0, 0, 0, 0], dtype=np.uint8)
#: What VMCOREINFO would say.
_LINES = {"NUMBER(phys_base)": "0", "PAGESIZE": "4096"}
#: Longer reads than this are of sizes that are made up, too.
_LONGEST = 1 << 22


def hollow_kernel(
    types: Types, symbols: SymbolTable, machine: str, release: str = "", name: str = ""
) -> Kernel:
    """A kernel of these types and symbols on a `machine` ("x86_64") whose memory answers whatever is asked.

    `name` stands where a dump's path does. Raises KernlabError for a machine that kernlab does not know.
    """
    arch = architecture_of(machine)
    info = Vmcoreinfo({"OSRELEASE": release, **_LINES})
    file = HollowFile(name or "a kernel that has not crashed", machine, arch.page_size)
    start = arch.image_start
    layout = Layout(arch, 0, start, start + arch.image_bytes, -start)
    layout.direct_start = arch.direct_map.fixed
    layout.direct_end = layout.direct_start + _FRAMES * arch.page_size
    memory = HollowMemory(file, layout)
    kernel = Kernel(memory, symbols, info, types=types)
    kernel.answer = Answers(layout.direct_start + _SOMEWHERE)
    _place_page_structs(kernel)
    return kernel


def _place_page_structs(kernel: Kernel) -> None:
    """Where made-up memory does not say where page structs lie, they lie where they mostly do."""
    known = vars(kernel)
    try:
        assert kernel.vmemmap
        # Tables shall ask for it by themselves.
        del known["vmemmap"]
    except KernlabError:
        known["vmemmap"] = kernel.arch.vmemmap.fixed
    known.pop("section_table", None)


def architecture_of(machine: str) -> Architecture:
    """The architecture as most kernels use it. Raises KernlabError for a machine that kernlab does not know."""
    if machine not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise KernlabError(f"a kernel of a {machine} machine; kernlab reads dumps of {known}")
    return ARCHITECTURES[machine].of(Vmcoreinfo(_LINES))


def hollow_symbols(names: list[str], letters: str, machine: str) -> SymbolTable:
    """A symbol table of these names, each 64 bytes behind the one before; `letters` are kallsyms', one a name."""
    arch = architecture_of(machine)
    raw = [name.encode("utf-8", "replace").replace(b"\0", b"") for name in names]
    lengths = np.array([len(name) + 1 for name in raw], dtype=np.int64)
    addresses = np.uint64(arch.image_start) + np.arange(len(names), dtype=np.uint64) * np.uint64(64)
    return SymbolTable(
        b"\0".join([b"", *raw, b""]),
        1 + np.cumsum(lengths) - lengths,
        addresses,
        np.frombuffer(letters.encode("latin-1", "replace"), dtype=np.uint8),
        arch.image_start,
    )


class Answers:
    """What stands for the value of a member, by its type."""

    def __init__(self, pointer: int):
        self._pointer = np.uint64(pointer)

    def __call__(self, access: Access, valid: Mask) -> Column:
        """A column of `len(valid)` rows."""
        final, count = access.type, len(valid)
        if isinstance(final, ArrayType):
            element = final.element.strip()
            length = final.count
            if not length or length > members.WIDEST_ARRAY or isinstance(element, StructType | ArrayType):
                return Column(np.full(count, self._pointer), valid, "address", final)
            if members.is_char(element):
                return Column(np.full(count, "k", dtype=object), valid, "text", final)
            kind, value = self._scalar(element)
            return Column(np.full((count, *np.shape(value), length), value), valid, kind, final)
        kind, value = self._scalar(final)
        if kind == "bytes":
            return Column(np.zeros((count, final.size), dtype=np.uint8), valid, kind, final)
        return Column(np.full(count, value), valid, kind, final)

    def _scalar(self, kind: Any) -> tuple[str, Any]:
        name, dtype = members.scalar_kind(kind)
        if isinstance(kind, PointerType):
            return name, self._pointer
        if name == "bool":
            return name, np.True_
        if name == "bytes":
            return name, np.uint8(0)
        assert isinstance(kind, FloatType | IntType) or name == "enum"
        return name, np.dtype(dtype).type(_NUMBER)


class HollowFile(DumpFile):
    """A dump file of `_FRAMES` frames that nobody wrote."""

    def __init__(self, name: str, machine: str, page_size: int):
        self.path = Path(name)
        self.format = "kernel"
        self.page_size = page_size
        self.machine = machine
        self.vmcoreinfo = None
        self.header: dict[str, object] = {}
        self.notes: list[Any] = []
        self.problems: list[str] = []
        self.frame_count = self.max_pfn = _FRAMES

    def find(self, pfns: U64) -> npt.NDArray[np.int64]:
        """Every frame is there."""
        return np.minimum(pfns, np.uint64(_FRAMES - 1)).astype(np.int64)

    def present(self, most: int) -> Any:
        """All frames."""
        yield np.arange(_FRAMES, dtype=np.int64)

    def read_into(self, indices: npt.NDArray[np.int64], out: U8) -> U8:
        """Words of 1."""
        out[:] = np.resize(_ONE, out.shape[1])
        return np.zeros(len(indices), dtype=np.uint8)

    def close(self) -> None:
        """Nothing is open."""


class HollowMemory(AddressSpace):
    """Memory in which every address can be read: a word of 8 bytes is a pointer, everything else words of 1."""

    def __init__(self, file: HollowFile, layout: Layout):
        super().__init__(file, layout, 1 << 20)
        self._pointer = np.uint64(layout.direct_start + _SOMEWHERE)

    def gather(self, addresses: npt.ArrayLike, size: int, *, physical: bool = False) -> tuple[U8, U8]:
        """See AddressSpace.gather."""
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        if size < 0 or len(wanted) * size > _LONGEST:
            raise KernlabError(
                f"{len(wanted):,} × {size:,} bytes of a kernel that has not crashed are refused"
            )
        self._count(len(wanted), size)
        out = np.empty((len(wanted), size), dtype=np.uint8)
        if size == 8:
            out[:] = np.frombuffer(self._pointer.tobytes(), dtype=np.uint8)
        else:
            out[:] = np.resize(_ONE, size)
        return out, np.zeros(len(wanted), dtype=np.uint8)

    def read(self, address: int, size: int, *, physical: bool = False) -> bytes:
        """See AddressSpace.read."""
        if not 0 <= size <= _LONGEST:
            raise KernlabError(f"{size:,} bytes of a kernel that has not crashed are refused")
        if size == 8:
            return self._pointer.tobytes()
        return np.resize(_ONE, size).tobytes()

    def read_partial(self, address: int, size: int, *, physical: bool = False) -> tuple[U8, Mask]:
        """See AddressSpace.read_partial."""
        return np.frombuffer(self.read(address, size), dtype=np.uint8).copy(), np.ones(size, dtype=bool)

    def _translate(self, addresses: U64) -> tuple[U64, U8]:
        page = np.uint64(self.page_size)
        return addresses % (np.uint64(_FRAMES) * page), np.zeros(len(addresses), dtype=np.uint8)

    def locate(self, addresses: npt.ArrayLike) -> Located:
        """See AddressSpace.locate."""
        count = len(np.ascontiguousarray(addresses, dtype=np.uint64))
        return Located(np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.uint8))

    def lookup(self, tables: npt.ArrayLike, addresses: npt.ArrayLike) -> tuple[U64, U8]:
        """See AddressSpace.lookup."""
        return self._translate(np.ascontiguousarray(addresses, dtype=np.uint64))

    def walk_tables(
        self, owner: npt.NDArray[np.int64], tables: U64, *, kernel: bool, touches: Touches | None = None
    ) -> Walk:
        """No entries."""
        none = np.zeros(0, dtype=np.int64)
        return Walk(self.walker, none, none.astype(np.uint64), kernel, 0)
