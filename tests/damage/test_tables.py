"""Tables over a real dump that was damaged on purpose: they come, in bounded steps, say what was lost, and show no 0
for what nobody can know.

Steps are counted as gathers (`memory.gathers`), so that nothing here depends on the machine's speed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from support.overlay import PAGE, Overlay

from kernlab.linux.slub import freelist_lengths

#: Canonical, in no map of any of the dumps.
WILD = 0xFFFF_F000_DEAD_0000

#: More gathers than any table needs on these dumps, damaged or not, by an order of magnitude.
MANY = 20_000


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


@pytest.fixture
def overlay(below):
    return Overlay(below)


def table(dump, name: str):
    """A table of a damaged dump, in bounded steps."""
    before = dump.kernel.memory.gathers
    built = getattr(dump, name)
    assert dump.kernel.memory.gathers - before < MANY
    return built


def told(table, *words: str) -> bool:
    return any(all(word in problem for word in words) for problem in table.attrs["problems"])


def task(dump, pid: int):
    return dump.struct("task_struct", dump.tasks.loc[dump.tasks["pid"] == pid, "address"].iloc[0])


def same_but(damaged, whole, rows) -> None:
    """The two tables are equal but for these rows (bool[n] of `whole`)."""
    assert len(damaged) == len(whole)
    for name in whole:
        left, right = damaged[name][~rows].reset_index(drop=True), whole[name][~rows].reset_index(drop=True)
        assert left.equals(right), name


# Slabs


def cpu_freelists(dump):
    """Per-CPU freelists with at least two objects: (cache row, kmem_cache_cpu address, first object, length)."""
    kernel = dump.kernel
    caches = dump.slabs.kern.structs
    from kernlab.walk.cpus import cpus, percpu_many

    numbers = cpus(kernel)
    where = percpu_many(kernel, caches["cpu_slab"].values, numbers)
    owner = np.repeat(np.arange(len(caches)), len(numbers))
    cpu = dump.structs("kmem_cache_cpu", where.reshape(-1))
    head = cpu["freelist"]
    lengths, good = freelist_lengths(kernel, caches, owner, head.values)
    assert good.all()
    rows = np.flatnonzero(lengths >= 2)
    assert len(rows) > 20
    return [(int(owner[r]), int(cpu.addresses[r]), int(head.values[r]), int(lengths[r])) for r in rows]


def encoded(cache, where: int, target: int) -> int:
    """What a hardened freelist stores at `where` for `target` (mm/slub.c, freelist_ptr_encode)."""
    return target ^ cache.random ^ int.from_bytes(where.to_bytes(8, "little"), "big")


@pytest.mark.parametrize("target", ["itself", "wild", "text", "small"])
def test_a_freelist_that_leads_astray_costs_one_cache_its_use(below, overlay, target):
    row, _, head, _ = cpu_freelists(below)[3]
    cache = below.struct("kmem_cache", int(below.slabs["address"].iloc[row]))
    where = head + cache.offset
    value = {"itself": head, "wild": WILD, "text": below.symbol("_text"), "small": 0x10}[target]
    slabs = table(overlay.word(where, encoded(cache, where, value)).dump(), "slabs")
    assert slabs["active"].isna().to_numpy().nonzero()[0].tolist() == [row]
    assert np.isnan(slabs["used_bytes"].astype("float64").iloc[row])
    same_but(slabs, below.slabs, np.arange(len(slabs)) == row)
    assert slabs["objects"].equals(below.slabs["objects"])
    assert told(slabs, "1 freelists of CPUs are damaged")
    assert told(slabs, "the use of 1 of")


def test_partial_slabs_in_a_circle_cost_their_cache_its_use(below, overlay):
    caches = below.slabs.kern.structs
    count = caches["node[0]->nr_partial"].values
    row = int(np.argmax(count))
    assert count[row] > 3
    first = int(caches["node[0]->partial.next"].values[row])
    second = int.from_bytes(below.read(first, 8), "little")
    slabs = table(overlay.word(second, first).dump(), "slabs")
    assert slabs["active"].isna().to_numpy().nonzero()[0].tolist() == [row]
    assert told(slabs, "partial slabs", "cycle")
    same_but(slabs, below.slabs, np.arange(len(slabs)) == row)


def test_two_partial_lists_that_run_into_one_another(below, overlay):
    """The first list's last link leads into the second: it never meets its own head again."""
    caches = below.slabs.kern.structs
    count = caches["node[0]->nr_partial"].values
    first, second = np.argsort(count)[-2:].tolist()
    link = int(caches["node[0]->partial.next"].values[first])
    slabs = table(overlay.word(link, int(caches["node[0]->partial.next"].values[second])).dump(), "slabs")
    assert slabs["active"].isna().to_numpy().nonzero()[0].tolist() == [first]


