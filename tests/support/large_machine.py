"""A machine of 12 TiB, 64 NUMA nodes, 2,048 CPUs and 8,192 modules, made of the dump of a small one.

    machine = LargeMachine(opened("debian-6.1"))
    large = machine.dump()

Kernel structs that such a machine has more of are copies of the small one's, in memory of node 0; what there is a great
deal of (page structs, per-CPU memory) is made when it is read. The dump is one that makedumpfile filtered with
--exclude-unused-vm: of the page structs those of `DESCRIBED` frames of each node are in it. What tests compare with
is in the attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from support.copies import Copies
from support.heap import Heap
from support.many_modules import ManyModules
from support.overlay import PAGE, Area
from support.page_tables import PageTables

from kernlab.debuginfo.member_path import resolve
from kernlab.dump import Dump
from kernlab.linux import zones
from kernlab.linux.iomem import resources
from kernlab.linux.page.mem_sections import sections
from kernlab.linux.page.vmemmap import page_chunks, page_type
from kernlab.linux.slab_caches import every_cache
from kernlab.linux.thread_stacks import thread_size
from kernlab.linux.vm_counters import vmstat_names
from kernlab.walk.lists import list_entries

GIB = 1 << 30
#: Frames of each node: 192 GiB.
NODE_FRAMES = 192 * GIB // PAGE
#: Where memory goes on behind the hole of the small machine's devices.
AFTER_HOLE = 4 * GIB // PAGE
#: Frames of each node, from its first (in node 0 from AFTER_HOLE) on, whose page structs are in the dump: a section.
DESCRIBED = (128 << 20) // PAGE
#: CPUs' memory lies so far apart, as it does where each node has its own.
UNIT_STRIDE = 4 * GIB
#: Where in a node its page structs lie, and where in node 0 the structs that are made here.
MAP_OFFSET, HEAP_OFFSET = 65 * GIB // PAGE, 8 * GIB // PAGE
HEAP_PAGES = 160 << 8
#: A page of page structs describes so many frames.
PER_PAGE = 64
#: What of every 64 pages of page structs describes which kind of memory.
PATTERN = {"free": 32, "anon": 16, "file": 8, "other kernel": 4, "reserved": 4}
#: The order of the free blocks.
ORDER = 9
#: What a percpu_counter holds beside its parts, of which each new CPU has 1.
COUNTED = 1000
#: What stands at the end of a stack (include/uapi/linux/magic.h, STACK_END_MAGIC).
_STACK_END = 0x57AC6E9D
#: The zone that all memory above 4 GiB is in (ZONE_NORMAL).
NORMAL = 2


class LargeMachine:
    """What there is more of than in the dump below; `dump()` opens it.

    `frames` of memory in all, `managed` of them by the page allocator; `kinds`: frames of each kind in each node
    (in node 0 without those of the small machine); `pgfault`: how many page faults the new CPUs counted; `counter`: the
    address of a `struct percpu_counter`.
    """

    def __init__(self, below: Dump, *, nodes: int = 64, cpus: int = 2048, modules: int = 8192):
        self.kernel = below.kernel
        self.nodes, self.cpus = nodes, cpus
        self.end = nodes * NODE_FRAMES
        self.heap = Heap(below, HEAP_PAGES, HEAP_OFFSET)
        self.overlay = self.heap.overlay
        self._tables = PageTables(self.heap)
        #: Words in each new CPU's memory, uint64[CPUs], by how far from its start they stand.
        self._percpu: dict[int, np.ndarray] = {}
        self.kinds = {kind: DESCRIBED * pages // 64 for kind, pages in PATTERN.items()}
        self._add_cpus()
        self._add_memory()
        self._add_page_structs(below)
        self._add_nodes()
        self._add_counter()
        self._add_cache_nodes()
        self.modules = ManyModules(self.heap, self._tables, modules)
        self._tables.write()

    def dump(self, **options: Any) -> Dump:
        """The machine's dump, opened from its file on."""
        return self.overlay.dump(fresh=True, **options)

    def _set(self, name: str, value: int, size: int = 8) -> None:
        """A global variable."""
        self.overlay.word(self.kernel.symbol(name), value, size)

    def _at(self, type_name: str, path: str) -> int:
        return resolve(self.kernel.find_type(type_name), path).hops[0]

    def _copies(self, type_name: str, like: int, count: int) -> Copies:
        return Copies(self.heap, type_name, like, count)

    def _add_cpus(self) -> None:
        """Each has per-CPU memory of its own in the direct map, made when it is read, and an idle task."""
        kernel, small = self.kernel, len(self.kernel.percpu_offsets)
        first = int(kernel.percpu_offsets[0])
        self.new_cpus = np.arange(small, self.cpus, dtype=np.uint64)
        moved = self.new_cpus * np.uint64(UNIT_STRIDE)
        self._set("nr_cpu_ids", self.cpus, 4)
        self._set("pcpu_nr_units", self.cpus, 4)
        self.overlay.write(
            kernel.symbol("__per_cpu_offset") + 8 * small, (np.uint64(first) + moved).tobytes()
        )
        for mask in ("possible", "present", "online", "active"):
            self.overlay.write(kernel.symbol(f"__cpu_{mask}_mask"), _bits(self.cpus))
        where = np.uint64(kernel.word("pcpu_unit_offsets")) + np.arange(small, dtype=np.uint64) * np.uint64(8)
        own, _ = kernel.words(where)
        self._set("pcpu_unit_offsets", self.heap.words([*own.tolist(), *(own[0] + moved).tolist()]))
        self._add_idle_tasks()
        events = vmstat_names(kernel)["events"]
        self._on_each_cpu(kernel.symbol("vm_event_states") + 8 * events.index("pgfault"), self.new_cpus)
        self.pgfault = int(self.new_cpus.sum())
        start = first - kernel.layout.direct_start + kernel.symbol("__per_cpu_start")
        # The first chunk's unit, and what lies before it.
        pages, stride = kernel.word("pcpu_unit_pages", 4) + 64, UNIT_STRIDE // PAGE
        self.overlay.make_area(
            Area(
                start // PAGE + small * stride,
                pages,
                lambda numbers, out: self._fill_unit(numbers, out, pages),
                stride,
                len(self.new_cpus),
            )
        )
        self._map_percpu_chunks()

    def _add_idle_tasks(self) -> None:
        kernel, new = self.kernel, self.new_cpus
        queue = kernel.symbol("runqueues")
        last = int(kernel.percpu_offsets[-1])
        like, _ = kernel.words([queue + last + self._at("struct rq", "idle")])
        task = self._copies("struct task_struct", int(like[0]), len(new))
        task.texts("comm", [f"swapper/{cpu}" for cpu in new.tolist()])
        task.set("thread_info.cpu" if kernel.types.has_member("struct thread_info", "cpu") else "cpu", new)
        task.set("on_cpu", 1)
        task.set("stack", self._stacks(len(new)))
        for member, values in (("cpu", new), ("idle", task.addresses), ("curr", task.addresses)):
            self._on_each_cpu(queue + self._at("struct rq", member), values)

    def _stacks(self, count: int) -> np.ndarray:
        """Stacks on which nothing is yet but the word at their end (set_task_stack_end_magic)."""
        size = thread_size(self.kernel)
        first = self.heap.alloc(count * size, PAGE)
        found = np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(size)
        for start in found.tolist():
            self.heap.word(start, _STACK_END)
        return found

    def _on_each_cpu(self, pointer: int, values: np.ndarray) -> None:
        """A word of each new CPU, by its per-CPU pointer."""
        self._percpu[pointer - self.kernel.symbol("__per_cpu_start")] = values

    def _fill_unit(self, numbers: np.ndarray, out: np.ndarray, pages: int) -> None:
        cpu, page = np.divmod(numbers, pages)
        for place, values in self._percpu.items():
            rows = np.flatnonzero(page == place // PAGE)
            at = place % PAGE
            out[rows, at : at + 8] = values[cpu[rows]].view(np.uint8).reshape(-1, 8)

    def _map_percpu_chunks(self) -> None:
        """What new CPUs have of the chunks in the vmalloc space: zeros, the same for all."""
        kernel = self.kernel
        slots = kernel.word("pcpu_nr_slots", 4) * (
            kernel.types.enumerator_or_none("PCPU_NR_CHUNK_TYPES") or 1
        )
        heads = np.uint64(kernel.word("pcpu_chunk_lists")) + np.arange(slots, dtype=np.uint64) * np.uint64(16)
        _, chunk = list_entries(kernel, heads, "struct pcpu_chunk", "list", what="chunks")
        base = chunk["base_addr"].values
        zeros = self._tables.physical(self.heap.alloc(PAGE, PAGE))
        for start in base[~kernel.layout.in_direct_map(base)].tolist():
            for cpu in self.new_cpus.tolist():
                self._tables.map(start + cpu * UNIT_STRIDE, kernel.word("pcpu_unit_pages", 4), zeros)

    def _add_memory(self) -> None:
        """Memory from 4 GiB on: the range, the sections and where their page structs are mapped."""
        kernel, heap = self.kernel, self.heap
        self.overlay.leave_out(AFTER_HOLE, self.end)
        self._set("max_pfn", self.end)
        self._add_range()
        known, kind = sections(kernel), kernel.find_type("struct mem_section")
        per_root, words = PAGE // kind.size, kind.size // 8
        count = self.end // known.frames
        first = AFTER_HOLE // known.frames
        roots = -(-count // per_root)
        table = kernel.word("mem_section")
        own, _ = kernel.words([table])
        rows = np.zeros((roots * per_root, words), dtype="<u8")
        rows[:per_root] = np.frombuffer(kernel.read(int(own[0]), PAGE), dtype="<u8").reshape(per_root, words)
        new = rows[first:count]
        # Every section's word leads to frame 0's page struct (mm/sparse.c, sparse_encode_mem_map).
        new[:, self._at("struct mem_section", "section_mem_map") // 8] = rows[0, 0]
        step = int(np.diff(known.usage)[0])
        usage = heap.alloc(step * len(new), 64)
        new[:, self._at("struct mem_section", "usage") // 8] = np.arange(
            usage, usage + step * len(new), step, dtype=np.uint64
        )
        place = heap.alloc(roots * PAGE, PAGE)
        heap.put(place, rows.tobytes())
        # The array has room for all sections that there may be.
        self.overlay.write(table, np.arange(place, place + roots * PAGE, PAGE, dtype="<u8").tobytes())
        # 128 MiB of memory have 2 MiB of page structs, which lie in the same node.
        node, rest = np.divmod(np.arange(first, count), NODE_FRAMES // known.frames)
        pfn = (node * NODE_FRAMES + MAP_OFFSET + rest * 512).astype(np.uint64)
        self._tables.map_large(kernel.vmemmap + first * (2 << 20), pfn * np.uint64(PAGE))

    def _add_range(self) -> None:
        """Behind the small machine's ranges, in the order of their addresses."""
        tree, depth = resources(self.kernel, "iomem_resource")
        ram = tree[(tree["flags"].values & 0x01000200) == 0x01000200]
        before = tree[(depth == 0) & (tree["start"].values < 4 * GIB)][-1]
        new = self._copies("struct resource", int(ram.addresses[-1]), 1)
        new.set("start", AFTER_HOLE * PAGE)
        new.set("end", self.end * PAGE - 1)
        new.set("child", 0)
        new.set("sibling", before["sibling"].address_)
        self.overlay.set("struct resource", before.address_, "sibling", int(new.addresses[0]))

    def _add_page_structs(self, below: Dump) -> None:
        """Those that are in the dump: 64 pages of them after the `PATTERN`, again and again, alike but for the node."""
        kernel, page = self.kernel, self.kernel.find_type("struct page")
        shift, zone_bits, _ = zones.flag_shifts(kernel)
        structs = np.zeros((64 * PER_PAGE, page.size), dtype=np.uint8)

        def put(rows: Any, path: str, value: int, size: int) -> None:
            at = resolve(page, path).hops[-1]
            structs[rows, at : at + size] = np.frombuffer(
                (value % (1 << 8 * size)).to_bytes(size, "little"), np.uint8
            )

        flags = NORMAL << shift
        put(slice(None), "flags", flags, 8)
        put(slice(None), "_mapcount.counter", -1, 4)
        bounds = np.cumsum([0, *PATTERN.values()]) * PER_PAGE
        rows = {
            kind: np.arange(low, high) for kind, low, high in zip(PATTERN, bounds, bounds[1:], strict=False)
        }
        for kind in PATTERN.keys() - {"free"}:
            put(rows[kind], "_refcount.counter", 1, 4)
        put(rows["reserved"], "flags", flags | 1 << kernel.types.enumerator("PG_reserved"), 8)
        mapping = int(below.pages.query("kind == 'file'")["mapping"].dropna().iloc[0])
        for kind, mark in (("anon", 1), ("file", 0)):
            put(rows[kind], "_mapcount.counter", 0, 4)
            put(rows[kind], "mapping", mapping | mark, 8)
        mark, value = page_type(kernel, "buddy") or (0, 0)
        heads = rows["free"][:: 1 << ORDER]
        put(heads, "_mapcount.counter", ~mark & 0xFFFFFFFF | value, 4)
        put(heads, "private", ORDER, 8)
        template = structs.reshape(64, PAGE)
        word, pages = self._at("struct page", "flags") // 8, DESCRIBED // PER_PAGE

        def fill(numbers: np.ndarray, out: np.ndarray, first: int) -> None:
            out[:] = template[numbers % 64]
            node = (numbers // pages + first).astype(np.uint64) << np.uint64(shift + zone_bits)
            out.view("<u8").reshape(len(numbers), PER_PAGE, -1)[:, :, word] |= node[:, None]

        skipped = AFTER_HOLE // PER_PAGE
        self.overlay.make_area(Area(MAP_OFFSET + skipped, pages, lambda numbers, out: fill(numbers, out, 0)))
        self.overlay.make_area(
            Area(
                NODE_FRAMES + MAP_OFFSET,
                pages,
                lambda numbers, out: fill(numbers, out, 1),
                NODE_FRAMES,
                self.nodes - 1,
            )
        )

    def _add_nodes(self) -> None:
        """Each with all of its memory in the zone Normal; node 0 gets what lies above 4 GiB."""
        kernel, overlay = self.kernel, self.overlay
        small = zones.nodes(kernel)
        like = int(small.addresses[0])
        number = np.arange(1, self.nodes, dtype=np.uint64)
        node = self._copies("struct pglist_data", like, len(number))
        quiet = self._quiet = self._quiet_pointer()
        for path, values in (
            ("node_id", number),
            ("node_start_pfn", number * np.uint64(NODE_FRAMES)),
            ("node_present_pages", NODE_FRAMES),
            ("node_spanned_pages", NODE_FRAMES),
            ("per_cpu_nodestats", quiet),
        ):
            node.set(path, values)
        start, size = node.at("vm_stat")
        node.rows[:, start : start + size] = 0
        empty = node.at(f"node_zones[{NORMAL}]")
        for index in range(zones.zones_per_node(kernel)):
            zone = f"node_zones[{index}]"
            if index < NORMAL:
                # The small machine has all of its memory in these.
                name = node.rows[:, node.at(f"{zone}.name")[0] :][:, :8].copy()
                at, size = node.at(zone)
                node.rows[:, at : at + size] = node.rows[:, empty[0] : empty[0] + size]
                node.rows[:, node.at(f"{zone}.name")[0] :][:, :8] = name
            node.set(f"{zone}.zone_pgdat", node.addresses)
            node.set(f"{zone}.node", number)
        self._fill_zone(
            lambda path, value: node.set(f"node_zones[{NORMAL}].{path}", value),
            number * np.uint64(NODE_FRAMES),
            NODE_FRAMES,
            quiet,
        )
        of_small = int(zones.zones(kernel, small)[1].addresses[NORMAL])
        above = NODE_FRAMES - AFTER_HOLE
        self._fill_zone(
            lambda path, value: overlay.set("struct zone", of_small, path, int(value)),
            AFTER_HOLE,
            above,
            quiet,
        )
        present = small["node_present_pages"][0]
        overlay.set("struct pglist_data", like, "node_present_pages", present + above)
        overlay.set("struct pglist_data", like, "node_spanned_pages", NODE_FRAMES)
        self.frames = present + above + len(number) * NODE_FRAMES
        self.managed = (
            kernel.word("_totalram_pages") + self.frames - present - self.nodes * self.kinds["reserved"]
        )
        self._set("_totalram_pages", self.managed)
        self._set("nr_node_ids", self.nodes, 4)
        overlay.write(kernel.symbol("node_data") + 8, node.addresses.tobytes())
        bytes_each = zones.most_nodes(kernel) // 8
        for state in ("N_POSSIBLE", "N_ONLINE", "N_NORMAL_MEMORY", "N_MEMORY", "N_CPU"):
            at = kernel.symbol("node_states") + bytes_each * kernel.types.enumerator(state)
            overlay.write(at, _bits(self.nodes))

    def _fill_zone(
        self, put: Callable[[str, Any], Any], first: np.ndarray | int, frames: int, quiet: int
    ) -> None:
        free = self.kinds["free"]
        names = vmstat_names(self.kernel)["zone"]
        for path, value in (
            ("zone_start_pfn", first),
            ("spanned_pages", frames),
            ("present_pages", frames),
            ("managed_pages.counter", frames - self.kinds["reserved"]),
            ("per_cpu_pageset", quiet),
            ("per_cpu_zonestats", quiet),
            (f"vm_stat[{names.index('nr_free_pages')}].counter", free),
            (f"free_area[{ORDER}].nr_free", free >> ORDER),
        ):
            put(path, value)

    def _quiet_pointer(self) -> int:
        """A per-CPU pointer to a page of zeros on all CPUs: what nobody has counted in yet."""
        kernel = self.kernel
        start, pages = kernel.symbol("__per_cpu_start"), kernel.word("pcpu_unit_pages", 4)
        clear = np.ones(pages, dtype=bool)
        for offset in kernel.percpu_offsets.tolist():
            data, there = kernel.memory.read_partial(start + offset, pages * PAGE)
            clear &= there.reshape(pages, PAGE).all(axis=1) & ~data.reshape(pages, PAGE).any(axis=1)
        clear[[place // PAGE for place in self._percpu]] = False
        return start + int(np.flatnonzero(clear)[-1]) * PAGE

    def _add_counter(self) -> None:
        """A `struct percpu_counter`, whose parts stand in a page that is zero on the small machine's CPUs."""
        pointer = self._quiet + PAGE - 8
        self._on_each_cpu(pointer, np.ones(len(self.new_cpus), dtype=np.uint64))
        made = self._copies("struct percpu_counter", 0, 1)
        made.set("count", COUNTED)
        made.set("counters", pointer)
        self.counter = int(made.addresses[0])

    def _add_cache_nodes(self) -> None:
        """Slab caches end in an element a node: they are made anew, longer, and what names the old ones names these."""
        kernel, overlay = self.kernel, self.overlay
        cache = every_cache(kernel)
        wide = kernel.types.has_member("struct kmem_cache", "per_node")
        path = "per_node[{}].node" if wide else "node[{}]"
        made = self._copies("struct kmem_cache", 0, len(cache))
        there = made.at(path.format(1))[0]
        rows, _ = kernel.gather(cache.addresses, there)
        made.rows[:, :there] = rows
        node = self._copies("struct kmem_cache_node", 0, len(cache) * (self.nodes - 1))
        node.empty_lists("partial")
        of_cache = node.addresses.reshape(len(cache), -1)
        for number in range(1, self.nodes):
            made.set(path.format(number), of_cache[:, number - 1])
        head = kernel.symbol("slab_caches")
        first, last = made.link("list", head, head)
        overlay.word(head, first).word(head + 8, last)
        order = np.argsort(cache.addresses)
        old, new = cache.addresses[order], made.addresses[order]

        def rename(where: np.ndarray, values: np.ndarray) -> None:
            place = np.searchsorted(old, values).clip(max=len(old) - 1)
            named = old[place] == values
            physical, _ = kernel.memory.translate(where[named])
            for at, value in zip(physical.tolist(), new[place[named]].tolist(), strict=True):
                overlay.word(at, value, physical=True)

        kind = "struct slab" if kernel.types.get("struct slab") else "struct page"
        for chunk in page_chunks(kernel):
            at = chunk.addresses + np.uint64(self._at(kind, "slab_cache"))
            rename(at, np.ascontiguousarray(chunk.field("slab_cache", kind)))
        start, end = kernel.symbol("_sdata"), kernel.symbol("_end")
        data, _ = kernel.memory.read_partial(start, (end - start) & ~7)
        words = data.view("<u8")
        rename(np.uint64(start) + np.arange(len(words), dtype=np.uint64) * np.uint64(8), words)


def _bits(count: int) -> bytes:
    """The first `count` bits of a mask."""
    return ((1 << count) - 1).to_bytes(-(-count // 64) * 8, "little")
