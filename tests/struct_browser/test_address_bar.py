"""The address bar: what may be typed, where it leads, and what it says of what it does not understand."""

from __future__ import annotations

import pytest

from kernlab.errors import KernlabError
from kernlab.struct_browser import address_bar
from kernlab.struct_browser.complete import complete_expression, complete_path, complete_symbol, complete_type


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.1").kernel


def find(kernel, typed):
    place = address_bar.find(kernel, typed)
    return place.type.c_name, place.address


def test_the_same_place_by_many_names(kernel, opened):
    dump = opened("debian-6.1")
    init = dump.symbol("init_task")
    for typed in (
        "init_task", f"{init:#x}", f"struct task_struct @ {init:#x}", f"task_struct {init:#x}",
        f"(struct task_struct *){init:#x}", "*&init_task", "(init_task)", f"  struct task_struct  @  {init} ",
        f"container_of({init + dump.kernel.find_type('struct task_struct').strip().member('tasks').offset:#x}, "
        "struct task_struct, tasks)",
    ):  # fmt: skip
        assert find(kernel, typed) == ("struct task_struct", init), typed


def test_members_pointers_and_elements(kernel, opened):
    dump = opened("debian-6.1")
    (first,) = dump.tasks[dump.tasks.pid == 1].address
    task = dump.struct("task_struct", int(first))
    assert find(kernel, "pid(1)") == ("struct task_struct", int(first))
    assert find(kernel, "*pid(1).mm") == ("struct mm_struct", task.mm.address_)
    assert find(kernel, "*pid(1)->mm") == ("struct mm_struct", task.mm.address_)
    assert find(kernel, "pid(1).mm->total_vm")[0] == "long unsigned int"
    assert find(kernel, "*pid(1).files.fd_array[1]") == ("struct file", task.files.fd_array[1])
    assert find(kernel, "pid(1).comm") == (
        "char [16]",
        int(first) + kernel.find_type("struct task_struct").strip().member("comm").offset,
    )
    assert address_bar.find(kernel, "pid(1).mm.mm_mt").owner == ("struct mm_struct", "mm_mt")
    assert address_bar.find(kernel, "pid(1).mm.mm_users").type.c_name == "atomic_t"


def test_per_cpu(kernel, opened):
    rqs = opened("debian-6.1").percpu("runqueues")
    for cpu, address in enumerate(rqs.addresses.tolist()):
        assert find(kernel, f"per_cpu(runqueues, {cpu})") == ("struct rq", address)
        assert find(kernel, f"runqueues[{cpu}]") == ("struct rq", address)
    with pytest.raises(KernlabError, match="no CPU 99"):
        address_bar.find(kernel, "per_cpu(runqueues, 99)")


def test_a_bare_address_is_looked_up(kernel, opened):
    dump = opened("debian-6.1")
    (first,) = dump.tasks[dump.tasks.pid == 1].address
    inside = address_bar.find(kernel, f"{int(first) + 100:#x}")
    assert (inside.type.c_name, inside.address) == ("struct task_struct", int(first))
    assert inside.note == "init (1): task_struct+0x64 (slab object)"
    assert address_bar.find(kernel, "do_idle").note.startswith("do_idle+0x0/")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "type a symbol"),
        ("nosuchsymbol", "no symbol 'nosuchsymbol'"),
        ("init_task.nosuch", "no member 'nosuch'"),
        ("init_task.com", "did you mean 'comm'"),
        ("struct nosuch @ 0x10", "no type 'struct nosuch'"),
        ("(struct nosuch *)0x10", "no type"),
        ("init_task.mm->pgd", "NULL pointer"),
        ("*init_task.mm", "NULL pointer"),
        ("*init_task.pid", "is not a pointer"),
        ("do_idle.x", "cast it"),
        ("init_task +", "cannot read"),
        ("(init_task", r"'\)' is missing"),
        ("0x123456789abcdef01", "64 bits"),
        ("99999999999999999999", "64 bits"),
        ("pid(99999)", "no task has the pid"),
        ("system('id')", "there is no system()"),
        ("__import__('os')", "there is no __import__()"),
        ("(" * 40 + "1", "nested deeper"),
        ("x" * 2000, "too many"),
    ],
)
def test_errors_say_what_was_not_understood(kernel, typed, told):
    with pytest.raises(KernlabError, match=told):
        address_bar.find(kernel, typed)


def test_completion(kernel):
    task = kernel.find_type("struct task_struct")
    assert ("mm->total_vm", "long unsigned int") in complete_path(task, "mm->tot")
    assert ("se.sum_exec_runtime", "u64") in complete_path(task, "se.sum")
    assert [name for name, _ in complete_path(task, "comm")] == ["comm"]
    assert (
        complete_path(task, "comm.x") == complete_path(task, "nosuch->x") == complete_path(task, "(x") == []
    )
    assert ("pid_links[1].next", "struct hlist_node *") in complete_path(task, "pid_links[1].n")
    assert complete_type(kernel, "task_str") == [("task_struct", "struct")]
    assert complete_type(kernel, "struct task_str") == [("struct task_struct", "struct")]
    assert complete_symbol(kernel, "slab_c")[0] == ("slab_caches", "struct list_head")
    assert ["init_task.mm_cid", "int"] not in complete_expression(kernel, "init_task.zz")
    assert ["init_task.comm", "char [16]"] in complete_expression(kernel, "init_task.com")
    assert ["init_task.fs->root", "struct path"] in complete_expression(kernel, "init_task.fs->roo")
    assert ["struct mm_struct @ ", "struct"] in complete_expression(kernel, "struct mm_stru")
    assert ["(struct mm_struct *)", "struct"] in complete_expression(kernel, "(struct mm_stru")
    assert complete_expression(kernel, "nosuch.") == complete_expression(kernel, "pid(1).")[:0]


def test_what_is_suggested_can_be_typed(kernel):
    for typed in ("init_task.", "pid(1).mm.", "runqueues[0].c", "init_net.dev"):
        offered = complete_expression(kernel, typed)
        assert offered
        for text, kind in offered:
            # Pointers that lead nowhere may be named all the same.
            assert address_bar.find(kernel, text).type.c_name in (
                kind,
                address_bar.find(kernel, text).type.strip().c_name,
            )
