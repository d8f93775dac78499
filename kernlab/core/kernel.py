"""`Kernel`: the memory, symbols and types of one dump, held together for structs, walks, tables and traces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt

from kernlab.core import page_structs, regions, telling
from kernlab.core.budget import Budget
from kernlab.core.told import settled
from kernlab.debuginfo import asking
from kernlab.debuginfo.types import ForwardType
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import AddressError, DumpFormatError, KernlabError, TypeNotFoundError, TypesLostError
from kernlab.formats.base import DumpFile
from kernlab.memory import AddressSpace, Located
from kernlab.memory.arch import Layout
from kernlab.memory.arena import DEFAULT_BOUND
from kernlab.util import addresses, losses
from kernlab.util.losses import Scope

if TYPE_CHECKING:
    from kernlab.core.column import Column
    from kernlab.core.journal import Journal
    from kernlab.core.own_symbols import SymbolSource
    from kernlab.core.struct import Struct
    from kernlab.core.struct_array import StructArray
    from kernlab.debuginfo.member_path import Access
    from kernlab.debuginfo.symbols import SymbolTable
    from kernlab.debuginfo.types import Type, Types

Kept = TypeVar("Kept")


class Host(Protocol):
    """What a kernel and its structs ask of whoever opened the dump."""

    def frame(self, structs: StructArray, columns: dict[str, Any]) -> Any:
        """The DataFrame of `StructArray.frame`."""

    def explore(self, what: Struct | StructArray, **options: Any) -> Any:
        """The browser of `Struct.explore` and `StructArray.explore`."""

    def load_modules(self, kernel: Kernel) -> None:
        """Put the modules' symbols and types in; asked for once, when a look-up misses."""

    def other_types(self, kernel: Kernel) -> Types | None:
        """The kernel's types from a file with debug information; None where there is none for this kernel."""

    def variable_types(self, kernel: Kernel) -> Types | None:
        """Types that know global variables, too, from such a file."""

    def module_types(self, kernel: Kernel, module: str) -> Types | None:
        """A module's types from such a file."""


