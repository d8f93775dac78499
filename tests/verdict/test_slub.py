"""What SLUB's own checks say of an object, and what that is."""

from __future__ import annotations

import pandas as pd
import pytest
from support.captures import captures
from verdict.asked import ENDS
from verdict.cases import verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules import slub
from kernlab.verdict.rules.slub import freed_twice, slub_reports

_REPORT = """\
[   40.763316] [    T179] =============================================================================
[   40.763316] [    T179] BUG till_order (Tainted: G           OE     ): {what}
[   40.763316] [    T179] -----------------------------------------------------------------------------
[   40.763316] [    T179]
[   40.763316] [    T179] Allocated in order_new+0x17/0x60 [till] age=2 cpu=1 pid=178
[   40.763316] [    T179]  order_new+0x17/0x60 [till]
[   40.768093] [    T179]  vfs_write+0xf8/0x440
[   40.768093] [    T179] Freed in order_drop+0x17/0x60 [till] age=1 cpu=1 pid=177
[   40.768093] [    T179]  order_drop+0x17/0x60 [till]
[   40.768093] [    T179] Object 0xff11eb1c1ff51908 @offset=2312 fp=0xff11eb1c1ff51d88
[   40.768093] [    T179] Redzone  ff11eb1c1ff51968: 4c 4c 4c 4c cc cc cc cc                          LLLL....
[   40.769000] [    T179] CPU: 1 UID: 0 PID: 179 Comm: till Tainted: G           OE      6.12.1-amd64 #1
[   40.769000] [    T179] Call Trace:
[   40.769000] [    T179]  <TASK>
[   40.769000] [    T179]  dump_stack_lvl+0x5d/0x80
[   40.769000] [    T179]  check_object+0x1a4/0x310
[   40.769000] [    T179]  free_to_partial_list+0x1cd/0x490
[   40.769000] [    T179]  kmem_cache_free+0x3a4/0x440
[   40.769000] [    T179]  order_print+0x2c/0x40 [till]
[   40.769000] [    T179]  vfs_write+0xf8/0x440
[   40.769000] [    T179]  </TASK>
[   40.769000] [    T179] FIX till_order: Restoring Right Redzone 0xff11eb1c1ff51968-0xff11eb1c1ff5196b=0xcc
"""

_BUG = """\
[   25.276230] [    T174] kernel BUG at mm/slub.c:550!
[   25.276874] [    T174] Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI
[   25.277233] [    T174] CPU: 1 UID: 0 PID: 174 Comm: miller Kdump: loaded Tainted: G           OE      6.12.1-amd64 #1
[   25.277926] [    T174] RIP: 0010:{at}+0x3b2/0x440
[   25.310697] [    T174] RSP: 0018:ff39d07880493c30 EFLAGS: 00010246
[   25.310927] [    T174] RAX: ff1a0a53dfc387e0 RBX: ff1a0a53dfc387e0 RCX: ff1a0a53dfc38810
[   25.312550] [    T174] Call Trace:
[   25.312767] [    T174]  <TASK>
[   25.312987] [    T174]  job_drop+0x35/0x50 [kernlab_mill]
[   25.313271] [    T174]  mill_write+0x10b/0x2b0 [kernlab_mill]
[   25.347944] [    T174]  </TASK>
[   25.348068] [    T174] Modules linked in: kernlab_mill(OE)
[   25.348200] [    T174] ---[ end trace 0000000000000000 ]---
[   25.348300] [    T174] Kernel panic - not syncing: Fatal exception
"""


def _found(log: str) -> list[Finding]:
    return verdict_of(Case(None, log), *ENDS, slub_reports, freed_twice)


@pytest.mark.parametrize(
    ("what", "finding"),
    [
        ("Right Redzone overwritten", "out of bounds"),
        ("Object padding overwritten", "out of bounds"),
        ("Poison overwritten", "use after free"),
        ("Object already free", "double free"),
        ("Freepointer corrupt", "memory corruption"),
    ],
)
def test_what_a_report_says_is_what_it_is(what: str, finding: str) -> None:
    """The cache, who asked for the object and who gave it back; the function is whose object was checked."""
    (only,) = _found(_REPORT.format(what=what))
    assert (only.finding, only.subject, only.role) == (finding, "till_order", "beside")
    assert (only.module, only.function, only.pid) == ("till", "order_print", 179)
    said = [each.says for each in only.evidence]
    assert "allocated by order_new+0x17/0x60 [till], pid 178" in said
    assert "freed by order_drop+0x17/0x60 [till], pid 177" in said
    assert bool(only.against) == (finding != "double free")