def test_a_looped_list_of_caches_keeps_what_came_before(below, overlay):
    caches = below.slabs["address"].astype("uint64").to_numpy()
    kernel = below.kernel
    member = kernel.find_type("struct kmem_cache").strip().member("list").offset
    overlay.set("struct kmem_cache", int(caches[40]), "list.next", int(caches[10]) + member)
    slabs = table(overlay.dump(), "slabs")
    assert slabs["address"].tolist() == below.slabs["address"].tolist()[:41]
    assert told(slabs, "list of slab caches", "cycle")


def test_excluded_nodes_of_caches_are_missing_and_not_zero(below, overlay):
    caches = below.slabs.kern.structs
    nodes = caches["node[0]"].values
    page = int(nodes[5]) & ~(PAGE - 1)
    hit = (nodes & ~np.uint64(PAGE - 1)) == page
    slabs = table(overlay.exclude(page).dump(), "slabs")
    for name in ("slabs", "objects", "active", "bytes", "used_bytes"):
        assert slabs[name].isna().to_numpy()[hit].all(), name
        assert slabs[name].notna().to_numpy()[~hit].mean() > 0.9, name
    assert slabs["name"].equals(below.slabs["name"])


# Maps


def tree(dump, pid: int):
    """Address of a process's maple tree, and of its root node."""
    mm = task(dump, pid).mm
    root = mm.mm_mt["ma_root"]
    assert root & 3 == 2
    return mm.mm_mt.address_, int(root), int(root) & ~0xFF


def largest(dump) -> int:
    """The process with the most mappings, whose tree has more than one level."""
    return int(dump.maps["pid"].value_counts().index[0])


def test_a_maple_root_outside_memory_costs_its_process_alone(below, overlay):
    address, _, _ = tree(below, 1)
    maps = table(overlay.set("struct maple_tree", address, "ma_root", WILD | 0x1E).dump(), "maps")
    assert not (maps["pid"] == 1).any()
    rest = below.maps[below.maps["pid"] != 1].reset_index(drop=True)
    same_but(maps, rest, np.zeros(len(rest), dtype=bool))
    assert told(maps, "trees of VMAs", "1 nodes cannot be read")


@pytest.mark.parametrize("where", ["outside memory", "the root again"])
def test_a_maple_node_that_leads_astray_costs_its_subtree(below, overlay, where):
    pid = largest(below)
    _, root, node = tree(below, pid)
    assert root >> 3 & 15 in (2, 3), "the tree has more than one level"
    name = "struct maple_arange_64" if root >> 3 & 15 == 3 else "struct maple_range_64"
    target = WILD | 0x0C if where == "outside memory" else root
    maps = table(overlay.set(name, node, "slot[1]", target).dump(), "maps")
    mine, whole = maps[maps["pid"] == pid], below.maps[below.maps["pid"] == pid]
    assert 0 < len(mine) < len(whole)
    assert set(mine["start"].tolist()) < set(whole["start"].tolist())
    assert len(maps) - len(mine) == len(below.maps) - len(whole)
    assert told(maps, "trees of VMAs", "1 nodes")


