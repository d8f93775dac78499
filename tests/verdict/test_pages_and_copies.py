"""Pages in a state that none may be in, and copies that were refused."""

from __future__ import annotations

import pytest
from verdict.asked import ENDS
from verdict.cases import verdict_of

from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules.pages_and_copies import bad_pages, bad_user_copy

_PAGE = """\
[  360.589544] [   T8978] BUG: Bad page state in process till  pfn:7071f
[  360.597807] [   T8978] page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x7f467f1e8 pfn:0x7071f
[  360.607825] [   T8978] flags: 0xfff00000000000(node=0|zone=1|lastcpupid=0x7ff)
[  360.615503] [   T8978] raw: 00fff00000000000 dead000000000040 ffff888062a17000 0000000000000000
[  360.633713] [   T8978] page dumped because: nonzero mapcount
[  360.640000] [   T8978] CPU: 1 UID: 0 PID: 8978 Comm: till Not tainted 6.12.1-amd64 #1
[  360.640000] [   T8978] Call Trace:
[  360.640000] [   T8978]  <TASK>
[  360.640000] [   T8978]  dump_stack_lvl+0x5d/0x80
[  360.640000] [   T8978]  bad_page+0x6c/0x100
[  360.640000] [   T8978]  till_drop+0x21/0x30 [till]
[  360.640000] [   T8978]  vfs_write+0xf8/0x440
[  360.640000] [   T8978]  </TASK>
"""
_END = """\
[  {at}] [   T{pid}] BUG: kernel NULL pointer dereference, address: 0000000000000010
[  {at}] [   T{pid}] Oops: Oops: 0000 [#1] SMP
[  {at}] [   T{pid}] CPU: 1 UID: 0 PID: {pid} Comm: other Tainted: G    B  6.12.1-amd64 #1
[  {at}] [   T{pid}] RIP: 0010:fork_idle+0x1/0x20
[  {at}] [   T{pid}] Call Trace:
[  {at}] [   T{pid}]  vfs_read+0xf8/0x440
[  {at}] [   T{pid}] ---[ end trace 0000000000000000 ]---
[  {at}] [   T{pid}] Kernel panic - not syncing: Fatal exception
"""
_COPY = """\
[  237.819912] [    T211] usercopy: {says}
[  237.819913] [    T211] ------------[ cut here ]------------
[  237.819914] [    T211] kernel BUG at mm/usercopy.c:102!
[  237.819915] [    T211] Oops: invalid opcode: 0000 [#1] PREEMPT SMP
[  237.819916] [    T211] CPU: 1 UID: 0 PID: 211 Comm: till Not tainted 6.12.1-amd64 #1
[  237.819917] [    T211] RIP: 0010:usercopy_abort+0x78/0x7a
[  237.819918] [    T211] Call Trace:
[  237.819919] [    T211]  <TASK>
[  237.819920] [    T211]  __check_heap_object+0xd6/0x110
[  237.819921] [    T211]  __check_object_size+0x1db/0x300
[  237.819922] [    T211]  till_read+0x71/0x90 [till]
[  237.819923] [    T211]  vfs_read+0xf8/0x440
[  237.819924] [    T211]  </TASK>
[  237.819925] [    T211] ---[ end trace 0000000000000000 ]---
[  237.819926] [    T211] Kernel panic - not syncing: Fatal exception
"""


def _found(log: str) -> list[Finding]:
    return verdict_of(Case(None, log), *ENDS, bad_pages, bad_user_copy)


@pytest.mark.parametrize(
    ("at", "pid", "role"),
    [("360.700000", 8978, "cause"), ("360.700000", 12, "beside"), ("990.000000", 8978, "beside")],
)
def test_a_bad_page_leads_to_what_its_thread_meets_next(at: str, pid: int, role: str) -> None:
    """The frame, and what was wrong with it."""
    found = _found(_PAGE + _END.format(at=at, pid=pid))
    (own,) = [each for each in found if each.finding == "bad page"]
    assert (own.subject, own.role) == ("page frame 7071f", role)
    assert "what was wrong with it: nonzero mapcount" in [each.says for each in own.evidence]
    assert (found[0] is own) == (role == "cause")


@pytest.mark.parametrize(
    ("says", "subject", "told"),
    [
        (
            "Kernel memory overwrite attempt detected to SLUB object 'till_order' (offset 4104, size 64)!",
            "an object of till_order",
            "64 B of an object of till_order would have been written by a program, from byte 4,104 on",
        ),
        (
            "Kernel memory exposure attempt detected from process stack (offset 0, size 8192)!",
            "process stack",
            "8.0 KiB of process stack would have been read by a program",
        ),
        (
            "kernel memory exposure attempt detected from ffff8801d4310630 (till_order) (11 bytes)",
            "an object of till_order",
            "11 B of an object of till_order would have been read by a program",
        ),
    ],
)
def test_a_copy_that_was_refused(says: str, subject: str, told: str) -> None:
    """Whose memory it was, how much, and which way."""
    (only,) = _found(_COPY.format(says=says))
    assert (only.finding, only.subject, only.role, only.pid) == ("bad user copy", subject, "end", 211)
    assert (only.function, only.module) == ("till_read", "till")
    assert told in [each.says for each in only.evidence]
