"""What lies behind a trap: addresses that the kernel itself writes where nobody may look any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from verdict.asked import ENDS
from verdict.cases import found_by, made_case, verdict_of

from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.checkers import checked
from kernlab.verdict.rules.faults import poisoned

_GENERAL = """\
[   14.000000] [    T172] Oops: general protection fault, probably for non-canonical address {address}: 0000 [#1] SMP
[   14.000001] [    T172] CPU: 1 UID: 0 PID: 172 Comm: miller Kdump: loaded Not tainted 6.12.1-amd64 #1
[   14.000002] [    T172] RIP: 0010:job_finish+0x10/0x20 [kernlab_mill]
[   14.000003] [    T172] RSP: 0018:ff485e780041bd00 EFLAGS: 00010246
[   14.000004] [    T172] RAX: {register} RBX: 0000000000000008 RCX: {other}
[   14.000005] [    T172] RDX: 0000000000000001 RSI: ffffffffc02345c3 RDI: ff1302e281f57720
[   14.000006] [    T172] Call Trace:
[   14.000007] [    T172]  <{stack}>
[   14.000008] [    T172]  mill_write+0x10b/0x2b0 [kernlab_mill]
[   14.000009] [    T172]  vfs_write+0xf8/0x440
[   14.000010] [    T172] RIP: 0033:0x4b0642
[   14.000011] [    T172] RAX: dead000000000100 RBX: 00000000005f42c0 RCX: 00000000004b0642
[   14.000012] [    T172]  </{stack}>
[   14.000013] [    T172] ---[ end trace 0000000000000000 ]---
[   14.000014] [    T172] Kernel panic - not syncing: Fatal exception
"""
_OLD = _GENERAL.replace(", probably for non-canonical address {address}", "")


def _log(
    text: str = _GENERAL, *, address: int = 0, register: int, other: int = 0, stack: str = "TASK"
) -> Case:
    shown = {"address": f"{address:#x}", "register": f"{register:016x}", "other": f"{other:016x}"}
    return Case(None, text.format(**shown, stack=stack))


@pytest.mark.parametrize(
    ("base", "finding"),
    [
        (0x6B6B6B6B6B6B6B6B, "use after free"),
        (0xDEAD000000000100, "list corruption"),
        (0xDEAD000000000122, "list corruption"),
    ],
)
@pytest.mark.parametrize("offset", [0, 8, 0x100, -0x40])
def test_an_address_near_a_poison_tells(base: int, finding: str, offset: int) -> None:
    """A member behind the pointer, or a struct that begins before its list_head."""
    first, end = verdict_of(_log(address=base + offset, register=base), *ENDS, poisoned)
    assert (first.finding, first.role, first.confidence >= 0.8) == (finding, "cause", True)
    assert (first.function, first.module, first.pid) == ("job_finish", "kernlab_mill", 172)
    assert (end.finding, end.role) == ("general protection", "end")


@pytest.mark.parametrize(("option", "sure"), [("", False), ("slub_debug=FZPU", True), ("slab_debug", True)])
def test_new_objects_are_poisoned_where_that_was_asked_for(option: str, sure: bool) -> None:
    """0x5a is what testers of disks write, too: it is text."""
    asked = f"[    0.000000] Kernel command line: root=/dev/vda1 {option} quiet\n"
    (found,) = found_by(_log(asked + _GENERAL, address=0x5A5A5A5A5A5A5A62, register=1), poisoned)
    assert (found.finding, found.confidence >= 0.8) == ("uninitialised value", sure)
    assert sure or found.confidence < 0.5


def test_a_poison_near_that_of_lists_is_not_theirs() -> None:
    """TAIL_MAPPING is 0xdead000000000400: a page's tail, no list."""
    (found,) = found_by(_log(address=0xDEAD000000000408, register=0xDEAD000000000400), poisoned)
    assert found.confidence < 0.5
    (found,) = found_by(_log(address=0xDEAD000000000408, register=0xDEAD000000000100), poisoned)
    assert found.confidence >= 0.8


def test_a_poison_in_a_register_alone_tells_nothing() -> None:
    """list_del() leaves its poison in registers of innocent functions; so do the registers of user space."""
    assert not found_by(_log(address=0x1234567812345678, register=0xDEAD000000000122), poisoned)


def test_pages_are_poisoned_where_that_was_asked_for() -> None:
    """0xaa is what compilers write into variables that nobody set, too."""
    case = _log(address=0xAAAAAAAAAAAAAAB2, register=0xAAAAAAAAAAAAAAAA)
    (doubtful,) = found_by(case, poisoned)
    assert doubtful.confidence < 0.5
    asked = "[    0.000000] Kernel command line: root=/dev/vda1 page_poison=1 quiet\n"
    case = _log(asked + _GENERAL, address=0xAAAAAAAAAAAAAAB2, register=0xAAAAAAAAAAAAAAAA)
    (sure,) = found_by(case, poisoned)
    assert sure.confidence >= 0.8


@pytest.mark.parametrize(("other", "found"), [(0, 1), (0x1234567812345678, 0)])
def test_where_no_address_is_told_it_is_the_only_one_that_cannot_be(other: int, found: int) -> None:
    """Kernels before 5.4 say "general protection fault" and no more."""
    told = found_by(_log(_OLD, register=0x6B6B6B6B6B6B6B6B, other=other), poisoned)
    assert [each.confidence for each in told] == [0.9] * found


def test_an_interrupt_is_not_the_thread_below_it() -> None:
    """Who runs while a timer's function traps has no part in it."""
    (one,) = found_by(_log(address=0x6B6B6B6B6B6B6B73, register=0x6B6B6B6B6B6B6B6B, stack="IRQ"), poisoned)
    assert one.pid is None
    assert "miller" not in one.subject


def test_a_null_dereference_is_no_use_after_free(sample: Callable[[str], Case]) -> None:
    """The bundled one."""
    assert not found_by(sample("oops"), poisoned)


def test_one_report_is_one_row() -> None:
    """Where a checker's report is the end, its row says more, and stands once."""
    log = """\
[   12.000000] [    T301] ==================================================================
[   12.000000] [    T301] BUG: KASAN: slab-use-after-free in shelf_read+0x1c/0x30 [shop]
[   12.000000] [    T301] Read of size 8 at addr ffff888107a8e408 by task audit/301
[   12.000000] [    T301] CPU: 1 UID: 0 PID: 301 Comm: audit Not tainted 6.12.1-amd64 #1
[   12.000000] [    T301] Call Trace:
[   12.000000] [    T301]  <TASK>
[   12.000000] [    T301]  dump_stack_lvl+0x5d/0x80
[   12.000000] [    T301]  kasan_report+0xce/0x100
[   12.000000] [    T301]  shelf_read+0x1c/0x30 [shop]
[   12.000000] [    T301]  vfs_read+0xf8/0x440
[   12.000000] [    T301]  </TASK>
[   12.000000] [    T301] The buggy address belongs to the object at ffff888107a8e400
                           which belongs to the cache shop_shelf of size 64
[   12.000000] [    T301] Kernel panic - not syncing: KASAN: panic_on_warn set ...
"""
    found: list[Finding] = verdict_of(Case(None, log), *ENDS, checked)
    assert [(each.finding, each.subject, each.role, each.pid) for each in found] == [
        ("use after free", "shop_shelf", "end", 301)
    ]
    # A softirq ran on top of the thread: the stacks of the dump tell, and this report does not.
    softirq = {"pid": 301, "comm": "audit", "cpu": 1, "frame": 0, "symbol": "shelf_read+0x1c/0x30 [shop]",
               "kind": "softirq", "reliable": True}  # fmt: skip
    (innocent,) = verdict_of(made_case(log, stacks=[softirq]), *ENDS, checked)
    assert (innocent.finding, innocent.pid) == ("use after free", None)
    said = " ".join(each.says for each in found[0].evidence)
    assert "Kernel panic" in said
    assert "it belongs to an object of shop_shelf, 64 bytes" in said
