"""`Kernel`: the memory, symbols and types of one dump, held together for structs, walks, tables and traces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import AddressError, DumpFormatError, KernlabError, TypeNotFoundError, TypesLostError
from kernlab.formats.base import DumpFile
from kernlab.memory import Located, Memory
from kernlab.memory.arch import x86_64
from kernlab.memory.arena import DEFAULT_BOUND
from kernlab.util import addresses

if TYPE_CHECKING:
    from kernlab.debuginfo.symbols import SymbolTable
    from kernlab.debuginfo.types import Type, Types

Kept = TypeVar("Kept")

#: More CPUs than any x86-64 kernel can be built for (CONFIG_NR_CPUS goes to 8,192): a bound for damaged counts.
MOST_CPUS = 8192

#: BTF of the kernel image larger than this is no BTF (today's are 4 to 8 MB).
_LARGEST_BTF = 256 << 20

#: include/linux/mmzone.h, SECTION_HAS_MEM_MAP: a flag in the low bits of mem_section.section_mem_map.
_SECTION_HAS_MEM_MAP = np.uint64(2)

# Without CONFIG_RANDOMIZE_MEMORY the bases are constants (arch/x86/include/asm/page_64_types.h, pgtable_64_types.h).
_FIXED_BASES = {
    4: {
        "page_offset_base": 0xFFFF888000000000,
        "vmalloc_base": 0xFFFFC90000000000,
        "vmemmap_base": 0xFFFFEA0000000000,
    },
    5: {
        "page_offset_base": 0xFF11000000000000,
        "vmalloc_base": 0xFFA0000000000000,
        "vmemmap_base": 0xFFD4000000000000,
    },
}


class Kernel:
    """What is known of the kernel in one dump: `memory`, `symbols`, `types`, and the handful of facts they rest on.

    Symbols and types are read from the dump itself when first asked for. `problems` holds what was lost before any
    table was built. `token` names this kernel in the address dtype of frames.
    """

    def __init__(self, file: DumpFile, *, vmcoreinfo: bytes | None = None, arena_bound: int = DEFAULT_BOUND):
        self.file = file
        raw = vmcoreinfo if vmcoreinfo is not None else file.vmcoreinfo
        if raw is None:
            raise DumpFormatError(
                f"{file.path}: this {file.format} dump carries no VMCOREINFO, which says where the kernel lies. "
                "If you have it from elsewhere, pass vmcoreinfo=PATH; QEMU writes it with -device vmcoreinfo."
            )
        self.vmcoreinfo = Vmcoreinfo.parse(raw)
        self.page_size = file.page_size
        self.memory = Memory(file, _first_layout(file, self.vmcoreinfo), arena_bound)
        self.source = str(file.path)
        self.token = ""
        #: Builds the DataFrame of `StructArray.frame`; set by whoever owns both rooms (dump.py).
        self.framer: Callable[..., Any] | None = None
        #: Shows the browser of `Struct.explore` and `StructArray.explore`; set as `framer` is.
        self.explorer: Callable[..., Any] | None = None
        #: Puts the modules' symbols and types in when a look-up misses; set by whoever owns modules.py (dump.py).
        self.load_modules: Callable[[Kernel], None] | None = None
        #: Called before the file is closed: they read what a table promised and nobody has looked at yet.
        self.before_close: list[Callable[[], None]] = []
        self.module_types: Sequence[Types] = ()
        #: Why no module's types can be known, where that is so by the kernel's making.
        self.no_module_types = ""
        self._symbols: SymbolTable | None = None
        self._types: Types | None = None
        self._lost: list[str] = []
        self._kept: dict[str, Any] = {}
        self._lock = threading.RLock()

    @property
    def problems(self) -> list[str]:
        """What the file lacks and why, one sentence each; every table bears one line of it."""
        return [*self.file.problems, *self._lost]

    def lost(self, problems: list[str]) -> None:
        """Note what was lost outside any table."""
        self._lost += [problem for problem in problems if problem not in self._lost]

    # No cached_property for these two: before Python 3.12 it takes a lock of its own first, and a thread that holds
    # ours (in with_modules) would wait for that one for ever.
    @property
    def symbols(self) -> SymbolTable:
        """The kernel's own symbol table (kallsyms). Raises KernlabError where the dump holds none that decodes."""
        if self._symbols is None:
            from kernlab.debuginfo.kallsyms.read import read_kallsyms

            with self._lock:
                if self._symbols is None:
                    table = read_kallsyms(self.memory, self.vmcoreinfo)
                    self._complete_layout(table)
                    self._symbols = table
        return self._symbols

    @symbols.setter
    def symbols(self, table: SymbolTable) -> None:
        self._symbols = table

    @property
    def types(self) -> Types:
        """The kernel's types (BTF between __start_BTF and __stop_BTF, or found by its shape)."""
        if self._types is None:
            from kernlab.debuginfo.btf import Btf

            with self._lock:
                if self._types is None:
                    self._types = Btf(self._read_btf())
        return self._types

    @types.setter
    def types(self, types: Types) -> None:
        self._types = types

    def _type_information(self, start: int, stop: int) -> bytes:
        """The BTF from `start` to `stop`. Raises TypesLostError where the dump lacks any of it."""
        data, there = self.memory.read_partial(start, stop - start)
        if there.all():
            return data.tobytes()
        lost = np.unique(np.flatnonzero(~there) + start % self.page_size >> self.page_size.bit_length() - 1)
        pages = (stop - 1) // self.page_size - start // self.page_size + 1
        try:
            self.memory.read(start, stop - start)
            why = ""
        except KernlabError as error:
            why = f" ({error})"
        told = (
            f"the kernel's types are gone: {len(lost):,} of the {pages:,} pages that hold its BTF ({start:#018x} to "
            f"{stop:#018x}) are not in {self.source}{why}. Without them no struct can be read, nor a table of structs. "
            "What needs none still works: dump.log, info, symbols, symbol, symbolize, read, translate, search, "
            "find_symbols"
        )
        self.lost([told])
        raise TypesLostError(told)

    def type_or_none(self, name: str) -> Type | None:
        """A type of the kernel's own by its C name; None where it has none, or its types are lost."""
        try:
            return self.types.get(name)
        except TypesLostError:
            return None

    def _read_btf(self) -> bytes:
        start, stop = self.symbols.get("__start_BTF"), self.symbols.get("__stop_BTF")
        if start is not None and stop is not None and start < stop <= start + _LARGEST_BTF:
            return self._type_information(start, stop)
        from kernlab.debuginfo.btf_search import find_btf

        found = find_btf(self.memory, self.vmcoreinfo)
        if found is not None:
            return found
        if self.symbols.functions_only:
            raise TypesLostError(
                f"{self.source}: no type information (BTF) was found in the kernel image, and nothing says where it "
                "should lie, as this kernel's symbol table names functions only (CONFIG_KALLSYMS_ALL is off): the "
                "kernel was built without CONFIG_DEBUG_INFO_BTF, or the dump lacks pages of the image. kernlab does "
                "not read types from a vmlinux yet"
            )
        raise TypesLostError(
            f"{self.source}: this kernel carries no type information of its own (built without "
            "CONFIG_DEBUG_INFO_BTF), and kernlab does not read it from a vmlinux yet."
        )

    def _complete_layout(self, symbols: SymbolTable) -> None:
        """Add the direct map, and narrow the image's map to what is the image, once symbols can be looked up."""
        layout = self.memory.layout
        assert layout is not None
        start, end = symbols.get("_text"), symbols.get("_end")
        if start is not None and end is not None and layout.image_start <= start < end <= layout.image_end:
            layout.image_start, layout.image_end = start, end
        direct = self._base(symbols, "page_offset_base") or self.memory.direct_map_start()
        if direct is None:
            direct = self._constant(symbols, layout, "page_offset_base")
        vmalloc = self._base(symbols, "vmalloc_base") or 0
        max_pfn = symbols.get("max_pfn")
        frames = self.file.max_pfn
        if max_pfn is not None:
            value, status = self.memory.gather([max_pfn], 8)
            if not status[0]:
                frames = max(frames, int(value.view("<u8")[0, 0]))
        layout.direct_start = direct
        layout.direct_end = min(direct + frames * self.page_size, vmalloc if vmalloc > direct else 1 << 64)

    def _base(self, symbols: SymbolTable, name: str) -> int | None:
        """Where a region of the address space begins, by the variable that moves it; None for a kernel without it."""
        address = symbols.get(name)
        return None if address is None else int.from_bytes(self.memory.read(address, 8), "little")

    def _constant(self, symbols: SymbolTable, layout: x86_64.Layout, name: str) -> int:
        """Where it begins in a kernel that never moves it (without CONFIG_RANDOMIZE_MEMORY)."""
        if symbols.functions_only:
            symbols.address(name)
        return _FIXED_BASES[layout.levels][name]

    @cached_property
    def vmalloc_base(self) -> int | None:
        """Where the vmalloc space begins; None where the dump does not say."""
        layout = self.memory.layout
        assert layout is not None
        try:
            base = self._base(self.symbols, "vmalloc_base")
            return self._constant(self.symbols, layout, "vmalloc_base") if base is None else base
        except KernlabError:
            return None

    @cached_property
    def vmemmap(self) -> int:
        """Address of the array of all `struct page`s (CONFIG_SPARSEMEM_VMEMMAP).

        The first section of memory tells it as well. Raises KernlabError for a kernel that has no such array, or where
        nothing says where it lies.
        """
        layout, symbols = self.memory.layout, self.symbols
        assert layout is not None
        told, mapped = self._base(symbols, "vmemmap_base"), self._first_section_map()
        if mapped is None:
            return self._constant(symbols, layout, "vmemmap_base") if told is None else told
        direct = layout.direct_start <= mapped < layout.direct_end
        # Without the array each section has page structs of its own, in the direct map.
        if direct or mapped % (1 << 30) or told not in (None, mapped):
            raise KernlabError(
                "this kernel's page structs lie section by section (CONFIG_SPARSEMEM_VMEMMAP is off), which kernlab "
                "does not read: what pages hold is not known"
            )
        return mapped

    def _first_section_map(self) -> int | None:
        """What the first section with page structs says of where they lie, as if it began with frame 0 (mm/sparse.c,
        sparse_encode_mem_map); None where that cannot be read."""
        table = self.vmcoreinfo.symbol("mem_section")
        if table is None:
            return None
        size = self.vmcoreinfo.size("mem_section") or 16
        root, status = self.gather([table], 8)
        rows, read = self.gather(root.view("<u8")[:, 0], self.page_size // size * size)
        if status[0] or read[0]:
            return None
        words = rows.view("<u8").reshape(-1, size // 8)[:, 0]
        there = words[(words & _SECTION_HAS_MEM_MAP) != 0]
        return int(there[0]) & ~(self.page_size - 1) if len(there) else None

    def with_modules(self) -> None:
        """See to it that the modules' symbols and types are there, too."""
        with self._lock:
            load, self.load_modules = self.load_modules, None
            if load is not None:
                try:
                    load(self)
                except KernlabError as error:
                    # Who asked for the kernel's own shall not fail for the modules.
                    self.lost([f"the symbols and types of modules are not known: {error}"])

    def symbol(self, name: str) -> int:
        """Address of a symbol, of the kernel or else of a module.

        Raises SymbolNotFoundError, naming symbols that are spelt alike.
        """
        address = self.symbols.get(name)
        if address is None:
            self.with_modules()
            return self.symbols.address(name)
        return address

    def address(self, given: Any) -> int:
        """One address, given in any of the ways that kernlab/util/addresses.py lists, a symbol's name among them.

        Raises AddressError, SymbolNotFoundError.
        """
        return addresses.number(given, self._named)

    def addresses(self, given: Any) -> addresses.Given:
        """One address or many, given in any of those ways. Raises AddressError, SymbolNotFoundError."""
        return addresses.several(given, self._named)

    def _named(self, name: str) -> int:
        address = self.symbol(name)
        start, end = self.symbols.get("__per_cpu_start"), self.symbols.get("__per_cpu_end")
        if start is not None and end is not None and start <= address < end:
            raise AddressError(
                f"{name} is a per-CPU variable, which lies at another address on each CPU: dump.percpu({name!r}) has "
                "them"
            )
        return address

    def find_symbol(self, name: str) -> int | None:
        """Address of a variable that not every kernel has, None where this one does not have it.

        Raises SymbolNotFoundError where its symbol table would not say so, as it names functions only.
        """
        address = self.symbols.get(name)
        if address is None and self.symbols.functions_only:
            return self.symbols.address(name)
        return address

    def find_type(self, name: str) -> Type:
        """A type by its C name, of the kernel or else of a module. Raises TypeNotFoundError."""
        found = self.types.get(name)
        if found is not None:
            return found
        self.with_modules()
        for types in self.module_types:
            found = types.get(name)
            if found is not None:
                return found
        try:
            return self.types.find(name)
        except TypeNotFoundError as error:
            if not self.no_module_types:
                raise
            raise TypeNotFoundError(f"{error}; {self.no_module_types}") from None

    def gather(
        self, addresses: npt.ArrayLike, size: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """`Memory.gather` at virtual addresses, once the direct map is known."""
        self.symbols  # noqa: B018 - completes the layout
        return self.memory.gather(addresses, size)

    def locate(self, addresses: npt.ArrayLike) -> Located:
        """`Memory.locate`, once the direct map is known."""
        self.symbols  # noqa: B018 - completes the layout
        return self.memory.locate(addresses)

    def read(self, address: int, size: int, physical: bool = False) -> bytes:
        """`Memory.read`, once the direct map is known."""
        self.symbols  # noqa: B018 - completes the layout
        return self.memory.read(address, size, physical=physical)

    def words(
        self, addresses: npt.ArrayLike, size: int = 8
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
        """Unsigned integers of 1, 2, 4 or 8 bytes at many addresses: (uint64[n], bool[n] of what could be read)."""
        rows, status = self.gather(addresses, size)
        return rows.view(f"<u{size}")[:, 0].astype(np.uint64, copy=False), status == 0

    def word(self, name: str, size: int = 8) -> int:
        """The unsigned integer in the global variable `name`; `size` in bytes.

        Raises SymbolNotFoundError, FaultError, PageExcluded.
        """
        return int.from_bytes(self.read(self.symbol(name), size), "little")

    @cached_property
    def percpu_offsets(self) -> npt.NDArray[np.uint64]:
        """What to add to a per-CPU variable's address, uint64[nr_cpu_ids] (mm/percpu.c, __per_cpu_offset).

        Where nr_cpu_ids cannot be read, the array itself tells: behind the last CPU all entries are what they were
        at boot. A kernel for a single CPU (CONFIG_SMP is off) has no areas: its per-CPU variables are plain ones.
        Raises FaultError, PageExcluded where the array cannot be read.
        """
        address = self.find_symbol("__per_cpu_offset")
        if address is None:
            return np.zeros(1, dtype=np.uint64)
        try:
            # With CONFIG_FORCE_NR_CPUS (Linux 6.1) it is a constant, and no loss.
            known = self.find_symbol("nr_cpu_ids")
            count = min(max(self.word("nr_cpu_ids", 4), 1), MOST_CPUS) if known is not None else 0
        except KernlabError as error:
            self.lost([f"the number of CPUs cannot be read ({error}); the array of per-CPU areas tells it"])
            count = 0
        if not count:
            _, _, size = self.symbols.lookup(np.array([address], dtype=np.uint64))
            every = np.frombuffer(self.read(address, min(int(size[0]), 8 * MOST_CPUS) & ~7), dtype="<u8")
            used = np.flatnonzero(every != every[-1:])
            count = int(used[-1]) + 1 if len(used) else 1
            return every[:count].astype(np.uint64)
        return np.frombuffer(self.read(address, 8 * count), dtype="<u8").astype(np.uint64)

    def once(self, name: str, make: Callable[[Kernel], Kept]) -> Kept:
        """What `make(kernel)` gives, kept under `name` for all who ask later, until the dump is closed or dropped.

        Made outside of any lock, so that threads go on reading; of several that make it at once the first one counts.
        """
        with self._lock:
            if name in self._kept:
                found: Kept = self._kept[name]
                return found
        made = make(self)
        with self._lock:
            return cast("Kept", self._kept.setdefault(name, made))

    def forget(self) -> None:
        """Drop what `once` keeps: it refers to this kernel, which therefore would not go with its last user."""
        with self._lock:
            self._kept.clear()

    def close(self) -> None:
        """Close the dump file; what was read already stays valid."""
        while self.before_close:
            self.before_close.pop()()
        self.forget()
        self.memory.close()


def _first_layout(file: DumpFile, info: Vmcoreinfo) -> x86_64.Layout:
    """What vmcoreinfo alone says of the address space: enough to read the kernel image."""
    if file.machine != "x86_64":
        raise DumpFormatError(
            f"{file.path}: a dump of a {file.machine} machine; kernlab translates addresses of x86_64 only so far."
        )
    phys_base = info.number("phys_base")
    table = info.symbol("swapper_pg_dir") or info.symbol("init_top_pgt")
    if phys_base is None or table is None:
        raise DumpFormatError(
            f"{file.path}: its VMCOREINFO ({len(info):,} lines) lacks NUMBER(phys_base) or SYMBOL(swapper_pg_dir), "
            "without which no address can be translated. Pass a whole one as vmcoreinfo=PATH."
        )
    size = info.number("KERNEL_IMAGE_SIZE") or x86_64.KERNEL_IMAGE_SIZE
    layout = x86_64.Layout(
        phys_base=phys_base,
        levels=5 if info.number("pgtable_l5_enabled") else 4,
        page_table=0,
        encryption_mask=info.number("sme_mask") or 0,
        image_end=x86_64.START_KERNEL_MAP + min(size, x86_64.KERNEL_IMAGE_SIZE),
    )
    layout.page_table = layout.image_physical(table)
    return layout