@pytest.mark.parametrize("entry", [WILD, 0x1234_5670, "init_task"])
def test_a_wild_entry_among_vmas_is_missing_or_left_out_but_never_zero(below, overlay, entry):
    mm = task(below, 1).mm
    lone = below.symbol(entry) if isinstance(entry, str) else entry
    maps = table(overlay.set("struct maple_tree", mm.mm_mt.address_, "ma_root", lone).dump(), "maps")
    mine = maps[maps["pid"] == 1]
    assert mine["start"].isna().all()
    assert mine["size_bytes"].isna().all()
    assert mine["path"].isna().all()
    assert mine["perms"].isna().all()
    assert mine["offset_bytes"].isna().all()
    assert mine["inode"].isna().all()
    assert told(maps, "VMAs") or told(maps, "1 of", "struct vm_area_struct cannot be read in whole")


def test_processes_that_share_an_mm_each_have_its_maps(below, overlay):
    """As after vfork, or clone(CLONE_VM) without CLONE_THREAD."""
    users = below.maps["pid"].unique().tolist()
    one, other = users[0], users[-1]
    maps = table(
        overlay.set(
            "struct task_struct", task(below, other).address_, "mm", task(below, one).mm.address_
        ).dump(),
        "maps",
    )
    columns = ["start", "end", "perms", "path", "address"]
    left = maps.loc[maps["pid"] == one, columns].reset_index(drop=True)
    right = maps.loc[maps["pid"] == other, columns].reset_index(drop=True)
    assert len(left) > 5
    assert left.equals(right)
    assert left.equals(below.maps.loc[below.maps["pid"] == one, columns].reset_index(drop=True))
    assert not told(maps, "VMAs")


def test_a_wild_file_has_no_path_and_no_inode(below, overlay):
    maps = below.maps
    row = int(np.flatnonzero(maps["path"].str.startswith("/").fillna(False))[0])
    overlay.set("struct vm_area_struct", int(maps["address"].iloc[row]), "vm_file", WILD)
    damaged = table(overlay.dump(), "maps")
    for name in ("path", "inode", "dev"):
        assert damaged[name].isna().iloc[row], name
    assert damaged["start"].equals(maps["start"])
    same_but(damaged, maps, np.arange(len(maps)) == row)
    assert told(damaged, "1 paths lead through")


def first_file(dump):
    """The dentry of a mapped file, and its rows in maps."""
    maps = dump.maps
    row = int(np.flatnonzero(maps["path"].str.match("/.+/").fillna(False))[0])
    vma = dump.struct("vm_area_struct", int(maps["address"].iloc[row]))
    return vma.vm_file.f_path.dentry, maps["path"].iloc[row], row


def test_dentries_that_are_one_anothers_parents(below, overlay):
    dentry, path, _ = first_file(below)
    parent = dentry.d_parent
    overlay.set("struct dentry", parent.address_, "d_parent", dentry.address_)
    maps = table(overlay.dump(), "maps")
    directory = path.rsplit("/", 1)[0] + "/"
    hit = below.maps["path"].str.startswith(directory).fillna(False).to_numpy()
    assert maps["path"][hit].isna().all()
    same_but(maps, below.maps, hit)
    assert told(maps, "paths lead through")


@pytest.mark.parametrize("name", [b"d", b"n" * 255])
def test_a_chain_of_a_million_dentries_ends(below, overlay, name):
    """Each dentry lies on a page of its own, made when it is read; every one's parent is the next."""
    dentry, _, _ = first_file(below)
    kernel = below.kernel
    kind = kernel.find_type("struct dentry").strip()
    offset = {
        path: overlay.where("struct dentry", 0, path)[0] for path in ("d_parent", "d_name.name", "d_name.len")
    }
    hashed = overlay.where("struct dentry", 0, "d_hash.pprev")[0]
    made: list[int] = []

    def page(number: int) -> bytes:
        made.append(number)
        data = bytearray(PAGE)
        here = base + number * PAGE
        for where, format_, value in (
            (offset["d_parent"], "<Q", here + PAGE),
            (offset["d_name.name"], "<Q", here + 1024),
            (offset["d_name.len"], "<I", len(name)),
            (hashed, "<Q", here),
        ):
            struct.pack_into(format_, data, where, value)
        assert kind.size < 1024
        data[1024 : 1024 + len(name)] = name
        return bytes(data)

    base = overlay.make(1_000_000, page)
    overlay.set("struct dentry", dentry.address_, "d_parent", base)
    dump = overlay.dump()
    before = dump.kernel.memory.gathers
    maps = dump.maps
    assert dump.kernel.memory.gathers - before < 100_000
    assert len(made) < 10_000
    hit = np.array([str(a) != str(b) for a, b in zip(maps["path"], below.maps["path"], strict=True)])
    assert 0 < hit.sum() < len(maps)
    assert maps["path"][hit].isna().all()
    same_but(maps, below.maps, hit)
    assert told(maps, "paths lead through")


