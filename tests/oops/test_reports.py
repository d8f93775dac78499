"""Reports in the forms of several releases and machines: each gives its one row, whatever stands before its lines."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from oops import logs, machines
from support.seed import SEED

import kernlab
from kernlab.errors import KernlabError
from kernlab.oops import parse, stack
from kernlab.oops.forms import KINDS
from kernlab.oops.heads import FORMS


def one(log: str) -> pd.Series:
    table = parse(log)
    assert len(table) == 1, table[["kind", "title"]]
    return table.iloc[0]


@pytest.mark.parametrize("name", logs.ALL)
def test_kind_title_function_and_module(name):
    log, kind, title, function, module = logs.ALL[name]
    report = one(f"Linux version 6\nhello\n{log}\nlater\n")
    assert (report.kind, report.title, report.function, report.module) == (kind, title, function, module)
    assert not report.corrupted
    assert report.why == ""
    assert kind in KINDS


def test_what_an_oops_says():
    report = one(logs.NULL_WRITE)
    assert (report.cpu, report.pid, report.comm) == (3, 812, "billing worker")
    assert (report.release, report.taint) == ("6.12.9-test", "Tainted: G           OE")
    assert report.details["address"] == 0x18
    assert report.details["access"] == "write"
    assert report.details["at"] == "shop_total.isra.0+0x1c/0x30 [shop]"
    assert report.details["tainting_modules"] == ["shop"]
    assert report.frames[:3] == [
        "shop_total.isra.0+0x1c/0x30 [shop]",
        "? __die_body.cold+0x19/0x27",
        "shop_write+0x5e/0xe0 [shop]",
    ]
    assert (report.offset, report.end) == (0, logs.NULL_WRITE.count("\n") + 1)


def test_what_kasan_says():
    report = one(logs.KASAN)
    assert report.details["access"] == "write"
    assert report.details["size"] == 8
    assert report.details["address"] == 0xFFFF888003B5E018
    assert report.details["allocated"][-2] == "shop_open+0x21/0x80 [shop]"
    assert (report.details["allocated_by"], report.details["freed_by"]) == (801, 804)
    assert report.details["freed"][-2] == "shop_release+0x1d/0x30 [shop]"


def test_seconds_of_lockups_and_hangs():
    assert one(logs.SOFT_LOCKUP).details["seconds"] == 23
    hung = one(logs.HUNG)
    assert (hung.details["seconds"], hung.pid, hung.comm) == (120, 179, "order-1")


def test_arm64_says_who_wrote_where():
    report = one(logs.PAGING_ARM64)
    assert report.details["address"] == 0xDEAD000000000108
    assert report.details["access"] == "write"
    assert (report.cpu, report.pid, report.comm, report.release) == (1, 77, "kworker/1:2", "6.1.55")


#: Lines of a log, below the kind and the title that they give.
FORMS_SEEN = """
# general protection | general protection fault in a
general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP
RIP: 0010:a+0x1/0x2
# divide error | divide error in a
Oops: divide error: 0000 [#1] SMP
RIP: 0010:a+0x1/0x2
# double fault | PANIC: double fault in a
PANIC: double fault, error_code: 0x0
RIP: 0010:a+0x1/0x2
# stack overflow | BUG: stack guard page was hit in a
BUG: TASK stack guard page was hit at 0 (stack is 1..2)
RIP: 0010:a+0x1/0x2
# BUG | kernel BUG in a
kernel BUG at fs/a.c:1!
Oops: invalid opcode: 0000 [#1] SMP
RIP: 0010:a+0x1/0x2
# execute of data | BUG: unable to handle kernel paging request in a
BUG: unable to handle page fault for address: ffff1
#PF: supervisor instruction fetch in kernel mode
RIP: 0010:a+0x1/0x2
# WARNING | WARNING in a
WARNING: fs/a.c:12 at a+0x1/0x2, CPU#1: b/77
RIP: 0010:a+0x1/0x2
# out of bounds | KFENCE: out-of-bounds read in a
BUG: KFENCE: out-of-bounds read in a+0x1/0x2

Out-of-bounds read at 0x1 (1B left of kfence-#1):
 a+0x1/0x2
# uninitialised value | KMSAN: uninit-value in a
BUG: KMSAN: uninit-value in a+0x1/0x2
 a+0x1/0x2
 b+0x1/0x2
# data race | KCSAN: data-race in a / b
BUG: KCSAN: data-race in a / b

write to 0x1 of 8 bytes by task 1 on cpu 0:
 a+0x1/0x2
# UBSAN | UBSAN: shift-out-of-bounds in a
UBSAN: shift-out-of-bounds in fs/a.c:1:2
Call Trace:
 dump_stack+0x1/0x2
 __ubsan_handle_shift_out_of_bounds+0x1/0x2
 a+0x1/0x2
# sleeping in atomic | BUG: sleeping function called from invalid context in a
BUG: sleeping function called from invalid context at mm/a.c:1
in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 7, name: b
Call Trace:
 __might_resched+0x1/0x2
 a+0x1/0x2
# sleeping in atomic | BUG: scheduling while atomic in a
BUG: scheduling while atomic: b/7/0x2
Call Trace:
 __schedule_bug+0x1/0x2
 __schedule+0x1/0x2
 schedule+0x1/0x2
 a+0x1/0x2
# hard lockup | watchdog: hard LOCKUP in a
NMI watchdog: Watchdog detected hard LOCKUP on cpu 3
RIP: 0010:a+0x1/0x2
# workqueue stall | BUG: workqueue lockup
BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 43s!
# OOM | b invoked oom-killer
b invoked oom-killer: gfp_mask=0x1(A), order=0, oom_score_adj=0
# memory leak | memory leak in a
unreferenced object 0xffff888003b5e018 (size 64):
  comm "b", pid 7, jiffies 1 (age 1s)
  backtrace:
    [<00000000ad758d10>] kmem_cache_alloc+0x1/0x2
    [<00000000ad758d10>] a+0x1/0x2
# I/O error | I/O error on vda
blk_update_request: I/O error, dev vda, sector 77 op 0x0:(READ)
# I/O error | READ DMA failed on ata1.00
ata1.00: failed command: READ DMA
ata1.00: cmd c8/00:08:00:00:00/00:00:00:00:00/e0 tag 0 dma 4096 in
# network stall | NETDEV WATCHDOG: transmit queue timed out
virtio_net virtio0 eth0: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5120 ms
# network stall | NETDEV WATCHDOG: transmit queue timed out
eth0 (unregistering): NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5120 ms
# file system error | EXT4-fs error in a
EXT4-fs error (device vda1): a:77: inode #2: comm b: bad
# file system error | EXT4-fs error in a
EXT4-fs error (device vda1) in a:77: Journal has aborted
# file system error | BTRFS: errno=-5
BTRFS: error (device dm-1: state A) in a:77: errno=-5 IO failure
# file system error | BTRFS: forced readonly
BTRFS info (device dm-1: state EA): forced readonly
# file system error | BTRFS: corrupt leaf
BTRFS critical (device sda1): corrupt leaf: root=2 block=1
# hardware error | hardware error
mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 1
# sysrq | sysrq triggered crash
sysrq: Trigger a crash
Kernel panic - not syncing: sysrq triggered crash
# panic | kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)
Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
"""


def seen() -> list[Any]:
    parts = FORMS_SEEN.strip("\n").removeprefix("# ").split("\n# ")
    heads = [(*part.partition("\n")[0].split(" | "), part.partition("\n")[2]) for part in parts]
    return [pytest.param(lines, kind, title, id=title) for kind, title, lines in heads]


@pytest.mark.parametrize(("lines", "kind", "title"), seen())
def test_forms(lines, kind, title):
    report = one(lines)
    assert (report.kind, report.title) == (kind, title)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: /etc/ssh/moduli does not exist",
        "a BUG: in the middle",
        "BUG UNIX (Not tainted): said by who knows whom",
        "INFO: lockdep is turned off.",
        "traps: b[77] general protection fault ip:7f sp:7f error:0 in b[7f+1]",
        "ODEBUG: Out of memory. ODEBUG disabled",
        "Booting the kernel.",
        "audit: BUG: x",
        "",
    ],
)
def test_what_is_no_report(line):
    assert len(parse(f"hello\n{line}\nlater")) == 0


def test_a_log_that_begins_again_was_not_told_to():
    log = "[   99.000000] fine\n[    0.000000] Linux version 6.1.0\n"
    assert parse(log)["kind"].tolist() == ["unexpected reboot"]
    assert len(parse(f"[   99.000000] reboot: Restarting system\n{log.splitlines()[1]}")) == 0


def test_forms_name_their_sources_and_kinds():
    for form in FORMS:
        assert form.source
        assert form.kind in KINDS or not isinstance(form.kind, str) or form.role == "end"
        assert not any(mark.isspace() for mark in form.marks)


def test_a_stack_as_a_table():
    table = stack(one(logs.NULL_WRITE))
    assert table["name"].tolist()[:3] == ["shop_total.isra.0", "__die_body.cold", "shop_write"]
    assert table["reliable"].tolist()[:3] == [True, False, True]
    assert (table["offset"][2], table["size"][2], table["module"][2]) == (0x5E, 0xE0, "shop")
    assert len(stack({"frames": []})) == 0


def test_records_and_tables_are_read_as_text_is():
    records = logs.NULL_WRITE.split("\n")
    # A record may hold several lines; then rows of the table are fewer.
    table = pd.DataFrame(
        {
            "timestamp": pd.to_timedelta([*range(len(records) - 1)], unit="us"),
            "caller": "T812",
            "text": pd.Series(["\n".join(records[:2]), *records[2:]], dtype="str"),
        }
    )
    report = parse(table).iloc[0]
    assert (report.title, report.offset, report.end) == (one(logs.NULL_WRITE).title, 0, len(table))
    assert (report.caller, report.timestamp) == ("T812", pd.Timedelta(0))
    series = table.set_index("timestamp")["text"]
    assert parse(series).iloc[0].timestamp == pd.Timedelta(0)


def test_what_is_no_log_is_refused():
    with pytest.raises(KernlabError, match="decode"):
        parse(b"BUG: ")  # type: ignore[arg-type]


def test_samples_tell_the_same_in_dump_and_text():
    path = kernlab.sample(("oops", "deadlock", "lockup")[SEED % 3])
    with kernlab.open(path) as dump:
        table = parse(dump.log)
    text = path.with_name("vmcore-dmesg.txt").read_text("utf-8", "backslashreplace")
    assert len(table)
    same = ["kind", "title", "function", "module", "cpu", "pid", "comm", "signature"]
    pd.testing.assert_frame_equal(table[same], parse(text)[same])


@pytest.mark.parametrize("name", ["POWERPC", "S390", "RISCV", "ARM", "X86_32"])
def test_other_machines(name):
    report = one(getattr(machines, name))
    assert (report.kind, report.function, report.module) == ("null dereference", "shop_total", "shop")
    assert (report.pid, report.comm, report.release) == (812, "billing", "6.1.55")
    assert report.details["address"] in (0, 0x18)
    assert report.signature.startswith("v1:null-dereference:shop:shop_total<")
    assert not report.corrupted


def test_a_warning_since_6_18():
    report = one(machines.WARNING_NEW)
    assert (report.kind, report.title, report.cpu, report.pid) == ("WARNING", "WARNING in shop_total", 3, 812)


def test_a_slab_says_who_had_the_object():
    report = one(machines.SLUB)
    assert (report.kind, report.function, report.module) == ("memory corruption", "shop_next", "shop")
    assert report.details["cache"] == "kmalloc-64"
    assert report.details["allocated"][-1] == "shop_open+0x21/0x80 [shop]"


def test_who_was_killed_and_whose_limit_it_was():
    report = one(machines.OOM)
    details = report.details
    assert (report.kind, report.comm) == ("OOM", "glutton")
    assert (details["killed_pid"], details["killed_comm"], details["cgroup"]) == (165, "glutton", True)


def test_lines_of_one_machine_check_are_one_report():
    assert one(machines.MCE).details["panic"] == f"{logs.PANIC}Fatal machine check"


def test_since_6_8_a_network_that_stalls_is_no_warning():
    report = one(
        "mlx5_core 0000:03:00.0 enp3s0f0: NETDEV WATCHDOG: CPU: 12: transmit queue 3 timed out 5000 ms"
    )
    assert (report.kind, report.details["device"], report.why) == ("network stall", "enp3s0f0", "")


def test_a_warning_that_is_a_devices_has_no_function():
    report = one(machines.NETDEV)
    assert (report.kind, report.details["device"]) == ("network stall", "eth0")
    assert pd.isna(report.function)
