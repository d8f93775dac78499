"""What KASAN, KFENCE, KMSAN and UBSAN report is taken as they say it."""

from __future__ import annotations

import pytest
from verdict.asked import ENDS
from verdict.cases import found_by, verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.rules.checkers import checked

_KASAN = """\
[   40.000000] [{caller:>8}] ==================================================================
[   40.000000] [{caller:>8}] BUG: KASAN: {what} in shelf_read+0x1c/0x30 [shop]
[   40.000000] [{caller:>8}] Read of size 8 at addr ffff888107a8e408 by task audit/301
[   40.000000] [{caller:>8}]
[   40.000000] [{caller:>8}] CPU: 1 UID: 0 PID: 301 Comm: audit Tainted: G           OE      6.12.1-amd64 #1
[   40.000000] [{caller:>8}] Call Trace:
[   40.000000] [{caller:>8}]  <{stack}>
[   40.000000] [{caller:>8}]  dump_stack_lvl+0x5d/0x80
[   40.000000] [{caller:>8}]  print_report+0x15d/0x4d0
[   40.000000] [{caller:>8}]  kasan_report+0xce/0x100
[   40.000000] [{caller:>8}]  shelf_read+0x1c/0x30 [shop]
[   40.000000] [{caller:>8}]  proc_reg_read+0x5a/0xa0
[   40.000000] [{caller:>8}]  vfs_read+0xf8/0x440
[   40.000000] [{caller:>8}]  </{stack}>
[   40.000000] [{caller:>8}]
[   40.000000] [{caller:>8}] Allocated by task 290:
[   40.000000] [{caller:>8}]  kasan_save_stack+0x33/0x60
[   40.000000] [{caller:>8}]  __kasan_slab_alloc+0x89/0x90
[   40.000000] [{caller:>8}]  kmem_cache_alloc_noprof+0x12d/0x340
[   40.000000] [{caller:>8}]  shelf_new+0x20/0x60 [shop]
[   40.000000] [{caller:>8}]
[   40.000000] [{caller:>8}] Freed by task 291:
[   40.000000] [{caller:>8}]  kasan_save_stack+0x33/0x60
[   40.000000] [{caller:>8}]  ____kasan_slab_free+0x37/0x50
[   40.000000] [{caller:>8}]  kmem_cache_free+0x10f/0x440
[   40.000000] [{caller:>8}]  shelf_drop+0x20/0x40 [shop]
[   40.000000] [{caller:>8}]
[   40.000000] [{caller:>8}] The buggy address belongs to the object at ffff888107a8e400
[   40.000000] [{caller:>8}]  which belongs to the cache shop_shelf of size 64
[   40.000000] [{caller:>8}] The buggy address is located 8 bytes inside of
[   40.000000] [{caller:>8}]  freed 64-byte region [ffff888107a8e400, ffff888107a8e440)
[   40.000000] [{caller:>8}]
[   40.000000] [{caller:>8}] Memory state around the buggy address:
[   40.000000] [{caller:>8}]  ffff888107a8e300: fa fb fb fb fb fb fb fb fc fc fc fc fc fc fc fc
[   40.000000] [{caller:>8}] >ffff888107a8e400: fa fb fb fb fb fb fb fb fc fc fc fc fc fc fc fc
[   40.000000] [{caller:>8}] ==================================================================
[   40.000000] [{caller:>8}] Disabling lock debugging due to kernel taint
"""
_TRAP = """\
[   {at}] [{caller:>8}] BUG: kernel NULL pointer dereference, address: 0000000000000010
[   {at}] [{caller:>8}] Oops: Oops: 0000 [#1] SMP
[   {at}] [{caller:>8}] CPU: 1 UID: 0 PID: {pid} Comm: {comm} Tainted: G    B      OE      6.12.1-amd64 #1
[   {at}] [{caller:>8}] RIP: 0010:{function}
[   {at}] [{caller:>8}] Call Trace:
[   {at}] [{caller:>8}]  <TASK>
[   {at}] [{caller:>8}]  vfs_read+0xf8/0x440
[   {at}] [{caller:>8}]  </TASK>
[   {at}] [{caller:>8}] ---[ end trace 0000000000000000 ]---
[   {at}] [{caller:>8}] Kernel panic - not syncing: Fatal exception
"""


