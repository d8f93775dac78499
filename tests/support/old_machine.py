"""A small running machine of a kernel's types alone: one CPU, three threads, memory maps, files, slabs, page cache.

What it holds stands in its attributes; tests hold the tables against them. Nothing of kernlab's own walks builds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from support.machine import Machine
from support.old_trees import Trees
from support.overlay import PAGE

from kernlab.debuginfo.types import Types

PF_KTHREAD = 0x200000
#: include/linux/mm.h
READ, WRITE, EXEC, MAY_SHARE = 1, 2, 4, 0x80
_DIRECTORY, _FILE = 0o040755, 0o100644


@dataclass
class OldMachine:
    """`machine` is written as it is made; each `add_…` puts one more thing into it."""

    types: Types
    frames: int = 1024
    machine: Machine = field(init=False)
    trees: Trees = field(init=False)
    tasks: list[int] = field(default_factory=list)
    pids: dict[int, int] = field(default_factory=dict)
    caches: list[int] = field(default_factory=list)
    inodes: list[int] = field(default_factory=list)
    hide: tuple[int, bool] = (0, False)

    def __post_init__(self) -> None:
        self.machine = machine = Machine(self.types, self.frames)
        self.trees = Trees(machine)
        self.slab_kind = "struct slab" if self.types.get("struct slab") is not None else "struct page"
        machine.page_structs()
        self._one_cpu()
        self.slab_heads = machine.variable("slab_caches", 16)
        self.space = machine.variable("init_pid_ns", self._size("struct pid_namespace"))
        self.root = self._root_file_system()
        init_fs = machine.variable("init_fs", self._size("struct fs_struct"))
        machine.member("struct fs_struct", init_fs, "root.dentry", self.root)
        machine.member("struct fs_struct", init_fs, "root.mnt", self.mount)
        self.fs = init_fs
        self.cred = machine.new("struct cred", **{"uid.val": 0})
        self.idle = self.add_task(0, "swapper/0", variable="init_task")
        machine.member("struct rq", machine.symbols["runqueues"], "idle", self.idle)
        machine.member("struct rq", machine.symbols["runqueues"], "curr", self.idle)

    def _size(self, name: str) -> int:
        return int(self.types.find(name).strip().size)

    def _one_cpu(self) -> None:
        machine = self.machine
        machine.variable("nr_cpu_ids", 4, 1)
        machine.variable("__per_cpu_offset", 8, 0)
        for name in ("possible", "online", "present"):
            machine.variable(f"__cpu_{name}_mask", 8, 1)
        machine.variable("runqueues", self._size("struct rq"))
        self.node = machine.new("struct pglist_data", node_start_pfn=0, node_spanned_pages=self.frames)
        machine.word(machine.variable("node_data", 8 * 1024), self.node)
        machine.variable("nr_node_ids", 4, 1)
        machine.variable("node_states", 128, 1)
        for index in range(self._zones()):
            zone = f"node_zones[{index}]"
            machine.member("struct pglist_data", self.node, f"{zone}.zone_pgdat", self.node)
        for path, value in {
            "spanned_pages": self.frames,
            "present_pages": self.frames,
            "managed_pages": self.frames,
        }.items():
            machine.member("struct pglist_data", self.node, f"node_zones[0].{path}", value)
        machine.variable("nr_threads", 4, 0)
        for frame in range(self.frames):
            machine.member(
                "struct page", machine.page(machine.direct + frame * PAGE), "_mapcount.counter", -1
            )
        # One hierarchy of control groups without any but its root, and no set of any thread.
        machine.variable("cgrp_dfl_root", self._size("struct cgroup_root"))
        # include/linux/ioport.h: IORESOURCE_MEM and IORESOURCE_SYSRAM.
        ram = machine.new("struct resource", start=0, end=self.frames * PAGE - 1, flags=0x01000200)
        machine.member("struct resource", ram, "name", self.text("System RAM"))
        top = machine.variable("iomem_resource", self._size("struct resource"))
        machine.member("struct resource", top, "child", ram)
        machine.member("struct resource", ram, "parent", top)

    def _zones(self) -> int:
        kind = self.types.find("struct pglist_data").strip()
        return int(kind.member("node_zones").type.strip().count)  # type: ignore[attr-defined]

    def _root_file_system(self) -> int:
        """A file system of its own at the root: its dentry."""
        machine = self.machine
        self.kind = machine.new("struct file_system_type", name=self.text("ext4"))
        self.block = machine.new("struct super_block", s_type=self.kind, s_dev=8 << 20 | 1, s_magic=0xEF53)
        block_list = machine.variable("super_blocks", 16)
        machine.list([self.block + machine.offset("struct super_block", "s_list")], block_list)
        mount = machine.new("struct mount", mnt_id=1)
        self.mount = mount + machine.offset("struct mount", "mnt")
        root = self.add_dentry("/", None, _DIRECTORY)
        machine.member("struct mount", mount, "mnt_parent", mount)
        machine.member("struct mount", mount, "mnt_mountpoint", root)
        machine.member("struct mount", mount, "mnt.mnt_root", root)
        machine.member("struct mount", mount, "mnt.mnt_sb", self.block)
        machine.member("struct super_block", self.block, "s_root", root)
        machine.list([], self.block + machine.offset("struct super_block", "s_inodes"))
        machine.list(
            [mount + machine.offset("struct mount", "mnt_instance")],
            self.block + machine.offset("struct super_block", "s_mounts"),
        )
        return root

    def text(self, said: str) -> int:
        """A string; its address."""
        address = self.machine.alloc(len(said) + 1)
        self.machine.put(address, said.encode() + b"\0")
        return address

    def add_dentry(self, name: str, parent: int | None, mode: int = _FILE) -> int:
        """A dentry and its inode."""
        machine = self.machine
        number = len(self.inodes) + 2
        inode = machine.new("struct inode", i_ino=number, i_mode=mode, i_sb=self.block, i_size=0)
        mapping = inode + machine.offset("struct inode", "i_data")
        machine.member("struct inode", inode, "i_mapping", mapping)
        machine.member("struct inode", inode, "i_data.host", inode)
        machine.member("struct inode", inode, "__i_nlink", 1)
        dentry = machine.new("struct dentry", d_inode=inode, d_sb=self.block)
        machine.member("struct dentry", dentry, "d_parent", dentry if parent is None else parent)
        machine.member("struct dentry", dentry, "d_name.name", self.text(name))
        machine.member("struct dentry", dentry, "d_name.len", len(name))
        # It hangs on a hash list unless it is a root: what does not is deleted.
        chain = self.machine.words([dentry + machine.offset("struct dentry", "d_hash")])
        machine.member("struct dentry", dentry, "d_hash.pprev", chain)
        alias = dentry + machine.offset("struct dentry", "d_u.d_alias")
        machine.member("struct inode", inode, "i_dentry.first", alias)
        machine.member(
            "struct dentry", dentry, "d_u.d_alias.pprev", inode + machine.offset("struct inode", "i_dentry")
        )
        self.inodes.append(inode)
        return dentry

    def add_file(self, dentry: int) -> int:
        """A file that was opened."""
        machine = self.machine
        where, size = machine.where("struct dentry", dentry, "d_inode")
        inode = int.from_bytes(machine.read(where, size), "little")
        file = machine.new("struct file", f_inode=inode)
        machine.member("struct file", file, "f_path.dentry", dentry)
        machine.member("struct file", file, "f_path.mnt", self.mount)
        machine.member("struct file", file, "f_mapping", inode + machine.offset("struct inode", "i_data"))
        return file

    def add_task(
        self,
        pid: int,
        comm: str,
        *,
        leader: int | None = None,
        mm: int = 0,
        flags: int = 0,
        variable: str = "",
    ) -> int:
        """A thread that sleeps; of the group of `leader`, or of one of its own."""
        machine, kind = self.machine, "struct task_struct"
        task = machine.variable(variable, self._size(kind)) if variable else machine.new(kind)
        for path, value in {
            "pid": pid,
            "tgid": pid if leader is None else self._number(kind, leader, "tgid"),
            "mm": mm,
            "flags": flags,
            "state": 1 if pid else 0,
            "prio": 120,
            "static_prio": 120,
            "start_time": 1_000_000 * pid,
            "real_start_time": 2_000_000 * pid,
            "utime": 3_000_000 * pid,
            "stime": 4_000_000 * pid,
            "real_cred": self.cred,
            "cred": self.cred,
            "fs": self.fs,
            "group_leader": task if leader is None else leader,
            "real_parent": self.tasks[0] if self.tasks else task,
        }.items():
            # The newer names are for kernels whose slabs alone are wanted.
            for name in (path, {"state": "__state", "real_start_time": "start_boottime"}.get(path, path)):
                if self.types.has_member(kind, name):
                    machine.member(kind, task, name, value)
        # A refcount_t or an atomic_t: a counter either way.
        machine.word(task + machine.offset(kind, "usage"), 1, 4)
        machine.put(task + machine.offset(kind, "comm"), comm.encode()[:15])
        if leader is None:
            signal = machine.new("struct signal_struct", nr_threads=1)
        else:
            signal = self._number(kind, leader, "signal")
        machine.member(kind, task, "signal", signal)
        machine.member(kind, task, "sighand", machine.new("struct sighand_struct"))
        self.tasks.append(task)
        if pid:
            self.pids[pid] = self._struct_pid(pid, task)
        return task

    def _number(self, kind: str, address: int, path: str) -> int:
        where, size = self.machine.where(kind, address, path)
        return int.from_bytes(self.machine.read(where, size), "little")

    def _struct_pid(self, pid: int, task: int) -> int:
        machine = self.machine
        number = self.types.enumerator("PIDTYPE_PID")
        struct_pid = machine.new("struct pid", **{"numbers[0].nr": pid, "numbers[0].ns": self.space})
        link = task + machine.offset("struct task_struct", f"pid_links[{number}]")
        head = struct_pid + machine.offset("struct pid", f"tasks[{number}]")
        machine.word(head, link)
        machine.word(link + 8, head)
        machine.member("struct task_struct", task, "thread_pid", struct_pid)
        return struct_pid

    def link_tasks(self) -> None:
        """The lists and the idr of all that were added."""
        machine, kind = self.machine, "struct task_struct"
        leaders = [task for task in self.tasks if self._number(kind, task, "group_leader") == task]
        machine.list(
            [task + machine.offset(kind, "tasks") for task in leaders[1:]],
            leaders[0] + machine.offset(kind, "tasks"),
        )
        for leader in leaders:
            group = [task for task in self.tasks if self._number(kind, task, "group_leader") == leader]
            signal = self._number(kind, leader, "signal")
            machine.list(
                [task + machine.offset(kind, "thread_node") for task in group],
                signal + machine.offset("struct signal_struct", "thread_head"),
            )
        machine.member(
            "struct pid_namespace",
            self.space,
            "child_reaper",
            leaders[-1] if len(leaders) < 2 else leaders[1],
        )
        self.trees.idr(self.space + machine.offset("struct pid_namespace", "idr"), self.pids)
        machine.word(machine.symbols["nr_threads"], len(self.tasks) - 1, 4)

    def add_mm(self, areas: list[tuple[int, int, int, int, int]], resident: int = 0) -> int:
        """An address space: (start, end, flags, file, page of it) of each VMA, on its list and in its tree."""
        machine, kind = self.machine, "struct vm_area_struct"
        mm = machine.new("struct mm_struct", map_count=len(areas))
        vmas = []
        for start, end, flags, file, first in areas:
            vmas.append(
                machine.new(
                    kind, vm_start=start, vm_end=end, vm_flags=flags, vm_file=file, vm_pgoff=first, vm_mm=mm
                )
            )
        for here, following in zip(vmas, [*vmas[1:], 0], strict=False):
            machine.member(kind, here, "vm_next", following)
        machine.member("struct mm_struct", mm, "mmap", vmas[0] if vmas else 0)
        nodes = [vma + machine.offset(kind, "vm_rb") for vma in vmas]
        machine.member("struct mm_struct", mm, "mm_rb.rb_node", self._balanced(nodes))
        total = sum(end - start for start, end, *_ in areas) // PAGE
        machine.member("struct mm_struct", mm, "total_vm", total)
        number = self.types.enumerator("MM_ANONPAGES")
        machine.member("struct mm_struct", mm, f"rss_stat.count[{number}].counter", resident)
        return mm

    def _balanced(self, nodes: list[int]) -> int:
        """A red-black tree of these nodes in order (struct rb_node); its root."""
        if not nodes:
            return 0
        middle = len(nodes) // 2
        left, right = self._balanced(nodes[:middle]), self._balanced(nodes[middle + 1 :])
        self.machine.member("struct rb_node", nodes[middle], "rb_left", left)
        self.machine.member("struct rb_node", nodes[middle], "rb_right", right)
        return nodes[middle]

    def add_cache(
        self,
        name: str,
        size: int,
        slabs: int,
        free: int,
        on_cpu: int = 0,
        secret: int = 0,
        swapped: bool = False,
    ) -> int:
        """A slab cache of one-page slabs: each has `free` objects on its freelist, and is on the node's partial list
        where that is not 0; the CPU holds one more slab, with `on_cpu` free ones. With a `secret` its links are
        hardened, `swapped` as since Linux 5.7. Returns the kmem_cache."""
        machine, kind = self.machine, "struct kmem_cache"
        objects = PAGE // size
        cache = machine.new(
            kind, size=size, object_size=size, offset=0, refcount=1, name=self.text(name), **{"oo.x": objects}
        )
        node = machine.new("struct kmem_cache_node")
        machine.member(kind, cache, "node[0]", node)
        self.hide = (secret, swapped)
        if secret:
            machine.member(kind, cache, "random", secret)
        heads = [self._slab(cache, objects, free) for _ in range(slabs)]
        partial = heads if free else []
        machine.member("struct kmem_cache_node", node, "nr_partial", len(partial))
        machine.list(
            [page + machine.offset(self.slab_kind, "slab_list") for page in partial],
            node + machine.offset("struct kmem_cache_node", "partial"),
        )
        cpu = machine.new("struct kmem_cache_cpu")
        machine.member(kind, cache, "cpu_slab", cpu)
        if on_cpu:
            memory = machine.alloc(PAGE, PAGE)
            # A slab that a CPU holds counts all of its objects as in use; the CPU has the free ones.
            page = self._describe(memory, cache, objects, objects, 0, frozen=True)
            held = "page" if self.slab_kind == "struct page" else "slab"
            machine.member("struct kmem_cache_cpu", cpu, held, page)
            machine.member("struct kmem_cache_cpu", cpu, "freelist", self._freelist(memory, size, on_cpu))
            slabs += 1
        machine.member("struct kmem_cache_node", node, "nr_slabs.counter", slabs)
        machine.member("struct kmem_cache_node", node, "total_objects.counter", slabs * objects)
        self.caches.append(cache)
        machine.list([each + machine.offset(kind, "list") for each in self.caches], self.slab_heads)
        return cache

    def _slab(self, cache: int, objects: int, free: int) -> int:
        """One slab; its page struct, as the kernel points to it."""
        memory = self.machine.alloc(PAGE, PAGE)
        first = self._freelist(memory, PAGE // objects, free)
        return self._describe(memory, cache, objects, objects - free, first)

    def _freelist(self, memory: int, size: int, count: int) -> int:
        """The last `count` objects of a slab on a freelist; the first of them."""
        free = [memory + PAGE // size * size - size * (number + 1) for number in range(count)]
        for here, following in zip(free, [*free[1:], 0], strict=False):
            secret, swapped = self.hide
            # mm/slub.c, freelist_ptr.
            own = int.from_bytes(here.to_bytes(8, "little"), "big") if swapped else here
            self.machine.word(here, following ^ secret ^ own if secret else following)
        return free[0] if free else 0

    def _describe(
        self, memory: int, cache: int, objects: int, used: int, freelist: int, frozen: bool = False
    ) -> int:
        machine, page = self.machine, self.machine.page(memory)
        machine.member("struct page", page, "flags", 1 << self.types.enumerator("PG_slab"))
        machine.member(self.slab_kind, page, "slab_cache", cache)
        machine.member(self.slab_kind, page, "freelist", freelist)
        machine.member(self.slab_kind, page, "counters", used | objects << 16 | frozen << 31)
        machine.member("struct page", page, "_refcount.counter", 1)
        return page

    def cache_pages(self, dentry: int, indexes: list[int]) -> list[int]:
        """Pages of a file in memory, in the tree of its mapping; their frames."""
        machine = self.machine
        inode = self._number("struct dentry", dentry, "d_inode")
        mapping = inode + machine.offset("struct inode", "i_data")
        entries, frames = {}, []
        bits = [self.types.enumerator(name) for name in ("PG_uptodate", "PG_lru")]
        for index in indexes:
            memory = machine.alloc(PAGE, PAGE)
            machine.put(memory, f"page {index}".encode())
            page = machine.page(memory)
            machine.member("struct page", page, "flags", sum(1 << bit for bit in bits))
            machine.member("struct page", page, "mapping", mapping)
            machine.member("struct page", page, "index", index)
            machine.member("struct page", page, "_refcount.counter", 2)
            machine.member("struct page", page, "_mapcount.counter", -1)
            entries[index] = page
            frames.append(machine.physical(memory) // PAGE)
        self.trees.fill(mapping + machine.offset("struct address_space", "i_pages"), entries)
        machine.member("struct address_space", mapping, "nrpages", len(indexes))
        machine.member("struct inode", inode, "i_size", (max(indexes) + 1) * PAGE)
        return frames