# Tasks


def test_a_wild_mm_leaves_sizes_missing(below, overlay):
    init = task(below, 1)
    tasks = table(overlay.set("struct task_struct", init.address_, "mm", WILD).dump(), "tasks")
    row = tasks[tasks["pid"] == 1]
    assert row["vsz_bytes"].isna().all()
    assert row["rss_bytes"].isna().all()
    assert row["mm"].tolist() == [WILD]
    assert row["comm"].tolist() == [init.comm]
    same_but(tasks, below.tasks, (below.tasks["pid"] == 1).to_numpy())


def test_a_looped_task_list_costs_nothing(below, overlay):
    """The list, the threads' lists and the idr complete one another."""
    processes = below.tasks[below.tasks["pid"] == below.tasks["tgid"]]["address"].tolist()
    member = below.kernel.find_type("struct task_struct").strip().member("tasks").offset
    overlay.set("struct task_struct", int(processes[20]), "tasks.next", int(processes[5]) + member)
    tasks = table(overlay.dump(), "tasks")
    same_but(tasks, below.tasks, np.zeros(len(tasks), dtype=bool))
    assert told(tasks, "the task list", "1 links")


def test_a_damaged_link_masks_no_good_one(below, overlay):
    """Two tasks name the same neighbour, and only the second of them rightly: one link is wrong, not two."""
    processes = below.tasks[below.tasks["pid"] == below.tasks["tgid"]]
    listed = processes[processes["pid"] > 0].sort_values("address")["address"].tolist()
    member = below.kernel.find_type("struct task_struct").strip().member("tasks").offset
    overlay.set("struct task_struct", int(listed[0]), "tasks.next", int(listed[-1]) + member)
    tasks = table(overlay.dump(), "tasks")
    same_but(tasks, below.tasks, np.zeros(len(tasks), dtype=bool))
    assert told(tasks, "the task list", "1 links")


def test_an_idle_tasks_stale_links_are_not_followed(below, overlay):
    """Idle tasks are copies of init_task, on no list (kernel/fork.c, copy_process)."""
    idle = below.tasks[(below.tasks["pid"] == 0) & (below.tasks["address"] != below.symbol("init_task"))]
    assert len(idle)
    for address in idle["address"].tolist():
        overlay.set("struct task_struct", int(address), "tasks.next", WILD)
        overlay.set("struct task_struct", int(address), "tasks.prev", below.symbol("_text") + PAGE)
    tasks = table(overlay.dump(), "tasks")
    same_but(tasks, below.tasks, np.zeros(len(tasks), dtype=bool))
    assert tasks.attrs["problems"] == below.tasks.attrs["problems"]


def test_without_the_idr_the_list_gives_all_tasks(below, overlay):
    overlay.word(below.symbol("init_pid_ns") + 8, 0)  # xa_head of idr_rt
    kernel = below.kernel
    head = overlay.where("struct pid_namespace", below.symbol("init_pid_ns"), "idr.idr_rt.xa_head")[0]
    tasks = table(Overlay(below).word(head, WILD | 2).dump(), "tasks")
    same_but(tasks, below.tasks, np.zeros(len(tasks), dtype=bool))
    assert told(tasks, "idr of pids", "cannot be read")
    assert kernel.word("nr_threads", 4) == (tasks["pid"] > 0).sum()


