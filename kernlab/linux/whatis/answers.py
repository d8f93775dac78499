"""What was found at many addresses: kinds, names, bounds and types; and what is only worked out for who asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.kernel_modules import module_ranges
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.slab_pages import FREE, UNKNOWN, SlabPages
from kernlab.linux.slab_states import object_states
from kernlab.linux.whatis.areas import inside, stacks
from kernlab.linux.whatis.holders import holders_of, holders_of_anon, outlives_its_holder

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Texts = npt.NDArray[np.object_]

SYMBOL, SLAB_OBJECT = "symbol", "slab object"

#: The first task's stack, which is linked into the kernel; before 4.16 and in some kernels it has the union's name.
_FIRST_STACK = ("init_stack", "init_thread_union")
_ANON = (KIND_NAMES[Kind.ANON], KIND_NAMES[Kind.THP])


@dataclass(frozen=True, slots=True)
class Answer:
    """What lies at one address; texts are '' where there is none, `start` is 0 and `size` -1 where it has no bounds."""

    _all: Answers
    _row: int

    @property
    def kind(self) -> str:
        """What there is; '' where not known."""
        return self._all.kind[self._row] or ""

    @property
    def type(self) -> str:
        """The C type of the whole of it."""
        return str(self._all.type[self._row])

    @property
    def start(self) -> int:
        """Where the whole of it begins."""
        return int(self._all.start[self._row])

    @property
    def size(self) -> int:
        """The bytes of the whole of it."""
        return int(self._all.size[self._row])

    @property
    def offset(self) -> int:
        """How far into the whole of it the address lies."""
        return int(self._all.offset[self._row])

    @property
    def unread(self) -> bool:
        """Whether something of it may be unknown for what the dump lacks: what it is, its name, or whose it is."""
        kind, name = self._all.kind[self._row], self._all.name[self._row]
        named = name is not None and self._all.holder[self._row] != name
        return kind == KIND_NAMES[Kind.EXCLUDED] or (self._all.failed and not named)

    @property
    def label(self) -> str:
        """All of it in one line; its names are as the dump has them, to be escaped where they are shown."""
        return self._all.label[self._row] or ""


@dataclass
class Answers:
    """What lies at each of N addresses, one value each in every array.

    kind (None where not known), name (None where it has none) and type (a C type, '') object[n]; start uint64[n] (0
    where it has none) and size int64[n] (-1) of the whole of it; place uint64[n], the address under which it was
    found: what the direct map shows a second time is told by where it is used; mapping uint64[n], the address_space
    or anon_vma of pages.
    """

    kernel: Kernel
    address: U64
    place: U64
    kind: Texts
    name: Texts
    start: U64
    size: I64
    type: Texts
    mapping: U64
    #: Which slab of `slabs` (-1: none) and which object of it.
    slab: I64
    index: I64
    slabs: SlabPages | None = field(repr=False)
    #: Asked at a glance: of holders only threads and processes are told, which takes no walk.
    quick: bool = False
    #: Whether something that was looked at to find out is lacking in the dump.
    failed: bool = False

    def __len__(self) -> int:
        return len(self.address)

    def __iter__(self) -> Iterator[Answer]:
        return (Answer(self, row) for row in range(len(self)))

    def at(self, rows: I64) -> Answers:
        """The answers for some rows, in their order."""
        return replace(
            self,
            address=self.address[rows],
            place=self.place[rows],
            kind=self.kind[rows],
            name=self.name[rows],
            start=self.start[rows],
            size=self.size[rows],
            type=self.type[rows],
            mapping=self.mapping[rows],
            slab=self.slab[rows],
            index=self.index[rows],
        )

    @cached_property
    def offset(self) -> I64:
        """How far into the whole of it each address lies; 0 where it has no start."""
        return np.where(self.start != 0, self.place - self.start, np.uint64(0)).astype(np.int64)

    @cached_property
    def state(self) -> U8:
        """ALLOCATED, FREE or UNKNOWN (linux.slab_pages) of slab objects, UNKNOWN of all else: uint8[n]."""
        state = np.full(len(self), UNKNOWN, dtype=np.uint8)
        rows = np.flatnonzero(self.slab >= 0)
        if len(rows) and self.slabs is not None:
            every = object_states(self.kernel, self.slabs, whole=False)
            state[rows] = every[self.slabs.offsets[self.slab[rows]] + self.index[rows]]
        return state

    @cached_property
    def holder(self) -> Texts:
        """Whose it is, as people say it: a thread or process "comm (pid)", the path of a file, the name of a module;
        else what `name` has."""
        holder = np.full(len(self), None, dtype=object)
        for step in (self._hold_structs, self._hold_pages, self._hold_code):
            try:
                step(holder)
            except KernlabError as error:
                self.kernel.lost(f"whose some addresses are is not known: {error}")
        nobody = np.array([who is None for who in holder.tolist()], dtype=bool)
        holder[nobody] = self.name[nobody]
        return holder

    def _hold_structs(self, holder: Texts) -> None:
        typed = np.isin(self.kind, (SYMBOL, SLAB_OBJECT, "struct")) & (self.type != "") & (self.start != 0)
        for type_name in sorted(set(self.type[typed].tolist())):
            rows = np.flatnonzero(typed & (self.type == type_name))
            if not type_name.startswith("struct ") or "*" in type_name or "[" in type_name:
                continue
            if outlives_its_holder(type_name):
                if self.quick:
                    continue
                rows = rows[(self.slab[rows] < 0) | (self.state[rows] != FREE)]
            start, of = np.unique(self.start[rows], return_inverse=True)
            try:
                holder[rows] = holders_of(self.kernel, type_name, start)[of]
            except KernlabError as error:
                self.kernel.lost(f"whose each {type_name} is is not known: {error}")

    def _hold_pages(self, holder: Texts) -> None:
        rows = np.flatnonzero(np.isin(self.kind, _ANON) & (self.mapping != 0))
        if len(rows) and not self.quick:
            holder[rows] = holders_of_anon(self.kernel, self.mapping[rows])

    def _hold_code(self, holder: Texts) -> None:
        first = np.flatnonzero(np.isin(self.name, _FIRST_STACK) & (self.kind == SYMBOL))
        if len(first):
            every = stacks(self.kernel)
            hit, at = every.around(self.place[first])
            holder[first[hit]] = every.name[at]
        # A symbol of a module, or an area that one asked for: `name [module]`.
        for row in np.flatnonzero(self.slab < 0).tolist():
            name = self.name[row]
            if holder[row] is None and name is not None and name.endswith("]"):
                holder[row] = name.rpartition(" [")[2][:-1]
        rows = np.flatnonzero(
            (self.start != 0) & np.isin(self.kind, (KIND_NAMES[Kind.VMALLOC], "vmalloc area"))
        )
        if len(rows):
            start, end, names = module_ranges(self.kernel)
            hit, at = inside(self.place[rows], start, end)
            holder[rows[hit]] = np.array(names, dtype=object)[at]

    @cached_property
    def label(self) -> Texts:
        """All of it in one line: `inventoryd (176): task_struct+0x10 (slab object)`, a symbol as the kernel prints it;
        None where nothing has a name."""
        label = np.full(len(self), None, dtype=object)
        symbols = np.flatnonzero(self.kind == SYMBOL)
        if len(symbols):
            label[symbols] = self.kernel.symbolize(self.place[symbols])
        offset, holder = self.offset, self.holder
        for row, name in enumerate(self.name.tolist()):
            if name is None or label[row] is not None:
                continue
            inside = f"+{int(offset[row]):#x}" if offset[row] else ""
            who = "" if holder[row] in (None, name) else f"{holder[row]}: "
            label[row] = f"{who}{name}{inside} ({self.kind[row]})"
        return label
