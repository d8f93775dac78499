"""`suspects` of errors in the kernel's code: what its log tells, on samples and in logs that are made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from verdict.cases import made_log

import kernlab
from kernlab.tables.suspects.reports import error_reports

WARNING = """\
[  100.000001] ------------[ cut here ]------------
[  100.000002] WARNING: CPU: 1 PID: 55 at drivers/scales.c:12 scales_read+0x10/0x20 [scales]
[  100.000003] CPU: 1 UID: 0 PID: 55 Comm: weigher Not tainted 6.12.1 #1
[  100.000004] RIP: 0010:scales_read+0x10/0x20 [scales]
[  100.000005] Call Trace:
[  100.000006]  vfs_read+0xf8/0x390
[  100.000007] ---[ end trace 0000000000000000 ]---
"""
CHECK = WARNING.replace(
    "WARNING: CPU: 1 PID: 55 at drivers/scales.c:12 scales_read+0x10/0x20 [scales]",
    "kernel BUG at drivers/scales.c:12!",
)
OOPS = """\
[  200.000001] BUG: kernel NULL pointer dereference, address: 0000000000000010
[  200.000002] Oops: Oops: 0002 [#1] SMP
[  200.000003] CPU: 0 UID: 0 PID: 77 Comm: billing Not tainted 6.12.1 #1
[  200.000004] RIP: 0010:shop_check+0x1c/0x30 [shop]
[  200.000005] Call Trace:
[  200.000006]  vfs_write+0xf8/0x390
[  200.000007] ---[ end trace 0000000000000000 ]---
"""
QUIET = "".join(f"[  150.{number:06}] eth0: link is up\n" for number in range(40))


def leads(text: str) -> list[Any]:
    return error_reports(SimpleNamespace(log=made_log(text)))  # type: ignore[arg-type]


def test_an_oops_is_a_lead_and_agrees_with_the_verdict() -> None:
    with kernlab.open(kernlab.sample("oops")) as dump:
        first, verdict = dump.suspects.iloc[0], dump.verdict.iloc[0]
        assert (first["lead"], first["subject"]) == ("null dereference", "order_check [kernlab_story]")
        assert first["lead"] == verdict["finding"]
        assert f"{verdict['function']} [{verdict['module']}]" == first["subject"]
        shown = dump.log.iloc[slice(*map(int, first["cell"][len("dump.log.iloc[") : -1].split(":")))]
        assert "order_check" in " ".join(shown["text"])


def test_what_the_machine_died_in_comes_before_what_it_outlived() -> None:
    died, outlived = leads(CHECK + QUIET + OOPS)
    assert (died.lead, died.subject) == ("null dereference", "shop_check [shop]")
    assert "went on" not in died.evidence
    assert "billing (77)" in died.evidence
    assert (outlived.lead, outlived.subject) == ("BUG", "scales_read [scales]")
    assert "1 min 40 s before the log's end, and the machine went on" in outlived.evidence
    assert died.weight > 10 > 1 > outlived.weight


@pytest.mark.parametrize(
    ("time", "caller", "died"),
    [("250.000200", "T77", True), ("250.000200", "T78", False), ("290.000000", "T77", False)],
)
def test_a_report_that_its_thread_panicked_for_is_what_the_machine_died_in(
    time: str, caller: str, died: bool
) -> None:
    """As with panic_on_taint, and also where more than a screen of lines stands behind the panic."""
    bug = (
        f"[  250.000099] [   T77] {'=' * 77}\n"
        "[  250.000100] [   T77] BUG mill_job (Tainted: G           OE    ): Right Redzone overwritten\n"
        f"[  250.000101] [   T77] {'-' * 77}\n"
    )
    panic = f"[  {time}] [   {caller}] Kernel panic - not syncing: panic_on_taint set ...\n"
    after = "".join(f"[  {time}] [   {caller}]  frame_{number}+0x1/0x2\n" for number in range(40))
    (lead,) = leads(bug + panic + after)
    assert lead.lead == "memory corruption"
    assert ("the machine went on" in lead.evidence) != died
    assert (lead.weight > 10) == died


def test_alike_reports_are_one_lead_and_many_kinds_are_bounded() -> None:
    (lead,) = leads(CHECK * 3 + QUIET)
    assert "the last of 3" in lead.evidence
    many = "".join(CHECK.replace("scales_read", f"scales_{name}") for name in "abcdefgh")
    assert len(leads(many + QUIET)) == 5


def test_a_warning_is_one_where_the_machine_was_set_to_die_of_it() -> None:
    (lead,) = leads(
        WARNING.replace("---[ end", "Kernel panic - not syncing: kernel: panic_on_warn set ...\n---[ end")
    )
    assert (lead.lead, lead.subject) == ("WARNING", "scales_read [scales]")


@pytest.mark.parametrize(
    "text",
    [
        "[  1.0] sysrq: Trigger a crash\n[  1.1] Kernel panic - not syncing: sysrq triggered crash\n",
        "[  1.0] Kernel panic - not syncing: no room\n",
        "[  1.0] INFO: task a:7 blocked for more than 120 seconds.\n",
        WARNING + QUIET,
        QUIET,
    ],
)
def test_what_is_no_error_of_code_or_usual_is_none(text: str) -> None:
    assert leads(text) == []