def test_without_idr_and_list_the_slab_gives_the_rest(below, overlay):
    head = overlay.where("struct pid_namespace", below.symbol("init_pid_ns"), "idr.idr_rt.xa_head")[0]
    overlay.word(head, WILD | 2)
    addresses = below.tasks.loc[below.tasks["pid"] == below.tasks["tgid"], "address"].tolist()
    for address in (int(addresses[30]), int(addresses[31]), int(addresses[60])):
        overlay.set("struct task_struct", address, "tasks.next", WILD)
        overlay.set("struct task_struct", address, "tasks.prev", WILD)
    tasks = table(overlay.dump(), "tasks")
    assert sorted(tasks["pid"].dropna()) == sorted(below.tasks["pid"])
    assert told(tasks, "task_struct slab")
    assert told(tasks, "the task list", "links")


def test_a_struct_pid_that_leads_to_no_task_makes_no_row(below, overlay):
    init = task(below, 1)
    kind = below.kernel.types.enumerator("PIDTYPE_PID")
    overlay.set("struct pid", init.thread_pid.address_, f"tasks[{kind}].first", below.symbol("_text") + PAGE)
    tasks = table(overlay.dump(), "tasks")
    same_but(tasks, below.tasks, np.zeros(len(tasks), dtype=bool))
    assert told(tasks, "not a task's")


@pytest.mark.parametrize("drop", ["exclude", "lose"])
def test_a_task_on_a_page_that_is_gone_keeps_what_lies_elsewhere(opened, drop):
    below = opened("debian-7.2")  # whose task_structs begin in the middle of pages
    offsets = {name: member(below, name) for name in ("flags", "pid", "comm")}
    addresses = below.tasks.loc[below.tasks["pid"] > 1, "address"].tolist()
    apart = [
        int(a) for a in addresses if a % PAGE + min(offsets.values()) < PAGE <= a % PAGE + offsets["comm"]
    ]
    init = below.struct("task_struct", apart[0])
    pid = init.pid
    first = init.address_ & ~(PAGE - 1)
    where = {name: (init.address_ + offset) & ~(PAGE - 1) for name, offset in offsets.items()}
    dump = getattr(Overlay(below), drop)(first).dump()
    tasks = table(dump, "tasks")
    row = tasks[tasks["address"] == init.address_]
    assert len(row) == 1
    for name, page in where.items():
        column = "kthread" if name == "flags" else name
        assert row[column].isna().all() == (page == first), name
    hit = (below.tasks["address"].astype("uint64") >= first - 65536).to_numpy() & (
        below.tasks["address"].astype("uint64") < first + PAGE
    ).to_numpy()
    other = below.tasks.loc[~hit, "pid"].tolist()
    assert set(other) - {pid} <= set(tasks["pid"].dropna())


def member(dump, name: str) -> int:
    return dump.kernel.find_type("struct task_struct").strip().member(name).offset


# Modules, log, info


def test_a_looped_module_list_keeps_what_came_before(below, overlay):
    modules = below.modules["address"].tolist()
    node = below.kernel.find_type("struct module").strip().member("list").offset
    overlay.set("struct module", int(modules[5]), "list.next", int(modules[2]) + node)
    damaged = table(overlay.dump(), "modules")
    assert damaged["address"].tolist() == modules[:6]
    assert told(damaged, "list of modules", "cycle")
    dump = overlay.dump()
    assert "drm" not in set(dump.symbols["module"]) or "drm" in set(below.modules["name"])
    assert (dump.symbols["module"] == "").sum() == (below.symbols["module"] == "").sum()


def test_a_module_without_an_exit_is_permanent(below, overlay):
    """As print_unload_info says of it; no module of these dumps is one."""
    first = below.modules.iloc[0]
    damaged = table(overlay.set("struct module", int(first["address"]), "exit", 0).dump(), "modules")
    assert damaged["used_by"].iloc[0] == ",".join(filter(None, [first["used_by"], "[permanent]"]))
    assert damaged["used_by"].iloc[1:].equals(below.modules["used_by"].iloc[1:])


