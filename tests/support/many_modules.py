"""Thousands of modules in a dump that has a dozen: each with symbols, exports, users, and every second with types."""

from __future__ import annotations

import numpy as np
from support.copies import Copies
from support.heap import Heap
from support.overlay import PAGE
from support.page_tables import PageTables

from kernlab.walk.lists import list_entries

#: Symbols of each module, and how many of them, the first ones, it exports.
SYMBOLS, EXPORTS = 40, 2
#: Where the modules' own memory lies, which is not in the dump, and how much each has.
START, BYTES = 0xFFFF_FFFF_C100_0000, 64 << 10
#: Where the heap is mapped a second time: exports say how far away they lie, which must be less than 2 GiB.
_NEARBY = 0xFFFF_FFFF_E800_0000


class ManyModules:
    """`count` modules in front of the kernel's own; with `copied` all are copies of one, name and symbols too.

    `names` in the list's order, `used_by` (name -> what `modules` shows), `starts` uint64[count] of their memory.
    """

    def __init__(self, heap: Heap, tables: PageTables, count: int, *, copied: bool = False):
        self.heap, self.tables, self.count = heap, tables, count
        self.kernel = heap.overlay.kernel
        #: How many different ones there are.
        self.different = 1 if copied else count
        which = np.arange(count) % self.different
        self.names = [f"synthetic_{number:04d}" for number in which.tolist()]
        self.starts = np.uint64(START) + which.astype(np.uint64) * np.uint64(BYTES)
        head = self.kernel.symbol("modules")
        _, own = list_entries(self.kernel, [head], "struct module", "list", what="modules")
        self.module = Copies(heap, "struct module", int(own.addresses[0]), count)
        self.module.texts("name", self.names)
        self._lay_out()
        self.module.empty_lists("source_list")
        self.module.empty_lists("target_list")
        self.module.set("refcnt.counter", 1)
        self._symbols(which)
        self.used_by: dict[str, str] = {}
        if not copied:
            self._users()
            self._types()
        self._put_first(self.module, "list", head)

    def _lay_out(self) -> None:
        module, types = self.module, self.kernel.types
        if types.has_member("struct module", "mem"):
            for kind in range(types.enumerator("MOD_MEM_NUM_TYPES")):
                module.set(f"mem[{kind}].base", 0)
                module.set(f"mem[{kind}].size", 0)
            text = f"mem[{types.enumerator('MOD_TEXT')}]"
        else:
            module.set("init_layout.base", 0)
            module.set("init_layout.size", 0)
            text = "core_layout"
        module.set(f"{text}.base", self.starts)
        module.set(f"{text}.size", BYTES)

    def _symbols(self, which: np.ndarray) -> None:
        """Functions of 256 bytes each, behind the nameless one that every ELF symbol table begins with."""
        heap, count = self.heap, self.different
        per = SYMBOLS + 1
        number = np.arange(count * per) % per
        symbol = Copies(heap, "struct elf64_sym", 0, count * per, 8)
        texts = [
            b"\0" + b"".join(f"{name}_fn{n:02d}\0".encode() for n in range(SYMBOLS))
            for name in self.names[:count]
        ]
        each = len(texts[0])
        length = (each - 1) // SYMBOLS
        strings = heap.alloc(each * count)
        heap.put(strings, b"".join(texts))
        symbol.set("st_name", np.where(number > 0, 1 + (number - 1) * length, 0))
        symbol.set("st_shndx", number > 0)
        own = np.repeat(self.starts[:count], per)
        symbol.set("st_value", own + (np.maximum(number - 1, 0) * 256).astype(np.uint64))
        letters = heap.alloc(per)
        heap.put(letters, b"?" + b"t" * SYMBOLS)
        table = Copies(heap, "struct mod_kallsyms", 0, count)
        table.set("symtab", symbol.addresses[::per])
        table.set("num_symtab", per)
        table.set("strtab", np.uint64(strings) + np.arange(count, dtype=np.uint64) * np.uint64(each))
        table.set("typetab", letters)
        self.module.set("kallsyms", table.addresses[which])
        self._exports(which, strings, each, length)

    def _exports(self, which: np.ndarray, strings: int, each: int, length: int) -> None:
        heap, kind = self.heap, self.kernel.find_type("struct kernel_symbol")
        assert kind.size == 12, "exports say how far away their values lie"
        count = self.different * EXPORTS
        block = heap.alloc(count * kind.size, PAGE)
        module, number = np.divmod(np.arange(count), EXPORTS)
        # All counted from _NEARBY on.
        here = block - heap.base + np.arange(count) * kind.size
        value = (self.starts[module] - np.uint64(_NEARBY)).astype(np.int64) + number * 256
        name = strings - heap.base + module * each + 1 + number * length
        fields = np.zeros((count, 3), dtype="<i4")
        fields[:, 0], fields[:, 1] = value - here, name - (here + 4)
        heap.put(block, fields.tobytes())
        first = np.uint64(_NEARBY + block - heap.base)
        self.module.set("syms", first + which.astype(np.uint64) * np.uint64(EXPORTS * kind.size))
        self.module.set("num_syms", EXPORTS)
        base = self.tables.physical(heap.base)
        self.tables.map_large(_NEARBY, np.arange(base, base + len(heap.bytes), 2 << 20, dtype=np.uint64))

    def _users(self) -> None:
        """Of every ten modules the first is used by the others."""
        module = self.module
        user = np.flatnonzero(np.arange(self.count) % 10)
        hub = user - user % 10
        use = Copies(self.heap, "struct module_use", 0, len(user))
        use.set("source", module.addresses[user])
        use.set("target", module.addresses[hub])
        node = use.addresses + np.uint64(use.at("source_list")[0])
        head = module.addresses[hub] + np.uint64(module.at("source_list")[0])
        first = np.append(True, hub[1:] != hub[:-1])
        last = np.append(first[1:], True)
        use.set("source_list.next", np.where(last, head, np.append(node[1:], np.uint64(0))))
        use.set("source_list.prev", np.where(first, head, np.append(np.uint64(0), node[:-1])))
        module.set("source_list.next", node[first], hub[first])
        module.set("source_list.prev", node[last], hub[last])
        names = self.names
        self.used_by = {names[at]: ",".join(names[at + 1 : at + 10]) for at in range(0, self.count, 10)}

    def _types(self) -> None:
        """Every second module has type information: a copy of its own of what the smallest of the kernel's own has."""
        if self.kernel.find_symbol("btf_modules") is None:
            return
        head = self.kernel.symbol("btf_modules")
        _, own = list_entries(self.kernel, [head], "struct btf_module", "list", what="their types")
        theirs = own.follow("btf")
        smallest = int(np.argmin(theirs["data_size"].values))
        types = self.kernel.read(
            int(theirs["data"].values[smallest]), int(theirs["data_size"].values[smallest])
        )
        btf = Copies(self.heap, "struct btf", int(theirs.addresses[smallest]), len(self.names[::2]))
        btf.texts("name", self.names[::2])
        data = [self.heap.alloc(len(types)) for _ in self.names[::2]]
        for address in data:
            self.heap.put(address, types)
        btf.set("data", np.array(data, dtype=np.uint64))
        entry = Copies(self.heap, "struct btf_module", int(own.addresses[0]), len(self.names[::2]))
        entry.set("btf", btf.addresses)
        self._put_first(entry, "list", head)

    def _put_first(self, structs: Copies, path: str, head: int) -> None:
        following = int(self.kernel.words([head])[0][0])
        first, last = structs.link(path, head, following)
        self.heap.overlay.word(head, first).word(following + 8, last)
