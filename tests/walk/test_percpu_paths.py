"""`.kern.percpu`: what a per-CPU pointer leads to on each CPU; and that no other path goes through one in silence."""

from __future__ import annotations

import pytest

from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError, MemberNotFoundError


def through(dump) -> str:
    """A path through a per-CPU pointer of a slab cache, of this kernel."""
    types = dump.kernel.types
    # Linux 7.0 replaced the per-CPU slabs by sheaves.
    return "cpu_slab->tid" if types.has_member("struct kmem_cache", "cpu_slab") else "cpu_sheaves->main"


def test_each_cpus_copy_lies_where_its_offset_says(dump):
    path = through(dump)
    pointer = path.split("->")[0]
    found = dump.slabs.kern.percpu(path)
    offsets = dump.kernel.percpu_offsets
    assert found.columns.tolist() == list(range(dump.info["cpus"]))
    assert found.columns.name == "cpu"
    assert found.index.equals(dump.slabs.index)
    inner = resolve(dump.kernel.find_type("struct kmem_cache"), path).hops[-1]
    values = dump.slabs.kern.field(pointer)
    for row in (0, 5, len(values) - 1):
        for cpu in found.columns:
            at = (int(values[row]) + int(offsets[cpu]) + inner) % (1 << 64)
            assert int(found.loc[row, cpu]) == int.from_bytes(dump.read(at, 8), "little")


def test_the_structs_themselves(dump):
    path = through(dump)
    pointer, name = path.split("->")
    copies = dump.slabs.kern.percpu(pointer)
    assert copies.kern.on(0).field(name).tolist() == dump.slabs.kern.percpu(path)[0].tolist()


def test_counters_that_a_pointer_ends_in(opened):
    dump = opened("debian-6.12")
    tasks = dump.tasks.dropna(subset=["mm"])
    tasks = tasks[tasks.mm.astype("UInt64") > 0]
    mm = tasks.kern.on("mm")
    # include/linux/percpu_counter.h: the count and every CPU's part of it; file, anonymous, shared pages.
    total = sum(
        mm.field(f"rss_stat[{kind}].count") + mm.percpu(f"rss_stat[{kind}].counters").sum(axis=1)
        for kind in (0, 1, 3)
    )
    assert (total * 4096).tolist() == tasks.rss_bytes.tolist()


def test_no_path_goes_through_one_in_silence(dump):
    path, kern = through(dump), dump.slabs.kern
    for read in (
        lambda: kern.field(path),
        lambda: kern.assign(tid=path),
        lambda: kern.assign(tid=f"{path} != 0"),
        lambda: kern.where(f"{path} > 1"),
        lambda: kern.follow(path.split("->")[0], path.split("->")[1]),
        lambda: dump.entries("slab_caches", [path]),
    ):
        with pytest.raises(KernlabError, match=r"per-CPU pointer.*\.kern\.percpu\("):
            read()


def test_what_is_no_per_cpu_pointer_is_refused(dump):
    with pytest.raises(KernlabError, match=r"no per-CPU pointer.*kern\.field"):
        dump.tasks.kern.percpu("mm->total_vm")
    with pytest.raises(KernlabError, match="no per-CPU pointer"):
        dump.slabs.kern.percpu("name")
    with pytest.raises(MemberNotFoundError):
        dump.slabs.kern.percpu("nosuch->tid")
    assert dump.tasks.kern.field("mm->total_vm").notna().any()


@pytest.mark.parametrize("path", ["comm[16]", "cpus_mask.bits[99999]", "signal->rlim[16].rlim_cur"])
def test_an_index_behind_a_fixed_array_is_refused(dump, path):
    with pytest.raises(MemberNotFoundError):
        dump.tasks.kern.field(path)
    with pytest.raises(MemberNotFoundError):
        dump.struct("task_struct", "init_task")[path]
    with pytest.raises(MemberNotFoundError):
        dump.entries("init_task.children", [path])


def test_a_flexible_array_has_no_end(opened):
    dump = opened("debian-6.12")
    assert resolve(dump.kernel.find_type("struct pid"), "numbers[3].nr").hops[-1] > 0
    with pytest.raises(KernlabError, match="cannot read"):
        dump.tasks.kern.field("thread_pid->numbers[-1].nr")