class Kernel:
    """What is known of the kernel in one dump: `memory`, `symbols`, `types`, and the handful of facts they rest on.

    `Kernel.open` makes one of a dump file; types are read from the dump when first asked for. `problems` holds what was
    lost before any table was built. `token` names this kernel in the address dtype of frames.
    """

    def __init__(
        self, memory: AddressSpace, symbols: SymbolTable, info: Vmcoreinfo, *, types: Types | None = None
    ):
        self.memory = memory
        self.symbols = symbols
        self.vmcoreinfo = info
        self.file = memory.file
        self.arch = memory.arch
        self.page_size = self.arch.page_size
        self.source = str(self.file.path)
        self.token = ""
        #: What rooms below this one do for it; set by who owns them all (dump.py).
        self.host: Host | None = None
        #: Of a kernel without memory (compatibility/hollow.py): what stands for the values of members. A dump has None.
        self.answer: Callable[[Access, npt.NDArray[np.bool_]], Column] | None = None
        self._has_modules = False
        self.module_types: Sequence[Types] = ()
        #: Why no module's types can be known, where that is so by the kernel's making.
        self.no_module_types = ""
        #: Files and folders with debug information that the user named (`kernlab.linux.source_lines` uses them).
        self.debug_paths: tuple[Path, ...] = ()
        #: Were those to be taken even if they are of another build?
        self.any_build = False
        self._types = types
        self._types_lost = ""
        self._own = Scope("the dump")
        self._kept: dict[str, tuple[Any, Scope]] = {}
        #: Notes what is read of structs while a table of a running machine is made; None of a dump, and otherwise.
        self.journal: Journal | None = None
        self._at_first: tuple[SymbolTable, list[str]] | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        file: DumpFile,
        *,
        vmcoreinfo: bytes | None = None,
        arena_bound: int = DEFAULT_BOUND,
        symbols: SymbolSource | None = None,
    ) -> Self:
        """The kernel in a dump file: its address space laid out and its symbol table (kallsyms) read.

        `symbols` has what that lacks, from a file.

        Raises DumpFormatError for a machine or a VMCOREINFO that kernlab cannot use, KernlabError where the dump holds
        no symbol table that decodes.
        """
        raw = vmcoreinfo if vmcoreinfo is not None else file.vmcoreinfo
        if raw is None:
            raise DumpFormatError(
                f"{file.path}: this {file.format} dump carries no VMCOREINFO, which says where the kernel lies. "
                "If you have it from elsewhere, pass vmcoreinfo=PATH; QEMU writes it with -device vmcoreinfo."
            )
        info = Vmcoreinfo.parse(raw)
        if info.redacted is not None:
            info.problems.append(
                f"{file.path} was redacted when it was written (level {info.redacted}): user memory is left out, and "
                "names and addresses are others than they were"
            )
        try:
            return cls._open(file, info, arena_bound, info.problems, symbols)
        except KernlabError as error:
            # Nothing could be read where it says that the kernel lies; the file may say so, too.
            other = regions.as_the_file_says(file, info)
            if other is None:
                raise
            corrected, doubt = other
            try:
                return cls._open(file, corrected, arena_bound, [*info.problems, doubt], symbols)
            except KernlabError:
                raise error from None

    @classmethod
    def _open(
        cls,
        file: DumpFile,
        info: Vmcoreinfo,
        arena_bound: int,
        problems: list[str],
        source: SymbolSource | None,
    ) -> Self:
        from kernlab.core.own_symbols import read_symbols

        file = regions.as_its_kernel(file, info)
        memory = AddressSpace(file, regions.first_layout(file, info), arena_bound)
        doubts = list(problems)
        symbols = read_symbols(memory, info, doubts, source)
        doubts += regions.settle_page_tables(memory, symbols, info)
        doubts += regions.complete_layout(memory, symbols)
        kernel = cls(memory, symbols, info)
        kernel.dump_lost(*doubts)
        return kernel

    @property
    def layout(self) -> Layout:
        """Where the fixed maps of the kernel's address space lie."""
        assert self.memory.layout is not None
        return self.memory.layout

    @property
    def changes(self) -> bool:
        """Is this a running machine's kernel, whose memory changes while it is read?"""
        return self.memory.changes

    @property
    def problems(self) -> list[str]:
        """What the file lacks and why, one sentence each; every table bears one line of it."""
        return [*self.file.problems, *self._own.losses]

    def scope(self, name: str) -> AbstractContextManager[Scope]:
        """Collect what is lost while a table is made: `with kernel.scope("maps") as k:`; frames made there tell it.

        Yields the `Scope`; `k.losses` are its sentences. `@table` opens one for each table.
        """
        return self._scope_of_one_moment(name) if self.changes else losses.scope(name)

    @contextmanager
    def _scope_of_one_moment(self, name: str) -> Iterator[Scope]:
        """Of a running machine: what is made in a scope is made of memory that is held meanwhile."""
        held = self.memory.is_held
        with self.memory.held(), losses.scope(name) as here:
            try:
                yield here
            finally:
                if not held:
                    self.anew(modules=False)

    @property
    def window(self) -> dict[str, Any]:
        """When the memory that is held was read, until now: plain JSON (start, end: ISO 8601 in UTC; seconds)."""
        now = datetime.now(tz=UTC)
        # The clock of the day may be set back meanwhile.
        since = min(self.memory.held_since or now, now)
        start, end = (moment.isoformat(timespec="microseconds")[:-6] + "Z" for moment in (since, now))
        return {"start": start, "end": end, "seconds": (now - since).total_seconds()}

    def watched(self) -> AbstractContextManager[Scope]:
        """A scope that passes on what it collects, to ask whether a step lost anything: `if k:`, then look closer."""
        return losses.scope("a step", passing_on=True)

    def lost(self, *what: str, mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> None:
        """Say what was lost, in the scope that is open; outside of any it is the dump's own loss.

        Parameters as of `kernlab.util.losses.sentences`: sentences; mask, bool[n], counts what was lost; why.
        """
        if not losses.lost(*what, mask=mask, why=why):
            self.dump_lost(*losses.sentences(what, mask, why))

    def quiet(self) -> AbstractContextManager[None]:
        """`with kernel.quiet():` around reads that tell nothing where they fail, as every other read in a scope does.

        For what may not be what it is taken for (a candidate's members), and for who tells it in words of their own.
        """
        return losses.quiet()

    def dump_lost(self, *what: str) -> None:
        """Say what the dump itself lacks, whichever table found it first: every table tells of it."""
        self._own.lost(*what)

    @property
    def budget(self) -> Budget:
        """What may be believed of the sizes that the dump claims, by what its file holds."""
        return Budget(self)

    # No cached_property: before Python 3.12 it takes a lock of its own first, and a thread that holds ours (in
    # with_modules) would wait for that one for ever.
    @property
    def types(self) -> Types:
        """The kernel's types: its own BTF, else those of a file with debug information; looked for once.

        Raises TypesLostError where there are neither.
        """
        if self._types is None:
            from kernlab.core.own_types import read_types

            with self._lock:
                if self._types_lost:
                    raise TypesLostError(self._types_lost)
                if self._types is None:
                    try:
                        self._types = read_types(self)
                    except TypesLostError as error:
                        self._types_lost = str(error)
                        raise
        return self._types

    @types.setter
    def types(self, types: Types) -> None:
        self._types = types

    def type_or_none(self, name: str) -> Type | None:
        """A type of the kernel's own by its C name; None where it has none, or its types are lost."""
        try:
            return self.types.get(name)
        except TypesLostError:
            return None

    @cached_property
    def vmalloc_base(self) -> int | None:
        """Where the vmalloc space begins; None where the dump does not say, or says what cannot be."""
        try:
            return regions.vmalloc_base(self.memory, self.symbols)
        except KernlabError as error:
            self.dump_lost(str(error))
            return None

    @cached_property
    def vmemmap(self) -> int:
        """Address of the array of all `struct page`s. Raises KernlabError for a kernel that has no such array."""
        kind, size = self.type_or_none("struct mem_section"), self.vmcoreinfo.size("mem_section")
        size = settled(self, "SIZE(mem_section)", size, kind.size if kind is not None else None)
        found, doubt = page_structs.vmemmap(self.memory, self.symbols, self.section_table, size)
        if doubt:
            self.dump_lost(doubt)
        return found

    @cached_property
    def section_table(self) -> int | None:
        """Address of the array of pointers to pages full of `struct mem_section`s; None where nothing says it."""
        table, doubt = page_structs.section_table(self.memory, self.symbols, self.vmcoreinfo)
        if doubt:
            self.dump_lost(doubt)
        return table

    def with_modules(self) -> None:
        """See to it that the modules' symbols and types are there, too."""
        with self._lock:
            if self.host is not None and not self._has_modules:
                self._has_modules = True
                try:
                    self.host.load_modules(self)
                except KernlabError as error:
                    # Who asked for the kernel's own shall not fail for the modules.
                    self.dump_lost(f"the symbols and types of modules are not known: {error}")

    def symbol(self, name: str) -> int:
        """Address of a symbol, of the kernel or else of a module.

        Raises SymbolNotFoundError, naming symbols that are spelt alike.
        """
        if asking.notes is not None:
            asking.insist("symbol", name)
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

    def lookup(
        self, addresses: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """`SymbolTable.lookup`, by the modules' symbols, too, where an address is not one of the kernel's own."""
        found = self.symbols.lookup(addresses)
        if (found[0] < 0).any():
            self.with_modules()
            found = self.symbols.lookup(addresses)
        return found

    def symbolize(
        self, addresses: npt.ArrayLike, behind: npt.NDArray[np.bool_] | None = None
    ) -> list[str | None]:
        """`SymbolTable.symbolize`, by the modules' symbols, too, where an address is not one of the kernel's own."""
        named = self.symbols.symbolize(addresses, behind)
        if None in named:
            self.with_modules()
            named = self.symbols.symbolize(addresses, behind)
        return named

    def find_symbol(self, name: str) -> int | None:
        """Address of a variable that not every kernel has, None where this one does not have it.

        Raises SymbolNotFoundError where its symbol table would not say so, as it names functions only.
        """
        address = self.symbols.get(name)
        if address is None and self.symbols.functions_only:
            return self.symbols.address(name)
        return address

    def type_anywhere(self, name: str) -> Type | None:
        """A type by its C name, of the kernel or else of a module; None where neither has it.

        One that the kernel only names is a module's that describes it. Raises TypesLostError.
        """
        own = self.types.get(name)
        if own is not None and not isinstance(own, ForwardType):
            return own
        self.with_modules()
        described = (types.get(name) for types in self.module_types)
        return next(
            (kind for kind in described if kind is not None and not isinstance(kind, ForwardType)), own
        )

    def find_type(self, name: str) -> Type:
        """`type_anywhere`, but raises TypeNotFoundError naming types spelt alike, for which it looks at all names."""
        if asking.notes is not None:
            asking.insist("type", name)
        found = self.type_anywhere(name)
        if found is not None:
            return found
        try:
            return self.types.find(name)
        except TypeNotFoundError as error:
            if not self.no_module_types:
                raise
            raise TypeNotFoundError(f"{error}; {self.no_module_types}") from None

    def gather(
        self, addresses: npt.ArrayLike, size: int, what: str = "pieces of memory"
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """`AddressSpace.gather` at virtual addresses.

        `what` names (in the plural) what is read there, for the scope that is told what cannot be; '' is for who tells
        it in words of their own.
        """
        rows, status = self.memory.gather(addresses, size)
        if what and status.any() and telling.is_asked():
            where = np.ascontiguousarray(addresses, dtype=np.uint64)
            # What lies behind NULL is nothing that could be lost.
            lost = np.flatnonzero((status != 0) & (where >= self.page_size))
            telling.tell(what, "", where[lost], len(where), where[lost], status[lost])
        return rows, status

    def locate(self, addresses: npt.ArrayLike) -> Located:
        """`AddressSpace.locate`."""
        return self.memory.locate(addresses)

    def read(self, address: int, size: int, physical: bool = False) -> bytes:
        """`AddressSpace.read`."""
        return self.memory.read(address, size, physical=physical)

    def words(
        self, addresses: npt.ArrayLike, size: int = 8, what: str = "numbers"
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
        """Unsigned integers of 1, 2, 4 or 8 bytes at many addresses: (uint64[n], bool[n] of what could be read).

        `what` as of `gather`.
        """
        rows, status = self.gather(addresses, size, what)
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
            count = min(max(self.word("nr_cpu_ids", 4), 1), self.arch.most_cpus) if known is not None else 0
        except KernlabError as error:
            self.dump_lost(
                f"the number of CPUs cannot be read ({error}); the array of per-CPU areas tells it"
            )
            count = 0
        room = min(self.symbols.room(address) // 8, self.arch.most_cpus)
        if count > room:
            self.dump_lost(
                f"there should be {count:,} CPUs, and the array of per-CPU areas has room for {room:,}; it tells how "
                "many there are"
            )
            count = 0
        if not count:
            every = np.frombuffer(self.read(address, 8 * room), dtype="<u8")
            used = np.flatnonzero(every != every[-1:])
            count = int(used[-1]) + 1 if len(used) else 1
            return every[:count].astype(np.uint64)
        return np.frombuffer(self.read(address, 8 * count), dtype="<u8").astype(np.uint64)

    def once(self, name: str, make: Callable[[Kernel], Kept]) -> Kept:
        """What `make(kernel)` gives, kept under `name` for all who ask later, until the dump is closed or dropped.

        What was lost in making it is told to every scope that asks. Made outside of any lock, so that threads go on
        reading; of several that make it at once the first one counts.
        """
        with self._lock:
            known = self._kept.get(name)
        if known is None:
            # Apart: what is kept must not depend on which table asked for it first, and how much it had done.
            with losses.scope(name, apart=True) as here:
                made = make(self)
            with self._lock:
                # What was found of a machine that runs is true while a table is made, not longer.
                keeps = not self.memory.changes or self.memory.is_held
                known = self._kept.setdefault(name, (made, here)) if keeps else (made, here)
        kept, told = known
        if (asking := losses.current()) is not None:
            told.tell(asking)
        else:
            self.dump_lost(*told.losses)
        return cast("Kept", kept)

    def forget(self) -> None:
        """Drop what `once` keeps: it refers to this kernel, which therefore would not go with its last user."""
        with self._lock:
            self._kept.clear()

    def anew(self, *, modules: bool) -> None:
        """Of a running machine: forget what was found, and what was lost on the way; `modules`: and their symbols."""
        with self._lock:
            self._kept.clear()
            if self._at_first is None:
                self._at_first = self.symbols, self._own.losses
            if modules:
                self.symbols, losses_then = self._at_first
                self.module_types, self._has_modules = (), False
                self._own = Scope("the dump")
                self._own.lost(*losses_then)

    def check_open(self) -> None:
        """Raise KernlabError once the dump is closed."""
        self.memory.check_open()

    def close(self) -> None:
        """Close the dump file, reading nothing more of it; what was read already stays valid."""
        self.forget()
        self.memory.close()
