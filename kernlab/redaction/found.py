"""What the steps of a plan share: the kernel that they read, and where each puts what it finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.slab_caches import cache_names
from kernlab.linux.slab_pages import ALLOCATED, SlabPages, slab_heads
from kernlab.linux.slab_states import object_states
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.tasks import find_tasks
from kernlab.redaction.edits import Edits
from kernlab.redaction.frames import Frames
from kernlab.redaction.levels import STRICT
from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.vocabulary import Vocabulary
from kernlab.walk.lists import list_entries

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]


@dataclass
class Found:
    """A kernel whose secrets are looked for, and those found so far.

    `kind` uint8[frames] says what each row of `frames` is used for: a step that finds a user's page sets it to a kind
    that is dropped. `edits` are places, `literals` strings to look for everywhere, `ipv4` addresses, `homes` folders
    whose contents' names are hidden, `host` the names of this machine and what they become.
    """

    kernel: Kernel
    level: str
    map: RedactionMap
    frames: Frames
    kind: U8
    edits: Edits
    literals: Literals
    ipv4: set[int] = field(default_factory=set)
    homes: tuple[bytes, ...] = tuple(b"/%s/" % name for name in (b"home", b"root"))
    host: dict[bytes, bytes] = field(default_factory=dict)

    def prepare(self) -> None:
        """Find what tables ask for as well: tasks, stacks, registers, slabs."""
        for find in (find_tasks, find_stacks, cpu_registers):
            try:
                find(self.kernel)
            except KernlabError as error:
                self.kernel.lost(str(error))
        _ = self.states

    @property
    def strict(self) -> bool:
        """Is everything to be hidden that only might tell something?"""
        return self.level == STRICT

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Words that are the kernel's own."""
        return Vocabulary(self.kernel)

    @cached_property
    def slabs(self) -> SlabPages:
        """All slabs."""
        return SlabPages.read(self.kernel, slab_heads(self.kernel))

    @cached_property
    def states(self) -> U8:
        """Of each object of all slabs whether it is in use."""
        return object_states(self.kernel, self.slabs)

    @cached_property
    def _cache_rows(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(cache_names(self.kernel, self.slabs.caches)):
            rows.setdefault(name, []).append(row)
        return rows

    @cached_property
    def devices(self) -> U64:
        """Every struct net_device of every network namespace, uint64[n]."""
        kernel = self.kernel
        heads = kernel.symbols.get("net_namespace_list")
        if heads is None or kernel.types.get("struct net_device") is None:
            return np.zeros(0, dtype=np.uint64)
        _, net = list_entries(kernel, [heads], "struct net", "list", what="network namespaces")
        _, device = list_entries(
            kernel,
            net.follow("dev_base_head").addresses,
            "struct net_device",
            "dev_list",
            what="network interfaces",
        )
        return np.unique(device.addresses)

    def objects(self, *names: str, pointers: Iterable[str] = ()) -> U64:
        """The objects in use of caches, by the caches' names and by variables that point to one, uint64[n]."""
        slabs = self.slabs
        rows = [row for name in names for row in self._cache_rows.get(name, [])]
        symbols = [address for name in pointers if (address := self.kernel.symbols.get(name)) is not None]
        if symbols:
            stored, read = self.kernel.words(np.array(symbols, dtype=np.uint64), what="")
            rows += np.flatnonzero(np.isin(slabs.caches.addresses, stored[read & (stored != 0)])).tolist()
        mine = np.isin(slabs.cache, np.array(rows, dtype=np.int64))
        chosen = np.repeat(mine, slabs.objects) & (self.states == ALLOCATED)
        found: U64 = self._addresses[chosen]
        return found

    @cached_property
    def _addresses(self) -> U64:
        return self.slabs.addresses()

    def name(self, name: bytes, kind: str, *, word: bool = True) -> bytes:
        """The pseudonym of a name that is looked for everywhere, unless it is a word of the kernel's own."""
        new = self.map.names.of(name)
        self.map.note(kind, name, new)
        if not self.vocabulary.has(name):
            self.literals.add(name, new, kind, word=word)
            wide = name.decode("utf-8", "replace").encode("utf-16-le")
            self.literals.add(wide, new.decode("utf-8", "replace").encode("utf-16-le"), kind, word=False)
        return new