def test_no_modules_at_all(below, overlay):
    head = below.symbol("modules")
    modules = table(overlay.word(head, head).word(head + 8, head).dump(), "modules")
    assert len(modules) == 0
    assert {name: str(kind) for name, kind in modules.dtypes.items()} == {
        name: str(kind) for name, kind in below.modules.dtypes.items()
    }
    assert modules.attrs["problems"] == []


def test_no_maps_at_all(below, overlay):
    for pid in below.maps["pid"].unique().tolist():
        overlay.set("struct task_struct", task(below, pid).address_, "mm", 0)
    maps = table(overlay.dump(), "maps")
    assert len(maps) == 0
    assert {name: str(kind) for name, kind in maps.dtypes.items()} == {
        name: str(kind) for name, kind in below.maps.dtypes.items()
    }


def test_an_empty_list_of_caches(below, overlay):
    head = below.symbol("slab_caches")
    slabs = table(overlay.word(head, head).word(head + 8, head).dump(), "slabs")
    assert len(slabs) == 0
    assert list(slabs.columns) == list(below.slabs.columns)


def test_module_symbols_whose_count_is_a_lie(below, overlay):
    module = int(below.modules["address"].iloc[0])
    name = below.modules["name"].iloc[0]
    dump = overlay.set("struct module", module, "kallsyms->num_symtab", 0xFFFF_FFFF).dump()
    symbols = table(dump, "symbols")
    assert name not in set(symbols["module"])
    assert set(symbols["module"]) == set(below.symbols["module"]) - {name}
    assert any(repr(name) in problem for problem in dump.problems)


def test_a_wild_chain_of_modules_btf_leaves_the_kernels_types(below, overlay):
    head = below.symbol("btf_modules")
    dump = overlay.word(head, WILD).dump()
    assert dump.struct("task_struct", dump.symbol("init_task")).pid == 0
    assert len(table(dump, "symbols")) == len(below.symbols)
    assert any("BTF" in problem for problem in dump.problems)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("desc_ring.head_id.counter", 0),
        ("desc_ring.tail_id.counter", (1 << 64) - 1),
        ("text_data_ring.tail_lpos.counter", 1 << 63),
    ],
)
def test_a_log_whose_ends_are_lies_is_bounded(below, overlay, path, value):
    prb = int.from_bytes(below.read(below.symbol("prb"), 8), "little")
    log = table(overlay.set("struct printk_ringbuffer", prb, path, value).dump(), "log")
    bits = below.struct("printk_ringbuffer", prb)["desc_ring.count_bits"]
    assert len(log) <= 1 << bits
    assert list(log.columns) == list(below.log.columns)
    known = set(below.log["text"])
    assert set(log["text"].dropna()) <= known


def test_a_log_that_claims_more_than_there_is_says_so(below, overlay):
    from kernlab import KernlabError

    prb = int.from_bytes(below.read(below.symbol("prb"), 8), "little")
    dump = overlay.set("struct printk_ringbuffer", prb, "desc_ring.count_bits", 31).dump()
    with pytest.raises(KernlabError, match=r"2\^31 records"):
        _ = dump.log
    # The rest of the dump does not hang on it.
    assert table(dump, "info")["panic_message"] is None
    assert len(table(dump, "tasks")) == len(below.tasks)


@pytest.mark.parametrize("name", ["tasks", "slabs", "maps", "modules", "info", "log", "symbols"])
def test_no_single_page_of_kernel_data_costs_a_table(below, name):
    """Each page that the roots of the tables lie on is left out in turn."""
    from kernlab import KernlabError

    roots: dict[str, Callable[[], int]] = {
        symbol: (lambda symbol=symbol: below.symbol(symbol))
        for symbol in ("__cpu_possible_mask", "init_pid_ns", "nr_threads", "task_struct_cachep", "panic_cpu")
    }
    for symbol, address in roots.items():
        dump = Overlay(below).exclude(address()).dump()
        try:
            built = table(dump, name)
        except KernlabError as error:
            pytest.fail(f"{name} does not come without the page of {symbol}: {error}")
        assert len(built.columns if name != "info" else built) > 3