def _kasan(what: str = "slab-use-after-free", caller: str = "T301", stack: str = "TASK") -> str:
    return _KASAN.format(what=what, caller=caller, stack=stack)


def _trap(at: str, pid: int, function: str) -> str:
    return _TRAP.format(at=at, pid=pid, comm=f"thread{pid}", caller=f"T{pid}", function=function)


@pytest.mark.parametrize(
    ("what", "finding"),
    [
        ("slab-use-after-free", "use after free"),
        ("slab-out-of-bounds", "out of bounds"),
        ("double-free", "double free"),
        ("double-free or invalid-free", "invalid free"),
        ("invalid-free", "invalid free"),
    ],
)
def test_kasan_says_what_whose_and_who(what: str, finding: str) -> None:
    """The object's cache and size, where in it, who allocated and who freed it."""
    (only,) = found_by(Case(None, _kasan(what)), checked)
    assert (only.finding, only.subject, only.confidence) == (finding, "shop_shelf", 0.97)
    assert (only.function, only.module, only.pid) == ("shelf_read", "shop", 301)
    assert [each.says for each in only.evidence[1:]] == [
        "it belongs to an object of shop_shelf, 64 bytes, 8 bytes inside of freed 64-byte region",
        "allocated in shelf_new [shop], by thread 290",
        "freed in shelf_drop [shop], by thread 291",
    ]


@pytest.mark.parametrize(
    ("trap", "role"),
    [
        (("40.100000", 301, "list_walk+0x1/0x20"), "cause"),
        (("43.000000", 377, "shelf_write+0x1/0x20 [shop]"), "cause"),
        (("43.000000", 377, "fork_idle+0x1/0x20"), "beside"),
        (("93.000000", 377, "shelf_write+0x1/0x20 [shop]"), "beside"),
        (("93.000000", 301, "list_walk+0x1/0x20"), "beside"),
    ],
)
def test_it_explains_a_trap_soon_after(trap: tuple[str, int, str], role: str) -> None:
    """Of the same thread, or in the same module; not one that has nothing in common with it, or long after."""
    found = verdict_of(Case(None, _kasan() + _trap(*trap)), *ENDS, checked)
    own = next(each for each in found if each.finding == "use after free")
    assert own.role == role
    assert (found[0] is own) == (role == "cause")
    assert ("Nothing shows that the end has to do with it." in own.against) == (role == "beside")


def test_what_an_interrupt_did_no_thread_did() -> None:
    """KASAN names the task that was interrupted."""
    (only,) = found_by(Case(None, _kasan(caller="C1", stack="IRQ")), checked)
    assert only.pid is None


def test_kfence_names_the_object() -> None:
    """Its lines are of another form."""
    log = """\
[   54.258000] ==================================================================
[   54.258000] BUG: KFENCE: out-of-bounds write in till_print+0xb3/0x143 [till]
[   54.258000]
[   54.258000] Out-of-bounds write at 0x00000000a4f9ae20 (32B right of kfence-#31):
[   54.258000]  till_print+0xb3/0x143 [till]
[   54.258000]  vfs_write+0xf8/0x440
[   54.258000]
[   54.258000] kfence-#31: 0x00000000a4f9ae00-0x00000000a4f9ae1f, size=32, cache=kmalloc-32
[   54.258000]
[   54.258000] allocated by task 114 on cpu 1 at 54.123456s (0.134544s ago):
[   54.258000]  till_new+0xf0/0x6ff [till]
[   54.258000]  vfs_write+0xf8/0x440
[   54.258000]
[   54.258000] CPU: 1 UID: 0 PID: 114 Comm: till Tainted: G    B      OE      6.12.1-amd64 #1
[   54.258000] ==================================================================
"""
    (only,) = found_by(Case(None, log), checked)
    assert (only.finding, only.subject, only.function, only.pid) == (
        "out of bounds",
        "kmalloc-32",
        "till_print",
        114,
    )
    assert "allocated in till_new [till], by thread 114" in [each.says for each in only.evidence]


