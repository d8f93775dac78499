"""What the steps of a plan share: the kernel that they read, and where each puts what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import Type
from kernlab.errors import KernlabError
from kernlab.linux.slab_pages import ALLOCATED, SlabPages, slab_heads
from kernlab.linux.slab_states import object_states
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.tasks import find_tasks
from kernlab.redaction.caches import CacheNames
from kernlab.redaction.edits import Edits
from kernlab.redaction.frames import Frames
from kernlab.redaction.levels import STRICT
from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.vocabulary import Vocabulary
from kernlab.walk.lists import list_entries

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
#: Which of some structs are what they are taken for: bool[n].
Judge = Callable[[StructArray], Mask]


#: Folders whose contents' names are hidden, on every machine.
HOMES = tuple(b"/%s/" % name for name in (b"home", b"root"))


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
    homes: tuple[bytes, ...] = HOMES
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
    def caches(self) -> CacheNames:
        """What the slab caches are called, merged ones too."""
        return CacheNames(self.kernel, self.slabs.caches)

    @cached_property
    def nets(self) -> StructArray:
        """Every network namespace, struct net; none where the kernel has no network."""
        kernel = self.kernel
        nothing = np.zeros(0, dtype=np.uint64)
        if kernel.types.get("struct net_device") is None:
            return StructArray(kernel, kernel.types.get("struct net") or "struct list_head", nothing)
        heads = kernel.symbols.get("net_namespace_list")
        if heads is None:
            kernel.lost("where the list of network namespaces is is not known")
            return StructArray(kernel, "struct net", nothing)
        return list_entries(kernel, [heads], "struct net", "list", what="network namespaces")[1]

    @cached_property
    def devices(self) -> U64:
        """Every struct net_device of every network namespace, uint64[n]."""
        if not len(self.nets):
            return np.zeros(0, dtype=np.uint64)
        _, device = list_entries(
            self.kernel,
            self.nets.follow("dev_base_head").addresses,
            "struct net_device",
            "dev_list",
            what="network interfaces",
        )
        return np.unique(device.addresses)

    def objects(self, *names: str, judge: Judge | None = None, kind: Type | str = "") -> U64:
        """The objects in use of caches, by the names that the kernel asked for, uint64[n].

        Where a cache has been merged with others, `judge` says which of its objects, as structs `kind`, are meant.
        """
        caches = self.caches.of(*names)
        every = self._objects(caches)
        if judge is None:
            return every
        merged = self._objects(caches[[self.caches.is_merged(cache, names) for cache in caches.tolist()]])
        if not len(merged):
            return every
        with self.kernel.quiet():
            wrong = merged[~judge(StructArray(self.kernel, kind, merged))]
        return every[~np.isin(every, wrong)]

    def sockets(self, *names: str, family: int | tuple[int, ...]) -> U64:
        """Sockets in use of some protocols, by their names, that are of an address family (AF_INET, …), uint64[n].

        Time-waits and requests count as sockets; each begins with a struct sock_common.
        """
        kind = "struct sock_common"
        every = self.objects(*names, judge=self._is_socket, kind=kind)
        of = StructArray(self.kernel, kind, every)["skc_family"]
        return every[np.isin(of.filled(0), family) & of.valid]

    def _is_socket(self, socks: StructArray) -> Mask:
        """Those that name a protocol of the kernel's list as theirs."""
        return socks["skc_prot"].true & np.isin(
            socks["skc_prot"].filled(0).astype(np.uint64), self.caches.protocols.addresses
        )

    def _objects(self, caches: U64) -> U64:
        rows = np.flatnonzero(np.isin(self.slabs.caches.addresses, caches))
        mine = np.isin(self.slabs.cache, rows)
        chosen = np.repeat(mine, self.slabs.objects) & (self.states == ALLOCATED)
        found: U64 = self._addresses[chosen]
        return found

    @cached_property
    def files(self) -> StructArray:
        """Every struct file in use."""
        kind = "struct file"
        return StructArray(self.kernel, kind, self.objects("filp", judge=self._is_file, kind=kind))

    def _is_file(self, files: StructArray) -> Mask:
        """Those whose inode is of a file system of the kernel's list."""
        head = self.kernel.symbols.get("super_blocks")
        if head is None:
            return files["f_op"].true & files["f_inode"].true
        _, known = list_entries(
            self.kernel, [head], "struct super_block", "s_list", what="the list of file systems"
        )
        system = files.follow("f_inode")["i_sb"]
        return system.true & np.isin(system.filled(0).astype(np.uint64), known.addresses)

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