@pytest.mark.parametrize(
    ("after", "role"),
    [
        ("[   40.770000] [    T179] Kernel panic - not syncing: panic_on_taint set ...\n", "cause"),
        ("[   95.000000] [    T201] Kernel panic - not syncing: no paper\n", "beside"),
    ],
)
def test_it_is_the_cause_only_of_what_follows_from_it(after: str, role: str) -> None:
    """A panic that the kernel is set to, at once; not another one of another thread later."""
    cause = next(
        each for each in _found(_REPORT.format(what="Poison overwritten") + after) if each.role != "end"
    )
    assert (cause.finding, cause.role) == ("use after free", role)
    assert ("Nothing shows that the end has to do with it." in cause.against) == (role == "beside")


@pytest.mark.parametrize(
    ("at", "first"),
    [
        ("kmem_cache_free", "double free"),
        ("__slab_free", "double free"),
        ("kfree", "invalid free"),
        ("___slab_alloc", "BUG"),
    ],
)
def test_bug_where_slub_frees_is_a_double_free(at: str, first: str) -> None:
    """Without a dump kfree() may have met a pointer that is no object; where SLUB allocates it is another check."""
    found = _found(_BUG.format(at=at))
    assert found[0].finding == first
    assert (found[0].module, found[0].function, found[0].pid) == ("kernlab_mill", "job_drop", 174)
    assert found[0].confidence >= 0.8
    assert [each.finding for each in found if each.role == "end"] == ["BUG"]


def test_the_object_that_was_freed_twice_is_named() -> None:
    """The dump tells its cache, and that it was free."""
    folders = captures("fault-double-free-*")
    if not folders:
        pytest.skip("no capture of fault-double-free: KERNLAB_LAB_CAPTURES")
    with kernlab.open(folders[0] / "vmcore") as dump:
        found = _case(dump)
        row = next(each for each in found if each.finding == "double free")
        owner = eval(row.cell, {"dump": dump})
    assert (row.subject, row.function, row.confidence >= 0.9) == ("mill_job", "job_drop", True)
    assert (owner["name"], owner["allocated"]) == ("mill_job", False)


def _case(dump: kernlab.Dump) -> list[Finding]:
    return list(freed_twice(Case(dump.kernel)))


def test_the_end_is_whose_object_was_checked() -> None:
    """Not of the allocator, which looked on somebody's behalf, nor of a module further down the stack."""
    log = _BUG.format(at="kmem_cache_free").replace(
        "  job_drop+0x35/0x50 [kernlab_mill]\n",
        "  free_to_partial_list+0x1cd/0x490\n[   25.3] [    T174]  sock_free+0x1/0x20\n",
    )
    for each in (one for one in _found(log) if one.role != "beside"):
        assert (each.function, each.module) == ("sock_free", None), each.finding


@pytest.mark.parametrize(("free", "subject"), [(1, "mill_job"), (2, "a slab object"), (0, "a slab object")])
def test_which_object_was_freed_twice(free: int, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is free and that a register points to: of two it is not known which."""

    def pointed_at(_: Case, registers: dict[str, int]) -> pd.DataFrame:
        rows = [{"kind": "slab object", "name": "mill_job", "offset": 0, "allocated": place >= free}
                for place in range(len(registers))]  # fmt: skip
        return pd.DataFrame(rows, index=list(registers)).astype({"allocated": "boolean"})

    monkeypatch.setattr(slub, "pointed_at", pointed_at)
    monkeypatch.setattr(slub, "registers_of", lambda *_: {"ax": 4096, "cx": 8192, "dx": 12288})
    (found,) = freed_twice(Case(None, _BUG.format(at="kmem_cache_free")))
    assert found.subject == subject