def test_ubsan_says_what_was_out_of_range() -> None:
    """It finds mistakes that are no damage by themselves: told beside."""
    log = """\
[   54.258000] ------------[ cut here ]------------
[   54.258000] UBSAN: array-index-out-of-bounds in drivers/till.c:233:8
[   54.258000] index 12 is out of range for type 'int [8]'
[   54.258000] CPU: 1 UID: 0 PID: 114 Comm: till Not tainted 6.12.1-amd64 #1
[   54.258000] Call Trace:
[   54.258000]  <TASK>
[   54.258000]  dump_stack_lvl+0x5d/0x80
[   54.258000]  __ubsan_handle_out_of_bounds+0x94/0xd0
[   54.258000]  till_read+0x5a/0xa0 [till]
[   54.258000]  vfs_read+0xf8/0x440
[   54.258000]  </TASK>
[   54.258000] ---[ end trace ]---
"""
    (only,) = found_by(Case(None, log), checked)
    assert (only.finding, only.function, only.role) == ("UBSAN", "till_read", "beside")
    assert "index 12 is out of range for type 'int [8]'" in [each.says for each in only.evidence]


@pytest.mark.parametrize(("pid", "end"), [(301, "sysrq: Trigger a crash"), (0, "")])
def test_a_report_does_not_lead_to_what_somebody_asked_for(pid: int, end: str) -> None:
    """A shell that loads a bad module may write to SysRq next; and each CPU has an idle thread of number 0."""
    log = f"""\
[   12.000000] BUG: KASAN: slab-use-after-free in shelf_read+0x1c/0x30 [shop]
[   12.000000] Read of size 8 at addr ffff888107a8e408 by task sh/{pid}
[   12.000000] CPU: 1 UID: 0 PID: {pid} Comm: sh Not tainted 6.12.1-amd64 #1
[   12.000000] Call Trace:
[   12.000000]  shelf_read+0x1c/0x30 [shop]
[   12.000000]  vfs_read+0xf8/0x440
[   12.000000] ==================================================================
"""
    if end:
        log += f"[   14.000000] {end}\n[   14.000000] Kernel panic - not syncing: sysrq triggered crash\n"
        log += f"[   14.000000] CPU: 1 UID: 0 PID: {pid} Comm: sh Not tainted 6.12.1-amd64 #1\n"
    else:
        log += "[   14.000000] kernel BUG at fs/inode.c:12!\n[   14.000000] Oops: invalid opcode: 0000 [#1] SMP\n"
        log += f"[   14.000000] CPU: 3 UID: 0 PID: {pid} Comm: sh Not tainted 6.12.1-amd64 #1\n"
        log += "[   14.000000] RIP: 0010:iput+0x1c/0x30\n[   14.000000] Call Trace:\n[   14.000000]  evict+0x1/0x2\n"
        log += "[   14.000000] Kernel panic - not syncing: Fatal exception\n"
    table = kernlab.verdict.of_log(log)
    assert table["role"].iloc[0] == "end"
    assert set(table.loc[table["finding"] == "use after free", "role"]) == {"beside"}


def test_a_report_that_is_torn_is_less_sure() -> None:
    """Of its stack nothing is left."""
    whole = _KASAN.format(caller="T301", what="slab-use-after-free", stack="TASK")
    (sure,) = found_by(Case(None, whole), checked)
    (torn,) = found_by(Case(None, "".join(whole.splitlines(keepends=True)[:3])), checked)
    assert (sure.confidence, torn.confidence) == (0.97, 0.9)
    assert "The report is not whole: no stack." in torn.against
